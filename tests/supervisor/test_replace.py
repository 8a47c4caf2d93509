"""--replace: whether a worker ends before its successor starts, for applications that hold a port, a
file or a lock which only one process can have."""

from __future__ import annotations

import fcntl
import importlib.util
import re
import signal
import socket
import sqlite3
from pathlib import Path

import pytest

from harness import ROOT, wait_until
from harness.ports import free_port
from harness.supervision import Load, serving_pid, workers

pytestmark = pytest.mark.second_door("no case")

# Takes a lock while it is imported; "serve without" and "raise" are what applications do then.
LOCKING = """
import fcntl, os, sys
from supervised import app as serve
lock = open({lock!r}, "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("lock taken by", os.getpid(), file=sys.stderr, flush=True)
except OSError:
    print("lock missed by", os.getpid(), file=sys.stderr, flush=True)
    {otherwise}
app = serve
"""


def holders(server) -> list[int]:
    return [int(pid) for pid in re.findall(r"lock taken by (\d+)", server.stderr())]


@pytest.fixture
def locking(fresh_server, tmp_path: Path):
    """A server whose application locks a file."""

    def start(*args: str, otherwise: str = "raise", app: str = "locking:app"):
        source = LOCKING.format(lock=str(tmp_path / "lock"), otherwise=otherwise)
        (tmp_path / "locking.py").write_text(source)
        return fresh_server(app, *args, "--pythonpath", str(tmp_path))

    return start


# --------------------------------------------------------------------------- stop-first


def test_recycling_stop_first_gives_the_lock_to_the_successor(locking) -> None:
    """Regression: the successor of a recycled worker started while that one had the lock, so that
    no worker ran the application's scheduler any more."""
    options = ["--replace", "stop-first", "--max-requests", "20"]
    server = locking(*options, otherwise="pass")
    with Load(server.connect, kept=0, fresh=4) as load:
        wait_until(lambda: len(holders(server)) >= 3, "two successors have the lock")
    assert load.failures == [], "clients wait in the accept queue"
    assert "lock missed" not in server.stderr()


def test_reload_stop_first_gives_the_lock_to_the_successor(locking) -> None:
    server = locking("--replace", "stop-first")
    with Load(server.connect, kept=0, fresh=4) as load:
        for count in range(2, 5):
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: len(holders(server)) == count, "it has the lock")  # noqa: B023
            wait_until(lambda: serving_pid(server) == holders(server)[-1], "it serves")
    assert load.failures == []
    assert "lock missed" not in server.stderr()


def test_reload_stop_first_replaces_one_worker_at_a_time(fresh_server) -> None:
    server = fresh_server("supervised:app", "--workers", "3", "--replace", "stop-first")
    server.wait_for_event("server.ready")
    old = workers(server, 3)
    with Load(server.connect, kept=0, fresh=4) as load:
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed", "3")
        workers(server, 3, old)
    assert load.failures == []


def test_reload_stop_first_that_fails_boots_the_previous_deployment(
    fresh_server, tmp_path: Path
) -> None:
    config = tmp_path / "rustwsgi.toml"
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken')\n")
    config.write_text("app = 'supervised:app'\nreplace = 'stop-first'\n")
    server = fresh_server(None, "--config", str(config), "--pythonpath", str(tmp_path))
    old = serving_pid(server)
    config.write_text("app = 'broken:app'\nreplace = 'stop-first'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.failed")
    assert serving_pid(server) != old
    assert len(workers(server, 1)) == 1


def test_running_request_is_finished_before_the_successor_starts(fresh_server, fifo: Path) -> None:
    server = fresh_server("supervised:app", "--replace", "stop-first")
    with server.connect() as client, server.connect() as idle:
        client.send(b"GET /hold?%s HTTP/1.1\r\nHost: a\r\n\r\n" % str(fifo).encode())
        server.wait_for_log("request started")
        # One that still waits in the kernel would be accepted by the successor.
        wait_until(lambda: server.holds(idle), "it is accepted")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.started")
        assert idle.at_eof(), "an idle connection does not delay the successor"
        assert len(re.findall(r"\[worker.booting\]", server.stderr())) == 1
        fifo.write_text("finished")
        assert client.response().body == b"finished"
    server.wait_for_event("reload.completed")


# -------------------------------------------------------- ready-first, and a conflict


def test_recycled_worker_with_a_lock_is_replaced_after_its_end(locking) -> None:
    """Regression: the successor failed to boot forever."""
    server = locking("--max-requests", "20")
    with Load(server.connect, kept=0, fresh=4) as load:
        wait_until(lambda: len(holders(server)) >= 3, "two successors have the lock")
    assert load.failures == []
    server.wait_for_event("worker.boot_conflict", rf"(?!{holders(server)[0]})\d+ exited")
    assert "[worker.boot_failed]" not in server.stderr()


def test_reload_of_a_worker_with_a_lock_succeeds(locking) -> None:
    server = locking()
    with Load(server.connect, kept=0, fresh=4) as load:
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("worker.boot_conflict")
        server.wait_for_event("reload.completed")
        wait_until(lambda: serving_pid(server) == holders(server)[-1], "the new worker serves")
    assert load.failures == []
    assert len(holders(server)) == 2


#: Guards a scheduler by a port.
GUARDED = """
import atexit, os, socket, sys
from supervised import app
atexit.register(lambda: print("exit of", os.getpid(), file=sys.stderr, flush=True))
guard = socket.socket()
try:
    guard.bind(("127.0.0.1", {port}))
    print("lock taken by", os.getpid(), file=sys.stderr, flush=True)
except OSError:
    pass
"""


@pytest.mark.parametrize("resource", ["lock", "port"])
def test_application_that_does_without_the_resource_gets_it_after_a_recycling(
    locking, fresh_server, tmp_path: Path, resource: str
) -> None:
    """Regression: the scheduler of the application ended with the first worker. gunicorn starts the
    next worker after the end of the first one."""
    port = free_port()
    (tmp_path / "guarded.py").write_text(GUARDED.format(port=port))
    if resource == "port":
        options = ["--max-requests", "20", "--pythonpath", str(tmp_path)]
        server = fresh_server("guarded:app", *options)
    else:
        server = locking("--max-requests", "20", otherwise="pass")
    with Load(server.connect, kept=0, fresh=4) as load:
        wait_until(lambda: len(holders(server)) >= 3, "two successors have it")
    assert load.failures == []
    server.wait_for_event("worker.resource_missed", rf"{resource if resource == 'lock' else port}")
    server.wait_for_event("worker.boot_conflict")


@pytest.mark.parametrize("count", [1, 3])
def test_reload_without_a_resource_of_another_process_is_completed(
    fresh_server, tmp_path: Path, count: int
) -> None:
    """One worker tries it twice. Several ones start at the same time, as they do without a guard."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        (tmp_path / "guarded.py").write_text(GUARDED.format(port=other.getsockname()[1]))
        options = ["--workers", str(count), "--pythonpath", str(tmp_path)]
        server = fresh_server("guarded:app", *options)
        server.wait_for_event("server.ready")
        assert "[worker.resource_missed]" not in server.stderr(), "no predecessor has it"
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
    assert holders(server) == []
    assert server.stderr().count("[worker.resource_missed]") == (count == 1)
    if count == 1:
        pid = server.wait_for_event("worker.resource_missed", r"Worker (\d+)")[1]
        server.wait_for_log(rf"exit of {pid}$")  # it has ended what the import has started


def test_recycled_one_of_several_workers_leaves_its_lock_to_its_successor(locking) -> None:
    server = locking("--workers", "2", "--max-requests", "30", otherwise="pass")
    with Load(server.connect, kept=0, fresh=4) as load:
        wait_until(lambda: len(holders(server)) >= 2, "a successor has it")
    assert load.failures == []


def test_reload_whose_second_attempt_fails_is_rolled_back(fresh_server, tmp_path: Path) -> None:
    config = tmp_path / "rustwsgi.toml"
    with socket.create_server(("127.0.0.1", 0)) as other:
        (tmp_path / "binding.py").write_text(
            f"import socket\nsocket.create_server(('127.0.0.1', {other.getsockname()[1]}))\n"
        )
        config.write_text("app = 'supervised:app'\n")
        server = fresh_server(None, "--config", str(config), "--pythonpath", str(tmp_path))
        old = serving_pid(server)
        config.write_text("app = 'binding:app'\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("worker.boot_conflict")
        server.wait_for_event("reload.failed")
    assert serving_pid(server) != old


def test_recycled_worker_outlives_other_mistakes_of_its_successor(
    fresh_server, tmp_path: Path
) -> None:
    """Half a deployment on the disk must not end a worker that serves."""
    module = tmp_path / "breaks.py"
    module.write_text("from supervised import app\n")
    server = fresh_server("breaks:app", "--max-requests", "5", "--pythonpath", str(tmp_path))
    old = serving_pid(server)
    module.write_text("raise RuntimeError('half a deployment')\n")
    for _ in range(10):
        assert serving_pid(server) == old
    server.wait_for_event("worker.boot_failed")
    assert serving_pid(server) == old
    assert "[worker.boot_conflict]" not in server.stderr()


# ------------------------------------------------------------------- what is a conflict


def _conflicts():
    path = ROOT / "python" / "rustwsgi" / "_conflicts.py"
    spec = importlib.util.spec_from_file_location("conflicts", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LockError(Exception):
    """As of ZODB and others."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (OSError(98, "Address already in use"), True),
        (BlockingIOError(11, "Resource temporarily unavailable"), True),
        (FileExistsError(17, "File exists"), True),
        (sqlite3.OperationalError("database is locked"), True),
        (
            RuntimeError("IO error: While lock file: /db/LOCK: Resource temporarily unavailable"),
            True,
        ),
        (RuntimeError("Could not set lock on file: conflicting lock is held"), True),
        (RuntimeError("The file lock 'a' could not be acquired."), True),
        (SystemExit("another instance is already running"), True),
        (LockError("no"), True),
        (Unprintable(), False),
        (FileNotFoundError(2, "No such file"), False),
        (PermissionError(13, "Permission denied"), False),
        (ModuleNotFoundError("No module named 'lock'"), False),
        (SyntaxError("invalid syntax: locked"), False),
        (RuntimeError("cannot parse the block"), False),
        (KeyError("clock"), False),
    ],
)
def test_exception_is_recognized_as_a_conflict(exception: BaseException, expected: bool) -> None:
    assert _conflicts().is_conflict(exception) is expected


def test_exception_that_follows_a_conflict_is_recognized() -> None:
    conflict = OSError(98, "Address already in use")
    caused, followed = RuntimeError("no server"), SystemExit(1)
    caused.__cause__, followed.__context__ = conflict, caused
    assert _conflicts().is_conflict(followed)
    caused.__cause__ = followed  # a cycle
    assert not _conflicts().is_conflict(followed)


def test_lock_that_is_taken_later_and_another_port_are_no_conflict(tmp_path: Path) -> None:
    """An application may wait for a lock during its migrations, or look for a free port."""
    watch = _conflicts().watch()
    with open(tmp_path / "lock", "w") as first, open(tmp_path / "lock", "w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(first, fcntl.LOCK_UN)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(taken.getsockname())
        other.bind(("127.0.0.1", 0))
    assert watch.remove() is None


def test_watch_leaves_no_trace() -> None:
    before = vars(socket.socket).get("bind"), fcntl.flock, fcntl.lockf
    watch = _conflicts().watch()
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(taken.getsockname())
        assert "the address ('127.0.0.1'" in watch.remove()
        assert before == (vars(socket.socket).get("bind"), fcntl.flock, fcntl.lockf)
