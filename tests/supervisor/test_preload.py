"""Code of the user that hangs in the master: a preloaded application, a configuration. Without --preload
an import hangs in a worker, which the master kills; no process did that to the master."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from harness import ServerProcess, run_cli, wait_until
from harness.supervision import workers

GREETING = (
    "def app(environ, start_response):\n"
    "    start_response('200 OK', [('Content-Length', '2')])\n"
    "    return [b'ok']\n"
)
#: A module that hangs: in C, with the interpreter in hand or not, or in spite of every exception.
IN_C = """
import ctypes, sys
mutex = ctypes.create_string_buffer(256)
lock = ctypes.{library}(None).pthread_mutex_lock
lock(mutex)
while True:
    try:
        print("it hangs", file=sys.stderr, flush=True)
        lock(mutex)
    except KeyboardInterrupt:
        pass
"""
IN_PYTHON = """
import sys, time
while True:
    try:
        print("it hangs", file=sys.stderr, flush=True)
        time.sleep(600)
    except BaseException:
        pass
"""
HANGS = {
    "with the interpreter": IN_C.format(library="PyDLL"),
    "without the interpreter": IN_C.format(library="CDLL"),
    "in Python": IN_PYTHON,
}


@pytest.fixture(params=HANGS.values(), ids=HANGS.keys())
def hanging(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Options that preload an application which hangs."""
    (tmp_path / "hanging.py").write_text(request.param)
    return ["--preload", "--pythonpath", str(tmp_path), "--pid", str(tmp_path / "pid")]


def hangs_at(server_said: str) -> bool:
    """Whether the log shows the stack of the module that hangs."""
    return re.search(r'File ".*hanging\.py", line \d+', server_said) is not None


def assert_nothing_is_left(directory: Path) -> None:
    assert not (directory / "pid").exists() and not (directory / "s").exists()


def wait_until_it_hangs(server: ServerProcess) -> None:
    """Wait until its thread sleeps in the lock: before that a signal has its usual effect."""
    server.wait_for_log("it hangs")
    stat = Path(f"/proc/{server.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(") ")[2][0] == "S", "its thread sleeps")


def test_import_in_the_master_can_be_interrupted(
    door: str, tmp_path: Path, hanging: list[str]
) -> None:
    """Only a signal handler in Python would have ended it, which did not run."""
    bind = f"unix:{tmp_path / 's'}"
    # Two servers at once, since each gives the import two seconds.
    with (
        ServerProcess(door, "hanging:app", *hanging, bind=bind) as server,
        ServerProcess(door, "hanging:app", *hanging[:-2]) as other,
    ):
        wait_until_it_hangs(server)
        wait_until_it_hangs(other)
        other.send_signal(signal.SIGQUIT)
        for _ in range(5):
            server.send_signal(signal.SIGTERM)
            time.sleep(0.02)  # signals that come together count as one
        assert server.wait() == other.wait() == 130
    assert hangs_at(other.stderr()), other.stderr()
    assert "[guard.exit]" in server.stderr() and "s of a signal" in server.stderr()
    assert hangs_at(server.stderr()), server.stderr()
    assert_nothing_is_left(tmp_path)


def test_second_signal_during_the_import_ends_at_once(door: str, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGS["with the interpreter"])
    options = ["--preload", "--pythonpath", str(tmp_path)]
    with ServerProcess(door, "hanging:app", *options) as server:
        wait_until_it_hangs(server)
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGINT)
        assert server.wait() == 130
    assert "[guard.exit]" in server.stderr() and "a second signal" in server.stderr()
    assert hangs_at(server.stderr()), server.stderr()


def test_boot_timeout_ends_a_preload(door: str, tmp_path: Path, hanging: list[str]) -> None:
    """Regression: the server hung forever and looked as if it had started."""
    bind = f"unix:{tmp_path / 's'}"
    with ServerProcess(door, "hanging:app", *hanging, "--boot-timeout", "2", bind=bind) as server:
        assert server.wait() == 3
    assert "[guard.exit]" in server.stderr() and "2 s of --boot-timeout" in server.stderr()
    assert hangs_at(server.stderr()), server.stderr()
    assert_nothing_is_left(tmp_path)


def test_daemon_that_hangs_fails_the_command(door: str, tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGS["with the interpreter"])
    options = ["--daemon", "--preload", "--pythonpath", str(tmp_path), "--boot-timeout", "2"]
    done = run_cli(door, *options, "--bind", "127.0.0.1:0", "hanging:app")
    assert done.returncode == 3, done
    assert "[guard.exit]" in done.stderr and "of --boot-timeout" in done.stderr


def test_import_within_boot_timeout_is_served(fresh_server, tmp_path: Path) -> None:
    """The limit applies to the import only. Afterwards workers that die are replaced as usual."""
    (tmp_path / "quick.py").write_text(GREETING)
    options = ["--preload", "--pythonpath", str(tmp_path), "--boot-timeout", "20"]
    server = fresh_server("quick:app", *options)
    assert server.get("/").body == b"ok"
    (pid,) = workers(server, 1)
    assert server.get("/").body == b"ok"
    os.kill(pid, signal.SIGABRT)
    server.wait_for_event("worker.died", f"{pid} was killed by SIGABRT")
    workers(server, 1, {pid})
    assert server.get("/").body == b"ok"


def test_signals_during_the_import_are_handled_after_it(fresh_server, tmp_path: Path) -> None:
    """The guard process gets them during the import, and the master afterwards, each once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "slow.py").write_text(
        "import sys\n"
        f"print('importing', file=sys.stderr, flush=True)\nopen({str(fifo)!r}).read()\n{GREETING}"
    )
    server = fresh_server("slow:app", "--preload", "--pythonpath", str(tmp_path))
    server.wait_for_log("importing")
    server.send_signal(signal.SIGTTIN)
    fifo.write_text("")
    workers(server, 2)
    assert server.stderr().count("Handling signal: ttin") == 1


def test_new_master_that_hangs_is_given_up(fresh_server, tmp_path: Path) -> None:
    """USR2: the old master continues. Regression: it could not start another upgrade while the new
    one hung."""
    (tmp_path / "hanging.py").write_text(GREETING)
    options = ["--preload", "--pythonpath", str(tmp_path), "--pid", str(tmp_path / "pid")]
    config = tmp_path / "rustwsgi.toml"
    config.write_text("")
    server = fresh_server("hanging:app", *options, "-c", str(config))
    server.wait_for_event("server.ready")
    assert server.get("/").body == b"ok"
    (tmp_path / "hanging.py").write_text(HANGS["with the interpreter"])
    # For the new master only: a good one may take longer to boot on a loaded machine.
    config.write_text("boot_timeout = 4\n")
    server.send_signal(signal.SIGUSR2)
    server.wait_for_event("upgrade.ended", r"\d+ exited with code 3")
    assert hangs_at(server.stderr())
    assert server.get("/").body == b"ok"
    assert (tmp_path / "pid").exists() and not (tmp_path / "pid.2").exists()


@pytest.mark.parametrize(
    ("hangs", "code"),
    [
        ("import sys, time; print('it hangs', file=sys.stderr, flush=True); time.sleep(600)", 0),
        (HANGS["with the interpreter"], 130),
    ],
    ids=["that can be interrupted", "that cannot"],
)
def test_reload_with_a_hanging_configuration_is_given_up(
    fresh_server, tmp_path: Path, hangs: str, code: int
) -> None:
    """HUP executes the configuration in the master, which must still handle signals."""
    config = tmp_path / "conf.py"
    config.write_text("")
    server = fresh_server("supervised:app", "-c", str(config))
    config.write_text(hangs)
    server.send_signal(signal.SIGHUP)
    wait_until_it_hangs(server)
    assert server.get("/").status == 200
    server.send_signal(signal.SIGTERM)
    # All of its processes end: the harness sees to that.
    assert server.wait() == code
    if not code:
        server.wait_for_event("reload.rejected")


FORKING = """
import logging, os
from supervised import app
log = logging.getLogger("gunicorn.error")
if not (pid := os.fork()):
    log.info("line of the child")
    os._exit(0)
os.waitpid(pid, 0)
log.info("line of the master")
"""


def test_lines_of_a_process_forked_by_the_import_are_written(fresh_server, tmp_path: Path) -> None:
    """Regression: the child held its INFO lines back, as the master does during the start, and nothing
    ever wrote them."""
    (tmp_path / "forking.py").write_text(FORKING)
    server = fresh_server("forking:app", "--preload", "--pythonpath", str(tmp_path))
    server.wait_for_event("server.ready")
    server.wait_for_log("line of the child")


def test_daemon_logs_its_start_in_order(door: str, tmp_path: Path) -> None:
    """It holds back lines of the process that has forked it."""
    (tmp_path / "forking.py").write_text(FORKING)
    log, pid = tmp_path / "log", tmp_path / "pid"
    options = ["--daemon", "--preload", "--pid", str(pid), "--error-logfile", str(log)]
    options += ["--pythonpath", str(tmp_path), "--bind", "127.0.0.1:0"]
    assert run_cli(door, *options, "forking:app").returncode == 0
    os.kill(int(pid.read_text()), signal.SIGTERM)
    wait_until(lambda: not pid.exists(), "it ends")
    text = log.read_text()
    found = [text.find(part) for part in ("Starting", "Listening", "of the master", "Ready")]
    assert found == sorted(found) and -1 not in found, text
