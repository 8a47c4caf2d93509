"""The bytes on the wire for each kind of application response. [RFC 9110 section 6, 9112 section 6]"""

from __future__ import annotations

import hashlib
import json
import re
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import pytest

from harness import Client, Response, ServerProcess, build_request, has_status
from harness.bridge import is_bridged

PLAIN = [["Content-Type", "text/plain"]]
KINDS = ["list", "tuple", "generator", "iterator", "items", "write"]


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("http_responses:app", "--threads", "2")


def target(**spec: object) -> str:
    return "/?spec=" + quote(json.dumps({"fields": PLAIN, **spec}))


def ask(
    server: ServerProcess, *, method: str = "GET", version: str = "HTTP/1.1", **spec: object
) -> Response:
    return server.get(target(**spec), method=method, version=version)


def assert_in_step(client: Client) -> None:
    """The connection is still usable: the last response ended where it should."""
    client.send(build_request("GET", target(blocks=["next"])))
    response = client.response()
    assert (response.status, response.body) == (200, b"next"), response


# ------------------------------------------------------------------------------ head


@pytest.mark.parametrize(
    "status",
    [
        *["200 OK", "201 Created", "299 Whatever You Like", "404 Not Found", "418 I'm a teapot"],
        *["500 Broken", "599 Very Broken", "200 O", "200 \u00e9t\u00e9", "307 a\tb"],
    ],
)
def test_status_line_of_the_application_is_sent(server: ServerProcess, status: str) -> None:
    response = ask(server, status=status, blocks=["x"])
    assert has_status(response, status)
    assert response.body == b"x" and response.version == "HTTP/1.1"


def test_date_and_server_are_added(server: ServerProcess) -> None:
    """RFC 9110 sections 6.6.1 and 10.2.4."""
    response = ask(server, blocks=["x"])
    (date,) = response.get_all("Date")
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert parsedate_to_datetime(date)
    assert len(response.get_all("Server")) == 1


@pytest.mark.parametrize("name", ["Date", "Server", "date", "SERVER"])
def test_date_and_server_of_the_application_are_kept(server: ServerProcess, name: str) -> None:
    value = "Thu, 01 Jan 1970 00:00:00 GMT"
    response = ask(server, fields=[*PLAIN, [name, value]], blocks=["x"])
    assert response.get_all(name) == [value]
    assert name in [n for n, _ in response.fields], "the name is sent as it was given"


@pytest.mark.parametrize("kind", KINDS)
def test_fields_keep_order_case_and_repetition(server: ServerProcess, kind: str) -> None:
    """RFC 9110 section 5.3; RFC 6265 section 3: Set-Cookie is never folded."""
    fields = [
        ["Set-Cookie", "a=1"],
        ["x-lower", "1"],
        ["Set-Cookie", "b=2, c"],
        ["X-MiXed", ""],
        ["Vary", "a"],
        ["Vary", "b"],
        ["Set-Cookie", "a=1"],
        ["X-8bit", "\u00e9\u00ff"],
        ["Content-Type", "text/plain"],
    ]
    response = ask(server, fields=fields, blocks=["x", "y"], **{"as": kind})
    names = {name for name, _ in fields}
    assert [[n, v] for n, v in response.fields if n in names] == fields


# --------------------------------------------------------------------------- framing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [["abc"], ["ab", "c"], ["", "ab", "", "c", ""]], ids=str)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("length", [None, "3"], ids=["", "length"])
def test_body_of_any_iterable_is_framed(
    server: ServerProcess, version: str, blocks: list[str], kind: str, length: str | None
) -> None:
    """RFC 9112 section 6; an empty block must not end a chunked body."""
    fields = [*PLAIN, *([["Content-Length", length]] if length else [])]
    keep = [("Connection", "keep-alive")]
    path = target(fields=fields, blocks=blocks, **{"as": kind})
    with server.connect() as client:
        response = client.request(build_request("GET", path, fields=keep, version=version))
        assert response.body == b"abc" and response.complete, response
        if length or (blocks == ["abc"] and kind in {"list", "tuple"}):
            assert response.framing == "length", response
        if version == "HTTP/1.0":
            assert response.framing in {"length", "close"}, response
        else:
            assert response.framing in {"length", "chunked"}, response
        if response.framing == "close":
            assert "keep-alive" not in response.connection, response
        else:
            assert_in_step(client)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [[], [""], ["", ""]], ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_empty_body_is_complete(
    server: ServerProcess, method: str, blocks: list[str], kind: str
) -> None:
    with server.connect() as client:
        path = target(blocks=blocks, **{"as": kind})
        response = client.request(build_request(method, path))
        assert response.status == 200 and response.body == b"" and response.complete, response
        assert_in_step(client)


@pytest.mark.parametrize("kind", ["list", "tuple"])
def test_content_length_of_a_list_is_computed(server: ServerProcess, kind: str) -> None:
    """PEP 3333: an iterable of length one."""
    assert ask(server, blocks=["abc"], **{"as": kind}).get("Content-Length") == "3"


@pytest.mark.parametrize("kind", ["generator", "write"])
def test_stream_without_length_is_chunked(server: ServerProcess, kind: str) -> None:
    """RFC 9112 section 6.1: chunked, but never to HTTP/1.0."""
    assert ask(server, blocks=["ab", "c"], **{"as": kind}).chunks == [b"ab", b"c"]
    old = ask(server, blocks=["ab", "c"], version="HTTP/1.0", **{"as": kind})
    assert old.framing == "close" and old.body == b"abc"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_large_body_is_whole(server: ServerProcess, version: str, kind: str) -> None:
    whole = b"0123456789abcde\n" * 4096 * 80
    spec = {"blocks": ["0123456789abcde\n"], "swell": 4096, "times": 80, "as": kind}
    response = ask(server, version=version, **spec)
    assert response.complete and len(response.body) == len(whole)
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(whole).digest()


# ----------------------------------------------------------------- Content-Length kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [["abcdef"], ["ab", "cdef"], ["abc", "def"], ["abc", "", "d"]])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_body_over_content_length_is_cut(
    server: ServerProcess, version: str, blocks: list[str], kind: str
) -> None:
    """PEP 3333: no more bytes than the declared length; they would be the next response."""
    fields = [*PLAIN, ["Content-Length", "3"]]
    path = target(fields=fields, blocks=blocks, **{"as": kind})
    keep = [("Connection", "keep-alive")]
    with server.connect() as client:
        response = client.request(build_request("GET", path, fields=keep, version=version))
        if response.status == 500:  # the excess was known before the head was sent
            assert b"abc" not in response.body
        else:
            assert (response.status, response.body) == (200, b"abc"), response
        client.shutdown_write()
        assert client.rest() == b""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [[], ["a"], ["a", "b"], ["", "ab", ""]], ids=str)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_body_under_content_length_aborts(
    server: ServerProcess, version: str, blocks: list[str], kind: str
) -> None:
    """RFC 9112 section 8: the client must not take the next response for the rest of this one."""
    fields = [*PLAIN, ["Content-Length", "5"]]
    path = target(fields=fields, blocks=blocks, **{"as": kind})
    keep = [("Connection", "keep-alive")]
    raw = build_request("GET", path, fields=keep, version=version)
    with server.connect() as client:
        response = client.request(raw)
        if response.status != 500:  # known too late for an error page
            assert not response.complete, response
            assert response.body == "".join(blocks).encode()


def test_body_with_content_length_zero_is_cut(server: ServerProcess) -> None:
    fields = [*PLAIN, ["Content-Length", "0"]]
    with server.connect() as client:
        path = target(fields=fields, blocks=["abc"], **{"as": "generator"})
        response = client.request(build_request("GET", path))
        assert response.body == b"" if response.status == 200 else response.status == 500
        client.shutdown_write()
        assert client.rest() == b""


# --------------------------------------------------------------------- without a body


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [["abc"], ["ab", "c"], []], ids=str)
@pytest.mark.parametrize("length", [None, "3"], ids=["", "length"])
def test_head_is_get_without_body(
    server: ServerProcess, blocks: list[str], kind: str, length: str | None
) -> None:
    """RFC 9110 section 9.3.2: the same fields, no body byte, and the connection stays in step."""
    fields = [*PLAIN, *([["Content-Length", length]] if length and blocks else [])]
    path = target(fields=fields, blocks=blocks, **{"as": kind})
    with server.connect() as client:
        head = client.request(build_request("HEAD", path), method="HEAD")
        get = client.request(build_request("GET", path))
        assert head.status == get.status == 200
        # HTTP/2 has no Transfer-Encoding.
        framing = () if is_bridged() else ("Transfer-Encoding",)
        for name in ("Content-Length", "Content-Type", "Connection", *framing):
            # An application that answers HEAD with nothing may mean any length, so none is sent.
            # [RFC 9110 section 8.6]
            expected = [] if name == "Content-Length" and not blocks else get.get_all(name)
            assert head.get_all(name) == expected, name
        assert_in_step(client)


def test_head_may_declare_a_length_without_a_body(server: ServerProcess) -> None:
    """The application saw HEAD and saved itself the body."""
    with server.connect() as client:
        path = target(fields=[*PLAIN, ["Content-Length", "12345"]], blocks=[])
        response = client.request(build_request("HEAD", path), method="HEAD")
        assert response.status == 200 and response.get("Content-Length") == "12345"
        assert_in_step(client)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [["abc"], ["ab", "c"], []], ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("status", "fields"),
    [
        pytest.param("204 No Content", [], id="204"),
        pytest.param("204 No Content", [["Content-Length", "0"]], id="204-length-0"),
        pytest.param("204 No Content", [["Content-Length", "3"]], id="204-length"),
        pytest.param("304 Not Modified", [["ETag", '"x"']], id="304"),
        pytest.param("304 Not Modified", [["Content-Length", "3"]], id="304-length"),
    ],
)
def test_status_without_content_sends_no_body(
    server: ServerProcess,
    status: str,
    fields: list[list[str]],
    method: str,
    blocks: list[str],
    kind: str,
) -> None:
    """RFC 9110 sections 8.6, 15.3.5 and 15.4.5; the strict parser checks 204's length fields."""
    with server.connect() as client:
        path = target(status=status, fields=fields, blocks=blocks, **{"as": kind})
        response = client.request(build_request(method, path))
        assert has_status(response, status), response
        assert not response.get("Transfer-Encoding"), response
        if response.status == 304:
            assert [f for f in map(list, response.fields) if f in fields] == fields
        assert_in_step(client)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [None, "0", "3"], ids=["", "length-0", "length-3"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_reset_content_sends_no_body(
    server: ServerProcess, version: str, length: str | None, kind: str
) -> None:
    """RFC 9110 section 15.3.6: a 205 went out with whatever the application gave it."""
    fields = [*PLAIN, *([["Content-Length", length]] if length else [])]
    path = target(status="205 Reset Content", fields=fields, blocks=["ab", "c"], **{"as": kind})
    keep = [("Connection", "keep-alive")]
    with server.connect() as client:
        response = client.request(build_request("GET", path, fields=keep, version=version))
        assert (response.status, response.body) == (205, b""), response
        assert response.get_all("Content-Length") == ["0"], response
        assert_in_step(client)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [[], ["abc"]], ids=str)
def test_not_modified_has_no_computed_length(
    server: ServerProcess, blocks: list[str], kind: str
) -> None:
    """RFC 9110 section 8.6: an empty 304 said that the 200 would have been empty as well."""
    with server.connect() as client:
        path = target(status="304 Not Modified", fields=[], blocks=blocks, **{"as": kind})
        response = client.request(build_request("GET", path))
        assert response.status == 304 and response.get("Content-Length") is None, response
        assert_in_step(client)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_status_without_content_keeps_http10_open(server: ServerProcess, status: str) -> None:
    """No body, so nothing for the close to end."""
    keep = [("Connection", "keep-alive")]
    with server.connect() as client:
        path = target(status=status, fields=[], blocks=[])
        raw = build_request("GET", path, fields=keep, version="HTTP/1.0")
        assert client.request(raw).connection == {"keep-alive"}
        assert_in_step(client)


# -------------------------------------------------------------------------- failures


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("raise_after", [-1, 0], ids=["in-the-call", "at-first-block"])
def test_failure_before_the_head_is_a_500(
    server: ServerProcess, method: str, raise_after: int
) -> None:
    mark = len(server.stderr())
    with server.connect() as client:
        path = target(blocks=["abc"], raise_after=raise_after)
        response = client.request(build_request(method, path))
        assert response.status == 500 and response.complete, response
        if method != "HEAD":
            assert response.body and b"secret" not in response.body
            assert b"Traceback" not in response.body
        if "close" in response.connection:
            assert client.at_eof()
        else:
            assert_in_step(client)
    server.wait_for_log(r"Boom: secret detail", start=mark)
    assert "Traceback" in server.stderr()[mark:]


@pytest.mark.parametrize("length", [None, "9"], ids=["chunked", "length"])
@pytest.mark.parametrize("kind", ["generator", "write"])
def test_failure_after_the_head_aborts(
    server: ServerProcess, kind: str, length: str | None
) -> None:
    """RFC 9112 section 8: no last chunk, so that the client notices."""
    mark = len(server.stderr())
    fields = [*PLAIN, *([["Content-Length", length]] if length else [])]
    path = target(fields=fields, blocks=["abc", "def"], raise_after=2, **{"as": kind})
    with server.connect() as client:
        response = client.request(build_request("GET", path))
        assert response.status == 200 and not response.complete, response
        assert b"abcdef".startswith(response.body) and b"secret" not in response.body
    server.wait_for_log(r"Boom: secret detail", start=mark)


def test_failure_after_the_head_of_http10_resets(server: ServerProcess) -> None:
    """Only a reset can signal it; at least nothing is added."""
    with server.connect() as client:
        path = target(blocks=["abc"], raise_after=1, **{"as": "generator"})
        client.send(build_request("GET", path, version="HTTP/1.0"))
        try:
            raw = client.rest()
        except ConnectionResetError:
            return
        assert raw.endswith(b"\r\n\r\nabc")


HOP_BY_HOP = [
    ["Connection", "keep-alive"],
    ["Connection", "upgrade"],
    ["Keep-Alive", "timeout=5"],
    ["Transfer-Encoding", "chunked"],
    ["Upgrade", "websocket"],
    ["TE", "trailers"],
    ["Trailer", "X"],
    ["Proxy-Authorization", "Basic x"],
    ["Proxy-Connection", "keep-alive"],
    ["transfer-encoding", "identity"],
]


@pytest.mark.parametrize("field", HOP_BY_HOP, ids=lambda f: ": ".join(f))
@pytest.mark.parametrize("kind", ["list", "generator"])
def test_hop_by_hop_fields_are_dropped(server: ServerProcess, field: list[str], kind: str) -> None:
    """RFC 9110 section 7.6.1. They are no reason to fail the response: see migration.md."""
    with server.connect() as client:
        fields = [["X-Before", "1"], field, *PLAIN]
        path = target(fields=fields, blocks=["ab", "c"], **{"as": kind})
        response = client.request(build_request("GET", path))
        assert (response.status, response.body) == (200, b"abc"), response
        framing = ["chunked"] if kind == "generator" else []
        assert response.get_all("Transfer-Encoding") == framing
        assert response.get("X-Before") == "1" and response.get("Content-Type") == "text/plain"
        if field[0].lower() != "transfer-encoding":
            assert response.get(field[0]) is None, response
        assert_in_step(client)


def test_dropped_hop_by_hop_field_is_logged_once_for_each_name(fresh_server) -> None:
    server = fresh_server("http_responses:app", "--threads", "2")
    for field in [*HOP_BY_HOP, *HOP_BY_HOP, ["keep-alive", "x"]]:
        assert ask(server, fields=[*PLAIN, field], blocks=["x"]).status == 200
    names = {field[0].title() for field in HOP_BY_HOP}
    for name in names:
        server.wait_for_event("response.field_dropped", f"field (?i:{name}):")
    assert server.stderr().count("[response.field_dropped] [WARNING]") == len(names)


@pytest.mark.parametrize("name", ["X-Sendfile", "x-accel-redirect"])
@pytest.mark.parametrize("kind", ["list", "generator"])
@pytest.mark.parametrize("blocks", [[], [""]], ids=["none", "empty"])
def test_empty_response_that_names_a_file_is_complete(
    server: ServerProcess, name: str, kind: str, blocks: list[str]
) -> None:
    """The proxy sends the file. werkzeug's send_file declares the length of that file."""
    start = len(server.stderr())
    fields = [*PLAIN, [name, "/srv/file"], ["Content-Length", "1000"]]
    with server.connect() as client:
        path = target(fields=fields, blocks=blocks, **{"as": kind})
        response = client.request(build_request("GET", path))
        assert (response.status, response.body) == (200, b""), response
        assert response.get(name) == "/srv/file"
        assert response.get_all("Content-Length") == ["0"]
        assert_in_step(client)
    # A HEAD may declare the length of the file.
    head = server.get(path, method="HEAD")
    assert head.get_all("Content-Length") in (["1000"], []), head
    assert name not in server.stderr()[start:]


def test_response_that_names_a_file_and_has_content_must_be_complete(server: ServerProcess) -> None:
    fields = [*PLAIN, ["X-Sendfile", "/srv/file"], ["Content-Length", "9"]]
    assert not ask(server, fields=fields, blocks=["content"]).complete


@pytest.mark.parametrize("name", ["Proxy-Authenticate", "Proxy-Authentication-Info"])
def test_proxy_authentication_fields_are_sent(server: ServerProcess, name: str) -> None:
    """RFC 9110 section 11.7: they are end-to-end for an application that is a proxy."""
    field = [name, 'Basic realm="x"']
    status = "407 Proxy Authentication Required"
    response = ask(server, status=status, fields=[*PLAIN, field], blocks=["x"])
    assert response.status == 407 and response.get(name) == 'Basic realm="x"', response


@pytest.mark.parametrize("status", ["100 Continue", "101 Switching Protocols", "103 Early Hints"])
@pytest.mark.parametrize("kind", KINDS)
def test_interim_status_is_rejected(server: ServerProcess, status: str, kind: str) -> None:
    """RFC 9110 section 15.2: it ends no exchange, so the client would wait for the final response."""
    response = ask(server, status=status, blocks=["secret"], **{"as": kind})
    assert response.status == 500 and response.complete, response
    assert b"secret" not in response.body


@pytest.mark.parametrize("value", ["close", "Close", "close, X-A", "keep-alive,\tclose"])
def test_connection_close_of_the_application_is_honoured(server: ServerProcess, value: str) -> None:
    with server.connect() as client:
        path = target(fields=[*PLAIN, ["Connection", value]], blocks=["x"])
        response = client.request(build_request("GET", path))
        assert response.body == b"x" and response.connection == {"close"}
        assert len(response.get_all("Connection")) == 1
        assert client.at_eof()
