"""The process of the ACME client: its rights and its end, and when orders follow each other."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from harness import TIMEOUT, ServerProcess, run_cli
from harness.acme import ORDER_TIMEOUT, plant, requests_of, served, visit_of
from harness.pebble import IS_INSTALLED
from harness.supervision import children, descriptors, end, freeze
from harness.tls import DAY

pytestmark = pytest.mark.skipif(not IS_INSTALLED, reason="needs Pebble (Debian's package pebble)")


def silent_visit(ordering, cache, silent: socket.socket) -> tuple[ServerProcess, socket.socket]:
    """A server whose visit waits for an authority that does not answer, and the connection."""
    plant(cache, "localhost", age=80 * DAY, left=10 * DAY)
    directory = f"https://localhost:{silent.getsockname()[1]}/dir"
    server = ordering("--acme-directory", directory)
    server.wait_for_event("server.ready")
    silent.settimeout(TIMEOUT)
    connection, _ = silent.accept()
    connection.settimeout(TIMEOUT)
    assert connection.recv(1), "the begin of a handshake"
    return server, connection


def wait_for_end(connection: socket.socket) -> None:
    """Wait until the client, which was frozen and then killed, has closed its connection."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
            pass


def test_new_master_ends_the_visit_of_the_old_one(ordering, cache) -> None:
    """Its workers do not know the responses to challenges, and the authority may reach them."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server, connection = silent_visit(ordering, cache, silent)
        with connection:
            freeze(visit_of(server))
            server.send_signal(signal.SIGUSR2)
            successor = int(server.wait_for_event("upgrade.started", r"new master (\d+)")[1])
            wait_for_end(connection)
            end(successor, signal.SIGTERM)
        assert "acme.failed" not in server.stderr()


def test_reload_without_acme_ends_the_visit(
    fresh_server, pebble, cache, authority, tmp_path
) -> None:
    file = tmp_path / "rustwsgi.toml"
    pair = authority.issue("named", "named.example")
    plant(cache, "localhost", age=80 * DAY, left=10 * DAY)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        directory = f"https://localhost:{silent.getsockname()[1]}/dir"
        named = f'certfile = ["{pair.certfile}"]\nkeyfile = ["{pair.keyfile}"]\n'
        acme = f'acme_domain = ["localhost"]\nacme_directory = "{directory}"\n'
        file.write_text(f'{named}{acme}acme_cache = "{cache}"\n')
        server = fresh_server("echo:app", "--config", str(file), env=pebble.environment)
        server.wait_for_event("server.ready")
        silent.settimeout(TIMEOUT)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            freeze(visit_of(server))
            file.write_text(named)
            server.send_signal(signal.SIGHUP)
            wait_for_end(connection)
        assert "acme.failed" not in server.stderr()


def test_process_of_a_visit_is_confined_and_outlives_signals_to_the_group(ordering, cache) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server, connection = silent_visit(ordering, cache, silent)
        with connection:
            visit = visit_of(server)
            status = Path(f"/proc/{visit}/status").read_text()
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
            rights = int(re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)[1], 16)
            # CAP_DAC_READ_SEARCH at most.
            assert rights & ~(1 << 2) == 0
            # Beside the standard streams: challenges, report, lock, connection.
            assert len(descriptors(visit)) <= 7, descriptors(visit)
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH):
                os.kill(visit, number)
            served(server)
            assert visit in children(server.pid)


def test_order_whose_process_is_killed_counts_as_a_failure(ordering, cache) -> None:
    """Otherwise each would be followed by another one after a minute, or at a restart."""
    began = time.time()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server, connection = silent_visit(ordering, cache, silent)
        with connection:
            os.kill(visit_of(server), signal.SIGKILL)
            server.wait_for_event("acme.failed", "has ended without a report")
    state = json.loads((cache / "localhost.json").read_text())
    assert state["failures"] == 1 and state["next_attempt"] > began


def test_certificate_that_has_expired_when_it_comes_is_not_ordered_again_at_once(
    ordering, pebble, cache
) -> None:
    """As with a clock that is ahead: one order after another would use up the limits."""
    pebble.validity = 1
    pebble.start()
    server = ordering()
    server.wait_for_event("acme.warning", "has to be replaced already", timeout=ORDER_TIMEOUT)
    server.wait_for_event("acme.ordered")
    state = json.loads((cache / "localhost.json").read_text())
    assert state["failures"] == 1 and state["next_attempt"] > time.time() + 30
    served(server)
    assert requests_of(pebble, "order-plz") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user of the workers")
def test_cache_that_the_workers_could_replace_is_refused(door, tmp_path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.chown(shared, "nobody", "nogroup")
    arguments = ["--acme-domain", "localhost", "--user", "nobody", "--group", "nogroup"]
    arguments += ["--bind", "127.0.0.1:0", "--acme-cache", str(shared / "acme")]
    result = run_cli(door, *arguments, "echo:app")
    assert result.returncode != 0
    assert "--acme-cache: cannot use" in result.stderr and str(shared) in result.stderr
    assert not (shared / "acme").exists()
