"""Reads a whole request body; the response has its length, beginning and end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

#: The body that wrk.lua sends.
PAYLOAD = b"0123456789abcdef" * 4096


def answer(data: bytes) -> bytes:
    return b"%d %b %b" % (len(data), data[:4], data[-4:])


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = answer(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
