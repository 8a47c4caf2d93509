"""More requests than threads: which wait, which are rejected with 503, which are dropped.

The only thread is held by a request that ends when the test says so, so what happens to the others
meanwhile does not depend on time.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import (
    WITHOUT_GIL,
    Client,
    Response,
    ServerProcess,
    assert_unavailable,
    build_request,
    wait_until,
)
from harness.supervision import freeze, workers

pytestmark = pytest.mark.second_door("no case")

APP = "overload:app"


class Gate:
    """A request that holds a thread until the test releases it."""

    def __init__(self, server: ServerProcess, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.client = server.connect()
        start = len(server.stderr())
        self.client.send(build_request("GET", f"/hold?{path}"))
        server.wait_for_log("^held", start=start)

    def open(self) -> Response:
        with self.path.open("w"):
            pass
        return self.client.response()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[list[Gate]]:
    """Gates are opened after a failed test, too, or the server could not stop."""
    gates: list[Gate] = []
    yield gates
    for gate in gates:
        try:
            os.close(os.open(gate.path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass  # no request waits
        gate.client.close()


def hold(server: ServerProcess, gates: list[Gate], tmp_path: Path) -> Gate:
    gate = Gate(server, tmp_path / f"gate{len(gates)}")
    gates.append(gate)
    return gate


def ask(server: ServerProcess, target: str) -> Client:
    """A client whose request has arrived at the server."""
    client = server.connect()
    client.send(build_request("GET", target))
    wait_until(lambda: server.has_read_or_rejected(client), "the request was read")
    return client


def half_close(client: Client, asked: float) -> None:
    """End the client's side in the second after its request, or the server takes it for a disconnect."""
    client.shutdown_write()
    if time.monotonic() - asked >= 1:
        pytest.skip("the machine is too slow for a half-close within a second")


def ran(server: ServerProcess) -> list[str]:
    """The targets for which the application was called since the last time."""
    return [call["path"] for call in server.calls_since_last_asked()]


# ------------------------------------------------------------------------------- the queue's bounds


def test_request_over_queue_timeout_is_rejected(fresh_server, gate, tmp_path: Path) -> None:
    # Long enough for /hold and /next to find the thread.
    server = fresh_server(APP, "--threads", "1", "--queue-timeout", "2")
    held = hold(server, gate, tmp_path)
    with ask(server, "/late") as client:
        assert_unavailable(client.response())
        assert client.at_eof()
    assert held.open().body == b"served"
    assert server.get("/next").status == 200
    assert ran(server) == ["/hold", "/next"]
    assert server.counters() == {"queue_timeout": 1}
    server.wait_for_event("overload.queue_timeout", "rejected 1 .*--queue-timeout")


def test_without_a_queue_timeout_requests_wait(fresh_server, gate, tmp_path: Path) -> None:
    server = fresh_server(APP, "--threads", "1", "--queue-timeout", "0")
    held = hold(server, gate, tmp_path)
    with ask(server, "/patient") as client:
        assert not select.select([client.sock], [], [], 0.5)[0]
        assert held.open().status == 200
        assert client.response().body == b"served"


def test_queue_timeout_does_not_need_the_interpreter(fresh_server, fifo: Path) -> None:
    """A C function that holds the interpreter stops the application's threads, not the server."""
    threads = "1" if WITHOUT_GIL else "2"  # without a GIL it stops only its own
    server = fresh_server(APP, "--threads", threads, "--queue-timeout", "1")
    with server.connect() as seizing:
        seizing.send(build_request("GET", f"/seize?{fifo}"))
        server.wait_for_log("^seized")
        with ask(server, "/late") as client:
            assert_unavailable(client.response())
        assert not select.select([seizing.sock], [], [], 0)[0], "it still has the interpreter"
        fifo.write_text("")
        assert seizing.response().status == 200


def test_upload_over_queue_timeout_is_rejected(fresh_server, gate, tmp_path: Path) -> None:
    """The time starts at the end of the body, and the body's file is removed."""
    server = fresh_server(
        *[APP, "--threads", "1", "--queue-timeout", "1", "--body-buffer-size", "1k"]
    )
    held = hold(server, gate, tmp_path)
    with server.connect() as client:
        client.send(build_request("POST", "/late", body=b"x" * 100_000))
        assert_unavailable(client.response())
    assert held.open().status == 200


def test_request_over_limit_queue_is_rejected(fresh_server, gate, tmp_path: Path) -> None:
    server = fresh_server(APP, "--threads", "1", "--limit-queue", "2")
    held = hold(server, gate, tmp_path)
    waiting = [ask(server, "/first"), ask(server, "/second")]
    with ask(server, "/third") as client:
        assert_unavailable(client.response())
    assert held.open().status == 200
    for client in waiting:
        assert client.response().body == b"served"
        client.close()
    assert ran(server) == ["/hold", "/first", "/second"]
    assert server.counters() == {"queue_full": 1}
    server.wait_for_event("overload.queue_full", "rejected 1 .*--limit-queue")


def test_request_with_a_free_thread_does_not_count_as_queued(fresh_server) -> None:
    options = ["--threads", "8", "--limit-queue", "1", "--keep-alive", "600"]
    server = fresh_server(APP, *options)
    (pid,) = workers(server, 1)
    clients = [server.connect() for _ in range(8)]
    try:
        for client in clients:
            assert client.request(build_request()).status == 200
        # So that all of them are found in one turn.
        freeze(pid)
        for client in clients:
            client.send(build_request())
        os.kill(pid, signal.SIGCONT)
        assert [client.response().status for client in clients] == [200] * 8
        assert server.counters() == {}
    finally:
        os.kill(pid, signal.SIGCONT)
        for client in clients:
            client.close()


# --------------------------------------------------------------------------------- clients that leave


def test_queued_request_of_a_reset_client_does_not_run(fresh_server, gate, tmp_path: Path) -> None:
    server = fresh_server(APP, "--threads", "1")
    held = hold(server, gate, tmp_path)
    client = ask(server, "/gone")
    client.reset()
    wait_until(lambda: server.counters() == {"client_disconnected": 1}, "the request is dropped")
    assert held.open().status == 200
    assert ran(server) == ["/hold"]


def test_queued_request_of_a_closed_client_does_not_run(fresh_server, gate, tmp_path: Path) -> None:
    """The client has waited for more than a second and closes the connection."""
    server = fresh_server(APP, "--threads", "1")
    held = hold(server, gate, tmp_path)
    client = ask(server, "/gone")
    time.sleep(1)
    # The time of a client's end is that of the turn before the one that finds it.
    assert server.get("/", fields=[("Bad Name", "x")]).status == 400
    client.close()
    dropped = {"client_disconnected": 1, "malformed": 1}
    wait_until(lambda: server.counters() == dropped, "the request is dropped")
    assert held.open().status == 200
    assert ran(server) == ["/hold"]


def test_queued_request_of_a_half_closed_client_runs(fresh_server, gate, tmp_path: Path) -> None:
    """However long it waits: the client sends no more but still reads."""
    server = fresh_server(APP, "--threads", "1")
    held = hold(server, gate, tmp_path)
    start = time.monotonic()
    with ask(server, "/half") as client:
        half_close(client, start)
        assert not select.select([client.sock], [], [], 1.5)[0]
        assert held.open().status == 200
        assert client.response().body == b"served"
    assert server.counters() == {}


def test_late_half_close_affects_one_request_only(fresh_server, gate, tmp_path: Path) -> None:
    """The last of several requests on a connection comes with a FIN, long after the first."""
    server = fresh_server(APP, "--threads", "1", "--keep-alive", "600")
    with server.connect() as client:
        assert client.request(build_request("GET", "/one")).status == 200
        held = hold(server, gate, tmp_path)
        time.sleep(1.2)
        start = time.monotonic()
        client.send(build_request("GET", "/two"))
        half_close(client, start)
        assert not select.select([client.sock], [], [], 0.5)[0]
        assert held.open().status == 200
        assert client.response().body == b"served"


def test_queued_requests_run_in_order(fresh_server, gate, tmp_path: Path) -> None:
    server = fresh_server(APP, "--threads", "1")
    held = hold(server, gate, tmp_path)
    clients = [ask(server, f"/{number}") for number in range(5)]
    assert held.open().status == 200
    for client in clients:
        assert client.response().status == 200
        client.close()
    assert ran(server) == ["/hold", "/0", "/1", "/2", "/3", "/4"]


def test_newest_request_runs_first_once_clients_leave(fresh_server, gate, tmp_path: Path) -> None:
    """Clients that have waited longest are about to leave: they would get their response too
    late."""
    server = fresh_server(APP, "--threads", "1")
    held = hold(server, gate, tmp_path)
    gone = ask(server, "/gone")
    clients = [ask(server, f"/{number}") for number in range(3)]
    gone.reset()
    wait_until(lambda: server.counters() == {"client_disconnected": 1}, "one has left")
    assert held.open().status == 200
    for client in clients:
        assert client.response().status == 200
        client.close()
    assert ran(server) == ["/hold", "/2", "/1", "/0"]
    # That was the end of the queue.
    held = hold(server, gate, tmp_path)
    clients = [ask(server, f"/{number}") for number in range(3)]
    assert held.open().status == 200
    for client in clients:
        assert client.response().status == 200
        client.close()
    assert ran(server)[-3:] == ["/0", "/1", "/2"]


def test_queued_requests_count_in_the_memory_limit(fresh_server, gate, tmp_path: Path) -> None:
    """Regression: their heads did not."""
    options = ["--threads", "1", "--limit-memory", "1m", "--limit-request-field-size", "64k"]
    server = fresh_server(APP, *options)
    held = hold(server, gate, tmp_path)
    request = build_request("GET", "/queued", fields=[("X", "y" * 50_000)])
    clients = []
    for _ in range(40):
        # Not earlier: it would be idle for too long on a loaded machine.
        client = server.connect()
        clients.append(client)
        client.send(request)
        wait_until(lambda: server.has_read_or_rejected(client), "it was read")  # noqa: B023
    rejected = server.counters()["memory_limit"]
    assert 15 <= rejected < 40, "a buffer may have twice the size of its bytes"
    assert_unavailable(clients[-1].response())
    assert held.open().status == 200
    assert clients[0].response().status == 200
    for client in clients:
        client.close()


# ------------------------------------------------------------------------------ too many connections


def test_oldest_idle_connection_is_evicted(fresh_server) -> None:
    server = fresh_server(APP, "--worker-connections", "3", "--keep-alive", "600")
    clients = [server.connect() for _ in range(3)]
    for client in [clients[1], clients[0], clients[2], clients[0]]:
        assert client.request(build_request()).status == 200
    with server.connect() as newcomer:
        assert newcomer.request(build_request()).status == 200
        assert clients[1].at_eof(), "it was idle for longest"
        for client in (clients[0], clients[2], newcomer):
            assert client.request(build_request()).status == 200
    for client in clients:
        client.close()
    assert server.counters()["idle_closed"] == 1
    server.wait_for_event("connection.evicted", "1 idle .*--worker-connections")


def test_many_new_connections_evict_idle_ones(fresh_server) -> None:
    """More than one search finds; connections in use are not evicted."""
    options = ["--keep-alive", "600", "--header-timeout", "600"]
    server = fresh_server(APP, "--worker-connections", "100", *options)
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        assert client.request(build_request()).status == 200
    clients[0].send(b"GET / HTTP/1.1\r\n")
    wait_until(lambda: server.has_read(clients[0]), "the head has begun")
    for _ in range(99):
        client = server.connect()
        clients.append(client)
        assert client.request(build_request()).status == 200
    assert server.counters()["idle_closed"] == 99
    clients[0].send(b"Host: a\r\n\r\n")
    assert clients[0].response().status == 200
    for client in clients:
        client.close()


def test_silent_connections_are_evicted(fresh_server) -> None:
    """Connections without a request count as idle after a second."""
    server = fresh_server(APP, "--worker-connections", "3", "--header-timeout", "600")
    silent = [server.connect() for _ in range(3)]
    wait_until(lambda: all(map(server.holds, silent)), "they were accepted")
    with server.connect() as newcomer:
        assert newcomer.request(build_request()).status == 200
    assert silent[0].at_eof(), "it was idle for longest"
    for client in silent:
        client.close()
    assert server.counters()["idle_closed"] == 1


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("sent", [b"G", b"\r\n", HEAD[:-2], HEAD, HEAD + b"x"])
def test_incomplete_requests_are_evicted(fresh_server, sent: bytes) -> None:
    """Regression: one byte protected a connection until --header-timeout, and as many clients as
    there are descriptors kept all others out."""
    options = ["--header-timeout", "600", "--body-timeout", "600"]
    server = fresh_server(APP, "--worker-connections", "3", *options)
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.send(sent)
        wait_until(lambda: server.has_read(client), "it was read")  # noqa: B023
    with server.connect() as newcomer:
        assert newcomer.request(build_request()).status == 200
        assert clients[0].at_eof(), "it has waited for longest"
    if sent == HEAD[:-2]:
        clients[1].send(b"\r\nxx")
        assert clients[1].response().status == 200
    for client in clients:
        client.close()
    counters = server.counters()
    assert counters["incomplete_closed"] == 1 and "idle_closed" not in counters
    server.wait_for_event("connection.evicted", "1 incomplete request .*--worker-connections")


def test_lingering_connections_are_evicted(fresh_server) -> None:
    """They are done but for the client's close, which it may delay by two seconds."""
    server = fresh_server(APP, "--worker-connections", "3")
    lingering = [server.connect() for _ in range(3)]
    start = time.monotonic()
    for client in lingering:
        client.send(b"BAD\r\n\r\n")
        assert client.response().status == 400
    for _ in range(3):
        with server.connect() as newcomer:
            assert newcomer.request(build_request()).status == 200
    # On a machine that is very slow just now, they have closed by themselves.
    assert "idle_closed" in server.counters() or time.monotonic() - start >= 2
    for client in lingering:
        client.close()


def test_running_requests_are_not_evicted(fresh_server, gate, tmp_path: Path) -> None:
    """Neither is a queued one, whatever its client has sent behind it."""
    server = fresh_server(APP, "--threads", "1", "--worker-connections", "3")
    held = hold(server, gate, tmp_path)
    queued = ask(server, "/queued")
    queued.send(b"G")
    with server.connect() as slow:
        slow.send(b"G")
        wait_until(lambda: server.has_read(slow), "it was read")
        with server.connect() as newcomer:
            newcomer.send(build_request())
            assert slow.at_eof()
            assert held.open().status == 200
            assert newcomer.response().status == 200
    assert queued.response().status == 200
    queued.close()


def test_new_connection_waits_while_all_are_busy(fresh_server, gate, tmp_path: Path) -> None:
    server = fresh_server(APP, "--threads", "1", "--worker-connections", "2")
    held = hold(server, gate, tmp_path)
    waiting = ask(server, "/waiting")
    with server.connect() as newcomer:
        newcomer.send(build_request())
        server.wait_for_event("accept.paused", "all of the 2 .*--worker-connections")
        assert not server.has_read(newcomer)
        assert held.open().status == 200
        assert waiting.response().status == 200
        assert newcomer.response().status == 200
    waiting.close()
    assert server.counters()["connection_limit"] >= 1


# --------------------------------------------------------------------------------------- counters


def test_counters_are_logged_at_the_end(fresh_server, gate, tmp_path: Path) -> None:
    """The worker logs them once more at its exit, if any is not zero."""
    server = fresh_server(APP, "--threads", "1", "--limit-queue", "1")
    held = hold(server, gate, tmp_path)
    clients = [ask(server, "/waits"), ask(server, "/refused")]
    assert_unavailable(clients[1].response())
    assert held.open().status == 200
    assert clients[0].response().status == 200
    assert server.get("/", fields=[("Bad Name", "x")]).status == 400
    for client in [*clients, held.client]:
        client.close()
    assert server.stop() == 0
    assert "Limits reached since the start: malformed=1 queue_full=1\n" in server.stderr()


def test_requests_without_host_are_logged_at_a_limited_rate(fresh_server) -> None:
    """A load balancer whose health checks lack Host sent a line to the log every few seconds."""
    server = fresh_server(APP)
    for _ in range(5):
        with server.connect() as client:
            assert client.request(b"GET /healthz HTTP/1.1\r\n\r\n").status == 400
    assert server.stop() == 0
    line = "Rejected GET /healthz from 127.0.0.1 with 400: Host is missing"
    assert server.stderr().count(line) == 1
    assert "Limits reached since the start: missing_host=5\n" in server.stderr()


def test_server_that_reached_no_limit_logs_no_counters(fresh_server) -> None:
    server = fresh_server(APP)
    assert server.get().status == 200
    assert server.stop() == 0
    assert "Limits reached" not in server.stderr()
