"""gunicorn's hooks around requests and for aborted workers, and which of them run after a failed
reload."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness import ServerProcess, build_request, echoed, has_ipv6, run_cli, wait_until
from harness.supervision import serving_pid, workers

pytestmark = pytest.mark.second_door("no case")

APP = "surrounded:app"
SOURCE = """
import os


class Blocks:
    def __init__(self, log):
        self.log = log

    def __iter__(self):
        yield b"one "
        yield b"two"

    def close(self):
        print("app closed", file=self.log, flush=True)


def app(environ, start_response):
    path, log = environ["PATH_INFO"], environ["wsgi.errors"]
    print("app called", file=log, flush=True)
    if path == "/fails":
        raise ValueError("the application fails")
    start_response("201 Made", [("X-One", "1")])
    if path == "/blocks":
        return Blocks(log)
    if path == "/large":
        return [bytes(1 << 16)] * 320
    if path == "/file":
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    return [b"one ", b"two"]
"""
PRE = """
def pre_request(worker, req):
    req.mark = "marked"
    fields = dict(req.headers)
    worker.log.info("pre %s %s %s %s", worker.pid, req.method, req.uri, (req.path, req.query))
    worker.log.info("pre %s %s", req.version, (fields["X-FIELD"], fields["HOST"]))
    if req.path == "/pre-fails":
        raise RuntimeError("no request today")
"""
POST = """
def post_request(worker, req, environ, resp):
    worker.log.info("post %s %s %s", worker.pid, req.mark, environ["PATH_INFO"])
    worker.log.info("post %s %s %s", resp.status, resp.status_code, (resp.headers, resp.sent))
    if req.path == "/post-fails":
        raise RuntimeError("no end today")
    if req.path == "/post-waits":
        open(req.query).read()
"""


@pytest.fixture
def start(fresh_server, tmp_path: Path):
    """`start(text)`: a server with this gunicorn configuration, and the application above."""
    (tmp_path / "surrounded.py").write_text(SOURCE)
    path = tmp_path / "gunicorn.conf.py"

    def start(text: str, *options: str, app: str = APP) -> ServerProcess:
        path.write_text(text)
        where = ["-c", str(path), "--pythonpath", str(tmp_path), "--threads", "1"]
        return fresh_server(app, *where, *options)

    return start


def get(server: ServerProcess, target: str):
    return server.get(target, fields=[("X-Field", "a value")])


def log_in_order(server: ServerProcess, *said: str) -> None:
    server.wait_for_log(r"(.|\n)*".join(said))


FORK = """
import os

def fork(worker, req, how):
    if req.path != f"/{how}":
        return
    if pid := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        worker.log.info("%s: child ended with %s", how, code)
    elif req.query:
        raise SystemExit(int(req.query))

def pre_request(worker, req):
    fork(worker, req, "pre")

def post_request(worker, req):
    fork(worker, req, "post")
"""


@pytest.mark.parametrize("how", ["pre", "post"])
@pytest.mark.parametrize("code", [0, 7])
def test_child_forked_by_a_hook_does_not_serve(start, how: str, code: int) -> None:
    """Regression: the child returned as a second server on the same sockets. Its parent waits for
    it here."""
    server = start(FORK)
    assert get(server, f"/{how}?{code or ''}").status == 201
    server.wait_for_log(f"{how}: child ended with {code}")
    assert get(server, "/list").status == 201


def test_response_is_sent_while_post_request_waits(start, tmp_path: Path) -> None:
    """The whole response, even if sending it takes more than one turn of the poller."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    server = start(
        "def post_request(worker, req):\n    if req.query:\n        open(req.query).read()\n",
        "--keep-alive",
        "75",
    )
    try:
        with server.connect() as client:
            for _ in range(3):
                # The kernel's buffers grow with what passes through them.
                assert client.request(build_request("GET", "/large")).complete
            client.send(build_request("GET", f"/large?{gate}"))
            response = client.response()
            assert response.complete and len(response.body) == 320 << 16
    finally:
        wait_until(lambda: has_been_opened(gate), "the function waits")
    assert get(server, "/list").status == 201


def has_been_opened(gate: Path) -> bool:
    """Whether a process waited for the pipe; it continues now."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("target", ["/list", "/blocks", "/file"])
def test_pre_and_post_request_are_called_around_a_request(start, target: str) -> None:
    """Both get the same request object; post_request runs after the iterable was closed."""
    server = start(PRE + POST)
    pid = serving_pid_of(server)
    response = get(server, f"{target}?a=1")
    assert response.status == 201 and response.get("X-One") == "1"
    said = [
        rf"pre {pid} GET {target}\?a=1 \('{target}', 'a=1'\)",
        r"pre \(1, 1\) \('a value', 'localhost'\)",
        "app called",
        *(["app closed"] if target == "/blocks" else []),
        f"post {pid} marked {target}",
        rf"post 201 Made 201 \(\[\('X-One', '1'\).*\], {len(response.body)}\)",
    ]
    log_in_order(server, *said)


def serving_pid_of(server: ServerProcess) -> int:
    (pid,) = workers(server, 1)
    return pid


@pytest.mark.parametrize("hooks", [PRE, POST.replace("req.mark", "'no mark'")])
def test_hooks_leave_the_response_as_it_is(start, hooks: str) -> None:
    """A list gets its Content-Length with and without hooks."""
    response = get(start(hooks), "/list")
    assert response.get("Content-Length") == "7" and response.body == b"one two"


def test_hooks_of_a_failing_application_are_called(start) -> None:
    server = start(PRE + POST)
    assert get(server, "/fails").status == 500
    log_in_order(server, "pre ", "ValueError: the application fails", "post 500 Internal .* 500 ")


def test_failing_pre_request_is_a_500(start) -> None:
    """As gunicorn: the application is not called, the client gets 500, post_request is called."""
    server = start(PRE + POST)
    assert get(server, "/pre-fails").status == 500
    log_in_order(server, "RuntimeError: no request today", "post 500 ")
    assert "app called" not in server.stderr()
    assert get(server, "/list").status == 201


def test_failing_post_request_is_logged(start) -> None:
    """As gunicorn: the error is logged, and the client gets its response."""
    server = start(PRE + POST)
    with server.connect() as client:
        for _ in range(2):
            raw = build_request("GET", "/post-fails", fields=[("X-Field", "1")])
            assert client.request(raw).body == b"one two"
    log_in_order(server, r"\[hook\.failed\].* post_request", "RuntimeError: no end today")


def test_the_response_does_not_wait_for_post_request(start, fifo: Path) -> None:
    server = start(PRE + POST)
    assert get(server, f"/post-waits?{fifo}").body == b"one two"
    fifo.write_text("")
    assert get(server, "/list").body == b"one two"


@pytest.mark.parametrize("wanted", ["worker, req", "worker, req, environ", "*args"])
def test_post_request_with_fewer_arguments_is_called(start, wanted: str) -> None:
    server = start(f"def post_request({wanted}):\n    print('post', len(locals()), flush=True)\n")
    assert get(server, "/list").status == 201
    server.wait_for_stdout(f"post {wanted.count(',') + 1}")


def test_post_request_that_is_not_callable_is_an_error(door: str, tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("def post_request(worker):\n    pass\n")
    done = run_cli(door, "-c", str(path), "supervised:app")
    assert done.returncode == 2 and "post_request takes 1 argument: it" in done.stderr, done


def test_worker_abort_is_called(start) -> None:
    """In a worker that is aborted because a request does not end."""
    hooks = "def worker_abort(worker):\n    worker.log.info('abort %s', worker.pid)\n"
    options = ["--timeout", "1", "--graceful-timeout", "1"]
    server = start(hooks, *options, app="supervised:app")
    pid = serving_pid_of(server)
    with server.connect() as client:
        client.send(build_request("GET", "/sleep?600"))
        server.wait_for_log(f"abort {pid}")
        workers(server, 1, {pid})
        assert client.response().status == 504
    assert server.stderr().count("abort ") == 1


def test_hooks_of_a_failed_reload_are_not_applied(start, tmp_path: Path) -> None:
    """The old configuration serves, and its hooks are called."""

    def text(name: str, fails: bool) -> str:
        return (
            f"def child_exit(server, worker):\n    server.log.info('exit {name} %s', worker.pid)\n"
            f"def post_fork(server, worker):\n    assert not {fails}\n"
        )

    server = start(text("old", False), app="supervised:app")
    pid = serving_pid(server)
    (tmp_path / "gunicorn.conf.py").write_text(text("new", True))
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.failed")
    assert "exit new" in server.stderr()
    os.kill(pid, signal.SIGKILL)
    server.wait_for_log(f"exit old {pid}")
    wait_until(lambda: serving_pid(server) != pid, "its successor boots with the old ones")


# ------------------------------------------------------------------------- what hooks may read


def test_hooks_read_settings_by_gunicorn_names(start) -> None:
    """The names are gunicorn's, the values those in effect, whatever their source."""
    text = """
raw_env = ["FROM_FILE=yes"]
worker_tmp_dir = "/dev/shm"
bind = ["127.0.0.1:0", "SECOND"]
def when_ready(server):
    cfg, log = server.cfg, server.log
    log.info("cfg %s", (cfg.threads, cfg.timeout, cfg.graceful_timeout, cfg.worker_class))
    log.info("cfg %s", (cfg.workers, cfg.worker_tmp_dir, cfg.keyfile, cfg.sendfile, cfg.reload))
    log.info("cfg %s", (cfg.env, cfg.is_ssl, cfg.bind[0], cfg.address, cfg.loglevel))
    log.info("server %s", (server.address, server.num_workers, server.pid == __import__("os").getpid()))
    log.info("server %s", [worker.age for worker in server.WORKERS.values()])
"""
    text = text.replace("SECOND", "[::1]:0" if has_ipv6() else "127.0.0.2:0")
    server = start(text, "--workers", "2", "--graceful-timeout", "2.5")
    log_in_order(
        server,
        r"cfg \(1, 0, 2.5, 'sync'\)",
        r"cfg \(2, '/dev/shm', None, None, False\)",
        r"cfg \(\{'FROM_FILE': 'yes'\}, False, '127.0.0.1:0', \[\('127.0.0.1', 0\)",
        r"server \(\[\('127.0.0.1', 0\)",
        r"server \[1, 2\]",
    )


def test_hooks_read_unset_settings_as_unset(start) -> None:
    """Regression: what the file unset with an empty string was an empty string."""
    text = """
pidfile = accesslog = umask = ""
reload_extra_files = ["unused.txt"]
def when_ready(server):
    cfg = server.cfg
    server.log.info("cfg %s", (cfg.pidfile, cfg.accesslog, cfg.umask))
    server.log.info("cfg %s", (cfg.reload_extra_files, cfg.access_log_format[:5], bool(cfg.chdir)))
"""
    log_in_order(start(text), r"cfg \(None, None, 0\)", r"cfg \(\[\], '%\(h\)s', True\)")


def test_every_setting_of_gunicorn_is_in_cfg() -> None:
    from harness.gunicorn_settings import HOOKS, KNOWN_SETTINGS, NO_HOOKS
    from rustwsgi._settings import DEFAULTS

    assert set(DEFAULTS) == set(KNOWN_SETTINGS) - HOOKS - NO_HOOKS - {"ssl_context"}


def test_cfg_defaults_are_those_of_gunicorn() -> None:
    config = pytest.importorskip("gunicorn.config")
    from rustwsgi._settings import DEFAULTS

    machine = {"chdir", "user", "group", "control_socket", "ssl_version", "cert_reqs"}
    for setting in config.KNOWN_SETTINGS:
        if setting.name in set(DEFAULTS) - machine:
            assert DEFAULTS[setting.name] == setting.default, setting.name


def test_unknown_cfg_attribute_is_an_error(start) -> None:
    server = start("def when_ready(server):\n    server.LISTENERS\n")
    server.wait_for_log(
        "when_ready failed: .*no attribute 'LISTENERS' in rustwsgi; it has: WORKERS, "
    )


def test_worker_attributes_for_hooks_are_set(start) -> None:
    text = """
def pre_request(worker, req):
    worker.log.info("nr %s %s %s", worker.nr, worker.age, worker.cfg.threads)
def worker_exit(server, worker):
    worker.log.info("exit nr %s", (worker.nr, worker.ppid == server.pid, worker.timeout))
"""
    server = start(text)
    for number in (1, 2):
        assert get(server, "/list").status == 201
        server.wait_for_log(f"nr {number} 1 1")
    assert server.stop() == 0
    server.wait_for_log(r"exit nr \(2, True, 0\)")


def test_pre_request_does_not_merge_a_field_of_a_proxy_with_content_length(start) -> None:
    """When a hook changed any field, HTTP_CONTENT_LENGTH became a second CONTENT_LENGTH."""
    text = "def pre_request(worker, req):\n    req.headers.append(('X-New', '1'))\n"
    server = start(text, "--forwarder-headers", "*", app="echo:app")
    fields = [("Content_Length", "9"), ("Content_Type", "a/b"), ("X_A", "2")]
    raw = build_request("POST", "/", fields=[*fields, ("Content-Length", "2")], body=b"ab")
    with server.connect() as client:
        environ = echoed(client.request(raw))["environ"]
    assert (environ["CONTENT_LENGTH"], environ.get("CONTENT_TYPE")) == ("2", None)
    assert [environ[f"HTTP_{name}"] for name in ("CONTENT_LENGTH", "CONTENT_TYPE")] == ["9", "a/b"]
    assert (environ["HTTP_X_NEW"], environ["HTTP_X_A"]) == ("1", "2")


def test_post_worker_init_may_wrap_the_application(start) -> None:
    text = """
def post_worker_init(worker):
    app = worker.wsgi
    def wrapped(environ, start_response):
        return [b"wrapped ", *app(environ, start_response)]
    worker.wsgi = wrapped
"""
    assert get(start(text), "/list").body == b"wrapped one two"


def test_hooks_see_the_variables_of_the_application(start, tmp_path: Path) -> None:
    """The environment of the master is unchanged: raw_env must not become options at a reload."""
    events = ["on_starting(server)", "when_ready(server)", "pre_fork(server, worker)"]
    events += ["post_fork(server, worker)", "on_reload(server)"]
    text = "import os\nraw_env = ['RUSTWSGI_WORKERS=2', 'SEEN=yes']\n"
    for event in events:
        name = event.split("(")[0]
        text += f"def {event}:\n    server.log.info('{name} %s', os.environ.get('SEEN'))\n"
    server = start(text, app="supervised:app")
    pids = workers(server, 1)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    workers(server, 1, pids)
    for event in events:
        assert f"{event.split('(')[0]} yes" in server.stderr(), event


CHANGE = """
def pre_request(worker, req):
    if req.path.startswith("/change"):
        {change}
"""

#: What a hook changes, the path of the request, and what the application sees then: gunicorn 27's
#: environ has the same.
CHANGES = {
    "method": ("req.method = 'PATCH'", "/change", {"REQUEST_METHOD": "PATCH"}),
    "uri": ("req.uri = '/b?c'", "/change", {"RAW_URI": "/b?c", "PATH_INFO": "/change"}),
    "path": ("req.path = '/a%20b'", "/change", {"RAW_URI": "/change", "PATH_INFO": "/a b"}),
    "query": ("req.query = 'q=1'", "/change", {"QUERY_STRING": "q=1"}),
    "scheme": ("req.scheme = 'https'", "/change", {"wsgi.url_scheme": "https"}),
    "version": ("req.version = (1, 0)", "/change", {"SERVER_PROTOCOL": "HTTP/1.0"}),
    "append": ("req.headers.append(('X-USER', 'ann'))", "/change", {"HTTP_X_USER": "ann"}),
    "repeat": ("req.headers.append(('X-FIELD', '2'))", "/change", {"HTTP_X_FIELD": "1,2"}),
    "remove": ("req.headers = req.headers[:1]", "/change", {"HTTP_X_FIELD": None}),
    "type": ("req.headers.append(('CONTENT-TYPE', 'a/b'))", "/change", {"CONTENT_TYPE": "a/b"}),
    "prefix": (
        "req.headers.append(('SCRIPT_NAME', '/change'))",
        "/change/b",
        {"SCRIPT_NAME": "/change", "PATH_INFO": "/b", "RAW_URI": "/change/b"},
    ),
    "nothing": ("req.mark = 1", "/change", {"HTTP_X_FIELD": "1", "PATH_INFO": "/change"}),
}


@pytest.mark.parametrize("change, path, expected", CHANGES.values(), ids=CHANGES)
def test_pre_request_changes_the_environ(
    start, change: str, path: str, expected: dict[str, str | None]
) -> None:
    """gunicorn makes the environ after the hook. Here the changes had no effect."""
    server = start(CHANGE.format(change=change), app="echo:app")
    for _ in range(3):  # also when the environ is a remembered one
        environ = echoed(server.get(path, fields=[("X-Field", "1")]))["environ"]
        assert {key: environ.get(key) for key in expected} == expected
        environ = echoed(server.get("/same", fields=[("X-Field", "1")]))["environ"]
        seen = [environ[key] for key in ("REQUEST_METHOD", "PATH_INFO", "HTTP_X_FIELD")]
        assert seen == ["GET", "/same", "1"]


def test_pre_request_that_sets_another_prefix_is_a_500(start) -> None:
    change = "req.headers.append(('SCRIPT_NAME', '/other'))"
    server = start(CHANGE.format(change=change), app="echo:app")
    assert server.get("/change").status == 500
    server.wait_for_log(
        "ValueError: the path '/change' is not below SCRIPT_NAME, which is '/other'"
    )
