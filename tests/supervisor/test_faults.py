"""Faults of the supervisor that a hostile review found; each docstring has the former defect."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from harness import (
    APPS,
    TIMEOUT,
    Client,
    ServerProcess,
    build_request,
    child_environment,
    door_command,
    wait_until,
)
from harness.supervision import children, listens, serving_pid, workers

APP = "supervised:app"

GREETING = (
    "def app(environ, start_response):\n"
    "    start_response('200 OK', [('Content-Length', '2')])\n"
    "    return [b'ok']\n"
)


def test_request_that_ends_while_its_stack_is_dumped_is_answered(
    fresh_server, tmp_path: Path
) -> None:
    """Dumping a stack runs Python code, which releases the interpreter. A thread whose request ended
    just then took the interpreter and waited for the dump, which waited for the interpreter."""
    (tmp_path / "overdue.py").write_text(
        "import threading, time, traceback\n"
        "shown = threading.Event()\n"
        "format_stack = traceback.format_stack\n"
        "def slowly(*args):\n"
        "    shown.set()\n"
        "    time.sleep(0.2)\n"
        "    return format_stack(*args)\n"
        "traceback.format_stack = slowly\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/overdue':\n"
        "        shown.wait()\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    options = ["--timeout", "3", "--keep-alive", "75", "--pythonpath", str(tmp_path)]
    server = fresh_server("overdue:app", *options)
    with server.connect() as client:
        client.send(build_request("GET", "/overdue"))
        # The poller may have answered for it already.
        assert client.response().status in (200, 504)
    with server.connect() as client:
        for _ in range(20):  # nor does the exception meet another request
            assert client.request(build_request()).body == b"ok"
    assert "worker.no_heartbeat" not in server.stderr()


def test_slow_worker_exit_costs_the_master_no_processor_time(
    fresh_server, tmp_path: Path, fifo: Path
) -> None:
    """Regression: the closed channel of a worker stayed readable, so the master looped until the
    worker had ended."""
    (tmp_path / "slow_exit.py").write_text(
        "import atexit, sys\n"
        f"atexit.register(lambda: (print('leaving', file=sys.stderr), open({str(fifo)!r}).read()))\n"
        f"{GREETING}"
    )
    server = fresh_server("slow_exit:app", "--pythonpath", str(tmp_path))
    server.wait_for_event("server.ready")
    (pid,) = workers(server, 1)
    os.kill(pid, signal.SIGTERM)
    server.wait_for_log("leaving")

    def ticks() -> int:
        columns = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return int(columns[11]) + int(columns[12])

    # An idle master uses none at all within any second.
    wait_until(lambda: ticks() == (time.sleep(0.5), ticks())[1], "the master rests")
    fifo.write_text("")
    workers(server, 1, {pid})
    # One that is still importing would end at once.
    server.get("/")
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log("(leaving(.|\n)*){2}")
    fifo.write_text("")
    assert server.wait() == 0


def test_term_to_every_process_finishes_requests(fresh_server, fifo: Path) -> None:
    """As systemd does by default: a worker gets TERM twice, and once more from the master. That
    must not count as a second, impatient signal."""
    server = fresh_server(APP, "--workers", "2")
    # A worker that is still importing would end at once.
    server.wait_for_event("server.ready")
    pids = workers(server, 2)
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        for pid in (*pids, server.pid):
            os.kill(pid, signal.SIGTERM)
        server.wait_for_event("server.stopping")
        wait_until(lambda: len(children(server.pid)) == 1, "the idle worker has gone")
        for _ in range(20):
            (pid,) = children(server.pid)
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)  # signals that come together count as one
        fifo.write_text("finished")
        assert client.response().body == b"finished"
    assert server.wait() == 0


@pytest.mark.parametrize("closed", ["stdout", "stdin,stdout"])
def test_preload_without_standard_output_starts(door: str, tmp_path: Path, closed: str) -> None:
    """Regression: the server ended because Python's streams could not be flushed before the
    fork."""
    command = [*door_command(door), "--bind", f"unix:{tmp_path / 's'}", "--preload", APP]
    redirect = {"stdout": ">&-", "stdin,stdout": "<&- >&-"}[closed]
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", *command],
        cwd=APPS,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until(lambda: listens(tmp_path / "s"), "it listens")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(str(tmp_path / "s"))
            assert Client(sock).request(build_request()).status == 200
    finally:
        process.terminate()
        _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_hanging_preload_can_be_interrupted(
    door: str, tmp_path: Path, fifo: Path, signum: int
) -> None:
    """Regression: the master blocked all signals until the import had ended."""
    (tmp_path / "hanging.py").write_text(
        f"import sys\nprint('importing', file=sys.stderr, flush=True)\nopen({str(fifo)!r}).read()\n"
    )
    pidfile = tmp_path / "pid"
    options = ["--preload", "--pythonpath", str(tmp_path), "--pid", str(pidfile)]
    with ServerProcess(door, "hanging:app", *options) as server:
        server.wait_for_log("importing")
        server.send_signal(signum)
        assert server.wait() != 0
    assert not pidfile.exists()
    assert "Traceback" not in server.stderr()


def test_reload_after_preload_changed_the_directory_finds_its_files(
    fresh_server, tmp_path: Path
) -> None:
    """--chdir is for the application; paths on the command line stay relative to the shell's
    directory."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "moved.py").write_text(GREETING)
    (tmp_path / "options.toml").write_text('name = "one"\n')
    options = ["-c", "options.toml", "--chdir", "app", "--preload", "--pid", "pid"]
    server = fresh_server("moved:app", *options, cwd=tmp_path)
    server.wait_for_event("server.ready")
    for count in (1, 2):
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: server.stderr().count("Reloaded: ") == count, "reloaded")  # noqa: B023
    assert server.get("/").body == b"ok"
    server.send_signal(signal.SIGUSR2)
    second = tmp_path / "pid.2"
    wait_until(second.exists, "the new master")
    server.wait_for_log("inherited")
    os.kill(int(second.read_text()), signal.SIGTERM)
    server.wait_for_event("upgrade.ended")


def test_child_processes_have_no_blocked_signals(fresh_server, tmp_path: Path) -> None:
    """Regression: ignored signals stay ignored across exec, so a command started by a worker
    ignored HUP."""
    (tmp_path / "commanding.py").write_text(
        "import subprocess, sys\n"
        "SHOW = 'import signal; print([s.name for s in signal.valid_signals()'\\\n"
        "       ' if signal.getsignal(s) is signal.SIG_IGN and s.name in '\\\n"
        '       \'("SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGWINCH")])\'\n'
        "SHOW = SHOW.replace('valid_signals()', 'Signals')\n"
        "def app(environ, start_response):\n"
        "    data = subprocess.check_output([sys.executable, '-c', SHOW])\n"
        "    start_response('200 OK', [('Content-Length', str(len(data)))])\n"
        "    return [data]\n"
    )
    server = fresh_server("commanding:app", "--pythonpath", str(tmp_path))
    assert server.get("/").body.strip() == b"[]"


def test_lack_of_descriptors_does_not_end_the_server(fresh_server) -> None:
    """A master without a descriptor for another worker keeps the workers it has."""
    resource = pytest.importorskip("resource")
    server = fresh_server(APP)
    # Until then the master has descriptors that it closes again.
    server.wait_for_event("server.ready")
    pids = workers(server, 1)
    in_use = len(os.listdir(f"/proc/{server.pid}/fd"))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (in_use, in_use))
    server.send_signal(signal.SIGTTIN)
    server.wait_for_event("worker.not_forked")
    assert serving_pid(server) in pids


def test_reload_without_descriptors_keeps_the_signal_handlers(fresh_server, tmp_path: Path) -> None:
    """Regression: the reload failed, and afterwards TERM raised KeyboardInterrupt in the master,
    which broke off requests."""
    resource = pytest.importorskip("resource")
    fifo, conf = tmp_path / "fifo", tmp_path / "conf.py"
    os.mkfifo(fifo)
    conf.write_text("")
    server = fresh_server(APP, "-c", str(conf))
    server.wait_for_event("server.ready")
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (6, limits[1]))
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.rejected")
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("signal.received", "term")
        fifo.write_text("whole")
        assert client.response().body == b"whole"
    assert server.wait() == 0


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or shutil.which("ps") is None
    or subprocess.run(["unshare", "-pf", "--mount-proc", "true"], capture_output=True).returncode,
    reason="needs a process namespace of its own, and ps",
)
def test_pid_1_reaps_orphans(door: str, tmp_path: Path) -> None:
    """In a container without an init, the server is the parent of orphaned processes.

    Regression: one that a real-time signal had ended was never reaped, nor any after it.
    """
    (tmp_path / "orphans.py").write_text(
        "import os, subprocess\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/orphan':\n"
        "        subprocess.run(['sh', '-c', 'true & sh -c \"kill -40 \\$\\$\" & true & :'])\n"
        "    data = subprocess.check_output(['ps', '-eo', 'stat=,ppid=,comm='])\n"
        "    start_response('200 OK', [('Content-Length', str(len(data)))])\n"
        "    return [data]\n"
    )
    path = tmp_path / "s"
    options = ["--bind", f"unix:{path}", "--pythonpath", str(tmp_path)]
    process = subprocess.Popen(
        ["unshare", "-pf", "--mount-proc", *door_command(door), *options, "orphans:app"],
        cwd=APPS,
        env=child_environment(),
        stderr=subprocess.PIPE,
    )

    def get(target: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(str(path))
            return Client(sock).request(build_request("GET", target)).body

    try:
        wait_until(lambda: listens(path), "it listens")
        for _ in range(3):
            get("/orphan")
        wait_until(lambda: b"Z" not in get("/"), "no zombies")
        (master,) = children(process.pid)
        os.kill(master, signal.SIGTERM)
    finally:
        _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, said
