"""Signals under load: reloads and shutdowns that lose no request."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from io import FileIO
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
from harness.supervision import Load, children, refuses, reloads, serving_pid, workers

APP = "supervised:app"


def opened(fifo: Path) -> FileIO:
    """Open a named pipe, which releases all processes that wait for its other end."""
    return fifo.open("r+b", buffering=0)


# ---------------------------------------------------------------------------------- HUP


@pytest.mark.parametrize("strategy", ["all", "rolling"])
def test_ten_reloads_under_load_lose_nothing(fresh_server, strategy: str) -> None:
    server = fresh_server(APP, "--workers", "2", "--reload-strategy", strategy)
    seen: set[int] = set()
    with Load(server.connect, kept=6, fresh=3) as load:
        for number in range(10):
            old = workers(server, 2, seen)
            seen |= old
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: reloads(server) == number + 1, server.stderr())  # noqa: B023
            load.more()
            new = {str(pid).encode() for pid in children(server.pid) - seen}
            wait_until(lambda: load.bodies & new, "the new generation serves")  # noqa: B023
        workers(server, 2, seen)
        load.more()
    assert load.failures == [] and load.answered > 500


def test_idle_connection_survives_the_reload(fresh_server) -> None:
    """Its client may send the next request at the moment when the worker retires."""
    server = fresh_server(APP, "--keep-alive", "600")
    with server.connect() as client:
        old = int(client.request(build_request()).body)
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        wait_until(lambda: serving_pid(server) != old, "the new worker serves")
        options: set[str] = set()
        while "close" not in options:  # until the old worker has heard of it
            response = client.request(build_request())
            assert int(response.body) == old
            options = response.connection
        assert client.at_eof()
    workers(server, 1, {old})


def test_request_in_flight_survives_the_reload(fresh_server, fifo: Path) -> None:
    server = fresh_server(APP)
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        fifo.write_text("finished")
        assert client.response().body == b"finished"


def test_reload_imports_the_application_again(fresh_server, tmp_path: Path) -> None:
    module = tmp_path / "versioned.py"
    source = "def app(e, s):\n    s('200 OK', [('Content-Length', '1')])\n    return [b'%d']\n"
    module.write_text(source % 1)
    server = fresh_server("versioned:app", "--pythonpath", str(tmp_path))
    assert server.get("/").body == b"1"
    module.write_text(source % 2)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    wait_until(lambda: server.get("/").body == b"2", "the new code serves")


@pytest.mark.parametrize("strategy", ["all", "rolling"])
def test_boot_failure_on_reload_leaves_the_old_workers(
    fresh_server, tmp_path: Path, strategy: str
) -> None:
    module = tmp_path / "breaks.py"
    module.write_text("from supervised import app\n")
    args = ["--workers", "2", "--reload-strategy", strategy]
    server = fresh_server("breaks:app", *args, "--pythonpath", str(tmp_path))
    server.wait_for_event("server.ready")
    with Load(server.connect, kept=3) as load:
        old = workers(server, 2)
        module.write_text("raise RuntimeError('half a deployment')\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_log("half a deployment")
        server.wait_for_event("reload.failed", "the old workers keep serving")
        assert workers(server, 2) == old
        load.more()
        module.write_text("from supervised import app\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed", "2")
        workers(server, 2, old)
        load.more()
    assert load.failures == []


@pytest.mark.parametrize("strategy", ["all", "rolling"])
def test_boot_failure_on_reload_replaces_a_missing_worker(
    door: str, tmp_path: Path, strategy: str
) -> None:
    """Regression: the log said that the old workers continue, but the broken configuration stayed:
    new workers failed, and the old address and the pid file were lost."""
    (tmp_path / "supervised.py").write_text((APPS / "supervised.py").read_text())
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    # The import waits until the test has killed an old worker.
    (tmp_path / "late.py").write_text(f"open({str(gate)!r})\nraise RuntimeError('broken')\n")
    config = tmp_path / "rustwsgi.toml"
    good = f"bind = 'unix:{tmp_path}/a'\npid = '{tmp_path}/a.pid'\napp = 'supervised:app'\n"
    bad = f"bind = 'unix:{tmp_path}/b'\npid = '{tmp_path}/b.pid'\napp = 'late:app'\n"
    config.write_text(good)
    options = ["--workers", "2", "--reload-strategy", strategy]
    with ServerProcess(door, None, *options, bind=None, cwd=tmp_path) as server:
        serving_pid(server)
        with Load(server.connect, kept=1) as load:
            wait_until(lambda: len(load.bodies) == 2, "both serve")
        first, second = workers(server, 2)
        config.write_text(bad)
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.started")
        os.kill(first, signal.SIGKILL)
        server.wait_for_event("worker.died", f"{first} was killed")
        with opened(gate):
            server.wait_for_event("reload.failed", "the old workers keep serving")
        assert serving_pid(server) in workers(server, 2, {first})
        wait_until(lambda: serving_pid(server) != second, "a new one serves with what was good")
        assert (tmp_path / "a.pid").read_text() == f"{server.pid}\n"
        assert not (tmp_path / "b.pid").exists() and not (tmp_path / "b").exists()


@pytest.fixture
def booting(door: str, tmp_path: Path) -> Iterator[tuple[ServerProcess, Path]]:
    """A server that serves at `a` and reloads to `b`, where no worker is ready until the named pipe
    is opened; and its configuration file."""
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "late.py").write_text(
        f"open({str(tmp_path / 'gate')!r})\nraise RuntimeError('broken')\n"
    )
    config = tmp_path / "options.toml"
    config.write_text(f"bind = 'unix:{tmp_path}/a'\napp = 'supervised:app'\n")
    options = ["--config", str(config), "--pythonpath", f"{tmp_path}"]
    with ServerProcess(door, None, *options, bind=None) as server:
        serving_pid(server)
        config.write_text(f"bind = 'unix:{tmp_path}/b'\napp = 'late:app'\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.started", "(.|\n)*Booting")
        yield server, config


def test_second_reload_replaces_one_that_boots(
    booting: tuple[ServerProcess, Path], tmp_path: Path
) -> None:
    """Regression: the old address counted as in use by another program, so the server kept the
    reload that should be replaced."""
    server, config = booting
    config.write_text(f"bind = 'unix:{tmp_path}/a'\napp = 'supervised:app'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed", "1")
    assert serving_pid(server)
    assert "reload.rejected" not in server.stderr()
    wait_until(lambda: not (tmp_path / "b").exists(), "the other address is let go of")


def test_mistake_while_a_reload_boots_keeps_the_old_workers(
    booting: tuple[ServerProcess, Path], tmp_path: Path
) -> None:
    """The old address must still be there when the reload finally fails."""
    server, config = booting
    config.write_text(f"bind = ['unix:{tmp_path}/a', '192.0.2.1:0']\napp = 'supervised:app'\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.rejected", "cannot listen on")
    with opened(tmp_path / "gate"):
        server.wait_for_event("reload.failed", "the old workers keep serving")
    assert serving_pid(server)
    wait_until(lambda: not (tmp_path / "b").exists(), "the other address is let go of")


def test_reload_during_a_failing_start_uses_the_new_code(door: str, tmp_path: Path) -> None:
    """Regression: the log said that old workers continue, although there were none."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "late.py").write_text(f"open({str(gate)!r})\nfrom supervised import app\n")
    config = tmp_path / "rustwsgi.toml"
    config.write_text("bind = '127.0.0.1:0'\napp = 'late:app'\n")
    options = ["--config", str(config), "--pythonpath", str(tmp_path)]
    with ServerProcess(door, None, *options, bind=None) as server:
        server.wait_for_event("worker.booting")
        config.write_text("bind = '127.0.0.1:0'\napp = 'http_broken:app'\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.failed", "previous configuration$")
        with opened(gate):
            assert server.get("/").status == 200
        assert "keep serving" not in server.stderr()


def test_term_ends_workers_retired_by_a_reload(fresh_server) -> None:
    """A retired worker waits for its idle clients; a shutdown does not."""
    server = fresh_server(APP, "--keep-alive", "600", "--graceful-timeout", "600")
    with server.connect() as client:
        old = int(client.request(build_request()).body)
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        wait_until(lambda: serving_pid(server) != old, "the new worker serves")
        assert old in children(server.pid)
        server.send_signal(signal.SIGTERM)
        assert client.at_eof()
        assert server.wait() == 0


# -------------------------------------------------------------------------------- the end


def test_term_under_load_answers_what_was_accepted(door: str) -> None:
    """Clients see a refused connection or a close between requests, never a reset inside one."""
    with ServerProcess(door, APP, "--workers", "2") as server:
        address = (server.host, server.port)
        resets: list[str] = []
        started = threading.Barrier(9)

        def ask() -> None:
            started.wait()
            while True:
                try:
                    sock = socket.create_connection(address, timeout=TIMEOUT)
                except (ConnectionRefusedError, ConnectionResetError):
                    return
                with Client(sock) as client:
                    try:
                        response = client.request(build_request())
                        assert response.complete
                    except (ConnectionError, AssertionError) as failure:
                        resets.append(repr(failure))

        clients = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
        for client in clients:
            client.start()
        started.wait()
        for _ in range(3):
            serving_pid(server)
        server.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(20)
        assert resets == []
        assert server.wait() == 0


def test_term_drains_the_backlog(fresh_server, fifo: Path) -> None:
    """Connections that are in the accept queue when TERM arrives are served."""
    server = fresh_server(APP, "--threads", "1", "--worker-connections", "1")
    with server.connect() as busy:
        busy.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        waiting = [server.connect() for _ in range(5)]
        for client in waiting:
            client.send(build_request())
        server.send_signal(signal.SIGTERM)
        fifo.write_text("done")
        assert busy.response().body == b"done"
        for client in waiting:
            assert client.response().status == 200
            client.close()
    assert server.wait() == 0


def test_term_during_slow_requests_finishes_them(fresh_server, tmp_path: Path) -> None:
    server = fresh_server(APP, "--workers", "2", "--threads", "4")
    fifos = [tmp_path / f"fifo{number}" for number in range(3)]
    holding = []
    for path in fifos:
        os.mkfifo(path)
        holding.append(server.connect())
        holding[-1].send(build_request("GET", f"/hold?{path}"))
    wait_until(lambda: server.stderr().count("request started") == 3, "all have started")
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "the sockets are closed")
    for path, client in zip(fifos, holding, strict=True):
        assert server.is_alive()
        path.write_text("finished")
        response = client.response()
        # Begun after the order: the client must not send another request.
        assert response.body == b"finished" and response.connection == {"close"}
        assert client.at_eof()
    assert server.wait() == 0


# --------------------------------------------------------------------------------- others


def test_usr1_reopens_the_logs(fresh_server, tmp_path: Path) -> None:
    """Each log continues in a new file of the old name."""
    access = tmp_path / "access.log"
    server = fresh_server(APP, "--access-logfile", str(access))
    server.get("/?first")
    wait_until(lambda: "?first" in access.read_text(), "the first line")
    access.rename(tmp_path / "access.log.1")
    server.counters()  # it says them when it has heard of the new file
    server.get("/?second")
    wait_until(lambda: "?second" in access.read_text(), "the second line")
    assert "?second" not in (tmp_path / "access.log.1").read_text()


def test_usr1_reopens_the_error_log(door: str, tmp_path: Path) -> None:
    errors = tmp_path / "error.log"
    path = tmp_path / "s"
    command = [*door_command(door), "--bind", f"unix:{path}", "--error-logfile", "error.log"]
    process = subprocess.Popen(
        [*command, "--chdir", str(APPS), APP], cwd=tmp_path, env=child_environment()
    )
    try:
        wait_until(
            lambda: errors.exists() and "[server.ready]" in errors.read_text(), "it has started"
        )
        errors.rename(tmp_path / "error.log.1")
        process.send_signal(signal.SIGUSR1)
        wait_until(errors.exists, "a new file")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
    assert "Shut down" in errors.read_text()
    assert "Shut down" not in (tmp_path / "error.log.1").read_text()


def test_winch_retires_the_workers_and_hup_starts_them(fresh_server) -> None:
    """The server has no terminal here: it is in a session of its own."""
    server = fresh_server(APP, "--workers", "2")
    old = workers(server, 2)
    server.wait_for_event("server.ready")
    server.send_signal(signal.SIGWINCH)
    workers(server, 0)
    with server.connect() as client:
        client.send(build_request())  # waits in the kernel
        server.send_signal(signal.SIGHUP)
        assert client.response().status == 200
    workers(server, 2, old)


@pytest.mark.parametrize("sig", [signal.SIGWINCH, signal.SIGUSR2])
def test_signal_before_the_start_is_complete_is_ignored(
    fresh_server, tmp_path: Path, fifo: Path, sig: int
) -> None:
    """Regression: WINCH ended the start as if all workers were ready, although none was. A second
    master (USR2) could not know the result of the first start."""
    (tmp_path / "late.py").write_text(f"open({str(fifo)!r})\nfrom supervised import app\n")
    server = fresh_server("late:app", "--pythonpath", str(tmp_path))
    server.wait_for_event("worker.booting")
    server.send_signal(sig)
    server.wait_for_event("signal.ignored", "not started yet")
    with opened(fifo):
        assert server.get("/").status == 200
    assert len(workers(server, 1)) == 1


def test_worker_ignores_signals_for_the_master(fresh_server) -> None:
    """A terminal sends HUP and WINCH to all its processes."""
    server = fresh_server(APP)
    pid = serving_pid(server)
    for sig in (signal.SIGHUP, signal.SIGWINCH, signal.SIGUSR2, signal.SIGTTIN):
        os.kill(pid, sig)
    assert serving_pid(server) == pid


def test_term_to_a_worker_replaces_it(fresh_server) -> None:
    server = fresh_server(APP)
    pid = serving_pid(server)
    os.kill(pid, signal.SIGTERM)
    server.wait_for_event("worker.exited", str(pid))
    assert serving_pid(server) != pid


# --------------------------------------------------------------------- the application's own

RAISING = """
import os, signal, time
from supervised import app as answer


def handler(number, frame):
    raise {}("too slow")


signal.signal(signal.SIGALRM, handler)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/alarm":
        signal.raise_signal(signal.SIGALRM)
    return answer(environ, start_response)
"""


@pytest.mark.parametrize("failure", ["TimeoutError", "KeyError"])
def test_signal_handler_that_raises_does_not_end_the_worker(
    fresh_server, tmp_path: Path, failure: str
) -> None:
    """Regression: the worker ended with all its requests. Python runs handlers in the main thread,
    which runs no request."""
    (tmp_path / "raising.py").write_text(RAISING.format(failure))
    server = fresh_server("raising:app", "--pythonpath", str(tmp_path))
    pid = serving_pid(server)
    for _ in range(3):
        start = len(server.stderr())
        assert int(server.get("/alarm").body) == pid
        server.wait_for_event("signal.handler_failed", str(failure), start=start)
        server.wait_for_log(r'raising.py", line 7, in handler', start=start)
    assert serving_pid(server) == pid


def test_signal_handler_that_exits_ends_the_worker(fresh_server, tmp_path: Path) -> None:
    """SystemExit in a handler ends the process."""
    (tmp_path / "raising.py").write_text(RAISING.format("SystemExit"))
    server = fresh_server("raising:app", "--pythonpath", str(tmp_path))
    pid = serving_pid(server)
    server.get("/alarm")
    server.wait_for_log(rf"\[worker\.(exited|died)\] .*{pid}")
    assert serving_pid(server) != pid
