"""The ways to one application: HTTP/1.1 and HTTP/2, with TLS and without."""

from __future__ import annotations

from .client import Client
from .server import ServerProcess
from .tls import Authority

HTTP2_WAYS = ["h2c", "h2"]
WAYS = ["http/1.1", "https/1.1", *HTTP2_WAYS]


class Ways:
    """A server with two addresses: one with TLS, one without."""

    def __init__(self, server: ServerProcess, authority: Authority) -> None:
        self.server = server
        listening = r"http://127.0.0.1:(\d+)"
        self.plain_port = int(server.wait_for_event("server.listening", listening)[1])
        self.contexts = {way: authority.context() for way in ("https/1.1", "h2")}
        self.contexts["h2"].set_alpn_protocols(["h2"])

    def connect(self, way: str) -> Client:
        """A connection that takes requests of HTTP/1.1: see `bridge`."""
        context = self.contexts.get(way)
        port = None if context else self.plain_port
        return self.server.connect(port=port, tls=context, bridged=way in HTTP2_WAYS)

    def url(self, way: str) -> str:
        if way in self.contexts:
            return f"https://localhost:{self.server.port}"
        return f"http://localhost:{self.plain_port}"
