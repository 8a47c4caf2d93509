"""Handshakes, and what the application sees of a session."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess

import pytest

from harness import TIMEOUT, build_request, chunked, wait_until
from harness.supervision import children, end, holds, workers

GET = build_request()

#: Variables that only the server sets.
FORGED = [
    ("SSL_CLIENT_VERIFY", "SUCCESS"),
    ("SSL-CLIENT-VERIFY", "SUCCESS"),
    ("SSL-CLIENT-S-DN", "CN=admin"),
    ("HTTPS", "on"),
]


def environ(client) -> dict[str, str]:
    return client.request(GET).json()["environ"]


@pytest.mark.parametrize(
    ("version", "protocol", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3", {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"}),
        (
            ssl.TLSVersion.TLSv1_2,
            "TLSv1.2",
            {
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            },
        ),
    ],
)
def test_session_is_described_to_the_application(secure, version, protocol, ciphers) -> None:
    server = secure("echo:app")
    server.tls.minimum_version = server.tls.maximum_version = version
    with server.connect() as client:
        seen = environ(client)
    assert seen["wsgi.url_scheme"] == "https"
    assert seen["SSL_PROTOCOL"] == protocol
    assert seen["SSL_CIPHER"] in ciphers
    assert seen["SSL_TLS_SNI"] == "localhost"
    assert seen["SSL_CLIENT_VERIFY"] == "NONE"
    assert not {"SSL_CLIENT_CERT", "SSL_CLIENT_S_DN", "SSL_CLIENT_M_SERIAL"} & seen.keys()


def test_name_is_absent_if_the_client_sends_none(secure) -> None:
    server = secure("echo:app")
    server.tls.check_hostname = False
    with server.connect(name=None) as client:
        assert "SSL_TLS_SNI" not in environ(client)
    with server.connect(name="LocalHost") as client:
        assert environ(client)["SSL_TLS_SNI"].lower() == "localhost"


def test_client_cannot_set_variables_of_the_session(secure) -> None:
    server = secure("echo:app")
    with server.connect() as client:
        seen = client.request(build_request(fields=FORGED)).json()["environ"]
    assert seen["SSL_CLIENT_VERIFY"] == "NONE"
    assert "SSL_CLIENT_S_DN" not in seen and "HTTPS" not in seen


def test_requests_of_one_session_see_the_same(secure) -> None:
    server = secure("echo:app")
    with server.connect() as client:
        # A repeated head has a cached environ.
        seen = [environ(client) for _ in range(4)]
    assert all(one["SSL_PROTOCOL"] == "TLSv1.3" for one in seen)
    assert len({one["SSL_CIPHER"] for one in seen}) == 1


def test_pipelined_requests_in_one_record_are_answered(secure) -> None:
    server = secure("echo:app")
    with server.connect() as client:
        client.send(GET * 3)
        assert [client.response().status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 65_536, 3_000_000])
def test_body_of_any_size_arrives(secure, size: int) -> None:
    server = secure("echo:app")
    body = bytes(index % 251 for index in range(size))
    with server.connect() as client:
        echoed = client.request(build_request("POST", body=body)).json()
        assert echoed["length"] == size
        parts = [body[at : at + 10_000] for at in range(0, size, 10_000)]
        request = build_request("POST", fields=[("Transfer-Encoding", "chunked")])
        again = client.request(request + chunked(*parts), method="POST").json()
        assert again == {**again, "length": size, "sha256": echoed["sha256"]}


def test_records_cut_anywhere_are_put_together(secure) -> None:
    """The bytes of the session arrive one by one, in packets of their own."""
    server = secure("echo:app")
    with server.connect() as client:
        sock = client.sock
        sock.tls.write(build_request("POST", body=b"slow"))
        for byte in sock._out.read():
            sock.raw.sendall(bytes([byte]))
        assert client.response("POST").json()["length"] == 4


def test_oldest_version_is_refused(secure) -> None:
    server = secure("echo:app", "--tls-min-version", "1.3")
    server.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="alert protocol version"):
        server.connect()


@pytest.mark.parametrize(
    ("offered", "selected"),
    [(["http/1.1"], "http/1.1"), (["http/1.1", "spdy/3"], "http/1.1"), ([], None)],
)
def test_protocol_is_negotiated(secure, offered: list[str], selected: str | None) -> None:
    server = secure("echo:app")
    if offered:
        server.tls.set_alpn_protocols(offered)
    with server.connect() as client:
        assert client.sock.tls.selected_alpn_protocol() == selected
        assert client.request(GET).status == 200


def test_key_log_variable_is_ignored(fresh_secure, tmp_path) -> None:
    log = tmp_path / "keys"
    server = fresh_secure("echo:app", env={"SSLKEYLOGFILE": str(log)})
    server.tls.keylog_filename = None
    with server.connect() as client:
        assert client.request(GET).status == 200
    assert not log.exists()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_is_resumed_by_any_worker(fresh_secure, tmp_path, version) -> None:
    """Tickets are encrypted with keys that all workers share."""
    server = fresh_secure("supervised:app", "--workers", "3", "--threads", "1")
    server.tls.minimum_version = server.tls.maximum_version = version
    server.wait_for_event("server.ready")
    with server.connect() as client:
        client.request(GET)
        session = client.sock.tls.session
    # A worker whose only thread has a request leaves the next connection to another one.
    held = []
    for number in range(3):
        fifo = tmp_path / f"fifo{number}"
        os.mkfifo(fifo)
        client = server.connect(session=session)
        assert client.sock.tls.session_reused
        start = len(server.stderr())
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started", start=start)
        held.append((client, fifo))
    accepted = {pid for pid in workers(server, 3) if any(holds(pid, client) for client, _ in held)}
    for client, fifo in held:
        fifo.write_text("")
        assert client.response().status == 200
        client.close()
    assert len(accepted) == 3


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_early_data_is_off(secure) -> None:
    """An attacker can repeat it. What a ticket admits is in the text that openssl prints of it."""
    server = secure("echo:app")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-ign_eof"]
    request = build_request(fields=[("Connection", "close")])
    done = subprocess.run(command, input=request, capture_output=True, timeout=TIMEOUT, check=False)
    assert b"HTTP/1.1 200 OK" in done.stdout
    assert re.findall(rb"Max Early Data: (\d+)", done.stdout) == [b"0", b"0"]


def test_upgrade_serves_sessions_of_before_with_a_full_handshake(fresh_secure) -> None:
    """USR2: the new master has keys of its own."""
    server = fresh_secure("supervised:app")
    with server.connect() as client:
        client.request(GET)
        session = client.sock.tls.session
    server.wait_for_event("server.ready")
    server.send_signal(signal.SIGUSR2)
    new = int(server.wait_for_event("upgrade.started", r"master (\d+)")[1])
    try:
        wait_until(lambda: len(children(new)) == 1, "the new master has its worker")
        server.send_signal(signal.SIGTERM)
        server.process.wait(TIMEOUT)
        with server.connect(session=session) as client:
            assert client.request(GET).status == 200
            assert not client.sock.tls.session_reused
            session = client.sock.tls.session
        with server.connect(session=session) as client:
            assert client.request(GET).status == 200
            assert client.sock.tls.session_reused
    finally:
        end(new, signal.SIGTERM)


def test_server_that_a_program_starts_has_tls(authority, door: str) -> None:
    if door != "wheel":
        pytest.skip("a program imports the wheel")
    from rustwsgi import Server

    pair = authority.issue("localhost", "localhost")

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return [environ["wsgi.url_scheme"].encode()]

    server = Server(app, bind="127.0.0.1:0", certfile=pair.certfile, keyfile=pair.keyfile)
    server.start()
    try:
        import urllib.request

        [url] = server.urls
        assert url.startswith("https://127.0.0.1:")
        url = url.replace("127.0.0.1", "localhost")
        answer = urllib.request.urlopen(url, context=authority.context())
        assert answer.read() == b"https"
    finally:
        server.stop()
