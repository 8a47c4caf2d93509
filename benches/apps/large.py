"""A response of 1 MiB in one block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

BODY = bytes(range(256)) * 4096


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response(
        "200 OK",
        [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(BODY)))],
    )
    return [BODY]
