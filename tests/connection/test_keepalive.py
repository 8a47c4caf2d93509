"""Which connections stay open, and for how long. [RFC 9112 section 9]"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness import ServerProcess, build_request, echoed, wait_until
from harness.supervision import freeze, workers

CLOSE, KEEP = False, True


@pytest.mark.parametrize(
    ("version", "options", "stays"),
    [
        pytest.param("1.1", [], KEEP, id="9112-9.3-http11"),
        pytest.param("1.1", ["keep-alive"], KEEP, id="9112-9.3-http11-keep-alive"),
        pytest.param("1.1", ["close"], CLOSE, id="9112-9.6-close"),
        pytest.param("1.1", ["Close"], CLOSE, id="9110-7.6.1-case"),
        pytest.param("1.1", ["CLOSE"], CLOSE, id="9110-7.6.1-upper-case"),
        pytest.param("1.1", ["keep-alive, close"], CLOSE, id="9112-9.3-close-wins-last"),
        pytest.param("1.1", ["close, keep-alive"], CLOSE, id="9112-9.3-close-wins-first"),
        pytest.param("1.1", ["close,keep-alive"], CLOSE, id="9110-5.6.1-no-space"),
        pytest.param("1.1", ["x ,\tclose\t, y"], CLOSE, id="9110-5.6.1-white-space"),
        pytest.param("1.1", [",close,,"], CLOSE, id="9110-5.6.1-empty-elements"),
        pytest.param("1.1", ["keep-alive", "close"], CLOSE, id="9110-5.3-second-field"),
        pytest.param("1.1", ["close", "keep-alive"], CLOSE, id="9110-5.3-first-field"),
        pytest.param("1.1", ["x-close"], KEEP, id="9110-7.6.1-other-option"),
        pytest.param("1.1", ["close-x, closed"], KEEP, id="9110-7.6.1-longer-option"),
        pytest.param("1.1", ["TE, foo"], KEEP, id="9110-7.6.1-unknown-options"),
        pytest.param("1.1", [""], KEEP, id="9110-7.6.1-empty"),
        pytest.param("1.0", [], CLOSE, id="9112-9.3-http10"),
        pytest.param("1.0", ["close"], CLOSE, id="9112-9.3-http10-close"),
        pytest.param("1.0", ["keep-alive"], KEEP, id="9112-9.3-http10-keep-alive"),
        pytest.param("1.0", ["Keep-Alive"], KEEP, id="9110-7.6.1-http10-case"),
        pytest.param("1.0", ["foo, KEEP-ALIVE"], KEEP, id="9110-5.6.1-http10-list"),
        pytest.param("1.0", ["foo", "keep-alive"], KEEP, id="9110-5.3-http10-second-field"),
        pytest.param("1.0", ["keep-alive, close"], CLOSE, id="9112-9.3-http10-close-wins"),
        pytest.param("1.0", ["x-keep-alive"], CLOSE, id="9110-7.6.1-http10-other-option"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_persistence(
    echo: ServerProcess, method: str, version: str, options: list[str], stays: bool, how: str
) -> None:
    raw = build_request(
        method,
        "/first",
        fields=[("Connection", option) for option in options],
        body=b"abc" if method == "POST" else None,
        version=f"HTTP/{version}",
    )
    with echo.connect() as client:
        client.send_slowly(raw) if how == "bytes" else client.send(raw)
        response = client.response(method)
        assert response.status == 200 and response.complete
        if stays:
            assert "close" not in response.connection, response
            if version == "1.0":
                assert "keep-alive" in response.connection and response.get("Content-Length")
            again = client.request(build_request("GET", "/second"))
            assert echoed(again)["environ"]["PATH_INFO"] == "/second"
        else:
            assert "keep-alive" not in response.connection, response
            if version == "1.1":
                assert "close" in response.connection, "RFC 9112 section 9.6"
            assert client.at_eof()


def test_proxy_connection_is_not_connection(echo: ServerProcess) -> None:
    """RFC 9112 appendix C.2.2."""
    raw = build_request(fields=[("Proxy-Connection", "keep-alive")], version="HTTP/1.0")
    with echo.connect() as client:
        echoed(client.request(raw))
        assert client.at_eof()


def test_many_requests_on_one_connection(echo: ServerProcess) -> None:
    with echo.connect() as client:
        for number in range(300):
            body = b"x" * number
            seen = echoed(client.request(build_request("POST", f"/{number}", body=body)))
            assert seen["environ"]["PATH_INFO"] == f"/{number}" and seen["length"] == number


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing-sent"),
        pytest.param(build_request(), id="after-a-response"),
        pytest.param(b"\r\n", id="only-a-crlf"),
    ],
)
def test_idle_connection_is_closed(serve, raw: bytes) -> None:
    """RFC 9112 section 9.5; silently, since a 408 could be taken for the answer to a request."""
    server = serve("echo:app", "--threads", "1", "--keep-alive", "1", "--header-timeout", "1")
    with server.connect() as client:
        if raw.strip():
            echoed(client.request(raw))
        elif raw:
            client.send(raw)
        assert client.at_eof() or (not raw.strip() and client.response().status == 408)


def test_request_that_crosses_the_end_of_an_idle_connection(serve) -> None:
    """A plain end, not a reset: HAProxy asks again only after the former."""
    server = serve("echo:app", "--threads", "1", "--keep-alive", "0.2")
    with server.connect() as client:
        echoed(client.request(build_request()))
        assert client.at_eof()
        client.send(build_request())
        assert not client.is_broken()
        client.shutdown_write()
        wait_until(lambda: not server.holds(client), "the server has closed it")
        assert not client.is_broken()
    assert len(server.calls_since_last_asked()) == 1


def test_request_that_crosses_the_end_of_the_server(fresh_server) -> None:
    """The same, where it is SIGTERM that ends the idle connection."""
    server = fresh_server("echo:app", "--threads", "1")
    with server.connect() as client:
        echoed(client.request(build_request()))
        server.send_signal(signal.SIGTERM)
        assert client.at_eof()
        client.send(build_request())
        assert not client.is_broken()
    assert server.wait() == 0


STAYING = """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    close = [("Connection", "close")] if path == "/close" else []
    start_response("200 OK", [("Content-Length", "2"), *close])
    if path == "/begun":
        yield b"o"
    if path in {"/begun", "/whole"}:
        print("waiting", file=environ["wsgi.errors"], flush=True)
        open(environ["QUERY_STRING"]).read()
    yield b"k" if path == "/begun" else b"ok"
"""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/begun", id="that was promised to stay"),
        pytest.param("/whole", id="that was told of its end"),
        pytest.param("/close", id="that was told before the stop"),
    ],
)
def test_client_that_stays_does_not_hold_up_the_end(
    fresh_server, tmp_path: Path, path: str
) -> None:
    """Two seconds were given to a client that did not close its side, a tenth of that to one that was idle.
    Both are rather less than the --graceful-timeout, which is what tells them apart here."""
    (tmp_path / "staying.py").write_text(STAYING)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    options = ["--pythonpath", str(tmp_path), "--graceful-timeout", "1.6"]
    server = fresh_server("staying:app", *options)
    with server.connect() as client, server.connect() as idle:
        assert idle.request(build_request("GET", "/idle")).body == b"ok"
        client.send(build_request("GET", f"{path}?{fifo}"))
        if path == "/close":
            assert client.response().body == b"ok"
            server.send_signal(signal.SIGTERM)
        else:
            server.wait_for_log("waiting")
            server.send_signal(signal.SIGTERM)
            # The worker has heard of it.
            assert idle.at_eof()
            fifo.write_text("")
            response = client.response()
            assert response.body == b"ok"
            assert ("close" in response.connection) == (path == "/whole")
            assert client.at_eof()
            client.send(build_request())
            assert not client.is_broken()
        assert server.wait() == 0
    assert "after the graceful timeout" not in server.stderr()


GET = build_request()
POST = build_request("POST", body=b"abc")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(GET, GET, id="idle"),
        pytest.param(GET[:-1], GET[-1:], id="head"),
        pytest.param(POST[:-1], POST[-1:], id="body"),
    ],
)
def test_what_arrived_in_time_is_not_overdue(fresh_server, before: bytes, after: bytes) -> None:
    """The worker is stopped for longer than it waits for anybody. Then all are due at once, and one look at
    the sockets does not tell of all of them."""
    waits = [f"--{what}" for what in ("keep-alive=3", "header-timeout=3", "body-timeout=3")]
    server = fresh_server("echo:app", "--threads", "1", *waits)
    (pid,) = workers(server, 1)
    clients = [server.connect() for _ in range(400)]
    try:
        for client in clients:
            client.send(before)
        if before == GET:
            for client in clients:
                echoed(client.response())
        wait_until(lambda: server.has_read(clients[-1]), "the last was read")
        freeze(pid)
        for client in clients:
            client.send(after)
        time.sleep(3.2)
        os.kill(pid, signal.SIGCONT)
        for client in clients:
            echoed(client.response())
        # Whoever was answered first may have been idle for too long by now.
        assert set(server.counters()) <= {"keep_alive"}
    finally:
        os.kill(pid, signal.SIGCONT)
        for client in clients:
            client.close()


def test_keep_alive_switched_off(serve, how: str) -> None:
    """`--keep-alive 0`: the client is told, rather than cut off [RFC 9112 section 9.6]."""
    server = serve("echo:app", "--threads", "1", "--keep-alive", "0")
    with server.connect() as client:
        client.send_slowly(build_request()) if how == "bytes" else client.send(build_request())
        response = client.response()
        echoed(response)
        assert "close" in response.connection, response
        assert client.at_eof()


def test_upgrade_offers_are_ignored(echo: ServerProcess, delivery: str) -> None:
    """RFC 9110 section 7.8; RFC 9113 section 3.1."""
    offers = [
        [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        [
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ],
        [("Connection", "upgrade"), ("Upgrade", "TLS/1.0")],
        [("Upgrade", "h2c")],
    ]
    with echo.connect() as client:
        for number, fields in enumerate(offers):
            raw = build_request("GET", f"/{number}", fields=fields)
            client.send_slowly(raw) if delivery == "bytes" else client.send(raw)
            response = client.response()
            assert echoed(response)["environ"]["PATH_INFO"] == f"/{number}"
            assert "upgrade" not in response.connection and not response.get("Upgrade")
