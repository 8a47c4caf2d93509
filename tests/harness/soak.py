"""A server under all kinds of requests for long: every response is counted, and no resource may
grow.

`make soak` sends a million requests, or SOAK_REQUESTS of them, for SOAK_MINUTES at most, through
one server with two workers; tests/supervisor/test_soak.py sends some thousands. The requests come
in rounds. After each round no client is left, and the resources of the server's processes are
measured: memory as the kernel and as malloc see it, Python's objects, descriptors, threads. The
first round warms up; whatever later rounds add is growth.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness import TIMEOUT, WITHOUT_GIL, ServerProcess, available_doors, wait_until
from harness.mix import PATIENT, POLITE, RUDE, Crowd, Kind
from harness.supervision import connect_to

Kinds = dict[Kind, float]
OPTIONS = ["--workers", "2", "--threads", "4", "--access-logfile", "/dev/null"]
#: Long enough for clients of a busy machine, short enough for those that wait for the end.
OPTIONS += ["--keep-alive", "20", "--header-timeout", "10", "--body-timeout", "10"]
ROUNDS = 10
CLIENTS = 2, 12  # processes, and threads in each
MIB = 1 << 20
#: glibc keeps much of what was freed: small pieces for each thread, which count as in use, and up to twice
#: the largest block for each arena. Both take hours to reach their bounds, and would hide what grows.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.trim_threshold=1000000"}
#: Since the first round, per process. Without a GIL each thread has a heap of CPython's own, which takes more
#: rounds to reach its size.
RSS_GROWTH = (12 if WITHOUT_GIL else 8) * MIB
HEAP_GROWTH = MIB // 4
#: In Python's objects.
BLOCK_GROWTH = 1000


@dataclass
class Process:
    """The resources of one process of the server."""

    rss: int
    descriptors: int
    threads: int
    heap: int | None = None
    blocks: int = 0


@dataclass
class Round:
    """A number of requests, and the resources of the server after them."""

    answers: Counter[int]
    failures: list[str]
    seconds: float
    processes: dict[int, Process] = field(default_factory=dict)


def processes(server: ServerProcess) -> dict[int, Process]:
    """The server's processes as the kernel counts them (Linux)."""
    found = {}
    for pid in server.processes():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        found[pid] = Process(
            rss=int(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),
            threads=int(status["Threads"]),
        )
    return found


def connections(server: ServerProcess) -> int:
    """How many connections the server's processes hold: proc(5)."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port, listening, unowned = f":{server.port:04X}", "0A", "0"
    return sum(r[1].endswith(port) and r[3] != listening and r[9] != unowned for r in rows)


def measure(server: ServerProcess) -> dict[int, Process]:
    """The server at rest: no connection is left, and each worker has reported."""
    wait_until(lambda: connections(server) == 0, "all clients are gone", 6 * TIMEOUT)
    vitals: dict[int, dict[str, int]] = {}

    def ask() -> bool:
        report = json.loads(server.get("/vitals").body)
        vitals[report["pid"]] = report
        return vitals.keys() | {server.pid} == set(server.processes())

    wait_until(ask, "each worker has reported", 3 * TIMEOUT)
    wait_until(lambda: connections(server) == 0, "its connections are gone")
    found = processes(server)
    for pid, report in vitals.items():
        found[pid].heap, found[pid].blocks = report["heap"], report["blocks"]
    return found


def load(
    address: tuple[str, int],
    kinds: Kinds,
    share: int,
    seed: int,
    results: multiprocessing.Queue[tuple[Counter[int], list[str]]],
) -> None:
    """One process of clients."""
    crowd = Crowd(partial(connect_to, *address), kinds, clients=CLIENTS[1], share=share, seed=seed)
    with crowd:
        crowd.join()
    results.put((crowd.answers, crowd.failures))


def run_round(server: ServerProcess, kinds: Kinds, requests: int, seed: int) -> Round:
    """At least this many requests, from all client processes."""
    context = multiprocessing.get_context("spawn")  # this process has threads
    results = context.Queue()
    share = requests // (CLIENTS[0] * CLIENTS[1])
    begin = time.monotonic()
    started = []
    for number in range(CLIENTS[0]):
        address = server.host, server.port
        arguments = (address, kinds, share, seed * CLIENTS[0] + number, results)
        started.append(context.Process(target=load, args=arguments, daemon=True))
        started[-1].start()
    answers: Counter[int] = Counter()
    failures: list[str] = []
    for _ in started:
        counted, failed = results.get()
        answers += counted
        failures += failed
    for process in started:
        process.join()
    return Round(answers, failures, time.monotonic() - begin)


def soak(
    server: ServerProcess,
    kinds: Kinds,
    requests: int,
    seconds: float = 600,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = print,
) -> list[Round]:
    """All rounds; fewer if time runs out."""
    done: list[Round] = []
    end = time.monotonic() + seconds
    say(f"{'round':>5} {'requests':>9} {'seconds':>8}  then, for the master and each worker:")
    say(line(0, Round(Counter(), [], 0, measure(server))))
    while len(done) < rounds and (len(done) < 2 or time.monotonic() < end):
        latest = run_round(server, kinds, requests // rounds, len(done))
        latest.processes = measure(server)
        done.append(latest)
        say(line(len(done), latest))
    if any(complaints(done)):
        # A thread may still have run the request of a client that has left. Growth stays.
        done[-1].processes = measure(server)
        say(line(len(done), done[-1]))
    return done


def line(number: int, done: Round) -> str:
    cells = []
    for p in done.processes.values():
        inside = f", {(p.heap or 0) / MIB:.2f} MiB in use, {p.blocks} objects" if p.blocks else ""
        files = f"{p.descriptors} files, {p.threads} threads"
        cells.append(f"{p.rss / MIB:6.1f} MiB, {files}{inside}")
    head = f"{number:5} {done.answers.total():9,} {done.seconds:8.1f}"
    return "\n".join([head, *(f"{'':24} {cell}" for cell in cells)])


def complaints(rounds: list[Round]) -> Iterable[str]:
    """Every limit that the rounds exceed."""
    for number, done in enumerate(rounds, 1):
        for failure in done.failures[:20]:
            yield f"round {number}: {failure}"
    first, last = rounds[0].processes, rounds[-1].processes
    if first.keys() != last.keys():
        yield f"processes have come and gone: {sorted(first)}, {sorted(last)}"
        return
    for pid, before in first.items():
        after = last[pid]
        if after.descriptors > before.descriptors:
            yield f"{pid}: {before.descriptors} descriptors have become {after.descriptors}"
        if after.threads != before.threads:
            yield f"{pid}: {before.threads} threads have become {after.threads}"
        if after.rss - before.rss > RSS_GROWTH:
            yield f"{pid}: grew by {(after.rss - before.rss) / MIB:.1f} MiB"
        if after.heap and before.heap and after.heap - before.heap > HEAP_GROWTH:
            yield f"{pid}: malloc's bytes in use grew by {(after.heap - before.heap) / MIB:.2f} MiB"
        if after.blocks - before.blocks > BLOCK_GROWTH:
            yield f"{pid}: {after.blocks - before.blocks} objects of Python's more"


def slopes(rounds: list[Round]) -> Iterable[str]:
    """The straight line through the rounds, per million requests."""
    at, total = [], 0
    for done in rounds:
        total += done.answers.total()
        at.append(total / 1e6)
    mean = sum(at) / len(at)
    spread = sum((x - mean) ** 2 for x in at)
    for pid in rounds[-1].processes:
        rss = [done.processes[pid].rss / MIB for done in rounds if pid in done.processes]
        if len(rss) == len(at) and spread:
            slope = sum((x - mean) * y for x, y in zip(at, rss, strict=True)) / spread
            yield f"{pid}: {slope:+.2f} MiB of resident memory per million requests"


def main() -> int:
    requests = int(os.environ.get("SOAK_REQUESTS", "1000000"))
    minutes = float(os.environ.get("SOAK_MINUTES", "30"))

    def say(text: str) -> None:
        print(text, flush=True)

    with ServerProcess(available_doors()[0], "mixed:app", *OPTIONS, env=ENVIRONMENT) as server:
        rounds = soak(server, {**POLITE, **RUDE, **PATIENT}, requests, minutes * 60, say=say)
    answers = sum((done.answers for done in rounds), Counter())
    say(f"\n{answers.total():,} answers: {dict(sorted(answers.items()))}")
    for text in slopes(rounds):
        say(text)
    wrong = list(complaints(rounds))
    for text in wrong:
        say(f"WRONG: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
