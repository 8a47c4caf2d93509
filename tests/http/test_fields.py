"""Field lines: names, values, white space, underscores. [RFC 9112 section 5; RFC 9110 section 5]"""

from __future__ import annotations

import pytest

from harness import ServerProcess, assert_rejected, build_request, echoed, exchange


def with_fields(*lines: bytes, end: bytes = b"\r\n\r\n") -> bytes:
    return b"\r\n".join([b"GET /f HTTP/1.1", b"Host: a", *lines]) + end


REJECTED = [
    pytest.param([b"X-A : 1"], id="9112-5.1-space-before-colon"),
    pytest.param([b"X-A\t: 1"], id="9112-5.1-tab-before-colon"),
    pytest.param([b"X-A\x0b: 1"], id="9112-5.1-vertical-tab-before-colon"),
    pytest.param([b"Content-Length : 5"], id="9112-5.1-space-before-colon-of-length"),
    pytest.param([b"Transfer-Encoding : chunked"], id="9112-5.1-space-before-colon-of-coding"),
    pytest.param([b": 1"], id="9112-5.1-empty-name"),
    pytest.param([b":"], id="9112-5.1-colon-alone"),
    pytest.param([b"X-A"], id="9112-5-no-colon"),
    pytest.param([b"X-A 1"], id="9112-5-space-for-colon"),
    pytest.param([b"X A: 1"], id="9110-5.1-space-in-name"),
    pytest.param([b"GET / HTTP/1.1"], id="9112-5-second-request-line"),
    pytest.param([b"X-A: 1", b" 2"], id="9112-5.2-fold-by-space"),
    pytest.param([b"X-A: 1", b"\t2"], id="9112-5.2-fold-by-tab"),
    pytest.param([b"X-A: 1", b" "], id="9112-5.2-fold-of-nothing"),
    pytest.param([b"X-A:", b" 2"], id="9112-5.2-fold-of-empty-value"),
    pytest.param([b"X-A: 1", b" Content-Length: 5"], id="9112-5.2-fold-hides-length"),
    pytest.param([b"Transfer-Encoding:", b" chunked"], id="9112-5.2-folded-coding"),
]


@pytest.mark.parametrize("lines", REJECTED)
def test_malformed_field_is_rejected(echo: ServerProcess, lines: list[bytes], how: str) -> None:
    assert_rejected(echo, with_fields(*lines), 400, how=how)


@pytest.mark.parametrize(
    "first", [b" X-A: 1", b"\tX-A: 1", b" Host: a", b" ", b"\t", b" \t ", b" : "]
)
def test_white_space_after_the_request_line_is_rejected(
    echo: ServerProcess, first: bytes, how: str
) -> None:
    """RFC 9112 section 2.2: a line that could be taken for a fold of the request line."""
    raw = b"GET / HTTP/1.1\r\n" + first + b"\r\nHost: a\r\n\r\n"
    assert_rejected(echo, raw, 400, how=how)


# All bytes are tried by `each_byte_has_its_place` in src/http1/tests/line.rs, and at the ends by
# `byte_at_the_end_of_a_name_or_value_has_its_place` in src/http1/tests/fields.rs.
NOT_TOKEN = b'\x00\x0b "(\xa0'
CONTROLS = [0x00, 0x0A, 0x0B, 0x0D, 0x7F]


@pytest.mark.parametrize("byte", NOT_TOKEN, ids="9110-5.1-name-{:02x}".format)
@pytest.mark.parametrize("where", ["inside", "first", "last"])
def test_field_name_that_is_no_token_is_rejected(
    echo: ServerProcess, byte: int, where: str
) -> None:
    c = bytes([byte])
    name = {"inside": b"X" + c + b"A", "first": c + b"XA", "last": b"XA" + c}[where]
    assert_rejected(echo, with_fields(name + b": 1"), 400)


@pytest.mark.parametrize("byte", CONTROLS, ids="9110-5.5-value-{:02x}".format)
@pytest.mark.parametrize("where", ["inside", "first", "last"])
def test_control_character_in_a_value_is_rejected(
    echo: ServerProcess, byte: int, where: str
) -> None:
    c = bytes([byte])
    value = {"inside": b"a" + c + b"b", "first": c + b"ab", "last": b"ab" + c}[where]
    assert_rejected(echo, with_fields(b"X-A: " + value), 400)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        pytest.param(b"X-A: 1", "HTTP_X_A", "1", id="plain"),
        pytest.param(b"X-A:1", "HTTP_X_A", "1", id="9112-5-no-space"),
        pytest.param(b"X-A:  \t 1 \t ", "HTTP_X_A", "1", id="9112-5-white-space-trimmed"),
        pytest.param(b"X-A: a  b\tc", "HTTP_X_A", "a  b\tc", id="9110-5.5-white-space-inside"),
        pytest.param(b"X-A:", "HTTP_X_A", "", id="9110-5.5-empty"),
        pytest.param(b"X-A: \t", "HTTP_X_A", "", id="9110-5.5-only-white-space"),
        pytest.param(b"X-A: a:b: c", "HTTP_X_A", "a:b: c", id="colons"),
        pytest.param(b'X-A: "a\\"b, c"', "HTTP_X_A", '"a\\"b, c"', id="quotes"),
        pytest.param(b"x-a: 1", "HTTP_X_A", "1", id="9110-5.1-lower-case"),
        pytest.param(b"X-a-B: 1", "HTTP_X_A_B", "1", id="9110-5.1-mixed-case"),
        pytest.param(b"X: \xe9\xff\x80", "HTTP_X", "\xe9\xff\x80", id="9110-5.5-obs-text"),
        pytest.param(b"X: \x85a\x85", "HTTP_X", "\x85a\x85", id="nel-is-not-trimmed"),
        pytest.param(b"X: \xa0a\xa0", "HTTP_X", "\xa0a\xa0", id="nbsp-is-not-trimmed"),
        pytest.param(b"!#$%&'*+.^`|~9: 1", "HTTP_!#$%&'*+.^`|~9", "1", id="9110-5.6.2-tchar"),
        pytest.param(b"1: 1", "HTTP_1", "1", id="9110-5.6.2-digit"),
    ],
)
def test_field_value_is_passed_on(
    echo: ServerProcess, line: bytes, key: str, value: str, delivery: str
) -> None:
    assert echoed(exchange(echo, with_fields(line), delivery))["environ"].get(key) == value


def test_repeated_fields_are_joined(echo: ServerProcess, delivery: str) -> None:
    """RFC 9110 section 5.3; cookies by RFC 6265 section 5.4."""
    raw = with_fields(b"X-A: 1", b"Cookie: a=1", b"x-a: 2", b"X-B: z", b"cookie: b=2", b"X-A:3")
    environ = echoed(exchange(echo, raw, delivery))["environ"]
    assert environ["HTTP_X_A"].replace(" ", "") == "1,2,3"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        pytest.param([b"X_A: 1"], "HTTP_X_A", None, id="alone"),
        pytest.param([b"X_A: 1", b"X-A: 2"], "HTTP_X_A", "2", id="before-its-twin"),
        pytest.param([b"X-A: 2", b"X_A: 1"], "HTTP_X_A", "2", id="after-its-twin"),
        pytest.param([b"X-Forwarded_For: 1"], "HTTP_X_FORWARDED_FOR", None, id="mixed"),
        pytest.param([b"_: 1"], "HTTP__", None, id="nothing-else"),
        pytest.param([b"Content_Length: 5"], "CONTENT_LENGTH", None, id="length"),
        pytest.param([b"Content_Type: a/b"], "CONTENT_TYPE", None, id="type"),
        pytest.param([b"Transfer_Encoding: chunked"], "HTTP_TRANSFER_ENCODING", None, id="coding"),
        pytest.param([b"Host_: evil"], "HTTP_HOST", "a", id="host"),
        pytest.param([b"Proxy: http://evil"], "HTTP_PROXY", None, id="httpoxy"),
        pytest.param([b"pROXY: http://evil"], "HTTP_PROXY", None, id="httpoxy-in-other-case"),
        pytest.param(
            [b"Proxy-Authorization: x"], "HTTP_PROXY_AUTHORIZATION", "x", id="other-proxy"
        ),
    ],
)
def test_field_with_an_underscore_is_dropped(
    echo: ServerProcess, lines: list[bytes], key: str, value: str | None, delivery: str
) -> None:
    """WSGI folds `-` and `_`; CVE-2016-5385 (httpoxy) for Proxy."""
    seen = echoed(exchange(echo, with_fields(*lines), delivery))
    assert seen["environ"].get(key) == value
    assert seen["length"] == 0


@pytest.mark.parametrize("name", [b"X_A", b"X-Forwarded_For", b"Content_Length", b"_"])
def test_underscore_with_header_map_refuse_is_rejected(serve, name: bytes, how: str) -> None:
    """The strict choice: a proxy that lets such a field through is set up wrongly."""
    server = serve("echo:app", "--threads", "1", "--header-map", "refuse")
    assert_rejected(server, with_fields(name + b": 1"), 400, how=how, reason_contains="underscore")
    assert echoed(exchange(server, with_fields(b"X-A: 1"), how))["environ"]["HTTP_X_A"] == "1"


def test_content_fields_have_no_http_twin(echo: ServerProcess) -> None:
    raw = build_request("POST", "/", fields=[("Content-Type", "a/b")], body=b"abc")
    seen = echoed(exchange(echo, raw, "whole"))
    assert seen["environ"]["CONTENT_LENGTH"] == "3" and seen["environ"]["CONTENT_TYPE"] == "a/b"
    assert not {"HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"} & set(seen["http"])


def test_repeated_content_type_is_rejected(echo: ServerProcess, how: str) -> None:
    assert_rejected(echo, with_fields(b"Content-Type: a/b", b"content-type: c/d"), 400, how=how)
