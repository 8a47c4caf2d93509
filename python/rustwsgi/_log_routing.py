"""``--log-python``: the lines of the server go through Python's loggers ``gunicorn.error`` and
``gunicorn.access``.

The thread that logs a line only queues it: it may be one without the interpreter. A thread of this
module, the router, takes the lines and passes them to their loggers. So a handler can log, raise or
wait, and holds up no request. Handlers are those of :mod:`rustwsgi._loggers`, which write to the
server's logs, unless a configuration of `logging` replaces them: that of ``--log-config``,
``--log-config-json`` or gunicorn's ``logconfig_dict``.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import threading
from typing import Any

from rustwsgi import _rustwsgi
from rustwsgi._loggers import access_logger, error_logger

#: How long the end of the program waits for handlers.
END_TIMEOUT = 1.0

#: The levels of the server's lines.
NUMBERS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

#: gunicorn's configuration, whose parts a given one replaces.
DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "gunicorn.error": {
            "level": "INFO",
            "handlers": ["error_console"],
            "propagate": True,
            "qualname": "gunicorn.error",
        },
        "gunicorn.access": {
            "level": "INFO",
            "handlers": ["console"],
            "propagate": True,
            "qualname": "gunicorn.access",
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "generic",
            "stream": "ext://sys.stdout",
        },
        "error_console": {
            "class": "logging.StreamHandler",
            "formatter": "generic",
            "stream": "ext://sys.stderr",
        },
    },
    "formatters": {
        "generic": {
            "format": "%(asctime)s [%(process)d] [%(levelname)s] %(message)s",
            "datefmt": "[%Y-%m-%d %H:%M:%S %z]",
            "class": "logging.Formatter",
        }
    },
}


def configure(file: str | None, json_file: str | None, hooks: Any) -> str | None:
    """Configure `logging`, in gunicorn's order of precedence; return what is wrong, if anything."""
    given = getattr(hooks, "logconfig_dict", None)
    if given:
        return _apply("logconfig_dict", lambda: _dict_config(given))
    if json_file is not None:
        return _apply(f"--log-config-json: {json_file}", lambda: _json_config(json_file))
    if file is not None:
        return _apply(f"--log-config: {file}", lambda: _file_config(file))
    return None


def _apply(origin: str, apply: Any) -> str | None:
    try:
        apply()
    except Exception as error:
        # `logging` hides the reason behind its own exception.
        reason = error.__cause__ or error
        detail = f"{error}: {reason}" if reason is not error else f"{reason}"
        return f"{origin}: cannot configure Python's logging; correct it: {detail or repr(error)}"
    return None


def _dict_config(given: dict[str, Any]) -> None:
    logging.config.dictConfig({**DEFAULTS, **given})


def _json_config(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        given = json.load(file)
    if not isinstance(given, dict):
        raise ValueError("it is not a JSON object")
    _dict_config(given)


def _file_config(path: str) -> None:
    # Without this check, a missing file is a KeyError before Python 3.12.
    with open(path, encoding="utf-8"):
        pass
    names = {"__file__": path, "here": os.path.dirname(path)}
    escaped = {name: value.replace("%", "%%") for name, value in names.items()}
    logging.config.fileConfig(path, defaults=escaped, disable_existing_loggers=False)


def start() -> None:
    """Start the router, unless this process has one."""
    if not _rustwsgi.begin_log_routing():
        return
    import atexit

    # A daemon: it must not keep the program from its end, which a handler may delay forever.
    router = threading.Thread(target=_route, name="rustwsgi-log", daemon=True)
    router.start()

    def stop() -> None:
        _rustwsgi.end_log_routing(END_TIMEOUT)
        if router.is_alive() and threading.current_thread() is not router:
            router.join(END_TIMEOUT)
            if router.is_alive():
                _forget_stuck_handlers()

    atexit.register(stop)


def _forget_stuck_handlers() -> None:
    """At its exit, `logging` waits for the lock of each handler without end: leave out those whose
    lock is held for long."""
    handlers = getattr(logging, "_handlerList", [])
    stuck = 0
    for reference in list(handlers):
        lock = getattr(reference(), "lock", None)
        if lock is None:
            continue
        if lock.acquire(timeout=0.1):
            lock.release()
        else:
            handlers.remove(reference)
            stuck += 1
    if stuck:
        _rustwsgi.log(
            "warning",
            "A handler of the server's loggers does not return: exiting without it",
            event="log.handler_stuck",
        )


def _route() -> None:
    has_failed = False
    while (line := _rustwsgi.take_log_record()) is not None:
        try:
            _pass_on(*line)
        except BaseException:
            # Handlers report their failures themselves, as a rule; filters do not. Nor may a
            # SystemExit end this thread: all further lines would wait for it.
            is_access, level, _pid, event, message, trace, request_id, _time = line
            if not is_access:
                _rustwsgi.log_record(level, message, event or "", trace, None, request_id)
            if not has_failed:
                has_failed = True
                _report_failure()


def _pass_on(
    is_access: bool,
    level: str,
    pid: int,
    event: str | None,
    message: str,
    trace: str | None,
    request_id: str | None,
    time: float,
) -> None:
    logger = access_logger if is_access else error_logger
    number = NUMBERS.get(level, logging.INFO)
    if not logger.isEnabledFor(number):
        return
    # Values of the client are in the message, which has no arguments to be filled in.
    record = logger.makeRecord(logger.name, number, "(rustwsgi)", 0, message, (), None)
    record.created, record.msecs = time, (time - int(time)) * 1000
    record.process, record.rustwsgi_event = pid, event
    if request_id is not None:
        record.request_id = request_id
    # Formatters append it, as they do for an exception.
    record.exc_text = trace.rstrip("\n") if trace else None
    logger.handle(record)


def _report_failure() -> None:
    import traceback

    _rustwsgi.log(
        "error",
        "A filter or handler of the server's loggers raised an exception: writing the line without"
        " it; further failures are not reported",
        event="log.handler_failed",
        traceback=traceback.format_exc(),
    )
