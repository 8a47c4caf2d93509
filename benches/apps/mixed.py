"""One request in a hundred blocks for 50 ms, which should not delay the others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

# next() on it is atomic, so threads share it without a lock.
_numbers = itertools.count(1)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if next(_numbers) % 100 == 0:
        time.sleep(0.050)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]
