"""Several requests in flight on one connection. [RFC 9112 section 9.3.2]"""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from harness import (
    SMUGGLED,
    ServerProcess,
    assert_error_response,
    build_request,
    chunked,
    echoed,
)

_ids = itertools.count()


@pytest.fixture(params=["1", "4"], ids=["1-thread", "4-threads"])
def server(request: pytest.FixtureRequest, serve) -> ServerProcess:
    return serve("echo:app", "--threads", request.param)


@pytest.fixture
def steps(serve) -> ServerProcess:
    return serve("http_steps:app", "--threads", "4")


def assert_path(response, path: str) -> None:
    assert echoed(response)["environ"]["PATH_INFO"] == path


def test_pipelined_requests_are_answered_in_order(server: ServerProcess, how: str) -> None:
    raw = b"".join(build_request("GET", f"/{n}") for n in range(50))
    with server.connect() as client:
        client.send_slowly(raw) if how == "bytes" else client.send(raw)
        for n in range(50):
            assert_path(client.response(), f"/{n}")


def test_pipelined_bodies_and_methods_are_answered_in_order(
    server: ServerProcess, how: str
) -> None:
    te = [("Transfer-Encoding", "chunked")]
    cases = [
        ("GET", build_request("GET", "/0")),
        ("POST", build_request("POST", "/1", body=b"GET /evil HTTP/1.1\r\n\r\n")),
        ("POST", build_request("POST", "/2", fields=te) + chunked(b"0\r\n\r\n", b"abc")),
        ("HEAD", build_request("HEAD", "/3")),
        ("GET", build_request("GET", "/4", body=b"x" * 1000)),
        ("POST", build_request("POST", "/5", body=b"")),
        ("POST", build_request("POST", "/6", fields=te) + chunked(trailers=b"X: y\r\n")),
        ("POST", build_request("POST", "/7?read=no", body=b"unread" * 100)),
        ("HEAD", build_request("HEAD", "/8", body=b"abc")),
        ("GET", build_request("GET", "/9")),
    ]
    raw = b"".join(request for _, request in cases) * 3
    with server.connect() as client:
        client.send_slowly(raw) if how == "bytes" else client.send(raw)
        for number, (method, _) in enumerate(cases * 3):
            response = client.response(method)
            if method == "HEAD":
                assert response.status == 200
            else:
                assert_path(response, f"/{number % len(cases)}")


def test_second_request_in_two_segments_is_answered(server: ServerProcess) -> None:
    first, second = build_request("GET", "/1"), build_request("POST", "/2", body=b"hello")
    with server.connect() as client:
        for cut in range(1, len(second)):
            client.send(first + second[:cut])
            assert_path(client.response(), "/1")
            client.send(second[cut:])
            response = client.response()
            assert_path(response, "/2")
            assert echoed(response)["body"] == "hello"


def test_last_of_a_pipeline_closes(server: ServerProcess) -> None:
    close = build_request("GET", "/close", fields=[("Connection", "close")])
    with server.connect() as client:
        client.send(build_request("GET", "/1") + close + SMUGGLED)
        assert_path(client.response(), "/1")
        response = client.response()
        assert_path(response, "/close")
        assert "close" in response.connection and client.at_eof()


def test_nothing_is_served_after_close(echo: ServerProcess) -> None:
    """RFC 9112 section 9.6: a server MUST NOT process what follows a close."""
    close = build_request("GET", "/close", fields=[("Connection", "close")])
    with echo.connect() as client:
        port = str(client.port)
        client.send(close + SMUGGLED * 3)
        echoed(client.response())
        assert client.at_eof()
    calls = [c["path"] for c in echo.calls_since_last_asked() if c["port"] == port]
    assert calls == ["/close"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no-host"),
        pytest.param(b"BAD\r\n\r\n", id="request-line"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", id="length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", id="chunk"
        ),
    ],
)
def test_nothing_is_read_after_an_error(echo: ServerProcess, bad: bytes, how: str) -> None:
    """waitress CVE-2024-49768: the good request is answered, the bad refused, the rest unread."""
    with echo.connect() as client:
        port = str(client.port)
        raw = build_request("GET", "/good") + bad
        client.send_slowly(raw) if how == "bytes" else client.send(raw + SMUGGLED)
        if how == "bytes":
            client.send(SMUGGLED)
        assert_path(client.response(), "/good")
        assert_error_response(client.response(), 400)
        assert client.at_eof()
    calls = [c["path"] for c in echo.calls_since_last_asked() if c["port"] == port]
    assert calls == ["/good"]


def test_pipelined_requests_run_one_at_a_time(steps: ServerProcess) -> None:
    """The second request starts after the first response, although threads are free."""
    run = f"p{next(_ids)}"
    with steps.connect() as client:
        client.send(
            build_request("GET", f"/block?id={run}") + build_request("GET", f"/mark?id={run}")
        )
        assert steps.get(f"/wait?id={run}&for=started").body == b"true"
        for _ in range(20):  # other requests pass; the second of ours has had every chance
            assert json.loads(steps.get(f"/state?id={run}").body) == ["started"]
        steps.get(f"/go?id={run}")
        assert client.response().body == b"unblocked"
        assert client.response().body == b"marked"
    assert json.loads(steps.get(f"/state?id={run}").body) == ["started", "finished", "mark"]


def test_pipelined_request_waits_for_the_end_of_the_response(steps: ServerProcess) -> None:
    run = f"p{next(_ids)}"
    with steps.connect() as client:
        client.send(
            build_request("GET", f"/start?id={run}") + build_request("GET", f"/mark?id={run}")
        )
        assert client.head().status == 200 and client.next_chunk() == b"one"
        for _ in range(20):
            assert json.loads(steps.get(f"/state?id={run}").body) == ["one"]
        steps.get(f"/go?id={run}")
        steps.get(f"/go?id={run}")
        assert [client.next_chunk(), client.next_chunk(), client.next_chunk()] == [
            b"two",
            b"three",
            b"",
        ]
        assert client.read(2) == b"\r\n"
        assert client.response().body == b"marked"
    events = json.loads(steps.get(f"/state?id={run}").body)
    assert events == ["one", "two", "three", "end", "close", "mark"]


def test_pipeline_of_a_client_that_reads_late_is_answered(server: ServerProcess) -> None:
    """The responses exceed every buffer before the client reads the first: no deadlock, no loss."""
    count = 400
    raw = build_request("GET", "/late?pad=20000&read=no") * count
    with server.connect(receive_buffer=4096) as client:
        sender = threading.Thread(target=client.send, args=(raw,))
        sender.start()
        # Another client is answered meanwhile: the pipeline delays no other client.
        assert_path(server.get("/other"), "/other")
        for _ in range(count):
            assert_path(client.response(), "/late")
        sender.join()
