"""Draws the results of a run as horizontal bars in SVG.

One panel per workload, in two columns. The colours are CSS and follow the reader's light or dark
mode, so one file serves both. Lengths are relative to the longest bar of the panel, as requests/s
of different workloads are not comparable. The README shows a chart with few panels.
"""

from __future__ import annotations

from collections.abc import Collection
from html import escape

from results import UNITS, Cell, Results, main_metric, ranked
from servers import LIMIT, OURS
from workloads import WORKLOADS, Workload

_WIDTH = 1000
_MARGIN = 24
_GAP = 32
_PANEL = (_WIDTH - 2 * _MARGIN - _GAP) / 2
#: Start and maximum length of the bars; the name stands before a bar, the figure after it.
_BAR_X = 78
_BAR_MAX = _PANEL - _BAR_X - 82
_TITLE = 38
_STEP = 20
_BAR = 13
_BETWEEN = 26
_HEAD = 78

_STYLE = """\
svg { --page: #ffffff; --ink: #1f2328; --soft: #656d76; --rule: #d8dee4;
      --ours: #c2410c; --peer: #94a3b8; --limit: #cbd5e1; --wrong: #9a6700; }
@media (prefers-color-scheme: dark) {
  svg { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1; --rule: #30363d;
        --ours: #fb923c; --peer: #57687f; --limit: #39465a; --wrong: #d29922; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--ink); }
.page { fill: var(--page); } .rule { stroke: var(--rule); }
.head { font-size: 20px; font-weight: 600; } .title { font-size: 13px; font-weight: 600; }
.soft { fill: var(--soft); } .name { text-anchor: end; } .unit { text-anchor: end; }
.peer { fill: var(--peer); } .ours { fill: var(--ours); }
.limit { fill: var(--limit); stroke: var(--peer); stroke-dasharray: 3 2; }
text.ours { font-weight: 700; } .wrong { fill: var(--wrong); font-style: italic; }
text { font-variant-numeric: tabular-nums; }"""


#: The workloads of the README's chart.
SUMMARY = ("flask8", "django8")


def draw(results: Results, names: Collection[str] = ()) -> str:
    """The chart of these workloads, or of all, as an SVG document."""
    workloads = [w for w in WORKLOADS if results.rows.get(w.name) and w.name in (names or [w.name])]
    bottoms = [float(_HEAD), float(_HEAD)]
    panels = []
    for workload in workloads:
        column = 0 if bottoms[0] <= bottoms[1] else 1
        x = _MARGIN + column * (_PANEL + _GAP)
        panel, height = _panel(results, workload)
        panels.append(f'<g transform="translate({x:.0f} {bottoms[column]:.0f})">{panel}</g>')
        bottoms[column] += height + _BETWEEN
    height = max(bottoms)
    about = results.about
    head = "rustwsgi and other WSGI servers"
    under = (
        f"{about['date']}, {about['machine']}, CPython {about['python']}, "
        f"rounds: {about['rounds']}, medians. One core for the server."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
            f'width="{_WIDTH}" height="{height:.0f}" role="img" aria-label="{head}">',
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{height:.0f}" rx="8"/>',
            _text(_MARGIN, 38, head, "head"),
            _text(_MARGIN, 58, under, "soft"),
            *panels,
            "</svg>\n",
        ]
    )


def _panel(results: Results, workload: Workload) -> tuple[str, float]:
    """Draw a panel; return it and its height."""
    metric, least = main_metric(workload)
    cells = list(ranked(results, workload))
    values = [cell.get(metric) or 0.0 for _, cell in cells if not cell.wrong]
    longest = max(values, default=0.0) or 1.0
    unit = UNITS[metric] + (", less is better" if least else "")
    parts = [
        f'<line class="rule" x1="0" y1="0" x2="{_PANEL:.0f}" y2="0"/>',
        _text(0, 22, workload.title, "title"),
        _text(_PANEL, 22, unit, "soft unit"),
    ]
    y = _TITLE
    for server, cell in cells:
        parts.append(_bar(server, cell, cell.get(metric), longest, y))
        y += _STEP
    return "".join(parts), y


def _bar(server: str, cell: Cell, value: float | None, longest: float, y: float) -> str:
    kind = {OURS: "ours", LIMIT: "limit"}.get(server, "peer")
    name = _text(_BAR_X - 8, y + 11, server, "name ours" if server == OURS else "name soft")
    if cell.wrong or value is None:
        reason = cell.wrong if len(cell.wrong) <= 46 else cell.wrong[:44] + "..."
        return name + _text(_BAR_X, y + 11, f"not counted: {reason}", "wrong")
    length = max(_BAR_MAX * value / longest, 1.5)
    figure = f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
    return (
        f'{name}<rect class="{kind}" x="{_BAR_X}" y="{y}" width="{length:.1f}" height="{_BAR}" '
        'rx="2"/>' + _text(_BAR_X + length + 6, y + 11, figure, "ours" if kind == "ours" else "")
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'
