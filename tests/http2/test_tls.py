"""HTTP/2 over TLS."""

from __future__ import annotations

import ssl

import pytest

from harness.http2 import http2


def test_request_over_tls(secure) -> None:
    server = secure("echo:app", "--http-protocols", "h2,h1")
    with http2(server) as client:
        environ = client.request(body=b"hello", scheme="https").json()["environ"]
    assert environ["SERVER_PROTOCOL"] == "HTTP/2"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_TLS_SNI"] == "localhost"


def test_large_bodies_over_tls(secure) -> None:
    server = secure("echo:app", "--http-protocols", "h2,h1")
    with http2(server) as client:
        response = client.request("/?pad=3000000", body=b"x" * 1_000_000)
        assert response.json()["length"] == 1_000_000
        assert len(response.body) > 3_000_000


@pytest.mark.parametrize(
    ("protocols", "offered", "selected"),
    [
        ("h2,h1", ["h2", "http/1.1"], "h2"),
        ("h2,h1", ["http/1.1", "h2"], "h2"),
        ("h2,h1", ["http/1.1"], "http/1.1"),
        ("h2,h1", [], None),
        ("h1,h2", ["http/1.1", "h2"], "h2"),
        ("h1", ["h2", "http/1.1"], "http/1.1"),
    ],
)
def test_protocol_is_negotiated(secure, protocols: str, offered, selected) -> None:
    server = secure("echo:app", "--http-protocols", protocols)
    context = server.tls
    if offered:
        context.set_alpn_protocols(offered)
    with server.connect() as client:
        assert client.sock.tls.selected_alpn_protocol() == selected
    with http2(secure("echo:app", "--http-protocols", "h2,h1")) as client:
        assert client.request().status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("offered", [[], ["http/1.1"]])
def test_client_without_http2_is_refused_by_http2_alone(
    secure, offered: list[str], version: ssl.TLSVersion
) -> None:
    server = secure("echo:app", "--http-protocols", "h2")
    server.tls.minimum_version = server.tls.maximum_version = version
    if offered:
        server.tls.set_alpn_protocols(offered)
    with pytest.raises(ssl.SSLError, match="no application protocol"), server.connect():
        pass
    server.tls.set_alpn_protocols(["http/1.1", "h2"])
    with http2(server) as client:
        assert client.request().json()["environ"]["SERVER_PROTOCOL"] == "HTTP/2"


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_forwarded_fields_of_others_are_ignored(secure, trusted: str) -> None:
    """Anybody may speak HTTP/2 over TLS, unlike without it."""
    server = secure(
        "echo:app", f"--forwarded-allow-ips={trusted}", "--forwarded-headers", "for,proto"
    )
    forged = [
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "http"),
        ("script_name", "/a"),
    ]
    with http2(server) as client:
        environ = client.request("/a/b", fields=forged).json()["environ"]
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "https")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/a/b")


def test_preface_without_alpn_is_refused(secure) -> None:
    server = secure("echo:app", "--http-protocols", "h2,h1", "--http2-cleartext", "both")
    with server.connect() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert client.response().status == 505
