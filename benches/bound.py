"""The upper bound of a workload: how often an interpreter can call the application in a second.

No server can respond faster on one core. `python bound.py MODULE SECONDS`.
"""

from __future__ import annotations

import importlib
import io
import sys
import time
from typing import Any


def environ() -> dict[str, Any]:
    """The environ of the request that wrk sends."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def main() -> None:
    app = importlib.import_module(sys.argv[1]).app
    seconds = float(sys.argv[2])

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        pass

    calls = 0
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        for _ in range(100):
            blocks = app(environ(), start_response)
            for _ in blocks:
                pass
            if hasattr(blocks, "close"):
                blocks.close()
        calls += 100
    print(calls / (now - began))


if __name__ == "__main__":
    sys.path[0] = ""
    main()
