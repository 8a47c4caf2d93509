"""Measures what a second core gains: the same server and load on one core and on two.

    python benches/scaling.py --python PATH [--seconds 3] [--rounds 5] [--workloads cpu,flask8]

PATH is an interpreter whose environment has rustwsgi and Flask. With a GIL only the server's own
work can run on the second core; a free-threaded interpreter runs the application on both.

On a machine with two cores the load generator takes its share of the second core, so the ratio of
the throughputs says little of the server. Hence the scaling is computed from CPU time, which the
load generator does not take part in:

    scaling = CPU time per request on one core / CPU time per request on two x busy cores

Locks and cache lines that threads fight over make a request on two cores dearer; threads that wait
for each other leave cores idle. Busy cores are the threads' time on a core and in the run queue,
as the kernel counts it, per second: at most as many as there are cores, and less if a thread sleeps
though requests wait. So that requests always wait, the load generator has a higher priority where
the system allows that (as root); otherwise the server waits for it, and its figure is too low.

The scaling is that of the least CPU times of all rounds, as other processes of the machine can only
add to them, and the median of the busy cores. The scalings of the single rounds show the spread.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import load
from process import LOAD_CORE, SERVER_CORE, Running, tree
from servers import Launch, Server
from workloads import BY_NAME, Workload

NAMES = "cpu,flask8,hello8"


@dataclass(frozen=True)
class Figures:
    """One load."""

    rate: float
    #: CPU time of the server per request, in us.
    cost: float
    #: Cores that the server's threads used or waited for.
    busy: float


def server_of(python: str) -> Server:
    """The rustwsgi that is installed for this interpreter."""

    def command(to: Launch) -> list[str]:
        options = ["--bind", f"127.0.0.1:{to.port}", "--threads", str(to.threads)]
        return [python, "-m", "rustwsgi", *options, f"{to.app}:app"]

    return Server("rustwsgi", command)


def describe(python: str) -> str:
    code = (
        "import sys, rustwsgi._rustwsgi; gil = getattr(sys, '_is_gil_enabled', lambda: True)();"
        "print(sys.version.split()[0], 'with a GIL' if gil else 'without a GIL')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def higher_priority() -> Iterator[None]:
    """Gives the processes that are started in this block a higher priority, if that is allowed."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before - 10)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def scheduled(root: int) -> tuple[float, float]:
    """The seconds that the threads of the processes have run, and have waited for a core."""
    ran = waited = 0
    for pid in tree(root):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                fields = (thread / "schedstat").read_text().split()
                ran += int(fields[0])
                waited += int(fields[1])
    return ran / 1e9, waited / 1e9


class BusyCores(threading.Thread):
    """Samples how many cores the server's threads use or wait for. More threads than cores may be
    ready to run, so each sample counts at most `cores`."""

    INTERVAL = 0.01

    def __init__(self, root: int, cores: int) -> None:
        super().__init__()
        self._tasks = [task for pid in tree(root) for task in Path(f"/proc/{pid}/task").iterdir()]
        self._cores = cores
        self._over = threading.Event()
        self._samples: list[int] = []

    def run(self) -> None:
        while not self._over.wait(self.INTERVAL):
            ready = 0
            for task in self._tasks:
                with contextlib.suppress(OSError):
                    ready += (task / "stat").read_text().rpartition(")")[2].split()[0] == "R"
            self._samples.append(min(ready, self._cores))

    def stop(self) -> float:
        self._over.set()
        self.join()
        return statistics.mean(self._samples)


def measure(
    server: Server, workload: Workload, cores: int, env: dict[str, str], seconds: int
) -> Figures:
    pinned = (SERVER_CORE, LOAD_CORE)[:cores]
    with Running(server, workload, env, pinned) as running:
        load.wrk(running.port, workload, 1)
        before, began = scheduled(running.pid), time.monotonic()
        busy_cores = BusyCores(running.pid, cores)
        busy_cores.start()
        with higher_priority():
            figures = load.wrk(running.port, workload, seconds)
        busy = busy_cores.stop()
        elapsed, after = time.monotonic() - began, scheduled(running.pid)
    # A busy machine may hold the load up for longer than the timeout of wrk.
    if any(figures[name] for name in ("connect", "read", "write", "status")):
        raise SystemExit(f"{workload.title}: {figures}")
    requests = figures["requests"]
    ran, waited = after[0] - before[0], after[1] - before[1]
    # What the threads waited for cores is known to the nanosecond; samples bound it by the cores.
    busy = min(busy, (ran + waited) / elapsed)
    return Figures(requests / (figures["duration_us"] / 1e6), ran / requests * 1e6, busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", required=True, help="an interpreter with rustwsgi and Flask")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each load")
    parser.add_argument("--workloads", default=NAMES, help="names, separated by commas")
    parser.add_argument(
        "--rounds", type=int, default=5, help="number of measurements, whose median is shown"
    )
    options = parser.parse_args()
    if SERVER_CORE == LOAD_CORE:
        parser.error("needs two cores")

    server = server_of(options.python)
    print(f"CPython {describe(options.python)}; load average {load.load_average():.1f}")
    env = {"BENCH_CPU_TURNS": str(load.calibrate_cpu(options.python))}
    print(f"{'':28}{'requests/s':>16}{'CPU us a request':>18}{'busy':>7}{'scaling':>9}  each round")
    for workload in map(BY_NAME.__getitem__, options.workloads.split(",")):
        rounds: list[tuple[Figures, Figures]] = []
        for _ in range(options.rounds):
            one, two = (measure(server, workload, n, env, options.seconds) for n in (1, 2))
            rounds.append((one, two))
        gains = [one.cost / two.cost * two.busy for one, two in rounds]
        least = min(one.cost for one, _ in rounds) / min(two.cost for _, two in rounds)
        one, two = (
            Figures(
                *(
                    statistics.median(getattr(pair[i], name) for pair in rounds)
                    for name in ("rate", "cost", "busy")
                )
            )
            for i in (0, 1)
        )
        print(
            f"{workload.title:28}{one.rate:8,.0f}{two.rate:8,.0f}{one.cost:9.1f}{two.cost:9.1f}"
            f"{two.busy:7.2f}{least * two.busy:9.2f}  "
            + " ".join(f"{gain:.2f}" for gain in sorted(gains)),
            flush=True,
        )


if __name__ == "__main__":
    main()
