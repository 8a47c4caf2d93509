"""The master and its workers: their number, and what happens when one dies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from harness import (
    NoResponse,
    ServerProcess,
    StartFailed,
    build_request,
    run_cli,
    wait_until,
)
from harness.supervision import Load, children, is_alive, refuses, serving_pid, workers

APP = "supervised:app"


def test_one_worker_is_not_the_master(fresh_server) -> None:
    server = fresh_server(APP)
    assert workers(server, 1) == {serving_pid(server)}
    server.wait_for_event("server.ready", "1 worker serves$")


def test_every_worker_serves(fresh_server) -> None:
    server = fresh_server(APP, "--workers", "3")
    assert serving_pid(server) in workers(server, 3)
    assert server.get("/multiprocess").body == b"True"
    assert server.stop() == 0
    assert "[ERROR]" not in server.stderr() and "[WARNING]" not in server.stderr()


def readers(server: ServerProcess, fifo: Path) -> int:
    """How many descriptors of the workers refer to it."""
    count = 0
    for pid in children(server.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += os.readlink(link) == str(fifo)
    return count


def test_requests_that_block_find_the_free_threads(fresh_server, fifo: Path) -> None:
    """A worker without a free thread leaves a new connection to a worker with one, so that its
    request does not wait behind blocking ones."""
    server = fresh_server(APP, "--workers", "2", "--threads", "2")
    with Load(server.connect, kept=1) as load:
        wait_until(lambda: len(load.bodies) == 2, "both workers serve")
    clients = []
    # As many as there are threads in both. One after the other: a connection that was accepted is bound to
    # its worker, and a client that is slow to make its request may find that busy by then.
    for count in range(1, 5):
        clients.append(server.connect())
        clients[-1].send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log(r"(.|\n)*".join(["request started"] * count))
    # Keeps the pipe open, so that each of them finds it so, however late it gets there.
    writer = os.open(fifo, os.O_RDWR)
    wait_until(lambda: readers(server, fifo) == 4, "all read")
    os.close(writer)
    for client in clients:
        assert client.response().status == 200
        client.close()


def test_requests_that_come_together_find_the_free_threads(fresh_server, tmp_path: Path) -> None:
    """Regression: of four requests at once, three reached one worker in every sixth round. The
    third waited for a thread although the other worker had a free one."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    server = fresh_server(APP, "--workers", "2", "--threads", "2")
    with Load(server.connect, kept=1) as load:
        wait_until(lambda: len(load.bodies) == 2, "both workers serve")
    for _ in range(40):
        seen = len(server.stderr())
        clients = []
        for _ in range(4):
            clients.append(server.connect())
            clients[-1].send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log(r"(.|\n)*".join(["request started"] * 4), start=seen)
        writer = os.open(fifo, os.O_RDWR)
        wait_until(lambda: readers(server, fifo) == 4, "all read")
        os.close(writer)
        for client in clients:
            assert client.response().status == 200
            client.close()


def test_workers_added_by_ttin_know_of_each_other(fresh_server, fifo: Path) -> None:
    """Regression: each used the number of workers at the start. It accepted connections while all
    its threads were busy, and reported to the application that there was no other process."""
    server = fresh_server(APP, "--threads", "1", "--keep-alive", "600")
    with server.connect() as kept:
        first = int(kept.request(build_request()).body)

        def multiprocess() -> bytes:
            return kept.request(build_request("GET", "/multiprocess")).body

        assert multiprocess() == b"False"
        server.send_signal(signal.SIGTTIN)
        (second,) = workers(server, 2) - {first}
        wait_until(lambda: multiprocess() == b"True", "the first knows of the second")
        wait_until(lambda: serving_pid(server) == second, "the second serves")
        kept.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        for _ in range(8):  # who is accepted by the first waits until it is let go
            assert serving_pid(server) == second
        assert server.get("/multiprocess").body == b"True"
        server.send_signal(signal.SIGTTOU)  # the older one goes
        fifo.write_text("finished")
        assert kept.response().body == b"finished"
    wait_until(lambda: server.get("/multiprocess").body == b"False", "the second is alone")


def test_web_concurrency_sets_the_number_of_workers(fresh_server) -> None:
    server = fresh_server(APP, env={"WEB_CONCURRENCY": "2"})
    workers(server, 2)


@pytest.mark.parametrize("value", ["0", "x", "100000"])
def test_bad_web_concurrency_is_an_error(door: str, value: str) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", APP, env={"WEB_CONCURRENCY": value})
    assert done.returncode == 2 and "WEB_CONCURRENCY" in done.stderr


def test_the_application_is_imported_in_the_worker(fresh_server) -> None:
    server = fresh_server(APP)
    assert int(server.get("/imported").body) == serving_pid(server) != server.pid


def test_the_master_is_idle_when_nothing_happens(fresh_server) -> None:
    """It waits without a timer: no wake-ups, so its context switches do not grow."""
    server = fresh_server(APP, "--workers", "2")
    serving_pid(server)
    workers(server, 2)

    def switches() -> str:
        status = Path(f"/proc/{server.pid}/status").read_text()
        return next(line for line in status.splitlines() if line.startswith("voluntary_ctxt"))

    server.wait_for_event("server.ready")
    wait_until(lambda: switches() == (time.sleep(0.3), switches())[1], "it rests")
    before = switches()
    server.get("/")
    assert switches() == before


@pytest.mark.parametrize(
    ("path", "how"),
    [("/segfault", "SIGSEGV"), ("/kill", "SIGKILL"), ("/exit?7", "exited with code 7")],
)
def test_worker_that_dies_is_replaced(fresh_server, path: str, how: str) -> None:
    """The client whose request ended the worker gets no response; the next one is served."""
    server = fresh_server(APP)
    first = serving_pid(server)
    with server.connect() as client:
        client.send(build_request("GET", path))
        with pytest.raises((NoResponse, ConnectionResetError)):
            client.response()
    server.wait_for_log(rf"\[worker\.(exited|died)\] .*{first} .*{how}")
    assert serving_pid(server) != first
    assert workers(server, 1) == {serving_pid(server)}


def test_kill_9_under_load_loses_only_its_requests(fresh_server) -> None:
    """At most one request for each connection of the killed worker is lost."""
    server = fresh_server(APP, "--workers", "2")
    with Load(server.connect, kept=6, fresh=2) as load:
        for _ in range(3):
            load.more()
            victim = serving_pid(server)
            os.kill(victim, signal.SIGKILL)
            server.wait_for_event("worker.died", f"{victim} was killed by SIGKILL")
            workers(server, 2, {victim})
        load.more()
        lost = len(load.failures)
    assert lost <= 3 * 8, load.failures
    with Load(server.connect) as load:
        load.more()
    assert load.failures == []


@pytest.mark.second_door("no case")
def test_workers_that_die_at_once_are_restarted_with_back_off(fresh_server) -> None:
    """A request that crashes the worker repeatedly delays restarts but does not end the server."""
    server = fresh_server(APP)
    for _ in range(6):
        pid = serving_pid(server)
        os.kill(pid, signal.SIGKILL)
        server.wait_for_event("worker.died", f"{pid} was killed by SIGKILL")
    assert serving_pid(server)
    # The line of a boot may come later than the first response.
    wait_until(lambda: server.stderr().count("Booting worker") == 7, "each is replaced once")


def test_boot_failure_ends_the_server(door: str) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", "--workers", "2", "http_broken:app")
    assert done.returncode == 3
    assert "RuntimeError: no database today" in done.stderr


def test_boot_crash_ends_the_server(door: str, tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text("import ctypes\nctypes.string_at(0)\n")
    done = run_cli(door, "--bind", "127.0.0.1:0", "crash:app", cwd=tmp_path)
    assert done.returncode == 3 and "SIGSEGV" in done.stderr, done


def test_worker_that_cannot_start_threads_ends_the_server(door: str, tmp_path: Path) -> None:
    """Regression: it had reported ready before, so the master restarted it forever."""
    (tmp_path / "single.py").write_text(
        "import sys\nfrom echo import app\nsys.modules['threading'] = None\n"
    )
    options = ["--bind", "127.0.0.1:0", "--pythonpath", str(tmp_path)]
    done = run_cli(door, *options, "single:app")
    assert done.returncode == 1 and "before it was ready: shutting down" in done.stderr, done


# ------------------------------------------------------------------------ --boot-timeout


HANGS = "import time\ndef wait_for_a_license():\n    time.sleep(600)\nwait_for_a_license()\n"


@pytest.mark.second_door("no case")
def test_import_that_hangs_ends_the_server(door: str, tmp_path: Path) -> None:
    """The log shows the stack of the import."""
    (tmp_path / "hangs.py").write_text(HANGS)
    # One worker: several write their stacks at the same time.
    options = ["--bind", "127.0.0.1:0", "--boot-timeout", "3"]
    done = run_cli(door, *options, "hangs:app", cwd=tmp_path, timeout=60)
    assert done.returncode == 3, done
    assert re.search(r"\[worker.boot_timeout\].* 3 s of --boot-timeout", done.stderr)
    assert re.search(r"hangs\.py.* in wait_for_a_license", done.stderr), done.stderr


@pytest.mark.second_door("no case")
def test_import_that_hangs_on_reload_keeps_the_old_workers(fresh_server, tmp_path: Path) -> None:
    """The old worker continues to serve."""
    module = tmp_path / "later.py"
    module.write_text("from supervised import app\n")
    config = tmp_path / "rustwsgi.toml"
    config.write_text("")
    server = fresh_server("later:app", "-c", str(config), "--pythonpath", str(tmp_path))
    pid = serving_pid(server)
    module.write_text(HANGS)
    # For this reload only: a good worker may take longer to boot on a loaded machine.
    config.write_text("boot_timeout = 3\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("worker.boot_timeout", "3 s of --boot-timeout")
    server.wait_for_event("reload.failed", "the old workers keep serving")
    assert workers(server, 1) == {pid} == {serving_pid(server)}
    module.write_text("from supervised import app\n")
    config.write_text("")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    workers(server, 1, {pid})


def test_later_boot_failure_keeps_the_server(fresh_server, tmp_path: Path) -> None:
    """The code on disk is broken when a worker dies: the master tries again until it works."""
    module = tmp_path / "mended.py"
    module.write_text("from supervised import app\n")
    server = fresh_server("mended:app", "--workers", "2", "--pythonpath", str(tmp_path))
    both = workers(server, 2)
    server.wait_for_event("worker.booting", r"(.|\n)*\[worker.booting\]")
    with Load(server.connect, kept=1) as load:
        wait_until(lambda: len(load.bodies) == 2, "both workers serve")
    module.write_text("raise RuntimeError('half a deployment')\n")
    victim = serving_pid(server)
    os.kill(victim, signal.SIGKILL)
    server.wait_for_log("half a deployment")
    server.wait_for_event("worker.boot_failed", "trying again")
    assert serving_pid(server) in both - {victim}
    module.write_text("from supervised import app\n")
    assert len(workers(server, 2, {victim}) & both) == 1


def test_ttin_and_ttou_change_the_number_of_workers(fresh_server) -> None:
    server = fresh_server(APP)
    workers(server, 1)
    serving_pid(server)
    with Load(server.connect) as load:
        for sig, count in [
            (signal.SIGTTIN, 2),
            (signal.SIGTTIN, 3),
            (signal.SIGTTOU, 2),
            (signal.SIGTTOU, 1),
        ]:
            server.send_signal(sig)
            workers(server, count)
            load.more()
        server.send_signal(signal.SIGTTOU)
        server.wait_for_event("signal.ignored")
        load.more()
    assert load.failures == []


def test_workers_end_when_the_master_is_killed(door: str) -> None:
    with ServerProcess(door, APP, "--workers", "2") as server:
        server.wait_for_event("worker.booting", r"(.|\n)*\[worker.booting\]")
        serving_pid(server)
        both = workers(server, 2)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in both), "the orphans end")
        assert refuses(server)
        assert server.wait() == -signal.SIGKILL


def test_forking_application_leaves_no_orphans(door: str, tmp_path: Path) -> None:
    """A subprocess of a worker holds neither the listening socket nor the channel to the master."""
    (tmp_path / "forks.py").write_text(
        "import subprocess, sys\n"
        "from supervised import app\n"
        "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL)\n"
        "import atexit\natexit.register(child.kill)\n"
    )
    with ServerProcess(door, "forks:app", "--pythonpath", str(tmp_path)) as server:
        pid = serving_pid(server)
        (child,) = children(pid)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        wait_until(lambda: not is_alive(pid), "the worker ends")
        wait_until(lambda: not is_alive(child), "atexit handlers ran")
        assert refuses(server)
        server.wait()


def test_after_fork_hooks_run(fresh_server, tmp_path: Path) -> None:
    """With --preload the master imports the application, which must learn of the fork."""
    (tmp_path / "hooked.py").write_text(
        "import os\n"
        "state = {'imported': os.getpid(), 'forked': None}\n"
        "os.register_at_fork(after_in_child=lambda: state.update(forked=os.getpid()))\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [repr((state['imported'], state['forked'], os.getpid())).encode()]\n"
    )
    server = fresh_server("hooked:app", "--preload", "--pythonpath", str(tmp_path))
    imported, forked, pid = eval(server.get("/").text)
    assert imported == server.pid and forked == pid != server.pid


def test_failing_preload_is_an_error(door: str) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", "--preload", "http_broken:app")
    assert done.returncode == 3 and "no database today" in done.stderr


def test_start_failed_is_raised(door: str) -> None:
    with pytest.raises(StartFailed):
        ServerProcess(door, APP, "--bind", "192.0.2.1:0", bind=None).start()
