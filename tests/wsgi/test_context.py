"""Each request runs in a context of its own (`contextvars`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ServerProcess, build_request
from harness.wsgi import assert_error_500, events, get_json, new_key


@pytest.fixture
def server(serve) -> ServerProcess:
    """With one thread, so that requests follow each other on it."""
    return serve("wsgi_context:app", "--threads", "1")


def test_value_of_a_request_is_not_seen_by_the_next(server):
    found = [get_json(server, f"/call?user={user}") for user in ("one", "two", "three")]
    assert len({each["thread"] for each in found}) == 1
    assert [each["found"] for each in found] == [None] * 3


def test_value_of_a_failed_request_is_not_seen_by_the_next(server):
    for _ in range(2):
        assert_error_500(server.get("/fail?user=one"))
    assert get_json(server, "/call?user=two")["found"] is None


def test_iteration_and_close_run_in_the_context_of_their_request(server):
    key = new_key()
    assert server.get(f"/iterable?key={key}").body == b"xx"
    assert events(server, key) == [
        "call: None",
        "iter: call",
        "next: call+iter",
        "next: call+iter+next",
        "close: call+iter+next+next",
    ]
    assert get_json(server, "/call?user=two")["found"] is None


@pytest.mark.parametrize("length", [1, 2])
def test_generator_keeps_its_value_until_it_is_closed(server, length):
    """With a length of 1 the server stops it at its second block."""
    key = new_key()
    assert server.get(f"/generator?key={key}&length={length}").body == b"x" * length
    assert events(server, key, "end:None") == ["start:None", "next:mine", "end:None"]


def test_concurrent_requests_have_their_own_values(serve):
    server = serve("wsgi_context:app", "--threads", "2")
    with server.connect() as first, server.connect() as second:
        first.send(build_request("GET", "/together?user=one"))
        second.send(build_request("GET", "/together?user=two"))
        assert first.response().body == b"oneone"
        assert second.response().body == b"twotwo"


def test_context_that_the_application_keeps_stays_usable(server):
    get_json(server, "/keep")
    assert get_json(server, "/call?user=other")["found"] is None
    assert get_json(server, "/use-kept") == ["kept", None]


HOOKS = """
import contextvars
request = contextvars.ContextVar("request", default=None)

def pre_request(worker, req):
    worker.log.info("pre %s", request.get())
    request.set(req.path)

def post_request(worker, req, environ, resp):
    worker.log.info("post %s", request.get())
"""


def test_request_hooks_run_in_the_context_of_their_request(fresh_server, tmp_path: Path):
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(HOOKS)
    server = fresh_server("wsgi_context:app", "--threads", "1", "-c", str(path))
    for user in ("one", "two"):
        start = len(server.stderr())
        get_json(server, f"/call?user={user}")
        # The hook runs after the response. Not the line of the first request.
        server.wait_for_log("post /call", start=start)
    log = server.stderr()
    assert log.count("pre None") == 2 and log.count("post /call") == 2, log
