"""Compares rustwsgi with other WSGI servers: `make bench`.

For each workload all servers run at the same time, and are loaded in turn, in several rounds: so
changes on the machine affect all of them alike, and the ratios within a round can be compared. The
servers and the load generator have a core each. Start, memory and idle connections are measured on
one server at a time.

A partial run writes its figures to target/bench only; a full run writes docs/benchmarks.md as well.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fnmatch
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import install
import load
import probe
import process
import report
from load import Outcome
from results import REFERENCE, Cell, Results
from servers import BIN, LIMIT, ROOT, SERVERS, TARGET, Launch, Server
from workloads import WORKLOADS, Kind, Workload


def main() -> None:
    options = _options()
    TARGET.mkdir(parents=True, exist_ok=True)
    servers = _chosen(options.servers, SERVERS)
    workloads = _chosen(options.workload, WORKLOADS)
    load.raise_file_limit()
    try:
        missing = install.prepare(servers)
    except install.SetupError as error:
        sys.exit(str(error))
    for name, reason in missing.items():
        print(f"skipping {name}: {reason}")
    servers = [server for server in servers if server.name not in missing]
    results = Results(_about(options, servers), missing=missing)
    whole = options.workload is None and options.servers is None
    file = TARGET / ("results.json" if whole else "partial.json")
    for workload in workloads:
        row = results.rows.setdefault(workload.name, {})
        _run(workload, servers, row, options, results.about["cpu_turns"])
        results.save(file)
        print("\n" + report.workload_table(results, workload), flush=True)
    if whole:
        report.write_docs(results)
        print(f"wrote {report.PAGE.relative_to(ROOT)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = "comma-separated names or patterns"
    parser.add_argument("--workload", help=f"{names}: {', '.join(w.name for w in WORKLOADS)}")
    parser.add_argument("--servers", help=f"{names}: {', '.join(s.name for s in SERVERS)}")
    parser.add_argument("--rounds", type=int, default=5, help="measurements per server")
    parser.add_argument("--seconds", type=int, default=2, help="duration of each load")
    parser.add_argument("--idle", type=int, default=10_000, help="connections of the workload idle")
    return parser.parse_args()


def _chosen(patterns: str | None, known: Sequence[Any]) -> list[Any]:
    if patterns is None:
        return list(known)
    wanted = patterns.split(",")
    if unknown := [p for p in wanted if not any(fnmatch.fnmatch(k.name, p) for k in known)]:
        sys.exit(f"unknown: {', '.join(unknown)}; choose from {', '.join(k.name for k in known)}")
    return [k for k in known if any(fnmatch.fnmatch(k.name, p) for p in wanted)]


def _run(
    workload: Workload,
    servers: Sequence[Server],
    row: dict[str, Cell],
    options: argparse.Namespace,
    cpu_turns: int,
) -> None:
    env = {"BENCH_CPU_TURNS": str(cpu_turns)}
    # nginx cannot run an application.
    servers = [server for server in servers if server.name != LIMIT or workload.nginx]
    servers = [server for server in servers if server.forks or workload.workers == 1]
    servers = [server for server in servers if server.static or not workload.static]
    servers = [server for server in servers if server.tls or not workload.tls]
    servers = [server for server in servers if server.http2 or not workload.http2]
    for server in servers:
        row.setdefault(server.name, Cell())
    if workload.kind in (Kind.LOAD, Kind.HANDSHAKE, Kind.THINK):
        _run_paired(workload, servers, row, options, env)
    else:
        _run_alone(workload, servers, row, options, env)
    for name in [name for name, cell in row.items() if not cell.rounds and not cell.wrong]:
        del row[name]


def _run_paired(
    workload: Workload,
    servers: Sequence[Server],
    row: dict[str, Cell],
    options: argparse.Namespace,
    env: dict[str, str],
) -> None:
    """Start all servers, then load one after the other in each round."""
    with contextlib.ExitStack() as stack:
        running = {}
        print(f"{workload.name}: starting", end="", flush=True)
        for server in servers:
            print(f" {server.name}", end="", flush=True)
            cell = row[server.name]
            try:
                started = stack.enter_context(process.Running(server, workload, env))
            except probe.ProbeError as error:
                cell.wrong = str(error)
                continue
            cell.add(load.warm_up(started, workload))
            running[server.name] = started
        print(flush=True)
        for turn in range(options.rounds):
            print(f"{workload.name}, round {turn + 1} of {options.rounds}:", end="", flush=True)
            if workload.has_bound:
                metrics = load.bound(str(BIN / "python"), workload, options.seconds)
                row.setdefault(REFERENCE, Cell()).add(Outcome(metrics))
            # A server with wrong responses is measured once, to show its figures.
            names = [name for name in running if turn == 0 or not row[name].wrong]
            # Each round begins with another server: the first one runs on a cool processor.
            first = turn % len(names) if names else 0
            for name in names[first:] + names[:first]:
                print(f" {name}", end="", flush=True)
                row[name].add(load.measure_round(running[name], workload, options.seconds, turn))
            print(flush=True)


def _run_alone(
    workload: Workload,
    servers: Sequence[Server],
    row: dict[str, Cell],
    options: argparse.Namespace,
    env: dict[str, str],
) -> None:
    """Start, measure and stop one server after the other in each round."""
    # A start takes a fraction of a second, so measure more of them.
    rounds = options.rounds * (5 if workload.kind is Kind.STARTUP else 1)
    for turn in range(rounds):
        print(f"{workload.name}, round {turn + 1} of {rounds}:", end="", flush=True)
        if workload.kind in (Kind.MEMORY, Kind.STARTUP):
            metrics = load.reference(str(BIN / "python"), workload)
            row.setdefault(REFERENCE, Cell()).add(Outcome(metrics))
        for server in servers:
            cell = row[server.name]
            if cell.wrong:
                continue
            print(f" {server.name}", end="", flush=True)
            try:
                with process.Running(server, workload, env) as running:
                    cell.add(load.measure(running, workload, options.seconds, options.idle))
            except probe.ProbeError as error:
                cell.wrong = str(error)
        print(flush=True)


def _about(options: argparse.Namespace, servers: Sequence[Server]) -> dict[str, Any]:
    average = load.load_average()
    if average > 0.5:
        print(f"the machine is busy (load average {average:.1f}): figures will vary", flush=True)
    if process.SERVER_CORE == process.LOAD_CORE:
        print("the server and the load generator share the only core", flush=True)
    sample = Launch(8000, 8, "hello")
    return {
        "date": datetime.date.today().isoformat(),
        "machine": _machine(),
        "python": platform.python_version(),
        "versions": install.versions(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "idle": options.idle,
        "load_average": round(average, 2),
        "cpu_turns": load.calibrate_cpu(str(BIN / "python")),
        "commands": {server.name: _shown(server.command(sample)) for server in servers},
    }


def _machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{model}, {os.cpu_count()} cores, {system}"


def _shown(command: Sequence[str]) -> str:
    return " ".join(part.replace(f"{ROOT}/", "") for part in command)


if __name__ == "__main__":
    main()
