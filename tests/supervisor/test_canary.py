"""`--respawn-canary`: one new worker serves beside the old ones before a reload goes on."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import ServerProcess, wait_until
from harness.metrics import OPTIONS, Metrics
from harness.supervision import Load, children, end, workers

pytestmark = pytest.mark.second_door("no case")

SOURCE = """
def app(environ, start_response):
    start_response({status!r}, [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [{body!r}]
"""
Factory = Callable[..., ServerProcess]


class Site:
    """A server whose application is edited, and its metrics."""

    def __init__(self, start: Factory, directory: Path, seconds: str, *options: str) -> None:
        self.module = directory / "edited.py"
        self.write(b"one")
        options = ("--respawn-canary", seconds, *options, *OPTIONS)
        # A compiled module would be taken for that of a source of the same size and second.
        env = {"PYTHONDONTWRITEBYTECODE": "1"}
        self.server = start("edited:app", *options, cwd=directory, env=env)
        self.metrics = Metrics(self.server)
        self.server.wait_for_event("server.ready")
        self.old = children(self.server.pid)

    def write(self, body: bytes, status: str = "200 OK") -> None:
        self.module.write_text(SOURCE.format(status=status, body=body))

    def reload(self) -> None:
        self.server.send_signal(signal.SIGHUP)

    def wait_for_canary(self) -> int:
        start = len(self.server.stderr())
        self.reload()
        return int(self.server.wait_for_event("canary.serving", r"worker (\d+)", start=start)[1])

    def outcomes(self) -> list[str]:
        return [reload["outcome"] for reload in self.metrics.status()["last_reloads"]]

    def last_reload(self) -> dict[str, Any]:
        return self.metrics.status()["last_reloads"][-1]


def test_good_code_replaces_all_workers_and_loses_no_request(
    fresh_server: Factory, tmp_path: Path
) -> None:
    site = Site(fresh_server, tmp_path, "0.5", "--workers", "2")
    site.write(b"two")
    with Load(site.server.connect) as load:
        pid = site.wait_for_canary()
        site.server.wait_for_event("reload.completed")
        wait_until(lambda: b"two" in load.bodies, "the new workers serve")
        load.more()
    assert load.failures == []
    assert load.bodies == {b"one", b"two"}
    wait_until(lambda: not children(site.server.pid) & site.old, "the old workers have ended")
    assert pid in workers(site.server, 2), "the canary stays"
    assert "[canary.passed]" in site.server.stderr()
    samples = site.metrics.samples()
    assert (samples['reloads_total{result="completed"}'], samples["canary"]) == (1, 0)
    assert site.outcomes() == ["completed"]


def test_canary_serves_beside_the_old_workers(fresh_server: Factory, tmp_path: Path) -> None:
    site = Site(fresh_server, tmp_path, "600", "--workers", "2")
    site.write(b"two")
    with Load(site.server.connect) as load:
        pid = site.wait_for_canary()
        (canary,) = [worker for worker in site.metrics.status()["workers"] if worker["canary"]]
        assert canary["pid"] == pid and pid not in site.old
        assert site.metrics.samples()["canary"] == 1
        assert site.metrics.get("/ready").status == 200
        assert children(site.server.pid) == site.old | {pid}, "the old ones serve"
        wait_until(lambda: load.bodies == {b"one", b"two"}, "both serve")
    assert load.failures == []


def test_canary_without_requests_passes(fresh_server: Factory, tmp_path: Path) -> None:
    site = Site(fresh_server, tmp_path, "0.2")
    site.write(b"two", "500 Internal Server Error")
    site.reload()
    site.server.wait_for_event("canary.passed", "0.0 % of 0 responses")
    site.server.wait_for_event("reload.completed")


@pytest.mark.parametrize("replace", ["all", "rolling"])
def test_code_that_cannot_boot_is_rolled_back(
    fresh_server: Factory, tmp_path: Path, replace: str
) -> None:
    site = Site(fresh_server, tmp_path, "600", "--workers", "2", "--reload-strategy", replace)
    site.module.write_text("import nothing_of_that_name\n")
    with Load(site.server.connect) as load:
        site.reload()
        site.server.wait_for_event("reload.failed")
        load.more()
    assert load.failures == [] and load.bodies == {b"one"}
    assert workers(site.server, 2) == site.old
    assert site.server.stderr().count("[worker.boot_failed]") == 1, "one worker has tried"
    assert site.metrics.samples()['reloads_total{result="rolled_back"}'] == 1
    assert "before it was ready" in site.last_reload()["reason"]


def test_code_that_answers_500_is_rolled_back_before_the_time_is_over(
    fresh_server: Factory, tmp_path: Path
) -> None:
    site = Site(fresh_server, tmp_path, "600")
    site.write(b"bad", "500 Internal Server Error")
    with Load(site.server.connect, kept=0, fresh=6) as load:
        canary = site.wait_for_canary()
        site.server.wait_for_event("reload.failed")
        # It is retired, and answers what it has accepted.
        wait_until(lambda: canary not in children(site.server.pid), "the canary has ended")
        load.settle()
        failed = len(load.failures)
        load.more()
    assert len(load.failures) == failed, "all are answered by the old worker"
    assert all("<Response HTTP/1.1 500 " in failure for failure in load.failures), load.failures
    assert workers(site.server, 1) == site.old
    site.server.wait_for_event("canary.failed", r"5xx in [\d.]+ % of \d+ responses")
    assert site.metrics.samples()['reloads_total{result="rolled_back"}'] == 1
    assert "the canary has failed" in site.last_reload()["reason"]
    # The operator mends the code.
    site.write(b"two")
    site.wait_for_canary()


def test_failures_that_old_workers_have_too_do_not_fail_the_canary(
    fresh_server: Factory, tmp_path: Path
) -> None:
    site = Site(fresh_server, tmp_path, "1")
    site.write(b"bad", "503 Service Unavailable")
    # The first reload meets no request, so that its failures are those of the old worker.
    site.reload()
    site.server.wait_for_event("reload.completed")
    workers(site.server, 1, without=site.old)
    start = len(site.server.stderr())
    # Kept connections stay with the old worker, so that it answers requests during the trial.
    with Load(site.server.connect, kept=4, fresh=4):
        site.reload()
        site.server.wait_for_event("canary.passed", start=start)
        site.server.wait_for_event("reload.completed", start=start)
    assert site.outcomes() == ["completed", "completed"]


def test_canary_that_dies_is_rolled_back(fresh_server: Factory, tmp_path: Path) -> None:
    site = Site(fresh_server, tmp_path, "600")
    canary = site.wait_for_canary()
    end(canary, signal.SIGKILL)
    site.server.wait_for_event("reload.failed")
    assert workers(site.server, 1) == site.old
    assert f"worker {canary}" in site.last_reload()["reason"]
    assert site.server.get("/").body == b"one"


def test_new_workers_take_the_place_of_old_ones_that_die(
    fresh_server: Factory, tmp_path: Path
) -> None:
    site = Site(fresh_server, tmp_path, "600", "--workers", "2")
    canary = site.wait_for_canary()
    first, second = sorted(site.old)
    end(first, signal.SIGKILL)
    wait_until(lambda: children(site.server.pid) == {second, canary}, "the canary is enough")
    end(second, signal.SIGKILL)
    new = workers(site.server, 2, without=site.old)
    assert canary in new
    assert site.metrics.status()["stage"] == "reloading"


def test_only_the_canary_serves_new_code_when_the_number_of_workers_grows(
    fresh_server: Factory, tmp_path: Path
) -> None:
    site = Site(fresh_server, tmp_path, "600", "--workers", "3")
    for count in (2, 1):
        site.server.send_signal(signal.SIGTTOU)
        site.server.wait_for_event("pool.resized", f"to {count}")
    old = workers(site.server, 1)
    # The reload wants three workers again.
    canary = site.wait_for_canary()
    start = len(site.server.stderr())
    site.server.send_signal(signal.SIGTTIN)
    site.server.wait_for_event("pool.resized", start=start)
    shown = {worker["pid"]: worker["canary"] for worker in site.metrics.status()["workers"]}
    assert shown == {old.pop(): False, canary: True}


def test_reload_during_the_trial_replaces_the_canary(fresh_server: Factory, tmp_path: Path) -> None:
    site = Site(fresh_server, tmp_path, "600")
    with Load(site.server.connect) as load:
        first = site.wait_for_canary()
        second = site.wait_for_canary()
        wait_until(lambda: children(site.server.pid) == site.old | {second}, "one canary is left")
        load.more()
    assert load.failures == [] and first != second
    assert site.outcomes() == ["superseded"]
    assert site.metrics.samples()['reloads_total{result="superseded"}'] == 1


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_server_stops_during_the_trial(
    fresh_server: Factory, tmp_path: Path, sig: signal.Signals
) -> None:
    site = Site(fresh_server, tmp_path, "600")
    site.wait_for_canary()
    site.server.send_signal(sig)
    assert site.server.wait() == 0
    assert not children(site.server.pid)


def test_recycling_during_the_trial_loses_no_request(fresh_server: Factory, tmp_path: Path) -> None:
    site = Site(fresh_server, tmp_path, "2", "--max-requests", "30")
    site.write(b"two")
    with Load(site.server.connect, kept=0, fresh=4) as load:
        canary = site.wait_for_canary()
        recycled = rf"Worker {canary} "
        wait_until(
            lambda: re.search(rf"\[worker.recycling\].*{recycled}", site.server.stderr()),
            "the canary is recycled",
        )
        site.server.wait_for_event("canary.passed")
        site.server.wait_for_event("reload.completed")
        load.more()
    assert load.failures == []


def test_server_without_metrics_judges_too(fresh_server: Factory, tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text(SOURCE.format(status="200 OK", body=b"one"))
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    server = fresh_server("edited:app", "--respawn-canary", "600", cwd=tmp_path, env=env)
    server.wait_for_event("server.ready")
    module.write_text(SOURCE.format(status="500 No", body=b"bad"))
    with Load(server.connect, kept=0, fresh=6):
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("canary.failed")
        server.wait_for_event("reload.failed")
    # The canary may still accept before it reads that it retires.
    workers(server, 1)
    assert server.get("/").body == b"one"


HALF_BOOTED = """
import os, time
try:
    os.close(os.open("first", os.O_CREAT | os.O_EXCL))
except FileExistsError:
    while os.path.exists("first"):
        time.sleep(0.01)
"""


def start_half(fresh_server: Factory, directory: Path, *options: str) -> tuple[ServerProcess, Path]:
    """A server of two workers, of which one serves and the other boots."""
    module = directory / "edited.py"
    module.write_text(HALF_BOOTED + SOURCE.format(status="200 OK", body=b"one"))
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    options = ("--workers", "2", *options, *OPTIONS)
    server = fresh_server("edited:app", *options, cwd=directory, env=env)
    states = sorted(worker["state"] for worker in Metrics(server).status()["workers"])
    assert states == ["booting", "ready"]
    return server, module


def test_reload_before_all_workers_are_ready_has_a_canary(
    fresh_server: Factory, tmp_path: Path
) -> None:
    server, module = start_half(fresh_server, tmp_path, "--respawn-canary", "600")
    module.write_text(SOURCE.format(status="500 Internal Server Error", body=b"two"))
    with Load(server.connect) as load:
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("canary.failed", r"5xx in [\d.]+ % of \d+ responses")
        server.wait_for_event("reload.failed")
    assert load.bodies == {b"one", b"two"}


def test_failed_reload_before_all_workers_are_ready_leaves_those_that_serve(
    fresh_server: Factory, tmp_path: Path
) -> None:
    """The worker that boots in place of the missing one has the broken code, too: it ended the
    server."""
    server, module = start_half(fresh_server, tmp_path)
    whole = module.read_text()
    module.write_text("import nothing_of_that_name\n")
    with Load(server.connect) as load:
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.failed", "the old workers keep serving")
        server.wait_for_event("worker.boot_failed", "trying again after a pause")
        load.more()
        module.write_text(whole)
        (tmp_path / "first").unlink()
        server.wait_for_event("server.ready", "2 workers serve")
    assert load.failures == [] and load.bodies == {b"one"}
