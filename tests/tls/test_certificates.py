"""Which certificate a client gets, how certificates are renewed, and mistakes at the start."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from harness import TIMEOUT, build_request, run_cli, wait_until
from harness.supervision import serving_pid

GET = build_request()
#: The server checks its files every 10 s; the contract says 60.
RENEWAL = 40.0


def names_of(server, name: str | None, context: ssl.SSLContext) -> set[str]:
    """The names in the certificate that a client gets which asks for `name`."""
    context.check_hostname = False
    with server.connect(tls=context, name=name) as client:
        return certificate_names(client)


def certificate_names(client) -> set[str]:
    der = client.sock.tls.getpeercert(binary_form=True)
    return dns_names(x509.load_der_x509_certificate(der))


def presents(server, name: str) -> bool:
    """Whether a new connection gets the certificate with this name."""
    with server.connect() as client:
        return name in certificate_names(client)


def dns_names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def test_certificate_is_chosen_by_name(fresh_server, authority) -> None:
    pairs = [
        authority.issue("first", "first.example"),
        authority.issue("second", "second.example", "www.second.example"),
        authority.issue("wild", "*.wild.example"),
        authority.issue("exact", "exact.wild.example"),
    ]
    server = fresh_server("echo:app", *[option for pair in pairs for option in pair.options()])
    for name, expected in [
        ("first.example", "first.example"),
        ("second.example", "second.example"),
        ("WWW.second.EXAMPLE", "second.example"),
        ("a.wild.example", "*.wild.example"),
        ("exact.wild.example", "exact.wild.example"),
        # The default: unknown names, a wildcard does not match its parent or two labels, no name.
        ("wild.example", "first.example"),
        ("a.b.wild.example", "first.example"),
        ("unknown.example", "first.example"),
        (None, "first.example"),
    ]:
        assert expected in names_of(server, name, authority.context()), name


def test_common_name_counts_if_there_is_no_other_name(fresh_server, authority) -> None:
    """`openssl req -x509 -subj /CN=...` makes such certificates."""
    pairs = [
        authority.issue("first.example"),
        authority.issue("second.example"),
        authority.issue("third.example", "other.example"),
    ]
    server = fresh_server("echo:app", *[option for pair in pairs for option in pair.options()])
    context = authority.context()
    context.check_hostname = False
    for name, expected in [
        ("second.example", "second.example"),
        ("SECOND.example", "second.example"),
        ("other.example", "third.example"),
        ("third.example", "first.example"),
    ]:
        with server.connect(tls=context, name=name) as client:
            der = client.sock.tls.getpeercert(binary_form=True)
        subject = x509.load_der_x509_certificate(der).subject
        assert subject.rfc4514_string() == f"CN={expected}", name


def test_common_name_does_not_take_a_name_from_a_subject_alt_name(fresh_server, authority) -> None:
    """A placeholder from before ACME had issued, for example, comes first and stays the default."""
    pairs = [
        authority.issue("www.example.org"),
        authority.issue("exact", "www.example.org"),
        authority.issue("mail.example.net"),
        authority.issue("wildcard", "*.example.net"),
    ]
    server = fresh_server("echo:app", *[option for pair in pairs for option in pair.options()])
    context = authority.context()
    context.check_hostname = False
    for name, expected in [("www.example.org", "exact"), ("mail.example.net", "wildcard")]:
        with server.connect(tls=context, name=name) as client:
            der = client.sock.tls.getpeercert(binary_form=True)
        subject = x509.load_der_x509_certificate(der).subject
        assert subject.rfc4514_string() == f"CN={expected}", name


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_key_that_the_client_can_verify_is_chosen(fresh_server, authority) -> None:
    rsa = authority.issue("rsa", "localhost", "rsa.example", key_type="rsa")
    ec = authority.issue("ec", "localhost", "ec.example")
    server = fresh_server("echo:app", *ec.options(), *rsa.options())
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}"]
    command += ["-servername", "localhost"]
    for algorithms, expected in [
        ("RSA-PSS+SHA256", "rsa.example"),
        ("ECDSA+SHA256", "ec.example"),
        ("RSA-PSS+SHA256:ECDSA+SHA256", "ec.example"),
    ]:
        shown = subprocess.run(
            [*command, "-sigalgs", algorithms],
            input="",
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        ).stdout
        text = (
            shown[shown.index("-----BEGIN") : shown.index("-----END")]
            + "-----END CERTIFICATE-----\n"
        )
        certificate = x509.load_pem_x509_certificate(text.encode())
        assert expected in dns_names(certificate), algorithms


def test_key_may_be_in_the_file_of_the_certificate(fresh_server, authority, tmp_path) -> None:
    pair = authority.issue("localhost", "localhost")
    both = tmp_path / "both.pem"
    both.write_bytes(pair.keyfile.read_bytes() + pair.certfile.read_bytes())
    server = fresh_server("echo:app", "--ssl-certfile", str(both))
    server.tls = authority.context()
    assert server.get("/").status == 200


def test_options_have_the_names_of_other_servers_too(fresh_server, authority) -> None:
    pair = authority.issue("localhost", "localhost")
    options = ["--ssl-certfile", str(pair.certfile), "--ssl-keyfile", str(pair.keyfile)]
    server = fresh_server("echo:app", *options)
    server.tls = authority.context()
    assert server.get("/").status == 200


def test_unix_socket_and_insecure_address_stay_plain(fresh_secure, tmp_path) -> None:
    path = tmp_path / "s"
    server = fresh_secure("echo:app", "--bind", f"unix:{path}", "--insecure-bind", "127.0.0.1:0")
    port = int(server.wait_for_event("server.listening", r"http://127.0.0.1:(\d+)")[1])
    with server.connect(port=port) as client:
        assert client.request(GET).json()["environ"]["wsgi.url_scheme"] == "http"
    server.unix = str(path)
    server.tls = None
    seen = server.get("/").json()["environ"]
    assert seen["wsgi.url_scheme"] == "http" and "SSL_PROTOCOL" not in seen


@pytest.mark.parametrize("by_signal", [True, False])
def test_renewed_certificate_is_used_without_a_restart(fresh_server, authority, by_signal) -> None:
    """By HUP, and by itself: then the workers go on."""
    pair = authority.issue("localhost", "localhost", "old.example")
    options = ["--workers", "2", "--keep-alive", "60"]
    server = fresh_server("supervised:app", *pair.options(), *options)
    server.tls = authority.context()
    with server.connect() as before:
        pid = before.request(build_request("GET", "/pid")).body
        assert "old.example" in certificate_names(before)
        session = before.sock.tls.session
        authority.issue("localhost", "localhost", "new.example")
        if by_signal:
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reload.completed")
        else:
            server.wait_for_event("tls.renewed", timeout=RENEWAL)
            # The connection goes on, in the same worker.
            assert before.request(build_request("GET", "/pid")).body == pid
    # Workers get the certificates, or accept the last connection, a moment later.
    wait_until(lambda: presents(server, "new.example"), "it is used")
    # Sessions from before are resumed.
    with server.connect(session=session) as resumed:
        assert resumed.request(GET).status == 200
        assert resumed.sock.tls.session_reused


def test_certificate_that_does_not_fit_is_refused_and_the_old_one_stays(
    fresh_server, authority, tmp_path
) -> None:
    pair = authority.issue("localhost", "localhost", "old.example")
    server = fresh_server("echo:app", *pair.options())
    server.tls = authority.context()
    # Half of a renewal: the certificate is new, the key is not.
    renewed = authority.issue("renewed", "localhost", "new.example")
    renewed.certfile.replace(pair.certfile)
    reason = server.wait_for_event("tls.not_renewed", "(.*)", timeout=RENEWAL)[0]
    assert "--keyfile" in reason
    with server.connect() as client:
        assert "old.example" in certificate_names(client)
    start = len(server.stderr())
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.rejected", "--keyfile", start=start)
    assert server.get("/").status == 200
    # The other half.
    renewed.keyfile.replace(pair.keyfile)
    server.wait_for_event("tls.renewed", timeout=RENEWAL)
    wait_until(lambda: presents(server, "new.example"), "it is used")
    assert server.stderr().count("[tls.not_renewed]") == 1


def test_session_is_resumed_after_a_reload(fresh_secure) -> None:
    server = fresh_secure("supervised:app")
    with server.connect() as client:
        client.request(GET)
        session = client.sock.tls.session
    pid = serving_pid(server)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    wait_until(lambda: serving_pid(server) != pid, "the new worker serves")
    with server.connect(session=session) as client:
        assert client.request(GET).status == 200
        assert client.sock.tls.session_reused


def test_key_is_read_with_the_rights_of_the_master(fresh_server, authority) -> None:
    """Workers of another user get keys that only root can read, also renewed ones."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")
    pair = authority.issue("localhost", "localhost", "old.example")
    pair.keyfile.chmod(0o600)
    server = fresh_server("supervised:app", *pair.options(), "--preload", "--user", "nobody")
    server.tls = authority.context()
    assert server.get("/").status == 200
    authority.issue("localhost", "localhost", "new.example").keyfile.chmod(0o600)
    server.wait_for_event("tls.renewed", timeout=RENEWAL)
    wait_until(lambda: presents(server, "new.example"), "it is used")


MISTAKES = [
    (["--certfile", "missing.pem"], 1, r"--certfile: cannot read .*missing.pem.*No such file"),
    (["--certfile", "."], 1, r"--certfile: cannot read .*: it is not a file"),
    (["--certfile", "a.pem"], 1, r"no private key was found; name the key with --keyfile"),
    (
        ["--certfile", "a.pem", "--keyfile", "b.key"],
        1,
        r"b.key: the key does not match the certificate of .*a.pem",
    ),
    (["--certfile", "a.key", "--keyfile", "a.key"], 1, r"a.key: no certificate was found"),
    (
        ["--certfile", "a.pem", "--keyfile", "half.key"],
        1,
        r"half.key: not a PEM file: the line that ends a section is missing",
    ),
    (
        ["--certfile", "bad.pem", "--keyfile", "a.key"],
        1,
        r"--certfile .*bad.pem: cannot use the certificate: it is malformed: ",
    ),
    (
        ["--certfile", "a.pem", "--keyfile", "encrypted.key"],
        1,
        r"encrypted.key: the key is encrypted; remove its passphrase",
    ),
    (["--keyfile", "a.key"], 2, r"--keyfile: there is no certificate"),
    (
        ["--certfile", "a.pem", "--certfile", "b.pem", "--keyfile", "a.key"],
        2,
        r"--keyfile: given 1 t",
    ),
    (["--certfile", "a.both", "--cert-reqs", "required"], 2, r"'required' needs .*--ca-certs"),
    (["--certfile", "a.both", "--cert-reqs", "2"], 2, r"'required' needs .*--ca-certs"),
    (["--certfile", "a.both", "--cert-reqs", "maybe"], 2, r"not one of none, optional, required"),
    (
        ["--certfile", "a.both", "--cert-reqs=1", "--ca-certs", "a.key"],
        1,
        r"--ca-certs .*a.key: no cert",
    ),
    (
        ["--certfile", "a.both", "--cert-reqs=1", "--ca-certs", "a.pem", "--ca-crl", "a.pem"],
        1,
        r"--ca-crl .*a.pem: no revocation list was found",
    ),
    (["--certfile", "a.both", "--tls-min-version", "1.1"], 2, r"1\.2, 1\.3"),
    (["--redirect-bind", "127.0.0.1:0"], 2, r"--redirect-bind: there is no HTTPS"),
    (["--ca-certs", "a.pem"], 2, r"--ca-certs: there is no TLS without a certificate"),
    (
        ["--certfile", "a.both", "-b", ":1", "--insecure-bind", ":1"],
        2,
        r"--insecure-bind: .* twice",
    ),
]


@pytest.mark.parametrize(("options", "code", "message"), MISTAKES)
def test_mistake_ends_the_start_with_a_message(
    door, authority, options: list[str], code: int, message: str
) -> None:
    directory = authority.directory
    a = authority.issue("a", "a.example")
    authority.issue("b", "b.example")
    (directory / "a.both").write_bytes(a.certfile.read_bytes() + a.keyfile.read_bytes())
    (directory / "half.key").write_bytes(a.keyfile.read_bytes()[:100])
    bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (directory / "bad.pem").write_text(bad)
    key = load_pem_private_key(a.keyfile.read_bytes(), None)
    # Its header has the passphrase's parameters within the section.
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    encryption = serialization.BestAvailableEncryption(b"secret")
    encrypted = key.private_bytes(serialization.Encoding.PEM, traditional, encryption)
    (directory / "encrypted.key").write_bytes(encrypted)
    ended = run_cli(door, "--bind", "127.0.0.1:0", *options, "echo:app", cwd=directory)
    assert ended.returncode == code, ended.stderr
    assert re.search(message, ended.stderr), ended.stderr
    # A key is never shown.
    assert "PRIVATE" not in ended.stderr


def test_check_config_reads_the_certificates(door, authority) -> None:
    pair = authority.issue("a", "a.example")
    other = authority.issue("b", "b.example")
    options = ["--certfile", str(pair.certfile), "--keyfile", str(other.keyfile)]
    ended = run_cli(door, "--check-config", *options, "echo:app")
    assert ended.returncode == 1 and "does not match" in ended.stderr
    assert run_cli(door, "--check-config", *pair.options(), "echo:app").returncode == 0
