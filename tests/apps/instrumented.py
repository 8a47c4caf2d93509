"""A Flask application that says which agent traces its requests."""

from __future__ import annotations

import os
import sys
from typing import Any

from flask import Flask, jsonify

if dsn := os.environ.get("TEST_SENTRY_DSN"):
    import sentry_sdk

    sentry_sdk.init(dsn=dsn)

app = Flask(__name__)


def is_traced(agent: str) -> bool:
    if agent == "opentelemetry":
        from opentelemetry import trace

        return bool(trace.get_current_span().get_span_context().is_valid)
    if agent == "newrelic":
        import newrelic.agent

        return newrelic.agent.current_transaction() is not None
    import ddtrace

    tracer: Any = ddtrace.tracer  # type: ignore[attr-defined]
    return tracer.current_span() is not None


@app.get("/traced/<agent>")
def traced(agent: str) -> Any:
    return jsonify(loaded=agent in sys.modules, traced=is_traced(agent), pid=os.getpid())


@app.get("/raise")
def fail() -> Any:
    raise ValueError("seen by the agent")
