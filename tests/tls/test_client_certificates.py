"""Certificates of clients: who is admitted, and what the application sees of them."""

from __future__ import annotations

import signal
import ssl

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from harness import ServerProcess, build_request, wait_until
from harness.supervision import workers
from harness.tls import Authority

GET = build_request()
SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, 'Smith, "Jones" + Co'),
        x509.NameAttribute(NameOID.COMMON_NAME, "Ada L\u00f6velace"),
    ]
)


def is_refused(server, context: ssl.SSLContext) -> bool:
    """Whether the handshake fails. With TLS 1.3 the client learns it with its first read."""
    try:
        with server.connect(tls=context) as client:
            client.request(GET)
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return True
    return False


def environ(server, context: ssl.SSLContext, session=None) -> dict[str, str]:
    with server.connect(tls=context, session=session) as client:
        return client.request(GET).json()["environ"]


def reload(server: ServerProcess) -> None:
    """Reload, and wait until no worker of before accepts connections."""
    before = workers(server, 1)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    workers(server, 1, without=before)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_verified_certificate_is_described(fresh_secure, authority, version) -> None:
    client = authority.issue("client", subject=SUBJECT, serial=0xAB0C)
    options = ["--ca-certs", str(authority.file), "--cert-reqs", "required"]
    server = fresh_secure("echo:app", *options)
    context = authority.context(client)
    context.minimum_version = context.maximum_version = version
    seen = environ(server, context)
    assert seen["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert seen["SSL_CLIENT_CERT"] == client.certfile.read_text()
    expected = client.certificate.subject.rfc4514_string()
    # An environ has latin-1 strings of UTF-8 bytes.
    assert seen["SSL_CLIENT_S_DN"].encode("latin-1").decode() == expected
    assert seen["SSL_CLIENT_I_DN"] == "CN=Test Authority"
    assert seen["SSL_CLIENT_M_SERIAL"] == "AB0C"


def test_resumed_session_has_the_certificate(fresh_secure, authority) -> None:
    client = authority.issue("client", serial=7)
    options = ["--ca-certs", str(authority.file), "--cert-reqs", "required"]
    server = fresh_secure("echo:app", *options)
    context = authority.context(client)
    with server.connect(tls=context) as first:
        first.request(GET)
        session = first.sock.tls.session
    with server.connect(tls=context, session=session) as second:
        seen = second.request(GET).json()["environ"]
        assert second.sock.tls.session_reused
    assert seen["SSL_CLIENT_VERIFY"] == "SUCCESS" and seen["SSL_CLIENT_M_SERIAL"] == "07"


@pytest.mark.parametrize(
    ("reqs", "without", "with_good", "with_bad"),
    [
        ("none", "NONE", "NONE", "NONE"),
        ("0", "NONE", "NONE", "NONE"),
        ("optional", "NONE", "SUCCESS", None),
        ("1", "NONE", "SUCCESS", None),
        ("required", None, "SUCCESS", None),
        ("2", None, "SUCCESS", None),
    ],
)
def test_clients_are_admitted_as_the_option_says(
    fresh_secure, authority, tmp_path, reqs, without, with_good, with_bad
) -> None:
    strangers = Authority(tmp_path, "Other Authority")
    good, bad = authority.issue("client"), strangers.issue("stranger")
    server = fresh_secure("echo:app", "--ca-certs", str(authority.file), "--cert-reqs", reqs)
    for pair, expected in [(None, without), (good, with_good), (bad, with_bad)]:
        context = authority.context(pair)
        if expected is None:
            assert is_refused(server, context)
        else:
            assert environ(server, context)["SSL_CLIENT_VERIFY"] == expected
    if with_bad is None:
        # The client may have the alert before it is counted.
        wait_until(lambda: server.counters().get("handshake_failed", 0) >= 1, "it is counted")


def test_revoked_certificate_is_refused(fresh_secure, authority) -> None:
    good, revoked = authority.issue("good"), authority.issue("bad")
    crl = authority.revoke(revoked)
    options = ["--ca-certs", str(authority.file), "--cert-reqs", "required", "--ca-crl", str(crl)]
    server = fresh_secure("echo:app", *options)
    assert environ(server, authority.context(good))["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert is_refused(server, authority.context(revoked))
    assert "revoked" in server.wait_for_event("tls.handshake_failed", "(.*)")[0].lower()


def test_reload_reads_the_revocation_list_again(fresh_secure, authority) -> None:
    """A client whose certificate was revoked cannot resume its session either."""
    client = authority.issue("client")
    crl = authority.revoke()
    options = ["--ca-certs", str(authority.file), "--cert-reqs", "required", "--ca-crl", str(crl)]
    server = fresh_secure("echo:app", *options)
    context = authority.context(client)
    with server.connect(tls=context) as first:
        first.request(GET)
        session = first.sock.tls.session
    authority.revoke(client)
    reload(server)
    assert is_refused(server, context)
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
        environ(server, context, session)


def test_reload_reads_the_authorities_again(fresh_secure, authority, tmp_path) -> None:
    others = Authority(tmp_path, "Other Authority")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    server = fresh_secure("echo:app", "--ca-certs", str(trusted), "--cert-reqs", "required")
    old, new = (authority.context(issuer.issue("client")) for issuer in (authority, others))
    assert environ(server, old)["SSL_CLIENT_VERIFY"] == "SUCCESS" and is_refused(server, new)
    trusted.write_bytes(others.file.read_bytes())
    reload(server)
    assert is_refused(server, old)
    assert environ(server, new)["SSL_CLIENT_I_DN"] == "CN=Other Authority"
