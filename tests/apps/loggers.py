"""Applications that use gunicorn's loggers: `loggers:make('recipe')`."""

from __future__ import annotations

import contextvars
import logging
import logging.config
import threading
import time
from collections.abc import Callable
from typing import Any

ERROR = logging.getLogger("gunicorn.error")
ACCESS = logging.getLogger("gunicorn.access")
request_id = contextvars.ContextVar("request_id", default="-")
released = threading.Event()


def recipe() -> None:
    """As in Flask's documentation and many other places."""
    logger = logging.getLogger("shop")
    logger.handlers = ERROR.handlers
    logger.setLevel(ERROR.level)
    logger.info("imported at level %d", ERROR.level)


def own_level() -> None:
    recipe()
    logging.getLogger("shop").setLevel(logging.DEBUG)


def own_formatter() -> None:
    recipe()
    for handler in ERROR.handlers:
        handler.setFormatter(logging.Formatter("shop: %(message)s"))


def quiet() -> None:
    """Leaves out health checks."""
    ACCESS.addFilter(lambda record: "/healthz" not in record.getMessage())


def redact() -> None:
    """Changes what is logged."""

    def hide(record: logging.LogRecord) -> bool:
        assert isinstance(record.args, dict)
        record.args["r"] = record.args["r"].partition("?")[0]
        return True

    ACCESS.addFilter(hide)


def show_atoms() -> None:
    """Logs the atoms by their names."""

    def show(record: logging.LogRecord) -> bool:
        atoms = record.args
        assert isinstance(atoms, dict)
        names = [*"hlursmUqHbBfa", "{X-Id}i", "{content-type}o", "{X-No}i", "nothing"]
        record.msg = " ".join(f"{name}={atoms[name]!r}" for name in names)
        kinds = [type(atoms[name]).__name__ for name in "tTDMLp"]
        record.msg += f" {kinds} {record.levelname} {record.name}"
        record.args = ()
        return True

    ACCESS.addFilter(show)


def failing() -> None:
    def fail(record: logging.LogRecord) -> bool:
        raise ValueError("no such filter")

    ACCESS.addFilter(fail)


def waiting() -> None:
    """Waits for another request."""
    ACCESS.addFilter(lambda record: released.wait(20))


def by_context() -> None:
    """Logs a value of the request's context."""

    def show(record: logging.LogRecord) -> bool:
        assert isinstance(record.args, dict)
        record.args["r"] = f"{record.args['U']} {request_id.get()}"
        return True

    ACCESS.addFilter(show)


def stuck() -> None:
    """Waits for a minute, once."""

    def wait(record: logging.LogRecord) -> bool:
        end = time.monotonic() + 60
        while "/healthz/broken" in record.getMessage() and time.monotonic() < end:
            time.sleep(0.01)
        return True

    ACCESS.addFilter(wait)


def failing_handler() -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("no such handler")

    ACCESS.addHandler(Failing())


def handler_filter() -> None:
    for handler in ACCESS.handlers:
        handler.addFilter(lambda record: "/healthz" not in record.getMessage())


class ToError(logging.Handler):
    """A handler of the application."""

    def emit(self, record: logging.LogRecord) -> None:
        ERROR.warning("seen: %s", record.getMessage())


def second_handler() -> None:
    ACCESS.addHandler(ToError())


def other_handler() -> None:
    ACCESS.handlers = [ToError()]


def by_level() -> None:
    ACCESS.setLevel(logging.WARNING)


def disabled() -> None:
    logging.config.dictConfig({"version": 1})


def early() -> None:
    ACCESS.info("early\nline")


def make(kind: str) -> Callable[..., Any]:
    globals()[kind]()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        logger = logging.getLogger("shop")
        path = environ["PATH_INFO"]
        if path != "/b":
            request_id.set(f"id of {path}")
        if path == "/log":
            logger.debug("debug line")
            logger.info("info line")
            logger.warning("warning line\n[2026-01-01 00:00:00 +0000] [1] [CRITICAL] forged")
            logger.critical("critical line")
        elif path == "/level":
            logger.log(35, "between the levels")
            logging.addLevelName(36, "A] [1] [CRITICAL")
            logger.log(36, "forged")
        elif path == "/exception":
            try:
                raise ValueError("in the application")
            except ValueError:
                logger.exception("failed \udcff")
        elif path == "/release":
            released.set()
        elif path == "/quiet":
            ACCESS.addFilter(lambda record: record.args["U"] != "/quiet")
        elif path == "/access":
            ACCESS.info("a line of the application\nforged")
        status = "503 Service Unavailable" if path == "/healthz/broken" else "200 OK"
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    return app
