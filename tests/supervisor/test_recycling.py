"""Healthy workers that are replaced (--max-requests and others), and requests over --timeout."""

from __future__ import annotations

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import WITHOUT_GIL, NoResponse, build_request, wait_until
from harness.supervision import Load, children, freeze, serving_pid, workers

pytestmark = pytest.mark.second_door("no case")

APP = "supervised:app"
# A generator waits for its client.
UNSPOOLED = ["--response-spool", "0"]


def _replaced(server) -> list[int]:
    found = re.findall(r"\[worker.recycling\].* Worker (\d+) ", server.stderr())
    return [int(pid) for pid in found]


def test_max_requests_under_load_loses_nothing(fresh_server) -> None:
    """The new worker is ready before the old one retires."""
    args = ["--workers", "2", "--max-requests", "50", "--max-requests-jitter", "20"]
    server = fresh_server(APP, *args)
    first = workers(server, 2)
    with Load(server.connect) as load:
        wait_until(lambda: len(_replaced(server)) >= 4, "workers are replaced")
        wait_until(lambda: first <= {*_replaced(server)}, "both first workers are replaced")
    assert load.failures == []
    assert re.search(r"\[worker.recycling\].* \d+ requests", server.stderr())
    workers(server, 2, first)


def test_max_worker_lifetime_recycles_the_worker(fresh_server) -> None:
    server = fresh_server(APP, "--max-worker-lifetime", "0.5")
    first = int(server.wait_for_event("worker.booting", r"pid: (\d+)")[1])
    server.wait_for_event("worker.recycling", f"{first} .*--max-worker-lifetime")
    # Its successors are replaced in turn: there may always be two.
    wait_until(lambda: first not in children(server.pid), "the first worker has ended")
    assert server.get("/").status == 200


def test_max_worker_rss_recycles_the_worker(fresh_server) -> None:
    """The application leaks memory."""
    server = fresh_server(APP, "--max-worker-rss", "200m")
    first = serving_pid(server)
    assert server.get("/leak?10").status == 200
    assert _replaced(server) == []
    assert server.get("/leak?250").status == 200
    server.wait_for_event("worker.recycling", rf"{first} .* \d+ MiB")
    workers(server, 1, {first})


# ------------------------------------------------------------------------------- --timeout

#: More time than any short request takes, even on a loaded machine, and than clients wait.
LIMITED = ["--timeout", "2", "--keep-alive", "75"]


def test_spinning_request_is_interrupted(fresh_server) -> None:
    """In Python code: its thread gets an exception, the client 504; the worker and other requests
    continue."""
    server = fresh_server(APP, *LIMITED, "--threads", "2")
    pid = serving_pid(server)
    with server.connect() as client:
        client.send(build_request("GET", "/spin?a=1"))
        server.wait_for_log("request started")
        assert serving_pid(server) == pid
        assert client.response().status == 504
    assert serving_pid(server) == pid
    # The harness reads the log on another thread, which may lag behind the response.
    server.wait_for_event("request.timeout", r"GET /spin\?a=1 .* \d+\.\d s.* 504 ")
    server.wait_for_event("request.interrupted", r"GET /spin\?a=1,.* rustwsgi-\d")
    server.wait_for_log(r'Stack \(most recent call last\):(.|\n)*supervised\.py", line \d+, in app')
    server.wait_for_log("RequestTimeout")


def test_request_that_ends_in_time_is_not_interrupted(fresh_server) -> None:
    server = fresh_server(APP, "--timeout", "5", "--threads", "1")
    assert server.get("/sleep?1.2").status == 200
    assert "[request." not in server.stderr()


def test_uninterruptible_thread_recycles_the_worker(fresh_server, tmp_path: Path) -> None:
    """The thread waits in C, where no exception reaches it. Its client gets 504 all the same. Other
    requests finish; the worker is replaced."""
    server = fresh_server(APP, *LIMITED, "--threads", "2", "--graceful-timeout", "2")
    pid = serving_pid(server)
    with server.connect() as client:
        client.send(build_request("GET", "/sleep?600"))
        server.wait_for_event("request.stuck", "GET /sleep.600")
        server.wait_for_event("worker.recycling", f"{pid} .*request")
        workers(server, 1, {pid})
        assert client.response().status == 504
    assert serving_pid(server) != pid


def test_request_that_waits_in_c_is_answered_in_time(
    fresh_server, tmp_path: Path, fifo: Path
) -> None:
    """Regression: its client waited until the call in C returned, or until the worker was replaced,
    and the access log had no line. What the thread sends later is discarded."""
    log = tmp_path / "access"
    options = [*LIMITED, "--threads", "2", "--access-logfile", str(log)]
    server = fresh_server(APP, *options)
    pid = serving_pid(server)
    with server.connect() as client, server.connect() as other:
        client.send(build_request("GET", f"/hold?{fifo}"))
        response = client.response()
        assert response.status == 504 and response.get("Connection") == "close"
        assert client.at_eof()
        # The thread is in C still, and nobody else waits.
        assert int(other.request(build_request()).body) == pid
        assert "[request.failed]" not in server.stderr()
        # By the worker's main loop, which may come later than the poller.
        server.wait_for_event("request.interrupted", "GET /hold")
        fifo.write_text("")
        server.wait_for_event("request.failed", "GET /hold.*, .* has ended before")
        for _ in range(20):  # nor does the exception meet another request
            assert int(other.request(build_request()).body) == pid
    # A line for each request; that of the last one is written last.
    wait_until(lambda: log.read_text().count("\n") >= 23, "the log is written")
    lines = [line for line in log.read_text().splitlines() if "/hold" in line]
    assert len(lines) == 1 and '" 504 20 ' in lines[0], lines
    assert "[request.stuck]" not in server.stderr()


def test_clients_of_a_stalled_worker_wait_for_its_successor(fresh_server) -> None:
    """Its only thread does not come back. Regression: the worker accepted them, and they waited for
    its end. A request that it had received before is handed over to the successor."""
    server = fresh_server(APP, *LIMITED, "--threads", "1", "--graceful-timeout", "5")
    pid = serving_pid(server)
    with server.connect() as early:
        assert early.request(build_request()).status == 200
        with server.connect() as client:
            client.send(build_request("GET", "/sleep?600"))
            assert client.response().status == 504
        with server.connect() as other:
            other.send(build_request())
            early.send(build_request())
            server.wait_for_event("worker.recycling", f"{pid} .*request")
            assert int(other.response().body) != pid
            assert int(early.response().body) != pid


def test_blocked_worker_leaves_clients_to_the_other(fresh_server) -> None:
    """Regression: it took a client every 100 ms while the other worker was busy, until all of them
    waited for its only thread."""
    options = ["--workers", "2", "--threads", "1", "--graceful-timeout", "1"]
    server = fresh_server(APP, *options)
    workers(server, 2)

    def request_some(_: int) -> list[int]:
        return [server.get("/sleep?0.05").status for _ in range(8)]

    with server.connect() as client:
        client.send(build_request("GET", "/sleep?600"))
        with ThreadPoolExecutor(6) as clients:
            assert list(clients.map(request_some, range(6))) == [[200] * 8] * 6


def test_response_that_stops_in_c_is_aborted_in_time(
    fresh_server, tmp_path: Path, fifo: Path
) -> None:
    log = tmp_path / "access"
    options = [*LIMITED, "--threads", "2", "--access-logfile", str(log)]
    server = fresh_server(APP, *options)
    with server.connect() as client:
        client.send(build_request("GET", f"/pause?{fifo}"))
        response = client.response()
        assert not response.complete and response.body == b"first"
        assert "the pause is over" not in server.stderr()
        server.wait_for_event("request.timeout", "GET /pause.* .*abort")
        server.wait_for_event("request.interrupted", "GET /pause")
        fifo.write_text("")
        server.wait_for_event("request.failed", "GET /pause.*, .* has ended before")
        server.get("/")
    wait_until(lambda: log.read_text().count("\n") >= 2, "the log is written")
    lines = [line for line in log.read_text().splitlines() if "/pause" in line]
    assert len(lines) == 1 and '" 200 5 ' in lines[0], lines


def test_close_that_takes_too_long_keeps_no_client(fresh_server, tmp_path: Path) -> None:
    """The response is complete. Its connection serves the next request while close() runs on."""
    log = tmp_path / "access"
    options = [*LIMITED, "--threads", "2", "--access-logfile", str(log)]
    options += ["--graceful-timeout", "1"]
    server = fresh_server(APP, *options)
    with server.connect() as client:
        assert client.request(build_request("GET", "/close?600")).body == b"whole"
        assert client.request(build_request()).status == 200
        server.wait_for_event("request.timeout", "GET /close.600 .* was complete")
        wait_until(lambda: log.read_text().count("\n") == 2, "the log is written")
        assert '"GET /close?600 HTTP/1.1" 200 5 ' in log.read_text().splitlines()[0]


def test_client_of_a_request_that_holds_the_interpreter_gets_504(fresh_server) -> None:
    """No Python code runs in the worker, but the poller does."""
    options = [*LIMITED, "--threads", "2", "--graceful-timeout", "1"]
    server = fresh_server(APP, *options)
    with server.connect() as client, server.connect() as other:
        client.send(build_request("GET", "/seize"))
        server.wait_for_log(r"seized (\d+)")
        other.send(b"nonsense\r\n\r\n")
        assert other.response().status == 400
        assert client.response().status == 504
        assert "[worker.no_heartbeat]" not in server.stderr()


@pytest.mark.skipif(WITHOUT_GIL, reason="no thread waits for the interpreter")
def test_response_that_waits_for_the_interpreter_is_aborted_in_time(fresh_server) -> None:
    """Regression: its thread had the connection while it waited, so its client waited, too."""
    options = [*LIMITED, "--threads", "2", "--graceful-timeout", "1"]
    server = fresh_server(APP, *options)
    with server.connect() as client, server.connect() as other:
        client.send(build_request("GET", "/flood"))
        assert client.head().status == 200
        other.send(build_request("GET", "/seize"))
        with pytest.raises(OSError):
            while client.sock.recv(1 << 20):
                pass
            raise ConnectionResetError  # its end is as good as a reset
        server.wait_for_event("request.timeout", "GET /flood .*abort")
        assert other.response().status == 504
        assert "[worker.no_heartbeat]" not in server.stderr()


def test_blocks_made_in_c_do_not_recycle_the_worker(fresh_server, tmp_path: Path) -> None:
    """No Python code runs between the blocks that could raise the exception, and the client reads
    them all."""
    (tmp_path / "blocks.py").write_text(
        "import functools, hashlib, os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    if environ['PATH_INFO'] == '/pid':\n"
        "        return [b'%d' % os.getpid()]\n"
        "    make = functools.partial(hashlib.pbkdf2_hmac, 'sha256', b'a', b'b', 20_000)\n"
        "    return iter(make, b'')\n"
    )
    options = ["--pythonpath", str(tmp_path), *LIMITED, "--threads", "2"]
    server = fresh_server("blocks:app", *options)
    pid = server.get("/pid").body
    with server.connect() as client:
        client.send(build_request("GET", "/endless", version="HTTP/1.0"))
        with pytest.raises(ConnectionResetError):
            while client.sock.recv(1 << 20):
                pass
    assert server.get("/pid").body == pid
    assert "[request.stuck]" not in server.stderr()


def test_client_that_does_not_read_does_not_recycle_the_worker(fresh_server) -> None:
    """Regression: the exception did not interrupt the wait for the client. The thread counted as
    stuck, so a client could have the worker replaced. Cleanup code must not be interrupted
    either."""
    server = fresh_server(APP, *LIMITED, "--threads", "2", *UNSPOOLED)
    pid = serving_pid(server)
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/flood"))
        detail = r"GET /flood has run for \d+\.\d s, longer than --timeout allows"
        server.wait_for_event("request.client_timeout", detail)
        server.wait_for_log("the flood is ended by GeneratorExit")
        assert not client.response().complete
    assert serving_pid(server) == pid
    assert "RequestTimeout" not in server.stderr() and "worker.recycling" not in server.stderr()


def test_cleanup_after_a_slow_reader_is_not_interrupted(fresh_server, fifo: Path) -> None:
    """Regression: the next check, a second later, interrupted it. The client also counted as one
    that does not read, which is another timeout."""
    server = fresh_server(APP, *LIMITED, "--threads", "2", *UNSPOOLED)
    with server.connect(receive_buffer=4096) as client, server.connect() as other:
        client.send(build_request("GET", f"/flood?{fifo}"))
        server.wait_for_event("request.client_timeout", "GET /flood")
        # A request that runs too long from now on is found by a later look.
        other.send(build_request("GET", "/spin"))
        assert other.response().status == 504
        fifo.write_text("go on")
        server.wait_for_log("the flood has cleaned up")
        wait_until(lambda: not server.holds(client), "the server has let go")
    log = server.stderr()
    assert not re.search(r"\[request.timeout\].*GET /flood", log), log
    assert "[response.timeout]" not in log
    assert server.counters().get("write_timeout") is None


def test_undelivered_interrupt_is_withdrawn(fresh_server) -> None:
    """Regression: the exception was raised after the wait, in `close()`, which then did nothing."""
    server = fresh_server(APP, *LIMITED, "--threads", "2", *UNSPOOLED)
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/deaf"))
        server.wait_for_event("request.interrupted", "GET /deaf,")
        assert client.response().status == 504
        assert server.get("/feed?1").status == 200
        server.wait_for_log("the deaf one was closed")
        server.wait_for_event("request.late", "GET /deaf ")
        wait_until(lambda: not server.holds(client), "the server has let go")
    assert "RequestTimeout" not in server.stderr(), server.stderr()


def test_request_that_outlives_its_client_is_interrupted(fresh_server) -> None:
    server = fresh_server(APP, *LIMITED, "--threads", "2", *UNSPOOLED)
    pid = serving_pid(server)
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/insist"))
        server.wait_for_event("request.client_timeout", "GET /insist ")
        # By the poller or by the worker's main loop, whichever comes first.
        server.wait_for_log(r"\[request\.(timeout|interrupted)\] .*GET /insist")
        server.wait_for_log("RequestTimeout")
        assert not client.response().complete
    assert serving_pid(server) == pid
    assert "worker.recycling" not in server.stderr()


def test_worker_without_a_heartbeat_is_killed(fresh_server) -> None:
    """A C function holds the interpreter: no code in the process can interrupt it."""
    server = fresh_server(APP, "--timeout", "1", "--workers", "2")
    with server.connect() as client:
        client.send(build_request("GET", "/seize"))
        pid = int(server.wait_for_log(r"seized (\d+)")[1])
        server.wait_for_event("worker.no_heartbeat", str(pid))
        server.wait_for_log("Fatal Python error: Aborted")
        server.wait_for_event("worker.died", f"{pid} was killed by SIGABRT")
        assert client.response().status == 504
    workers(server, 2, {pid})
    assert server.get("/").status == 200


def test_worker_with_a_stuck_poller_is_killed(fresh_server) -> None:
    """Regression: the main thread of the worker sent the heartbeat while no thread polled, so the
    worker stayed for ever and served nobody."""
    server = fresh_server(APP, "--timeout", "1", "--workers", "2", "--threads", "2")
    workers(server, 2)
    with server.connect() as client:
        client.send(build_request("GET", "/stick"))
        pid = int(server.wait_for_log(r"sticks (\d+)")[1])
        server.wait_for_event("worker.no_heartbeat", str(pid))
        server.wait_for_event("worker.died", f"{pid} was killed by SIGABRT")
        if WITHOUT_GIL:  # the thread of the request sends the response itself
            assert client.response().status == 200
        else:
            with pytest.raises((NoResponse, ConnectionResetError)):
                client.response()
    workers(server, 2, {pid})
    assert server.get("/").status == 200


def test_idle_worker_has_a_heartbeat(fresh_server) -> None:
    server = fresh_server(APP, "--timeout", "1")
    pid = serving_pid(server)
    time.sleep(8)  # longer than a heartbeat may be missing, which is four seconds and three
    assert serving_pid(server) == pid
    assert "worker.no_heartbeat" not in server.stderr()


def test_workers_stopped_with_their_master_survive(fresh_server) -> None:
    """A paused container, a sleeping laptop: the master woke up first and killed all workers, because
    none had sent a heartbeat."""
    server = fresh_server(APP, "--timeout", "1")
    pid = serving_pid(server)
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("server.counters")
    freeze(server.pid)
    freeze(pid)
    time.sleep(5)  # longer than a worker may be silent, which is four
    start = len(server.stderr())
    server.send_signal(signal.SIGUSR1)
    server.send_signal(signal.SIGCONT)
    # It looks at its workers next, and once more after three seconds.
    server.wait_for_event("signal.received", "usr1", start=start)
    os.kill(pid, signal.SIGCONT)
    start = len(server.stderr())
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("signal.received", "usr1", start=start)
    assert serving_pid(server) == pid
    assert "worker.no_heartbeat" not in server.stderr()
