"""PEP 3333 "The start_response() Callable" and "Error Handling"."""

from __future__ import annotations

import ast

import pytest

from harness import ServerProcess, has_status
from harness.wsgi import THREADS, ask, assert_error_500, events, get_json, json_of, new_key

from wsgi_start_response import CALLS, EITHER, GOOD  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_start_response:app", *THREADS)


# ----------------------------------------------------------------------------------- validation


@pytest.mark.parametrize("name", CALLS)
def test_invalid_start_response_call_raises_and_sends_nothing(server, name):
    with server.connect() as client:
        response = ask(client, f"/bad/{name}")
        raised = json_of(response)["raised"]
        # SystemError would be the C API complaining about the server, not the server about it.
        assert raised not in (None, "SystemError", "PanicException"), raised
        assert has_status(response, "200 OK"), response
        assert response.get("X-Good") == "1"
        assert response.get("X-A") is None and response.get("X-Injected") is None
        # Nothing is left in the connection either.
        assert ask(client, "/good/plain").body == b"body"


@pytest.mark.parametrize("n", ["none", "one", "four"])
def test_wrong_number_of_arguments_raises(server, n):
    assert get_json(server, f"/bad-arguments?n={n}") == {"raised": "TypeError"}


def test_exc_info_is_taken_by_keyword(server):
    response = server.get("/keyword")
    assert (response.status, response.body) == (500, b"body"), response
    assert response.get("X-Second") == "2" and response.get("X-First") is None


def test_uncaught_bad_call_is_a_500(server):
    response = server.get("/uncaught")
    assert_error_500(response)
    assert response.get("X-Injected") is None and response.get("X-More") is None
    server.wait_for_log("Traceback")


@pytest.mark.parametrize("name", EITHER)
def test_borderline_call_is_rejected_or_sent_unchanged(server, name):
    response = server.get(f"/either/{name}")
    assert response.complete and response.body == b"body"
    assert response.get("X-Injected") is None
    if response.status != 500:
        reason = {"status-subclass": "Fine", "reason-empty": ""}.get(name, "OK")
        assert has_status(response, f"200 {reason}"), response
        if EITHER[name][1] and "length" not in name:
            assert response.get("X-A") == "1"


# ------------------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("name", GOOD)
def test_head_is_sent_as_given(server, name):
    """Status, names, values, order and repetition; Date and Server only if not given."""
    status, headers = GOOD[name]
    response = server.get(f"/good/{name}")
    assert has_status(response, status), response
    given = {n.lower() for n, _ in headers}
    assert [f for f in response.fields if f[0].lower() in given] == headers
    assert len(response.get_all("Date")) == len(response.get_all("Server")) == 1
    assert response.body == b"body" and response.complete


@pytest.mark.parametrize("value", ["close", "Close"])
def test_connection_close_is_honoured(server, value):
    with server.connect() as client:
        response = ask(client, f"/close?value={value}")
        assert response.status == 200 and response.body == b"body"
        assert response.connection == {"close"}
        assert len(response.get_all("Connection")) == 1
        assert client.at_eof()


# --------------------------------------------------------------------------------- second call


@pytest.mark.parametrize("exc_info", ["absent", "none"])
def test_second_call_without_exc_info_raises(server, exc_info):
    """PEP 3333: "It is a fatal error to call start_response without the exc_info argument"."""
    response = server.get(f"/twice?exc_info={exc_info}")
    assert response.body not in (b"nothing", b"SystemError")
    assert has_status(response, "200 First"), response
    assert response.get("X-First") == "1" and response.get("X-Second") is None


@pytest.mark.parametrize(
    "how",
    [
        "only",
        "returned",
        "thrice",
        "old-write",
        "new-write",
        "generator",
        "empty-blocks",
        "empty-write",
    ],
)
def test_exc_info_before_the_head_replaces_everything(server, how):
    """An empty block or write is no reason to send the head, so it can still be replaced."""
    with server.connect() as client:
        response = ask(client, f"/restart/{how}")
        assert has_status(response, "500 Second"), response
        assert response.get("X-Second") == "2"
        assert response.get("X-First") is None and response.get("X-Other") is None
        assert response.get_all("Content-Type") == ["a/second"]
        assert response.get("Content-Length") in (None, "6"), "the old length survived"
        assert response.body == b"second" and response.complete
        assert ask(client, "/good/plain").body == b"body"


def test_bad_replacement_raises(server):
    response = server.get("/restart-bad")
    assert has_status(response, "500 Second"), response
    assert response.get("X-Raised") not in (None, "None")
    assert response.get("X-Bad") is None and response.get("X-First") is None
    assert response.body == b"second" and response.complete


@pytest.mark.parametrize("how", ["write", "blocks"])
def test_exc_info_after_the_head_raises_the_given_exception(server, how):
    """PEP 3333: start_response must re-raise it; uncaught it aborts the response."""
    key = new_key()
    with server.connect() as client:
        response = ask(client, f"/too-late?key={key}&how={how}")
        assert has_status(response, "200 First"), response
        assert response.body == b"sent" and not response.complete
        assert b"unreached" not in client.rest()
    assert events(server, key) == ["same=True origin=True"]


def test_exc_info_without_an_exception_is_a_type_error(server):
    """Regression: it raised an AttributeError from inside the server."""
    response = server.get("/no-exception")
    assert response.status == 200 and response.complete
    assert response.body == b"sent TypeError"


@pytest.mark.parametrize("sent", ["", "&sent=1"], ids=["before-head", "after-head"])
def test_traceback_is_released(server, sent):
    """PEP 3333 asks for `exc_info = None` in a finally clause: no cycle, no leak."""
    key = new_key()
    response = server.get(f"/no-traceback-kept?key={key}{sent}")
    assert response.complete
    assert response.body == (b"sent caught" if sent else b"failed")
    assert "freed" in events(server, key, want="freed")


# -------------------------------------------------------------------------------------- too late


@pytest.mark.parametrize("same", [True, False], ids=["same-connection", "other-connection"])
def test_calls_after_the_request_raise_and_send_nothing(fresh_server, same):
    """A start_response kept from an earlier request must not change another response."""
    server = fresh_server("wsgi_start_response:app", "--threads", "1")
    first = server.connect()
    second = first if same else server.connect()
    with first, second:
        assert ask(first, "/late").body == b"first"
        for _ in range(3):
            response = ask(second, "/late")
            assert has_status(response, "200 OK"), response
            assert response.get("X-Late") is None
            raised = ast.literal_eval(response.text)
            assert len(raised) == 3 and None not in raised, raised
            assert "SystemError" not in raised
        assert ask(first, "/good/plain").body == b"body"


def test_weak_reference_to_an_old_start_response_raises(fresh_server):
    """Regression: through it the thread's next request was answered with the head of an earlier
    one."""
    server = fresh_server("wsgi_start_response:app", "--threads", "1")
    with server.connect() as client:
        for _ in range(4):
            response = ask(client, "/late-weak")
            assert has_status(response, "200 OK") and response.body == b"None", response
