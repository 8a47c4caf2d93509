"""What a server with `--acme-domain` serves, and what its cache has."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .checks import wait_until
from .client import TIMEOUT
from .pebble import Pebble
from .server import ServerProcess
from .supervision import children, descriptors
from .tls import NOW, PEM, TlsSocket

#: An order has several requests, and a client in a process that was just forked.
ORDER_TIMEOUT = 60.0


def handshake(server: ServerProcess, context: ssl.SSLContext, name: str = "localhost") -> TlsSocket:
    sock = socket.create_connection((server.host, server.port), timeout=TIMEOUT)
    return TlsSocket(sock, context, name).handshake()


def trusting_nobody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served(server: ServerProcess) -> x509.Certificate:
    """The certificate that a new connection gets."""
    session = handshake(server, trusting_nobody())
    der = session.tls.getpeercert(binary_form=True)
    session.close()
    assert der is not None
    return x509.load_der_x509_certificate(der)


def names(certificate: x509.Certificate) -> set[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(extension.value.get_values_for_type(x509.DNSName))


def plant(cache: Path, *domains: str, age: datetime.timedelta, left: datetime.timedelta) -> int:
    """Put a certificate into the cache; returns its serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "planted")])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - age)
        .not_valid_after(NOW + left)
        .add_extension(alternatives, critical=False)
        # By which it is named to the authority.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cache.mkdir(mode=0o700)
    (cache / f"{domains[0]}.pem").write_bytes(certificate.public_bytes(PEM) + private)
    return certificate.serial_number


def visit_of(server: ServerProcess) -> int:
    """The pid of a visit, once the workers have booted: they wait for events. A frozen visit does
    not give up an authority that does not answer. [CONNECT_TIMEOUT in src/acme/http.rs]"""
    [visit] = [
        pid
        for pid in children(server.pid)
        if not any("eventpoll" in target for target in descriptors(pid))
    ]
    return visit


def requests_of(pebble: Pebble, path: str) -> int:
    return pebble.log().count(f"POST /{path} ")


def ordered(server: ServerProcess, name: str = "localhost") -> None:
    """Wait until the certificate was issued, and all workers have it."""
    server.wait_for_event("acme.ordered", timeout=ORDER_TIMEOUT)
    all_serve(server, lambda certificate: name in names(certificate))


def all_serve(server: ServerProcess, expected: Callable[[x509.Certificate], bool]) -> None:
    """Wait until new connections, of any worker, get a certificate as expected."""

    def is_served() -> bool:
        try:
            return expected(served(server))
        except (ssl.SSLError, ConnectionResetError):
            return False

    wait_until(lambda: all(is_served() for _ in range(8)), "the new certificate is served")
