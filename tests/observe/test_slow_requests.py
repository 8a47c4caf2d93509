"""`--slow-request`: a line for each slow request, with its stack, that interrupts nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import ServerProcess, build_request, wait_until
from harness.metrics import OPTIONS, Metrics

APP = "traced:app"
#: Long enough for the application to reach the expected line, even on a loaded machine.
SLOW = ("--slow-request", "0.3")
PHASES = r"\(queue \d+\.\d{3} s, app \d+\.\d{3} s, send \d+\.\d{3} s\)"
Factory = Callable[..., ServerProcess]


def slow_lines(server: ServerProcess, target: str = "") -> list[str]:
    """The lines about requests for this target. On a loaded machine any request may be slow."""
    return re.findall(rf"\[request\.slow\] .*GET {target}.*", server.stderr())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_slow_request_is_logged_once_with_its_stack(
    fresh_server: Factory, fifo: Path, threads: str
) -> None:
    server = fresh_server(APP, *SLOW, "--threads", threads, "--request-id-header", "X-Request-ID")
    with server.connect() as client:
        client.send(build_request("GET", f"/wait?{fifo}", fields=[("X-Request-ID", "r1")]))
        stack = (
            r"its stack, innermost first: \S*traced\.py:\d+ in wait_for, \S*traced\.py:\d+ in app"
        )
        line = (
            r"\[request r1\] GET /wait\?\S+ from 127\.0\.0\.1 has run for \d+\.\d{3} s.* "
            rf"{PHASES}; {stack}"
        )
        server.wait_for_event("request.slow", line)
        # Not interrupted, and not logged again.
        fifo.open("w").close()
        assert client.response().status == 200
    assert server.get("/").status == 200
    wait_until(
        lambda: server.counters()["slow_request"] == len(slow_lines(server)), "each is counted once"
    )
    (line,) = slow_lines(server, "/wait")
    # Frames of the thread itself are left out.
    assert "threading.py" not in line


def test_request_that_holds_the_interpreter_is_logged_without_its_stack(
    fresh_server: Factory, fifo: Path
) -> None:
    server = fresh_server(APP, *SLOW)
    with server.connect() as client:
        client.send(build_request("GET", f"/seize?{fifo}"))
        server.wait_for_event("request.slow", f"GET /seize.* {PHASES}; .*code in C holds")
        fifo.open("w").close()
        assert client.response().status == 200
    assert len(slow_lines(server)) == 1


def test_request_that_has_ended_before_a_check_is_logged(fresh_server: Factory) -> None:
    """The poller checks every 50 ms at most."""
    server = fresh_server(APP, "--slow-request", "0.001")
    server.get("/spend?0.005")
    server.wait_for_event("request.slow", "GET /spend")
    assert server.counters()["slow_request"] == 1


def test_last_slow_requests_are_in_the_status(fresh_server: Factory, fifo: Path) -> None:
    # One thread, so that requests end in their order.
    server = fresh_server(APP, "--slow-request", "0.05", "--threads", "1", *OPTIONS)
    for number in range(25):
        server.get(f"/spend?0.06&{number}")
    server.wait_for_event("request.slow")
    with server.connect() as client:
        client.send(build_request("GET", f"/wait?{fifo}"))
        pipe = fifo.open("w")
        found: list[dict] = []

        def is_shown() -> bool:
            (worker,) = Metrics(server).status()["workers"]
            found[:] = worker["slow_requests"]
            return bool(found) and found[0]["target"] == f"/wait?{fifo}"

        wait_until(is_shown, "the request is in the status")
        pipe.close()
        client.response()
    assert len(found) == 20
    assert [request["target"] for request in found[1:3]] == ["/spend?0.06&24", "/spend?0.06&23"]
    assert found[0]["method"] == "GET" and found[0]["age"] > 0 and found[0]["ago"] >= 0
    assert re.search(r"traced\.py:\d+ in wait_for$", found[0]["stack"][0])
    assert re.search(r"traced\.py:\d+ in app$", found[0]["stack"][1])


def test_fast_requests_are_not_logged(fresh_server: Factory) -> None:
    server = fresh_server(APP, "--slow-request", "30")
    for _ in range(3):
        assert server.get("/").status == 200
    assert server.stop() == 0
    assert not slow_lines(server)


def test_long_and_hostile_target_is_cut_and_escaped(fresh_server: Factory) -> None:
    server = fresh_server(APP, "--slow-request", "0.001")
    assert server.get('/spend?0.005&"\\' + "a" * 5000).status == 200
    server.wait_for_event("request.slow", r'GET /spend\?0\.005&\\"\\\\a{200,250}\.\.\. from')


def test_lines_are_limited_and_requests_counted(fresh_server: Factory) -> None:
    server = fresh_server(APP, "--slow-request", "0.001")
    with server.connect() as client:
        for _ in range(25):
            assert client.request(build_request("GET", "/spend?0.002")).status == 200
    wait_until(lambda: server.counters().get("slow_request") == 25, "all are counted")
    # Ten within ten seconds, which a loaded machine may need for these requests.
    assert 10 <= len(slow_lines(server)) < 25


def test_slow_request_and_timeout_are_independent(fresh_server: Factory, fifo: Path) -> None:
    server = fresh_server(APP, *SLOW, "--timeout", "2", "--threads", "2")
    with ExitStack() as stack:
        client = stack.enter_context(server.connect())
        client.send(build_request("GET", f"/wait?{fifo}"))
        pipe = stack.enter_context(fifo.open("w"))
        server.wait_for_event("request.slow", "in wait_for")
        assert client.response().status == 504
        pipe.close()
    assert server.get("/").status == 200
    assert len(slow_lines(server, "/wait")) == 1


def test_websocket_is_no_slow_request(fresh_server: Factory) -> None:
    """A request that has taken its connection may run for hours."""
    server = fresh_server("upgrade:app", *SLOW)
    fields = [("Connection", "Upgrade"), ("Upgrade", "echo")]
    with server.connect() as client:
        client.send(build_request("GET", "/plain", fields=fields))
        assert client.response().status == 101
        server.get("/")
        assert not slow_lines(server, "/plain")
