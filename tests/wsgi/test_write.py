"""PEP 3333 "The write() Callable"."""

from __future__ import annotations

import pytest

from harness import Client, NoResponse, ServerProcess, build_request
from harness.wsgi import THREADS, ask, events, new_key, open_gate

from wsgi_write import WRITES  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_write:app", *THREADS)


@pytest.mark.parametrize("how", ["only", "list", "generator", "empty"])
def test_write_comes_before_the_iterable(server, how):
    with server.connect() as client:
        response = ask(client, f"/writes/{how}")
        assert response.body == b"one two end" and response.complete
        assert response.chunks is None or b"" not in response.chunks
        assert ask(client, "/plain").body == b"body"


def test_write_with_content_length_is_whole(server):
    with server.connect() as client:
        response = ask(client, "/writes/length")
        assert response.body == b"one two e" and response.framing == "length"
        assert ask(client, "/plain").body == b"body"


def next_block(client: Client, size: int) -> bytes:
    """The next part of a chunked body, however it is split."""
    data = b""
    while len(data) < size:
        chunk = client.next_chunk()
        assert chunk, "the body ended early"
        data += chunk
    return data


def test_write_sends_before_it_returns(server):
    """PEP 3333: each block must be sent before write() returns."""
    key = new_key()
    with server.connect() as client:
        client.send(build_request("GET", f"/write-steps?key={key}"))
        assert client.head().status == 200
        assert next_block(client, 5) == b"first"
        open_gate(server, key + "-1")
        assert next_block(client, 6) == b"second"
        open_gate(server, key + "-2")
        assert next_block(client, 5) == b"third"
        assert client.next_chunk() == b""


def assert_no_desync(client: Client) -> None:
    """After a body of the wrong length: a complete next response, or the end of the connection."""
    try:
        client.send(build_request("GET", "/plain"))
        assert client.response().body == b"body"
    except (NoResponse, ConnectionResetError, BrokenPipeError):
        pass


def test_write_never_exceeds_content_length(server):
    with server.connect() as client:
        response = ask(client, "/write-too-much")
        assert response.get("Content-Length") == "4"
        assert response.body in (b"1234", b"12")
        if response.complete:
            assert_no_desync(client)


@pytest.mark.parametrize(
    ("how", "want", "seen"),
    [
        ("", "behind-ValueError", ["across-ValueError", "behind-ValueError"]),
        ("close", "close-ValueError", ["close-ValueError"]),
    ],
    ids=["in-the-call", "in-close"],
)
def test_write_beyond_content_length_raises(server, how, want, seen):
    """Regression: the application got no error although its bytes were discarded."""
    key = new_key()
    with server.connect() as client:
        response = ask(client, f"/write-beyond?key={key}&how={how}")
        assert response.get("Content-Length") == "4" and response.complete
        assert response.body == b"1234"
        assert_no_desync(client)
    assert events(server, key, want=want) == seen


def test_short_writes_abort(server):
    """The client notices, and does not take the next response for the rest."""
    with server.connect() as client:
        client.send(build_request("GET", "/write-too-little") + build_request("GET", "/plain"))
        response = client.response()
        assert response.body == b"1234" and not response.complete


@pytest.mark.parametrize("name", WRITES)
def test_write_takes_only_bytes(server, name):
    with server.connect() as client:
        response = ask(client, f"/write-bad/{name}")
        assert response.status == 200 and response.complete
        advice = ": encode it" if isinstance(WRITES[name], str) else ""
        kind = type(WRITES[name]).__name__
        assert response.text == f"TypeError: write() takes bytes, not {kind}{advice}"
        assert ask(client, "/plain").body == b"body"


def test_write_sends_no_body_to_head(server):
    with server.connect() as client:
        response = ask(client, "/write-head", method="HEAD")
        assert response.get("Content-Length") == "4"
        assert ask(client, "/plain").body == b"body"


def test_failure_after_write_aborts(server):
    with server.connect() as client:
        response = ask(client, "/write-then-fail")
        assert response.status == 200
        assert response.body == b"sent" and not response.complete
    server.wait_for_log("secret failure")
