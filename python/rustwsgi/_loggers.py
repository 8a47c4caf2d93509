"""The loggers ``gunicorn.error`` and ``gunicorn.access``, as applications written for gunicorn use
them.

A well-known recipe lets an application log as the server does::

    logger = logging.getLogger("gunicorn.error")
    app.logger.handlers = logger.handlers
    app.logger.setLevel(logger.level)

So both loggers have handlers before the application is imported, which write to the server's own
logs. The server itself does not log through them: its lines need no interpreter. The exception is
the access log of an application that has changed ``gunicorn.access``, for example by a filter: see
`src/wsgi/access_logger.rs`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from rustwsgi import _rustwsgi

error_logger = logging.getLogger("gunicorn.error")
access_logger = logging.getLogger("gunicorn.access")

#: The values of ``--log-level``.
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

#: How many lines the application may write to the access log before the server has opened it.
MAX_EARLY_LINES = 100


def as_utf8(text: str) -> str:
    """The text with lone surrogates escaped, which UTF-8 does not have."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


_formatter = logging.Formatter()


def traceback_of(record: logging.LogRecord) -> str | None:
    """The traceback and the stack that belong to a record, if it has any."""
    if record.exc_info and not record.exc_text:
        record.exc_text = _formatter.formatException(record.exc_info)
    parts = [record.exc_text, record.stack_info and _formatter.formatStack(record.stack_info)]
    return as_utf8("\n".join(part for part in parts if part)) or None


class ErrorHandler(logging.Handler):
    """Writes records to the error log, in the format of the server's lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A formatter that the application has set decides on the whole line.
            if self.formatter is not None:
                _rustwsgi.write_formatted(record.levelname, as_utf8(self.format(record)))
                return
            # A line of the server that has come through its logger keeps its event.
            event = getattr(record, "rustwsgi_event", None)
            logger = None if record.name == error_logger.name else as_utf8(record.name)
            _rustwsgi.log_record(
                record.levelname,
                as_utf8(record.getMessage()),
                event if isinstance(event, str) else "app.message",
                traceback_of(record),
                logger,
                getattr(record, "request_id", None) if isinstance(event, str) else None,
            )
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)


class AccessHandler(logging.Handler):
    """Writes records to the access log, each as one line."""

    def __init__(self) -> None:
        super().__init__()
        self._write: Callable[[str], None] | None = None
        self._early: deque[str] = deque(maxlen=MAX_EARLY_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            (self._write or self._early.append)(as_utf8(self.format(record)))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def attach(self, write: Callable[[str], None]) -> None:
        """Write with this function from now on, first of all the early lines."""
        self._write = write
        while self._early:
            write(self._early.popleft())


class SafeAtoms(dict[str, Any]):
    """The values of an access log line by their atoms, as gunicorn's class of this name: names of
    header fields may have capitals, and a missing value is ``-``."""

    def __getitem__(self, atom: str) -> Any:
        return self.get(atom.lower() if atom.startswith("{") else atom, "-")


error_handler = ErrorHandler()
_access_handler = AccessHandler()
_installed: tuple[str, bool] | None = None
_has_reported_disabled = False


def install(level: str, has_access_log: bool) -> None:
    """Set level and handlers as gunicorn does. A repeated call changes what has changed, and leaves
    alone what a hook or the application has set."""
    global _installed
    if _installed == (level, has_access_log):
        return
    _installed = (level, has_access_log)
    error_logger.setLevel(LEVELS[level])
    error_logger.propagate = False
    error_logger.addHandler(error_handler)
    access_logger.setLevel(logging.INFO)
    access_logger.propagate = False
    if has_access_log:
        access_logger.addHandler(_access_handler)
    else:
        access_logger.removeHandler(_access_handler)


def install_in_program(level: str, has_access_log: bool) -> None:
    """As :func:`install`, for a program that may have set up the loggers itself."""
    own = [error_handler, _access_handler]
    handlers = error_logger.handlers + access_logger.handlers
    if all(handler in own for handler in handlers):
        install(level, has_access_log)


def attach(write: Callable[[str], None]) -> AccessHandler | None:
    """Let the access log's handler write with this function; return the handler, if it was
    installed."""
    if _installed is None or not _installed[1]:
        return None
    _access_handler.attach(write)
    return _access_handler


def log_access(template: str, atoms: dict[str, Any], request_id: str | None) -> None:
    """Pass the line of one request through ``gunicorn.access``."""
    global _has_reported_disabled
    if access_logger.disabled and not _has_reported_disabled:
        _has_reported_disabled = True
        _rustwsgi.log(
            "warning",
            "The application has disabled the logger gunicorn.access, so that requests are not"
            " logged. If logging.config has done it, set disable_existing_loggers to False",
            event="accesslog.disabled",
        )
    if access_logger.isEnabledFor(logging.INFO):
        name, arguments = access_logger.name, (SafeAtoms(atoms),)
        # Values of the client are in the atoms only, which are escaped.
        record = access_logger.makeRecord(
            name, logging.INFO, "(access log)", 0, template, arguments, None
        )
        if request_id is not None:
            record.request_id = request_id
        access_logger.handle(record)
