"""--statsd-host and its options, with gunicorn's metrics."""

from __future__ import annotations

import re
from pathlib import Path

from harness.collectors import Collector

APP = "logged:app"


def test_request_sends_gunicorns_metrics_behind_prefix_and_with_tags(fresh_server) -> None:
    with Collector.udp() as statsd:
        args = ["--statsd-host", f"localhost:{statsd.port}", "--statsd-prefix", "shop.eu."]
        server = fresh_server(APP, *args, "--dogstatsd-tags", "env:test,a:b", "--workers", "2")
        server.get("/")
        server.get("/raise")
        name, tags = r"^shop\.eu\.gunicorn\.", r"\|#env:test,a:b$"
        statsd.wait_for(rf"{name}requests:1\|c\|@1\.0{tags}")
        statsd.wait_for(rf"{name}request\.status\.200:1\|c\|@1\.0{tags}")
        statsd.wait_for(rf"{name}request\.status\.500:1\|c\|@1\.0{tags}")
        statsd.wait_for(rf"{name}request\.duration:\d+\.\d\d\d\|ms{tags}")
        statsd.wait_for(rf"{name}workers:2\|g{tags}")
        statsd.wait_for(rf"{name}log\.exception:1\|c\|@1\.0{tags}")
        assert server.stop() == 0
        statsd.wait_for(rf"{name}workers:0\|g{tags}")
    # Nothing is logged that was not before.
    assert "GET" not in server.stdout()


def test_every_request_is_counted_once(fresh_server, tmp_path: Path) -> None:
    """Those that the access log leaves out, and those that the application does not see."""
    path, log = tmp_path / "statsd", tmp_path / "access.log"
    with Collector.unix(path) as statsd:
        args = ["--statsd-host", f"unix://{path}", "--health-path", "/healthz", "--threads", "2"]
        args += ["--access-logfile", str(log), "--access-log-exclude", "^/quiet"]
        server = fresh_server(APP, *args)
        for target in ("/", "/quiet", "/healthz"):
            assert server.get(target).status == 200
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert client.response().status == 400
            client.close()
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 200)
            for _ in range(200):
                assert client.response().status == 200
        assert server.stop() == 0
        statsd.wait_for("gunicorn.workers:0")
        lines = statsd.metrics()
        counts = {
            name: lines.count(f"gunicorn.{name}:1|c|@1.0")
            for name in ("requests", "request.status.200", "request.status.400")
        }
        assert counts == {"requests": 204, "request.status.200": 203, "request.status.400": 1}
        assert sum(line.startswith("gunicorn.request.duration:") for line in lines) == 204
        assert all(len(message) <= 1432 for message in statsd.messages())
        # Pipelined requests share datagrams.
        assert len(statsd.messages()) < 204
    assert "/quiet" not in log.read_text() and len(log.read_text().splitlines()) == 203


def test_absent_or_full_collector_delays_no_request(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "statsd"
    server = fresh_server(APP, "--statsd-host", f"unix://{path}")
    server.wait_for_event("collector.failed", "statsd")
    with Collector.unix(path, paused=True), server.connect() as client:
        for _ in range(50):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
            for _ in range(100):
                assert client.response().status == 200
    assert server.stop() == 0


def test_hooks_send_metrics_with_gunicorns_logger(fresh_server, tmp_path: Path) -> None:
    with Collector.udp() as statsd:
        config = tmp_path / "gunicorn.conf.py"
        config.write_text(
            f"statsd_host = '127.0.0.1:{statsd.port}'\nstatsd_prefix = 'p'\n"
            "logger_class = 'gunicorn.glogging.Logger'\n"
            "def when_ready(server):\n"
            "    server.log.increment('mine.count', 2)\n"
            "    server.log.gauge('mine.gauge', 1.5)\n"
            "    server.log.timer('mine|\\nbad', 1)\n"
            "    server.log.info('', extra={'metric': 'm', 'value': 3, 'mtype': 'histogram'})\n"
            "    server.log.info('logged', extra={'metric': 'n', 'value': 4, 'mtype': 'timer'})\n"
        )
        server = fresh_server(APP, "-c", str(config))
        for pattern in ("mine.count:2|c|@1.0", "mine.gauge:1.5|g", "m:3|h", "n:4|ms"):
            statsd.wait_for("^p." + re.escape(pattern) + "$")
        server.wait_for_event("hook.message", "logged")
        assert server.stop() == 0
        assert not any("bad" in line for line in statsd.metrics())
        assert len(re.findall(r"hook\.message", server.stderr())) == 1
