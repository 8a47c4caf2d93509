"""Serves an application that races with the server, and fails unless the thread sanitizer says so.

A field's value is written to while the server reads it, by a thread that needs no interpreter for that. So it
shows that the server's own code is watched, in a worker, and where reports go.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from pathlib import Path

LENGTH = 100_000

#: What reads the value.
READER = "rustwsgi::http1::response::ResponseHead"


def app(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
    value = "x" * LENGTH
    # Where CPython keeps the characters: behind the object's own fields, the last of which is a zero.
    data = id(value) + sys.getsizeof(value) - LENGTH - 1
    fill = ctypes.CDLL(None).memset
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            fill(ctypes.c_void_p(data), ord("x"), LENGTH)

    writer = threading.Thread(target=write)
    writer.start()
    start_response("200 OK", [("X-Value", value)])
    over.set()
    writer.join()
    return [b"answered"]


def main(reports: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from harness import ServerProcess

    with ServerProcess("binary", "control:app", cwd=Path(__file__).parent) as server:
        for _ in range(100):
            server.get("/")
            if any(reports.iterdir()):
                break
    seen = ""
    for path in reports.iterdir():
        seen += path.read_text()
        path.unlink()
    if "ThreadSanitizer: data race" not in seen or READER not in seen:
        raise SystemExit(f"the thread sanitizer does not see a race with the server:\n{seen}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
