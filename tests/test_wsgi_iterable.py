"""PEP 3333 "Specification Details", "Buffering and Streaming": what the application returns."""

from __future__ import annotations

import pytest

from harness import Client, NoResponse, ServerProcess, build_request
from wsgi_support import (
    THREADS,
    ask,
    assert_error_500,
    events,
    json_of,
    new_key,
    noted,
    open_gate,
)

from wsgi_iterable import (  # isort: skip  (apps/)
    BODIES,
    EMPTY,
    KINDS,
    LENGTHS,
    LYING,
    NEVER,
    WRONG,
    WRONG_LATER,
)
import contextlib


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_iterable:app", *THREADS)


def assert_usable_or_closed(client: Client) -> None:
    """After a bad response: a clean next one, or the end. Never bytes that nobody asked for."""
    try:
        client.send(build_request("GET", "/kind/list-one"))
        assert client.response().body == b"one two end"
    except (NoResponse, ConnectionResetError, BrokenPipeError):
        pass


# -------------------------------------------------------------------------------- good iterables


@pytest.mark.parametrize("name", KINDS)
def test_kind(server, name):
    with server.connect() as client:
        for _ in range(2):
            response = ask(client, f"/kind/{name}")
            assert response.status == 200
            assert response.body == b"one two end" and response.complete
            # An empty chunk would have ended the body; a client that parses never sees one.
            assert response.chunks is None or b"" not in response.chunks


@pytest.mark.parametrize("name", KINDS)
def test_kind_for_http_10(server, name):
    """No chunked coding for HTTP/1.0: a length, or the end of the connection."""
    response = server.get(f"/kind/{name}", version="HTTP/1.0")
    assert response.framing in ("length", "close")
    assert response.body == b"one two end" and response.complete


@pytest.mark.parametrize("name", ["list-one", "tuple-one", "len-one"])
def test_length_of_one_gives_a_content_length(server, name):
    """PEP 3333 "Handling the Content-Length Header"."""
    assert server.get(f"/kind/{name}").get("Content-Length") == "11"


@pytest.mark.parametrize("name", LYING)
def test_lying_length_never_breaks_the_framing(server, name):
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
    """... or is refused as not exactly bytes; what its methods say must not matter."""
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
def test_kind_of_application(serve, name):
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


def test_async_application_is_a_500(serve):
    assert_error_500(serve("wsgi_iterable:async_app", *THREADS).get("/"))


@pytest.mark.parametrize("shape", ["list", "generator"])
@pytest.mark.parametrize("name", WRONG_LATER)
def test_wrong_item_after_the_first_aborts(server, name, shape):
    """Or a 500, where the server has looked at a whole list before it sent the head."""
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
    assert (response.status, response.reason) == (404, "Lost")
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
def test_status_without_body(server, status, length, shape):
    """RFC 9110 sections 15.3.5 and 15.4.5; the parser refuses a 204 with a length field."""
    with server.connect() as client:
        target = f"/bodiless?status={status.replace(' ', '+')}{length}{shape}"
        response = ask(client, target)
        assert f"{response.status} {response.reason}" == status
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
def test_short_body_is_logged(fresh_server, name):
    server = fresh_server("wsgi_iterable:app")
    server.get(f"/length/generator/{name}")
    server.wait_for_log("(?i)content.length|short")


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


# ---------------------------------------------------------------------------------------- close


def assert_closed_once(server: ServerProcess, key: str) -> list[str]:
    """Closed exactly once, last of all, on the thread that iterated; then let go.

    "freed" is noted when the server drops its last reference: after that it cannot close again.
    """
    found = noted(server, key, want="freed")
    names = [n["event"] for n in found]
    assert names.count("close") == 1, names
    iterated = {n["thread"] for n in found if n["event"] in ("iter", "next", "close")}
    assert len(iterated) == 1, found
    after = names[names.index("close") + 1 :]
    assert set(after) <= {"freed"}, names
    return names


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", BODIES)
def test_close_is_called_exactly_once(server, name, method):
    """PEP 3333: close() "regardless of whether the request was completed normally"."""
    key = new_key()
    with server.connect() as client:
        response = ask(client, f"/closes/{name}?key={key}", method=method)
        assert b"secret" not in response.body
        if method == "GET" and name.startswith(("exhausted", "list", "own", "instance")):
            assert response.status == (500 if name == "list-item-str" else 200)
            assert response.complete
    assert_closed_once(server, key)
    assert server.get("/kind/list-one").body == b"one two end"


CLOSE_CASES = {
    "no-content": "exhausted?status=204+No+Content",
    "not-modified": "exhausted?status=304+Not+Modified",
    "body-over-length": "exhausted?length=2",
    "body-under-length": "exhausted?length=20",
    "list-over-length": "list?length=2",
    "list-under-length": "list?length=20",
    "start-response-never-called": "exhausted?never=1",
    "start-response-never-called-list": "list?never=1",
    "start-response-never-called-empty": "exhausted-empty?never=1",
    "bad-status-raises": "exhausted-one?never=1",
}


@pytest.mark.parametrize("target", CLOSE_CASES.values(), ids=CLOSE_CASES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_when_the_body_is_not_sent(server, target, method):
    key = new_key()
    with server.connect() as client:
        ask(client, f"/closes/{target}&key={key}", method=method)
    assert_closed_once(server, key)


def test_no_next_after_the_end_and_none_before_the_head(server):
    """Blocks are asked for one after the other, and never again after StopIteration."""
    key = new_key()
    with server.connect() as client:
        assert ask(client, f"/closes/exhausted?key={key}").body == b"onetwo"
    assert assert_closed_once(server, key) == ["iter", "next", "next", "close", "freed"]


@pytest.mark.parametrize("name", ["raises-first", "raises-later", "raises-in-iter", "both-raise"])
def test_failure_in_iteration(server, name):
    """Before the first block a 500; after it an aborted body, so that the client can tell."""
    with server.connect() as client:
        response = ask(client, f"/closes/{name}?key={new_key()}")
        if name in ("raises-first", "raises-in-iter"):
            assert_error_500(response)
        else:
            assert response.status == 200
            assert response.body == b"one" and not response.complete
            assert client.rest() == b""


@pytest.mark.parametrize("name", ["close-raises", "close-exits"])
def test_error_in_close_does_not_spoil_the_response(server, name):
    """The body was complete; whether its end was sent before close() or after is the server's."""
    with server.connect() as client:
        response = ask(client, f"/closes/{name}?key={new_key()}&length=3")
        assert (response.status, response.body) == (200, b"one")
        assert response.complete
    if name == "close-raises":
        server.wait_for_log("secret close")


def test_close_that_cannot_be_called(server):
    """As an error of the application: logged, and the server lives."""
    with server.connect() as client:
        response = ask(client, "/unclosable?key=" + new_key())
        assert response.status == 200 and response.body == b"one"
    assert server.get("/kind/list-one").body == b"one two end"


def test_same_list_returned_twice_is_closed_for_each_request(server):
    key = new_key()
    with server.connect() as client:
        for _ in range(3):
            assert ask(client, f"/shared?key={key}").body == b"one two"
    assert events(server, key).count("close") == 3
    assert server.get("/plain-shared").body == server.get("/plain-shared").body == b"the same list"


@pytest.mark.parametrize("leave", ["reset", "close"])
@pytest.mark.parametrize("how", ["body", "own-iterator", "generator", "list", "write"])
def test_close_is_called_when_the_client_leaves(server, how, leave):
    """Mid-stream, with the rest neither sent nor waited for."""
    key = new_key()
    client = server.connect(receive_buffer=4096)
    client.send(build_request("GET", f"/disconnect?key={key}&how={how}"))
    assert client.head().status == 200
    getattr(client, leave)()
    names = events(server, key, want="close")
    assert names.count("close") == 1
    assert "never told" not in names
    assert events(server, key, want="freed").count("close") == 1


def test_close_is_called_when_the_client_left_before_the_response(server):
    key = new_key()
    client = server.connect()
    client.send(build_request("GET", f"/disconnect?key={key}&how=before"))
    events(server, key, want="called")
    client.reset()
    open_gate(server, key)
    assert_closed_once(server, key)


# -------------------------------------------------------------------------- client_disconnected


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_client_disconnected_is_told(server, leave):
    """`rustwsgi.client_disconnected`: a generator with nothing to send can ask."""
    key = new_key()
    client = server.connect()
    client.send(build_request("GET", f"/watching?key={key}"))
    client.head()
    assert client.next_chunk() == b"started"
    getattr(client, leave)()
    assert events(server, key, want="freed") == ["at first False", "gone True", "freed"]


@pytest.mark.parametrize("pipelined", [False, True])
def test_client_that_waits_is_not_disconnected(server, pipelined):
    raw = build_request("POST", "/not-gone", body=b"body")
    with server.connect() as client:
        if pipelined:  # bytes that wait in the socket are no sign of an end
            client.send(raw * 3)
            answers = [json_of(client.response()) for _ in range(3)]
        else:
            answers = [json_of(client.request(raw)) for _ in range(3)]
    assert answers == [[False] * 4] * 3


# ---------------------------------------------------------------------------------------- leaks


@pytest.mark.parametrize("how", ["list", "generator", "raise", "raise-later"])
def test_nothing_of_a_request_outlives_it(server, how):
    """The environ, and the frames of a traceback, are let go without the garbage collector."""
    key = new_key()
    with server.connect() as client:  # kept open: it must not keep the request either
        ask(client, f"/holding?key={key}&how={how}")
        assert events(server, key, want="freed") == ["freed"]
        assert events(server, key + "-frame", want="freed") == ["freed"]
