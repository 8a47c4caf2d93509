"""Handshakes that fail, stall, or are none. None of them reaches the application."""

from __future__ import annotations

import socket
import ssl
import time

import pytest

from harness import TIMEOUT, Client, build_request, wait_until
from harness.tls import TlsSocket

GET = build_request()
#: The header of a handshake record of 512 bytes, and the header of a ClientHello in it.
HELLO_BEGIN = bytes.fromhex("1603010200010001fc0303")


def connect(server) -> Client:
    """A connection without a session."""
    return Client(socket.create_connection((server.host, server.port), timeout=TIMEOUT))


def ended(client: Client) -> bytes:
    """What the server sends until it ends the connection."""
    try:
        return client.rest()
    except ConnectionResetError:
        return b"reset"


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.0\r\n", b"PRI * HTTP/2.0\r\n", b"G"]
)
def test_plain_http_is_answered_with_400(secure, request_line: bytes) -> None:
    server = secure("echo:app")
    server.calls_since_last_asked()
    with connect(server) as client:
        client.send(request_line)
        response = client.response()
        assert response.status == 400
        assert b"HTTPS" in response.body
        assert client.at_eof()
    assert not server.calls_since_last_asked()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x17\x03\x03\x00\x05hello",
        b"\x80\x2e\x01\x00\x02" + b"x" * 41,
        # A ClientHello of 16 MiB, in records of the largest size.
        b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"
        + b"x" * 16380
        + (b"\x16\x03\x01\x40\x00" + b"x" * 16384) * 5,
    ],
)
def test_garbage_ends_the_connection_and_is_counted(fresh_secure, garbage: bytes) -> None:
    server = fresh_secure("echo:app")
    with connect(server) as client:
        client.send(garbage)
        answer = ended(client)
        # An alert at most.
        assert answer == b"reset" or answer[:1] in (b"", b"\x15")
    server.wait_for_event("tls.handshake_failed")
    assert server.counters() == {"handshake_failed": 1}


def test_stalled_handshake_is_ended_by_the_timeout(fresh_secure) -> None:
    # Time enough for the client that completes its handshake meanwhile.
    server = fresh_secure("echo:app", "--handshake-timeout", "2", "--threads", "1")
    with connect(server) as silent, connect(server) as stalled:
        stalled.send(HELLO_BEGIN)
        # The thread is free meanwhile.
        assert server.get("/").status == 200
        assert ended(silent) == ended(stalled) == b""
    server.wait_for_event("tls.handshake_timeout")
    assert server.counters() == {"handshake_timeout": 2}


def test_handshake_timeout_of_zero_is_no_limit(fresh_secure) -> None:
    """Other timeouts pass meanwhile, and the client completes its handshake after them."""
    server = fresh_secure("echo:app", "--handshake-timeout", "0", "--header-timeout", "2")
    with connect(server) as stalled:
        session = TlsSocket(stalled.sock, server.tls)
        with pytest.raises(ssl.SSLWantReadError):
            session.tls.do_handshake()
        hello = session._out.read()
        stalled.send(hello[:20])
        for _ in range(2):
            with server.connect() as client:
                assert ended(client) == b""
        stalled.send(hello[20:])
        assert Client(session.handshake()).request(GET).status == 200
    assert server.counters() == {"header_timeout": 2}


def test_handshake_without_memory_is_refused(fresh_secure) -> None:
    """Incomplete handshakes count in the memory limit; those that need more are closed."""
    server = fresh_secure("echo:app", "--limit-memory", "64k", "--handshake-timeout", "60")
    # A ClientHello of 60 kB, and the first records of it.
    record = b"\x16\x03\x01\x40\x00"
    part = record + b"\x01\x00\xea\x60" + b"x" * 16380
    crowd = [connect(server) for _ in range(8)]
    try:
        for client in crowd:
            client.send(part)
        wait_until(lambda: server.counters().get("handshake_failed", 0) > 2, "some were closed")
        server.wait_for_event("tls.handshake_failed", "--limit-memory is reached")
        assert server.get("/").status == 200, "one that needs little is served"
    finally:
        for client in crowd:
            client.close()


def test_handshake_byte_by_byte_is_bounded(fresh_secure) -> None:
    server = fresh_secure("echo:app", "--handshake-timeout", "0.5")
    with connect(server) as client:
        client.sock.settimeout(0.02)
        for byte in HELLO_BEGIN + b"x" * 1000:
            try:
                client.send(bytes([byte]))
                if client.sock.recv(1) == b"":
                    break
            except TimeoutError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("the server has waited for more than 20 s")
    wait_until(lambda: "handshake_timeout" in server.counters(), "it is counted")


def test_time_for_a_request_begins_with_the_session(fresh_secure) -> None:
    """A client has --header-timeout after its handshake, not after its connection."""
    server = fresh_secure("echo:app", "--handshake-timeout", "5", "--header-timeout", "0.5")
    with server.connect() as client:
        assert ended(client) == b""
    counters = server.counters()
    assert counters == {"header_timeout": 1}


def test_health_check_without_a_byte_is_not_reported(fresh_secure) -> None:
    server = fresh_secure("echo:app")
    connect(server).close()
    assert server.get("/").status == 200
    assert server.counters() == {}
    assert "tls.handshake" not in server.stderr()


def test_client_that_aborts_its_handshake_is_counted(fresh_secure) -> None:
    server = fresh_secure("echo:app")
    with connect(server) as client:
        client.send(HELLO_BEGIN)
        client.shutdown_write()
        assert ended(client) == b""
    wait_until(lambda: server.counters() == {"handshake_failed": 1}, "it is counted")


def test_client_that_rejects_the_certificate_is_counted(fresh_secure) -> None:
    server = fresh_secure("echo:app")
    with pytest.raises(ssl.SSLCertVerificationError):
        server.connect(tls=ssl.create_default_context())
    wait_until(lambda: server.counters() == {"handshake_failed": 1}, "it is counted")
    assert server.get("/").status == 200


def test_failures_are_logged_at_a_limited_rate(fresh_secure) -> None:
    server = fresh_secure("echo:app")
    began = time.monotonic()
    for _ in range(20):
        with connect(server) as client:
            client.send(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00")
            ended(client)
    assert server.counters() == {"handshake_failed": 20}
    # One at first, and at most one every 10 s.
    took = time.monotonic() - began
    assert 1 <= server.stderr().count("[tls.handshake_failed]") <= 1 + took // 10


@pytest.mark.parametrize("at", [6, 20, 40])
def test_changed_record_ends_the_connection(secure, at: int) -> None:
    """A byte of an encrypted record is changed on the way: nothing of it reaches the application."""
    server = secure("echo:app")
    server.calls_since_last_asked()
    with server.connect() as client:
        sock = client.sock
        sock.tls.write(GET)
        record = bytearray(sock._out.read())
        record[at] ^= 1
        sock.raw.sendall(record)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            client.rest()
    assert not server.calls_since_last_asked()


def test_crowd_of_stalled_handshakes_does_not_stop_others(fresh_secure) -> None:
    server = fresh_secure("echo:app", "--threads", "1")
    crowd = [connect(server) for _ in range(200)]
    for client in crowd[::2]:
        client.send(HELLO_BEGIN)
    for _ in range(3):
        assert server.get("/").status == 200
    for client in crowd:
        client.close()
