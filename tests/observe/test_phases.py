"""The phases of requests: atoms of the access log, and the field Server-Timing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from harness import ServerProcess, build_request

APP = "traced:app"
Factory = Callable[..., ServerProcess]


def timings(response) -> dict[str, float]:
    """The metrics of the server, in milliseconds."""
    value = response.get_all("Server-Timing")[-1]
    assert re.fullmatch(r"queue;dur=\d+\.\d{3}, app;dur=\d+\.\d{3}", value), value
    parts = (part.split(";dur=") for part in value.split(", "))
    return {name: float(duration) for name, duration in parts}


def test_json_log_has_the_phases_in_seconds(fresh_server: Factory, fifo: Path) -> None:
    options = ("--threads", "1", "--access-logfile", "-", "--access-logformat", "json")
    server = fresh_server(APP, *options)
    with server.connect() as first, server.connect() as second:
        first.send(build_request("GET", f"/wait?{fifo}"))
        pipe = fifo.open("w")
        second.send(build_request("GET", "/spend?0.1"))
        # It is read and queued, as this one is answered by the server meanwhile.
        with server.connect() as third:
            assert third.request(b"BAD\r\n\r\n").status == 400
        pipe.close()
        assert first.response().status == second.response().status == 200
    assert server.stop() == 0
    bad, first, second = (json.loads(line) for line in server.stdout().splitlines())
    assert [bad[key] for key in ("queue", "app", "send")] == [None, None, None]
    assert first["app"] > 0 and second["queue"] > 0
    assert second["app"] >= 0.1 and second["send"] >= 0
    for line in (first, second):
        assert line["queue"] + line["app"] + line["send"] <= line["seconds"] + 0.000_01


def test_atoms_have_the_phases_in_seconds(fresh_server: Factory) -> None:
    atoms = "%(s)s %(queue)s %(app)s %(send)s"
    server = fresh_server(APP, "--access-logfile", "-", "--access-logformat", atoms)
    server.get("/spend?0.1")
    with server.connect() as client:
        client.request(b"BAD\r\n\r\n")
    assert server.stop() == 0
    ok, bad = server.stdout().splitlines()
    found = re.fullmatch(r"200 (\d+\.\d{6}) (\d+\.\d{6}) (\d+\.\d{6})", ok)
    assert found and float(found[2]) >= 0.1, ok
    assert bad == "400 - - -"


def test_time_in_which_a_thread_waits_for_its_client_is_send(fresh_server: Factory) -> None:
    """A generator waits for its client once its output has filled `--response-spool`."""
    options = ("--access-logfile", "-", "--access-logformat", "json", "--response-spool", "1m")
    server = fresh_server(APP, *options)
    with server.connect(receive_buffer=65536) as client:
        client.send(build_request("GET", "/stream?400"))
        server.wait_for_event("response.spool_full")
        server.get("/spend?0.1")
        assert len(client.response().body) == 400 * 65536
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.stdout().splitlines()]
    streamed = next(line for line in lines if line["target"].startswith("/stream"))
    assert streamed["send"] >= 0.1


def test_server_timing_is_added(serve: Factory) -> None:
    server = serve(APP, "--server-timing")
    assert timings(server.get("/spend?0.05"))["app"] >= 50
    with server.connect() as client:
        responses = [client.request(build_request("GET", "/fail")) for _ in range(2)]
    assert all(response.status == 500 and timings(response) for response in responses)
    response = server.get("/own")
    assert response.get_all("Server-Timing")[0] == "db;dur=53" and timings(response)
    # No thread has run it.
    with server.connect() as client:
        assert not client.request(b"BAD\r\n\r\n").get_all("Server-Timing")


def test_server_timing_shows_the_wait_for_a_thread(fresh_server: Factory, fifo: Path) -> None:
    server = fresh_server(APP, "--server-timing", "--threads", "1", "--queue-timeout", "2")
    with server.connect() as first, server.connect() as second:
        first.send(build_request("GET", f"/wait?{fifo}"))
        pipe = fifo.open("w")
        second.send(build_request())
        response = second.response()
        assert response.status == 503
        found = re.fullmatch(r"queue;dur=([\d.]+)", response.get("Server-Timing") or "")
        assert found and float(found[1]) >= 2000
        pipe.close()
        assert timings(first.response())["app"] >= 2000


def test_server_timing_is_off_by_default(serve: Factory) -> None:
    assert serve(APP).get("/own").get_all("Server-Timing") == ["db;dur=53"]
