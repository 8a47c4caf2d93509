"""`--proxy-protocol`: headers of the PROXY protocol, versions 1 and 2.

src/proxies/tests/proxy_header.rs has the table of headers; here they go through a server.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, echoed, has_ipv6

Factory = Callable[..., ServerProcess]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.1 10.0.0.1 4711 80\r\n"
GET = build_request()
CLIENT = ("203.0.113.1", "4711")


def v2(command: int, family: int, payload: bytes = b"") -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + len(payload).to_bytes(2, "big") + payload


def addresses(source: str = "203.0.113.1", port: int = 4711) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    own = "::1" if ":" in source else "10.0.0.1"
    ports = port.to_bytes(2, "big") + (80).to_bytes(2, "big")
    return socket.inet_pton(family, source) + socket.inet_pton(family, own) + ports


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


V2 = v2(1, 0x11, addresses())
SSL = tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3"))


@pytest.fixture
def server(serve: Factory) -> ServerProcess:
    """The bare option stands before the application."""
    return serve("echo:app", "--threads", "1", "--proxy-protocol")


def seen(client: Client, data: bytes = GET) -> dict[str, str]:
    return echoed(client.request(data, method="GET"))["environ"]


def ask(server: ServerProcess, header: bytes, *fields: tuple[str, str]) -> dict[str, str]:
    with server.connect() as client:
        return seen(client, header + build_request(fields=fields))


def remote(environ: dict[str, str]) -> tuple[str, str | None]:
    return environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")


def assert_closed(client: Client) -> None:
    """Without a response. Bytes that crossed the close make it a reset."""
    try:
        assert client.at_eof()
    except ConnectionResetError:
        pass


def from_stranger(server: ServerProcess) -> Client:
    where = (server.host, server.port)
    sock = socket.create_connection(where, TIMEOUT, source_address=("127.0.0.2", 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Client(sock)


# ------------------------------------------------------------------------------- valid headers


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (V1, CLIENT),
        (V2, CLIENT),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", ("2001:db8::1", "4711")),
        (v2(1, 0x21, addresses("2001:db8::1")), ("2001:db8::1", "4711")),
        (v2(1, 0x21, addresses("::ffff:203.0.113.1")), CLIENT),
        (v2(1, 0x31, b"/client".ljust(216, b"\0")), ("", None)),
        # CRC32C, a unique id, AWS's endpoint, padding.
        (
            v2(
                1,
                0x11,
                addresses()
                + tlv(3, b"\1\2\3\4")
                + tlv(5, b"id")
                + tlv(0xEA, b"\1vpce-1")
                + tlv(4, bytes(2000)),
            ),
            CLIENT,
        ),
    ],
)
def test_header_names_the_client(
    server: ServerProcess, header: bytes, expected: tuple[str, str | None]
) -> None:
    with server.connect() as client:
        assert remote(seen(client, header + GET)) == expected
        for _ in range(3):  # the header is that of the connection
            assert remote(seen(client)) == expected


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        v2(0, 0x00),
        v2(0, 0x11, addresses()),
        v2(1, 0x00),
        v2(1, 0x00, b"ignored"),
    ],
)
def test_header_without_a_client_keeps_the_peer(server: ServerProcess, header: bytes) -> None:
    with server.connect() as client:
        assert remote(seen(client, header + GET)) == ("127.0.0.1", str(client.port))


@pytest.mark.second_door("no case")
@pytest.mark.parametrize("header", [V1, V2, v2(1, 0x11, addresses() + SSL)])
def test_header_in_two_pieces_is_read(server: ServerProcess, header: bytes) -> None:
    """Cut at every byte, and in the request as well."""
    data = header + GET
    for cut in range(1, len(header) + 10):
        with server.connect() as client:
            client.send(data[:cut])
            # The server has accepted this connection before the next one, and read what was sent.
            ask(server, V1)
            client.send(data[cut:])
            assert remote(echoed(client.response())["environ"]) == CLIENT, cut


def test_header_byte_by_byte_is_read(server: ServerProcess) -> None:
    for header in [V1, V2]:
        with server.connect() as client:
            client.send_slowly(header + GET)
            assert remote(echoed(client.response())["environ"]) == CLIENT


def test_pipelined_requests_behind_a_header_are_answered(server: ServerProcess) -> None:
    with server.connect() as client:
        client.send(V2 + GET + build_request(target="/2"))
        for path in ["/", "/2"]:
            environ = echoed(client.response())["environ"]
            assert (environ["PATH_INFO"], *remote(environ)) == (path, *CLIENT)


def test_second_header_is_a_malformed_request(server: ServerProcess) -> None:
    with server.connect() as client:
        assert remote(seen(client, V1 + GET)) == CLIENT
        assert client.request(V1 + GET).status == 400


def test_ssl_of_the_client_sets_the_scheme(server: ServerProcess) -> None:
    with_ssl = v2(1, 0x11, addresses() + SSL)
    with server.connect() as client:
        for data in [with_ssl + GET, GET, GET, GET]:
            assert seen(client, data)["wsgi.url_scheme"] == "https"
    assert ask(server, V2)["wsgi.url_scheme"] == "http"
    without = v2(1, 0x11, addresses() + tlv(0x20, b"\x06\0\0\0\0"))
    assert ask(server, without)["wsgi.url_scheme"] == "http"


# ----------------------------------------------------------------------------- refused headers

MALFORMED = [
    GET,
    b"\x16\x03\x01\x02\x00\x01",
    b"PROXY TCP4 203.0.113.1\r\n" + GET,
    b"PROXY TCP4 203.0.113.1 10.0.0.1 4711 99999\r\n" + GET,
    b"PROXY TCP4 203.0.113.1 10.0.0.1 4711 80\n" + GET,
    b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n" + GET,
    v2(2, 0x11, addresses()) + GET,
    v2(1, 0x41, addresses()) + GET,
    v2(1, 0x21, addresses()) + GET,
    v2(1, 0x11, addresses() + b"\4\0\7x") + GET,
    v2(1, 0x11, addresses() + tlv(0x20, b"\1")) + GET,
    v2(1, 0x11, addresses() + tlv(4, bytes(65000))) + GET,
    SIGNATURE[:-1] + b"\r" + GET,
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_header_closes_the_connection(server: ServerProcess, data: bytes) -> None:
    with server.connect() as client:
        client.send(data)
        assert_closed(client)
    assert remote(ask(server, V1)) == CLIENT


def test_incomplete_header_at_the_end_of_a_connection_is_dropped(server: ServerProcess) -> None:
    for header in [V1, V2]:
        with server.connect() as client:
            client.send(header[:-1])
            client.shutdown_write()
            assert_closed(client)


def test_refused_connections_are_counted_and_logged(fresh_server: Factory) -> None:
    server = fresh_server("echo:app", "--proxy-protocol", "v1")
    for _ in range(3):
        with server.connect() as client:
            client.send(V2 + GET)
            assert_closed(client)
        with from_stranger(server) as client:
            client.send(V1 + GET)
            assert_closed(client)
    server.wait_for_event("proxy.malformed", r"1 connection .*127\.0\.0\.1\)")
    server.wait_for_event("proxy.refused", r"1 connection .*127\.0\.0\.2\)")
    counters = server.counters()
    assert (counters["proxy_malformed"], counters["proxy_refused"]) == (3, 3)
    # A health check that only connects is neither.
    server.connect().close()
    assert server.counters() == counters
    assert server.stop() == 0
    assert server.stderr().count("[proxy.malformed]") == 1


@pytest.mark.parametrize(
    ("mode", "good", "bad"), [("v1", V1, V2), ("v2", V2, V1), ("auto", V2, GET)]
)
def test_only_the_chosen_versions_are_read(
    serve: Factory, mode: str, good: bytes, bad: bytes
) -> None:
    server = serve("echo:app", f"--proxy-protocol={mode}")
    assert remote(ask(server, good)) == CLIENT
    with server.connect() as client:
        client.send(bad + GET)
        assert_closed(client)


@pytest.mark.parametrize("sent", [b"", V1[:-1], V2[:-1], SIGNATURE])
def test_late_header_closes_the_connection(fresh_server: Factory, sent: bytes) -> None:
    server = fresh_server("echo:app", "--proxy-protocol", "auto", "--header-timeout", "0.1")
    with server.connect() as client:
        client.send(sent)
        assert_closed(client)
    assert server.counters() == {"header_timeout": 1}


def test_without_the_option_a_header_is_rejected(echo: ServerProcess) -> None:
    for header in [V1, V2]:
        with echo.connect() as client:
            assert client.request(header + GET).status == 400


# ----------------------------------------------------------------------- peers that send no header


def test_strangers_speak_http_without_a_header(server: ServerProcess) -> None:
    for data in [GET, b"\r\n" + GET, build_request("PROXY"), build_request("POST", body=b"x")]:
        with from_stranger(server) as client:
            assert seen(client, data)["REMOTE_ADDR"] == "127.0.0.2"
        with from_stranger(server) as client:
            client.send_slowly(data)
            assert echoed(client.response())["environ"]["REMOTE_ADDR"] == "127.0.0.2"


@pytest.mark.parametrize("header", [V1, V2, b"PROXY UNKNOWN\r\n", v2(0, 0)])
def test_header_of_a_stranger_closes_the_connection(server: ServerProcess, header: bytes) -> None:
    with from_stranger(server) as client:
        client.send(header + GET)
        assert_closed(client)
    with from_stranger(server) as client:
        try:
            client.send_slowly(header + GET)
        except (BrokenPipeError, ConnectionResetError):
            return
        assert_closed(client)


def test_peers_of_the_list_send_a_header(serve: Factory) -> None:
    server = serve("echo:app", "--proxy-protocol", "--proxy-allow-from", "127.0.0.2,192.0.2.0/24")
    with from_stranger(server) as client:
        assert remote(seen(client, V1 + GET)) == CLIENT
    with server.connect() as client:
        assert seen(client)["REMOTE_ADDR"] == "127.0.0.1"
    with server.connect() as client:
        client.send(V1 + GET)
        assert_closed(client)


def test_peers_of_this_machine_send_a_header_over_ipv6_too(fresh_server: Factory) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 loopback here")
    server = fresh_server("echo:app", "--proxy-protocol", bind="[::1]:0")
    assert remote(ask(server, V1)) == CLIENT
    with server.connect() as client:
        client.send(GET)
        assert_closed(client)


def test_peer_on_a_unix_socket_sends_a_header(fresh_server: Factory, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 'a.sock'}"
    server = fresh_server("echo:app", "--proxy-protocol", "--proxy-allow-from=", bind=bind)
    assert remote(ask(server, V1)) == CLIENT
    with server.connect() as client:
        client.send(GET)
        assert_closed(client)


# --------------------------------------------------------------- trusted is the address after PROXY

HTTPS = ("X-Forwarded-Proto", "https")
CHAIN = ("X-Forwarded-For", "198.51.100.1")


def proxied(source: str) -> bytes:
    return v2(1, 0x11, addresses(source))


@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_forwarded_fields_are_trusted_by_the_address_after_proxy(
    fresh_server: Factory, tmp_path: Path, bind: str
) -> None:
    where = "127.0.0.1:0" if bind == "tcp" else f"unix:{tmp_path / 'a.sock'}"
    options = ["--proxy-protocol", "auto", "--forwarded-allow-ips", "127.0.0.1,10.0.0.0/8"]
    server = fresh_server("echo:app", *options, bind=where)
    assert ask(server, proxied("203.0.113.1"), HTTPS)["wsgi.url_scheme"] == "http"
    assert ask(server, proxied("10.0.0.7"), HTTPS)["wsgi.url_scheme"] == "https"
    # The peer stays the one who connects: trusted.
    assert ask(server, v2(0, 0), HTTPS)["wsgi.url_scheme"] == "https"
    # What the client says is newer than the header.
    secure = v2(1, 0x11, addresses("10.0.0.7") + SSL)
    assert ask(server, secure, ("X-Forwarded-Proto", "http"))["wsgi.url_scheme"] == "http"
    assert ask(server, secure)["wsgi.url_scheme"] == "https"


def test_chain_behind_a_proxy_header_is_read(serve: Factory) -> None:
    options = ["--proxy-protocol", "--forwarded-headers", "for,proto"]
    server = serve("echo:app", *options, "--forwarded-allow-ips", "10.0.0.0/8")
    assert ask(server, proxied("10.0.0.7"), CHAIN)["REMOTE_ADDR"] == "198.51.100.1"
    assert ask(server, proxied("203.0.113.1"), CHAIN)["REMOTE_ADDR"] == "203.0.113.1"
    secure = v2(1, 0x11, addresses("10.0.0.7") + SSL)
    assert ask(server, secure, CHAIN)["wsgi.url_scheme"] == "https"
    assert ask(server, secure, ("X-Forwarded-Proto", "http"))["wsgi.url_scheme"] == "http"


def test_header_map_concerns_the_address_after_proxy(serve: Factory) -> None:
    server = serve("echo:app", "--proxy-protocol", "--header-map", "refuse")
    field = ("SCRIPT_NAME", "/shop")
    with server.connect() as client:
        assert client.request(V1 + build_request(fields=[field]), method="GET").status == 400
    with server.connect() as client:
        data = b"PROXY UNKNOWN\r\n" + build_request(target="/shop/a", fields=[field])
        assert seen(client, data)["PATH_INFO"] == "/a"


def test_access_log_names_the_client(fresh_server: Factory, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    options = ["--access-logfile", str(path), "--access-logformat", "%(h)s %(s)s"]
    server = fresh_server("echo:app", *options, "--proxy-protocol")
    ask(server, V1)
    with server.connect() as client:
        assert client.request(V2 + b"GET /\r\n\r\n", method="GET").status == 400
    server.wait_for_event("request.rejected", r"from 203\.0\.113\.1 with 400")
    assert server.stop() == 0
    assert path.read_text() == "203.0.113.1 200\n203.0.113.1 400\n"
