"""Threads of requests that have taken their connections: they do not count, and end."""

from __future__ import annotations

import signal

import pytest

from harness.upgrades import upgrade_request

#: Each test has a server of its own.
pytestmark = pytest.mark.second_door("no case")


@pytest.mark.parametrize("threads", [1, 3])
def test_upgraded_requests_leave_all_threads_to_others(start, threads) -> None:
    upgrades = start("--threads", str(threads))
    before = upgrades.facts()["threads"]
    clients = [upgrades.open("/plain") for _ in range(8)]
    # With --threads 1 the first one has the main thread.
    upgrades.wait_for_threads(8 if threads == 1 else threads + 8)
    assert upgrades.facts()["inside"] == "8"
    for client in clients:
        client.send(b"alive")
        assert client.read(5) == b"alive"
        client.shutdown_write()
        assert client.at_eof()
        client.close()
    upgrades.wait_for_threads(int(before))
    upgrades.wait_for_fact("inside", lambda inside: inside == "0")


def test_more_upgrades_than_the_limit_get_503(start) -> None:
    upgrades = start("--threads", "2", "--max-upgrades", "3")
    clients = [upgrades.open("/plain") for _ in range(3)]
    for _ in range(5):
        with upgrades.server.connect() as client:
            response = client.request(upgrade_request("/plain"))
            assert (response.status, response.get("Retry-After")) == (503, "5")
            assert client.at_eof()
    upgrades.server.wait_for_event("socket.limit", "--max-upgrades")
    assert upgrades.server.counters()["upgrade_limit"] == 5
    assert "Error handling" not in upgrades.server.stderr()
    # One that ends makes room.
    clients[0].shutdown_write()
    assert clients[0].at_eof()
    upgrades.wait_for_threads(4)
    with upgrades.open("/plain") as client:
        client.send(b"a")
        assert client.read(1) == b"a"
    for client in clients:
        client.close()


def test_without_upgrades_there_is_no_socket(start) -> None:
    upgrades = start("--max-upgrades", "0")
    with upgrades.server.connect() as client:
        assert "socket" not in client.request(upgrade_request("/plain")).text


def test_upgraded_request_outlives_the_timeout(start) -> None:
    upgrades = start("--threads", "2", "--timeout", "2")
    with upgrades.open("/plain") as client, upgrades.server.connect() as other:
        # Ended by --timeout, after the upgraded one would have been.
        assert other.request(upgrade_request("/sink_unused")).status == 504
        client.send(b"alive")
        assert client.read(5) == b"alive"
    assert "interrupted" not in upgrades.server.stderr().partition("/plain")[2]


def test_stop_shuts_upgraded_connections_down_at_the_graceful_timeout(start) -> None:
    upgrades = start("--threads", "2", "--graceful-timeout", "3", "--access-logfile", "-")
    with upgrades.open("/plain") as client:
        upgrades.server.send_signal(signal.SIGTERM)
        client.send(b"still")
        assert client.read(5) == b"still"
        upgrades.server.wait_for_event("socket.shut_down")
        assert client.at_eof()
    assert upgrades.server.wait() == 0
    assert '"GET /plain HTTP/1.1" 101 ' in upgrades.server.stdout()
    assert "server.aborted" not in upgrades.server.stderr()


def test_stop_does_not_wait_longer_than_upgraded_requests_run(start) -> None:
    upgrades = start("--threads", "2", "--graceful-timeout", "600")
    with upgrades.open("/plain") as client:
        upgrades.server.send_signal(signal.SIGTERM)
        client.send(b"still")
        assert client.read(5) == b"still"
    assert upgrades.server.wait() == 0


def test_reload_lets_upgraded_connections_continue(start) -> None:
    upgrades = start("--threads", "1", "--graceful-timeout", "600")
    with upgrades.open("/plain") as client:
        old = upgrades.facts()["pid"]
        upgrades.server.send_signal(signal.SIGHUP)
        upgrades.server.wait_for_event("reload.completed")
        upgrades.wait_for_fact("pid", lambda pid: pid != old)
        client.send(b"still")
        assert client.read(5) == b"still"
    upgrades.server.wait_for_event("worker.exiting", old)


def test_upgrade_counts_as_one_request(start) -> None:
    upgrades = start("--threads", "2", "--max-requests", "1", "--graceful-timeout", "600")
    with upgrades.open("/plain") as client:
        upgrades.server.wait_for_event("worker.recycling")
        client.send(b"still")
        assert client.read(5) == b"still"


def test_many_upgrades_at_once_are_bounded_and_give_their_threads_back(start) -> None:
    upgrades = start("--threads", "2", "--max-upgrades", "150")
    clients = [upgrades.server.connect() for _ in range(200)]
    for client in clients:
        client.send(upgrade_request("/plain"))
    statuses = [client.read_line().split()[1] for client in clients]
    assert (statuses.count(b"101"), statuses.count(b"503")) == (150, 50)
    for client in clients:
        client.close()
    upgrades.wait_for_threads(2)
