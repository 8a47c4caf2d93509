"""A service on several hosts behind a balancer: planned changes lose no request, faults lose few.

docs/scaling.md has the figures; `pytest -s tests/cluster` prints them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import wait_until
from harness.cluster import FRONT, Cluster, Host, measured, skip_unless_possible

pytestmark = pytest.mark.second_door("no case")

#: Clients that a host can have at the moment it vanishes.
CLIENTS = 12
BROKEN = "raise RuntimeError('broken release')"


@pytest.fixture
def cluster(door: str, tmp_path: Path) -> Iterator[Cluster]:
    skip_unless_possible("haproxy", "curl")
    with Cluster(door, tmp_path) as cluster:
        yield cluster


def behind_haproxy(cluster: Cluster, count: int = 3, spare: int = 0) -> list[Host]:
    hosts = [cluster.add_host() for _ in range(count)]
    cluster.balance("haproxy", spare)
    for host in hosts:
        cluster.wait_for_state(host, "UP")
    return hosts


def test_rolling_reload(cluster: Cluster) -> None:
    """HUP on one host after the other."""
    hosts = behind_haproxy(cluster)
    with cluster.load() as counts:
        for host in hosts:
            host.release("v2")
            host.reload()
            wait_until(lambda host=host: host.version() == "v2", f"{host.name} serves v2")
    measured(counts, "rolling reload")
    assert counts.failed == {} and counts.of("v1") and counts.of("v2")


def test_rolling_restart(cluster: Cluster) -> None:
    """TERM, a new process: the balancer goes on with the other hosts meanwhile."""
    hosts = behind_haproxy(cluster)
    with cluster.load() as counts:
        for host in hosts:
            host.release("v2")
            host.stop()
            host.start()
            cluster.wait_for_state(host, "UP")
    measured(counts, "rolling restart")
    assert counts.failed == {} and counts.of("v2")


def test_broken_release_on_one_host(cluster: Cluster) -> None:
    """Its reload is refused, and the host serves the old release."""
    host, *_ = behind_haproxy(cluster)
    with cluster.load() as counts:
        host.release("v2", BROKEN)
        host.reload()
        wait_until(lambda: "broken release" in host.log(), "the reload fails")
        assert host.version() == "v1"
    measured(counts, "broken release")
    assert counts.failed == {} and counts.of("v2") == 0


def test_broken_release_after_a_restart(cluster: Cluster) -> None:
    """A host that cannot start stays out; the others take its share."""
    host, *others = behind_haproxy(cluster)
    with cluster.load() as counts:
        host.stop()
        cluster.wait_for_state(host, "DOWN")
        wait_until(lambda: others[0].version() == "v1", "another host answers")
    measured(counts, "host out")
    assert counts.failed == {}


def test_scaling_out_and_in(cluster: Cluster) -> None:
    """From two hosts to four, and back."""
    hosts = behind_haproxy(cluster, 2, spare=2)
    with cluster.load() as counts:
        for _ in range(2):
            cluster.wait_for_state(cluster.add_host(), "UP")
        wait_until(lambda: "h4" in cluster.ask(*FRONT, "/")[1], "the fourth host has answered")
        for host in hosts:
            host.stop()
            cluster.wait_for_state(host, "DOWN")
    measured(counts, "two to four hosts and back")
    assert counts.failed == {} and counts.of("h4")


def test_host_that_dies(cluster: Cluster) -> None:
    """All processes end at once: the balancer repeats what had no answer on another host."""
    hosts = behind_haproxy(cluster)
    with cluster.load() as counts:
        hosts[0].die()
        cluster.wait_for_state(hosts[0], "DOWN")
    measured(counts, "dead host")
    assert sum(counts.failed.values()) <= CLIENTS


def test_partitioned_host(cluster: Cluster) -> None:
    """Its packets vanish, and come back."""
    host, *_ = behind_haproxy(cluster)
    with cluster.load() as counts:
        host.set_link("down")
        cluster.wait_for_state(host, "DOWN")
        host.set_link("up")
        cluster.wait_for_state(host, "UP")
    measured(counts, "partition")
    assert sum(counts.failed.values()) <= CLIENTS and counts.of("h1")


def test_slow_host(cluster: Cluster) -> None:
    """Each of its requests takes 300 ms: `leastconn` sends it few."""
    slow, *_ = behind_haproxy(cluster)
    (slow.directory / "slow").write_text("0.3")
    with cluster.load() as counts:
        wait_until(lambda: "h1" in cluster.ask(*FRONT, "/")[1], "the slow host has answered")
    measured(counts, "slow host")
    assert counts.failed == {} and counts.of("h1") < counts.total / 3


def test_behind_nginx(cluster: Cluster) -> None:
    """nginx repeats on another host as well: reload, restart and death."""
    skip_unless_possible("nginx")
    hosts = [cluster.add_host() for _ in range(3)]
    cluster.balance("nginx")
    with cluster.load() as counts:
        hosts[0].release("v2")
        hosts[0].reload()
        wait_until(lambda: hosts[0].version() == "v2", "h1 serves v2")
        hosts[1].release("v2")
        hosts[1].stop()
        hosts[1].start()
    measured(counts, "nginx: reload, restart")
    assert counts.failed == {}
    with cluster.load() as counts:
        hosts[2].die()
        wait_until(lambda: hosts[0].version() == "v2", "h1 answers")
    measured(counts, "nginx: dead host")
    assert sum(counts.failed.values()) <= CLIENTS
