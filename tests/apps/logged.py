"""Writes to the error log in all ways: the path says which."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Any

TRACEBACK = (
    'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\nKeyError: 1\n'
)


def boom() -> None:
    raise ValueError("boom \x1b[0m\n[2026-11-24 04:14:34 +0000] [1] [CRITICAL] forged \udcff")


def write(path: str, errors: Any) -> None:
    if path == "/raise":
        boom()
    elif path == "/pieces":
        # As `print` does.
        for piece in ("one", " line", "\n", "another\n", "un", "finished"):
            errors.write(piece)
    elif path == "/print_exc":
        try:
            boom()
        except ValueError:
            traceback.print_exc(file=errors)
        errors.write("after\n")
    elif path == "/flush":
        errors.write("flushed")
        errors.flush()
        errors.write("rest\n")
    elif path == "/bytes":
        errors.write("\x00\x1b\x7f\u2028\udcff\U0001f600\r\n")
    elif path == "/long":
        errors.write("x" * 300_000 + "é\n")
    elif path == "/logger":
        try:
            boom()
        except ValueError:
            logging.getLogger("gunicorn.error").exception("logged")
        logging.getLogger("gunicorn.error").warning("a warning")
    elif path == "/fork":
        child = os.fork()
        if child == 0:
            errors.write("of the child\n")
            errors.flush()
            os._exit(0)
        os.waitpid(child, 0)
    elif path == "/stderr":
        print("to standard error", file=sys.stderr, flush=True)


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    write(environ["PATH_INFO"], environ["wsgi.errors"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
