"""PEP 3333 on the end of an iterable: close(), clients that leave, and objects that are freed."""

from __future__ import annotations

import pytest

from harness import ServerProcess, build_request, wait_until
from harness.wsgi import THREADS, ask, assert_error_500, events, json_of, new_key, noted, open_gate

from wsgi_close import BODIES  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_close:app", *THREADS)


def assert_closed_once(server: ServerProcess, key: str) -> list[str]:
    """Closed exactly once, last of all, on the thread that iterated, then released. "freed" is
    noted when the server drops its last reference: after that it cannot close again."""
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
    assert server.get("/plain-shared").body == b"the same list"


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


def test_next_is_not_called_after_the_end(server):
    """Blocks are requested one after the other, and never again after StopIteration."""
    key = new_key()
    with server.connect() as client:
        assert ask(client, f"/closes/exhausted?key={key}").body == b"onetwo"
    assert assert_closed_once(server, key) == ["iter", "next", "next", "close", "freed"]


@pytest.mark.parametrize("name", ["raises-first", "raises-later", "raises-in-iter", "both-raise"])
def test_failure_in_iteration_aborts_the_response(server, name):
    """Before the first block a 500; after it an aborted body, so that the client notices."""
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
    """The body is complete; the server may send its end before or after close()."""
    with server.connect() as client:
        response = ask(client, f"/closes/{name}?key={new_key()}&length=3")
        assert (response.status, response.body) == (200, b"one")
        assert response.complete
    if name == "close-raises":
        server.wait_for_log("secret close")


def test_close_that_is_not_callable_is_logged(server):
    """As an error of the application; the server continues."""
    with server.connect() as client:
        response = ask(client, "/unclosable?key=" + new_key())
        assert response.status == 200 and response.body == b"one"
    assert server.get("/plain-shared").body == b"the same list"


def test_same_list_returned_twice_is_closed_for_each_request(server):
    key = new_key()
    with server.connect() as client:
        for _ in range(3):
            assert ask(client, f"/shared?key={key}").body == b"one two"
    # The client may have the end of a response before close() is called.
    wait_until(lambda: events(server, key).count("close") == 3, "it is closed three times")
    assert server.get("/plain-shared").body == server.get("/plain-shared").body == b"the same list"


@pytest.mark.parametrize("leave", ["reset", "close"])
@pytest.mark.parametrize("how", ["body", "own-iterator", "generator", "list", "write"])
def test_close_is_called_when_the_client_leaves(server, how, leave):
    """In the middle of the stream: the rest is neither sent nor awaited."""
    key = new_key()
    client = server.connect(receive_buffer=4096)
    client.send(build_request("GET", f"/disconnect?key={key}&how={how}"))
    assert client.head().status == 200
    getattr(client, leave)()
    names = events(server, key, want="close")
    assert names.count("close") == 1
    assert "never told" not in names
    assert events(server, key, want="freed").count("close") == 1


def test_close_is_called_when_the_client_disconnected_before_the_response(server):
    key = new_key()
    client = server.connect()
    client.send(build_request("GET", f"/disconnect?key={key}&how=before"))
    events(server, key, want="called")
    client.reset()
    open_gate(server, key)
    assert_closed_once(server, key)


# -------------------------------------------------------------------------- client_disconnected


@pytest.mark.parametrize("leave", ["reset", "close"])
def test_client_disconnected_is_true_after_a_disconnect(server, leave):
    """`rustwsgi.client_disconnected`: a generator with nothing to send can ask."""
    key = new_key()
    client = server.connect()
    client.send(build_request("GET", f"/watching?key={key}"))
    client.head()
    assert client.next_chunk() == b"started"
    getattr(client, leave)()
    assert events(server, key, want="freed") == ["at first False", "gone True", "freed"]


@pytest.mark.parametrize("pipelined", [False, True])
def test_client_disconnected_is_false_while_the_client_waits(server, pipelined):
    raw = build_request("POST", "/not-gone", body=b"body")
    with server.connect() as client:
        if pipelined:  # bytes that wait in the socket are no sign of an end
            client.send(raw * 3)
            answers = [json_of(client.response()) for _ in range(3)]
        else:
            answers = [json_of(client.request(raw)) for _ in range(3)]
    assert answers == [[False] * 4] * 3


def test_kept_client_disconnected_answers_for_its_own_client(server):
    """A thread uses one object for all its requests, unless an application keeps it."""
    key = new_key()
    with server.connect() as other:
        with server.connect() as client:
            # Heads that a thread has seen twice are cached, with the object.
            for _ in range(20):
                ask(client, f"/keep-gone?key={key}")
                answers = [json_of(ask(other, f"/kept-gone?key={key}")) for _ in range(3)]
                assert answers == [[False, False]] * 3
        wait_until(
            lambda: json_of(ask(other, f"/kept-gone?key={key}")) == [True, False],
            "the client has disconnected",
        )


# ---------------------------------------------------------------------------------------- leaks


@pytest.mark.parametrize("how", ["list", "generator", "raise", "raise-later"])
def test_objects_of_a_request_are_freed_after_it(server, how):
    """The environ and the frames of a traceback are freed without the garbage collector."""
    key = new_key()
    with server.connect() as client:  # kept open: it must not keep the request either
        ask(client, f"/holding?key={key}&how={how}")
        assert events(server, key, want="freed") == ["freed"]
        assert events(server, key + "-frame", want="freed") == ["freed"]
