"""The results of a run: medians over rounds, the best peer for a workload, and JSON files.

Servers are compared in pairs: a ratio is computed within each round, whose measurements follow one
another, and the result is the median of these ratios. So it does not depend on the machine's speed,
which varies over a run.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from load import Metrics, Outcome
from servers import LIMIT, OURS
from workloads import Kind, Workload

#: The interpreter that only imports the application: the lower limit of memory and start time.
REFERENCE = "python"

#: The units of the metrics that rank servers.
UNITS = {
    "rps": "requests/s",
    "start_ms": "ms",
    "held_mib": "MiB",
    "p99_ms": "p99 ms",
    "per_cpu_second": "per CPU second",
    "mib_per_second": "MiB/s",
    "idle_kib": "KiB each",
}


@dataclass
class Cell:
    """The results of one server for one workload."""

    #: One entry per round.
    rounds: list[Metrics] = field(default_factory=list)
    #: Why the results do not count; empty if they do.
    wrong: str = ""
    #: A remark on results that count.
    note: str = ""

    def add(self, outcome: Outcome) -> None:
        """Add a round. One wrong round invalidates the cell."""
        if outcome.metrics:
            self.rounds.append(outcome.metrics)
        self.wrong = self.wrong or outcome.wrong
        self.note = self.note or outcome.note

    def get(self, metric: str) -> float | None:
        """The median over the rounds."""
        values = [metrics[metric] for metrics in self.rounds if metric in metrics]
        return statistics.median(values) if values else None


@dataclass
class Results:
    """The results of a run."""

    #: Date, machine, versions and options, for the report.
    about: dict[str, Any]
    #: By workload, then by server.
    rows: dict[str, dict[str, Cell]] = field(default_factory=dict)
    #: Why a server is missing.
    missing: dict[str, str] = field(default_factory=dict)

    def cell(self, workload: str, server: str) -> Cell | None:
        """The results of a server for a workload, if it was measured."""
        return self.rows.get(workload, {}).get(server)

    def value(self, workload: str, server: str, metric: str) -> float | None:
        """One figure of a server with correct responses."""
        cell = self.cell(workload, server)
        return cell.get(metric) if cell and not cell.wrong else None

    def best_peer(self, workload: str, metric: str, *, least: bool) -> tuple[str, float] | None:
        """The peer with correct responses that is best by this metric.

        For a latency, peers count that serve at least half as many requests as the busiest server:
        one that binds its threads to a few connections answers those fast, and others never.
        """
        servers = self.rows.get(workload, {})
        is_latency = metric.endswith("_ms") and metric != "start_ms"
        served = {server: self.value(workload, server, "rps") or 0.0 for server in servers}
        enough = 0.5 * max(served.values(), default=0.0) if is_latency else 0.0
        found = [
            (value, server)
            for server in servers
            if server not in (OURS, LIMIT, REFERENCE)
            and served[server] >= enough
            and (value := self.value(workload, server, metric)) is not None
        ]
        if not found:
            return None
        value, server = min(found) if least else max(found)
        return server, value

    def ratios(self, workload: str, server: str, peer: str, metric: str) -> list[float]:
        """One server's figure divided by the other's, for each round that has both."""
        cells = [self.cell(workload, name) for name in (server, peer)]
        if any(cell is None or cell.wrong for cell in cells):
            return []
        ours, theirs = (cell.rounds for cell in cells if cell)
        pairs = zip(ours, theirs, strict=False)
        return [a[metric] / b[metric] for a, b in pairs if metric in a and b.get(metric)]

    def against(self, workload: str, server: str, peer: str, metric: str) -> float | None:
        """The median of `ratios`."""
        ratios = self.ratios(workload, server, peer, metric)
        return statistics.median(ratios) if ratios else None

    def ratio(self, workload: str, server: str, metric: str, *, least: bool) -> float | None:
        """The ratio of a server to the best peer."""
        best = self.best_peer(workload, metric, least=least)
        return self.against(workload, server, best[0], metric) if best else None

    def spread(self, workload: str, metric: str, *, least: bool) -> tuple[float, float] | None:
        """The smallest and the largest ratio of rustwsgi to the best peer over the rounds."""
        best = self.best_peer(workload, metric, least=least)
        ratios = self.ratios(workload, OURS, best[0], metric) if best else []
        return (min(ratios), max(ratios)) if ratios else None

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file that `save` wrote."""
        data = json.loads(path.read_text())
        rows = {
            workload: {server: Cell(**cell) for server, cell in cells.items()}
            for workload, cells in data["rows"].items()
        }
        return cls(data["about"], rows, data["missing"])


def main_metric(workload: Workload) -> tuple[str, bool]:
    """The metric that ranks a workload's servers, and whether less of it is better."""
    if workload.kind is Kind.STARTUP:
        return "start_ms", True
    if workload.kind is Kind.MEMORY:
        return "held_mib", True
    if workload.kind is Kind.THINK:
        return "p99_ms", True
    if workload.kind is Kind.HANDSHAKE:
        return "per_cpu_second", False
    if workload.kind is Kind.IDLE and workload.tls:
        return "idle_kib", True
    if workload.is_download:
        return "mib_per_second", False
    return "rps", False


def ranked(results: Results, workload: Workload) -> Iterable[tuple[str, Cell]]:
    """The servers of a workload, best first, and those that do not count last."""
    metric, least = main_metric(workload)

    def key(item: tuple[str, Cell]) -> tuple[bool, float]:
        value = item[1].get(metric) or 0.0
        return bool(item[1].wrong), value if least else -value

    return sorted(results.rows.get(workload.name, {}).items(), key=key)
