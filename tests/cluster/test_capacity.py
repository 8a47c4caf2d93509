"""`python -m rustwsgi.capacity`: formulas, and a simulation that agrees with queueing theory."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

capacity = pytest.importorskip("rustwsgi.capacity")
Service, Size, Simulation = capacity.Service, capacity.Size, capacity.Simulation


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rustwsgi.capacity", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("size", "cpu", "wait", "limit"),
    [
        (Size(1, 2, 2, 8), 0.010, 0.0, 200),  # two interpreters
        (Size(1, 2, 1, 8), 0.010, 0.0, 100),  # one interpreter
        (Size(1, 1, 4, 8), 0.010, 0.0, 100),  # one processor
        (Size(1, 2, 2, 4), 0.001, 0.099, 80),  # eight threads
        (Size(3, 2, 2, 4), 0.001, 0.099, 240),  # three hosts
    ],
)
def test_limit(size, cpu: float, wait: float, limit: float) -> None:
    assert size.limit(Service(1, cpu, wait)) == pytest.approx(limit)


@pytest.mark.parametrize("rate", [1, 50, 400, 5000])
@pytest.mark.parametrize("wait", [0.0, 0.1])
def test_recommended_size_carries_the_rate(rate: float, wait: float) -> None:
    service = Service(rate, 0.002, wait)
    assert capacity.recommend(service, 4, 0.6).limit(service) >= rate / 0.6 * 0.999


def test_simulation_agrees_with_erlang() -> None:
    """Requests that only wait, on four threads, with a random length: M/M/4."""
    servers, rate, mean = 4, 30.0, 0.1
    offered = rate * mean
    terms = [offered**n / math.factorial(n) for n in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    expected = last / (sum(terms) + last)
    service, size = Service(rate, 1e-9, mean), Size(1, 1, 1, servers)
    outcome = Simulation(service, size).run(60_000)
    waited = sum(time > 1e-7 for time in outcome.queued) / len(outcome.queued)
    assert waited == pytest.approx(expected, rel=0.1)


def test_simulation_agrees_with_one_interpreter() -> None:
    """Constant computing time, one thread: the mean wait of M/D/1."""
    rate, cpu = 70.0, 0.010
    used = rate * cpu
    service = Service(rate, cpu, 0.0, variation=0)
    outcome = Simulation(service, Size(1, 1, 1, 1)).run(60_000)
    mean = sum(outcome.queued) / len(outcome.queued)
    assert mean == pytest.approx(used * cpu / (2 * (1 - used)), rel=0.1)


def test_report() -> None:
    done = run("--rate", "400", "--cpu-ms", "2", "--wait-ms", "20", "--requests", "2000")
    assert done.returncode == 0 and "workers of" in done.stdout and "p99" in done.stdout


def test_report_of_an_overload() -> None:
    done = run("--rate", "400", "--cpu-ms", "2", "--wait-ms", "20", "--threads", "2")
    assert done.returncode == 0 and "overloaded" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", "0", "--cpu-ms", "1"],
        ["--rate", "nan", "--cpu-ms", "1"],
        ["--rate", "1", "--cpu-ms", "1", "--utilisation", "1"],
        ["--rate", "1", "--cpu-ms", "1", "--wait-ms", "-1"],
        ["--rate", "1", "--cpu-ms", "1", "--threads", "0"],
        ["--rate", "1"],
    ],
)
def test_bad_arguments(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and "error:" in done.stderr
