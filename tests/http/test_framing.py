"""Where a request's content ends: Content-Length and Transfer-Encoding. [RFC 9112 section 6]

Everything request smuggling is made of: whatever two parsers could read differently is rejected.
"""

from __future__ import annotations

import hashlib

import pytest

from harness import (
    ServerProcess,
    assert_rejected,
    build_request,
    chunked,
    echoed,
    exchange,
    readable,
)

BODY = b"hello"
CHUNKED_BODY = b"5\r\nhello\r\n0\r\n\r\n"


def post(*lines: bytes, version: bytes = b"1.1", body: bytes = b"") -> bytes:
    head = [b"POST /b HTTP/" + version, b"Host: a", *lines, b"", b""]
    return b"\r\n".join(head) + body


# --------------------------------------------------------------------------- Content-Length

# A few of each kind; all of them are in src/http1/tests/framing.rs.
BAD_LENGTHS = [b"", b"+5", b"-5", b"0x5", b"1_0", b"5, 5", b"5,6", b"5 5", b"5.0", b"5\x00"]
BAD_LENGTHS += [b"\x0b5", b"5\xa0", b"\xb2", b"\xd9\xa5"]

OVERFLOWS = [
    b"18446744073709551615",
    b"18446744073709551616",
    b"18446744073709551621",
    b"9223372036854775808",
    b"4294967301000000000",
    b"1" + b"0" * 30,
    b"5" * 400,
]


@pytest.mark.parametrize("value", BAD_LENGTHS, ids=lambda v: "9112-6.3-" + readable(v))
def test_content_length_that_is_not_digits_is_rejected(
    echo: ServerProcess, value: bytes, how: str
) -> None:
    assert_rejected(echo, post(b"Content-Length: " + value, body=BODY), 400, how=how)


@pytest.mark.parametrize("value", BAD_LENGTHS[1:6], ids=lambda v: "9112-6.3-" + readable(v))
@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"POST / HTTP/1.0", b"HEADX / HTTP/1.1"])
def test_malformed_content_length_of_any_request_line_is_rejected(
    echo: ServerProcess, line: bytes, value: bytes
) -> None:
    raw = line + b"\r\nHost: a\r\nContent-Length: " + value + b"\r\n\r\n" + BODY
    assert_rejected(echo, raw, 400)


@pytest.mark.parametrize("value", OVERFLOWS, ids=lambda v: "9110-8.6-" + readable(v)[:24])
def test_content_length_that_overflows_is_rejected(echo: ServerProcess, value: bytes) -> None:
    """RFC 9110 section 8.6: digits can stand for anything; none may wrap to a small number."""
    assert_rejected(echo, post(b"Content-Length: " + value, body=BODY), {400, 413})


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"Content-Length: 5", b"Content-Length: 5"], id="same"),
        pytest.param([b"Content-Length: 5", b"Content-Length: 6"], id="larger-last"),
        pytest.param([b"Content-Length: 6", b"Content-Length: 5"], id="larger-first"),
        pytest.param([b"Content-Length: 5", b"content-length: 0"], id="other-case"),
        pytest.param([b"Content-Length: 0", b"X: y", b"Content-Length: 5"], id="apart"),
        pytest.param([b"Content-Length: 5", b"Content-Length: 05"], id="same-value-other-form"),
        pytest.param([b"Content-Length:", b"Content-Length: 5"], id="first-empty"),
        pytest.param([b"Content-Length: 5", b"Content-Length:"], id="last-empty"),
        pytest.param([b"Content-Length: 5", b"Content-Length: x"], id="last-bad"),
        pytest.param([b"Content-Length: 5"] * 3, id="three-times"),
    ],
)
def test_repeated_content_length_is_rejected(
    echo: ServerProcess, lines: list[bytes], how: str
) -> None:
    assert_rejected(echo, post(*lines, body=BODY), 400, how=how)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 5",
        b"content-length:5",
        b"CONTENT-LENGTH: \t5 \t",
        b"Content-Length: 005",
        b"Content-Length: 00000000000000000000005",
    ],
)
def test_content_length_delimits_the_content(
    echo: ServerProcess, line: bytes, delivery: str
) -> None:
    seen = echoed(exchange(echo, post(line, body=BODY), delivery))
    assert (seen["length"], seen["body"], seen["error"]) == (5, "hello", None)
    assert int(seen["environ"]["CONTENT_LENGTH"]) == 5


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "X-ANY"])
def test_content_of_any_method_is_delimited(
    echo: ServerProcess, method: str, delivery: str
) -> None:
    """RFC 9110 section 9.3.1: without meaning in a GET, but framed all the same."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    assert echoed(exchange(echo, build_request(method, body=body), delivery))["length"] == len(body)


@pytest.mark.parametrize("fields", [[], [("Content-Length", "0")]], ids=["none", "zero"])
def test_request_without_a_length_has_no_content(
    echo: ServerProcess, fields: list[tuple[str, str]], delivery: str
) -> None:
    """RFC 9112 section 6.3: without a length field a request has no content."""
    seen = echoed(exchange(echo, build_request("POST", fields=fields), delivery))
    assert (seen["length"], seen["error"]) == (0, None)


@pytest.mark.parametrize("size", [1, 4096, 65535, 65536, 200_000, 3_000_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_large_content_is_whole(echo: ServerProcess, size: int, coding: str) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    raw = build_request("POST", body=body)
    if coding == "chunked":
        parts = [body[i : i + 7777] for i in range(0, size, 7777)]
        raw = build_request("POST", fields=[("Transfer-Encoding", "chunked")]) + chunked(*parts)
    seen = echoed(exchange(echo, raw, "pipelined"))
    assert seen["length"] == size and seen["sha256"] == hashlib.sha256(body).hexdigest()


def test_content_with_every_byte_is_whole(echo: ServerProcess, delivery: str) -> None:
    body = bytes(range(256)) + b"\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    assert echoed(exchange(echo, build_request("POST", body=body), delivery))["body"] == (
        body.decode("latin-1")
    )


# ------------------------------------------------------------------------- Transfer-Encoding


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"Content-Length: 5", b"Transfer-Encoding: chunked"], id="cl-te"),
        pytest.param([b"Transfer-Encoding: chunked", b"Content-Length: 5"], id="te-cl"),
        pytest.param([b"Transfer-Encoding: chunked", b"Content-Length: 0"], id="te-cl-0"),
        pytest.param([b"Transfer-Encoding: chunked", b"Content-Length: 15"], id="te-cl-agree"),
        pytest.param([b"Transfer-Encoding: CHUNKED", b"content-length: 5"], id="other-case"),
        pytest.param([b"Content-Length: 5", b"Transfer-Encoding:"], id="te-empty"),
        pytest.param([b"Content-Length:", b"Transfer-Encoding: chunked"], id="cl-empty"),
        pytest.param([b"Content-Length: x", b"Transfer-Encoding: chunked"], id="cl-bad"),
    ],
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"], ids=["1.0", "1.1"])
def test_content_length_beside_chunked_is_rejected(
    echo: ServerProcess, version: bytes, lines: list[bytes], how: str
) -> None:
    """RFC 9112 section 6.1: ought to be handled as an error."""
    assert_rejected(echo, post(*lines, version=version, body=CHUNKED_BODY), 400, how=how)


@pytest.mark.parametrize("coding", [b"identity", b"gzip", b"chunked, chunked", b"chunked;x"])
def test_content_length_beside_another_coding_is_rejected(
    echo: ServerProcess, coding: bytes
) -> None:
    raw = post(b"Content-Length: 5", b"Transfer-Encoding: " + coding, body=BODY)
    assert_rejected(echo, raw, {400, 501})


# A few of each kind; all of them are in src/http1/tests/framing.rs.
BAD_CODINGS = [b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked"]
BAD_CODINGS += [b"chunked;x", b'"chunked"', b"xchunked", b"\x0bchunked", b"chunked\x00"]
BAD_CODINGS += [b"\xa0chunked", b"chunKed\xe2\x84\xaa", b"chunked\r\n chunked"]


@pytest.mark.parametrize("value", BAD_CODINGS, ids=lambda v: "9112-6.1-" + readable(v))
def test_transfer_encoding_other_than_chunked_is_rejected(
    echo: ServerProcess, value: bytes, how: str
) -> None:
    raw = post(b"Transfer-Encoding: " + value, body=CHUNKED_BODY)
    assert_rejected(echo, raw, {400, 501}, how=how)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], id="twice"),
        pytest.param([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], id="id-2"),
        pytest.param([b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"], id="id-1"),
        pytest.param([b"Transfer-Encoding: chunked", b"transfer-encoding: x"], id="other-case"),
        pytest.param([b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"], id="gzip-first"),
        pytest.param([b"Transfer-Encoding:", b"Transfer-Encoding: chunked"], id="empty-first"),
        pytest.param([b"Transfer-Encoding: chunked", b"Transfer-Encoding:"], id="empty-last"),
    ],
)
def test_repeated_transfer_encoding_is_rejected(
    echo: ServerProcess, lines: list[bytes], how: str
) -> None:
    assert_rejected(echo, post(*lines, body=CHUNKED_BODY), {400, 501}, how=how)


@pytest.mark.parametrize("method", ["GET", "POST", "HEADX"])
@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"], ids=["", "keep-alive"])
def test_transfer_encoding_in_http10_is_rejected(
    echo: ServerProcess, method: str, keep: bytes, how: str
) -> None:
    """RFC 9112 section 6.1: the framing is faulty."""
    head = b" / HTTP/1.0\r\nHost: a\r\n" + keep + b"Transfer-Encoding: chunked\r\n\r\n"
    assert_rejected(echo, method.encode() + head + CHUNKED_BODY, 400, how=how)


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding:chunked",
        b"transfer-encoding: \tCHUNKED \t",
        b"Transfer-Encoding: Chunked",
    ],
)
def test_chunked_in_any_case_is_accepted(echo: ServerProcess, line: bytes, delivery: str) -> None:
    seen = echoed(exchange(echo, post(line, body=CHUNKED_BODY), delivery))
    assert (seen["body"], seen["error"]) == ("hello", None)
    assert seen["environ"].get("CONTENT_LENGTH") in {None, "5"}


def test_te_field_does_not_change_the_framing(echo: ServerProcess, delivery: str) -> None:
    raw = post(b"TE: chunked, trailers", b"Content-Length: 5", body=BODY)
    assert echoed(exchange(echo, raw, delivery))["body"] == "hello"


# ----------------------------------------------------------------------------- cut short


TRUNCATED = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"GET", id="method"),
    pytest.param(b"GET / HTTP/1.1", id="request-line"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", id="fields"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r", id="last-byte-of-head"),
    pytest.param(post(b"Content-Length: 5"), id="length-no-body"),
    pytest.param(post(b"Content-Length: 5", body=b"hell"), id="length-one-short"),
    pytest.param(post(b"Content-Length: 900000", body=b"x" * 899_999), id="large-one-short"),
    pytest.param(post(b"Transfer-Encoding: chunked"), id="chunked-no-body"),
    pytest.param(post(b"Transfer-Encoding: chunked", body=b"5"), id="chunked-in-size"),
    pytest.param(post(b"Transfer-Encoding: chunked", body=b"5\r\nhel"), id="chunked-in-data"),
    pytest.param(post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"), id="no-last"),
    pytest.param(post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n"), id="no-end"),
    pytest.param(
        post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX: y\r\n"),
        id="trailer",
    ),
]


@pytest.mark.parametrize("raw", TRUNCATED)
@pytest.mark.parametrize("end", ["fin", "reset"])
def test_truncated_request_never_calls_the_application(
    echo: ServerProcess, raw: bytes, end: str
) -> None:
    """RFC 9112 section 8: incomplete, so never given to the application as if complete."""
    with echo.connect() as client:
        port = str(client.port)
        client.send(raw)
        if end == "reset":
            client.reset()
        else:
            client.shutdown_write()
            if not client.at_eof():
                response = client.response()
                assert response.status in {400, 408} and client.at_eof(), response
    assert port not in {call["port"] for call in echo.calls_since_last_asked()}
