"""A generator of 100 blocks of 1 KiB without a Content-Length, as in server-sent events.

The blocks differ, so that the probe notices a lost or swapped one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

BLOCKS = tuple(b"%03d " % number * 256 for number in range(100))
BODY = b"".join(BLOCKS)


def _blocks() -> Iterator[bytes]:
    yield from BLOCKS


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return _blocks()
