"""The metrics address: the master answers from shared memory, whatever its workers do."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from harness import TIMEOUT, ServerProcess, build_request, wait_until
from harness.metrics import OPENMETRICS, OPTIONS, Metrics
from harness.server import StartFailed
from harness.supervision import children, descriptors, end, freeze, workers

APP = "handed_over:app"
GET = 'requests_total{method="GET",status="2xx"}'
Factory = Callable[..., ServerProcess]


def hold(server: ServerProcess, stack: ExitStack, fifo: Path) -> None:
    """Keep a thread in a request until the stack is closed."""
    os.mkfifo(fifo)
    client = stack.enter_context(server.connect())
    start = len(server.stderr())
    client.send(build_request("GET", f"/hold?{fifo}"))
    # Not "^held": another worker may have written the word, and not yet the end of its line.
    server.wait_for_log("held", start=start)
    stack.callback(lambda: fifo.open("w").close())


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_text_is_valid_and_every_metric_has_help_and_type(
    serve: Factory, accept: str | None
) -> None:
    server = serve("echo:app", *OPTIONS)
    metrics = Metrics(server)
    server.get("/")
    response = metrics.get("/metrics", accept)
    expected = "application/openmetrics-text" if accept else "text/plain; version=0.0.4"
    assert (response.get("content-type") or "").startswith(expected)
    text = response.body.decode()
    parse = openmetrics.text_string_to_metric_families if accept else None
    families = list((parse or text_string_to_metric_families)(text))
    assert len(families) > 15
    for family in families:
        assert family.name.startswith("rustwsgi_")
        assert family.documentation.endswith("."), family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name


def test_requests_are_counted_by_method_and_status(fresh_server: Factory) -> None:
    server = fresh_server("echo:app", *OPTIONS)
    metrics = Metrics(server)
    for method, body in [("GET", None), ("POST", b"12345"), ("BREW", None)]:
        assert server.get("/", method=method, body=body).status == 200
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.response().status == 400
    samples = metrics.samples()
    assert samples[GET] == 1
    assert samples['requests_total{method="POST",status="2xx"}'] == 1
    assert samples['requests_total{method="other",status="2xx"}'] == 1
    assert sum(v for name, v in samples.items() if 'status="4xx"' in name) == 1
    assert samples["request_duration_seconds_count"] == 4
    assert samples["request_app_seconds_count"] == samples["request_queue_seconds_count"] == 3
    assert samples["request_body_bytes_total"] == 5
    assert samples["response_body_bytes_total"] > 0
    assert samples['limits_reached_total{limit="missing_host"}'] == 1
    assert samples["connections_accepted_total"] >= 4


def test_counts_are_exact_after_kill_recycling_and_reload(fresh_server: Factory) -> None:
    server = fresh_server(APP, *OPTIONS, "--workers", "2", "--max-requests", "20")
    metrics = Metrics(server)
    server.wait_for_event("server.ready")  # a worker that ends while it boots is counted otherwise
    before = workers(server, 2)
    for _ in range(10):
        server.get("/")
    assert metrics.samples()[GET] == 10
    for pid in before:
        end(pid, signal.SIGKILL)
    workers(server, 2, without=before)
    assert metrics.samples()[GET] == 10
    assert metrics.samples()['worker_restarts_total{reason="killed"}'] == 2
    wait_until(lambda: metrics.get("/ready").status == 200, "the new workers are ready")
    for _ in range(60):
        server.get("/")
    recycled = 'worker_restarts_total{reason="recycled"}'
    # One worker may have answered nearly all of them.
    wait_until(lambda: metrics.samples()[recycled] >= 1, "a worker is recycled")
    assert metrics.samples()[GET] == 70
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    samples = metrics.samples()
    assert (samples[GET], samples['reloads_total{result="completed"}']) == (70, 1)
    events = [event["event"] for event in metrics.status()["events"]]
    assert {"worker booting", "worker ready", "worker ended", "reload started"} <= set(events)


def test_status_shows_requests_that_run_and_wait(fresh_server: Factory, tmp_path: Path) -> None:
    server = fresh_server(APP, *OPTIONS, "--threads", "2")
    metrics = Metrics(server)
    with ExitStack() as stack:
        hold(server, stack, tmp_path / "a")
        hold(server, stack, tmp_path / "b")
        waiting = stack.enter_context(server.connect())
        waiting.send(build_request("GET", "/waits?" + "x" * 500))
        cut = ("/waits?" + "x" * 500)[:128] + "..."
        found = metrics.wait_for_requests(
            (f"/hold?{tmp_path}/a", "running"), (f"/hold?{tmp_path}/b", "running"), (cut, "queued")
        )
        assert all(request["method"] == "GET" and request["age"] >= 0 for request in found)
        samples = metrics.samples()
        assert (samples["requests_in_progress"], samples["requests_queued"]) == (2, 1)
        assert (samples["threads_busy"], samples["threads"]) == (2, 2)
        wait_until(
            lambda: metrics.samples()['connections{state="active"}'] == 3, "connections are shown"
        )
    metrics.wait_for_requests()
    assert metrics.samples()["requests_queued"] == 0


def test_master_answers_while_workers_keep_their_interpreters(fresh_server: Factory) -> None:
    options = ("--workers", "2", "--health-path", "/healthz")
    server = fresh_server(APP, *OPTIONS, *options, "--graceful-timeout", "1")
    metrics = Metrics(server)
    pids = workers(server, 2)
    server.wait_for_event("server.ready")
    with ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(server.connect())
            client.send(build_request("GET", "/seize?600"))
        server.wait_for_log("(?s)seized.*seized")
        for path in ("/live", "/ready", "/metrics", "/status"):
            assert metrics.get(path).status == 200
        running = {w["pid"] for w in metrics.status()["workers"] if w["requests"]}
        assert running == pids
        assert server.get("/healthz").body == b"ok\n"
        for pid in pids:
            freeze(pid)
        assert len(metrics.status()["workers"]) == 2
        for pid in pids:
            end(pid, signal.SIGKILL)
    workers(server, 2, without=pids)
    samples = metrics.samples()
    assert sum(value for name, value in samples.items() if name.startswith("requests_total{")) == 1


def test_ready_is_503_before_the_first_worker_and_from_term_on(
    fresh_server: Factory, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "late.py").write_text(f"open({str(gate)!r}).read()\nfrom handed_over import app\n")
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps")}
    server = fresh_server("late:app", *OPTIONS, cwd=tmp_path, env=env)
    metrics = Metrics(server)
    response = metrics.get("/ready")
    assert (response.status, json.loads(response.body)["reason"]) == (503, "no worker is ready yet")
    assert metrics.get("/live").status == 200
    gate.open("w").close()
    wait_until(lambda: metrics.get("/ready").status == 200, "the worker is ready")
    with ExitStack() as stack:
        hold(server, stack, tmp_path / "hold")
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("server.stopping")
        response = metrics.get("/ready")
        assert (response.status, json.loads(response.body)["reason"]) == (
            503,
            "the server is shutting down",
        )
        assert metrics.get("/metrics").status == 200
    assert server.wait() == 0


@pytest.mark.parametrize("strategy", ["ready-first", "stop-first"])
def test_ready_stays_200_during_a_reload(fresh_server: Factory, strategy: str) -> None:
    server = fresh_server(APP, *OPTIONS, "--replace", strategy)
    metrics = Metrics(server)
    wait_until(lambda: metrics.get("/ready").status == 200, "the worker is ready")
    server.send_signal(signal.SIGHUP)
    while "[reload.completed]" not in server.stderr():
        assert metrics.get("/ready").status == 200


def test_ready_is_503_when_all_threads_are_busy_for_long(
    fresh_server: Factory, tmp_path: Path
) -> None:
    server = fresh_server(APP, *OPTIONS, "--threads", "1", "--ready-busy", "0.2")
    metrics = Metrics(server)
    wait_until(lambda: metrics.get("/ready").status == 200, "the worker is ready")
    with ExitStack() as stack:
        hold(server, stack, tmp_path / "hold")
        wait_until(lambda: metrics.get("/ready").status == 503, "the server is busy")
        assert "--ready-busy" in json.loads(metrics.get("/ready").body)["reason"]
    wait_until(lambda: metrics.get("/ready").status == 200, "the thread is free")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789", 413),
        (b"DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    ],
)
def test_bad_requests_are_refused(serve: Factory, request_bytes: bytes, status: int) -> None:
    metrics = Metrics(serve("echo:app", *OPTIONS))
    with metrics.connect() as client:
        client.send(request_bytes)
        assert client.response().status == status


def test_connection_serves_pipelined_requests_and_head(serve: Factory) -> None:
    metrics = Metrics(serve("echo:app", *OPTIONS))
    with metrics.connect() as client:
        client.send(build_request("GET", "/live") * 3)
        assert [client.response().status for _ in range(3)] == [200, 200, 200]
        client.send(build_request("HEAD", "/metrics"))
        assert client.response("HEAD").body == b""
        client.send_slowly(build_request("GET", "/ready"))
        assert client.response().status == 200


def test_crowd_of_clients_delays_neither_signals_nor_scrapes(fresh_server: Factory) -> None:
    server = fresh_server("echo:app", *OPTIONS)
    metrics = Metrics(server)
    with ExitStack() as stack:
        for number in range(300):
            client = stack.enter_context(metrics.connect())
            # Silent ones, ones in the middle of a head, and ones that never read.
            request = build_request("GET", ("/events", "/metrics", "/status")[number % 3])
            client.send((b"", request[:-3], request)[number % 3])
        assert metrics.get("/metrics").status == 200
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        sockets = [each for each in descriptors(server.pid) if each.startswith("socket:")]
        assert len(sockets) < 100, "the number of connections is bounded"
        assert metrics.get("/live").status == 200


def test_worker_has_no_socket_of_the_metrics_address(fresh_server: Factory) -> None:
    server = fresh_server("echo:app", *OPTIONS)
    metrics = Metrics(server)
    (pid,) = workers(server, 1)
    wait_until(lambda: metrics.get("/ready").status == 200, "the worker is ready")
    of_worker, own = descriptors(pid), descriptors(server.pid)
    table = Path("/proc/net/tcp").read_text().splitlines()
    port = f":{metrics.address[1]:04X} "
    (listener,) = {
        f"socket:[{line.split()[9]}]" for line in table if port in line and " 0A " in line
    }
    assert listener in own and listener not in of_worker


def test_events_are_sent_to_the_page(serve: Factory) -> None:
    metrics = Metrics(serve("echo:app", *OPTIONS))
    assert b"EventSource" in metrics.get("/").body
    with socket.create_connection(metrics.address, timeout=TIMEOUT) as client:
        client.sendall(build_request("GET", "/events"))
        received = b""
        while received.count(b'data: {"') < 2:
            received += client.recv(65536)
        assert b"text/event-stream" in received


def test_unix_socket_is_removed_at_the_end(fresh_server: Factory, tmp_path: Path) -> None:
    path = tmp_path / "m"
    server = fresh_server("echo:app", "--metrics", f"unix:{path}")
    server.wait_for_event("metrics.listening")
    server.wait_for_event("server.ready")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(path))
        client.sendall(build_request("GET", "/live"))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    for pid in children(server.pid):
        end(pid, signal.SIGTERM)
    server.wait_for_event("worker.exited")
    assert path.exists(), "a worker that ends leaves it"
    assert server.stop() == 0
    assert not path.exists()


def test_address_in_use_is_an_error(fresh_server: Factory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(StartFailed, match=r"\[server.not_started\].*--metrics: cannot listen"):
            fresh_server("echo:app", "--metrics", address)


def test_new_master_takes_the_address_over(fresh_server: Factory) -> None:
    server = fresh_server(APP, *OPTIONS)
    metrics = Metrics(server)
    server.get("/")
    start = server.wait_for_event("server.ready").end()
    server.send_signal(signal.SIGUSR2)
    server.wait_for_event("server.ready", start=start)
    for _ in range(20):  # by both
        server.get("/")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    before = metrics.samples()
    assert metrics.status()["pid"] == server.pid, "the old master answers until it exits"
    new = int(server.wait_for_event("upgrade.started", r"master (\d+)")[1])
    server.send_signal(signal.SIGTERM)
    try:
        wait_until(lambda: metrics.pid() == new, "the new master answers")
        assert metrics.get("/ready").status == 200
        after = metrics.samples()
        assert after[GET] == 21, "the counts of both"
        counters = [name for name in before if re.search(r"_(total|bucket|count|sum)\b", name)]
        of_processes = "worker_cpu_seconds_total"
        decreased = [
            name
            for name in counters
            if after.get(name, 0) < before[name] and not name.startswith(of_processes)
        ]
        assert len(counters) > 80 and not decreased
        assert after['reloads_total{result="completed"}'] == 1
    finally:
        end(new, signal.SIGTERM)
        assert server.wait() == 0
