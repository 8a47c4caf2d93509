"""`environ["wsgi.early_hints"]`: 103 responses over HTTP/1.1, as gunicorn sends them."""

from __future__ import annotations

import pytest

from harness import Client, Response, ServerProcess, build_request

LINK = ("Link", "</a.css>; rel=preload; as=style")


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_early_hints:app", "--threads", "1")


def responses(client: Client, path: str, **request: str) -> list[Response]:
    """All responses to one request."""
    method = request.get("method", "GET")
    client.send(build_request(target=path, **request))
    found = [client.response(method)]
    while found[-1].status < 200:
        found.append(client.response(method))
    return found


@pytest.mark.parametrize("path", ["/one", "/started", "/thread"])
def test_hints_come_before_the_response(server: ServerProcess, path: str) -> None:
    with server.connect() as client:
        for _ in range(4):  # also when the environ is a remembered one
            hints, response = responses(client, path)
            assert (hints.version, hints.status, hints.reason) == ("HTTP/1.1", 103, "Early Hints")
            assert hints.fields == [LINK]
            assert response.status == 200 and response.body in (b"done", b"abc")
        assert [response.status for response in responses(client, "/plain")] == [200]


def test_hints_are_sent_before_the_application_returns(fresh_server, fifo) -> None:
    """The client needs them while the application works."""
    app = "wsgi_early_hints:waiting"
    server = fresh_server(app, env={"FIFO": str(fifo)})
    with server.connect() as client:
        client.send(build_request())
        assert client.response().status == 103
        fifo.write_bytes(b"x")
        assert client.response().body == b"done"


def test_several_hints_are_several_responses(server: ServerProcess) -> None:
    with server.connect() as client:
        first, second, response = responses(client, "/twice")
        assert (first.fields, response.status) == ([LINK], 200)
        assert second.fields == [("Link", "</b.js>"), ("X-Other", "trimmed")]


def test_names_and_values_may_be_bytes(server: ServerProcess) -> None:
    with server.connect() as client:
        hints, _ = responses(client, "/bytes")
        assert hints.fields == [("Link", "</\xe9.css>"), ("X-List", "1")]


@pytest.mark.parametrize("path", ["/framing", "/empty"])
def test_fields_of_the_framing_are_left_out(server: ServerProcess, path: str) -> None:
    with server.connect() as client:
        for _ in range(2):
            hints, response = responses(client, path)
            assert hints.fields == [] and response.connection == set()


@pytest.mark.parametrize(("path", "body"), [("/late", b"abcdef"), ("/write", b"abcdef")])
def test_hints_after_the_head_have_no_effect(server: ServerProcess, path: str, body: bytes) -> None:
    with server.connect() as client:
        (response,) = responses(client, path)
        assert response.body == body


@pytest.mark.parametrize("path", ["/one", "/bad/split"])
def test_client_of_http_1_0_gets_no_hints(server: ServerProcess, path: str) -> None:
    with server.connect() as client:
        (response,) = responses(client, path, version="HTTP/1.0")
        assert (response.status, response.body) == (200, b"done")


def test_head_request_gets_hints(server: ServerProcess) -> None:
    with server.connect() as client:
        hints, response = responses(client, "/one", method="HEAD")
        assert (hints.status, response.status, response.body) == (103, 200, b"")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/bad/name", "ValueError: a header name must be a token"),
        ("/bad/split", "ValueError: a header value must not contain control characters: Link"),
        ("/bad/split-name", "ValueError: a header name must be a token"),
        ("/bad/nul", "ValueError: a header value must not contain control characters"),
        ("/bad/latin-1", "ValueError: an early hint has characters outside of latin-1"),
        ("/bad/number", "TypeError: names and values of early hints"),
        ("/bad/pair", "ValueError: each early hint must be a pair"),
        ("/bad/list", "TypeError: "),
    ],
)
def test_invalid_hints_raise_and_are_not_sent(server: ServerProcess, path: str, error: str) -> None:
    with server.connect() as client:
        (response,) = responses(client, path)
        assert response.text.startswith(error) and "secret" not in response.text


def test_kept_callable_has_no_effect_on_later_requests(server: ServerProcess) -> None:
    with server.connect() as client:
        for _ in range(3):
            for path, statuses in [("/keep", [200]), ("/kept", [200]), ("/one", [103, 200])]:
                assert [response.status for response in responses(client, path)] == statuses
