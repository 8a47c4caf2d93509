"""The multiprocess mode of `prometheus_client`: the recipe for gunicorn runs unchanged."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from harness import ServerProcess, wait_until
from harness.supervision import end, workers

# https://prometheus.github.io/client_python/multiprocess/
CONFIGURATION = """
from prometheus_client import multiprocess

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""
APPLICATION = """
import os
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge
from prometheus_client import generate_latest, multiprocess

ORDERS = Counter("orders", "Orders.")
ALIVE = Gauge("alive", "Processes that serve.", multiprocess_mode="livesum")
ALIVE.set(1)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        data, kind = generate_latest(registry), CONTENT_TYPE_LATEST
    else:
        ORDERS.inc()
        data, kind = str(os.getpid()).encode(), "text/plain"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]
"""


def test_recipe_for_gunicorn_runs_unchanged(
    fresh_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    directory = tmp_path / "prometheus"
    directory.mkdir()
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION)
    env = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    server = fresh_server("shop:app", "--workers", "2", cwd=tmp_path, env=env)

    def values() -> dict[str, float]:
        response = server.get("/metrics")
        if response.status != 200:
            # A worker that boots has created its file, which is still empty: the library fails.
            return {"alive": -1}
        families = text_string_to_metric_families(response.body.decode())
        return {sample.name: sample.value for family in families for sample in family.samples}

    wait_until(lambda: values()["alive"] == 2, "both workers have their files")
    pids = workers(server, 2)
    for _ in range(20):
        server.get("/")
    assert values()["orders_total"] == 20
    victim = int(server.get("/").body)
    end(victim, signal.SIGKILL)
    workers(server, 2, without={victim})
    wait_until(lambda: values()["alive"] == 2, "the new worker has its file, and the dead one none")
    assert values()["orders_total"] == 21, "what the dead worker has counted stays"
    assert not list(directory.glob(f"gauge_livesum_{victim}.db"))
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    wait_until(lambda: not workers(server, 2) & pids, "the workers were replaced")
    wait_until(lambda: values()["alive"] == 2, "the files of the retired workers are gone")
    assert values()["orders_total"] == 21
