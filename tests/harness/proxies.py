"""nginx, HAProxy and Caddy as child processes, configured as docs/deployment.md or another page says.

The snippets are taken from the page, unless a test has its own; only addresses are inserted, and what a process without root
needs: its own directory, no daemon.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness import ROOT, TIMEOUT, Client, Response, build_request, wait_until
from harness.ports import free_port

PAGE = ROOT / "docs" / "deployment.md"
#: What the page's configurations listen at, and where they expect the server.
PUBLIC = re.compile(r"(listen |bind :)80\b")
SERVER = "/run/hello/hello.sock"

NGINX = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {log};
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {snippet}
}}
"""


def find(name: str) -> str | None:
    """The program of a proxy; Debian installs them where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def require(name: str) -> str:
    """The same; the test is skipped without it."""
    path = find(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def snippet(language: str, page: Path = PAGE, begin: str = "") -> str:
    """The first block of this language in the page, or that which begins with this line."""
    pattern = rf"(?ms)^```{language}\n({re.escape(begin)}\n?.*?)^```"
    found = re.search(pattern, page.read_text(encoding="utf-8"))
    assert found, f"{page} has no {language}"
    return found[1]


class Proxy:
    """A running proxy in front of `server`: "127.0.0.1:PORT" or "unix:PATH".

    `text` is its configuration, in place of the snippet of the page. If it names the server, `server`
    is None."""

    def __init__(
        self,
        name: str,
        server: str | None,
        directory: Path,
        text: str | None = None,
        **changes: str,
    ) -> None:
        program = find(name)
        assert program, f"{name} is not installed"
        self.name = name
        self.port = free_port()
        self.log = directory / f"{name}.log"
        file = directory / f"{name}.conf"
        text = text or snippet(name)
        if server is not None:
            sign = {"nginx": "unix:", "haproxy": "unix@", "caddy": "unix/"}[name]
            changes = {f"{sign}{SERVER}": server.replace("unix:", sign), **changes}
        file.write_text(getattr(self, f"_{name}")(text, directory, changes))
        command = {
            "nginx": ["-e", str(self.log), "-p", str(directory), "-c", str(file)],
            "haproxy": ["-db", "-f", str(file)],
            "caddy": ["run", "--adapter", "caddyfile", "--config", str(file)],
        }[name]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Caddy stores certificates and its last configuration there.
                env={**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)},
            )
        wait_until(self._listens, f"{name} listens: {self.log.read_text()}")

    def _nginx(self, text: str, directory: Path, changes: dict[str, str]) -> str:
        text = self._change(PUBLIC.sub(rf"\g<1>127.0.0.1:{self.port}", text), changes)
        user = "user root;" if os.geteuid() == 0 else ""  # or the workers could not see `directory`
        return NGINX.format(user=user, directory=directory, log=self.log, snippet=text)

    def _haproxy(self, text: str, _directory: Path, changes: dict[str, str]) -> str:
        return self._change(PUBLIC.sub(f"bind 127.0.0.1:{self.port}", text), changes)

    def _caddy(self, text: str, _directory: Path, changes: dict[str, str]) -> str:
        # Plain HTTP at this address, without the listener for commands.
        site = {"hello.example {": f"http://:{self.port} {{\n\tbind 127.0.0.1"}
        return "{\n\tadmin off\n}\n" + self._change(text, {**site, **changes})

    @staticmethod
    def _change(text: str, changes: dict[str, str]) -> str:
        for old, new in changes.items():
            assert old in text, f"{old!r} is no longer in the configuration"
            text = text.replace(old, new)
        return text

    def _listens(self) -> bool:
        assert self._process.poll() is None, f"{self.name} ended: {self.log.read_text()}"
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(TIMEOUT)

    def connect(self, source: str = "127.0.0.1") -> Client:
        """A new connection, from another address of this machine if need be."""
        sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT, (source, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Client(sock)

    def get(self, target: str, **fields: str) -> Response:
        pairs = [(name.replace("_", "-"), value) for name, value in fields.items()]
        with self.connect() as client:
            return client.request(build_request("GET", target, fields=pairs))
