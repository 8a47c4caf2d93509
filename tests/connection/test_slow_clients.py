"""Clients that send or read slowly, or stop: they time out and do not delay others.

The bounds are set to a second; tests wait for what the server does, not for the clock.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import socket
import time

import pytest

from harness import (
    TIMEOUT,
    Client,
    ServerProcess,
    assert_error_response,
    build_request,
    chunked,
    echoed,
    wait_until,
)
from harness.supervision import freeze, workers

pytestmark = pytest.mark.second_door("no case")

_ids = itertools.count()
BOUNDS = ["--header-timeout", "1", "--body-timeout", "1", "--keep-alive", "1"]
# One byte now and then is what is tested: the minimum rate is another rule.
BOUNDS += ["--body-min-rate", "0"]
#: For clients that do not read. Their requests have the usual time.
UNREAD = ["--write-timeout", "1", "--response-spool", "1m"]
#: For clients that read all the time, and must not be starved for as long as this.
READ = ["--write-timeout", "2", "--response-spool", "1m"]


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("echo:app", "--threads", "1", *BOUNDS)


@pytest.fixture
def steps(serve) -> ServerProcess:
    return serve("http_steps:app", "--threads", "1", *UNREAD)


def run_id() -> str:
    return f"w{next(_ids)}"


def dribble(client: Client, data: bytes, interval: float = 0.1) -> bool:
    """Send a byte at a time until the server does something; False if all went out before."""
    for i in range(len(data)):
        if select.select([client.sock], [], [], interval)[0]:
            return True
        client.send(data[i : i + 1])
    return False


def assert_given_up(server: ServerProcess, *clients: Client) -> None:
    """Each gets 408 or a close, and the application is never called for any of them."""
    ports = {str(client.port) for client in clients}
    for client in clients:
        if not client.at_eof():
            assert_error_response(client.response(), 408)
            assert client.at_eof()
    assert not ports & {call["port"] for call in server.calls_since_last_asked()}


def assert_all_given_up(server: ServerProcess, starts: dict[str, bytes]) -> None:
    """A client for each start of a request, all at once; see `assert_given_up`."""
    (pid,) = workers(server, 1)
    with contextlib.ExitStack() as stack:
        # Stopped, so that a connection is not too old when its client sends.
        freeze(pid)
        try:
            clients = [stack.enter_context(server.connect()) for _ in starts]
            for client, start in zip(clients, starts.values(), strict=True):
                client.send(start)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert_given_up(server, *clients)


HEADS = {
    "method": b"G",
    "target": b"GET /slow",
    "request-line": b"GET /slow HTTP/1.1\r\n",
    "field": b"GET /slow HTTP/1.1\r\nHost: a\r\nX",
    "last-byte": b"GET /slow HTTP/1.1\r\nHost: a\r\n\r",
}


def test_stalled_head_is_answered_with_408(server: ServerProcess) -> None:
    """RFC 9110 section 15.5.9."""
    assert_all_given_up(server, HEADS)


def test_dribbled_head_is_answered_with_408(server: ServerProcess) -> None:
    """The bound is for the whole head; each byte does not buy more time (slowloris)."""
    with server.connect() as client:
        assert dribble(client, b"GET /slow HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 60)
        assert_given_up(server, client)


def test_dribbled_head_of_a_later_request_is_answered_with_408(server: ServerProcess) -> None:
    with server.connect() as client:
        echoed(client.request(build_request()))
        server.calls_since_last_asked()
        assert dribble(client, b"GET /slow HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 60)
        assert_given_up(server, client)


SIZED = build_request("POST", fields=[("Content-Length", "9")])
CHUNKED = build_request("POST", fields=[("Transfer-Encoding", "chunked")])
BODIES = {
    "length": SIZED,
    "begun": SIZED + b"x",
    "chunked": CHUNKED,
    "chunk-begun": CHUNKED + b"5\r\nhel",
    "trailer-begun": CHUNKED + b"0\r\nX: y",
}


def test_stalled_body_is_answered_with_408(server: ServerProcess) -> None:
    assert_all_given_up(server, BODIES)


def test_body_below_the_minimum_rate_is_answered_with_408(serve) -> None:
    """Each byte comes in time, but at this pace the body would take for ever (slow POST)."""
    bounds = ["--body-timeout", "2", "--body-min-rate", "1000"]
    server = serve("echo:app", "--threads", "1", *bounds)
    with server.connect() as client:
        client.send(build_request("POST", fields=[("Content-Length", "9999")]))
        assert dribble(client, b"x" * 200), "a tenth of a second between bytes, for 20 seconds"
        assert_given_up(server, client)


def test_slow_but_steady_body_is_served(serve) -> None:
    """The idle bound starts again with each piece: pauses that are together longer than the bound."""
    server = serve("echo:app", "--threads", "1", "--body-timeout", "2", "--body-min-rate", "0")
    with server.connect() as client:
        client.send(build_request("POST", fields=[("Content-Length", "5")]))
        for _ in range(5):
            begin = time.monotonic()
            with pytest.raises(TimeoutError):  # a pause that the server could end, but must not
                client.sock.settimeout(0.6)
                client.sock.recv(1)
            client.sock.settimeout(TIMEOUT)
            client.send(b"x")
            if time.monotonic() - begin >= 2:
                pytest.skip("the machine is too slow for a pause of less than two seconds")
        assert echoed(client.response())["body"] == "xxxxx"


def test_stalled_clients_do_not_delay_others(serve) -> None:
    """One thread, and a hundred clients in the middle of heads and bodies."""
    server = serve("echo:app", "--threads", "1")
    stalled = [server.connect() for _ in range(100)]
    try:
        for number, client in enumerate(stalled):
            body = build_request("POST", fields=[("Content-Length", "9")]) + b"x"
            client.send(body if number % 2 else b"GET /slow HTTP/1.1\r\nHost: a\r\n")
        for number in range(20):
            assert echoed(server.get(f"/{number}"))["environ"]["PATH_INFO"] == f"/{number}"
        stalled[0].send(b"\r\n")
        assert echoed(stalled[0].response())["environ"]["PATH_INFO"] == "/slow"
        stalled[1].send(b"x" * 8)
        assert echoed(stalled[1].response())["length"] == 9
    finally:
        for client in stalled:
            client.close()


def test_unread_response_does_not_delay_others(serve) -> None:
    """One thread; large unread responses of known length, and others are served at once."""
    server = serve("http_steps:app", "--threads", "1")
    run, size = run_id(), 20_000_000
    readers = [server.connect(receive_buffer=4096) for _ in range(5)]
    try:
        for client in readers:
            client.send(build_request("GET", f"/large?id={run}&size={size}"))
        wait_until(
            lambda: len(json.loads(server.get(f"/state?id={run}").body)) == len(readers),
            "all large responses have begun",
        )
        for _ in range(20):
            assert server.get("/state").status == 200
        response = readers[0].response()
        assert response.complete and len(response.body) == size
    finally:
        for client in readers:
            client.close()


def test_unread_large_responses_do_not_delay_other_large_ones(serve) -> None:
    """The server writes eight at a time, but unread ones do not count for long."""
    server = serve("http_steps:app", "--threads", "1")
    run, size = run_id(), 2_000_000
    readers = [server.connect(receive_buffer=4096) for _ in range(20)]
    try:
        for client in readers:
            client.send(build_request("GET", f"/large?id={run}&size={size}"))
        for _ in range(20):
            response = server.get(f"/large?id={run}&size={size}")
            assert response.complete and len(response.body) == size
        for client in readers:
            response = client.response()
            assert response.complete and len(response.body) == size
    finally:
        for client in readers:
            client.close()


def unfinished(number: int) -> bytes:
    """A request that is long enough to come in bytes: a head, a sized, or a chunked body."""
    fields = [("X-Number", str(number))]
    if number % 3 == 0:
        return build_request("GET", "/slow", fields=fields)
    if number % 3 == 1:
        return build_request("POST", "/slow", fields=fields, body=b"x" * 50)
    fields.append(("Transfer-Encoding", "chunked"))
    return build_request("POST", "/slow", fields=fields, body=chunked(b"x" * 20, b"x" * 30))


def test_dribbling_clients_do_not_delay_others(serve) -> None:
    """One thread, and thirty clients that send a byte each between any two requests of another."""
    server = serve("echo:app", "--threads", "1")
    clients = [(server.connect(), unfinished(number)) for number in range(30)]
    steps = max(len(raw) for _, raw in clients)
    try:
        with server.connect() as other:
            for at in range(steps):
                for client, raw in clients:
                    client.send(raw[at : at + 1])
                assert other.request(build_request("GET", "/other")).status == 200
        for number, (client, _) in enumerate(clients):
            seen = echoed(client.response())
            assert seen["environ"]["HTTP_X_NUMBER"] == str(number)
            assert seen["length"] == (0 if number % 3 == 0 else 50)
    finally:
        for client, _ in clients:
            client.close()


@pytest.mark.parametrize("kind", ["sparse", "temporary"])
def test_unread_file_does_not_delay_others(serve, kind: str) -> None:
    """One thread; the kernel sends a file by itself, and no thread waits for it. A
    TemporaryFile was iterated instead, and its thread waited for the client."""
    server, size = serve("memory:app", "--threads", "1"), 20_000_000
    readers = [server.connect(receive_buffer=4096) for _ in range(5)]
    try:
        for client in readers:
            client.send(build_request("GET", f"/{kind}?size={size}"))
        heads = [client.head() for client in readers]  # all have begun
        for _ in range(20):
            assert server.get("/").body == b"hello"
        assert {head.get("Content-Length") for head in heads} == {str(size)}
        assert readers[0].read(size) == bytes(size)
    finally:
        for client in readers:
            client.close()


def test_unread_generator_below_the_high_water_mark_does_not_delay_others(serve) -> None:
    """One thread; an unread generator runs to its end if it is short enough."""
    server = serve("http_steps:app", "--threads", "1")
    runs = [run_id() for _ in range(5)]
    readers = [server.connect(receive_buffer=4096) for _ in runs]
    try:
        for client, run in zip(readers, runs, strict=True):
            client.send(build_request("GET", f"/endless?id={run}&count=3"))
        for run in runs:
            assert server.get(f"/wait?id={run}&for=close").body == b"true"
        for client in readers:
            response = client.response()
            assert response.complete and len(response.body) == 3 * 65536
    finally:
        for client in readers:
            client.close()


def test_unread_last_block_does_not_delay_others(serve) -> None:
    """One thread; an iterator's one large block is its last, so there is nothing to wait for; the
    thread waited for the client all the same."""
    server, size = serve("memory:app", "--threads", "1"), 20_000_000
    readers = [server.connect(receive_buffer=4096) for _ in range(3)]
    try:
        for client in readers:
            client.send(build_request("GET", f"/one-block?size={size}"))
        for client in readers:
            assert client.head().get("Transfer-Encoding") == "chunked"
        for _ in range(20):
            assert server.get("/").body == b"hello"
        assert readers[0].next_chunk() == bytes(size) and readers[0].next_chunk() == b""
    finally:
        for client in readers:
            client.close()


def test_unread_pipelined_responses_do_not_delay_others(serve) -> None:
    """One thread; two hundred requests at once from a client that reads no response yet."""
    server, count, size = serve("http_steps:app", "--threads", "1"), 200, 100_000
    run = run_id()
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/large?id={run}&size={size}") * count)
        assert server.get(f"/wait?id={run}&for=started").body == b"true"
        for _ in range(20):
            assert server.get("/state").status == 200
        # Nothing is made that has no chance to be read soon.
        assert len(json.loads(server.get(f"/state?id={run}").body)) < count
        for _ in range(count):
            response = client.response()
            assert response.complete and len(response.body) == size
    assert json.loads(server.get(f"/state?id={run}").body) == ["started"] * count


def test_client_that_never_reads_is_dropped(steps: ServerProcess) -> None:
    """--write-timeout drops the rest of the response and frees its memory."""
    run, size = run_id(), 30_000_000
    with steps.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/large?id={run}&size={size}"))
        assert steps.get(f"/wait?id={run}&for=started").body == b"true"
        wait_until(lambda: not steps.holds(client), "the server has let go")
        steps.wait_for_event("response.timeout", rf"127\.0\.0\.1 .*: GET /large\?id={run}&")
        try:
            response = client.response()
        except ConnectionResetError:
            return
        assert not response.complete and len(response.body) < size


def test_client_that_leaves_is_logged_with_its_request(serve) -> None:
    steps, run = serve("http_steps:app", "--threads", "1"), run_id()
    client = steps.connect(receive_buffer=4096)
    client.send(build_request("GET", f"/large?id={run}&size=30000000"))
    assert client.head().status == 200
    client.reset()
    steps.wait_for_event("response.client_disconnected", rf"127\.0\.0\.1 .*: GET /large\?id={run}&")


def test_endless_unread_response_is_ended(steps: ServerProcess) -> None:
    """A generator that produces more than its client reads, and more than its spool holds, keeps
    its thread only until the write bound."""
    run = run_id()
    with steps.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/endless?id={run}"))
        assert steps.get(f"/wait?id={run}&for=close").body == b"true"
        assert json.loads(steps.get(f"/state?id={run}").body) == ["begin", "close"]
        wait_until(lambda: not steps.holds(client), "the server has let go")


@pytest.mark.parametrize(
    ("app", "target"),
    [
        pytest.param("http_steps:app", "/endless", id="being-made"),
        pytest.param("memory:app", "/one-block?size=20000000", id="complete"),
    ],
)
def test_stalled_response_without_a_length_ends_in_a_reset(serve, app: str, target: str) -> None:
    """To HTTP/1.0 only the close ends it: a client that read on took what it had for everything."""
    server = serve(app, "--threads", "1", *UNREAD)
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", target, version="HTTP/1.0"))
        assert client.head().status == 200
        wait_until(lambda: not server.holds(client), "the server has let go")
        with pytest.raises(ConnectionResetError):
            client.rest()


def test_slow_reader_within_the_bound_gets_everything(serve) -> None:
    """Progress, however slow, is not a stall."""
    steps = serve("http_steps:app", "--threads", "1", *READ)
    run, size = run_id(), 3_000_000
    with steps.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/large?id={run}&size={size}"))
        assert steps.get(f"/wait?id={run}&for=started").body == b"true"
        response = client.response()
        assert response.complete and len(response.body) == size


def test_reader_slower_than_the_kernel_reports_gets_everything(serve) -> None:
    """The kernel's buffer holds megabytes, and it reports room only when a third of it is free. A client
    that read steadily was cut off, because nothing had been sent to it for so long."""
    steps = serve("http_steps:app", "--threads", "2", *READ)
    files = serve("memory:app", "--threads", "2", *READ)
    with contextlib.ExitStack() as stack:
        read: dict[Client, int] = {}
        for server, target in [
            (steps, f"/large?id={run_id()}&size=12000000"),
            (steps, f"/endless?id={run_id()}&count=200"),
            (files, "/temporary?size=12000000"),
        ]:
            client = stack.enter_context(server.connect(receive_buffer=65536))
            client.send(build_request("GET", target))
            read[client] = 0
        for _ in range(50):  # pauses that are two and a half times the bound together
            sockets = [client.sock for client in read]
            assert not select.select([], [], sockets, 0.1)[2]
            for client in read:
                read[client] += len(client.sock.recv(20_000))
        for client, size in read.items():
            assert 0 < size <= 1_000_000
            while not size > 12_000_000:
                block = client.sock.recv(1 << 20)
                assert block, f"only {size} bytes came"
                size += len(block)


def test_silent_connection_is_closed(server: ServerProcess) -> None:
    clients = [server.connect() for _ in range(50)]
    try:
        echoed(server.get("/"))
        for client in clients:
            if not client.at_eof():
                assert client.response().status == 408 and client.at_eof()
    finally:
        for client in clients:
            client.close()


def test_tiny_segments_from_a_nagle_client_are_served(echo: ServerProcess) -> None:
    """Without TCP_NODELAY the kernel joins bytes as it likes: any split must do."""
    raw = build_request("POST", "/x", body=b"hello")
    with echo.connect() as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        client.send_slowly(raw)
        assert echoed(client.response())["body"] == "hello"
