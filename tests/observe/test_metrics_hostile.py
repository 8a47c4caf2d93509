"""Hostile clients of the metrics address, and a worker that writes anything to its memory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import ServerProcess, build_request, wait_until
from harness.metrics import OPTIONS, Metrics
from harness.supervision import end, workers

Factory = Callable[..., ServerProcess]

FORGER = """
import ctypes

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/fill/"):
        with open("/proc/self/maps") as maps:
            lines = [line.split() for line in maps]
        for span, mode, *_ in (line for line in lines if "/dev/zero" in line):
            first, last = (int(address, 16) for address in span.split("-"))
            assert mode == "rw-s"
            ctypes.memset(first, int(path[6:]), last - first)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


def test_worker_that_forges_its_memory_does_not_harm_the_master(
    fresh_server: Factory, tmp_path: Path
) -> None:
    (tmp_path / "forger.py").write_text(FORGER)
    server = fresh_server("forger:app", *OPTIONS, "--ready-busy", "1", cwd=tmp_path)
    metrics = Metrics(server)
    for byte in (255, 127, 128, 1):
        assert server.get(f"/fill/{byte}").status == 200
        text = metrics.get("/metrics").body.decode()
        assert list(text_string_to_metric_families(text))
        assert metrics.status()["workers"]
        assert metrics.get("/ready").status in {200, 503}
    pids = workers(server, 1)
    end(pids.pop(), signal.SIGKILL)
    wait_until(
        lambda: [worker["state"] for worker in metrics.status()["workers"]] == ["ready"],
        "another worker serves",
    )
    assert server.get("/").body == b"ok"
    assert metrics.get("/metrics").status == 200


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("127.0.0.1:1", "/status", 200),
        ("localhost", "/", 200),
        ("app.shop.svc.cluster.local", "/status", 200),
        ("evil.example", "/status", 421),
        ("127.0.0.1.evil.example:1", "/events", 421),
        ("evil.example", "/", 421),
        # They show nothing of requests.
        ("metrics.example.com", "/metrics", 200),
        ("probe.example.com", "/ready", 200),
    ],
)
def test_name_of_another_site_gets_no_targets(
    serve: Factory, host: str, path: str, status: int
) -> None:
    metrics = Metrics(serve("echo:app", *OPTIONS))
    with metrics.connect() as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path.encode(), host.encode()))
        response = client.response()
        assert response.status == status
        assert response.get("cross-origin-resource-policy") == "same-origin"
        assert response.get("access-control-allow-origin") is None


def test_streams_leave_room_for_probes(fresh_server: Factory) -> None:
    server = fresh_server("echo:app", *OPTIONS)
    metrics = Metrics(server)
    with ExitStack() as stack:
        probe = stack.enter_context(metrics.connect())
        for _ in range(100):
            stream = stack.enter_context(metrics.connect())
            stream.send(build_request("GET", "/events"))
            assert stream.read(12) == b"HTTP/1.1 200"
        # It was there before, and has sent nothing yet.
        probe.send(build_request("GET", "/ready"))
        assert probe.response().status == 200


def test_targets_are_data_in_every_format(fresh_server: Factory, tmp_path: Path) -> None:
    server = fresh_server("handed_over:app", *OPTIONS)
    metrics, fifo = Metrics(server), tmp_path / "<script>\"'&{}"
    os.mkfifo(fifo)
    target = f"/hold?{fifo}"
    with server.connect() as client:
        client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode())
        server.wait_for_log("^held")
        metrics.wait_for_requests((target, "running"))
        assert b'<script>"' not in metrics.get("/").body, "the page gets them by its script"
        with metrics.connect() as stream:
            stream.send(build_request("GET", "/events"))
            while not (line := stream.read_line()).startswith(b"data: "):
                pass
        (worker,) = json.loads(line[6:])["workers"]
        assert [request["target"] for request in worker["requests"]] == [target]
        fifo.open("w").close()
        assert client.response().status == 200
