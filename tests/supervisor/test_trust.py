"""The trust boundary between the master and its workers: SECURITY.md, "Trust boundaries"."""

from __future__ import annotations

import json
import os
import pwd
import signal
import time
from pathlib import Path

import pytest

from harness import TIMEOUT, run_cli
from harness.supervision import children

pytestmark = pytest.mark.second_door("no case")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# Writes a byte to each socket that connects the worker with the master.
COMMANDS_MASTER = """
import os, socket, stat

def app(environ, start_response):
    byte = environ["PATH_INFO"][1:].encode()
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
                    try:
                        sock.send(byte, socket.MSG_DONTWAIT)
                    except OSError:
                        pass
    start_response("200 OK", [])
    return [byte]
"""


def test_worker_cannot_make_the_master_reload(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(COMMANDS_MASTER)
    server = fresh_server("hostile:app", "--threads", "1", cwd=tmp_path)
    assert server.get("/").status == 200
    before = children(server.pid)
    assert server.get("/~").status == 200
    server.wait_for_event("worker.unexpected_message", "SourceChanged")
    for byte in "~+?=x":
        assert server.get(f"/{byte}").status == 200
    # A signal is handled after what workers have sent before it.
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("signal.received", "usr1")
    assert children(server.pid) == before
    assert "reload.started" not in server.stderr()
    assert server.stderr().count("worker.unexpected_message") == 1


def test_reloads_that_a_worker_asks_for_are_bounded(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(COMMANDS_MASTER)
    (tmp_path / "rustwsgi.toml").write_text("threads = 1\n")
    server = fresh_server("hostile:app", "--reload", cwd=tmp_path)
    # Each reload is rejected. The worker is replaced, and its successor asks again.
    (tmp_path / "rustwsgi.toml").write_text("threads = -1\n")
    begin = time.monotonic()
    for _ in range(10):
        start = len(server.stderr())
        assert server.get("/~").status == 200
        # A signal is handled after what workers have sent before it.
        server.send_signal(signal.SIGUSR1)
        server.wait_for_event("signal.received", "usr1", start=start)
    server.wait_for_event("reload.rejected")
    rejected = server.stderr().count("[reload.rejected]")
    assert rejected <= 2 + 2 * (time.monotonic() - begin)


# Sends random bytes and descriptors to the master, or keeps setting the time of the heartbeat.
FUZZES_MASTER = """
import array, os, random, socket, stat, struct, threading, time

def channels():
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            continue
        if is_socket:
            sock = socket.socket(fileno=os.dup(fd))
            if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
                peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                if struct.unpack("3i", peer)[0] == os.getppid():
                    yield sock

def heartbeats():
    for name in os.listdir("/proc/self/fd"):
        try:
            if "rustwsgi-heartbeat" in os.readlink(f"/proc/self/fd/{name}"):
                yield int(name)
        except OSError:
            pass

def forge(at):
    fds = list(heartbeats())
    while True:
        for fd in fds:
            try:
                os.utime(fd, (at, at))
            except OSError:
                pass
        time.sleep(0.001)

def app(environ, start_response):
    what, _, seed = environ["PATH_INFO"][1:].partition("/")
    if what == "times":
        threading.Thread(target=forge, args=(int(seed),), daemon=True).start()
    elif what == "bytes":
        rng = random.Random(seed)
        with open("/dev/null") as null:
            fds = array.array("i", [null.fileno()] * rng.randrange(1, 9))
            for sock in channels():
                with sock:
                    try:
                        sock.sendmsg(
                            # Not "!", by which a worker may ask for its replacement.
                            [rng.randbytes(rng.randrange(1, 20)).replace(b"!", b"")],
                            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)],
                            socket.MSG_DONTWAIT,
                        )
                    except OSError:
                        pass
    start_response("200 OK", [])
    return [str(len(list(heartbeats()))).encode()]
"""


def test_random_messages_of_a_worker_do_not_affect_the_master(fresh_server, tmp_path: Path) -> None:
    """Random bytes with descriptors, more than are ever read: none of them stays in the master."""
    (tmp_path / "fuzzes.py").write_text(FUZZES_MASTER)
    server = fresh_server("fuzzes:app", "--threads", "1", cwd=tmp_path)
    # Until then the master has descriptors that it closes again.
    server.wait_for_event("server.ready")
    before = sorted(os.listdir(f"/proc/{server.pid}/fd")), children(server.pid)
    for seed in range(100):
        assert server.get(f"/bytes/{seed}").status == 200
    # A signal is handled after what workers have sent before it.
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("signal.received", "usr1")
    assert (sorted(os.listdir(f"/proc/{server.pid}/fd")), children(server.pid)) == before
    assert "reload.started" not in server.stderr()
    assert server.stderr().count("worker.unexpected_message") == 1


@pytest.mark.parametrize("at", [2**63 - 1, 2**40], ids=["overflow", "future"])
def test_forged_heartbeat_is_none(fresh_server, tmp_path: Path, at: int) -> None:
    """A time that the clock cannot represent ended the master with a panic."""
    (tmp_path / "fuzzes.py").write_text(FUZZES_MASTER)
    server = fresh_server("fuzzes:app", "--timeout", "1", cwd=tmp_path)
    assert server.get("/").body == b"1", "the application finds the heartbeat"
    assert server.get(f"/times/{at}").status == 200
    # Such a worker is replaced.
    reported = server.wait_for_event("worker.no_heartbeat", timeout=2 * TIMEOUT)
    server.wait_for_event("worker.booting", start=reported.end())
    assert server.get("/").status == 200


def test_pid_file_that_is_a_pipe_does_not_stop_the_start(fresh_server, fifo: Path) -> None:
    server = fresh_server("supervised:app", "--pid", str(fifo))
    assert server.get("/").status == 200
    assert fifo.read_text() == f"{server.pid}\n"


SHOWS_ITS_RIGHTS = """
import json, os, threading, traceback  # as root: another user may not read the interpreter

def app(environ, start_response):
    status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status"))
    shown = {name: status[name] for name in ["NoNewPrivs", "CapBnd", "CapPrm", "CapEff"]}
    shown |= {name: os.environ.get(name) for name in ["HOME", "USER", "LOGNAME"]}
    start_response("200 OK", [])
    return [json.dumps(shown).encode()]
"""


@as_root
def test_worker_of_another_user_can_gain_no_rights(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    options = ["--preload", "--user", "nobody", "--group", "nogroup", "--env", "LOGNAME=given"]
    shown = json.loads(fresh_server("shows:app", *options, cwd=tmp_path).get("/").body)
    assert shown.pop("NoNewPrivs") == "1"
    account = pwd.getpwnam("nobody")
    names = {"HOME": account.pw_dir, "USER": "nobody", "LOGNAME": "given"}
    assert {name: shown.pop(name) for name in names} == names
    assert {int(rights, 16) for rights in shown.values()} == {0}


@as_root
def test_thread_of_a_hook_can_gain_no_rights(fresh_server, tmp_path: Path) -> None:
    """post_fork still runs as root. no_new_privs is a property of a thread, so that one that the hook
    starts must inherit it."""
    (tmp_path / "shows.py").write_text(
        SHOWS_ITS_RIGHTS.replace("self/status", "thread-self/status")
    )
    (tmp_path / "conf.py").write_text(
        "import shows, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(1)\n"
        "def post_fork(server, worker):\n"
        "    pool.submit(int).result()\n"
        "def post_worker_init(worker):\n"
        "    app = shows.app\n"
        "    shows.app = None\n"
        "    worker.wsgi = lambda *args: pool.submit(app, *args).result()\n"
    )
    options = ["-c", "conf.py", "--preload", "--user", "nobody", "--group", "nogroup"]
    shown = json.loads(fresh_server("shows:app", *options, cwd=tmp_path).get("/").body)
    assert shown["NoNewPrivs"] == "1"
    assert {int(shown[rights], 16) for rights in ["CapPrm", "CapEff"]} == {0}


@as_root
def test_environment_names_a_user_without_an_entry(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    options = ["--preload", "--user", "12345", "--group", "12345"]
    shown = json.loads(fresh_server("shows:app", *options, cwd=tmp_path).get("/").body)
    assert (shown["HOME"], shown["USER"], shown["LOGNAME"]) == ("/", "12345", "12345")


AS_NOBODY = ["--preload", "--user", "65534", "--group", "65534"]
NOBODY = 65534


def owned_by_nobody(path: Path) -> Path:
    os.chown(path, NOBODY, NOBODY)
    return path


@as_root
@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("rustwsgi.toml", "threads = 2", []),
        ("pyproject.toml", "[tool.rustwsgi]\nthreads = 2", []),
        ("gunicorn.conf.py", "open('executed', 'w')", []),
        ("mine.py", "open('executed', 'w')", ["-c", "mine.py"]),
        ("mine.toml", "threads = 2", ["-c", "mine.toml"]),
        # Only the file itself says which user it must be safe from.
        ("rustwsgi.toml", "user = 65534\ngroup = 65534", None),
    ],
)
@pytest.mark.parametrize("what", ["file", "directory"])
def test_configuration_that_the_workers_can_change_is_refused(
    door: str, tmp_path: Path, what: str, name: str, text: str, options: list[str] | None
) -> None:
    file = tmp_path / name
    file.write_text(text + "\n")
    owned_by_nobody(file if what == "file" else tmp_path)
    given = [] if options is None else [*AS_NOBODY, *options]
    done = run_cli(door, "--bind", "127.0.0.1:0", *given, "supervised:app", cwd=tmp_path)
    assert done.returncode == 2, done
    assert name in done.stderr and "workers' user 65534" in done.stderr, done
    assert not (tmp_path / "executed").exists()


@as_root
@pytest.mark.parametrize("names_user", ["option", "module"])
@pytest.mark.parametrize("what", ["file", "directory"])
def test_module_that_the_workers_can_change_is_no_configuration(
    door: str, tmp_path: Path, what: str, names_user: str
) -> None:
    """`-c python:MODULE`: as a file. Only an option can name the user before it is executed."""
    file = tmp_path / "mine.py"
    file.write_text("open('executed', 'w')\nuser = 65534\ngroup = 65534\n")
    owned_by_nobody(file if what == "file" else tmp_path)
    given = AS_NOBODY if names_user == "option" else ["--preload"]
    options = ["-c", "python:mine", "--bind", "127.0.0.1:0", *given]
    done = run_cli(door, *options, "supervised:app", cwd=tmp_path)
    assert done.returncode == 2, done
    assert "mine" in done.stderr and "workers' user" in done.stderr, done
    assert (tmp_path / "executed").exists() == (names_user == "module")


@as_root
def test_planted_configuration_is_refused_at_a_reload(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    owned_by_nobody(tmp_path)
    server = fresh_server("shows:app", *AS_NOBODY, cwd=tmp_path)
    assert server.get("/").status == 200
    planted = tmp_path / "gunicorn.conf.py"
    planted.write_text("open('executed', 'w')\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.rejected", r"gunicorn\.conf\.py")
    planted.rename(tmp_path / "rustwsgi.toml")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.rejected", r"rustwsgi\.toml")
    assert not (tmp_path / "executed").exists()
    assert server.get("/").status == 200


@as_root
def test_project_file_of_the_workers_is_no_obstacle(fresh_server, tmp_path: Path) -> None:
    """Without a table of this server it is no configuration, and a pipe cannot block the master."""
    (tmp_path / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    owned_by_nobody(tmp_path)
    server = fresh_server("shows:app", *AS_NOBODY, cwd=tmp_path)
    (tmp_path / "pyproject.toml").unlink()
    os.mkfifo(tmp_path / "pyproject.toml")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")


@as_root
def test_pid_file_that_the_workers_can_replace_is_refused(door: str, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    owned_by_nobody(directory)
    options = ["--pid", str(directory / "pid"), *AS_NOBODY]
    done = run_cli(door, "--bind", "127.0.0.1:0", *options, "supervised:app")
    assert done.returncode == 1 and "--pid: cannot write" in done.stderr, done


PLANTED = "import os\nif os.geteuid() == 0:\n    open({!r}, 'w')\n"


@as_root
def test_master_imports_nothing_that_the_workers_can_change(fresh_server, tmp_path: Path) -> None:
    """Neither for itself, nor for a configuration, a hook, or a hook in a worker that is root yet."""
    app, etc = tmp_path / "app", tmp_path / "etc"
    app.mkdir()
    etc.mkdir()
    (app / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    hook = "def {}(*_):\n    try:\n        import {}\n    except ImportError:\n        pass\n"
    (etc / "conf.py").write_text(
        "import json, sys\nsys.path.insert(0, '.')\n"
        + hook.format("on_reload", "planted_for_hook")
        + hook.format("post_fork", "planted_for_worker")
        + "try:\n    import planted_for_conf\nexcept ImportError:\n    pass\n"
    )
    owned_by_nobody(app)
    server = fresh_server("shows:app", "-c", "../etc/conf.py", *AS_NOBODY, cwd=app)
    assert server.get("/").status == 200
    marker = tmp_path / "executed"
    names = ["setproctitle", "planted_for_hook", "planted_for_worker", "planted_for_conf"]
    for name in [*names, "faulthandler", "traceback", "signal"]:
        (app / f"{name}.py").write_text(PLANTED.format(str(marker)))
    for _ in range(2):
        start = len(server.stderr())
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed", start=start)
    assert not marker.exists()
    assert server.get("/").status == 200
