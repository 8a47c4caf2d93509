"""`--workers auto`: one worker for each CPU that may be used."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import ServerProcess, run_cli, wait_until
from harness.metrics import OPTIONS, Metrics
from harness.supervision import workers

pytestmark = pytest.mark.second_door("no case")

Factory = Callable[..., ServerProcess]


@contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Processes that are started meanwhile may use these CPUs only, as with taskset."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_each_cpu_that_may_be_used_has_a_worker(fresh_server: Factory) -> None:
    allowed = len(os.sched_getaffinity(0))
    server = fresh_server("echo:app", "--workers", "auto", *OPTIONS)
    status = Metrics(server).status()
    cpus = status["cpus"]
    quota = math.ceil(cpus["quota"]) if cpus["quota"] else allowed
    assert (cpus["allowed"], cpus["usable"]) == (allowed, max(1, min(allowed, quota)))
    assert (status["workers_wanted"], status["workers_auto"]) == (cpus["usable"], True)
    workers(server, cpus["usable"])
    server.wait_for_event("server.starting", rf"workers: {cpus['usable']}, auto: {allowed} CPU")
    samples = Metrics(server).samples()
    assert samples["workers_wanted"] == samples["cpus"] == cpus["usable"]
    server.send_signal(signal.SIGTTIN)
    server.wait_for_event("pool.resized")
    assert Metrics(server).status()["workers_auto"] is False


def test_affinity_limits_the_number_and_a_reload_reads_it_again(fresh_server: Factory) -> None:
    every = os.sched_getaffinity(0)
    with on_cpus({min(every)}):
        server = fresh_server("echo:app", "--workers", "auto", *OPTIONS)
    metrics = Metrics(server)
    workers(server, 1)
    server.wait_for_event("server.starting", r"workers: 1, auto: 1 CPU allowed")
    os.sched_setaffinity(server.pid, every)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    status = metrics.status()
    assert status["cpus"]["allowed"] == len(every)
    assert status["workers_wanted"] == status["cpus"]["usable"]
    wait_until(
        lambda: len(metrics.status()["workers"]) == status["workers_wanted"], "workers have joined"
    )


def test_hooks_see_the_number_of_workers(fresh_server: Factory, tmp_path: Path) -> None:
    """The hooks' settings took `auto` for a number, which ended the start."""
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text(
        "workers = 'auto'\n"
        "def when_ready(server):\n"
        "    server.log.info('%r %r workers', server.num_workers, server.cfg.workers)\n"
    )
    with on_cpus({min(os.sched_getaffinity(0))}):
        server = fresh_server("echo:app", "-c", str(configuration), *OPTIONS)
    server.wait_for_log("1 1 workers")
    assert Metrics(server).status()["workers_auto"] is True


def test_auto_is_printed_and_other_words_are_refused(door: str) -> None:
    done = run_cli(door, "--print-config", "-w", "auto", "echo:app")
    assert 'workers = "auto"' in done.stdout, done
    done = run_cli(door, "-w", "car", "echo:app")
    assert done.returncode == 2
    assert "not a whole number from 1 to 1024, and not 'auto'" in done.stderr, done
