"""PEP 3333 "Specification Details", "Buffering and Streaming": what the application returns."""

from __future__ import annotations

import contextlib

import pytest

from harness import Client, NoResponse, ServerProcess, build_request, has_status
from harness.wsgi import THREADS, ask, assert_error_500, new_key, open_gate

from wsgi_iterable import EMPTY, KINDS, LENGTHS, LYING, NEVER, WRONG, WRONG_LATER  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_iterable:app", *THREADS)


def assert_usable_or_closed(client: Client) -> None:
    """After a bad response: a clean next one, or the end. Never bytes without a request."""
    try:
        client.send(build_request("GET", "/kind/list-one"))
        assert client.response().body == b"one two end"
    except (NoResponse, ConnectionResetError, BrokenPipeError):
        pass


# -------------------------------------------------------------------------------- good iterables


@pytest.mark.parametrize("name", KINDS)
def test_body_of_any_kind_is_sent(server, name):
    with server.connect() as client:
        for _ in range(2):
            response = ask(client, f"/kind/{name}")
            assert response.status == 200
            assert response.body == b"one two end" and response.complete
            # An empty chunk would have ended the body; a client that parses never sees one.
            assert response.chunks is None or b"" not in response.chunks


@pytest.mark.parametrize("name", KINDS)
def test_body_of_any_kind_for_http10_is_sent(server, name):
    """No chunked coding for HTTP/1.0: a length, or the end of the connection."""
    response = server.get(f"/kind/{name}", version="HTTP/1.0")
    assert response.framing in ("length", "close")
    assert response.body == b"one two end" and response.complete


@pytest.mark.parametrize("name", ["list-one", "tuple-one", "len-one"])
def test_length_of_one_gives_a_content_length(server, name):
    """PEP 3333 "Handling the Content-Length Header"."""
    assert server.get(f"/kind/{name}").get("Content-Length") == "11"


@pytest.mark.parametrize("name", LYING)
def test_wrong_length_never_breaks_the_framing(server, name):
    with server.connect() as client:
        response = ask(client, f"/lying/{name}")
        if response.status == 500:
            assert_error_500(response)
            return
        assert response.status == 200
        assert b"one two end".startswith(response.body)
        if response.complete:
            assert response.body in (b"", b"one ", b"one two end")
            assert_usable_or_closed(client)


def test_bytes_subclass_sends_its_true_content(server):
    """Or is refused as not exactly bytes; its overridden methods must not matter."""
    with server.connect() as client:
        response = ask(client, "/bytes-subclass")
        if response.status == 500:
            assert_error_500(response)
        else:
            assert response.body == b"true content" and response.complete
            assert_usable_or_closed(client)


APPS_AND_BODIES = {
    "class_app": (200, b"class"),
    "object_app": (200, b"object"),
    "method_app": (200, b"method"),
    "partial_app": (200, b"partial"),
    "lambda_app": (200, b"lambda"),
    "generator_app": (201, b"generator"),
}


@pytest.mark.parametrize("name", APPS_AND_BODIES)
def test_any_callable_is_an_application(serve, name):
    """PEP 3333: "any object with a __call__ will do"."""
    status, body = APPS_AND_BODIES[name]
    with serve(f"wsgi_iterable:{name}", *THREADS).connect() as client:
        for _ in range(2):
            response = ask(client, "/")
            assert (response.status, response.body) == (status, body)
            assert response.complete


# ------------------------------------------------------------------------------- wrong iterables


@pytest.mark.parametrize("name", WRONG)
def test_wrong_return_is_a_500(server, name):
    """PEP 3333: "an iterable yielding zero or more bytestrings"; nothing of it is sent."""
    response = server.get(f"/wrong/{name}")
    assert_error_500(response)
    assert response.get("X-First") is None


def test_application_that_returns_a_coroutine_is_a_500(serve):
    assert_error_500(serve("wsgi_iterable:coroutine_app", *THREADS).get("/"))


@pytest.mark.parametrize("shape", ["list", "generator"])
@pytest.mark.parametrize("name", WRONG_LATER)
def test_wrong_item_after_the_first_aborts(server, name, shape):
    """Or a 500, if the server has checked the whole list before it sends the head."""
    with server.connect() as client:
        response = ask(client, f"/wrong-later/{shape}/{name}")
        if shape == "list" and response.status == 500:
            assert_error_500(response)
            return
        assert response.status == 200
        assert response.body == b"good" and not response.complete
        assert client.rest() == b""


# ------------------------------------------------------------------------------- start_response


def test_status_is_the_one_of_the_first_block(server):
    """granian takes the status before the first next(): its generators always answer 200."""
    response = server.get("/late-start")
    assert has_status(response, "404 Lost"), response
    assert response.get("X-Late") == "1"
    assert response.body == b"lost" and response.complete


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", NEVER)
def test_start_response_never_called_is_a_500(server, name, method):
    with server.connect() as client:
        response = ask(client, f"/never/{name}", method=method)
        assert response.status == 500
        assert b"secret" not in response.body
        if method == "HEAD":
            assert_usable_or_closed(client)


@pytest.mark.parametrize("name", EMPTY)
def test_empty_response(server, name):
    with server.connect() as client:
        response = ask(client, f"/empty/{name}")
        assert response.status == 200
        assert response.body == b"" and response.complete
        assert response.get("Content-Type") == "text/plain"
        assert response.framing in ("length", "chunked")
        assert_usable_or_closed(client)


# ------------------------------------------------------------------------------------ bodiless


@pytest.mark.parametrize("shape", ["", "&list=1"], ids=["generator", "list"])
@pytest.mark.parametrize("length", ["", "&length=1"], ids=["no-length", "length"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_status_without_body_sends_no_body(server, status, length, shape):
    """RFC 9110 sections 15.3.5 and 15.4.5; the parser refuses a 204 with a length field."""
    with server.connect() as client:
        target = f"/bodiless?status={status.replace(' ', '+')}{length}{shape}"
        response = ask(client, target)
        assert has_status(response, status), response
        assert response.get("X-A") == "1"
        assert response.get("Transfer-Encoding") is None
        assert ask(client, "/kind/list-one").body == b"one two end"


@pytest.mark.parametrize("name", KINDS)
def test_head_gets_the_fields_of_get_and_no_body(server, name):
    """RFC 9110 section 9.3.2; a computed length must be the one a GET would have."""
    with server.connect() as client:
        response = ask(client, f"/kind/{name}", method="HEAD")
        assert response.status == 200
        get = ask(client, f"/kind/{name}")
        assert get.body == b"one two end"
        if response.get("Content-Length") is not None:
            assert response.get("Content-Length") == get.get("Content-Length")
    if name in ("list-one", "tuple-one"):
        assert response.get("Content-Length") == "11"


@pytest.mark.parametrize("path", ["/wrong/list-str", "/wrong/none", "/never/list"])
def test_head_of_a_failing_application_has_no_body(server, path):
    with server.connect() as client:
        response = ask(client, path, method="HEAD")
        assert response.status == 500
        assert_usable_or_closed(client)


# -------------------------------------------------------------------------------------- length


@pytest.mark.parametrize("shape", ["list", "generator"])
@pytest.mark.parametrize("name", LENGTHS)
def test_content_length_is_enforced(server, name, shape):
    """More bytes are never sent; fewer abort, so that the next reply is not taken for the rest."""
    number, blocks = LENGTHS[name]
    body = b"".join(blocks)
    with server.connect() as client:
        raw = build_request("GET", f"/length/{shape}/{name}")
        client.send(raw + build_request("GET", "/kind/list-one"))
        response = client.response()
        if name.startswith("short") and response.status == 500:  # nothing was sent before
            assert_error_500(response)
            return
        assert response.status == 200
        assert response.get_all("Content-Length") in ([number], [str(int(number))])
        if name.startswith("short"):
            assert not response.complete
            assert response.body == body
        elif name.startswith("over"):
            assert body[: int(number)].startswith(response.body)
            assert name == "over-later" or response.complete or response.body in (b"", b"123")
            if response.complete:
                with contextlib.suppress(NoResponse, ConnectionResetError):
                    assert client.response().body == b"one two end"
        else:
            assert response.body == body
            assert client.response().body == b"one two end"


@pytest.mark.parametrize("name", ["short-one", "short-blocks"])
def test_body_under_content_length_is_logged(fresh_server, name):
    server = fresh_server("wsgi_iterable:app")
    server.get(f"/length/generator/{name}")
    server.wait_for_event("response.short")


# ------------------------------------------------------------------------------------- progress


def read_block(client: Client, framing: str, size: int) -> bytes:
    if framing != "chunked":
        return client.read(size)
    data = b""
    while len(data) < size:
        chunk = client.next_chunk()
        assert chunk, "the body ended early"
        data += chunk
    return data


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("empty", ["", "&empty=1"], ids=["", "empty-block-between"])
def test_each_block_is_sent_before_the_next_is_asked_for(server, framing, empty):
    """PEP 3333: servers "must not delay the transmission of any block"."""
    key = new_key()
    target = f"/steps?key={key}{empty}" + ("&length=1" if framing == "length" else "")
    version = "HTTP/1.0" if framing == "close" else "HTTP/1.1"
    with server.connect() as client:
        client.send(build_request("GET", target, version=version))
        assert client.head().status == 200
        assert read_block(client, framing, 5) == b"first"
        open_gate(server, key + "-1")
        assert read_block(client, framing, 6) == b"second"
        open_gate(server, key + "-2")
        assert read_block(client, framing, 5) == b"third"
        if framing == "chunked":
            assert client.next_chunk() == b""


def test_blocks_of_a_slow_generator_need_no_third_thread(fresh_server):
    """One thread waits inside the generator, the other opens the gates: the socket needs none."""
    server = fresh_server("wsgi_iterable:app", "--threads", "2")
    key = new_key()
    with server.connect() as client:
        client.send(build_request("GET", f"/steps?key={key}"))
        client.head()
        assert read_block(client, "chunked", 5) == b"first"
        open_gate(server, key + "-1")
        open_gate(server, key + "-2")
        assert read_block(client, "chunked", 11) == b"secondthird"
