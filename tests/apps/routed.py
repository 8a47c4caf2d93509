"""Applications with handlers for the server's lines (--log-python): `routed:make('recipe')`."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

ERROR = logging.getLogger("gunicorn.error")
ACCESS = logging.getLogger("gunicorn.access")
LOG = os.environ.get("ROUTED_LOG", "/dev/null")


class ToFile(logging.Handler):
    """Appends what it gets of a record as JSON, under the lock of a handler."""

    def emit(self, record: logging.LogRecord) -> None:
        found = {
            "name": record.name,
            "level": record.levelname,
            "message": record.getMessage(),
            "formatted": self.format(record),
            "event": getattr(record, "rustwsgi_event", None),
            "pid": record.process,
            "request_id": getattr(record, "request_id", None),
            "age": time.time() - record.created,
            "thread": threading.current_thread().name,
        }
        with open(LOG, "a") as file:
            file.write(json.dumps(found) + "\n")


class Logging(ToFile):
    """Logs itself, with the logger that it belongs to."""

    active = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(self.active, "now", False):
            self.active.now = True
            ERROR.error("a handler got: %s", record.getMessage())
            self.active.now = False
        super().emit(record)


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("a handler fails")


class Exiting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("a handler fails")


class Stuck(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        time.sleep(3600)


def fork() -> None:
    """While other threads log, so that a fork may meet any lock."""
    for _ in range(5):
        child = os.fork()
        if child == 0:
            ERROR.error("of a child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def make(handler: str) -> Callable[..., Any]:
    if handler != "none":
        for logger in (ERROR, ACCESS):
            logger.addHandler(globals()[handler]())

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/raise":
            raise ValueError("boom")
        if path == "/fork":
            fork()
        if path == "/log":
            ERROR.warning("of the application")
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    return app
