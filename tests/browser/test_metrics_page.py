"""The live page of the metrics address, as an operator sees it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser.chrome import LOWEST_CONTRAST, Browser, chromium, missing
from harness import ServerProcess, build_request
from harness.metrics import OPTIONS, Metrics
from harness.supervision import end, workers

reason = missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=reason or "")
Factory = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_page_shows_requests_events_and_rates(
    _chromium: Browser, fresh_server: Factory, tmp_path: Path
) -> None:
    server = fresh_server("handed_over:app", *OPTIONS, "--workers", "2", "--threads", "2")
    metrics = Metrics(server)
    browser = _chromium
    browser.reset("http://{}:{}".format(*metrics.address))
    browser.open("/")
    browser.wait(lambda: browser.text("#state") == "ready", "the first state")
    with ExitStack() as stack:
        fifo = tmp_path / "<b>markup</b>".replace("/", "-")
        os.mkfifo(fifo)
        client = stack.enter_context(server.connect())
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("^held")
        stack.callback(lambda: fifo.open("w").close())
        for _ in range(20):
            server.get("/")
        (victim, _) = sorted(workers(server, 2))
        row = "code[title^='GET /hold']"
        browser.wait(lambda: "<b>markup<-b>" in browser.text(row), "the request as text")
        browser.wait(lambda: "worker ready" in browser.text("#events"), "the timeline")
        browser.wait(lambda: browser.text("#busy").startswith("1 /"), "a busy thread")
        # It is that of the last moments.
        browser.wait(lambda: server.get("/") and float(browser.text("#rate")) > 0, "a rate")
        for scheme, width in [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390)]:
            browser.emulate(scheme, width)
            contrast, text = browser.script(LOWEST_CONTRAST)
            assert contrast >= 4.5, (scheme, text)
            overflow = "return document.documentElement.scrollWidth - innerWidth"
            assert browser.script(overflow) <= 0, (scheme, width)
            browser.screenshot(f"metrics-{scheme}-{width}")
    end(victim, 9)
    browser.wait(lambda: f"worker ended {victim}: killed" in browser.text("#events"), "the kill")
    assert browser.script("return document.querySelectorAll('#line circle').length") >= 3
    assert browser.console_errors() == []


#: The page shows a state whose worker has the stack of a slow request, as with --slow-request.
SHOW_STACK = """
const state = structuredClone(history[history.length - 1]);
const request = {method: "GET", target: "/report?<b>", age: 2, queue: 0, ago: 5};
state.workers[0].slow_requests = [{...request, stack: ["/srv/<i>a.py:41 in execute", "b.py:1 in f"]}];
state.slow_requests = [{time: state.time - 1, pid: 7, method: "GET", target: "/", status: 200, duration: 1.5}];
show(state);
return [...document.querySelectorAll("#slow > li")].map(row => row.textContent);
"""


def test_page_shows_slow_requests_with_their_stacks(
    _chromium: Browser, fresh_server: Factory
) -> None:
    server = fresh_server("echo:app", *OPTIONS)
    _chromium.reset("http://{}:{}".format(*Metrics(server).address))
    _chromium.open("/")
    _chromium.wait(lambda: _chromium.text("#state") == "ready", "the first state")
    ended, running = _chromium.script(SHOW_STACK)
    assert ended.startswith("1.5 sGET /200")
    assert running.startswith("2.0 sGET /report?<b>\u2013")
    assert running.endswith("stack, innermost first/srv/<i>a.py:41 in executeb.py:1 in f")
    assert _chromium.console_errors() == []


def test_page_says_that_the_server_has_ended(_chromium: Browser, fresh_server: Factory) -> None:
    server = fresh_server("echo:app", *OPTIONS)
    metrics = Metrics(server)
    _chromium.reset("http://{}:{}".format(*metrics.address))
    _chromium.open("/")
    _chromium.wait(lambda: _chromium.text("#state") == "ready", "the first state")
    assert server.stop() == 0
    _chromium.wait(lambda: _chromium.text("#state") == "no connection", "the end")


def test_page_shows_the_canary_and_why_it_has_failed(
    _chromium: Browser, fresh_server: Factory, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("from echo import app\n")
    options = ("--respawn-canary", "600", *OPTIONS)
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps")}
    server = fresh_server("shop:app", *options, cwd=tmp_path, env=env)
    server.wait_for_event("server.ready")
    _chromium.reset("http://{}:{}".format(*Metrics(server).address))
    _chromium.open("/")
    server.send_signal(signal.SIGHUP)
    canary = int(server.wait_for_event("canary.serving", r"worker (\d+)")[1])
    _chromium.wait(lambda: "5xx in 0 of 0" in _chromium.text("#reason"), "the trial")
    _chromium.wait(lambda: "canary" in _chromium.text("#workers"), "the canary among the workers")
    end(canary, signal.SIGKILL)
    why = f"reload: rolled back\nthe canary has failed, worker {canary}"
    _chromium.wait(lambda: why in _chromium.text("#events"), "the outcome and its reason")
    assert _chromium.console_errors() == []
