"""A header of the PROXY protocol before the TLS handshake, as a load balancer sends it that passes
TLS on. tests/connection/test_proxy_protocol.py has the headers themselves.
"""

from __future__ import annotations

import socket
import ssl

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, echoed, wait_until
from harness.tls import TlsSocket

pytestmark = pytest.mark.second_door("no case")

GET = build_request()
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.1 10.0.0.1 4711 443\r\n"
V2 = (
    SIGNATURE + bytes.fromhex("2111000c") + bytes([203, 0, 113, 1, 10, 0, 0, 1]) + b"\x12\x67\1\xbb"
)
CLIENT = ("203.0.113.1", "4711")
#: The header of a handshake record of 512 bytes, and the header of a ClientHello in it.
HELLO_BEGIN = bytes.fromhex("1603010200010001fc0303")


@pytest.fixture
def server(secure) -> ServerProcess:
    return secure("echo:app", "--threads", "1", "--proxy-protocol")


def connect(server: ServerProcess, source: str = "127.0.0.1") -> socket.socket:
    where = (server.host, server.port)
    sock = socket.create_connection(where, TIMEOUT, source_address=(source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def session(server: ServerProcess, sock: socket.socket) -> Client:
    return Client(TlsSocket(sock, server.tls).handshake())


def seen(client: Client) -> dict[str, str]:
    return echoed(client.request(GET))["environ"]


def remote(environ: dict[str, str]) -> tuple[str, str | None]:
    return environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")


def assert_closed(sock: socket.socket) -> None:
    """Without a byte, not even an alert."""
    with sock:
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("header", [V1, V2])
def test_header_before_the_handshake_names_the_client(server, header: bytes, version) -> None:
    server.tls.minimum_version = server.tls.maximum_version = version
    with connect(server) as sock:
        sock.sendall(header)
        client = session(server, sock)
        for _ in range(3):
            environ = seen(client)
            assert remote(environ) == CLIENT
            assert environ["wsgi.url_scheme"] == "https" and environ["SSL_TLS_SNI"] == "localhost"


def test_header_without_a_client_keeps_the_peer(server) -> None:
    """PP2_TYPE_SSL says nothing of the session with this server."""
    for header in [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"]:
        with connect(server) as sock:
            sock.sendall(header)
            environ = seen(session(server, sock))
            assert remote(environ) == ("127.0.0.1", str(sock.getsockname()[1]))
            assert environ["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("header", [V1, V2])
def test_header_and_handshake_in_two_pieces_are_read(server, header: bytes) -> None:
    """Cut at every byte of the header, and in the first record."""
    for cut in range(1, len(header) + 10):
        with connect(server) as sock:
            tls = TlsSocket(sock, server.tls)
            with pytest.raises(ssl.SSLWantReadError):
                tls.tls.do_handshake()
            data = header + tls._out.read()
            sock.sendall(data[:cut])
            # The server has accepted this connection before the next one, and read what was sent.
            with connect(server) as other:
                other.sendall(V1)
                seen(session(server, other))
            sock.sendall(data[cut:])
            assert remote(seen(Client(tls.handshake()))) == CLIENT, cut


def test_header_and_handshake_byte_by_byte_are_read(server) -> None:
    with connect(server) as sock:
        tls = TlsSocket(sock, server.tls)
        with pytest.raises(ssl.SSLWantReadError):
            tls.tls.do_handshake()
        for byte in V2 + tls._out.read():
            sock.sendall(bytes([byte]))
        assert remote(seen(Client(tls.handshake()))) == CLIENT


@pytest.mark.parametrize("sent", [b"", V1[:-1], V2[:-1], SIGNATURE])
def test_late_header_is_ended_by_the_header_timeout(fresh_secure, sent: bytes) -> None:
    options = ["--header-timeout", "0.3", "--handshake-timeout", "60"]
    server = fresh_secure("echo:app", "--proxy-protocol", *options)
    sock = connect(server)
    sock.sendall(sent)
    assert_closed(sock)
    assert server.counters() == {"header_timeout": 1}


@pytest.mark.parametrize("sent", [V1, V2 + HELLO_BEGIN])
def test_late_handshake_is_ended_by_its_own_timeout(fresh_secure, sent: bytes) -> None:
    options = ["--header-timeout", "60", "--handshake-timeout", "0.3"]
    server = fresh_secure("echo:app", "--proxy-protocol", *options)
    sock = connect(server)
    sock.sendall(sent)
    assert_closed(sock)
    server.wait_for_event("tls.handshake_timeout", r"203\.0\.113\.1")
    assert server.counters() == {"handshake_timeout": 1}


def test_handshake_has_its_time_behind_a_slow_header(fresh_secure) -> None:
    """Its time begins with the end of the header, which took longer than that."""
    options = ["--header-timeout", "60", "--handshake-timeout", "2"]
    server = fresh_secure("echo:app", "--proxy-protocol", *options)
    with connect(server) as sock, connect(server) as stalled:
        stalled.sendall(V1)
        sock.sendall(V1[:-1])
        # More than two seconds have passed.
        assert stalled.recv(1) == b""
        sock.sendall(V1[-1:])
        assert remote(seen(session(server, sock))) == CLIENT


def test_handshake_without_a_header_closes_the_connection(fresh_secure) -> None:
    server = fresh_secure("echo:app", "--proxy-protocol")
    with connect(server) as sock, pytest.raises(ConnectionError):
        session(server, sock)
    server.wait_for_event("proxy.malformed", r"127\.0\.0\.1\)")
    assert server.counters() == {"proxy_malformed": 1}


def test_strangers_speak_tls_without_a_header(fresh_secure) -> None:
    server = fresh_secure("echo:app", "--proxy-protocol")
    with connect(server, "127.0.0.2") as sock:
        assert seen(session(server, sock))["REMOTE_ADDR"] == "127.0.0.2"
    for header in [V1, V2]:
        sock = connect(server, "127.0.0.2")
        sock.sendall(header + HELLO_BEGIN)
        assert_closed(sock)
    wait_until(lambda: server.counters() == {"proxy_refused": 2}, "they are counted")
