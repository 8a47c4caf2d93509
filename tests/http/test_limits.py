"""The bounds of one request: at the limit it is served, one beyond it is rejected.

Request line 414, fields 431, content 413. [RFC 9110 sections 15.5.14, 15.5.15; RFC 6585 section 5]
The defaults are those of the table in docs/configuration.md.
"""

from __future__ import annotations

import pytest

from harness import (
    ServerProcess,
    assert_error_response,
    assert_rejected,
    build_request,
    chunked,
    echoed,
    exchange,
)
from harness.bridge import is_bridged

LINE, FIELDS, FIELD_SIZE, HEAD, BODY = 300, 5, 200, 65536, 1000
HEAD_OPTION = 1500


@pytest.fixture
def small(serve) -> ServerProcess:
    """Each limit set to something a test can reach at once."""
    return serve(
        "echo:app",
        *["--threads", "1", "--limit-request-line", str(LINE)],
        *["--limit-request-fields", str(FIELDS), "--limit-request-field-size", str(FIELD_SIZE)],
        *["--limit-request-body", str(BODY)],
    )


def line_of(size: int) -> bytes:
    """A request whose request line, without its CRLF, has `size` bytes."""
    target = "/" + "a" * (size - len("GET / HTTP/1.1"))
    return build_request("GET", target)


def fields_of(count: int) -> bytes:
    """A request with `count` fields, Host included."""
    return build_request("GET", fields=[(f"X-{n}", "y") for n in range(count - 1)])


def field_of(size: int) -> bytes:
    """A request with a field line that has `size` bytes without its CRLF."""
    return build_request("GET", fields=[("X-A", "b" * (size - len("X-A: ")))])


CHUNKED = build_request("POST", fields=[("Transfer-Encoding", "chunked")])


class TestOptions:
    def test_request_line(self, small: ServerProcess, delivery: str) -> None:
        assert len(echoed(exchange(small, line_of(LINE), delivery))["environ"]["PATH_INFO"]) > 200

    def test_request_line_too_long(self, small: ServerProcess, how: str) -> None:
        assert_rejected(small, line_of(LINE + 1), 414, how=how)

    @pytest.mark.parametrize(
        "raw",
        [
            pytest.param(b"GET /" + b"a" * 2 * LINE, id="in-the-target"),
            pytest.param(b"GET / " + b"H" * 2 * LINE, id="in-the-version"),
            pytest.param(b"A" * 2 * LINE, id="in-the-method"),
        ],
    )
    def test_request_line_without_end(self, small: ServerProcess, raw: bytes, how: str) -> None:
        """Rejected as soon as it is known, not when the line ends."""
        assert_rejected(small, raw, {400, 414}, how=how)

    def test_fields(self, small: ServerProcess, delivery: str) -> None:
        assert "HTTP_X_3" in echoed(exchange(small, fields_of(FIELDS), delivery))["http"]

    def test_too_many_fields(self, small: ServerProcess, how: str) -> None:
        assert_rejected(small, fields_of(FIELDS + 1), 431, how=how)

    def test_dropped_fields_count(self, small: ServerProcess) -> None:
        raw = build_request("GET", fields=[("X_A", "y")] * FIELDS)
        assert_rejected(small, raw, 431)

    def test_field_size(self, small: ServerProcess, delivery: str) -> None:
        seen = echoed(exchange(small, field_of(FIELD_SIZE), delivery))
        assert seen["environ"]["HTTP_X_A"] == "b" * (FIELD_SIZE - 5)

    def test_field_too_long(self, small: ServerProcess, how: str) -> None:
        assert_rejected(small, field_of(FIELD_SIZE + 1), 431, how=how)

    @pytest.mark.parametrize(
        "field",
        [
            pytest.param(b"X-A: " + b"b" * 2 * FIELD_SIZE, id="in-the-value"),
            pytest.param(b"X" * 2 * FIELD_SIZE, id="in-the-name"),
            pytest.param(b"X-A:" + b" " * 2 * FIELD_SIZE, id="white-space"),
        ],
    )
    def test_field_without_end(self, small: ServerProcess, field: bytes, how: str) -> None:
        raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + field
        assert_rejected(small, raw, {400, 431}, how=how)

    @pytest.mark.parametrize("size", [BODY - 1, BODY])
    def test_body(self, small: ServerProcess, size: int, delivery: str) -> None:
        raw = build_request("POST", body=b"x" * size)
        assert echoed(exchange(small, raw, delivery))["length"] == size

    @pytest.mark.parametrize("body", [b"", b"x" * 10, b"x" * (BODY + 1)], ids=len)
    def test_body_too_large_is_known_before_it_is_read(
        self, small: ServerProcess, body: bytes, how: str
    ) -> None:
        length = [("Content-Length", str(BODY + 1))]
        assert_rejected(small, build_request("POST", fields=length) + body, 413, how=how)

    @pytest.mark.parametrize(
        ("raw", "named", "status"),
        [
            pytest.param(
                build_request("POST", "/up'?a=%20", fields=[("Content-Length", str(BODY + 1))]),
                r"POST /up\\'\?a=%20",
                413,
                id="content",
            ),
            pytest.param(line_of(LINE + 1), "a request", 414, id="line"),
            pytest.param(b"oops\r\n\r\n", "a request", 400, id="no-request"),
        ],
    )
    def test_the_log_names_the_request(
        self, small: ServerProcess, raw: bytes, named: str, status: int
    ) -> None:
        """Never the one before it on the connection."""
        start = len(small.stderr())
        with small.connect() as client:
            assert client.request(build_request("GET", "/before")).status == 200
            client.send(raw)
            assert client.response().status == status
        small.wait_for_event(
            "request.rejected", f"{named} from 127.0.0.1 with {status}: .+$", start=start
        )

    @pytest.mark.parametrize(
        ("raw", "status", "option"),
        [
            (line_of(LINE + 1), 414, f"--limit-request-line {LINE}"),
            (fields_of(FIELDS + 1), 431, f"--limit-request-fields {FIELDS}"),
            (field_of(FIELD_SIZE + 1), 431, f"--limit-request-field-size {FIELD_SIZE}"),
            (build_request("POST", body=b"x" * (BODY + 1)), 413, f"--limit-request-body {BODY}"),
            (CHUNKED + chunked(b"x" * (BODY + 1)), 413, f"--limit-request-body {BODY}"),
            (CHUNKED + chunked(trailers=b"X: " + b"y" * 20_000), 431, "--limit-trailers 16384"),
            (CHUNKED + chunked(trailers=b"X:\r\n" * 6), 431, f"--limit-request-fields {FIELDS}"),
        ],
        ids=["line", "fields", "field", "body", "chunked", "trailers", "trailer-count"],
    )
    def test_the_log_names_the_option_and_the_limit(
        self, small: ServerProcess, raw: bytes, status: int, option: str
    ) -> None:
        start = len(small.stderr())
        assert_rejected(small, raw, status)
        small.wait_for_event("request.rejected", rf"with {status}: .*over {option}\b", start=start)

    @pytest.mark.parametrize(
        "chunks", [[b"x" * BODY], [b"x" * 600, b"x" * 400], [b"x"] * BODY], ids=len
    )
    def test_chunked_body_is_decoded(
        self, small: ServerProcess, chunks: list[bytes], delivery: str
    ) -> None:
        raw = build_request("POST", fields=[("Transfer-Encoding", "chunked")]) + chunked(*chunks)
        assert echoed(exchange(small, raw, delivery))["length"] == BODY

    @pytest.mark.parametrize(
        "chunks",
        [
            pytest.param(chunked(b"x" * (BODY + 1)), id="in-one-chunk"),
            pytest.param(chunked(b"x" * 600, b"x" * 401), id="in-the-second"),
            pytest.param(chunked(*[b"x"] * (BODY + 1)), id="by-one-byte"),
            pytest.param(b"%x\r\n" % (BODY + 1), id="by-its-size-line"),
            pytest.param(b"258\r\n" + b"x" * 600 + b"\r\n258\r\n", id="by-the-second-size-line"),
        ],
    )
    def test_chunked_body_too_large(self, small: ServerProcess, chunks: bytes, how: str) -> None:
        raw = build_request("POST", fields=[("Transfer-Encoding", "chunked")]) + chunks
        assert_rejected(small, raw, 413, how=how)

    @pytest.mark.parametrize("size", [HEAD_OPTION, HEAD_OPTION + 1])
    def test_head(self, serve, size: int, how: str) -> None:
        """All of it counts: the request line, the fields, their line ends and the empty line."""
        server = serve("echo:app", "--threads", "1", "--limit-request-head", str(HEAD_OPTION))
        raw = _head_of(size, field=300)
        assert len(raw) == size
        if size > HEAD_OPTION:
            assert_rejected(server, raw, 431, how=how)
        else:
            assert "HTTP_X_REST" in echoed(exchange(server, raw, how))["http"]

    @pytest.mark.parametrize("extra", [0, 1])
    def test_chunk_extension(self, serve, extra: int, how: str) -> None:
        """In sum for one chunk, whatever the number of extensions; each chunk anew."""
        server = serve("echo:app", "--threads", "1", "--limit-chunk-extension", "20")
        extension = b";a=b;" + b"x" * (15 + extra)
        body = b"1" + extension + b"\r\nx\r\n"
        raw = build_request("POST", fields=[("Transfer-Encoding", "chunked")]) + body * 3
        if extra:
            assert_rejected(server, raw + b"0\r\n\r\n", 400, how=how)
        else:
            assert echoed(exchange(server, raw + b"0\r\n\r\n", how))["length"] == 3

    @pytest.mark.parametrize("extra", [0, 1])
    def test_trailers(self, serve, extra: int, how: str) -> None:
        """Their lines with their CRLF."""
        server = serve("echo:app", "--threads", "1", "--limit-trailers", "50")
        trailers = b"X: y\r\n" + b"Y: " + b"z" * (39 + extra) + b"\r\n"
        assert len(trailers) == 50 + extra
        raw = build_request("POST", fields=[("Transfer-Encoding", "chunked")])
        raw += chunked(b"hello", trailers=trailers)
        if extra:
            assert_rejected(server, raw, 431, how=how)
        else:
            assert echoed(exchange(server, raw, how))["length"] == 5

    def test_limits_hold_for_each_request_of_a_connection(self, small: ServerProcess) -> None:
        with small.connect() as client:
            for _ in range(5):
                echoed(client.request(fields_of(FIELDS)))
                echoed(client.request(line_of(LINE)))
                echoed(client.request(build_request("POST", body=b"x" * BODY)))
            assert_error_response(client.request(fields_of(FIELDS + 1)), 431)
            assert is_bridged() or client.at_eof()


class TestDefaults:
    def test_request_line(self, echo: ServerProcess) -> None:
        echoed(exchange(echo, line_of(8192), "pipelined"))
        assert_rejected(echo, line_of(8193), 414)

    def test_request_line_without_end(self, echo: ServerProcess) -> None:
        assert_rejected(echo, b"GET /" + b"a" * 100_000, 414)

    def test_fields(self, echo: ServerProcess) -> None:
        echoed(exchange(echo, fields_of(100), "pipelined"))
        assert_rejected(echo, fields_of(101), 431)

    def test_field_size(self, echo: ServerProcess) -> None:
        echoed(exchange(echo, field_of(8192), "pipelined"))
        assert_rejected(echo, field_of(8193), 431)

    def test_field_without_end(self, echo: ServerProcess) -> None:
        assert_rejected(echo, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000, 431)

    def test_head(self, echo: ServerProcess) -> None:
        """No single field is too long; together they are."""
        echoed(exchange(echo, _head_of(60_000), "pipelined"))
        assert_rejected(echo, _head_of(HEAD + 1000), 431)

    def test_fields_without_end(self, echo: ServerProcess) -> None:
        raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000
        assert_rejected(echo, raw, 431)

    def test_body(self, echo: ServerProcess) -> None:
        raw = build_request("POST", fields=[("Content-Length", str((1 << 30) + 1))])
        assert_rejected(echo, raw, 413)


def _head_of(size: int, field: int = 5000) -> bytes:
    each = [(f"X-{n}", "y" * field) for n in range(size // (field + 10))]
    rest = size - len(build_request("GET", fields=each)) - len("X-Rest: \r\n")
    return build_request("GET", fields=[*each, ("X-Rest", "z" * rest)])
