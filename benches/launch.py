"""Starts a server that has no command line: launch.py SERVER PORT THREADS MODULE."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    server, port, threads, module = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    sys.path.pop(0)  # this directory, whose modules the application must not import
    app = importlib.import_module(module).app
    peer = importlib.import_module(server)
    if server == "bjoern":
        peer.run(app, "127.0.0.1", port)
    elif server in ("fastwsgi", "fastpysgi"):
        peer.run(app, "127.0.0.1", port, 0)  # no log
    elif server == "pyruvate":
        peer.serve(app, f"127.0.0.1:{port}", threads)


if __name__ == "__main__":
    main()
