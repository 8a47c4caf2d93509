"""The alert rules, the dashboard and the table of metrics name what the server exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from harness import ROOT, ServerProcess, wait_until
from harness.metrics import OPTIONS, Metrics

ALERTS = ROOT / "packaging/prometheus/rustwsgi-alerts.yml"
DASHBOARD = ROOT / "packaging/grafana/rustwsgi.json"
PAGE = ROOT / "docs/observability.md"
METRIC = re.compile(r"\brustwsgi_\w+")
#: `name{label="value"}` and `name{label=~"one|two"}`
SELECTOR = re.compile(r"(rustwsgi_\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')

Exported = dict[str, dict[str, set[str]]]


@pytest.fixture(scope="module")
def _text(door: str) -> Iterator[str]:
    with ServerProcess(door, "echo:app", *OPTIONS) as server:
        server.get("/")
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            client.response()
        # A response is counted after it was sent.
        metrics = Metrics(server)
        wait_until(lambda: metrics.answered() >= 2, "both responses are counted")
        yield metrics.get("/metrics").body.decode()


@pytest.fixture
def exported(_text: str) -> Exported:
    """Every series by its name, with the values of its labels."""
    found: Exported = {}
    for line in _text.splitlines():
        if line.startswith("#"):
            continue
        name, _, labels = line.partition(" ")[0].partition("{")
        values = found.setdefault(name, {})
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            values.setdefault(label, set()).add(value)
    return found


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions_of_dashboard() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    annotations = [note["expr"] for note in dashboard["annotations"]["list"]]
    variables = [str(variable["query"]) for variable in dashboard["templating"]["list"]]
    return panels + annotations + variables


def check(expression: str, exported: Exported) -> None:
    for metric in METRIC.findall(expression):
        assert metric in exported, f"no server exports {metric}: {expression}"
    for metric, matchers in SELECTOR.findall(expression):
        for label, values in MATCHER.findall(matchers):
            if label in {"instance", "job"}:
                continue
            assert label in exported[metric], f"{metric} has no label {label}"
            # Responses of this class may not have happened.
            if label != "status":
                assert set(values.split("|")) <= exported[metric][label], expression
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing), expression


def test_every_alert_is_complete_and_its_metrics_exist(exported: Exported) -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) > 5
    for rule in alerts():
        assert {"alert", "expr", "labels", "annotations"} <= set(rule), rule
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        check(rule["expr"], exported)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_accepts_the_alerts() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_dashboard_exists(exported: Exported) -> None:
    expressions = expressions_of_dashboard()
    assert len(expressions) > 15
    for expression in expressions:
        check(expression, exported)
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels), "no panel covers another one"


def test_table_has_every_metric_with_its_type_and_labels(_text: str, exported: Exported) -> None:
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", _text, re.MULTILINE))
    rows = re.findall(r"^\| `(rustwsgi_\w+)(?:\{([\w,]+)\})?` \| (\w+) \|", PAGE.read_text(), re.M)
    assert {name: kind for name, _, kind in rows} == types
    for name, labels, _ in rows:
        if name in exported:
            assert set(labels.split(",")) - {""} == set(exported[name]), name
