"""`--request-buffering off` over HTTP/2: the application reads content while it arrives.

What the application sees is as over HTTP/1.1, which wsgi/test_streamed_input.py tests.
"""

from __future__ import annotations

import pytest

from harness.http2 import http2
from harness.wsgi import events, new_key, open_gate

OFF = ("--threads", "4", "--request-buffering", "off")
#: The window of a stream.
WINDOW = 65_535
CANCEL = 8


@pytest.fixture
def server(plain):
    return plain("wsgi_stream:app", *OFF)


def start(client, path: str, **keywords) -> int:
    return client.start(path, method="PUT", end=False, **keywords)


@pytest.mark.parametrize("size", [None, 12])
def test_pieces_are_read_as_they_arrive(server, size: int | None) -> None:
    """The application has each piece before the client sends the next."""
    fields = [("content-length", str(size))] if size else []
    with http2(server) as client:
        stream = start(client, "/echoed", fields=fields)
        for number, piece in enumerate((b"one\n", b"two\n", b"end\n"), 1):
            client.send_body(stream, piece, end=number == 3)
            while len(client.streams[stream].body) < 4 * number:
                assert client.receive()
        assert client.wait(stream).body == b"one\ntwo\nend\n"
        assert client.streams[stream].reset is None


def test_upload_is_refused_before_its_end(server) -> None:
    """The response is complete, and the client need not send the rest."""
    with http2(server) as client:
        stream = start(client, "/refused", fields=[("content-length", str(1 << 30))])
        response = client.wait(stream)
        assert (response.status, response.body) == (401, b"no")
        while response.reset is None:
            assert client.receive()
        assert response.reset == 0, "NO_ERROR"
        assert client.request("/length", body=b"hello").json() == 5


def test_application_that_does_not_read_holds_back_the_client(server) -> None:
    """Regression: all content was received first, with this option too."""
    key = new_key()
    with http2(server) as client:
        stream = start(client, f"/length?key={key}")
        client.send_body(stream, b"x" * WINDOW, end=False)
        client.synchronize()
        assert client.h2.local_flow_control_window(stream) == 0
        other = start(client, "/length")
        client.send_body(other, b"y" * 300_000)
        assert client.wait(other).json() == 300_000
        assert client.h2.local_flow_control_window(stream) == 0
        open_gate(server, key)
        client.send_body(stream, b"x" * 300_000)
        assert client.wait(stream).json() == WINDOW + 300_000


def test_requests_that_wait_for_a_thread_do_not_stop_the_others(plain) -> None:
    """Their content must not use up the window of the connection: the thread would wait for ever."""
    server = plain("wsgi_stream:app", "--threads", "1", "--request-buffering", "off")
    with http2(server) as client:
        first = start(client, "/length")
        waiting = [start(client, "/length") for _ in range(30)]
        for stream in waiting:
            client.send_body(stream, b"x" * WINDOW, end=False)
        client.send_body(first, b"y" * 200_000)
        assert client.wait(first).json() == 200_000
        for stream in waiting:
            client.send_body(stream, b"", end=True)
            assert client.wait(stream).json() == WINDOW


def test_large_uploads_are_read_whole(server) -> None:
    with http2(server) as client:
        streams = [start(client, "/length") for _ in range(3)]
        for number, stream in enumerate(streams, 1):
            client.send_body(stream, b"x" * 1_000_000 * number)
        assert [client.wait(stream).json() for stream in streams] == [1000000, 2000000, 3000000]


def test_continue_is_sent_at_the_first_read(server) -> None:
    key = new_key()
    with http2(server) as client:
        stream = start(client, f"/length?key={key}", fields=[("expect", "100-continue")])
        assert "called" in events(server, key, want="called")
        client.synchronize()
        assert not client.streams[stream].interim
        open_gate(server, key)
        while not client.streams[stream].interim:
            assert client.receive()
        assert client.streams[stream].interim[0][0] == 100
        client.send_body(stream, b"hello")
        assert client.wait(stream).json() == 5


@pytest.mark.parametrize("how", ["reset", "lost", "short"])
def test_read_of_an_upload_that_breaks_off_raises_a_connection_error(server, how: str) -> None:
    key = new_key()
    with http2(server) as client:
        stream = start(client, f"/caught?key={key}", fields=[("content-length", "10")])
        # A request that is reset before a thread has it does not run.
        assert "called" in events(server, key, want="called")
        client.send_body(stream, b"hello", end=how == "short")
        if how == "reset":
            client.h2.reset_stream(stream, CANCEL)
            client.flush()
        if how != "lost":
            client.synchronize()
    assert events(server, key, want="RequestBodyDisconnected")


def test_slow_and_large_uploads_are_refused(plain) -> None:
    server = plain("wsgi_stream:app", *OFF, "--limit-request-body", "1000", "--body-timeout", "2")
    with http2(server) as client:
        slow = start(client, "/length")
        large = start(client, "/length")
        client.send_body(large, b"x" * 1001, end=False)
        declared = start(client, "/length", fields=[("content-length", "1001")])
        assert client.wait(large).status == 413
        assert client.wait(declared).status == 413
        assert client.wait(slow).status == 408


def test_thread_that_still_reads_after_the_response_is_woken(server) -> None:
    key = new_key()
    with http2(server) as client:
        stream = start(client, f"/abandoned?key={key}")
        client.send_body(stream, b"hello", end=False)
        assert client.wait(stream).status == 401
        assert events(server, key, want="refused")
        # What it has left does not use up the window of the connection.
        for _ in range(3):
            assert client.request("/length", body=b"x" * 500_000).json() == 500_000
