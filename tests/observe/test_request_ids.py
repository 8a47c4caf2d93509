"""`--request-id-header`: where ids come from, and where they are seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ServerProcess, build_request
from harness.server import StartFailed

APP = "traced:app"
HEADER = ("--request-id-header", "X-Request-ID")
#: The client is no trusted peer.
UNTRUSTED = ("--forwarded-allow-ips", "192.0.2.1")
MADE = "[0-9a-f]{32}"
JSON = ("--access-logfile", "-", "--access-logformat", "json")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b9902b7-01"
Factory = Callable[..., ServerProcess]


def ids(response) -> list[str]:
    return response.get_all("X-Request-ID")


def logged(server: ServerProcess) -> Iterator[dict]:
    """Stops the server. The lines of its access log."""
    assert server.stop() == 0
    return (json.loads(line) for line in server.stdout().splitlines())


def test_id_of_a_trusted_peer_is_taken(serve: Factory) -> None:
    response = serve(APP, *HEADER).get("/", fields=[("X-Request-ID", "sent-1")])
    assert response.json() == {"HTTP_X_REQUEST_ID": "sent-1", "rustwsgi.request_id": "sent-1"}
    assert ids(response) == ["sent-1"]


def test_id_of_another_peer_is_replaced(serve: Factory) -> None:
    server = serve(APP, *HEADER, *UNTRUSTED)
    # The same head again: environs are cached by it.
    with server.connect() as client:
        request = build_request("GET", "/", fields=[("X-Request-ID", "sent-1")])
        responses = [client.request(request) for _ in range(4)]
    found = [ids(response)[0] for response in responses]
    assert len(set(found)) == 4 and all(re.fullmatch(MADE, each) for each in found)
    for response, own in zip(responses, found, strict=True):
        assert response.json() == {"HTTP_X_REQUEST_ID": own, "rustwsgi.request_id": own}


def test_request_without_an_id_gets_one(serve: Factory) -> None:
    server = serve(APP, *HEADER)
    with server.connect() as client:
        found = [client.request(build_request()) for _ in range(4)]
    assert len({ids(response)[0] for response in found}) == 4
    assert all(response.json()["HTTP_X_REQUEST_ID"] == ids(response)[0] for response in found)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a b",
        b'a"b',
        b"a\tb",
        b"\xc3\xa9",
        b"\x7f",
        b"x" * 129,
        b"x" * 8000,
        b"x" * 10_240,
        b"1\r\nX-Request-ID: 1",
        b"1\r\nx-request-id: 2",
    ],
    ids=lambda value: repr(value[:20]),
)
def test_hostile_id_is_replaced(serve: Factory, value: bytes) -> None:
    server = serve(APP, *HEADER)
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + value + b"\r\n\r\n")
        response = client.response()
    # A control character is malformed by itself, and the last one exceeds a limit.
    assert response.status == {b"\x7f": 400, b"x" * 10_240: 431}.get(value, 200)
    assert len(ids(response)) == 1 and re.fullmatch(MADE, ids(response)[0])
    if response.status == 200:
        assert response.json()["HTTP_X_REQUEST_ID"] == ids(response)[0]


def test_id_of_128_visible_characters_is_taken(serve: Factory) -> None:
    own = ("!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" * 5)[:128]
    response = serve(APP, *HEADER).get("/", fields=[("x-Request-id", f" {own} ")])
    assert ids(response) == [own]
    assert response.json()["HTTP_X_REQUEST_ID"] == own


def test_field_with_an_underscore_is_no_id(serve: Factory) -> None:
    response = serve(APP, *HEADER).get("/", fields=[("X_Request_ID", "sent-1")])
    assert re.fullmatch(MADE, ids(response)[0])
    assert response.json()["HTTP_X_REQUEST_ID"] == ids(response)[0]


def test_field_of_the_application_is_sent_alone(serve: Factory) -> None:
    response = serve(APP, *HEADER).get("/own", fields=[("X-Request-ID", "sent-1")])
    assert ids(response) == ["own"]


def test_another_name_is_used_everywhere(serve: Factory) -> None:
    server = serve("echo:app", "--request-id-header", "X-Correlation-Id")
    response = server.get("/", fields=[("x-correlation-id", "c1"), ("X-Request-ID", "r1")])
    environ = response.json()["environ"]
    assert environ["HTTP_X_CORRELATION_ID"] == environ["rustwsgi.request_id"] == "c1"
    assert environ["HTTP_X_REQUEST_ID"] == "r1"
    assert response.get("X-Correlation-Id") == "c1"


def test_requests_have_no_ids_by_default(serve: Factory) -> None:
    response = serve(APP).get("/", fields=[("X-Request-ID", "sent-1")])
    assert response.json() == {"HTTP_X_REQUEST_ID": "sent-1"}
    assert not ids(response)


def test_responses_of_the_server_have_ids(fresh_server: Factory, tmp_path: Path) -> None:
    """Errors of each kind, static files and health checks; also if no head could be parsed."""
    (tmp_path / "a.txt").write_text("a")
    options = ("--static", f"/static={tmp_path}", "--health-path", "/healthz", *JSON)
    limits = ("--limit-request-body", "10", "--limit-request-fields", "5")
    server = fresh_server(APP, *HEADER, *options, *limits)
    sent = "X-Request-ID: sent-1\r\n"
    seen = []
    for request, status, own in [
        (f"GET /fail HTTP/1.1\r\nHost: a\r\n{sent}\r\n", 500, "sent-1"),
        (f"GET /static/a.txt HTTP/1.1\r\nHost: a\r\n{sent}\r\n", 200, "sent-1"),
        (f"GET /static/b.txt HTTP/1.1\r\nHost: a\r\n{sent}\r\n", 404, "sent-1"),
        (f"GET /healthz HTTP/1.1\r\nHost: a\r\n{sent}\r\n", 200, "sent-1"),
        (f"POST / HTTP/1.1\r\nHost: a\r\n{sent}Content-Length: 11\r\n\r\n", 413, "sent-1"),
        # The fields of a head that was not parsed to its end are not used.
        (f"GET / HTTP/1.1\r\n{sent}Host: a\r\nb d: c\r\n\r\n", 400, MADE),
        (f"GET / HTTP/1.1\r\n{sent}\r\n", 400, MADE),
        ("BAD\r\n\r\n", 400, MADE),
        ("GET / HTTP/1.1\r\n" + "a: b\r\n" * 7 + "\r\n", 431, MADE),
    ]:
        with server.connect() as client:
            client.send(request.encode())
            response = client.response()
        assert response.status == status, request
        assert len(ids(response)) == 1 and re.fullmatch(own, ids(response)[0]), request
        seen.append((status, ids(response)[0]))
    assert [(line["status"], line["request_id"]) for line in logged(server)] == seen


def test_request_with_a_late_head_has_an_id(fresh_server: Factory) -> None:
    server = fresh_server(APP, *HEADER, *JSON, "--header-timeout", "2")
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: sent-1\r\n")
        response = client.response()
    assert response.status == 408 and re.fullmatch(MADE, ids(response)[0])
    assert [(line["status"], line["request_id"]) for line in logged(server)] == [
        (408, ids(response)[0])
    ]


def test_rejected_and_timed_out_requests_have_ids(fresh_server: Factory, fifo: Path) -> None:
    """503 of a queue, and 504 of a request whose thread is interrupted."""
    options = ("--threads", "1", "--queue-timeout", "1", "--timeout", "3")
    server = fresh_server(APP, *HEADER, *options, *JSON)
    with server.connect() as running, server.connect() as waiting:
        running.send(build_request("GET", f"/wait?{fifo}", fields=[("X-Request-ID", "r1")]))
        pipe = fifo.open("w")
        waiting.send(build_request("GET", "/", fields=[("X-Request-ID", "w1")]))
        response = waiting.response()
        assert (response.status, ids(response)) == (503, ["w1"])
        response = running.response()
        assert (response.status, ids(response)) == (504, ["r1"])
        server.wait_for_event("request.timeout", r"\[request r1\] GET /wait")
        pipe.close()
    server.wait_for_log(r"\[request r1\] .*RequestTimeout")
    rejected, timed_out = logged(server)
    assert (rejected["request_id"], rejected["app"]) == ("w1", None)
    assert rejected["queue"] >= 1
    assert timed_out["request_id"] == "r1" and timed_out["app"] >= 3


def test_lines_of_the_error_log_carry_the_id(fresh_server: Factory) -> None:
    server = fresh_server(APP, *HEADER)
    server.wait_for_event("server.ready")  # the last line of the master, before the stop
    for path in ("errors", "log", "fail"):
        server.get(f"/{path}", fields=[("X-Request-ID", path)])
    assert server.get("/errors").status == 200
    assert server.stop() == 0
    log = server.stderr()
    assert "[request errors] one line\n[request errors] two\n[request errors] lines\n" in log
    assert re.search(r"\[app\.message\] \[WARNING\] \[request log\] from the application\n", log)
    assert re.search(r"\[ERROR\] \[request fail\] Error handling request GET /fail", log)
    traceback = log[log.index("Error handling request") :].splitlines()[1:]
    end = traceback.index("[request fail] ValueError: in the application")
    assert all(line.startswith("[request fail] ") for line in traceback[: end + 1])
    assert re.search(rf"^\[request {MADE}\] one line$", log, re.MULTILINE)
    # Lines that belong to no request carry none.
    assert re.search(r"\[worker\.booting\] \[INFO\] Booting", log)
    assert not re.search(r"^\[request .*worker\.", log, re.MULTILINE)


def test_access_log_shows_id_and_traceparent(fresh_server: Factory) -> None:
    server = fresh_server(APP, *HEADER, *JSON)
    fields = [("X-Request-ID", "a\\b"), ("Traceparent", PARENT)]
    assert server.get("/", fields=fields).json()["HTTP_TRACEPARENT"] == PARENT
    bad = PARENT.replace("4b", "4B")
    assert server.get("/", fields=[("traceparent", bad)]).json()["HTTP_TRACEPARENT"] == bad
    server.get("/own", fields=[("traceparent", PARENT), ("traceparent", PARENT)])
    first, second, third = logged(server)
    assert (first["request_id"], first["traceparent"]) == ("a\\b", PARENT)
    assert re.fullmatch(MADE, second["request_id"]) and second["traceparent"] is None
    assert third["traceparent"] is None


@pytest.mark.parametrize("filtered", [False, True])
def test_atoms_show_id_and_traceparent(fresh_server: Factory, filtered: bool) -> None:
    """Those of gunicorn, too, and with a filter of the application on the logger."""
    atoms = "%({X-Request-ID}i)s %({x-request-id}o)s %(request_id)s %(traceparent)s"
    app = "loggers:make('handler_filter')" if filtered else APP
    options = ("--access-logfile", "-", "--access-logformat", atoms)
    server = fresh_server(app, *HEADER, *options, "--threads", "1")
    server.get("/a", fields=[("X-Request-ID", "r1"), ("traceparent", PARENT)])
    made = ids(server.get("/b"))[0]
    assert server.stop() == 0
    assert server.stdout().splitlines() == [f"r1 r1 r1 {PARENT}", f"{made} {made} {made} -"]


def test_traceparent_is_logged_without_ids(fresh_server: Factory) -> None:
    options = ("--access-logfile", "-", "--access-logformat", "%(traceparent)s %(request_id)s")
    server = fresh_server(APP, *options)
    server.get("/", fields=[("traceparent", PARENT)])
    assert server.stop() == 0
    assert server.stdout() == f"{PARENT} -\n"


@pytest.mark.parametrize("name", ["Host", "X_Id", "a b", "Content-Length", "Server-Timing"])
def test_name_that_cannot_be_used_is_an_error(door: str, name: str) -> None:
    with pytest.raises(StartFailed) as failure:
        ServerProcess(door, APP, "--request-id-header", name).start()
    assert "--request-id-header" in str(failure.value)
    assert "X-Request-ID" in str(failure.value)
