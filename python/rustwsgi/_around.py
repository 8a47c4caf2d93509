"""gunicorn's `pre_request` and `post_request`, and the objects they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


class Request:
    """A request, with the attributes that gunicorn's has."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        # Two slashes in front are part of the path, not of a host.
        is_path = self.uri.startswith("/")
        parts = urlsplit(f"http://host{self.uri}" if is_path else self.uri)
        self.path, self.query, self.fragment = parts.path, parts.query, parts.fragment
        major, minor = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").split(".")
        self.version = (int(major), int(minor))
        self.scheme: str = environ["wsgi.url_scheme"]
        self.body = environ["wsgi.input"]
        address = environ.get("REMOTE_ADDR", "")
        self.peer_addr = (address, int(environ["REMOTE_PORT"])) if address else ""
        self.remote_addr = self.peer_addr
        self.headers = [
            (key.removeprefix("HTTP_").replace("_", "-"), value)
            for key, value in environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        ]


class Response:
    """What became of it. Also if that is the server's own page, after an exception."""

    def __init__(self, line: bytes, fields: list[tuple[bytes, bytes]], sent: int) -> None:
        self.status = line.decode("latin-1")
        self.status_code = int(line[:3])
        self.headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in fields]
        self.headers_sent = True
        self.sent = sent


class Around:
    """The functions of one configuration."""

    def __init__(
        self,
        worker: Any,
        pre: Callable[..., Any] | None,
        post: Callable[..., Any] | None,
    ) -> None:
        self._worker = worker
        self._pre = pre
        self._post = post
        self._wanted = arguments_of(post) if post else 0

    request = Request

    def before(self, request: Request) -> None:
        self._worker.nr += 1
        if self._pre:
            self._pre(self._worker, request)

    def after(
        self,
        request: Request,
        environ: dict[str, Any],
        line: bytes,
        fields: list[tuple[bytes, bytes]],
        sent: int,
    ) -> None:
        if self._post:
            # The line is empty if the client left before there was one.
            response = Response(line, fields, sent) if line else None
            self._post(*(self._worker, request, environ, response)[: self._wanted])


def arguments_of(post: Callable[..., Any]) -> int:
    """How many of its four arguments `post_request` wants: gunicorn has added to them over time."""
    count = 0
    for parameter in inspect.signature(post).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return 4
        count += parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    if count not in (2, 3, 4):
        raise TypeError(f"post_request takes {count} arguments; it is called with 4, 3 or 2")
    return count
