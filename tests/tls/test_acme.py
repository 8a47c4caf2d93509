"""Certificates by ACME, ordered from Pebble, which connects to the server to validate its names."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat

import pytest
from cryptography.hazmat.primitives import serialization

from harness import TIMEOUT, Client, build_request, run_cli, wait_until
from harness.acme import (
    ORDER_TIMEOUT,
    all_serve,
    handshake,
    names,
    ordered,
    plant,
    requests_of,
    served,
    trusting_nobody,
    visit_of,
)
from harness.pebble import IS_INSTALLED, Suggestions
from harness.supervision import end, freeze
from harness.tls import DAY, NOW

pytestmark = pytest.mark.skipif(not IS_INSTALLED, reason="needs Pebble (Debian's package pebble)")


@pytest.mark.parametrize("redirects", [True, False], ids=["HTTP-01", "TLS-ALPN-01"])
def test_first_certificate_is_ordered_and_served_by_all_workers(
    ordering, pebble, cache, tmp_path, redirects
) -> None:
    pebble.start()
    server = ordering(
        "--workers",
        "2",
        "--acme-email",
        "admin@example.com",
        domains=("localhost", "www.example.com"),
        redirects=redirects,
    )
    server.wait_for_event("acme.no_certificate")
    ordered(server)
    context = pebble.context(tmp_path)
    for _ in range(8):
        for name in ("localhost", "www.example.com"):
            with Client(handshake(server, context, name)) as client:
                assert client.request(build_request("GET", "/")).status == 200
    assert names(served(server)) == {"localhost", "www.example.com"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in cache.iterdir()}
    assert set(modes.values()) == {0o600} and stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert {"localhost.pem", "localhost.json"} <= set(modes)


def test_without_a_certificate_handshakes_are_refused_and_redirects_work(ordering, pebble) -> None:
    server = ordering(redirects=True)
    server.wait_for_event("acme.failed", "Cannot get a certificate for localhost")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(server, trusting_nobody())
    with server.connect(port=pebble.http_port) as client:
        assert client.request(build_request("GET", "/")).status == 308
    with server.connect(port=pebble.http_port) as client:
        raw = build_request("GET", "/.well-known/acme-challenge/unknown")
        assert client.request(raw).status == 308


def test_handshake_of_a_validation_without_an_order_is_refused(ordering, pebble) -> None:
    pebble.start()
    server = ordering()
    ordered(server)
    context = trusting_nobody()
    context.set_alpn_protocols(["acme-tls/1"])
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(server, context)


def test_directory_that_is_down_at_the_start_is_tried_again(ordering, pebble) -> None:
    server = ordering()
    server.wait_for_event("acme.failed", "trying again in")
    pebble.start()
    ordered(server)


def test_certificate_that_expires_soon_is_renewed_while_clients_are_served(
    ordering, pebble, cache
) -> None:
    pebble.start()
    planted = plant(cache, "localhost", age=80 * DAY, left=10 * DAY)
    server = ordering("--keep-alive", "120")
    with Client(handshake(server, trusting_nobody())) as client:
        assert client.request(build_request("GET", "/")).status == 200
        server.wait_for_event("acme.renewed", timeout=ORDER_TIMEOUT)
        all_serve(server, lambda certificate: certificate.serial_number != planted)
        assert client.request(build_request("GET", "/")).status == 200
    assert "acme.no_certificate" not in server.stderr()


def test_certificate_is_renewed_when_the_authority_suggests_it(ordering, pebble, cache) -> None:
    pebble.start()
    planted = plant(cache, "localhost", age=DAY, left=80 * DAY)
    with Suggestions(pebble, NOW - DAY, NOW - DAY / 2) as suggestions:
        server = ordering("--acme-directory", suggestions.url)
        server.wait_for_event("acme.renewed", timeout=ORDER_TIMEOUT)
        all_serve(server, lambda certificate: certificate.serial_number != planted)
        assert suggestions.asked


def test_certificate_stays_until_the_time_that_the_authority_suggests(
    ordering, pebble, cache
) -> None:
    pebble.start()
    planted = plant(cache, "localhost", age=DAY, left=80 * DAY)
    with Suggestions(pebble, NOW + 20 * DAY, NOW + 21 * DAY) as suggestions:
        server = ordering("--acme-directory", suggestions.url)
        state = cache / "localhost.json"

        def suggested() -> int | None:
            return json.loads(state.read_text())["renew_at"] if state.exists() else None

        wait_until(suggested, "the suggestion is in the cache")
        renew_at = suggested()
        begin, end = (NOW + days * DAY for days in (20, 21))
        assert int(begin.timestamp()) <= renew_at <= int(end.timestamp())
        assert served(server).serial_number == planted
        assert not requests_of(pebble, "order-plz")


def test_refused_order_is_logged_and_pauses_while_the_server_goes_on(
    ordering, pebble, cache
) -> None:
    pebble.start()
    # Of another name: it is served until the right one is there.
    plant(cache, "refused.example", "other.example", age=DAY, left=80 * DAY)
    server = ordering(domains=("refused.example",))
    server.wait_for_event("acme.failed", r"trying again in \d+ s .*rejectedIdentifier")
    assert served(server).serial_number
    state = json.loads((cache / "refused.example.json").read_text())
    assert state["failures"] == 1
    # The pause holds after a restart; HUP ends it.
    server.stop()
    attempts = requests_of(pebble, "order-plz")
    server = ordering(domains=("refused.example",))
    server.wait_for_event("server.ready")
    assert served(server).serial_number
    assert requests_of(pebble, "order-plz") == attempts
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("acme.failed")
    assert requests_of(pebble, "order-plz") == attempts + 1


def test_certificate_of_the_cache_is_used_after_a_restart_without_an_order(
    ordering, pebble
) -> None:
    pebble.start()
    server = ordering()
    ordered(server)
    serial = served(server).serial_number
    server.stop()
    orders = requests_of(pebble, "order-plz")
    server = ordering()
    server.wait_for_event("server.ready")
    assert served(server).serial_number == serial
    assert requests_of(pebble, "order-plz") == orders
    assert "acme.no_certificate" not in server.stderr()


def test_garbage_in_the_cache_is_replaced(ordering, pebble, cache) -> None:
    pebble.start()
    server = ordering()
    ordered(server)
    server.stop()
    for file in cache.iterdir():
        file.write_bytes(b"\0garbage\xff\n")
    server = ordering()
    server.wait_for_event("acme.cache_unusable")
    server.wait_for_event("acme.warning", "Making another ACME account")
    ordered(server)
    assert names(served(server)) == {"localhost"}


def test_account_that_the_authority_has_forgotten_is_replaced(ordering, pebble, cache) -> None:
    pebble.start()
    server = ordering()
    ordered(server)
    server.stop()
    pebble.stop()
    (cache / "localhost.pem").unlink()
    pebble.start()
    server = ordering()
    server.wait_for_event("acme.warning", "does not know the ACME account")
    ordered(server)


def test_rejected_nonces_are_retried(ordering, pebble) -> None:
    pebble.start(PEBBLE_WFE_NONCEREJECT="20")
    ordered(ordering())


def test_workers_of_a_reload_have_the_certificate(ordering, pebble) -> None:
    pebble.start()
    server = ordering("--workers", "2")
    ordered(server)
    serial = served(server).serial_number
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    for _ in range(8):
        assert served(server).serial_number == serial


def test_master_of_an_upgrade_takes_the_certificate_from_the_cache(ordering, pebble) -> None:
    pebble.start()
    server = ordering()
    ordered(server)
    serial = served(server).serial_number
    orders = requests_of(pebble, "order-plz")
    server.send_signal(signal.SIGUSR2)
    successor = int(server.wait_for_event("upgrade.started", r"new master (\d+)")[1])
    server.wait_for_log(rf"\[{successor}\].*server\.ready")
    try:
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("upgrade.completed")
        for _ in range(4):
            assert served(server).serial_number == serial
        assert requests_of(pebble, "order-plz") == orders
    finally:
        end(successor, signal.SIGTERM)


def test_named_certificate_comes_first_and_acme_adds_its_names(ordering, pebble, authority) -> None:
    pebble.start()
    pair = authority.issue("named", "named.example")
    server = ordering(*pair.options())
    ordered(server)
    session = handshake(server, trusting_nobody(), "unknown.example")
    der = session.tls.getpeercert(binary_form=True)
    assert der == pair.certificate.public_bytes(serialization.Encoding.DER)
    assert names(served(server)) == {"localhost"}


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        (0o755, [], r"--acme-cache: other users may use"),
        (0o700, ["--acme-domain", "*.example.org"], r"a wildcard needs DNS-01"),
        (0o700, ["--acme-directory", "http://localhost/dir"], r"begins with https://"),
    ],
)
def test_options_that_cannot_work_end_the_start(door, tmp_path, mode, options, expected) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=mode)
    cache.chmod(mode)
    arguments = ["--acme-domain", "localhost", "--acme-cache", str(cache), *options]
    result = run_cli(door, "--bind", "127.0.0.1:0", *arguments, "echo:app")
    assert result.returncode != 0
    assert expected in result.stderr


def test_authority_that_does_not_answer_delays_neither_clients_nor_reload_nor_stop(
    ordering, cache
) -> None:
    plant(cache, "localhost", age=80 * DAY, left=10 * DAY)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        directory = f"https://localhost:{silent.getsockname()[1]}/dir"
        server = ordering("--acme-directory", directory)
        silent.settimeout(TIMEOUT)
        connection, _ = silent.accept()
        server.wait_for_event("server.ready")
        with connection:
            freeze(visit_of(server))
            served(server)
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reload.completed")
            served(server)
            # Waits until every process of the server has exited, that of the visit included.
            assert server.stop() == 0
            assert "acme.failed" not in server.stderr()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes the user of the workers")
def test_workers_of_another_user_serve_what_only_the_master_can_read(
    ordering, pebble, cache
) -> None:
    pebble.start()
    # Imported as root: the interpreter may be in a home directory.
    options = ("--preload", "--user", "nobody", "--group", "nogroup")
    server = ordering(*options, redirects=True)
    ordered(server)
    assert {path.stat().st_uid for path in (cache, *cache.iterdir())} == {0}
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    assert names(served(server)) == {"localhost"}
