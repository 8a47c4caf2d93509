"""gunicorn's ``pre_request`` and ``post_request`` hooks, and the objects that they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit


class Request:
    """A request, with the attributes of ``gunicorn.http.message.Request`` that hooks use."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        # A target such as //a/b is a path. urlsplit() would take `a` for a host.
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
    """The response to a request, with the attributes of gunicorn's ``Response`` that hooks use.

    After an exception it is the server's own error page. ``sent`` counts bytes of content.
    """

    def __init__(self, status: bytes, fields: list[tuple[bytes, bytes]], sent: int) -> None:
        self.status = status.decode("latin-1")
        self.status_code = int(status[:3])
        self.headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in fields]
        self.headers_sent = True
        self.sent = sent


class RequestHooks:
    """The two hooks of one configuration. ``src/wsgi/application.rs`` calls the methods."""

    def __init__(
        self,
        worker: Any,
        pre: Callable[..., Any] | None,
        post: Callable[..., Any] | None,
    ) -> None:
        self._worker = worker
        self._pre = pre
        self._post = post
        self._post_arguments = count_arguments(post) if post else 0

    make_request = Request

    def pre_request(self, request: Request) -> None:
        """Count the request, and call ``pre_request`` before the application."""
        self._worker.nr += 1
        if self._pre:
            self._pre(self._worker, request)

    def post_request(
        self,
        request: Request,
        environ: dict[str, Any],
        status: bytes,
        fields: list[tuple[bytes, bytes]],
        sent: int,
    ) -> None:
        """Call ``post_request`` after the response was sent and closed."""
        if self._post:
            # The status is empty if the client disconnected before the application set one.
            response = Response(status, fields, sent) if status else None
            arguments = (self._worker, request, environ, response)
            self._post(*arguments[: self._post_arguments])


def count_arguments(post: Callable[..., Any]) -> int:
    """How many arguments ``post_request`` takes.

    gunicorn passes (worker, request, environ, response); older configurations take the first two
    or three. Raises TypeError for any other number.
    """
    count = 0
    for parameter in inspect.signature(post).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return 4
        count += parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    if count not in (2, 3, 4):
        raise TypeError(f"post_request takes {count} arguments: it must take 2, 3 or 4")
    return count
