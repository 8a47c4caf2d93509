"""`--request-buffering off`: the application runs while its request arrives.

An application that refuses an upload by its head alone, such as one with a wrong password, must
not have to receive all of it first. test_input.py runs with this setting, too; src/net/read_half/
has the table of all splits and errors.
"""

from __future__ import annotations

import select
import time

import pytest

from harness import TIMEOUT, Client, ServerProcess, assert_error_response, build_request, chunked
from harness.checks import within_linger
from harness.wsgi import THREADS, ask, events, json_of, new_key, open_gate

OFF = ("wsgi_stream:app", *THREADS, "--request-buffering", "off")
EXPECT = ("Expect", "100-continue")
CHUNKED = ("Transfer-Encoding", "chunked")
SIZED = ("Content-Length", "11")
GIB = ("Content-Length", str(1 << 30))


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve(*OFF)


def head(target: str, *fields: tuple[str, str], version: str = "HTTP/1.1") -> bytes:
    return build_request("PUT", target, fields=fields, version=version)


def is_silent(client: Client) -> bool:
    """Whether nothing has come from the server."""
    return not select.select([client.sock], [], [], 0)[0]


# ------------------------------------------------------------------------------- early responses


@pytest.mark.parametrize("fields", [[GIB], [GIB, EXPECT], [CHUNKED], [CHUNKED, EXPECT]], ids=str)
@pytest.mark.parametrize("sent", [b"", b"a\r\nsome bytes\r\n"], ids=["head", "start"])
def test_upload_is_refused_before_its_end(server, fields, sent):
    """Buffered, the whole gibibyte was received and stored before the 401."""
    with server.connect() as client:
        began = time.monotonic()
        client.send(head("/refused", *fields) + sent)
        response = client.response()  # the first one: no 100 comes before it
        assert response.status == 401 and response.body == b"no"
        assert response.connection == {"close"}
        # The client gets the response even if it is still sending: no reset overtakes it.
        with within_linger(began):
            client.send(b"x" * 100_000)
        assert client.at_eof()


@pytest.mark.parametrize("limit", ["refused", "too-large"])
def test_client_that_keeps_sending_gets_the_response_of_a_refused_upload(server, limit):
    """Regression: after 256 KiB more, less than the buffers of a socket hold, the connection was reset.
    curl without Expect lost its 401 or 413 in a fifth of all uploads."""
    size = GIB if limit == "refused" else ("Content-Length", str(1 << 40))
    with server.connect() as client:
        began = time.monotonic()
        client.send(head("/refused", size))
        select.select([client.sock], [], [], TIMEOUT)
        with within_linger(began):
            for _ in range(64):
                client.send(b"x" * (64 << 10))
        assert client.response().status == (401 if limit == "refused" else 413)
        assert client.at_eof()


def test_bytes_of_a_refused_upload_are_no_request(server):
    """RFC 9112 section 9.3: the rest of the body, which looks like requests, is never parsed."""
    key = new_key()
    inner = build_request("GET", f"/length?key={key}")
    with server.connect() as client:
        began = time.monotonic()
        client.send(head("/refused", GIB) + inner * 100)
        assert client.response().status == 401
        with within_linger(began):
            client.send(inner * 100)
        assert client.at_eof()
    with server.connect() as client:
        began = time.monotonic()
        client.send(head("/refused", CHUNKED) + b"5\r\nhello\r\n")
        assert client.response().status == 401
        with within_linger(began):
            client.send(b"0\r\n\r\n" + inner)
        assert client.at_eof()
    assert events(server, key) == []


@pytest.mark.parametrize("fields", [[SIZED], [CHUNKED]], ids=str)
def test_unread_body_that_has_arrived_keeps_the_connection(server, fields):
    body = chunked(b"hello ", b"world", trailers=b"A: b\r\n") if CHUNKED in fields else b"x" * 11
    with server.connect() as client:
        for _ in range(3):
            client.send(head("/refused", *fields) + body)
            response = client.response()
            assert response.status == 401 and not response.connection, response
        assert json_of(ask(client, "/length")) == 0


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_requests_after_a_body_that_was_read_are_served(server, version):
    """Pipelined ones, which were received with the end of the body, too."""
    keep = [("Connection", "keep-alive")] if version == "HTTP/1.0" else []
    raw = head("/length", SIZED, *keep, version=version)
    with server.connect() as client:
        client.send(raw + b"hello")
        client.send(b" world" + raw + b"hello world" + raw + b"hel")
        assert [json_of(client.response()) for _ in range(2)] == [11, 11]
        client.send(b"lo world")
        assert json_of(client.response()) == 11


# ------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("how", ["read1", "readline", "read"])
@pytest.mark.parametrize("coding", ["sized", "chunked"])
def test_pieces_are_read_as_they_arrive(server, coding, how):
    """The application has each piece before the client sends the next."""
    pieces = [b"one\n", b"two\n", b"end\n"]
    framing = CHUNKED if coding == "chunked" else ("Content-Length", "12")
    with server.connect() as client:
        size = 4 if how == "read" else -1
        client.send(head(f"/echoed?how={how}&size={size}", framing))
        for number, piece in enumerate(pieces):
            client.send(b"4\r\n" + piece + b"\r\n" if coding == "chunked" else piece)
            if number == 0:
                assert client.head().status == 200
            assert client.next_chunk() == piece
        if coding == "chunked":
            client.send(b"0\r\n\r\n")
        assert client.next_chunk() == b"" and client.read_line() == b"\r\n"
        # The response announced the close, as the request was not complete when it began.
        assert client.at_eof()


def test_other_requests_are_served_while_one_waits_for_its_body(serve):
    """A thread that waits holds neither the interpreter nor the poller, and each has its own."""
    server = serve("wsgi_stream:app", "--threads", "2", "--request-buffering", "off")
    with server.connect() as slow, server.connect() as other:
        slow.send(head("/length", SIZED) + b"hello")
        for _ in range(20):
            assert json_of(ask(other, "/length", method="POST", body=b"12345")) == 5
        slow.send(b" world")
        assert json_of(slow.response()) == 11


def test_single_thread_reads_what_the_sentinel_polls(serve):
    server = serve("wsgi_stream:app", "--threads", "1", "--request-buffering", "off")
    with server.connect() as client:
        client.send(head("/length", SIZED))
        client.send_slowly(b"hello world")
        assert json_of(client.response()) == 11


def test_large_upload_is_read_whole(server):
    with server.connect() as client:
        size = 50_000_000
        client.send(head("/length", ("Content-Length", str(size))))
        for _ in range(50):
            client.send(b"x" * 1_000_000)
        assert json_of(client.response()) == size


# ------------------------------------------------------------------------------------- 100-continue


@pytest.mark.parametrize("framing", [SIZED, CHUNKED], ids=str)
def test_continue_is_sent_at_the_first_read(server, framing):
    """RFC 9110 section 10.1.1: an application that refuses by the head spares the client the body."""
    key = new_key()
    body = b"hello world" if framing is SIZED else chunked(b"hello world")
    with server.connect() as client:
        client.send(head(f"/length?key={key}", framing, EXPECT))
        assert "called" in events(server, key, want="called")
        assert is_silent(client)
        open_gate(server, key)
        assert client.response().status == 100
        client.send(body)
        assert json_of(client.response()) == 11


def test_no_continue_after_the_response_has_begun(server):
    with server.connect() as client:
        client.send(head("/begun", SIZED, EXPECT))
        assert client.head().status == 200
        assert client.next_chunk() == b"begun"
        client.send(b"hello world")
        assert client.next_chunk() == b"done" and client.next_chunk() == b""


@pytest.mark.parametrize("sent", [b"", b"hello"])
def test_no_continue_to_a_client_that_does_not_wait(server, sent):
    """To HTTP/1.0 it MUST NOT be sent; if some of the body has arrived, the client needs none."""
    version = "HTTP/1.1" if sent else "HTTP/1.0"
    with server.connect() as client:
        client.send(head("/length", SIZED, EXPECT, version=version) + sent)
        client.send(b"hello world"[len(sent) :])
        assert json_of(client.response()) == 11


# ----------------------------------------------------------------------------------- broken uploads

LIMITED = (*OFF, "--limit-request-body", "1000", "--access-logfile", "-")
BROKEN = {
    "too-large": (CHUNKED, b"400\r\n" + b"x" * 1024, 413, "--limit-request-body 1000", []),
    "too-large-in-parts": (CHUNKED, b"200\r\n" + b"x" * 512 + b"\r\n1F0\r\n", 413, "too large", []),
    "malformed": (CHUNKED, b"5\r\nhelloX", 400, "a chunk is malformed", []),
    "trailer": (CHUNKED, b"0\r\nno field\r\n\r\n", 400, "a trailer field is malformed", []),
    "too-slow": (SIZED, b"hello", 408, "did not arrive in time", ["TimeoutError"]),
    "nothing": (SIZED, b"", 408, "did not arrive in time", ["TimeoutError"]),
}


def limited(serve, status: int) -> ServerProcess:
    """The others must not meet the timeout, however slow the machine is."""
    return serve(*LIMITED, *(("--body-timeout", "1") if status == 408 else ()))


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("fault", BROKEN)
def test_error_of_a_read_that_is_not_caught_is_the_response(serve, fault, pieces):
    """As if the server had received the body itself: not a 500, and no traceback."""
    framing, sent, status, reason, _ = BROKEN[fault]
    server = limited(serve, status)
    log_start = len(server.stderr())
    with server.connect() as client:
        if pieces == 1:
            client.send(head("/length", framing) + sent)
        else:
            client.send(head("/length", framing))
            client.send(sent)
        response = client.response()
        assert_error_response(response, status)
        assert client.at_eof()
    assert reason.split(" 1000")[0] in server.wait_for_event("request.rejected", reason).string
    assert "Traceback" not in server.stderr()[log_start:]
    server.wait_for_stdout(rf'"PUT /length HTTP/1.1" {status} ')


@pytest.mark.parametrize("fault", BROKEN)
def test_read_raises_what_is_wrong(serve, fault):
    """An OSError, as frameworks expect of a broken input; and so does each later read."""
    framing, sent, status, reason, bases = BROKEN[fault]
    server = limited(serve, status)
    with server.connect() as client:
        client.send(head("/caught", framing) + sent)
        response = client.response()
        assert response.connection == {"close"}
        assert client.at_eof()
    for text, found in json_of(response):
        assert reason in text
        assert {"RequestBodyError", "OSError", *bases} <= set(found), found


@pytest.mark.parametrize("how", ["end", "reset"])
def test_read_of_an_upload_that_breaks_off_raises_a_connection_error(serve, how):
    server, key = serve(*LIMITED), new_key()
    client = server.connect()
    client.send(head(f"/caught?key={key}", SIZED) + b"hello")
    events(server, key, want="called")  # a reset before the call would be a request never made
    if how == "end":
        client.shutdown_write()
        for text, found in json_of(client.response()):
            assert "disconnected" in text
            assert {"RequestBodyError", "ConnectionResetError"} <= set(found), found
        client.close()
    else:
        client.reset()
    assert events(server, key, want="RequestBodyDisconnected")


@pytest.mark.parametrize("target", ["/begun", "/begun?sized=yes"])
def test_response_that_has_begun_is_aborted(serve, target):
    server = serve(*LIMITED)
    log_start = len(server.stderr())
    with server.connect() as client:
        client.send(head(target, CHUNKED) + b"5\r\nhelloX")
        response = client.response()
        assert response.status == 200 and not response.complete, response
    server.wait_for_event("request.rejected", "a chunk is malformed.*has begun", start=log_start)
    assert "Traceback" not in server.stderr()[log_start:]


def test_declared_length_over_the_limit_is_refused_by_the_head(serve):
    server, key = serve(*LIMITED), new_key()
    with server.connect() as client:
        client.send(head(f"/length?key={key}", ("Content-Length", "1001"), EXPECT))
        assert_error_response(client.response(), 413)
        assert client.at_eof()
    assert events(server, key) == []


def test_client_slower_than_the_minimum_rate_gets_408(serve):
    """`--body-min-rate`: each byte comes in time, all of them together do not."""
    server = serve(*OFF, "--body-timeout", "1", "--body-min-rate", "1m")
    with server.connect() as client:
        client.send(head("/length", ("Content-Length", "100000")))
        while is_silent(client):
            client.send(b"x")
            select.select([client.sock], [], [], 0.05)
        assert_error_response(client.response(), 408)


def test_request_timeout_ends_a_read_that_waits(serve):
    server = serve(*OFF, "--timeout", "2", "--body-timeout", "60")
    with server.connect() as client:
        client.send(head("/length", SIZED) + b"hello")
        response = client.response()
        assert response.status == 504, response
        assert client.at_eof()
    assert json_of(server.get("/length")) == 0


def test_thread_that_still_reads_after_the_response_is_woken(server):
    key = new_key()
    with server.connect() as client:
        client.send(head(f"/abandoned?key={key}", SIZED) + b"hello")
        assert client.response().status == 401
        assert client.at_eof()
    assert events(server, key, want="refused")


# ------------------------------------------------------------------------------------ many clients


def test_waiting_bytes_are_held_back_by_flow_control(fresh_server):
    """What the application does not read stays with the client, and in no memory or file."""
    server, key = fresh_server(*OFF), new_key()
    with server.connect() as client:
        client.send(head(f"/length?key={key}", ("Content-Length", str(100 << 20))))
        assert "called" in events(server, key, want="called")
        client.sock.setblocking(False)
        sent = 0
        try:
            while sent < 100 << 20:
                sent += client.sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        assert sent < 50 << 20, "the kernel's buffers at most"
        client.sock.settimeout(TIMEOUT)
        open_gate(server, key)
        rest = (100 << 20) - sent
        for start in range(0, rest, 1 << 20):
            client.send(b"x" * min(1 << 20, rest - start))
        assert json_of(client.response()) == 100 << 20
