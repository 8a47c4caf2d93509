"""Request targets and the Host field. [RFC 9112 sections 3.2, 3.3; RFC 9110 section 7.2]"""

from __future__ import annotations

import pytest

from harness import ServerProcess, assert_rejected, build_request, echoed, exchange, readable


def raw_target(target: bytes, method: bytes = b"GET", host: bytes = b"a") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


REJECTED = [
    pytest.param(b"GET", b"/p#f", id="9112-3.2-fragment"),
    pytest.param(b"GET", b"/p?q#f", id="9112-3.2-fragment-after-query"),
    pytest.param(b"GET", b"#", id="9112-3.2-fragment-alone"),
    pytest.param(b"GET", b"http://a/p#f", id="9112-3.2-fragment-in-absolute-form"),
    pytest.param(b"GET", b"p", id="9112-3.2-relative"),
    pytest.param(b"GET", b"?q", id="9112-3.2-query-alone"),
    pytest.param(b"GET", b"./p", id="9112-3.2-dot-relative"),
    pytest.param(b"GET", b"\\p", id="9112-3.2-backslash"),
    pytest.param(b"GET", b"*", id="9112-3.2.4-asterisk-with-get"),
    pytest.param(b"POST", b"*", id="9112-3.2.4-asterisk-with-post"),
    pytest.param(b"OPTIONS", b"*/p", id="9112-3.2.4-asterisk-and-path"),
    pytest.param(b"OPTIONS", b"**", id="9112-3.2.4-two-asterisks"),
    pytest.param(b"GET", b"a:80", id="9112-3.2.3-authority-with-get"),
    pytest.param(b"GET", b"http:", id="9112-3.2.2-scheme-alone"),
    pytest.param(b"GET", b"http:/p", id="9112-3.2.2-no-authority"),
    pytest.param(b"GET", b"http://", id="9110-4.2.1-empty-host"),
    pytest.param(b"GET", b"http:///p", id="9110-4.2.1-empty-host-with-path"),
    pytest.param(b"GET", b"http://:80/p", id="9110-4.2.1-port-without-host"),
    pytest.param(b"GET", b"http://a:b/p", id="3986-3.2.3-port-not-digits"),
    pytest.param(b"GET", b"http://a:8:9/p", id="3986-3.2.3-two-ports"),
    pytest.param(b"GET", b"http://[::1/p", id="3986-3.2.2-unclosed-bracket"),
    pytest.param(b"GET", b"http://u@a/p", id="9110-4.2.4-userinfo"),
    pytest.param(b"GET", b"http://u:p@a/p", id="9110-4.2.4-userinfo-with-password"),
    pytest.param(b"GET", b"/%00", id="wsgi-encoded-nul"),
    pytest.param(b"GET", b"/a%00b?q", id="wsgi-encoded-nul-inside"),
]


@pytest.mark.parametrize(("method", "target"), REJECTED)
def test_malformed_target_is_rejected(
    echo: ServerProcess, method: bytes, target: bytes, how: str
) -> None:
    assert_rejected(echo, raw_target(target, method), 400, how=how)


@pytest.mark.parametrize("where", [b"/a%cb", b"/a?b%cd", b"http://a/%c"])
@pytest.mark.parametrize("byte", [0x00, 0x0B, 0x7F, 0x80, 0xE9], ids="{:02x}".format)
def test_control_or_8bit_byte_in_a_target_is_rejected(
    echo: ServerProcess, where: bytes, byte: int
) -> None:
    """RFC 9112 section 3.2 with RFC 3986; one 8-bit byte has crashed other servers."""
    assert_rejected(echo, raw_target(where.replace(b"%c", bytes([byte]))), 400)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param(b"a:80", {501}, id="9112-3.2.3-authority"),
        pytest.param(b"[::1]:443", {501}, id="9112-3.2.3-ipv6-authority"),
        pytest.param(b"a", {400, 501}, id="9110-9.3.6-no-port"),
        pytest.param(b"/p", {400, 501}, id="9110-9.3.6-origin-form"),
        pytest.param(b"http://a:80/", {400, 501}, id="9110-9.3.6-absolute-form"),
        pytest.param(b"*", {400, 501}, id="9110-9.3.6-asterisk"),
    ],
)
def test_connect_is_rejected(
    echo: ServerProcess, target: bytes, status: set[int], how: str
) -> None:
    assert_rejected(echo, raw_target(target, b"CONNECT", b"a:80"), status, how=how)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        pytest.param("/", "/", "", id="9112-3.2.1-root"),
        pytest.param("/a/b", "/a/b", "", id="9112-3.2.1-path"),
        pytest.param("/a?", "/a", "", id="empty-query"),
        pytest.param("/a?b=c&d", "/a", "b=c&d", id="query"),
        pytest.param("/?a?b", "/", "a?b", id="3986-3.4-question-mark-in-query"),
        pytest.param("/a//b", "/a//b", "", id="double-slash-kept"),
        pytest.param("//a/b", "//a/b", "", id="leading-double-slash-is-path"),
        pytest.param("/a/../b/./c", "/a/../b/./c", "", id="dot-segments-kept"),
        pytest.param("/%41%2f%2F", "/A//", "", id="3986-2.1-decoded-once"),
        pytest.param("/%2541", "/%41", "", id="3986-2.4-not-decoded-twice"),
        pytest.param("/%C3%A9", "/\u00c3\u00a9", "", id="utf8-as-latin-1"),
        pytest.param("/%ff%80", "/\u00ff\u0080", "", id="any-byte-as-latin-1"),
        pytest.param("/a%0d%0aX:%20b", "/a\r\nX: b", "", id="encoded-crlf-is-data"),
        pytest.param("/a%3Fb", "/a?b", "", id="encoded-question-mark-is-path"),
        pytest.param("/a%23b", "/a#b", "", id="encoded-hash-is-path"),
        pytest.param("/a+b%20c", "/a+b c", "", id="plus-is-not-space"),
        pytest.param("/?%41%00%ff+", "/", "%41%00%ff+", id="query-is-raw"),
        pytest.param("/a;p=1:@!$&'()*,=-._~", "/a;p=1:@!$&'()*,=-._~", "", id="3986-3.3-pchar"),
        pytest.param("/http://x/y", "/http://x/y", "", id="absolute-looking-path"),
        pytest.param("http://h/p?q", "/p", "q", id="9112-3.2.2-absolute"),
        pytest.param("http://h", "/", "", id="9112-3.2.2-absolute-without-path"),
        pytest.param("http://h?q", "/", "q", id="9112-3.2.2-absolute-with-query-alone"),
        pytest.param("HTTP://h/p", "/p", "", id="9110-4.2.3-scheme-case"),
        pytest.param("http://h//p", "//p", "", id="9112-3.2.2-absolute-double-slash"),
    ],
)
def test_target_is_split_into_path_and_query(
    echo: ServerProcess, target: str, path: str, query: str, delivery: str
) -> None:
    environ = echoed(exchange(echo, build_request("GET", target), delivery))["environ"]
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", path)
    assert environ["QUERY_STRING"] == query


def test_https_target_without_tls_is_rejected(echo: ServerProcess, how: str) -> None:
    """RFC 9110 section 7.4."""
    assert_rejected(echo, raw_target(b"https://a/"), {400, 421}, how=how)


def test_asterisk_form_of_options_is_served(echo: ServerProcess, delivery: str) -> None:
    """RFC 9112 section 3.2.4; PEP 3333 requires a path that is empty or starts with a slash."""
    seen = echoed(exchange(echo, build_request("OPTIONS", "*"), delivery))["environ"]
    assert seen["REQUEST_METHOD"] == "OPTIONS" and seen["PATH_INFO"] in {"", "*", "/*"}


@pytest.mark.parametrize(
    ("target", "host"),
    [
        pytest.param("http://h/p", "h", id="host"),
        pytest.param("http://h:81/p", "h:81", id="port"),
        pytest.param("http://[::1]:81", "[::1]:81", id="ipv6"),
        pytest.param("http://h?q", "h", id="no-path"),
    ],
)
def test_absolute_form_replaces_host(
    echo: ServerProcess, target: str, host: str, delivery: str
) -> None:
    """RFC 9112 section 3.2.2: the received Host is ignored."""
    raw = build_request("GET", target, fields=[("Host", "other:8080")])
    assert echoed(exchange(echo, raw, delivery))["environ"]["HTTP_HOST"] == host


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(b"", id="9112-3.2-none"),
        pytest.param(b"Host: a\r\nHost: a\r\n", id="9112-3.2-twice-the-same"),
        pytest.param(b"Host: a\r\nHost: b\r\n", id="9112-3.2-twice"),
        pytest.param(b"Host: a\r\nX: 1\r\nhOST: b\r\n", id="9112-3.2-twice-in-other-case"),
        pytest.param(b"Host: a\r\nHost:\r\n", id="9112-3.2-second-empty"),
        pytest.param(b"X-Host: a\r\n", id="9112-3.2-only-another-name"),
        pytest.param(b"Host_: a\r\n", id="9112-3.2-only-with-underscore"),
    ],
)
@pytest.mark.parametrize("target", [b"/", b"http://a/"], ids=["origin", "absolute"])
def test_missing_or_repeated_host_is_rejected(
    echo: ServerProcess, target: bytes, fields: bytes, how: str
) -> None:
    raw = b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n"
    assert_rejected(echo, raw, 400, how=how)


def test_missing_host_above_http11_is_rejected(echo: ServerProcess) -> None:
    assert_rejected(echo, b"GET / HTTP/1.2\r\n\r\n", 400)


def test_repeated_host_in_http10_is_rejected(echo: ServerProcess) -> None:
    assert_rejected(echo, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400)


# A few of each kind; all of them are in src/http1/tests/fields.rs.
BAD_HOSTS = [b"a b", b"a, b", b"a/b", b"u@a", b"a:b", b"a:80:90", b"::1", b"[::1", b"[]"]
BAD_HOSTS += [b"http://a", b'a"', b"a%zz", b"\xe9"]


@pytest.mark.parametrize(
    "host",
    BAD_HOSTS,
    ids=lambda h: "9110-7.2-" + readable(h),
)
def test_malformed_host_is_rejected(echo: ServerProcess, host: bytes, how: str) -> None:
    assert_rejected(echo, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400, how=how)


@pytest.mark.parametrize("host", [b"a/b", b"a b", b"a:x", b"u@a"])
def test_malformed_host_beside_an_absolute_target_is_rejected(
    echo: ServerProcess, host: bytes
) -> None:
    assert_rejected(echo, raw_target(b"http://ok/", host=host), 400)


@pytest.mark.parametrize(
    "host",
    [
        *["a", "A.Example", "a:80", "a:", "a:65535", "127.0.0.1", "127.0.0.1:8000", "a_b.c", "a-b"],
        *[
            "[::1]",
            "[::1]:80",
            "[2001:db8::1]:443",
            "a.",
            "xn--e1afmkfd",
            "a%41",
            "a~b",
            "1",
            "a;b",
        ],
    ],
)
def test_valid_host_is_accepted(echo: ServerProcess, host: str, delivery: str) -> None:
    raw = build_request("GET", "/", fields=[("Host", host)])
    assert echoed(exchange(echo, raw, delivery))["environ"]["HTTP_HOST"] == host


def test_http10_without_host_is_served(echo: ServerProcess, how: str) -> None:
    seen = echoed(exchange(echo, b"GET /p HTTP/1.0\r\n\r\n", how))
    assert seen["environ"]["PATH_INFO"] == "/p" and "HTTP_HOST" not in seen["http"]
