"""Reload, upgrade and stop while clients of HTTP/2 send requests: none is lost."""

from __future__ import annotations

import signal

from harness import TIMEOUT, wait_until
from harness.stream_load import StreamLoad
from harness.supervision import children, end, workers

APP = "supervised:app"
OPTIONS = ("--workers", "2", "--threads", "4")


def test_hup_under_load_loses_nothing(fresh_plain) -> None:
    server = fresh_plain(APP, *OPTIONS)
    with StreamLoad(server) as load:
        for _ in range(3):
            before = workers(server, 2)
            start = len(server.stderr())
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reload.completed", start=start)
            theirs = {str(pid).encode() for pid in workers(server, 2, before)}
            wait_until(lambda theirs=theirs: load.bodies & theirs, "a new worker serves")
            load.more()
    assert load.failures == []
    assert load.goaways >= 3


def test_usr2_under_load_loses_nothing(fresh_plain) -> None:
    """A new master on the same sockets; the old one gets TERM when the new one serves."""
    server = fresh_plain(APP, *OPTIONS)
    server.wait_for_event("server.ready")
    new = 0
    try:
        with StreamLoad(server) as load:
            server.send_signal(signal.SIGUSR2)
            new = int(server.wait_for_event("upgrade.started", r"master (\d+)")[1])
            wait_until(lambda: len(children(new)) == 2, "the new master has its workers")
            theirs = {str(pid).encode() for pid in children(new)}
            load.more()
            server.send_signal(signal.SIGTERM)
            server.process.wait(TIMEOUT)
            wait_until(lambda: load.bodies & theirs, "a new worker serves")
            load.more()
        assert load.failures == []
        assert load.goaways >= 1
        assert server.process.returncode == 0
    finally:
        if new:
            end(new, signal.SIGTERM)
    assert server.wait() == 0


def test_graceful_stop_under_load_loses_nothing(fresh_plain) -> None:
    """It answers the streams that GOAWAY names."""
    server = fresh_plain(APP, *OPTIONS)
    with StreamLoad(server) as load:
        load.stops = True
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert load.failures == []
    # A client may connect again to a worker that has not had its TERM yet.
    assert load.goaways >= 3


def test_retired_worker_loses_nothing(fresh_plain) -> None:
    """`--max-requests` replaces workers under load."""
    server = fresh_plain(APP, *OPTIONS, "--max-requests", "200")
    with StreamLoad(server) as load:
        wait_until(lambda: len(load.bodies) > 3, "workers are replaced")
    assert load.failures == []
    assert load.goaways >= 2
