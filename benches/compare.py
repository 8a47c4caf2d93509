"""Compares rustwsgi with other WSGI servers: `make bench`.

For each workload all servers run in turn, in several rounds, so that changes on the machine affect
all of them alike. The server and the load generator have a core each. The results are medians.

A partial run writes its figures to target/bench only; a full run writes docs/benchmarks.md as well.
"""

from __future__ import annotations

import argparse
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
    parser.add_argument("--rounds", type=int, default=3, help="measurements per server")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each load")
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
    # A start takes a fraction of a second, so measure more of them.
    rounds = options.rounds * (5 if workload.kind is Kind.STARTUP else 1)
    for turn in range(rounds):
        print(f"{workload.name}, round {turn + 1} of {rounds}:", end="", flush=True)
        if workload.kind in (Kind.MEMORY, Kind.STARTUP):
            metrics = load.reference(str(BIN / "python"), workload)
            row.setdefault(REFERENCE, Cell()).add(Outcome(metrics))
        for server in servers:
            cell = row.setdefault(server.name, Cell())
            # A wrong server is not measured again; nginx cannot run an application.
            if cell.wrong or (server.name == LIMIT and not workload.nginx):
                continue
            print(f" {server.name}", end="", flush=True)
            cell.add(_measure(server, workload, env, options))
        print(flush=True)
    for name in [name for name, cell in row.items() if not cell.rounds and not cell.wrong]:
        del row[name]


def _measure(
    server: Server, workload: Workload, env: dict[str, str], options: argparse.Namespace
) -> Outcome:
    try:
        with process.Running(server, workload, env) as running:
            return load.measure(running, workload, options.seconds, options.idle)
    except probe.ProbeError as error:
        return Outcome(wrong=str(error))


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
