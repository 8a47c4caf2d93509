"""How sessions end: a close_notify says that all was sent, and its absence that it was not."""

from __future__ import annotations

import pytest

from harness import build_request

GET = build_request()
CLOSE = build_request(fields=[("Connection", "close")])


def test_close_after_a_response_is_announced(secure) -> None:
    server = secure("echo:app")
    with server.connect() as client:
        assert client.request(CLOSE).status == 200
        # Raises without a close_notify.
        assert client.at_eof()


def test_idle_connection_is_closed_with_an_announcement(fresh_secure) -> None:
    server = fresh_secure("echo:app", "--keep-alive", "0.2")
    with server.connect() as client:
        assert client.request(GET).status == 200
        assert client.at_eof()


def test_response_without_a_length_ends_with_an_announcement(fresh_secure, tmp_path) -> None:
    (tmp_path / "endless.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    yield b'one'\n"
        "    yield b'two'\n"
    )
    server = fresh_secure("endless:app", cwd=tmp_path)
    with server.connect() as client:
        client.send(build_request("GET", "/", version="HTTP/1.0"))
        assert client.rest().startswith(b"HTTP/1.1 200")


def test_response_that_is_cut_short_ends_without(fresh_secure, tmp_path) -> None:
    (tmp_path / "cut.py").write_text(
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '100')])\n"
        "    yield b'x' * 10\n"
        "    raise ValueError('broken')\n"
    )
    server = fresh_secure("cut:app", cwd=tmp_path)
    for version in ("HTTP/1.1", "HTTP/1.0"):
        with server.connect() as client:
            client.send(build_request(version=version))
            with pytest.raises(ConnectionResetError):
                client.rest()


def test_client_that_ends_its_side_gets_its_response(secure) -> None:
    server = secure("echo:app")
    for is_half_close in (False, True):
        with server.connect() as client:
            client.send(GET)
            if is_half_close:
                client.shutdown_write()
            else:
                client.sock.close_notify()
            assert client.response().status == 200
            assert client.at_eof()


def test_end_without_a_request_ends_the_connection(secure) -> None:
    server = secure("echo:app")
    with server.connect() as client:
        client.sock.close_notify()
        assert client.at_eof()


def test_end_inside_a_request_is_not_served(secure) -> None:
    server = secure("echo:app")
    server.calls_since_last_asked()
    with server.connect() as client:
        client.send(build_request("POST", fields=[("Content-Length", "10")]) + b"12345")
        client.sock.close_notify()
        assert client.at_eof()
    assert not server.calls_since_last_asked()


def test_shutdown_closes_idle_sessions_with_an_announcement(fresh_secure) -> None:
    server = fresh_secure("echo:app")
    with server.connect() as client:
        assert client.request(GET).status == 200
        server.stop()
        assert client.at_eof()
