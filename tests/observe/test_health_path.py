"""`--health-path`: workers answer health checks without Python."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack

from harness import ServerProcess, build_request
from harness.http2 import http2
from harness.supervision import end, workers

HEALTH = ("--health-path", "/healthz")
Factory = Callable[..., ServerProcess]


def test_health_check_is_answered_and_the_connection_kept(serve: Factory) -> None:
    server = serve("echo:app", *HEALTH)
    with server.connect() as client:
        client.send(build_request("GET", "/healthz?x=1") + build_request("HEAD", "/healthz"))
        response = client.response()
        assert (response.status, response.body) == (200, b"ok\n")
        assert response.get("cache-control") == "no-store"
        assert client.response("HEAD").body == b""
        assert client.request(build_request("GET", "/")).status == 200


def test_health_check_is_answered_over_http2(serve: Factory) -> None:
    """Its head was that of HTTP/1.1, so the stream was reset."""
    with http2(serve("echo:app", *HEALTH, "--http2-cleartext", "both")) as client:
        response = client.request("/healthz")
        assert (response.status, response.body) == (200, b"ok\n")
        assert response.all("cache-control") == ["no-store"]
        head = client.request("/healthz", method="HEAD")
        assert (head.status, head.body, head.all("content-length")) == (200, b"", ["3"])


def test_other_methods_and_paths_go_to_the_application(serve: Factory) -> None:
    server = serve("echo:app", *HEALTH)
    for method, path in [("POST", "/healthz"), ("GET", "/healthz/"), ("GET", "/%68ealthz")]:
        assert server.get(path, method=method).body != b"ok\n"


def test_health_check_is_in_the_access_log(serve: Factory) -> None:
    server = serve("echo:app", *HEALTH, "--access-logfile", "-")
    server.get("/healthz?logged")
    server.wait_for_stdout(r'"GET /healthz\?logged HTTP/1.1" 200 3 ')


def test_health_check_is_answered_while_the_interpreter_is_kept(fresh_server: Factory) -> None:
    server = fresh_server("handed_over:app", *HEALTH, "--threads", "1", "--graceful-timeout", "0")
    (pid,) = workers(server, 1)
    with ExitStack() as stack:
        client = stack.enter_context(server.connect())
        client.send(build_request("GET", "/seize?600"))
        server.wait_for_log("^seized")
        for _ in range(3):
            assert server.get("/healthz").status == 200
        end(pid, signal.SIGKILL)
