"""What has been wrong with other servers, tried on this one with the bytes of the reports.

docs/past-bugs.md lists the reports and names these tests, or others where a rule's own tests say the
same already.
"""

from __future__ import annotations

import pytest

from harness import ServerProcess, assert_rejected, build_request, chunked, echoed

#: The request that the reports smuggle.
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"

SMUGGLING = {
    # waitress: the first is 100 bytes long for who takes LF for a character, 0 for who does not.
    "CVE-2019-16785": (
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nX-Header: x\nContent-Length: 0\r\n\r\n"
        + HIDDEN,
        400,
    ),
    "CVE-2019-16786": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n"
        b"\r\n0\r\n\r\n" + HIDDEN,
        {400, 501},
    ),
    "CVE-2019-16789": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: \x0bchunked\r\n"
        b"\r\n0\r\n\r\n" + HIDDEN,
        400,
    ),
    "CVE-2019-16792": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nContent-Length: 10\r\n\r\n" + HIDDEN,
        400,
    ),
    "CVE-2022-24761-length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +10\r\n\r\n" + HIDDEN,
        400,
    ),
    "CVE-2022-24761-size": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x01\r\na\r\n0\r\n\r\n"
        + HIDDEN,
        400,
    ),
    "CVE-2022-24761-extension": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\x00\x01\r\na\r\n0\r\n"
        b"\r\n" + HIDDEN,
        400,
    ),
    # gunicorn
    "CVE-2024-1135": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\nContent-Length: 6\r\n"
        b"\r\n0\r\n\r\nX" + HIDDEN,
        400,
    ),
    "CVE-2024-6827": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,identity\r\n"
        b"Content-Length: 0\r\n\r\n" + HIDDEN,
        400,
    ),
    "gunicorn-3091": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\xa0: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        400,
    ),
    "gunicorn-3144": (
        b"GET / HTTP/1.1\r\nHost: a\r\nUseless:\n\nGET / HTTP/1.1\nHost: a\r\n\r\n",
        400,
    ),
    "gunicorn-3327": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;\nxx\r\nhello\r\n0\r\n"
        b"\r\n" + HIDDEN,
        400,
    ),
    "gunicorn-3364": (
        b"POST / HTTP/1.1\r\nHost: whatever\r\nTransfer-Encoding: \x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"
        b"chunked\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\r\n\r\n1\r\nZ\r\n0\r\n\r\n",
        400,
    ),
    # cheroot
    "cheroot-275": (
        b"GET / HTTP/1.1\r\nHost:localhost\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nabc\r\n",
        400,
    ),
    "cheroot-737": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 34\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
        400,
    ),
    # uWSGI
    "uwsgi-2560": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n" + HIDDEN,
        400,
    ),
    "uwsgi-2775-fold": (
        b"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 34\r\n\r\n" + HIDDEN,
        400,
    ),
    "uwsgi-2775-overflow": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n" + HIDDEN,
        400,
    ),
    # meinheld
    "CVE-2020-7658": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\n"
        b"0\r\n\r\n" + HIDDEN,
        400,
    ),
    # h11: any two bytes were the end of a chunk.
    "CVE-2025-43859": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nAAAAAXX2\r\n45\r\n"
        b"0\r\n\r\n" + HIDDEN,
        400,
    ),
    # llhttp, in aiohttp: a CR alone was the end of a line.
    "CVE-2023-37276": (
        b"POST / HTTP/1.1\r\nHost: localhost:8080\r\nX-Abc: \rxTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nA\r\n0\r\n\r\n",
        400,
    ),
    # aiohttp: trailers were not read as such.
    "CVE-2025-53643": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
    ),
}


@pytest.mark.parametrize(("raw", "status"), SMUGGLING.values(), ids=SMUGGLING)
def test_smuggling_attempt_is_rejected(
    echo: ServerProcess, raw: bytes, status: int | set[int], how: str
) -> None:
    assert_rejected(echo, raw, status, how=how)


def test_invalid_field_is_rejected_at_once(echo: ServerProcess) -> None:
    """waitress, CVE-2020-5236: a regular expression went back and forth in such a field for ever."""
    for filler in (b"x", b" ", b"x ", b"\t"):
        value = filler * (8000 // len(filler))
        raw = b"GET / HTTP/1.1\r\nHost: a\r\nBad-header: " + value + b"\x10\r\n\r\n"
        assert_rejected(echo, raw, 400)


def test_websocket_key_adds_no_content(echo: ServerProcess) -> None:
    """gunicorn, issue 2955: Sec-WebSocket-Key1 made eight bytes of the next request content."""
    raw = build_request(fields=[("Sec-WebSocket-Key1", "x")])
    with echo.connect() as client:
        client.send(raw + build_request("GET", "/second"))
        assert echoed(client.response())["length"] == 0
        assert echoed(client.response())["environ"]["PATH_INFO"] == "/second"


def test_websocket_protocol_with_any_byte_is_served(echo: ServerProcess) -> None:
    """granian, CVE-2026-42544: bytes beyond ASCII in this field ended the worker."""
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "eA=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "\x80\xff"),
    ]
    with echo.connect() as client:
        seen = echoed(client.request(build_request(fields=fields)))
        assert seen["environ"]["HTTP_SEC_WEBSOCKET_PROTOCOL"] == "\x80\xff"
        echoed(client.request(build_request()))


@pytest.mark.parametrize(
    "target", ["/%1b[31mred", "/%0d%0aforged", "/%22%20200%20%22", "/\\x1b", "/?%1b%0a"]
)
def test_access_log_escapes_control_characters(fresh_server, target: str) -> None:
    """uvicorn, CVE-2020-7694: the path was decoded before it was logged."""
    server = fresh_server(
        "echo:app", "--access-logfile", "-", "--access-logformat", "%(r)s|%(U)s|%(q)s|%({x}i)s|end"
    )
    server.get(target, fields=[("X", "\xff\t|")])
    line = server.wait_for_stdout(r"^.*\|end$")[0]
    assert line.startswith("GET /") and "\t" not in line
    assert "\x1b" not in server.stdout() and server.stdout().count("\n") == 1


def test_trailers_change_no_scheme_or_framing(echo: ServerProcess) -> None:
    """gunicorn 22.0.0 looked for a secure scheme in trailers; cheroot and others merged them."""
    trailers = b"X-Forwarded-Proto: https\r\nHost: evil\r\nContent-Length: 99\r\n"
    raw = build_request(
        "POST", fields=[("Transfer-Encoding", "chunked"), ("X-Forwarded-Proto", "http")]
    )
    with echo.connect() as client:
        environ = echoed(client.request(raw + chunked(b"hello", trailers=trailers)))["environ"]
        assert environ["wsgi.url_scheme"] == "http" and environ["HTTP_HOST"] == "localhost"
        assert environ["CONTENT_LENGTH"] == "5"
        echoed(client.request(build_request()))
