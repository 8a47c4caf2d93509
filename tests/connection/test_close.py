"""How connections end: half-close, lingering close, resets. [RFC 9112 sections 9.3 to 9.6]"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import time
from urllib.parse import quote

import pytest

from harness import (
    TIMEOUT,
    ServerProcess,
    assert_error_response,
    build_request,
    chunked,
    echoed,
    wait_until,
)

_ids = itertools.count()


@pytest.fixture
def steps(serve) -> ServerProcess:
    return serve("http_steps:app", "--threads", "4")


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux counts packets")
def test_last_bytes_and_the_end_are_one_packet(steps: ServerProcess) -> None:
    """Two packets would wake the client twice. The acknowledgement of the request is awaited and
    not counted. A server that is delayed for 200 ms between the last bytes and the FIN makes the
    kernel send the bytes alone: no defect, but it does not happen five times in a row."""
    assert any(_packets_of_a_response(steps) == 1 for _ in range(5))


def _packets_of_a_response(server: ServerProcess) -> int:
    run = f"c{next(_ids)}"
    with server.connect() as client:

        def info(offset: int) -> int:
            """A number of `struct tcp_info`, see linux/tcp.h."""
            size = 144
            answer = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
            assert len(answer) == size, "Linux has counted packets since 4.2"
            return struct.unpack_from("I", answer, offset)[0]

        unacknowledged, received = 24, 140
        client.send(build_request("GET", f"/block?id={run}", fields=[("Connection", "close")]))
        assert server.get(f"/wait?id={run}&for=started").body == b"true"
        wait_until(lambda: info(unacknowledged) == 0, "the request is acknowledged")
        before = info(received)
        server.get(f"/go?id={run}")
        assert client.response().complete and client.at_eof()
        return info(received) - before


# ----------------------------------------------------------------------------- half-close


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(build_request("GET", "/h"), id="get"),
        pytest.param(build_request("POST", "/h", body=b"hello"), id="length"),
        pytest.param(
            build_request("POST", "/h", fields=[("Transfer-Encoding", "chunked")])
            + chunked(b"hello"),
            id="chunked",
        ),
        pytest.param(build_request("GET", "/h", version="HTTP/1.0"), id="http10"),
        pytest.param(build_request("GET", "/h?pad=3000000"), id="large-answer"),
    ],
)
def test_half_closed_client_is_answered(echo: ServerProcess, raw: bytes, how: str) -> None:
    with echo.connect() as client:
        client.send_slowly(raw) if how == "bytes" else client.send(raw)
        client.shutdown_write()
        assert echoed(client.response())["environ"]["PATH_INFO"] == "/h"
        assert client.at_eof()


def test_half_closed_pipeline_is_answered(echo: ServerProcess) -> None:
    with echo.connect() as client:
        client.send(b"".join(build_request("GET", f"/{n}") for n in range(20)))
        client.shutdown_write()
        for n in range(20):
            assert echoed(client.response())["environ"]["PATH_INFO"] == f"/{n}"
        assert client.at_eof()


def test_half_close_while_the_application_works_is_answered(steps: ServerProcess) -> None:
    run = f"c{next(_ids)}"
    with steps.connect() as client:
        client.send(build_request("GET", f"/block?id={run}"))
        assert steps.get(f"/wait?id={run}&for=started").body == b"true"
        client.shutdown_write()
        steps.get("/state")
        steps.get(f"/go?id={run}")
        assert client.response().body == b"unblocked"
        assert client.at_eof()


def test_half_close_while_the_response_streams_is_answered(steps: ServerProcess) -> None:
    run = f"c{next(_ids)}"
    with steps.connect() as client:
        client.send(build_request("GET", f"/start?id={run}"))
        assert client.head().status == 200 and client.next_chunk() == b"one"
        client.shutdown_write()
        for block in (b"two", b"three"):
            steps.get(f"/go?id={run}")
            assert client.next_chunk() == block
        assert client.next_chunk() == b""


@pytest.mark.second_door("no case")
def test_half_open_sockets_use_no_processor_time(serve) -> None:
    """waitress CVE-2024-49769: readable forever, and never read."""
    server = serve("http_steps:app", "--threads", "4", "--keep-alive", "2")
    run = f"c{next(_ids)}"
    with server.connect() as busy, server.connect() as clock:
        busy.send(build_request("GET", f"/block?id={run}"))
        assert server.get(f"/wait?id={run}&for=started").body == b"true"
        busy.shutdown_write()
        assert clock.request(build_request("GET", "/state")).status == 200
        before = server.cpu_seconds()
        assert clock.at_eof()  # two seconds later, by the keep-alive bound
        assert server.cpu_seconds() - before < 1, "spinning on a half-closed connection"
        server.get(f"/go?id={run}")
        assert busy.response().body == b"unblocked"


# -------------------------------------------------------------------------- lingering close


@pytest.mark.parametrize("size", [1000, 100_000, 1_000_000])
def test_rejection_with_unread_body_reaches_the_client(serve, size: int) -> None:
    """RFC 9112 section 9.6: a close with unread input sends a reset, which destroys the
    response."""
    server = serve("echo:app", "--threads", "1", "--limit-request-body", "1000")
    head = build_request("POST", "/", fields=[("Content-Length", "5000000")])
    with server.connect() as client:
        client.send(head)
        client.send(b"x" * size)
        assert_error_response(client.response(), 413)
        assert client.at_eof()


@pytest.mark.parametrize("size", [1000, 100_000, 1_000_000])
def test_rejection_of_a_bad_head_with_bytes_behind_it_reaches_the_client(
    echo: ServerProcess, size: int
) -> None:
    with echo.connect() as client:
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + b"x" * size)
        assert_error_response(client.response(), 400)
        assert client.at_eof()


def test_rejection_reaches_a_client_that_keeps_sending(echo: ServerProcess) -> None:
    """The client reads the response first and stops sending later."""
    with echo.connect() as client:
        begin = time.monotonic()
        client.send(b"BAD\r\n\r\n")
        try:
            for _ in range(50):
                client.send(b"x" * 1000)
        except (BrokenPipeError, ConnectionResetError):
            if time.monotonic() - begin < 2:
                raise
            pytest.skip("the machine is too slow: the server lingers for two seconds")
        assert_error_response(client.response(), 400)
        assert client.at_eof()


def test_response_with_close_reaches_a_client_that_pipelines(echo: ServerProcess) -> None:
    raw = build_request("GET", "/last?pad=500000", fields=[("Connection", "close")])
    with echo.connect(receive_buffer=4096) as client:
        client.send(raw + b"x" * 100_000)
        assert len(echoed(client.response())["pad"]) == 500_000
        assert client.at_eof()


def test_response_with_close_of_the_application_reaches_a_client_that_pipelines(serve) -> None:
    """The client pipelines, and the application sends `close`. Regression: closing at once
    destroyed the response."""
    server = serve("http_responses:app", "--threads", "2")
    spec = {"fields": [["Connection", "close"]], "blocks": ["x"], "swell": 3_000_000}
    ahead = build_request("POST", "/", body=b"x" * 100_000)
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/?spec=" + quote(json.dumps(spec))) + ahead)
        response = client.response()
        assert response.complete and len(response.body) == 3_000_000
        assert client.at_eof()


def test_response_with_close_reaches_a_client_that_sends_late_bytes(steps: ServerProcess) -> None:
    """The client asked for `close` and keeps sending, and the server does not read: the same loss."""
    run = f"c{next(_ids)}"
    with steps.connect() as client:
        fields = [("Connection", "close")]
        client.send(build_request("GET", f"/block?id={run}", fields=fields))
        assert steps.get(f"/wait?id={run}&for=started").body == b"true"
        client.send(b"x" * 10_000)
        steps.get(f"/go?id={run}")
        assert client.response().body == b"unblocked"
        assert client.at_eof()


@pytest.mark.parametrize("size", [10, 100_000, 2_000_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body_left_unread_is_never_a_request(echo: ServerProcess, coding: str, size: int) -> None:
    """The server skips it or closes the connection."""
    body = build_request("GET", "/evil") * (size // 40 + 1)
    raw = build_request("POST", "/leave?read=no", body=body)
    if coding == "chunked":
        te = [("Transfer-Encoding", "chunked")]
        raw = build_request("POST", "/leave?read=no", fields=te) + chunked(body)
    with echo.connect() as client:
        port = str(client.port)
        response = client.request(raw)
        assert echoed(response)["environ"]["PATH_INFO"] == "/leave"
        if "close" in response.connection:
            assert client.at_eof()
        else:
            next_response = client.request(build_request("GET", "/next"))
            assert echoed(next_response)["environ"]["PATH_INFO"] == "/next"
    paths = {call["path"] for call in echo.calls_since_last_asked() if call["port"] == port}
    assert paths <= {"/leave", "/next"}


@pytest.mark.second_door("no case")
def test_rejected_client_that_stays_is_closed(echo: ServerProcess) -> None:
    """Lingering is bounded: a client that never closes does not keep the socket."""
    with echo.connect() as client:
        client.send(b"BAD\r\n\r\n")
        assert_error_response(client.response(), 400)
        assert client.at_eof()
        wait_until(lambda: not echo.holds(client), "the server has closed its end", 4 * TIMEOUT)


def test_lingering_is_bounded_in_bytes(echo: ServerProcess) -> None:
    """The server discards a limited number of bytes after a rejection."""
    with echo.connect() as client:
        client.send(b"BAD\r\n\r\n")
        assert_error_response(client.response(), 400)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(1000):
                client.send(b"x" * 65536)


# ---------------------------------------------------------------------------------- resets


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="at-once"),
        pytest.param(b"GET / HT", id="in-the-head"),
        pytest.param(
            build_request("POST", fields=[("Content-Length", "9")]) + b"x", id="in-the-body"
        ),
        pytest.param(build_request("GET", "/?pad=3000000"), id="before-the-answer"),
        pytest.param(build_request("GET") * 100, id="in-a-pipeline"),
    ],
)
def test_resets_leave_other_clients_unaffected(echo: ServerProcess, raw: bytes) -> None:
    for _ in range(20):
        with echo.connect() as client:
            client.send(raw)
            client.reset()
    assert echoed(echo.get("/after"))["environ"]["PATH_INFO"] == "/after"


def test_reset_while_the_application_works_is_harmless(steps: ServerProcess) -> None:
    run = f"c{next(_ids)}"
    with steps.connect() as client:
        client.send(build_request("GET", f"/block?id={run}"))
        assert steps.get(f"/wait?id={run}&for=started").body == b"true"
        client.reset()
    steps.get(f"/go?id={run}")
    assert steps.get(f"/wait?id={run}&for=finished").body == b"true"


@pytest.mark.second_door("no case")
def test_closed_connections_are_released(echo: ServerProcess) -> None:
    """Neither a FIN nor a reset leaves a socket behind."""
    clients = [echo.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        echoed(client.request(build_request()))
        client.shutdown_write() if number % 2 else client.send(b"GET /partial HTTP/1.1\r\n")
        client.shutdown_write() if not number % 2 else None
    for client in clients:
        wait_until(lambda client=client: not echo.holds(client), "the server has closed its end")
        client.close()
