"""Request ids, traceparent and Server-Timing over HTTP/2, where each stream is a request."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.http2 import http2
from harness.tls import Authority

APP = "traced:app"
HEADER = ("--request-id-header", "X-Request-ID")
MADE = "[0-9a-f]{32}"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b9902b7-01"


def test_streams_have_ids_of_their_own(plain) -> None:
    with http2(plain(APP, *HEADER)) as client:
        sent = [client.start("/", fields=[("x-request-id", f"s{n}")]) for n in range(3)]
        made = [client.start("/") for _ in range(3)]
        client.wait(*sent, *made)
        streams = [client.streams[stream] for stream in (*sent, *made)]
    found = [stream.all("x-request-id") for stream in streams]
    assert found[:3] == [["s0"], ["s1"], ["s2"]]
    assert all(re.fullmatch(MADE, own) for (own,) in found[3:])
    assert len({own for (own,) in found}) == 6
    assert [stream.json()["HTTP_X_REQUEST_ID"] for stream in streams] == [own for (own,) in found]


@pytest.mark.parametrize("value", ["a b", 'a"b', "x" * 129, "x" * 8000, "\u00e9", ""])
def test_hostile_id_is_replaced(plain, value: str) -> None:
    with http2(plain(APP, *HEADER)) as client:
        response = client.request("/", fields=[("x-request-id", value.encode("latin-1"))])
    (own,) = response.all("x-request-id")
    assert re.fullmatch(MADE, own) and response.json()["HTTP_X_REQUEST_ID"] == own


def test_responses_of_the_server_have_ids(fresh_plain, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    options = ("--static", f"/static={tmp_path}", "--health-path", "/healthz")
    log = ("--access-logfile", "-", "--access-logformat", "json")
    server = fresh_plain(APP, *HEADER, *options, *log, "--limit-request-body", "10")
    own = [("x-request-id", "s1"), ("traceparent", PARENT)]
    with http2(server) as client:
        for path, status in [
            ("/static/a.txt", 200),
            ("/static/b.txt", 404),
            ("/healthz", 200),
            ("/fail", 500),
        ]:
            response = client.request(path, fields=own)
            assert (response.status, response.all("x-request-id")) == (status, ["s1"]), path
        rejected = client.request("/", body=b"x" * 11, fields=own)
        assert (rejected.status, rejected.all("x-request-id")) == (413, ["s1"])
        assert client.request("/own", fields=own).all("x-request-id") == ["own"]
    server.wait_for_event("request.failed", r"\[request s1\] Error handling request GET /fail")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.stdout().splitlines()]
    assert len(lines) == 6
    assert all((line["request_id"], line["traceparent"]) == ("s1", PARENT) for line in lines)


def test_ids_are_added_over_tls(fresh_server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With both protocols."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    pair = authority.issue("localhost", "localhost")
    server = fresh_server(APP, *pair.options(), *HEADER, "--http-protocols", "h2,h1")
    server.tls = authority.context()
    response = server.get("/", fields=[("X-Request-ID", "s1")])
    assert response.get_all("X-Request-ID") == ["s1"]
    assert response.json()["HTTP_X_REQUEST_ID"] == "s1"
    with http2(server) as client:
        stream = client.request("/", fields=[("x-request-id", "s2")], scheme="https")
    assert stream.all("x-request-id") == ["s2"]
    assert stream.json()["HTTP_X_REQUEST_ID"] == "s2"


def test_server_timing_is_added(plain) -> None:
    with http2(plain(APP, "--server-timing")) as client:
        assert client.request("/own").all("server-timing")[0] == "db;dur=53"
        (value,) = client.request("/spend?0.05").all("server-timing")
    found = re.fullmatch(r"queue;dur=\d+\.\d{3}, app;dur=(\d+\.\d{3})", value)
    assert found and float(found[1]) >= 50


def test_slow_stream_is_logged_with_its_stack(fresh_plain, fifo: Path) -> None:
    server = fresh_plain(APP, "--slow-request", "0.1")
    with http2(server) as client:
        stream = client.start(f"/wait?{fifo}")
        server.wait_for_event("request.slow", r"GET /wait.* in wait_for")
        fifo.open("w").close()
        assert client.wait(stream).status == 200
