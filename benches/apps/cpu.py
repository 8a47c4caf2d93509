"""About 1 ms of pure Python under the GIL.

compare.py measures once how many iterations of the loop take that long on this machine, so that
all servers do the same work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

TURNS = int(os.environ.get("BENCH_CPU_TURNS", "20000"))


def work(turns: int) -> int:
    total = 0
    for number in range(turns):
        total += number & 7
    return total


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    work(TURNS)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, World!"]
