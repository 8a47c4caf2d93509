"""TLS for tests: certificates made on the spot, and a socket that shows how a session ends."""

from __future__ import annotations

import atexit
import datetime
import functools
import os
import shutil
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


@dataclass
class Pair:
    """The files of a certificate and of its key."""

    certfile: Path
    keyfile: Path
    certificate: x509.Certificate

    def options(self) -> list[str]:
        return ["--certfile", str(self.certfile), "--keyfile", str(self.keyfile)]


class Authority:
    """Signs certificates of servers and clients, and revokes them."""

    def __init__(self, directory: Path, name: str = "Test Authority") -> None:
        self.directory = directory
        self._issued: dict[str, Pair] = {}
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        self.certificate = builder.add_extension(usage, critical=True).sign(
            self.key, hashes.SHA256()
        )
        self.file = directory / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(PEM))

    def _builder(self, subject: x509.Name, key: Any, serial: int = 0) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + 30 * DAY)
            # Both are required by CPython from 3.13 on.
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )

    def issue(
        self,
        stem: str,
        *names: str,
        subject: x509.Name | None = None,
        serial: int = 0,
        key_type: str = "ec",
    ) -> Pair:
        """A certificate for these DNS names, stored as STEM.pem and STEM.key."""
        key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if key_type == "ec"
            else rsa.generate_private_key(65537, 2048)
        )
        name = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stem)])
        builder = self._builder(name, key, serial)
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        pair = Pair(self.directory / f"{stem}.pem", self.directory / f"{stem}.key", certificate)
        pair.certfile.write_bytes(certificate.public_bytes(PEM))
        pair.keyfile.write_bytes(
            key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return pair

    def issue_once(self, stem: str, *names: str) -> Pair:
        """The same certificate at each call."""
        if stem not in self._issued:
            self._issued[stem] = self.issue(stem, *names)
        return self._issued[stem]

    def revoke(self, *pairs: Pair, stem: str = "revoked") -> Path:
        """A revocation list with these certificates."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(NOW - DAY)
            .next_update(NOW + 30 * DAY)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        for pair in pairs:
            revoked = (
                x509.RevokedCertificateBuilder()
                .serial_number(pair.certificate.serial_number)
                .revocation_date(NOW - DAY)
                .build()
            )
            builder = builder.add_revoked_certificate(revoked)
        path = self.directory / f"{stem}.crl"
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(PEM))
        return path

    def context(self, client: Pair | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and has this certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if client is not None:
            context.load_cert_chain(client.certfile, client.keyfile)
        return context


@functools.cache
def everywhere() -> tuple[Authority, Pair]:
    """What servers have if every test runs over TLS: RUSTWSGI_TEST_TLS=1, see tests/README.md."""
    directory = Path(tempfile.mkdtemp(prefix="rustwsgi-tls-"))
    atexit.register(shutil.rmtree, directory)
    authority = Authority(directory)
    return authority, authority.issue("everywhere", "localhost")


class TlsSocket:
    """A session over a connected socket, with the calls of a socket that the client uses.

    A close_notify is the end of the stream. An end of the connection without one raises
    ConnectionResetError: whatever came before it may be incomplete. Tests of plain connections that
    run over TLS (RUSTWSGI_TEST_TLS) do not distinguish the two: for them both are the end.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.raw = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)

    def handshake(self) -> TlsSocket:
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return self
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            except ssl.SSLError:
                self.flush()
                raise

    def flush(self) -> None:
        if self._out.pending:
            self.raw.sendall(self._out.read())

    def _receive(self) -> None:
        data = self.raw.recv(65536)
        if data:
            self._in.write(data)
        elif os.environ.get("RUSTWSGI_TEST_TLS"):
            self._in.write_eof()
        else:
            raise ConnectionResetError("the connection has ended without a close_notify")

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:16384]) :]
            self.flush()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def close_notify(self) -> None:
        """End our side of the session, but not of the connection."""
        try:
            self.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass
        self.flush()

    def shutdown(self, how: int) -> None:
        self.close_notify()
        self.raw.shutdown(how)

    def close(self) -> None:
        self.raw.close()

    def fileno(self) -> int:
        return self.raw.fileno()

    def getsockname(self) -> Any:
        return self.raw.getsockname()

    def setsockopt(self, *args: Any) -> None:
        self.raw.setsockopt(*args)

    def settimeout(self, timeout: float | None) -> None:
        self.raw.settimeout(timeout)
