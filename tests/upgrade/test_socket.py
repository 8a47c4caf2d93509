"""What the application gets in `rustwsgi.socket`, and what the client sees of it."""

from __future__ import annotations

import pytest

from harness import build_request
from harness.upgrades import ACCEPT, UPGRADE, Upgrades, upgrade_request

MIB = 1024 * 1024


def pattern(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def test_upgraded_connection_carries_bytes_both_ways(shared) -> None:
    with shared.open("/plain") as client:
        for message in (b"one", b"two" * 1000):
            client.send(message)
            assert client.read(len(message)) == message
        client.shutdown_write()
        assert client.at_eof()


def test_socket_is_an_open_blocking_socket(shared) -> None:
    with shared.open("/described") as client:
        family = b"AF_UNIX" if shared.server.tls else b"AF_INET"
        assert client.rest() == b"(True, True) True True True " + family + b"\n"


@pytest.mark.parametrize("target", ["/plain", "/selected"])
@pytest.mark.parametrize("size", [1, 5000, 200_000])
def test_bytes_sent_with_the_head_reach_the_application_first(shared, target, size) -> None:
    ahead = pattern(size)
    with shared.server.connect() as client:
        client.send(upgrade_request(target) + ahead[:70_000])
        client.send(ahead[70_000:])
        client.send(b"last")
        assert client.read(len(ACCEPT)) == ACCEPT
        assert client.read(size + 4) == ahead + b"last"


def test_fragments_of_one_byte_arrive(shared) -> None:
    with shared.open("/plain") as client:
        client.send_slowly(pattern(300))
        assert client.read(300) == pattern(300)


def test_content_comes_before_the_upgrade(shared) -> None:
    with shared.server.connect() as client:
        client.send(upgrade_request("/body", body=b"x" * 1000) + b"frame")
        assert client.read(len(ACCEPT)) == ACCEPT
        assert client.read(10) == b"1000\nframe"


def test_expected_continue_comes_before_the_upgrade(shared) -> None:
    fields = [*UPGRADE, ("Expect", "100-continue"), ("Content-Length", "3")]
    with shared.server.connect() as client:
        client.send(build_request(target="/body", fields=fields))
        assert client.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abc")
        assert client.read(len(ACCEPT) + 2) == ACCEPT + b"3\n"


def test_early_hints_come_before_the_upgrade(shared) -> None:
    with shared.server.connect() as client:
        client.send(upgrade_request("/hints"))
        assert client.response("GET").status == 103
        assert client.read(len(ACCEPT)) == ACCEPT
        client.send(b"a")
        assert client.read(1) == b"a"


def test_unused_socket_leaves_the_response_alone(shared) -> None:
    with shared.server.connect() as client:
        for _ in range(3):  # kept alive, and from the environ cache
            response = client.request(upgrade_request("/unused"))
            assert response.status == 200
            assert {"gunicorn.socket", "werkzeug.socket", "rustwsgi.socket"} < {
                *response.text.split()
            }
            assert client.request(upgrade_request("/looked_at")).text == "6 True"


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ([], "HTTP/1.1"),
        ([("Upgrade", "echo")], "HTTP/1.1"),
        ([("Connection", "upgrade")], "HTTP/1.1"),
        ([("Connection", "upgraded"), ("Upgrade", "echo")], "HTTP/1.1"),
        ([("Connection", "upgrade"), ("Upgrade", "")], "HTTP/1.1"),
        (UPGRADE, "HTTP/1.0"),
    ],
)
def test_request_that_asks_for_no_upgrade_has_no_socket(shared, fields, version) -> None:
    text = shared.server.get("/plain", fields=fields, version=version).text
    assert "socket" not in text


def test_socket_of_an_ended_request_cannot_be_used(shared) -> None:
    with shared.server.connect() as client:
        assert client.request(upgrade_request("/keep")).text == "kept"
        assert client.request(upgrade_request("/use_kept")).text == "OSError"


def test_connection_cannot_be_taken_once_the_response_has_begun(shared) -> None:
    with shared.server.connect() as client:
        assert client.request(upgrade_request("/begun")).text == "no!!"


def test_forked_child_cannot_take_the_connection(shared) -> None:
    with shared.server.connect() as client:
        assert client.request(upgrade_request("/fork")).text == "7"


def test_returned_iterable_is_closed_and_ignored(shared) -> None:
    with shared.open("/closing") as client:
        assert client.rest() == b"closed\n"


def test_exception_after_the_upgrade_is_logged(shared) -> None:
    start = len(shared.server.stderr())
    with shared.open("/fails") as client:
        assert client.at_eof()
    shared.server.wait_for_event("socket.failed", "/fails", start=start)
    shared.server.wait_for_log("ValueError: after the upgrade", start=start)


def test_another_thread_may_use_the_connection_after_the_request(shared) -> None:
    with shared.open("/thread") as client:
        shared.wait_for_threads(2)
        client.send(b"later")
        assert client.read(5) == b"later"


def test_half_close_of_the_application_leaves_the_other_direction_open(shared) -> None:
    start = len(shared.server.stdout())
    with shared.open("/half") as client:
        assert client.rest() == b"bye\n"
        client.send(b"x" * 100_000)
        client.shutdown_write()
        shared.server.wait_for_stdout("received 100000", start=start)


def test_application_notices_a_client_that_disconnects(shared) -> None:
    start = len(shared.server.stdout())
    with shared.open("/disconnected") as client:
        assert client.read(6) == b"False\n"
    shared.server.wait_for_stdout("noticed", start=start)


def test_large_output_arrives_complete(shared) -> None:
    size = 8 * MIB + 5
    with shared.open(f"/source?{size}") as client:
        assert client.rest() == pattern(size)


def test_slow_application_holds_a_fast_client_back(shared, go) -> None:
    """Back-pressure: what the application does not read fills the kernel's buffers, and no more."""
    try:
        with shared.open(f"/sink?{go}") as client:
            client.sock.settimeout(0.5)
            sent = 0
            with pytest.raises(TimeoutError):
                while sent < 256 * MIB:
                    client.send(pattern(65536))
                    sent += 65536
            assert sent < 64 * MIB
    finally:
        go.touch()


def test_slow_application_gets_all_input_in_order(shared, go) -> None:
    with shared.open(f"/sink?{go}") as client:
        client.send(pattern(200 * 1024))
        go.touch()
        client.send(pattern(800 * 1024))
        client.shutdown_write()
        assert client.rest() == b"%d True\n" % (1000 * 1024)


def test_client_that_vanishes_ends_the_request(shared) -> None:
    start = len(shared.server.stdout())
    client = shared.open(f"/source?{1 << 40}")
    client.read(100_000)
    (client.sock if shared.server.tls is None else client.sock.raw).close()
    shared.server.wait_for_stdout("failed", start=start)
    shared.wait_for_threads(2)


def test_connection_of_a_unix_socket_can_be_taken(fresh_server, tmp_path) -> None:
    server = fresh_server("upgrade:app", bind=f"unix:{tmp_path / 'socket'}")
    with Upgrades(server).open("/plain") as client:
        client.send(b"over a unix socket")
        assert client.read(18) == b"over a unix socket"


def test_connection_behind_a_proxy_header_can_be_taken(start) -> None:
    server = start("--proxy-protocol", "v1").server
    if server.tls:
        pytest.skip("the header comes before the handshake")
    with server.connect() as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + upgrade_request("/plain") + b"x")
        assert client.read(len(ACCEPT) + 1) == ACCEPT + b"x"


def test_content_is_read_before_the_connection_is_taken(start) -> None:
    upgrades = start("--request-buffering", "off", "--threads", "2")
    with upgrades.server.connect() as client:
        client.send(upgrade_request("/too_early", body=b"x" * 1_000_000)[:-1])
        assert "was not read to its end" in client.response("GET").text
    with upgrades.server.connect() as client:
        client.send(upgrade_request("/body", body=b"x" * 1_000_000) + b"frame")
        assert client.read(len(ACCEPT)) == ACCEPT
        assert client.read(13) == b"1000000\nframe"


def test_pipelined_request_before_the_upgrade_is_answered_first(shared) -> None:
    with shared.server.connect() as client:
        client.send(build_request(target="/unused") + upgrade_request("/plain") + b"x")
        assert client.response("GET").status == 200
        assert client.read(len(ACCEPT) + 1) == ACCEPT + b"x"


def test_client_of_a_relay_that_does_not_read_is_reset(start) -> None:
    upgrades = start("--write-timeout", "1")
    if not upgrades.server.tls:
        pytest.skip("without TLS the connection is the application's alone")
    with upgrades.open(f"/source?{1 << 40}", receive_buffer=4096):
        upgrades.server.wait_for_event("response.timeout", "has taken its connection")
        upgrades.server.wait_for_stdout("failed")
    assert upgrades.server.counters()["write_timeout"] == 1
