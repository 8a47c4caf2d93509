"""Pebble, the ACME server that Let's Encrypt tests clients with: https://github.com/letsencrypt/pebble

It validates names by connecting to this machine, and loses all accounts and orders when it ends.
"""

from __future__ import annotations

import datetime
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

from .checks import wait_until
from .client import TIMEOUT
from .ports import free_ports
from .tls import Authority

#: Debian's package `pebble` has both.
IS_INSTALLED = all(shutil.which(name) for name in ("pebble", "pebble-challtestsrv"))


class Pebble:
    """An ACME authority, and a name server that leads every name to 127.0.0.1."""

    def __init__(self, directory: Path, *, blocked: list[str] | None = None) -> None:
        self.home = directory / "pebble"
        self.home.mkdir()
        self.blocked = blocked or []
        #: Seconds that a certificate is valid; None for Pebble's five years.
        self.validity: int | None = None
        #: Where it expects the server: challenges of HTTP-01, and of TLS-ALPN-01.
        self.http_port, self.tls_port, self.port, self._management, self._dns, self._control = (
            free_ports(6)
        )
        self.url = f"https://localhost:{self.port}/dir"
        authority = Authority(self.home, "Pebble API")
        self._api = authority.issue("localhost", "localhost")
        self.api_context = authority.context()
        #: For the environment of a server, which has to trust the authority's own certificate.
        self.environment = {"SSL_CERT_FILE": str(authority.file)}
        self._processes: list[subprocess.Popen[bytes]] = []

    def options(self, cache: Path, *domains: str) -> list[str]:
        """Options of a server that orders a certificate for `domains` here."""
        named = [text for domain in domains for text in ("--acme-domain", domain)]
        return [*named, "--acme-directory", self.url, "--acme-cache", str(cache)]

    def start(self, **environment: str) -> Pebble:
        """Start, and return when it answers. `environment` has variables of Pebble."""
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self._api.certfile),
            "privateKey": str(self._api.keyfile),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "domainBlocklist": self.blocked,
            "certificateValidityPeriod": self.validity,
        }
        file = self.home / "config.json"
        file.write_text(json.dumps({"pebble": config}))
        dns = f"127.0.0.1:{self._dns}"
        # Versions differ in what they offer besides.
        usage = subprocess.run(["pebble-challtestsrv", "-h"], capture_output=True, check=False)
        services = [f"-{name}" for name in ("http01", "https01", "tlsalpn01", "doh")]
        off = [
            text for name in services if f"{name} ".encode() in usage.stderr for text in (name, "")
        ]
        addresses = ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]
        control = f"127.0.0.1:{self._control}"
        names = ["pebble-challtestsrv", "-dns01", dns, "-management", control, *addresses, *off]
        self._run(names, {})
        defaults = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
        }
        command = ["pebble", "-config", str(file), "-dnsserver", dns, "-strict"]
        self._run(command, {**defaults, **environment})
        wait_until(self._answers, "Pebble and its name server answer")
        return self

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        log = (self.home / f"{command[0]}.log").open("ab")
        with log:
            self._processes.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **environment},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                )
            )

    def _answers(self) -> bool:
        try:
            self._fetch(self.url)
            socket.create_connection(("127.0.0.1", self._control)).close()
        except OSError:
            return False
        return True

    def _fetch(self, url: str) -> bytes:
        with urllib.request.urlopen(url, context=self.api_context, timeout=TIMEOUT) as response:
            data: bytes = response.read()
            return data

    def context(self, directory: Path) -> ssl.SSLContext:
        """A client that trusts the certificates that were issued since the start."""
        root = directory / "pebble-root.pem"
        root.write_bytes(self._fetch(f"https://localhost:{self._management}/roots/0"))
        return ssl.create_default_context(cafile=str(root))

    def server_context(self) -> ssl.SSLContext:
        """For a server beside it that has the same certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._api.certfile, self._api.keyfile)
        return context

    def log(self) -> str:
        """What it has done."""
        return (self.home / "pebble.log").read_text()

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def __enter__(self) -> Pebble:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class Suggestions:
    """An authority in front of Pebble that suggests when to renew (RFC 9773), which Pebble of
    Debian does not. Not a server of its own: it passes all other requests on."""

    def __init__(self, pebble: Pebble, begin: datetime.datetime, end: datetime.datetime) -> None:
        #: The identifiers of the certificates that it was asked for.
        self.asked: list[str] = []
        window = {"start": begin.isoformat(), "end": end.isoformat()}
        suggestion = json.dumps({"suggestedWindow": window}).encode()
        suggestions = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/renewal/")
                if name == self.path:
                    return self.pass_on()
                suggestions.asked.append(name)
                self.answer(200, {"Retry-After": "21600"}, suggestion)

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection = http.client.HTTPSConnection(
                    "localhost", pebble.port, context=pebble.api_context, timeout=TIMEOUT
                )
                # With this host, so that Pebble's links lead here.
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                data = response.read()
                if self.path == "/dir":
                    links = json.loads(data)
                    links["renewalInfo"] = f"{suggestions.base}/renewal"
                    data = json.dumps(links).encode()
                kept = {"Replay-Nonce", "Location", "Content-Type", "Link", "Retry-After"}
                fields = {name: value for name, value in response.headers.items() if name in kept}
                self.answer(response.status, fields, data)
                connection.close()

            do_POST = do_HEAD = pass_on

            def answer(self, status: int, fields: dict[str, str], data: bytes) -> None:
                self.send_response(status)
                for name, value in {**fields, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = pebble.server_context().wrap_socket(
            self._server.socket, server_side=True
        )
        self.base = f"https://localhost:{self._server.server_address[1]}"
        self.url = f"{self.base}/dir"

    def __enter__(self) -> Suggestions:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
