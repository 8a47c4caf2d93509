"""The metrics address of a server: its metrics, its health and its status."""

from __future__ import annotations

import json
import socket
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from .checks import wait_until
from .client import TIMEOUT, Client, NoResponse, Response, build_request
from .server import ServerProcess

OPTIONS = ("--metrics", "127.0.0.1:0")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Metrics:
    """A client of the metrics address, with a new connection for each request."""

    def __init__(self, server: ServerProcess) -> None:
        found = server.wait_for_event("metrics.listening", r"http://([\d.]+):(\d+)")
        self.address = (found[1], int(found[2]))

    def connect(self) -> Client:
        return Client(socket.create_connection(self.address, timeout=TIMEOUT))

    def get(self, path: str, accept: str | None = None) -> Response:
        fields = [("Accept", accept)] if accept else []
        with self.connect() as client:
            client.send(build_request("GET", path, fields=fields))
            return client.response()

    def status(self) -> dict[str, Any]:
        response = self.get("/status")
        assert response.status == 200, response
        return json.loads(response.body)

    def pid(self) -> int | None:
        """The master that answers. None if it has ended before it has answered."""
        try:
            return int(self.status()["pid"])
        except (OSError, NoResponse):
            return None

    def samples(self, accept: str | None = None) -> dict[str, float]:
        """All values, by their names with labels: `requests_total{method="GET",status="2xx"}`."""
        text = self.get("/metrics", accept).body.decode()
        parse = openmetrics.text_string_to_metric_families if accept else None
        families = (parse or text_string_to_metric_families)(text)
        samples = [sample for family in families for sample in family.samples]
        return {_name(sample.name, sample.labels): sample.value for sample in samples}

    def answered(self) -> int:
        samples = self.samples().items()
        return int(sum(value for name, value in samples if name.startswith("requests_total{")))

    def wait_for_requests(self, *expected: tuple[str, str]) -> list[dict[str, Any]]:
        """The requests of all workers, once their targets and phases are these."""
        found: list[dict[str, Any]] = []

        def is_expected() -> bool:
            requests = (worker["requests"] for worker in self.status()["workers"])
            found[:] = [request for of_worker in requests for request in of_worker]
            return sorted((r["target"], r["phase"]) for r in found) == sorted(expected)

        wait_until(is_expected, f"requests are {expected}: {found}")
        return found


def _name(name: str, labels: dict[str, str]) -> str:
    text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return name.removeprefix("rustwsgi_") + (f"{{{text}}}" if text else "")
