"""nginx and HAProxy as child processes, configured as docs/deployment.md or another page says.

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


def snippet(language: str, page: Path = PAGE) -> str:
    """The first block of this language in the page."""
    found = re.search(rf"(?ms)^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"))
    assert found, f"{page} has no {language}"
    return found[1]


class Proxy:
    """A running proxy in front of `server`: "127.0.0.1:PORT" or "unix:PATH".

    `text` is its configuration, in place of the snippet of the page."""

    def __init__(
        self, name: str, server: str, directory: Path, text: str | None = None, **changes: str
    ) -> None:
        program = find(name)
        assert program, f"{name} is not installed"
        self.name = name
        self.port = free_port()
        self.log = directory / f"{name}.log"
        file = directory / f"{name}.conf"
        text = text or snippet(name)
        file.write_text(getattr(self, f"_{name}")(text, server, directory, changes))
        command = {
            "nginx": ["-e", str(self.log), "-p", str(directory), "-c", str(file)],
            "haproxy": ["-db", "-f", str(file)],
        }[name]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._listens, f"{name} listens: {self.log.read_text()}")

    def _nginx(self, text: str, server: str, directory: Path, changes: dict[str, str]) -> str:
        text = PUBLIC.sub(rf"\g<1>127.0.0.1:{self.port}", text)
        text = self._change(text, {f"unix:{SERVER}": server, **changes})
        user = "user root;" if os.geteuid() == 0 else ""  # or the workers could not see `directory`
        return NGINX.format(user=user, directory=directory, log=self.log, snippet=text)

    def _haproxy(self, text: str, server: str, directory: Path, changes: dict[str, str]) -> str:
        text = PUBLIC.sub(f"bind 127.0.0.1:{self.port}", text)
        where = server.replace("unix:", "unix@")
        return self._change(text, {f"unix@{SERVER}": where, **changes})

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
