"""gunicorn's ``pre_request`` and ``post_request`` hooks, and the objects that they are given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

#: The keys of header fields that have no prefix.
PLAIN = ("CONTENT_TYPE", "CONTENT_LENGTH")


class Request:
    """A request, with the attributes of ``gunicorn.http.message.Request`` that hooks use.

    gunicorn makes the environ after ``pre_request``, from the attributes that this hook leaves. So
    :meth:`apply_changes` carries them over.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        # A target such as //a/b is a path. urlsplit() would take `a` for a host.
        is_path = self.uri.startswith("/")
        parts = urlsplit(f"http://host{self.uri}" if is_path else self.uri)
        self.path, self.query, self.fragment = parts.path, parts.query, parts.fragment
        # HTTP/2 has no minor version: there gunicorn's requests have (2, 0).
        major, _, minor = environ["SERVER_PROTOCOL"].removeprefix("HTTP/").partition(".")
        self.version = (int(major), int(minor or 0))
        self.scheme: str = environ["wsgi.url_scheme"]
        self.body = environ["wsgi.input"]
        address = environ.get("REMOTE_ADDR", "")
        self.peer_addr = (address, int(environ["REMOTE_PORT"])) if address else ""
        self.remote_addr = self.peer_addr
        self.headers = [(field_name(key), value) for key, value in environ.items() if is_field(key)]
        self._received = self._state()

    def _state(self) -> dict[str, Any]:
        """The attributes that ``pre_request`` may change."""
        names = ("method", "uri", "path", "query", "version", "scheme", "body")
        return {name: getattr(self, name) for name in names} | {"headers": list(self.headers)}

    def apply_changes(self) -> None:
        """Set in the environ what the hook has changed."""
        environ, before, now = self._environ, self._received, self._state()
        changed = {name: value for name, value in now.items() if value != before[name]}
        if not changed:
            return
        for name, keys in (
            ("method", ["REQUEST_METHOD"]),
            ("uri", ["RAW_URI", "REQUEST_URI"]),
            ("query", ["QUERY_STRING"]),
            ("scheme", ["wsgi.url_scheme"]),
            ("body", ["wsgi.input"]),
        ):
            for key in keys if name in changed else []:
                environ[key] = changed[name]
        if "version" in changed:
            major, minor = self.version
            environ["SERVER_PROTOCOL"] = f"HTTP/{major}" if major >= 2 else f"HTTP/{major}.{minor}"
        prefix = None
        if "headers" in changed:
            for key in [key for key in environ if is_field(key)]:
                del environ[key]
            for name, value in self.headers:
                if name.upper() == "SCRIPT_NAME":
                    prefix = value.rstrip("/")
                key = environ_key(name)
                environ[key] = f"{environ[key]},{value}" if key in environ else value
        if "path" in changed or prefix is not None:
            self._set_path(environ["SCRIPT_NAME"] if prefix is None else prefix)

    def _set_path(self, prefix: str) -> None:
        path = unquote_to_bytes(self.path).decode("latin-1")
        rest = path.removeprefix(prefix)
        if not path.startswith(prefix) or (prefix and rest and not rest.startswith("/")):
            raise ValueError(f"the path {path!r} is not below SCRIPT_NAME, which is {prefix!r}")
        self._environ["SCRIPT_NAME"], self._environ["PATH_INFO"] = prefix, rest


def is_field(key: str) -> bool:
    """Whether this key of an environ is a header field."""
    return key.startswith("HTTP_") or key in PLAIN


def field_name(key: str) -> str:
    """The name of the header field of this key, so that :func:`environ_key` makes the same key."""
    name = key.removeprefix("HTTP_")
    # With hyphens it would become the other key: HTTP_CONTENT_LENGTH is a field of a proxy.
    return name if name != key and name in PLAIN else name.replace("_", "-")


def environ_key(name: str) -> str:
    """The environ key of a header field."""
    plain = name.upper().replace("-", "_") in PLAIN and "_" not in name
    return ("" if plain else "HTTP_") + name.upper().replace("-", "_")


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
        """Count the request, and call ``pre_request``, which may change it."""
        self._worker.nr += 1
        if self._pre:
            self._pre(self._worker, request)
            request.apply_changes()

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
        plural = "" if count == 1 else "s"
        raise TypeError(f"post_request takes {count} argument{plural}: it must take 2, 3 or 4")
    return count
