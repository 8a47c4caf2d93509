"""The chunked coding of requests. [RFC 9112 section 7.1]"""

from __future__ import annotations

import hashlib

import pytest

from harness import ServerProcess, assert_rejected, echoed, exchange, readable

HEAD = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

# A few of each kind; all of them are in src/http1/tests/chunked.rs.
BAD_SIZES = [b"", b"g", b"+5", b"-5", b"0x5", b"5_0", b" 5", b"5 ", b"5\x00", b"\xef\xbc\x95"]
BAD_SIZES += [b"00000000000000005", b"0" * 400 + b"5"]


@pytest.mark.parametrize("size", BAD_SIZES, ids=lambda s: "9112-7.1-" + readable(s)[:20])
def test_chunk_size_that_is_not_hexadecimal_is_rejected(
    echo: ServerProcess, size: bytes, how: str
) -> None:
    assert_rejected(echo, HEAD + size + b"\r\nhello\r\n" + END, 400, how=how)


@pytest.mark.parametrize("size", [b"", b"-0", b"0 ", b"0" * 17])
def test_last_chunk_size_that_is_not_zeros_is_rejected(
    echo: ServerProcess, size: bytes, how: str
) -> None:
    """gunicorn and httparse have taken an empty size for the last chunk."""
    assert_rejected(echo, HEAD + b"5\r\nhello\r\n" + size + b"\r\n\r\n", 400, how=how)


@pytest.mark.parametrize(
    "size",
    [
        *[b"10000000000000000", b"10000000000000005", b"f" * 16, b"f" * 17, b"7fffffffffffffff"],
        *[b"8000000000000000", b"100000005" + b"0" * 8, b"ffffffff0"],
    ],
)
def test_chunk_size_that_overflows_is_rejected(echo: ServerProcess, size: bytes) -> None:
    """RFC 9112 section 7.1: recipients MUST anticipate large numerals."""
    assert_rejected(echo, HEAD + size + b"\r\nhello\r\n" + END, {400, 413})


def test_chunk_sizes_that_overflow_together_are_rejected(echo: ServerProcess) -> None:
    raw = HEAD + b"5\r\nhello\r\n" + b"fffffffffffffffb\r\nhello\r\n" + END
    assert_rejected(echo, raw, {400, 413})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\nhello\r\n0\r\n\r\n", id="lf-after-size"),
        pytest.param(b"5\rhello\r\n0\r\n\r\n", id="cr-after-size"),
        pytest.param(b"5\r\r\nhello\r\n0\r\n\r\n", id="cr-cr-lf-after-size"),
        pytest.param(b"5\n\r\nhello\r\n0\r\n\r\n", id="lf-cr-lf-after-size"),
        pytest.param(b"5\r\nhello\n0\r\n\r\n", id="lf-after-data"),
        pytest.param(b"5\r\nhello\r0\r\n\r\n", id="cr-after-data"),
        pytest.param(b"5\r\nhello\r\r\n0\r\n\r\n", id="cr-cr-lf-after-data"),
        pytest.param(b"5\r\nhello\n\n0\r\n\r\n", id="lf-lf-after-data"),
        pytest.param(b"5\r\nhello0\r\n\r\n", id="nothing-after-data"),
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="two-bytes-after-data"),
        pytest.param(b"5\r\nhelloX\r\n0\r\n\r\n", id="data-longer-than-size"),
        pytest.param(b"5\r\nhell\r\n0\r\n\r\n", id="data-shorter-than-size"),
        pytest.param(b"5\r\nhello\r\n\r\n0\r\n\r\n", id="empty-line-between"),
        pytest.param(b"\r\n5\r\nhello\r\n0\r\n\r\n", id="empty-line-first"),
        pytest.param(b"5\r\nhello\r\n0\n\r\n", id="lf-after-last-size"),
        pytest.param(b"5\r\nhello\r\n0\r\n\n", id="lf-at-end"),
        pytest.param(b"5\r\nhello\r\n0\n\n", id="lf-lf-at-end"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\r\n", id="cr-cr-lf-at-end"),
        pytest.param(b"5\r\nhello\r\n0\r\r\n\r\n", id="cr-cr-lf-after-last-size"),
    ],
)
def test_chunk_line_that_does_not_end_in_crlf_is_rejected(
    echo: ServerProcess, body: bytes, how: str
) -> None:
    assert_rejected(echo, HEAD + body, 400, how=how)


# A few of each kind; all of them are in src/http1/tests/chunked.rs.
BAD_EXTENSIONS = [b";", b";=y", b";x=", b";x y", b" x", b";x=y\x00", b";\xe9", b';x="', b';x="y"z']
BAD_EXTENSIONS += [b';x="\n"', b";x=y\n", b";x\n", b";x\r;y"]


@pytest.mark.parametrize("extension", BAD_EXTENSIONS, ids=lambda e: "9112-7.1.1-" + readable(e))
def test_malformed_chunk_extension_is_rejected(
    echo: ServerProcess, extension: bytes, how: str
) -> None:
    assert_rejected(echo, HEAD + b"5" + extension + b"\r\nhello\r\n" + END, 400, how=how)


@pytest.mark.parametrize("extension", [b";", b";x\n", b';x="'])
def test_malformed_extension_of_the_last_chunk_is_rejected(
    echo: ServerProcess, extension: bytes, how: str
) -> None:
    assert_rejected(echo, HEAD + b"5\r\nhello\r\n0" + extension + b"\r\n\r\n", 400, how=how)


@pytest.mark.parametrize(
    "extension",
    [
        pytest.param(b";x=" + b"a" * 5000, id="token"),
        pytest.param(b';x="' + b"a" * 5000 + b'"', id="quoted"),
        pytest.param(b";x" * 3000, id="many"),
        pytest.param(b" " * 5000 + b";x", id="white-space"),
        pytest.param(b";x=" + b"a" * 200_000, id="without-end"),
    ],
)
def test_chunk_extension_over_the_limit_is_rejected(echo: ServerProcess, extension: bytes) -> None:
    """RFC 9112 section 7.1.1: a limit for the total length of extensions."""
    assert_rejected(echo, HEAD + b"5" + extension + b"\r\nhello\r\n" + END, {400, 413, 431})


@pytest.mark.parametrize(
    ("body", "content"),
    [
        pytest.param(b"0\r\n\r\n", "", id="9112-7.1-empty"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", "hello", id="9112-7.1-one"),
        pytest.param(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc", id="9112-7.1-two"),
        pytest.param(b"b\r\nhello world\r\n0\r\n\r\n", "hello world", id="9112-7.1-lower-hex"),
        pytest.param(b"B\r\nhello world\r\n0\r\n\r\n", "hello world", id="9112-7.1-upper-hex"),
        pytest.param(b"005\r\nhello\r\n000\r\n\r\n", "hello", id="9112-7.1-leading-zeros"),
        pytest.param(b"0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", id="9112-7.1-16-digits"),
        pytest.param(b"5\r\nhello\r\n" + b"0" * 16 + b"\r\n\r\n", "hello", id="9112-7.1-16-zeros"),
        pytest.param(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", id="9112-7.1-data-like-an-end"),
        pytest.param(b"2\r\n\r\n\r\n0\r\n\r\n", "\r\n", id="9112-7.1-data-is-crlf"),
        pytest.param(b"5;x\r\nhello\r\n0\r\n\r\n", "hello", id="9112-7.1.1-name"),
        pytest.param(b"5;x=y\r\nhello\r\n0\r\n\r\n", "hello", id="9112-7.1.1-value"),
        pytest.param(b'5;x="y"\r\nhello\r\n0\r\n\r\n', "hello", id="9112-7.1.1-quoted"),
        pytest.param(b'5;x=""\r\nhello\r\n0\r\n\r\n', "hello", id="9112-7.1.1-quoted-empty"),
        pytest.param(b'5;x="a;b\\"c \t\\\\"\r\nhello\r\n0\r\n\r\n', "hello", id="escapes"),
        pytest.param(b'5;x="\xe9\\\xff"\r\nhello\r\n0\r\n\r\n', "hello", id="9112-7.1.1-obs-text"),
        pytest.param(b'5;a;b=c;d="e"\r\nhello\r\n0\r\n\r\n', "hello", id="9112-7.1.1-several"),
        pytest.param(b"5 ;\tx = y\r\nhello\r\n0\r\n\r\n", "hello", id="9112-7.1.1-bad-white-space"),
        pytest.param(b"5\r\nhello\r\n0;x=y\r\n\r\n", "hello", id="9112-7.1.1-on-last-chunk"),
        pytest.param(b"5;x=" + b"a" * 3000 + b"\r\nhello\r\n0\r\n\r\n", "hello", id="long"),
        pytest.param(b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", "hello", id="9112-7.1.2-trailer"),
        pytest.param(b"5\r\nhello\r\n0\r\nX: \xe9\r\nY:\r\n\r\n", "hello", id="trailers"),
    ],
)
def test_chunked_body_is_decoded(
    echo: ServerProcess, body: bytes, content: str, delivery: str
) -> None:
    seen = echoed(exchange(echo, HEAD + body, delivery))
    assert (seen["body"], seen["error"]) == (content, None)


def test_many_small_chunks_are_decoded(echo: ServerProcess) -> None:
    raw = HEAD + b"1\r\nx\r\n" * 20_000 + END
    assert echoed(exchange(echo, raw, "pipelined"))["length"] == 20_000


def test_small_chunks_are_stored_together(fresh_server) -> None:
    """Beyond the buffer each chunk cost a write of its own: a byte of content, a system call."""
    server = fresh_server("echo:app", "--threads", "1", "--body-buffer-size", "1000")
    content = bytes(i * i % 251 for i in range(100_000))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content)
    written = server.write_calls()
    seen = echoed(exchange(server, HEAD + chunks + END, "whole"))
    assert (seen["length"], seen["error"]) == (len(content), None)
    assert seen["sha256"] == hashlib.sha256(content).hexdigest()
    assert server.write_calls() - written < 1000


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_chunked_body_split_anywhere_is_decoded(echo: ServerProcess, cut: int) -> None:
    """Two segments, cut inside size lines, data, line ends and trailers."""
    body = b'5;a="b"\r\nhello\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n'
    with echo.connect() as client:
        client.send(HEAD + body[:cut])
        client.send(body[cut:] + b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        assert echoed(client.response())["body"] == "hellox"
        assert echoed(client.response())["environ"]["PATH_INFO"] == "/after"


# ------------------------------------------------------------------------------- trailers


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(b"X : 1\r\n", id="9112-5.1-space-before-colon"),
        pytest.param(b"X Y: 1\r\n", id="9110-5.1-space-in-name"),
        pytest.param(b": 1\r\n", id="9110-5.1-empty-name"),
        pytest.param(b"X\r\n", id="9112-5-no-colon"),
        pytest.param(b"X: 1\r\n 2\r\n", id="9112-5.2-fold"),
        pytest.param(b" X: 1\r\n", id="9112-5.2-fold-first"),
        pytest.param(b"X: 1\n", id="9112-2.2-bare-lf"),
        pytest.param(b"X: 1\rY: 2\r\n", id="9112-2.2-bare-cr"),
        pytest.param(b"X: \x00\r\n", id="9110-5.5-nul"),
        pytest.param(b"X: \x0b1\r\n", id="9110-5.5-control"),
        pytest.param(b"X\xe9: 1\r\n", id="9110-5.1-8bit-name"),
        pytest.param(b"GET /smuggled HTTP/1.1\r\n", id="a-request-line"),
    ],
)
def test_malformed_trailer_is_rejected(echo: ServerProcess, trailer: bytes, how: str) -> None:
    assert_rejected(echo, HEAD + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n", 400, how=how)


@pytest.mark.parametrize(
    "trailers",
    [
        pytest.param(b"X: " + b"a" * 20_000 + b"\r\n", id="one"),
        pytest.param(b"X: a\r\n" * 4000, id="many"),
        pytest.param(b"X: " + b"a" * 200_000, id="without-end"),
    ],
)
def test_trailers_over_the_limit_are_rejected(echo: ServerProcess, trailers: bytes) -> None:
    assert_rejected(echo, HEAD + b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n", {400, 431})


@pytest.mark.parametrize(
    ("trailer", "key", "value"),
    [
        (b"X-T: evil", "HTTP_X_T", None),
        (b"Host: evil", "HTTP_HOST", "a"),
        (b"Content-Length: 99", "CONTENT_LENGTH", "5"),
        (b"Transfer-Encoding: identity", "HTTP_TRANSFER_ENCODING", "chunked"),
        (b"Transfer-Encoding: chunked", "HTTP_TRANSFER_ENCODING", "chunked"),
        (b"Authorization: evil", "HTTP_AUTHORIZATION", None),
        (b"Cookie: evil", "HTTP_COOKIE", None),
        (b"X-Forwarded-For: evil", "HTTP_X_FORWARDED_FOR", None),
        (b"Content-Type: evil/evil", "CONTENT_TYPE", None),
        (b"Connection: close", "HTTP_CONNECTION", None),
        (b"Expect: evil", "HTTP_EXPECT", None),
    ],
    ids=lambda v: readable(v) if isinstance(v, bytes) else "",
)
def test_trailers_are_not_merged(
    echo: ServerProcess, trailer: bytes, key: str, value: str | None, delivery: str
) -> None:
    """RFC 9110 section 6.5.1: framing, routing and authentication are settled before content."""
    response = exchange(echo, HEAD + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n", delivery)
    seen = echoed(response)
    assert seen["environ"].get(key) in {value, None} if key != "HTTP_HOST" else {value}
    assert "evil" not in str(seen["environ"]) and seen["body"] == "hello"
    assert "close" not in response.connection
