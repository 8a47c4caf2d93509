"""Clients that ask for an upgrade of their connections: see `apps/upgrade.py`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from .client import TIMEOUT, Client, build_request
from .server import ServerProcess

UPGRADE = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "echo")]
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"


def upgrade_request(target: str, **keywords) -> bytes:
    return build_request(target=target, fields=UPGRADE, **keywords)


class Upgrades:
    """Makes upgraded connections to a server."""

    def __init__(self, server: ServerProcess, authority: Path | None = None) -> None:
        self.server = server
        #: The file of the certificate that clients trust.
        self.authority = authority

    def open(self, target: str, sent_ahead: bytes = b"", **keywords) -> Client:
        """A connection whose 101 has arrived."""
        client = self.server.connect(**keywords)
        client.send(upgrade_request(target) + sent_ahead)
        assert client.read(len(ACCEPT)) == ACCEPT
        return client

    def facts(self) -> dict[str, str]:
        """What the application knows of its threads."""
        lines = self.server.get("/unused").text.splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def wait_for_threads(self, count: int) -> None:
        """Wait until the worker has this many worker threads."""
        self.wait_for_fact("threads", lambda threads: int(threads) == count)

    def wait_for_fact(self, name: str, holds: Callable[[str], bool]) -> None:
        """Ask until the application says so."""
        deadline = time.monotonic() + TIMEOUT
        while not holds(fact := self.facts()[name]):
            assert time.monotonic() < deadline, f"{name} is {fact}"
