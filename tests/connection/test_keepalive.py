"""Which connections stay open, and for how long. [RFC 9112 section 9]"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness import Client, ServerProcess, build_request, echoed, wait_until
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
def test_connection_stays_open_as_asked(
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


def test_many_requests_on_one_connection_are_answered(echo: ServerProcess) -> None:
    with echo.connect() as client:
        for number in range(300):
            body = b"x" * number
            seen = echoed(client.request(build_request("POST", f"/{number}", body=body)))
            assert seen["environ"]["PATH_INFO"] == f"/{number}" and seen["length"] == number


def test_idle_connection_is_closed(serve) -> None:
    """RFC 9112 section 9.5; silently, since a 408 could be mistaken for the response to a request."""
    server = serve("echo:app", "--threads", "1", "--keep-alive", "1", "--header-timeout", "1")
    with server.connect() as silent, server.connect() as idle, server.connect() as begun:
        echoed(idle.request(build_request()))
        begun.send(b"\r\n")
        assert idle.at_eof()
        for client in (silent, begun):
            assert client.at_eof() or client.response().status == 408


def test_request_during_the_idle_close_is_discarded_without_a_reset(serve) -> None:
    """The client gets a FIN, no reset: HAProxy repeats the request only after a FIN."""
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


def test_request_during_the_shutdown_is_discarded_without_a_reset(fresh_server) -> None:
    """The same when SIGTERM closes the idle connection. The worker lingers for 200 ms."""
    if not any(send_during_the_shutdown(fresh_server) for _ in range(5)):
        pytest.skip("the machine is too slow for a request within 200 ms")


def send_during_the_shutdown(fresh_server) -> bool:
    """False if the request was so late that the worker had closed the connection."""
    server = fresh_server("echo:app", "--threads", "1")
    with server.connect() as client:
        echoed(client.request(build_request()))
        server.wait_for_event("server.ready")
        begin = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert client.at_eof()
        client.send(build_request())
        is_broken = client.is_broken()
        assert not is_broken or time.monotonic() - begin >= 0.2
    assert server.wait() == 0
    return not is_broken


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
        pytest.param("/begun", id="kept-alive-response"),
        pytest.param("/whole", id="response-with-close"),
        pytest.param("/close", id="close-before-the-stop"),
    ],
)
def test_client_that_stays_does_not_delay_the_shutdown(
    fresh_server, tmp_path: Path, path: str
) -> None:
    """The server lingered two seconds for a client that did not close its side, and 200 ms for an
    idle one. --graceful-timeout is between the two here."""
    (tmp_path / "staying.py").write_text(STAYING)
    # A machine that is slow just now needs more time; lingering for two seconds fails every time.
    assert any(stop_in_time(fresh_server, tmp_path, path, number) for number in range(5))


def stop_in_time(fresh_server, directory: Path, path: str, attempt: int) -> bool:
    """False if --graceful-timeout has ended the worker, or the client was late."""
    fifo = directory / f"fifo{attempt}"
    os.mkfifo(fifo)
    options = ["--pythonpath", str(directory), "--graceful-timeout", "1.6"]
    server = fresh_server("staying:app", *options)
    is_late = False
    with server.connect() as client, server.connect() as idle:
        assert idle.request(build_request("GET", "/idle")).body == b"ok"
        server.wait_for_event("server.ready")
        client.send(build_request("GET", f"{path}?{fifo}"))
        if path == "/close":
            assert client.response().body == b"ok"
            server.send_signal(signal.SIGTERM)
        else:
            server.wait_for_log("waiting")
            begin = time.monotonic()
            server.send_signal(signal.SIGTERM)
            try:
                # The worker has heard of it.
                assert idle.at_eof()
                is_late = not ends_with_its_response(client, fifo, keeps_alive=path == "/begun")
            except (OSError, AssertionError):
                if time.monotonic() - begin < 1.6:
                    raise
                is_late = True
        code = server.wait()
    if is_late or "after the graceful timeout" in server.stderr():
        return False
    assert code == 0
    return True


def ends_with_its_response(client: Client, fifo: Path, *, keeps_alive: bool) -> bool:
    """Whether the client's next request has reached a connection that lingers, which takes 200 ms."""
    begin = time.monotonic()
    wait_until(lambda: has_reader(fifo), "the application waits")
    response = client.response()
    assert response.body == b"ok"
    assert ("close" in response.connection) != keeps_alive
    assert client.at_eof()
    client.send(build_request())
    is_broken = client.is_broken()
    assert not is_broken or time.monotonic() - begin >= 0.2
    return not is_broken


def has_reader(fifo: Path) -> bool:
    """Lets a process that opens the pipe for reading go on, if there is one."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


GET = build_request()
POST = build_request("POST", body=b"abc")
#: What of a request comes before the worker stands still, and what meanwhile.
PARTS = [(GET, GET), (GET[:-1], GET[-1:]), (POST[:-1], POST[-1:])]


@pytest.mark.second_door("no case")
def test_request_that_arrived_in_time_is_served(fresh_server) -> None:
    """The worker is stopped for longer than it waits for a client. Then all are overdue at once, and one
    look at the sockets does not find all of them."""
    # A machine that is very slow just now needs more time than a test should take.
    if not any(serve_after_a_stop(fresh_server, seconds) for seconds in (3, 10, 30)):
        pytest.skip("the machine is too slow for 600 clients in 30 s")


def serve_after_a_stop(fresh_server, seconds: int) -> bool:
    """False if the clients took that long to be there, so that some timeouts were over already."""
    options = ("keep-alive", "header-timeout", "body-timeout")
    waits = [f"--{option}={seconds}" for option in options]
    server = fresh_server("echo:app", "--threads", "1", *waits)
    (pid,) = workers(server, 1)
    begin = time.monotonic()
    clients = [(server.connect(), *PARTS[number % 3]) for number in range(600)]
    try:
        try:
            for client, before, _ in clients:
                client.send(before)
            for client, before, _ in clients:
                if before == GET:
                    echoed(client.response())
            last = clients[-3:]
            wait_until(lambda: all(server.has_read(client) for client, *_ in last), "all read")
        except (OSError, AssertionError):
            if time.monotonic() - begin < seconds:
                raise
            return False
        freeze(pid)
        if time.monotonic() - begin >= seconds:
            return False
        for client, _, after in clients:
            client.send(after)
        time.sleep(seconds + 0.2)
        os.kill(pid, signal.SIGCONT)
        for client, *_ in clients:
            echoed(client.response())
        # A client that was answered first may have been idle for too long by now.
        assert set(server.counters()) <= {"keep_alive"}
        return True
    finally:
        os.kill(pid, signal.SIGCONT)
        for client, *_ in clients:
            client.close()


def test_keep_alive_zero_closes_after_the_first_response(serve, how: str) -> None:
    """`--keep-alive 0`: the response has `Connection: close` [RFC 9112 section 9.6]."""
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
