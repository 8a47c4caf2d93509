"""Agents that observe the application start the server as they start gunicorn: OpenTelemetry, New
Relic, Datadog, Sentry.

They start in the master, as Python starts there, and their threads do not survive the fork: what
they send must come from the worker all the same.
"""

from __future__ import annotations

import gzip
import importlib.util
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness import ROOT, TIMEOUT, ServerProcess
from harness.metrics import OPTIONS, Metrics
from harness.proxies import snippet

APP = "instrumented:app"


class Receiver:
    """An HTTP server that takes what agents send."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                with receiver._changed:
                    receiver.bodies.append(body)
                    receiver._changed.notify_all()
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_PUT = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, part: bytes) -> bytes:
        with self._changed:
            found = self._changed.wait_for(
                lambda: next((body for body in self.bodies if part in body), None), TIMEOUT
            )
        assert found, f"no {part!r} in {self.bodies}"
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def start(door: str, agent: list[str], env: dict[str, str], *args: str) -> ServerProcess:
    server = ServerProcess(door, APP, *args, env=env)
    program, *arguments = agent
    server.command = [str(Path(sys.executable).with_name(program)), *arguments, *server.command]
    return server


def get_traced(server: ServerProcess, agent: str) -> dict[str, Any]:
    """The response to the first request. An agent takes long to start on a loaded machine."""
    server.wait_for_event("server.ready", timeout=3 * TIMEOUT)
    return server.get(f"/traced/{agent}").json()


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module.partition(".")[0]) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


@needs("opentelemetry")
def test_opentelemetry_instrument_exports_spans_of_the_worker(
    door: str, receiver: Receiver
) -> None:
    env = {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    # Without `--`, the agent takes `--metrics` for an abbreviation of options of its own.
    with start(door, ["opentelemetry-instrument", "--"], env, *OPTIONS) as server:
        assert Metrics(server).get("/ready").status == 200
        traced = get_traced(server, "opentelemetry")
        assert traced["traced"] and traced["pid"] != server.pid
        assert b"shop" in receiver.wait_for(b"GET /traced/<agent>")


@needs("newrelic")
def test_newrelic_admin_traces_requests(door: str) -> None:
    env = {
        "NEW_RELIC_LICENSE_KEY": "0" * 40,
        "NEW_RELIC_DEVELOPER_MODE": "true",
        "NEW_RELIC_APP_NAME": "shop",
        "NEW_RELIC_LOG": "stderr",
        # The first request waits for the agent.
        "NEW_RELIC_STARTUP_TIMEOUT": "20",
    }
    with start(door, ["newrelic-admin", "run-program"], env) as server:
        traced = get_traced(server, "newrelic")
        assert traced["traced"] and traced["pid"] != server.pid


@needs("ddtrace")
def test_ddtrace_run_sends_spans_of_the_worker(door: str, receiver: Receiver) -> None:
    env = {
        "DD_SERVICE": "shop",
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{receiver.port}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    }
    with start(door, ["ddtrace-run"], env) as server:
        traced = get_traced(server, "ddtrace")
        assert traced["traced"] and traced["pid"] != server.pid
        receiver.wait_for(b"GET /traced/<agent>")


@needs("sentry_sdk")
def test_sentry_gets_exceptions_and_errors_of_the_server(fresh_server, receiver: Receiver) -> None:
    """Those of the server by --log-python, as records of the logger gunicorn.error."""
    env = {"TEST_SENTRY_DSN": f"http://key@127.0.0.1:{receiver.port}/1"}
    server = fresh_server(APP, "--log-python", env=env)
    assert server.get("/raise").status == 500
    event = receiver.wait_for(b"seen by the agent")
    assert b'"type":"ValueError"' in event and b"/raise" in event
    assert server.stop() == 0


@needs("sentry_sdk")
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_sentry_in_a_hook_of_gunicorn(
    fresh_server, receiver: Receiver, tmp_path: Path, preload: list[str]
) -> None:
    """The recipe for agents whose threads do not survive a fork: they start in `post_fork`, as in
    docs/production.md."""
    config = tmp_path / "gunicorn.conf.py"
    recipe = snippet("python", ROOT / "docs" / "production.md")
    dsn = f"http://key@127.0.0.1:{receiver.port}/1"
    config.write_text(recipe.replace("https://key@sentry.example/1", dsn))
    server = fresh_server(APP, "-c", str(config), *preload)
    assert server.get("/raise").status == 500
    receiver.wait_for(b"seen by the agent")
    assert server.stop() == 0
