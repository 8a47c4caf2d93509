"""An application beside static files: it names files, and says which requests have reached it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

Start = Callable[..., Callable[[bytes], object]]


class Body:
    """A body that must not be sent, and reports that it was closed."""

    closed = 0

    def __iter__(self) -> Iterable[bytes]:
        yield b"the application's own body"

    def close(self) -> None:
        Body.closed += 1


def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/closed":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(Body.closed).encode()]
    if path == "/block":
        with open(environ["QUERY_STRING"], "rb") as pipe:  # waits for a writer
            pipe.read()
    if not path.startswith("/send"):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-From", "app")])
        return [b"app: " + path.encode("latin-1")]
    asked = json.loads(environ["wsgi.input"].read() or b"{}")
    root = os.environ.get("SENDFILE_ROOT", "/nowhere")
    name = asked.get("field", "X-Sendfile")
    headers = [(name, asked["path"].replace("ROOT", root)), *map(tuple, asked.get("headers", []))]
    if path == "/send/generator":
        return lazily(start_response, headers)
    write = start_response(asked.get("status", "200 OK"), headers)
    if path == "/send/write":
        write(b"the application's own body")
        return []
    if path == "/send/empty":
        return []
    if path == "/send/closing":
        return Body()  # type: ignore[return-value]
    return [b"the application's ", b"own body"]


def lazily(start_response: Start, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    """start_response is called when the first block is asked for."""
    start_response("200 OK", headers)
    yield b""
    yield b"the application's own body"
