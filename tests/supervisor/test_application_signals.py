"""Signal handlers of the application, for the signals that stop the server."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from harness import ServerProcess, build_request, wait_until
from harness.supervision import freeze, refuses, serving_pid, workers

#: A thread that the interpreter waits for, and that a handler ends. The handler calls the one that it
#: has replaced.
CONSUMER = """
import os, queue, signal, threading
from supervised import app

# Neither an Event nor print(): a second signal may interrupt the handler while it holds a lock.
work, replaced = queue.SimpleQueue(), signal.getsignal(signal.SIGTERM)


def handler(number, frame):
    os.write(1, b"handler\\n")
    work.put("stop")
    replaced(number, frame)


def consume():
    work.get()
    os.write(1, b"consumer done\\n")


signal.signal(signal.SIGTERM, handler)
threading.Thread(target=consume).start()
"""


@pytest.fixture
def start(fresh_server, tmp_path: Path):
    """`start(source, *options)`: a server with a module of this source."""

    def start(source: str, *options: str) -> ServerProcess:
        (tmp_path / "signaled.py").write_text(source)
        return fresh_server("signaled:app", "--pythonpath", str(tmp_path), *options)

    return start


def is_quiet(server: ServerProcess) -> bool:
    """Nothing has gone wrong, and no thread kept a worker."""
    return "[WARNING]" not in server.stderr() and "[ERROR]" not in server.stderr()


@pytest.mark.parametrize("threads", ["1", "4"])
def test_handler_of_the_import_is_called_and_calls_the_one_before(start, threads: str) -> None:
    """Regression: the server replaced the handler after the import, so that the consumer never ended and
    the worker was killed."""
    server = start(CONSUMER, "--threads", threads)
    serving_pid(server)
    assert server.stop() == 0
    assert server.stdout().split("\n") == ["handler", "consumer done", ""]
    assert is_quiet(server)


@pytest.mark.parametrize("threads", ["1", "4"])
def test_handler_is_called_in_a_worker_that_retires(start, threads: str) -> None:
    """The master retires a worker without a signal."""
    server = start(CONSUMER, "--threads", threads)
    old = serving_pid(server)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    workers(server, 1, {old})
    server.wait_for_stdout("consumer done\n")
    assert server.stdout() == "handler\nconsumer done\n"
    assert is_quiet(server)


def test_term_to_all_processes_stops_once(start) -> None:
    server = start(CONSUMER, "--workers", "2")
    server.wait_for_event("server.ready")
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait() == 0
    assert server.stdout().count("consumer done") == 2
    assert is_quiet(server)


def test_request_is_finished_while_the_handler_runs(start, fifo: Path, tmp_path: Path) -> None:
    """A handler that takes long delays neither requests nor the stop."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    server = start(CONSUMER.replace("replaced(", f"open({str(gate)!r}).close(); replaced("))
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        server.wait_for_stdout("consumer done")
        wait_until(lambda: refuses(server), "the server stops")
        fifo.write_text("finished")
        assert client.response().body == b"finished"
        assert client.at_eof()
    assert server.is_alive()
    gate.write_text("")
    assert server.wait() == 0
    assert is_quiet(server)


SET = "import os, signal, sys\nfrom supervised import app\n"
#: What an application may do to TERM.
HANDLERS = {
    "returns": "signal.signal(signal.SIGTERM, lambda *_: None)",
    "exits": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))",
    "interrupts": "signal.signal(signal.SIGTERM, signal.default_int_handler)",
    "is ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "is the default": "signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    "is blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
    "has another wakeup descriptor": (
        "read, write = os.pipe()\nos.set_blocking(write, False)\nsignal.set_wakeup_fd(write)\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)"
    ),
    "calls the server's often": (
        "server = signal.getsignal(signal.SIGTERM)\n"
        "signal.signal(signal.SIGTERM, lambda *a: (server(*a), server(*a), server()))"
    ),
}


@pytest.mark.parametrize("threads", ["4", "1"])
@pytest.mark.parametrize("case", list(HANDLERS))
def test_server_stops_whatever_the_handler_does(start, case: str, threads: str) -> None:
    server = start(SET + HANDLERS[case], "--threads", threads)
    serving_pid(server)
    assert server.stop() == 0
    assert is_quiet(server)


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether a signal was sent to a process and is not delivered yet (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^(?:Sig|Shd)Pnd:\s+(\w+)$", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def resume_with_signal_and_message(server: ServerProcess, pid: int, number: signal.Signals) -> None:
    """Stop the server so that its worker, which is suspended, finds both at once: the master's
    signal, and the message that it sends because a handler may keep the signal from the server."""
    freeze(pid)
    server.send_signal(number)
    wait_until(lambda: is_pending(pid, number), "the signal was sent")
    # The master handles signals one after the other: it has sent the message as well.
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("signal.received", "usr1")
    os.kill(pid, signal.SIGCONT)


RECORDING = "import os, signal\n" + "".join(
    f"signal.signal(signal.{name}, lambda *_: os.write(1, b'{name}\\n'))\n"
    for name in ("SIGTERM", "SIGINT")
)


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", ["import", "post_fork", "post_worker_init"])
def test_handler_is_called_once_for_signal_and_message(
    start, tmp_path: Path, place: str, number: signal.Signals, threads: str
) -> None:
    options = ["--threads", threads]
    if place != "import":
        config = tmp_path / "gunicorn.conf.py"
        config.write_text(f"def {place}(*arguments):\n    exec({RECORDING!r}, {{}})\n")
        options += ["-c", str(config)]
    server = start(SET + (RECORDING if place == "import" else ""), *options)
    server.wait_for_event("server.ready")
    resume_with_signal_and_message(server, serving_pid(server), number)
    assert server.wait() == 0
    assert server.stdout() == f"{number.name}\n"


#: A request that keeps signals from the server, on the main thread, until the named pipe is
#: written to.
KEEPING = """
from supervised import app as answer


def app(environ, start_response):
    if environ["PATH_INFO"] == "/keep":
        signal.set_wakeup_fd(-1)
        environ["PATH_INFO"] = "/hold"
    return answer(environ, start_response)
"""


def test_handler_is_called_once_although_the_server_gets_the_message_only(
    start, fifo: Path
) -> None:
    """Or the server would call it in place of a signal that was not sent, as in a worker that
    retires."""
    server = start(RECORDING + KEEPING, "--threads", "1")
    server.wait_for_event("server.ready")
    pid = serving_pid(server)
    with server.connect() as client:
        client.send(build_request("GET", f"/keep?{fifo}"))
        server.wait_for_log("request started")
        resume_with_signal_and_message(server, pid, signal.SIGTERM)
        server.wait_for_stdout("SIGTERM")
        fifo.write_text("finished")
        assert client.response().body == b"finished"
    assert server.wait() == 0
    assert server.stdout() == "SIGTERM\n"


#: Starting a thread takes long.
SLOW_START = """
import threading, time
start = threading.Thread.start


def start_slowly(self):
    for _ in range(20 if self.name == "rustwsgi-control" else 0):
        time.sleep(0.02)
    start(self)


threading.Thread.start = start_slowly
"""


@pytest.mark.parametrize("threads", ["4", "1"])
def test_handler_that_exits_is_no_failure_as_soon_as_the_worker_is_ready(
    start, threads: str
) -> None:
    """Regression: the worker was ready before its control thread was started, where the exception of
    the handler surfaced."""
    server = start(SET + SLOW_START + HANDLERS["exits"], "--threads", threads)
    server.wait_for_event("server.ready")
    assert server.stop() == 0
    server.wait_for_event("worker.exiting")
    assert is_quiet(server)


def test_handler_that_exits_while_the_worker_boots_is_no_failure(start) -> None:
    """As in gunicorn. Regression: the worker logged that it had failed."""
    source = SET + (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "import threading, time\n"
        "def start_never(self):\n    print('starting', flush=True)\n    time.sleep(600)\n"
        "threading.Thread.start = start_never\n"
    )
    server = start(source)
    server.wait_for_stdout("starting")
    assert server.stop() == 0
    assert is_quiet(server)


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_handler_is_called_when_the_server_stops_at_once(
    start, threads: str, number: signal.Signals
) -> None:
    handler = "lambda *_: print('handler', flush=True)"
    source = SET + "".join(
        f"signal.signal(signal.{name}, {handler})\n" for name in ("SIGINT", "SIGQUIT")
    )
    server = start(source, "--threads", threads)
    serving_pid(server)
    assert server.stop(number) == 0
    assert server.stdout() == "handler\n"


def test_handler_of_a_hook_is_called(start, tmp_path: Path) -> None:
    for hook in ("post_fork", "post_worker_init"):
        config = tmp_path / f"{hook}.conf.py"
        arguments = "server, worker" if hook == "post_fork" else "worker"
        config.write_text(
            "import signal\n"
            f"def {hook}({arguments}):\n"
            "    signal.signal(signal.SIGTERM, lambda *_: print('handler', flush=True))\n"
        )
        server = start(SET, "-c", str(config))
        serving_pid(server)
        assert server.stop() == 0
        assert server.stdout() == "handler\n"


def test_command_of_a_hook_blocks_no_signals(start, tmp_path: Path) -> None:
    """The control thread, which calls the hook, blocks all of them."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "import subprocess\n"
        "def worker_int(worker):\n"
        "    subprocess.run(['grep', 'SigBlk', '/proc/self/status'])\n"
    )
    server = start(SET, "-c", str(config), "--threads", "1")
    serving_pid(server)
    assert server.stop(signal.SIGINT) == 0
    assert server.stdout().split() == ["SigBlk:", "0000000000000000"]


def test_usr1_handler_is_called_and_the_counters_are_logged(start) -> None:
    source = SET + "signal.signal(signal.SIGUSR1, lambda *_: print('handler', flush=True))"
    server = start(source)
    serving_pid(server)
    server.counters()
    server.wait_for_stdout("handler")


@pytest.mark.parametrize("threads", ["1", "4"])
def test_call_of_the_servers_handler_stops_the_worker(start, threads: str) -> None:
    source = """
import os, signal
from supervised import app as answer

stop = signal.getsignal(signal.SIGTERM)


def app(environ, start_response):
    if environ["PATH_INFO"] == "/stop":
        stop(signal.SIGTERM, None)
    return answer(environ, start_response)
"""
    server = start(source, "--threads", threads)
    pid = int(server.get("/stop").body)
    server.wait_for_event("worker.exiting", rf"\(pid: {pid}\)")
    wait_until(lambda: serving_pid(server) != pid, "its replacement serves")


def test_system_exit_of_a_handler_is_the_exit_code_of_the_worker(start, fifo: Path) -> None:
    """Requests are finished before."""
    source = SET + "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))"
    server = start(source)
    pid = serving_pid(server)
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        os.kill(pid, signal.SIGUSR2)
        fifo.write_text("finished")
        assert client.response().body == b"finished"
    server.wait_for_event("worker.died", rf".*{pid} exited with code 7")
    assert serving_pid(server) != pid


def test_signal_during_the_import_stops_the_worker_when_it_has_booted(start, fifo: Path) -> None:
    source = SET + (
        "signal.signal(signal.SIGTERM, lambda *_: print('handler', flush=True))\n"
        "print('importing', os.getpid(), flush=True)\n"
        f"open({str(fifo)!r}).close()\n"
    )
    server = start(source)
    pid = int(server.wait_for_stdout(r"importing (\d+)")[1])
    os.kill(pid, signal.SIGTERM)
    server.wait_for_stdout("handler")
    with fifo.open("r+b", buffering=0):
        server.wait_for_event("worker.exiting", rf"\(pid: {pid}\)")
        wait_until(lambda: serving_pid(server) != pid, "its replacement serves")


def test_signal_during_an_import_without_handlers_ends_the_worker(start) -> None:
    """Also if the import hangs in C code, with the interpreter."""
    source = SET + (
        "import ctypes\nprint('importing', os.getpid(), flush=True)\nctypes.PyDLL(None).sleep(600)\n"
    )
    server = start(source)
    pid = int(server.wait_for_stdout(r"importing (\d+)")[1])
    os.kill(pid, signal.SIGTERM)
    server.wait_for_log(rf"{pid} was killed by SIGTERM")
    assert server.wait() == 3


def test_child_process_that_calls_the_servers_handler_ends_by_the_signal(start) -> None:
    source = (
        CONSUMER.replace("from supervised import app", "import time")
        + """

def app(environ, start_response):
    forked, child = os.pipe()
    if not (pid := os.fork()):
        os.write(child, b"!")
        while True:  # a signal just before a wait would not end it
            time.sleep(0.01)
    os.read(forked, 1)  # until then, the interpreter of the child forgets signals
    os.close(forked)
    os.close(child)
    os.kill(pid, signal.SIGTERM)
    body = str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
    )
    server = start(source, "--threads", "1")
    assert [server.get("/").body for _ in range(3)] == [b"-15"] * 3
    assert server.stop() == 0
