"""Formats the results of a run as tables and writes docs/benchmarks.md.

`python benches/report.py` writes the page again from the last full run.
"""

from __future__ import annotations

from collections.abc import Sequence

import chart
from results import REFERENCE, UNITS, Results, main_metric, ranked
from servers import LIMIT, OURS, ROOT, SERVERS, TARGET
from targets import TARGETS
from workloads import WORKLOADS, Kind, Workload

PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "benchmarks.svg"
#: The chart of the README.
SUMMARY = "benchmarks-summary.svg"
BEGIN = "<!-- Written by make bench; changes below are lost. -->"
END = "<!-- End of what make bench writes. -->"

#: What the interpreter without a server does in a workload.
_REFERENCE_REMARKS = {
    Kind.LOAD: "calls the application in process",
    Kind.MEMORY: "only imports the application",
    Kind.STARTUP: "only imports the application",
}

#: metric, heading, decimals
Column = tuple[str, str, int]

_LOAD: tuple[Column, ...] = (
    ("rps", "requests/s", 0),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("user_us", "user us/req", 2),
    ("system_us", "system us/req", 2),
    ("faults", "page faults/req", 2),
    ("rss_mib", "RSS MiB", 1),
    ("pss_mib", "PSS MiB", 1),
)
_DOWNLOAD: tuple[Column, ...] = (
    ("mib_per_second", "MiB/s", 0),
    ("user_us", "user us/MiB", 0),
    ("system_us", "system us/MiB", 0),
    ("rss_mib", "RSS MiB", 1),
    ("pss_mib", "PSS MiB", 1),
)
_COLUMNS: dict[Kind, tuple[Column, ...]] = {
    Kind.LOAD: _LOAD,
    Kind.IDLE: (
        ("idle_connections", "idle connections", 0),
        ("idle_kib", "KiB each", 2),
        ("idle_cpu_percent", "CPU % while idle", 1),
        *_LOAD[:6],
    ),
    Kind.HANDSHAKE: (
        ("per_cpu_second", "per CPU second", 0),
        ("rps", "connections/s", 0),
        ("user_us", "user us each", 1),
        ("system_us", "system us each", 1),
        ("rss_mib", "RSS MiB", 1),
    ),
    Kind.THINK: (
        ("p50_ms", "p50 ms", 2),
        ("p99_ms", "p99 ms", 2),
        ("rps", "requests/s", 0),
        ("cpu_us", "CPU us/req", 1),
    ),
    Kind.MEMORY: (
        ("held_start_mib", "MiB at start", 1),
        ("held_mib", "MiB after load", 1),
        ("rss_mib", "sum of RSS, MiB", 1),
    ),
    Kind.STARTUP: (("start_ms", "ms", 1),),
}


def workload_table(results: Results, workload: Workload) -> str:
    """All servers for one workload, the best first."""
    metric, least = main_metric(workload)
    columns = _DOWNLOAD if workload.is_download else _COLUMNS[workload.kind]
    best = results.best_peer(workload.name, metric, least=least)
    heads = ["server", *(head for _, head, _ in columns), "x best peer"]
    spread = results.spread(workload.name, metric, least=least)
    with_cpu = workload.kind is Kind.LOAD
    heads += ["user x least", "remarks"] if with_cpu else ["remarks"]
    lines = []
    for server, cell in ranked(results, workload):
        ratio = results.ratio(workload.name, server, metric, least=least)
        remarks = [f"NOT COUNTED: {cell.wrong}"] if cell.wrong else []
        remarks += [cell.note] if cell.note else []
        if server == LIMIT:
            remarks.append("no Python" if workload.static else "a constant, no Python")
        elif server == REFERENCE:
            remarks.append(_REFERENCE_REMARKS[workload.kind])
        elif best and server == best[0]:
            remarks.append("best peer")
        elif spread and server == OURS:
            remarks.append(f"{spread[0]:.2f} to {spread[1]:.2f} x the best peer")
        lines.append(
            [
                server,
                *(_number(cell.get(name), decimals) for name, _, decimals in columns),
                _number(ratio, 2),
                *([_user_ratio(results, workload, server)] if with_cpu else []),
                ", ".join(remarks),
            ]
        )
    return f"### {workload.title} (`{workload.name}`)\n\n" + _table(heads, lines)


def _user_ratio(results: Results, workload: Workload, server: str) -> str:
    """User CPU per request relative to the peer that uses the least."""
    return _number(results.ratio(workload.name, server, "user_us", least=True), 2)


def summary_table(results: Results) -> str:
    """One row per workload, one column per server: its main figure."""
    servers = [s.name for s in SERVERS if any(s.name in row for row in results.rows.values())]
    lines = []
    for workload in WORKLOADS:
        if workload.name not in results.rows:
            continue
        metric, least = main_metric(workload)
        line = [workload.title + ("" if metric == "rps" else f", {UNITS[metric]}")]
        for server in servers:
            cell = results.cell(workload.name, server)
            shown = _number(cell.get(metric), 0) if cell else ""
            line.append((f"({shown})" if shown else "no") if cell and cell.wrong else shown)
        line.append(_number(results.ratio(workload.name, OURS, metric, least=least), 2))
        lines.append(line)
    return _table(["requests/s unless noted", *servers, f"{OURS} x best peer"], lines, words=1)


def target_table(results: Results) -> str:
    """The targets, and whether this run meets them."""
    lines = []
    for target in TARGETS:
        figure = target.figure(results)
        verdict = "not measured" if figure is None else "met" if target.met(figure) else "MISSED"
        bound = f"{'<=' if target.at_most else '>='} {target.bound:g}"
        lines.append([target.text, bound, _number(figure, 2), verdict])
    return _table(["target", "limit", "measured", ""], lines)


def page_section(results: Results) -> str:
    """The generated part of the page."""
    about = results.about
    versions = about["versions"]
    named = [f"{s.name} {versions[s.name]}" for s in SERVERS if s.name in versions]
    named += [f"{name} {versions[name]}" for name in ("flask", "django", "wrk")]
    parts = [
        f"Measured on {about['date']}: {about['machine']}; CPython {about['python']}; "
        f"{', '.join(named)}. Load average before the run: {about['load_average']}.",
        f"Medians of {about['rounds']} rounds of {about['seconds']} s; ratios are medians of the "
        f"ratios within each round; {about['idle']:,} idle "
        "connections in the workload `idle`. Figures in brackets do not count: the server's "
        "responses were wrong or not as the workload requires; the tables below give the reason.",
        "![Bar chart of these results](benchmarks.svg)",
        "## Overview",
        summary_table(results),
        "## Targets",
        target_table(results),
        "## Results by workload",
        *(workload_table(results, w) for w in WORKLOADS if w.name in results.rows),
        "## Commands",
        "```\n" + "\n".join(about["commands"].values()) + "\n```",
        "`wrk -t1 -c64 -d{seconds}s --timeout 1s -s benches/wrk.lua URL`, with `-H` or `-- post` "
        "if the workload requires it; 8 x `openssl s_time -new -www /` for full TLS "
        "handshakes.".format(**about),
    ]
    if results.missing:
        parts.append("## Servers that were not measured")
        parts += [f"- {name}: {reason}" for name, reason in results.missing.items()]
    return "\n\n".join(parts)


def write_docs(results: Results) -> None:
    """Write the generated part of the page and the charts; keep the rest of the page."""
    PAGE.parent.mkdir(exist_ok=True)
    text = PAGE.read_text() if PAGE.exists() else f"{_INTRODUCTION}\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} lacks its markers: restore {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{page_section(results)}\n\n{END}{after}")
    CHART.write_text(chart.draw(results))
    CHART.with_name(SUMMARY).write_text(chart.draw(results, chart.SUMMARY))


_INTRODUCTION = """\
# Benchmarks

`make bench` compares rustwsgi with other WSGI servers and writes this page.
[benches/README.md](../benches/README.md) describes the workloads and the checks of responses.

Absolute figures depend on the machine and vary from run to run. CPU time per request varies least,
then ratios within one run.
"""


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], *, words: int = 2) -> str:
    """A Markdown table that is also readable as text. The first column is text, and with `words=2`
    the last; the other columns are figures, aligned to the right.
    """
    widths = [max(len(row[i]) for row in (heads, *lines)) for i in range(len(heads))]
    left = [i == 0 or (words == 2 and i == len(heads) - 1) for i in range(len(heads))]

    def show(row: Sequence[str]) -> str:
        cells = (
            text.ljust(width) if word else text.rjust(width)
            for text, width, word in zip(row, widths, left, strict=True)
        )
        return f"| {' | '.join(cells)} |"

    rule = (
        "-" * width if word else "-" * (width - 1) + ":"
        for width, word in zip(widths, left, strict=True)
    )
    return "\n".join([show(heads), f"| {' | '.join(rule)} |", *map(show, lines)])


if __name__ == "__main__":
    write_docs(Results.load(TARGET / "results.json"))
