"""The command line, start-up failures, sockets, logs and the end of the process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import (
    APPS,
    TIMEOUT,
    Client,
    ServerProcess,
    StartFailed,
    build_request,
    child_environment,
    door_command,
    run_cli,
    wait_until,
)

PLAIN = "http_cli:app"


# ---------------------------------------------------------------------------- the parser


def test_help(door: str) -> None:
    done = run_cli(door, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for option in ("--bind", "--threads", "--keep-alive", "--access-logfile", "--chdir"):
        assert option in done.stdout


def test_version(door: str) -> None:
    done = run_cli(door, "--version")
    assert done.returncode == 0 and re.fullmatch(r"rustwsgi \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["--no-such-option", PLAIN], id="unknown-option"),
        pytest.param(["--threads", "many", PLAIN], id="not-a-number"),
        pytest.param(["--threads", "-1", PLAIN], id="no-threads"),
        pytest.param(["--keep-alive", "-1", PLAIN], id="negative"),
        pytest.param([PLAIN, "--bind"], id="missing-value"),
        pytest.param(["--bind", "127.0.0.1:99999", PLAIN], id="port-too-large"),
        pytest.param(["--bind", "127.0.0.1:http", PLAIN], id="port-not-a-number"),
        pytest.param(["--log-level", "loud", PLAIN], id="unknown-level"),
        pytest.param([], id="no-application"),
        pytest.param(["--bind", "127.0.0.1:0", PLAIN, PLAIN], id="two-applications"),
    ],
)
def test_bad_usage(door: str, args: list[str]) -> None:
    done = run_cli(door, *args)
    assert done.returncode == 2, done
    assert done.stderr.strip() and "Traceback" not in done.stderr and "panicked" not in done.stderr


def test_misspelt_option_is_corrected(door: str) -> None:
    done = run_cli(door, "--thread", "2", PLAIN)
    assert done.returncode == 2 and "--threads" in done.stderr


# ----------------------------------------------------------------------- the application


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("http_factory", b"app"),
        ("http_application", b"application"),
        ("http_factory:application", b"application"),
        ("http_factory:holder.app", b"held"),
        ("http_factory:make()", b"made"),
    ],
)
def test_application_forms(fresh_server, app: str, body: bytes) -> None:
    assert fresh_server(app).get("/").body == body


@pytest.mark.parametrize(
    ("app", "texts"),
    [
        pytest.param("no_such_module:app", ["no_such_module", "ModuleNotFoundError"], id="module"),
        pytest.param("no.such.package:app", ["ModuleNotFoundError"], id="package"),
        pytest.param("http_factory:nothing", ["nothing", "http_factory"], id="attribute"),
        pytest.param("http_factory:holder.nothing", ["nothing"], id="attribute-of-attribute"),
        pytest.param("http_factory:not_callable", ["not_callable", "callable"], id="not-callable"),
        pytest.param("http_broken:app", ["no database today", "configure()"], id="import-fails"),
        pytest.param("http_factory:broken()", ["the factory's own failure"], id="factory-fails"),
        pytest.param("http_factory:nothing()", ["nothing"], id="factory-missing"),
        pytest.param("http_cli_none", ["http_cli_none"], id="module-alone"),
    ],
)
def test_application_that_cannot_be_loaded(door: str, app: str, texts: list[str]) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", app)
    assert done.returncode == 3, done
    assert all(text in done.stderr for text in texts), done.stderr
    assert "panicked" not in done.stderr


def test_users_traceback_is_shown_alone(door: str) -> None:
    """Their file and line; none of ours, and none of importlib's."""
    done = run_cli(door, "--bind", "127.0.0.1:0", "http_broken:app")
    assert re.search(r'File ".*http_broken\.py", line \d+, in configure', done.stderr)
    assert "RuntimeError: no database today" in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1


def test_missing_module_has_a_hint(door: str) -> None:
    """The usual cause is the working directory, so it is named."""
    done = run_cli(door, "--bind", "127.0.0.1:0", "no_such_module:app")
    assert str(APPS) in done.stderr or "--chdir" in done.stderr or "--pythonpath" in done.stderr


@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["master", "terminal"])
def test_interrupt_while_the_application_is_imported(
    door: str, whom: Callable[[int, int], None]
) -> None:
    """Ctrl-C is nobody's mistake: it was told as a failed import, with code 3."""
    process = subprocess.Popen(
        [*door_command(door), "--bind", "127.0.0.1:0", "http_slow_import:app"],
        cwd=APPS,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    whom(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0 and "Traceback" not in errors, errors


def test_application_with_many_open_files(fresh_server) -> None:
    """A descriptor beyond 1023 is more than select(2) can number: the wait for signals failed."""
    server = fresh_server("http_many_files:app")
    assert server.get("/").body == b"1100 files"
    assert server.stop() == 0


PROJECT = """
def application(environ, start_response): ...
def create_app(): return application
async def asgi(scope, receive, send): ...
class Star:
    async def __call__(self, scope, receive, send): ...
star = Star()
def middleware(*args): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package as Django makes it, and a module."""
    package = tmp_path / "mysite"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wsgi.py").write_text(PROJECT)
    (tmp_path / "single.py").write_text(PROJECT)
    return tmp_path


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        ("mysite", "did you mean mysite.wsgi:application?"),
        ("mysite:wsgi", "did you mean mysite.wsgi:application?"),
        ("single.application", "did you mean single:application?"),
        ("single.nothing", "--chdir"),
    ],
)
def test_nearly_right_name_is_corrected(door: str, project: Path, app: str, hint: str) -> None:
    done = run_cli(door, "--check-config", "--chdir", str(project), app)
    assert done.returncode == 3 and hint in done.stderr, done


@pytest.mark.parametrize(
    ("app", "doubt"),
    [
        ("create_app", "write single:create_app()"),
        ("asgi", "async function"),
        ("star", "async function"),
        ("create_app()", None),
        ("middleware", None),
        ("Star", None),
    ],
)
def test_what_cannot_be_a_wsgi_application(
    door: str, project: Path, app: str, doubt: str | None
) -> None:
    done = run_cli(door, "--check-config", "--chdir", str(project), f"single:{app}")
    assert done.returncode == 0, done
    assert ("[WARNING]" in done.stderr) == (doubt is not None), done
    assert doubt is None or doubt in done.stderr, done


def test_misspelt_variable_is_told(door: str) -> None:
    env = {"RUSTWSGI_TREADS": "8"}
    done = run_cli(door, "--check-config", PLAIN, env=env)
    assert done.returncode == 0, done
    assert "did you mean RUSTWSGI_THREADS?" in done.stderr


def test_printed_settings_hide_secrets(door: str) -> None:
    done = run_cli(door, "--print-config", "-e", "KEY=s3cret", PLAIN)
    assert 'env = ["KEY=***"]' in done.stdout and "s3cret" not in done.stdout + done.stderr


def test_start_is_told(fresh_server) -> None:
    fresh_server(PLAIN, "--threads", "3").wait_for_log(
        r"Starting rustwsgi \d+\.\d+\.\d+\S* \(workers: 1, threads: 3\)"
    )


# ------------------------------------------------------------------------------- sockets


def test_port_in_use(door: str, fresh_server) -> None:
    server = fresh_server(PLAIN)
    done = run_cli(door, "--bind", f"127.0.0.1:{server.port}", PLAIN)
    assert done.returncode == 1 and str(server.port) in done.stderr, done
    assert re.search("in use", done.stderr, re.IGNORECASE)
    assert server.get("/").status == 200


def test_address_that_is_not_ours(door: str) -> None:
    done = run_cli(door, "--bind", "192.0.2.1:0", PLAIN)
    assert done.returncode == 1 and "192.0.2.1" in done.stderr, done


def test_port_can_be_used_again_at_once(fresh_server) -> None:
    """Connections in TIME_WAIT do not stop a restart."""
    first = fresh_server(PLAIN)
    assert first.get("/", fields=[("Connection", "close")]).status == 200
    assert first.stop() == 0
    assert fresh_server(PLAIN, bind=f"127.0.0.1:{first.port}").get("/").status == 200


def test_several_sockets(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(PLAIN, "--bind", f"unix:{path}")
    server.wait_for_log(re.escape(f"unix:{path}"))
    assert server.get("/").status == 200
    with _connect_unix(path) as client:
        assert client.request(build_request()).status == 200


def _connect_unix(path: Path) -> Client:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    return Client(sock)


def test_unix_socket(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(PLAIN, bind=f"unix:{path}")
    assert server.unix == str(path)
    with server.connect() as client:
        for _ in range(2):
            assert client.request(build_request()).status == 200
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert server.stop() == 0
    assert not path.exists(), "the socket is removed at the end"


def test_stale_unix_socket_is_replaced(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert fresh_server(PLAIN, bind=f"unix:{path}").get("/").status == 200


def test_live_unix_socket_is_refused(door: str, fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(PLAIN, bind=f"unix:{path}")
    done = run_cli(door, "--bind", f"unix:{path}", PLAIN)
    assert done.returncode == 1 and str(path) in done.stderr, done
    assert server.get("/").status == 200, "the other server keeps its socket"


def test_file_that_is_no_socket_is_kept(door: str, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("precious")
    done = run_cli(door, "--bind", f"unix:{path}", PLAIN)
    assert done.returncode == 1 and path.read_text() == "precious", done


def test_inherited_socket(fresh_server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = fresh_server(PLAIN, bind=f"fd://{fd}", pass_fds=(fd,))
        server.host, server.port = listener.getsockname()
        assert server.get("/").status == 200
        assert server.stop() == 0


def test_inherited_socket_that_is_shut_down(fresh_server) -> None:
    """Its owner shuts it down, and every accept fails at once: the loop spun, and never ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = fresh_server(PLAIN, bind=f"fd://{fd}", pass_fds=(fd,))
        server.host, server.port = listener.getsockname()
        with server.connect() as client:
            assert client.request(build_request()).status == 200
            before = server.cpu_seconds()
            listener.shutdown(socket.SHUT_RDWR)
            server.wait_for_log("accepting is paused")
            wait_until(lambda: server.counters()["accept_failed"] >= 10, "ten attempts")
            assert server.cpu_seconds() - before < 0.5
            assert client.request(build_request()).status == 200
            server.send_signal(signal.SIGTERM)
            assert client.at_eof()
        assert server.wait() == 0


def test_bad_descriptor(door: str) -> None:
    done = run_cli(door, "--bind", "fd://99", PLAIN)
    assert done.returncode in {1, 2} and "99" in done.stderr, done


def test_descriptor_that_cannot_be_listened_on(door: str) -> None:
    done = run_cli(door, "--bind", "fd://1", PLAIN)  # a pipe
    assert done.returncode == 1 and "fd://1 is not a stream socket" in done.stderr, done


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 loopback here")
def test_ipv6(fresh_server) -> None:
    server = fresh_server(PLAIN, bind="[::1]:0")
    assert server.host == "::1"
    state = server.get("/").json()
    assert state["remote"] == "::1" and state["server"][1] == str(server.port)


# --------------------------------------------------------------------------- environment


def test_app_directory_is_importable_and_current(fresh_server) -> None:
    state = fresh_server(PLAIN).get("/").json()
    assert Path(state["cwd"]) == APPS
    assert {"", str(APPS)} & set(state["path"])


def _write_app(directory: Path, name: str, body: str) -> None:
    directory.mkdir(exist_ok=True)
    source = f"""
import os

def app(environ, start_response):
    body = ({body}).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""
    (directory / f"{name}.py").write_text(source)


def test_chdir(fresh_server, tmp_path: Path) -> None:
    _write_app(tmp_path, "elsewhere", "os.getcwd()")
    server = fresh_server("elsewhere:app", "--chdir", str(tmp_path))
    assert Path(server.get("/").text) == tmp_path.resolve()


def test_chdir_that_does_not_exist(door: str, tmp_path: Path) -> None:
    """A mistake in the options, told in a sentence: it was a traceback."""
    path = tmp_path / "no"
    done = run_cli(door, "--chdir", str(path), "--bind", "127.0.0.1:0", PLAIN)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert "--chdir" in done.stderr and str(path) in done.stderr, done


def test_pythonpath(fresh_server, tmp_path: Path) -> None:
    _write_app(tmp_path / "a", "module_a", "__import__('module_b').app.__module__")
    _write_app(tmp_path / "b", "module_b", "''")
    paths = f"{tmp_path / 'a'},{tmp_path / 'b'}"
    server = fresh_server("module_a:app", "--pythonpath", paths)
    assert server.get("/").body == b"module_b"


@pytest.mark.parametrize("option", ["-e", "--env"])
def test_env(fresh_server, option: str) -> None:
    server = fresh_server(PLAIN, option, "RW_TEST=a=b c", option, "RW_EMPTY=")
    environ = server.get("/").json()["environ"]
    assert environ["RW_TEST"] == "a=b c" and environ["RW_EMPTY"] == ""


def test_env_is_set_before_the_import(fresh_server, tmp_path: Path) -> None:
    _write_app(tmp_path, "early", "SEEN")
    with (tmp_path / "early.py").open("a") as file:
        file.write("SEEN = os.environ['RW_EARLY']\n")
    server = fresh_server("early:app", "--chdir", str(tmp_path), "-e", "RW_EARLY=yes")
    assert server.get("/").body == b"yes"


@pytest.mark.parametrize(("threads", "multithread"), [("1", False), ("4", True)])
def test_threads(serve, threads: str, multithread: bool) -> None:
    assert serve(PLAIN, "--threads", threads).get("/").json()["multithread"] is multithread


# ----------------------------------------------------------------------------------- logs


def _access_lines(fresh_server, tmp_path: Path, *args: str) -> list[str]:
    """The access log's lines after three requests and the end of the server."""
    path = tmp_path / "access.log"
    server = fresh_server(PLAIN, "--access-logfile", str(path), *args)
    fields = [("Referer", "http://r/"), ("User-Agent", 'a"b\\c\u00e9'), ("X-Id", "7")]
    server.get("/sized?10", fields=fields)
    server.get("/sized?20", method="HEAD")
    server.get("/sized?30", method="POST", body=b"abc", version="HTTP/1.0")
    assert server.stop() == 0
    return path.read_text(encoding="utf-8").splitlines()


COMMON = r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "


def test_access_log_common(fresh_server, tmp_path: Path) -> None:
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", "common")
    assert len(lines) == 3, lines
    assert re.fullmatch(COMMON + r'"GET /sized\?10 HTTP/1\.1" 200 10', lines[0])
    assert re.fullmatch(COMMON + r'"HEAD /sized\?20 HTTP/1\.1" 200 (0|-)', lines[1])
    assert re.fullmatch(COMMON + r'"POST /sized\?30 HTTP/1\.0" 200 30', lines[2])


def test_access_log_combined(fresh_server, tmp_path: Path) -> None:
    """What the client sent is escaped: it can end neither its quotes nor the line."""
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", "combined")
    assert len(lines) == 3, lines
    start = COMMON + r'"GET /sized\?10 HTTP/1\.1" 200 10 "http://r/" "a'
    assert re.match(start, lines[0])
    assert '"a"b' not in lines[0] and lines[0].endswith('"')
    assert re.fullmatch(COMMON + r'"HEAD \S+ HTTP/1\.1" 200 (0|-) "-" "-"', lines[1])


def test_access_log_json(fresh_server, tmp_path: Path) -> None:
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", "json")
    entries = [json.loads(line) for line in lines]
    assert len(entries) == 3
    text = [json.dumps(entry) for entry in entries]
    assert '"GET"' in text[0] and '"HEAD"' in text[1] and '"POST"' in text[2]
    assert all(200 in entry.values() or "200" in entry.values() for entry in entries)
    assert any("/sized" in str(value) for value in entries[0].values())


def test_access_log_atoms(fresh_server, tmp_path: Path) -> None:
    """gunicorn's atoms."""
    pattern = (
        "h=%(h)s l=%(l)s u=%(u)s r=%(r)s m=%(m)s U=%(U)s q=%(q)s H=%(H)s s=%(s)s B=%(B)s b=%(b)s "
        "f=%(f)s i=%({x-id}i)s no=%({x-no}i)s o=%({content-type}o)s e=%({REQUEST_METHOD}e)s "
        "L=%(L)s D=%(D)s T=%(T)s p=%(p)s %%"
    )
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", pattern)
    assert len(lines) == 3, lines
    assert re.fullmatch(
        r"h=127\.0\.0\.1 l=- u=- r=GET /sized\?10 HTTP/1\.1 m=GET U=/sized q=10 H=HTTP/1\.1 s=200 "
        r"B=10 b=10 f=http://r/ i=7 no=- o=text/plain e=GET L=\d+\.\d{6} D=\d+ T=\d+ p=<?\d+>? %",
        lines[0],
    ), lines[0]


def test_access_log_on_stdout(fresh_server) -> None:
    server = fresh_server(PLAIN, "--access-logfile", "-")
    server.get("/sized?10")
    server.wait_for_stdout(r'"GET /sized\?10 HTTP/1\.1" 200 10')
    assert "/sized" not in server.stderr()


def test_access_log_is_off_by_default(fresh_server) -> None:
    server = fresh_server(PLAIN)
    server.get("/sized?10")
    assert server.stop() == 0
    assert "/sized" not in server.stdout() + server.stderr()


def test_access_log_tells_when_a_request_was_refused(fresh_server) -> None:
    """Also one whose head never came to its end."""
    server = fresh_server(PLAIN, "--access-logfile", "-", "--access-logformat", "%(t)s %(s)s")
    with server.connect() as client:
        assert client.request(b"BAD\r\n\r\n").status == 400
    line = server.wait_for_stdout(r"^.* 400$")[0]
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/2\d{3}:.* 400", line), line


def test_access_log_file_that_cannot_be_opened(door: str, tmp_path: Path) -> None:
    path = tmp_path / "no" / "access.log"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--access-logfile", str(path), PLAIN)
    assert done.returncode in {1, 2} and str(path) in done.stderr, done


def test_error_log_file_that_cannot_be_opened(door: str, tmp_path: Path) -> None:
    """The message said what was wrong, and not with which file."""
    path = tmp_path / "no" / "error.log"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--error-logfile", str(path), PLAIN)
    assert done.returncode in {1, 2} and str(path) in done.stderr, done
    assert "Traceback" not in done.stderr


def test_log_lines(fresh_server) -> None:
    server = fresh_server(PLAIN)
    server.get("/")
    assert server.stop() == 0
    line = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[(DEBUG|INFO|WARNING|ERROR)\] .+"
    lines = server.stderr().splitlines()
    assert lines and all(re.fullmatch(line, text) for text in lines), lines


def test_log_level(door: str) -> None:
    """Only what is at least as grave; here nothing, so not even the listening line."""
    with pytest.raises(StartFailed) as failure:
        server = ServerProcess(door, PLAIN, "--log-level", "error", "--bind", "127.0.0.1:99999")
        server.start()
    assert "[INFO]" not in str(failure.value)


def test_error_log_file(door: str, tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--error-logfile", str(path), "http_broken:app")
    assert done.returncode == 3
    assert "no database today" in path.read_text() + done.stderr


# -------------------------------------------------------------------------------- the end


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def _refuses_connections(server: ServerProcess) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_request_in_flight_is_finished(fresh_server, fifo: Path) -> None:
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "60")
    with server.connect() as client, server.connect() as idle:
        assert idle.request(build_request()).status == 200
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        assert idle.at_eof(), "idle connections are closed"
        wait_until(lambda: _refuses_connections(server), "the listening socket is closed")
        assert server.is_alive()
        fifo.write_text("finished")
        response = client.response()
        assert (response.status, response.body) == (200, b"finished")
        assert client.at_eof()
    assert server.wait() == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_second_signal_ends_at_once(fresh_server, fifo: Path, sig: int) -> None:
    """The request is never released, and the graceful bound is far away."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "600")
    with server.connect() as client, server.connect() as idle:
        assert idle.request(build_request()).status == 200
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        assert idle.at_eof()
        server.send_signal(sig)
        assert server.wait() == 0


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_quick_end(fresh_server, fifo: Path, sig: int) -> None:
    """As gunicorn: requests that run are not waited for."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "600")
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(sig)
        assert server.wait() == 0


def test_graceful_timeout(fresh_server, fifo: Path) -> None:
    """A request that does not end in time does not keep the process."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "1")
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        server.wait()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_end_with_idle_and_partial_connections(fresh_server, sig: int) -> None:
    server = fresh_server(PLAIN, "--keep-alive", "600", "--header-timeout", "600")
    with server.connect() as idle, server.connect() as silent:
        assert idle.request(build_request()).status == 200
        assert server.get("/").status == 200
        server.send_signal(sig)
        assert idle.at_eof() and silent.at_eof()
        assert server.wait() == 0


def test_response_being_sent_is_finished(fresh_server) -> None:
    """All of it was handed over; a slow reader still gets the rest."""
    size = 20_000_000
    server = fresh_server(PLAIN, "--graceful-timeout", "60")
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/sized?{size}"))
        assert client.head().status == 200
        server.send_signal(signal.SIGTERM)
        assert len(client.read(size)) == size
        assert client.at_eof()
    assert server.wait() == 0


def test_response_being_sent_is_finished_though_more_was_asked(fresh_server) -> None:
    """A further request that nobody reads any more made the close a reset, which ate the rest."""
    size = 20_000_000
    server = fresh_server(PLAIN, "--graceful-timeout", "60")
    with server.connect(receive_buffer=4096) as client, server.connect() as idle:
        assert idle.request(build_request()).status == 200
        client.send(build_request("GET", f"/sized?{size}"))
        assert client.head().status == 200
        client.send(build_request("POST", "/", body=b"x" * 100_000))
        server.send_signal(signal.SIGTERM)
        assert idle.at_eof(), "draining"
        assert len(client.read(size)) == size
        assert client.at_eof()
    assert server.wait() == 0


def test_immediate_end(fresh_server) -> None:
    """Right after the listening line, before anything was asked of it."""
    for sig in (signal.SIGTERM, signal.SIGINT):
        assert fresh_server(PLAIN).stop(sig) == 0


@pytest.mark.parametrize("options, frozen", [([], True), (["--no-gc-freeze"], False)])
def test_what_was_imported_is_frozen(fresh_server, options: list[str], frozen: bool) -> None:
    """The garbage collector need not look at what stays for good."""
    server = fresh_server("http_cli:frozen", *options)
    assert (int(server.get("/").body) > 0) is frozen
