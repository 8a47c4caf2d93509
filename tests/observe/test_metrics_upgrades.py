"""Requests that have taken their connections, at the metrics address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import ServerProcess, wait_until
from harness.metrics import OPTIONS, Metrics
from harness.upgrades import Upgrades, upgrade_request

#: Each test has a server of its own.
pytestmark = pytest.mark.second_door("no case")


@pytest.mark.parametrize("threads", [1, 2])
def test_upgraded_request_is_shown_beside_the_one_that_has_its_thread(
    fresh_server: Callable[..., ServerProcess], tmp_path: Path, threads: int
) -> None:
    server = fresh_server("upgrade:app", *OPTIONS, "--threads", str(threads))
    metrics, upgrades, go = Metrics(server), Upgrades(server), tmp_path / "go"
    first, second = (upgrades.open("/plain") for _ in range(2))
    upgraded = ("/plain", "upgraded")
    requests = metrics.wait_for_requests(upgraded, upgraded)
    assert [request["thread"] for request in requests] == [None, None]
    samples = metrics.samples()
    assert (samples["requests_upgraded"], samples["threads_busy"]) == (2, 0)
    assert samples['requests_total{method="GET",status="1xx"}'] == 2
    with server.connect() as client:
        waiting = [(f"/waits?{go}", "running")]
        client.send(upgrade_request(f"/waits?{go}"))
        metrics.wait_for_requests(upgraded, upgraded, *waiting)
        # The ends of upgraded requests leave the request alone that runs in the row.
        first.shutdown_write()
        assert first.at_eof()
        metrics.wait_for_requests(upgraded, *waiting)
        second.shutdown_write()
        assert second.at_eof()
        metrics.wait_for_requests(*waiting)
        assert metrics.status()["threads_busy"] == 1
        go.touch()
        assert client.response().status == 200
    metrics.wait_for_requests()
    samples = metrics.samples()
    assert samples['requests_total{method="GET",status="1xx"}'] == 2
    assert samples['requests_total{method="GET",status="2xx"}'] == 1
    assert samples["request_app_seconds_count"] == 3
    wait_until(lambda: metrics.samples()["requests_upgraded"] == 0, "none is counted")
    first.close()
    second.close()


def test_failed_upgraded_request_is_shown_no_more(
    fresh_server: Callable[..., ServerProcess],
) -> None:
    server = fresh_server("upgrade:app", *OPTIONS)
    metrics, upgrades = Metrics(server), Upgrades(server)
    with upgrades.open("/fails") as client:
        assert client.at_eof()
    wait_until(lambda: metrics.status()["requests_upgraded"] == 0, "the request has ended")
    assert metrics.wait_for_requests() == []
    assert metrics.samples()['requests_total{method="GET",status="1xx"}'] == 1
