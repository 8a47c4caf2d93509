"""The request line: method, target and version. [RFC 9112 sections 2.2, 2.3, 3]"""

from __future__ import annotations

import pytest

from harness import ServerProcess, assert_rejected, build_request, echoed, exchange, readable

HOST = b"Host: a\r\n\r\n"

LINE_ENDS = [
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", id="9112-2.2-bare-lf-everywhere"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\r\n\r\n", id="9112-2.2-bare-lf-after-request-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\n\r\n", id="9112-2.2-bare-lf-after-field"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\n", id="9112-2.2-bare-lf-as-empty-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", id="9112-2.2-lf-in-value"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\nGET /x HTTP/1.1\r\n\r\n", id="lf-lf"),
    pytest.param(b"GET / HTTP/1.1\rHost: a\r\r", id="9112-2.2-bare-cr-everywhere"),
    pytest.param(b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", id="9112-2.2-cr-cr-lf-after-request-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", id="9112-2.2-cr-cr-lf-after-field"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", id="9112-2.2-cr-cr-lf-as-empty-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", id="9112-2.2-cr-in-value"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\rX: 1\r\n\r\n", id="9112-2.2-bare-cr-before-name"),
    pytest.param(b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", id="9112-2.2-bare-cr-in-target"),
    pytest.param(b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST, id="9112-2.2-two-leading-crlf"),
    pytest.param(b"\nGET / HTTP/1.1\r\n" + HOST, id="9112-2.2-leading-lf"),
    pytest.param(b"\rGET / HTTP/1.1\r\n" + HOST, id="9112-2.2-leading-cr"),
    pytest.param(b"\r\n\nGET / HTTP/1.1\r\n" + HOST, id="9112-2.2-leading-crlf-lf"),
]

REQUEST_LINES = [
    pytest.param(b" GET / HTTP/1.1", id="9112-3-leading-space"),
    pytest.param(b"GET  / HTTP/1.1", id="9112-3-two-spaces-before-target"),
    pytest.param(b"GET /  HTTP/1.1", id="9112-3-two-spaces-before-version"),
    pytest.param(b"GET / HTTP/1.1 ", id="9112-3-trailing-space"),
    pytest.param(b"GET / HTTP/1.1\t", id="9112-3-trailing-tab"),
    pytest.param(b"GET\t/ HTTP/1.1", id="9112-3-tab-before-target"),
    pytest.param(b"GET /\tHTTP/1.1", id="9112-3-tab-before-version"),
    pytest.param(b"GET\x0b/ HTTP/1.1", id="9112-3-vertical-tab"),
    pytest.param(b"GET /\x0cHTTP/1.1", id="9112-3-form-feed"),
    pytest.param(b"GET\xa0/ HTTP/1.1", id="9112-3-no-break-space"),
    pytest.param(b"GET / a HTTP/1.1", id="9112-3-four-parts"),
    pytest.param(b"GET / HTTP/1.1 HTTP/1.1", id="9112-3-two-versions"),
    pytest.param(b"GET HTTP/1.1", id="9112-3-no-target"),
    pytest.param(b"GET  HTTP/1.1", id="9112-3-empty-target"),
    pytest.param(b"GET / ", id="9112-3-empty-version"),
    pytest.param(b"GET", id="9112-3-method-alone"),
    pytest.param(b"/ HTTP/1.1", id="9112-3.1-no-method"),
    pytest.param(b" / HTTP/1.1", id="9112-3.1-empty-method"),
    pytest.param(b"HTTP/1.1 200 OK", id="9112-3-a-status-line"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="a-tls-hello"),
]

# A few of each kind; all of them are in src/http1/tests/line.rs.
VERSIONS = [b"http/1.1", b"HTTP/1", b"HTTP/1.1.1", b"HTTP/01.1", b"HTTP/1.10", b"HTTP/+1.1"]
VERSIONS += [b"HTTPS/1.1", b"HTTP/1.1x", b"HTTP/1.1\x00", b"HTTP/1.\xb9"]

BAD_METHOD_BYTES = list(b'\x00\x0b"(:\x7f\xe9')


@pytest.mark.parametrize("raw", LINE_ENDS)
def test_line_that_does_not_end_in_crlf_is_rejected(
    echo: ServerProcess, raw: bytes, how: str
) -> None:
    assert_rejected(echo, raw, 400, how=how)


@pytest.mark.parametrize("line", REQUEST_LINES)
def test_malformed_request_line_is_rejected(echo: ServerProcess, line: bytes, how: str) -> None:
    assert_rejected(echo, line + b"\r\n" + HOST, 400, how=how)


@pytest.mark.parametrize("byte", BAD_METHOD_BYTES, ids=lambda b: f"9110-9.1-method-{b:02x}")
def test_method_that_is_no_token_is_rejected(echo: ServerProcess, byte: int) -> None:
    assert_rejected(echo, b"GE" + bytes([byte]) + b"T / HTTP/1.1\r\n" + HOST, 400)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda v: "9112-2.3-" + readable(v))
def test_malformed_version_is_rejected(echo: ServerProcess, version: bytes, how: str) -> None:
    assert_rejected(echo, b"GET / " + version + b"\r\n" + HOST, {400}, how=how)


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/0.0", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"])
def test_other_major_version_is_rejected(echo: ServerProcess, version: str, how: str) -> None:
    """RFC 9112 section 2.3: a major version that the server does not speak."""
    assert_rejected(echo, f"GET / {version}\r\nHost: a\r\n\r\n".encode(), {400, 505}, how=how)


def test_http2_preface_is_rejected(echo: ServerProcess, how: str) -> None:
    """RFC 9113 section 3.4: prior knowledge of HTTP/2, which is not spoken here."""
    frames = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    assert_rejected(echo, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames, {400, 505}, how=how)


@pytest.mark.parametrize("raw", [b"GET /\r\n", b"GET /smuggled?\r\n"])
def test_http09_simple_request_is_rejected(echo: ServerProcess, raw: bytes, how: str) -> None:
    assert_rejected(echo, raw, {400, 505}, how=how)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
        b"PROXY UNKNOWN\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x50",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    ],
    ids=["tcp4", "tcp6", "unknown", "v2", "v2-local"],
)
def test_proxy_protocol_header_is_named_in_the_log(
    echo: ServerProcess, header: bytes, how: str
) -> None:
    """A proxy that sends it by mistake gets only 400s, and the reason is in its configuration."""
    start = len(echo.stderr())
    assert_rejected(echo, header + build_request("GET"), 400, how=how)
    echo.wait_for_event("request.rejected", "with 400: .*PROXY protocol", start=start)


def test_proxy_is_a_method_like_any_other(echo: ServerProcess) -> None:
    response = echo.get("/UNKNOWN", method="PROXY")
    assert response.status == 200, response


def test_one_leading_crlf_is_skipped(echo: ServerProcess, delivery: str) -> None:
    """RFC 9112 section 2.2: old clients send one after a POST body."""
    raw = b"\r\n" + build_request("GET", "/first")
    assert echoed(exchange(echo, raw, delivery))["environ"]["PATH_INFO"] == "/first"


def test_crlf_after_a_body_is_skipped(echo: ServerProcess, delivery: str) -> None:
    with echo.connect() as client:
        assert echoed(client.request(build_request("POST", "/", body=b"abc")))["body"] == "abc"
        client.send(b"\r\n")
        raw = build_request("GET", "/second")
        client.send_slowly(raw) if delivery == "bytes" else client.send(raw)
        assert echoed(client.response())["environ"]["PATH_INFO"] == "/second"


@pytest.mark.parametrize(
    "method",
    [
        *[
            "GET",
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "TRACE",
            "PROPFIND",
            "PURGE",
            "QUERY",
        ],
        *["get", "Get", "A", "X-METHOD", "M-SEARCH", "!#$%&'*+-.^_`|~", "0123456789", "X" * 64],
    ],
)
def test_method_is_passed_on_unchanged(echo: ServerProcess, method: str, delivery: str) -> None:
    """RFC 9110 section 9.1: any token, case-sensitive."""
    seen = echoed(exchange(echo, build_request(method, "/m"), delivery))
    assert seen["environ"]["REQUEST_METHOD"] == method


@pytest.mark.parametrize("version", ["HTTP/1.2", "HTTP/1.9"])
def test_higher_minor_is_served_as_http11(echo: ServerProcess, version: str, delivery: str) -> None:
    """RFC 9110 section 2.5."""
    response = exchange(echo, build_request("GET", "/v", version=version), delivery)
    assert echoed(response)["environ"]["PATH_INFO"] == "/v"
    assert response.version == "HTTP/1.1" and "close" not in response.connection


def test_http10_is_served(echo: ServerProcess) -> None:
    raw = build_request("GET", "/v", version="HTTP/1.0")
    seen = echoed(exchange(echo, raw, "whole"))
    assert seen["environ"]["SERVER_PROTOCOL"] == "HTTP/1.0"
