"""PEP 3333 "Input and Error Streams": wsgi.input, with io.BytesIO as the oracle.

Bodies come sized and chunked, in memory and (over --body-buffer-size) from a temporary file; the
application must not notice.
"""

from __future__ import annotations

import io
import json
import random
from urllib.parse import quote

import pytest

from harness import Client, Response, ServerProcess, build_request, chunked
from harness.wsgi import THREADS, ask, events, json_of, new_key

from wsgi_input import perform, shown  # isort: skip  (apps/, which wsgi_support puts on the path)

BUFFER = 1024


#: A client makes its random bodies between two requests of a connection.
APP = ("wsgi_input:app", *THREADS, "--keep-alive", "60")
ARGS = (*APP, "--body-buffer-size", str(BUFFER))


@pytest.fixture(params=["on", "off"])
def buffering(request: pytest.FixtureRequest) -> str:
    """The value of --request-buffering; test_streamed_input.py tests what only "off" does."""
    return request.param


@pytest.fixture
def server(serve, buffering) -> ServerProcess:
    return serve(*ARGS, "--request-buffering", buffering)


@pytest.fixture
def buffered_server(serve) -> ServerProcess:
    return serve(*ARGS, "--request-buffering", "on")


CHUNKED = [("Transfer-Encoding", "chunked")]


def post(target: str, body: bytes, framing: str = "sized", rng: random.Random | None = None):
    """A POST with the chunks cut at random."""
    if framing == "sized":
        return build_request("POST", target, body=body)
    rng = rng or random.Random(len(body))
    cuts = sorted(rng.sample(range(1, len(body)), min(5, len(body) - 1))) if len(body) > 1 else []
    ends = [*cuts, len(body)]
    pieces = [body[a:b] for a, b in zip([0, *cuts], ends, strict=True) if a < b]
    return build_request("POST", target, fields=CHUNKED, body=chunked(*pieces))


def script_target(script: list) -> str:
    return "/script?script=" + quote(json.dumps(script))


def check(client: Client, script: list, body: bytes, framing: str = "sized") -> None:
    found = json_of(client.request(post(script_target(script), body, framing)))
    assert found == perform(io.BytesIO(body), script), (script, len(body), framing)


# ---------------------------------------------------------------------------------- one by one

LINES = b"first\nsecond \r\n\n\x00\xff last without end"
SCRIPTS = {
    "read": [["read"]],
    "read-minus-one": [["read", -1]],
    "read-more-negative": [["read", -7]],
    "read-none": [["read", None]],
    "read-n": [["read", 3], ["read", 4]],
    "read-zero": [["read", 0], ["read", 1], ["read", 0]],
    "read-exact": [["read", len(LINES)], ["read", 1]],
    "read-beyond": [["read", 10**6], ["read"]],
    "read-huge": [["read", 2**62]],
    "readline": [["readline"]] * 6,
    "readline-n": [["readline", 3], ["readline", 3], ["readline", 3], ["readline", 100]],
    "readline-zero": [["readline", 0], ["readline", 1]],
    "readline-minus-one": [["readline", -1], ["readline", -5]],
    "readline-none": [["readline", None]],
    "readlines": [["readlines"], ["readlines"]],
    "readlines-hint": [["readlines", 1], ["readlines", 7], ["readlines"]],
    "readlines-hint-exact": [["readlines", 6], ["readlines", 9], ["readlines", 1]],
    "readlines-zero": [["readlines", 0]],
    "readlines-minus-one": [["readlines", -1]],
    "readlines-none": [["readlines", None]],
    "iteration": [["list"]],
    "next-stops": [["next"]] * 6,
    "readinto": [["readinto", 4], ["readinto", 0], ["readinto", 1000], ["readinto", 3]],
    "end-for-ever": [["read"], ["read"], ["read", 5], ["readline"], ["readlines"], ["next"]],
    "mixed": [["readline"], ["read", 2], ["next"], ["readinto", 2], ["readlines", 1], ["read"]],
    "read-text": [["read", "1"], ["read", 1.5], ["read", 2]],
    "readline-text": [["readline", "1"], ["readline"]],
}


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("pad", [0, 3 * BUFFER], ids=["memory", "file"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_input_method_reads_as_bytesio(server, script, pad, framing):
    """PEP 3333: read, readline, readlines and __iter__ "as documented for Python's files"."""
    with server.connect() as client:
        check(client, script, LINES + b"\n" + b"p" * pad if pad else LINES, framing)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_empty_body(server, script):
    """A GET without a body, an empty sized and an empty chunked one all read as b""."""
    expected = perform(io.BytesIO(), script)
    with server.connect() as client:
        assert json_of(ask(client, script_target(script))) == expected
        for framing in ("sized", "chunked"):
            assert json_of(client.request(post(script_target(script), b"", framing))) == expected


# --------------------------------------------------------------------------------- any sequence


def random_body(rng: random.Random, size: int) -> bytes:
    """Lines of all lengths, none at all, or nothing but line ends."""
    newline = rng.choice([0, 0.01, 0.1, 1])
    return bytes(10 if rng.random() < newline else rng.randrange(256) for _ in range(size))


def random_script(rng: random.Random, size: int) -> list:
    sizes = [None, -1, -2, 0, 1, 2, 7, size // 3, size, size + 1, BUFFER, 2**40]
    steps = []
    for _ in range(rng.randrange(1, 12)):
        name = rng.choice(["read", "read", "readline", "readlines", "readinto", "next", "list"])
        if name in ("next", "list"):
            steps.append([name])
        elif name == "readinto":
            steps.append([name, rng.choice([0, 1, 5, size // 2, size + 9])])
        else:
            # Whole reads end the fun, so they are rare until the last step.
            few = sizes if rng.random() < 0.2 else sizes[3:8]
            steps.append([name, rng.choice(few)] if rng.random() < 0.9 else [name])
    return [*steps, [rng.choice(["read", "readlines", "list"])], ["read"]]


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("store", ["memory", "file"])
@pytest.mark.parametrize("seed", range(5))
def test_any_mix_of_methods_reads_as_bytesio(server, seed, store, framing):
    rng = random.Random(f"{seed} {store} {framing}")
    with server.connect() as client:
        for _ in range(25):
            low, high = (0, BUFFER // 2) if store == "memory" else (2 * BUFFER, 40 * BUFFER)
            body = random_body(rng, rng.randrange(low, high))
            check(client, random_script(rng, len(body)), body, framing)


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize(
    "size", [1, BUFFER - 1, BUFFER, BUFFER + 1, 64 * BUFFER, 5 * 1024 * BUFFER]
)
def test_body_of_any_size_is_whole(server, buffering, size, framing):
    """Around the threshold, and far beyond it."""
    body = random.Random(size).randbytes(size)
    found = json_of(server_post(server, "/facts", body, framing))
    assert found["body"] == shown(body)
    # The length of chunks that are still arriving is not known.
    length = None if (framing, buffering) == ("chunked", "off") else str(size)
    assert found["environ"].get("CONTENT_LENGTH") == length


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("size", [30_000, 65_536, 73_000, 150_000])
def test_large_body_in_memory_reads_as_bytesio(serve, size, framing):
    """The application reads some of these from the buffer that the server has received them in,
    behind their heads."""
    server = serve(*APP)
    rng = random.Random(f"{size} {framing}")
    with server.connect() as client:
        for script in (SCRIPTS["read"], SCRIPTS["end-for-ever"], SCRIPTS["iteration"]):
            check(client, script, random_body(rng, size), framing)
        for _ in range(10):
            check(client, random_script(rng, size), random_body(rng, size), framing)


def server_post(server: ServerProcess, target: str, body: bytes, framing: str) -> Response:
    with server.connect() as client:
        return client.request(post(target, body, framing))


# ----------------------------------------------------------------------------------- io wrappers


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("size", [0, 10, 5 * BUFFER], ids=["empty", "memory", "file"])
@pytest.mark.parametrize("how", ["buffered", "buffered-small", "text", "text-buffered"])
def test_io_wrappers_accept_the_input(server, how, size, framing):
    """io.BufferedReader and io.TextIOWrapper need readable, closed, readinto, read1 and the like."""
    body = ("h\xe9llo\r\nw\u20acrld\n" * size)[:size].encode()
    with server.connect() as client:
        found = json_of(client.request(post(f"/wrap?how={how}", body, framing)))
        assert found == shown(body)
        # Closing the wrapper closed the stream, not the connection.
        check(client, [["read"]], b"next", framing)


# ----------------------------------------------------------------- what the environ says of it


def test_chunked_body_has_a_length_and_no_framing_fields(buffered_server):
    """The body was read completely: CONTENT_LENGTH is known, and the coding is removed."""
    raw = build_request(
        "POST",
        "/facts",
        fields=[*CHUNKED, ("Trailer", "X-T"), ("X-A", "1")],
        body=chunked(b"hello ", b"world", trailers=b"X-T: late\r\n"),
    )
    with buffered_server.connect() as client:
        found = json_of(client.request(raw))
    assert found["body"] == shown(b"hello world")
    environ = found["environ"]
    assert environ["CONTENT_LENGTH"] == "11"
    assert environ["HTTP_X_A"] == "1"
    assert not {"HTTP_TRANSFER_ENCODING", "HTTP_TRAILER", "HTTP_CONTENT_LENGTH"} & set(environ)
    assert "HTTP_X_T" not in environ


def test_empty_chunked_body_has_length_zero(buffered_server):
    found = json_of(server_post(buffered_server, "/facts", b"", "chunked"))
    assert found["environ"]["CONTENT_LENGTH"] == "0"


@pytest.mark.parametrize(
    "trailer", ["Host: evil", "Content-Length: 5", "X-A: evil", "Authorization: evil", "Cookie: e"]
)
def test_trailers_do_not_overwrite_fields(server, buffering, trailer):
    """RFC 9112 section 7.1.2: trailers are never merged into the head."""
    raw = build_request(
        "POST",
        "/facts",
        fields=[*CHUNKED, ("X-A", "good")],
        body=chunked(b"body", trailers=trailer.encode() + b"\r\n"),
    )
    with server.connect() as client:
        response = client.request(raw)
    if response.status == 400:  # refusing framing fields there is as good
        return
    environ = json_of(response)["environ"]
    assert environ["HTTP_HOST"] == "localhost"
    assert environ["HTTP_X_A"] == "good"
    assert environ.get("CONTENT_LENGTH") == ("4" if buffering == "on" else None)
    assert "evil" not in environ.values() and "HTTP_COOKIE" not in environ


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "OPTIONS", "PUT"])
def test_any_method_may_have_a_body(server, method):
    with server.connect() as client:
        response = ask(client, "/facts", method=method, body=b"body")
        assert response.status == 200
        if method != "HEAD":
            assert json_of(response)["body"] == shown(b"body")
        check(client, [["read"]], b"next")


# ------------------------------------------------------------------------------ broken uploads

TRUNCATED = {
    "sized": [b"Content-Length: 100\r\n\r\n0123456789"],
    "sized-file": [b"Content-Length: 9999\r\n\r\n" + b"x" * 5000],
    "sized-nothing": [b"Content-Length: 1\r\n\r\n"],
    "chunked-nothing": [b"Transfer-Encoding: chunked\r\n\r\n"],
    "chunked-in-size": [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1"],
    "chunked-in-data": [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"],
    "chunked-no-last": [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    "chunked-in-last": [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"],
    "chunked-in-trailer": [b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n"],
}
BROKEN = {
    "not-hex": [b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"],
    "empty-size": [b"Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n"],
    "negative": [b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"],
    "no-crlf": [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n"],
    "length-and-chunked": [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    ],
}


@pytest.mark.parametrize("tail", [v[0] for v in TRUNCATED.values()], ids=TRUNCATED)
def test_truncated_upload_never_calls_the_application(buffered_server, tail):
    """A broken body must not reach the application as a short or empty one."""
    key = new_key()
    with buffered_server.connect() as client:
        client.send(f"POST /ignored?key={key} HTTP/1.1\r\nHost: a\r\n".encode() + tail)
        client.shutdown_write()
        answer = client.rest()
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer
    assert events(buffered_server, key) == []


@pytest.mark.parametrize("tail", [v[0] for v in BROKEN.values()], ids=BROKEN)
def test_broken_upload_never_calls_the_application(buffered_server, tail):
    key = new_key()
    with buffered_server.connect() as client:
        client.send(f"POST /ignored?key={key} HTTP/1.1\r\nHost: a\r\n".encode() + tail)
        assert client.response().status == 400
        assert client.at_eof()
    assert events(buffered_server, key) == []


# ------------------------------------------------------------- between requests of a connection


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("size", [60, 5 * BUFFER], ids=["memory", "file"])
def test_unread_body_is_never_a_request(server, size, framing):
    key = new_key()
    inner = f"GET /facts?key={key} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    body = (inner * (size // len(inner) + 1))[: max(size, len(inner))]
    with server.connect() as client:
        client.send(post("/ignored", body, framing) + build_request("GET", "/ignored"))
        assert json_of(client.response()) == "POST"
        assert json_of(client.response()) == "GET"
    assert events(server, key) == []


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_reading_stops_at_the_end_of_the_body(server, framing):
    """Even if the next request has arrived with it."""
    script = script_target([["read"], ["read", 10], ["readline"]])
    with server.connect() as client:
        client.send(b"".join(post(script, body, framing) for body in (b"one\n", b"two\n", b"3")))
        for body in (b"one\n", b"two\n", b"3"):
            found = json_of(client.response())
            assert found == [shown(body), shown(b""), shown(b"")]


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("size", [6, 5 * BUFFER], ids=["memory", "file"])
def test_kept_stream_never_reads_another_request(fresh_server, buffering, size, framing):
    """A stream that outlives its request is at its end, or raises."""
    server = fresh_server(*ARGS, "--request-buffering", buffering)
    with server.connect() as client:
        first = json_of(client.request(post("/kept", b"1" * size, framing)))
        second = json_of(client.request(post("/kept", b"2" * size, framing)))
    assert first == {"late": [], "own": shown(b"1" * size)}
    assert second["own"] == shown(b"2" * size)
    assert all(r in ("refused", shown(b""), shown([])) for r in second["late"]), second["late"]


def test_concurrent_uploads_do_not_mix(server):
    bodies = [bytes([65 + i]) * (200 * (i + 1)) for i in range(12)]
    clients = [server.connect() for _ in bodies]
    raws = [post("/facts", b, "chunked" if i % 2 else "sized") for i, b in enumerate(bodies)]
    try:
        for part in range(4):  # each upload arrives in four pieces, all of them interleaved
            for client, raw in zip(clients, raws, strict=True):
                size = len(raw) // 4 + 1
                client.send(raw[part * size : (part + 1) * size])
        for client, body in zip(clients, bodies, strict=True):
            assert json_of(client.response())["body"] == shown(body)
    finally:
        for client in clients:
            client.close()
