"""A gunicorn configuration: a Python file whose names are settings, and whose functions are hooks.

The file is executed as by gunicorn. `src/config/compat/gunicorn.rs` decides what becomes of each
setting. Hooks get objects with the attributes that configurations use, such as `server.log` and
`worker.pid`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from rustwsgi import _loggers, _rustwsgi
from rustwsgi._request_hooks import RequestHooks, count_arguments
from rustwsgi._settings import OCTAL, Config, Shown, config

# The hooks, with their numbers of arguments.
HOOKS = {
    "on_starting": 1,
    "on_reload": 1,
    "when_ready": 1,
    "pre_fork": 2,
    "post_fork": 2,
    "post_worker_init": 1,
    "worker_int": 1,
    "worker_abort": 1,
    "child_exit": 2,
    "worker_exit": 2,
    "nworkers_changed": 3,
    "on_exit": 1,
    "pre_request": 2,
    "post_request": 4,
}

# Hooks whose only argument is the worker.
OF_WORKER = ("post_worker_init", "worker_int", "worker_abort")

# The module name of a configuration file, as with gunicorn.
MODULE = "__config__"


def as_values(name: str, value: Any) -> list[str]:
    """The values of a setting as text."""
    if name in OCTAL and isinstance(value, int):
        return [f"{value:03o}"]
    if name == "logconfig_dict":
        # The option says whether there is one; _loggers.configure reads it.
        return [str(bool(value)).lower()]
    if isinstance(value, dict):
        return sorted(f"{key}={item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return [str(value).lower()]
    if callable(value):
        return [getattr(value, "__name__", "set")]
    return [str(value)]


def module_of(path: str) -> dict[str, Any]:
    """Run a configuration file, or import a module (`python:NAME`), as gunicorn does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    if path.startswith("python:"):
        name = path.removeprefix("python:")
        known = sys.modules.get(name)
        return vars(importlib.reload(known) if known else importlib.import_module(name))
    loader = SourceFileLoader(MODULE, path)
    spec = importlib.util.spec_from_file_location(MODULE, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(MODULE)
    sys.modules[MODULE] = module
    try:
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), vars(module))
    except BaseException:
        # A reload that fails must not change anything.
        if before is not None:
            sys.modules[MODULE] = before
        raise
    return vars(module)


def execute(
    path: str | os.PathLike[str], settings: Iterable[str]
) -> tuple[list[tuple[str, list[str]]], Hooks, str | None]:
    """Execute the configuration; return those of gunicorn's `settings` that it sets, its hooks, and
    its file.

    Its other names, hooks among them, are returned without values: one may be a misspelt setting.
    """
    names = module_of(os.fspath(path))
    found = {name: names[name] for name in settings if names.get(name) is not None}
    hooks = {name: found.pop(name) for name in HOOKS if callable(found.get(name))}
    if "post_request" in hooks:
        count_arguments(hooks["post_request"])
    values = [(name, as_values(name, value)) for name, value in found.items()]
    values += [(name, []) for name in names if name not in found and is_own(name, names)]
    return values, Hooks(hooks, {**found, "config": os.fspath(path)}), names.get("__file__")


def is_own(name: str, names: dict[str, Any]) -> bool:
    """Whether the file itself defines this name, rather than an import."""
    value = names[name]
    if name.startswith("_") or value is None or isinstance(value, (ModuleType, type)):
        return False
    return not callable(value) or getattr(value, "__module__", None) == names["__name__"]


class Log:
    """`server.log`, which writes to the error log."""

    error_log = _loggers.error_logger
    access_log = _loggers.access_logger

    def _log(
        self, level: str, message: object, args: tuple[Any, ...], exc_info: Any = None
    ) -> None:
        record = logging.LogRecord("", 0, "", 0, message, args, None)
        try:
            text = record.getMessage()
        except Exception:
            # As logging does: a malformed call is reported, and does not fail the hook.
            _loggers.error_handler.handleError(record)
            return
        error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        trace = None
        if exc_info and error is not None:
            import traceback

            lines = traceback.format_exception(type(error), error, error.__traceback__)
            trace = _loggers.as_utf8("".join(lines))
        _rustwsgi.log(level, _loggers.as_utf8(text), "hook.message", trace)

    def debug(self, message: object, *args: Any, exc_info: Any = None, **more: Any) -> None:
        if not self._measure(message, more):
            self._log("debug", message, args, exc_info)

    def info(self, message: object, *args: Any, exc_info: Any = None, **more: Any) -> None:
        if not self._measure(message, more):
            self._log("info", message, args, exc_info)

    def _measure(self, message: object, more: dict[str, Any]) -> bool:
        """Send the metric that a line carries in `extra`, as with gunicorn's logger for statsd;
        return whether there is nothing else to log."""
        extra = more.get("extra") or {}
        metric, value, kind = (extra.get(key) for key in ("metric", "value", "mtype"))
        send = {
            "gauge": self.gauge,
            "counter": self.increment,
            "histogram": self.histogram,
            "timer": self.timer,
        }.get(str(kind))
        if metric and value is not None and send is not None:
            send(metric, value)
        return not message

    # The methods of gunicorn's logger for statsd. Names get the prefix of --statsd-prefix only.
    def gauge(self, name: str, value: float) -> None:
        _rustwsgi.send_metric(name, str(value), "g")

    def increment(self, name: str, value: float, sampling_rate: float = 1.0) -> None:
        _rustwsgi.send_metric(name, str(value), f"c|@{float(sampling_rate)}")

    def decrement(self, name: str, value: float, sampling_rate: float = 1.0) -> None:
        self.increment(name, -value, sampling_rate)

    def timer(self, name: str, value: float) -> None:
        _rustwsgi.send_metric(name, str(value), "ms")

    def histogram(self, name: str, value: float) -> None:
        _rustwsgi.send_metric(name, str(value), "h")

    def warning(self, message: object, *args: Any, exc_info: Any = None, **_: Any) -> None:
        self._log("warning", message, args, exc_info)

    warn = warning

    def error(self, message: object, *args: Any, exc_info: Any = None, **_: Any) -> None:
        self._log("error", message, args, exc_info)

    critical = error

    def log(
        self, level: int | str, message: object, *args: Any, exc_info: Any = None, **_: Any
    ) -> None:
        if isinstance(level, str):
            level = int(getattr(logging, level.upper(), logging.INFO))
        known = [name for name, number in _loggers.LEVELS.items() if number <= level]
        self._log(known[-1] if known else "debug", message, args, exc_info)

    def exception(self, message: object, *args: Any, **_: Any) -> None:
        self._log("error", message, args, exc_info=True)


class Server(Shown):
    """The master, as hooks see it; gunicorn calls it the arbiter."""


class Worker(Shown):
    """A worker, as hooks see it."""


class Hooks:
    """The hooks of a file, and the objects that they are called with."""

    def __init__(self, functions: dict[str, Callable[..., Any]], settings: dict[str, Any]) -> None:
        self._functions = functions
        self._settings = settings
        self._log = Log()
        self.server = Server(log=self._log, pid=os.getpid(), WORKERS={}, num_workers=0)
        self.worker = Worker()
        self._cfg = Config()

    def configure(self, resolved: Iterable[tuple[str, list[str]]]) -> None:
        """Set the settings that result from all sources."""
        cfg = self._cfg = config({**self._settings, **self._functions}, resolved)
        server = self.server
        server.cfg, server.address, server.num_workers = cfg, cfg.address, cfg.workers
        server.timeout, server.proc_name, server.worker_age = cfg.timeout, cfg.proc_name, 0
        self.worker = self._new_worker(0)
        _loggers.install(cfg.loglevel, cfg.accesslog is not None)

    def _new_worker(self, age: int) -> Worker:
        return Worker(
            cfg=self._cfg,
            log=self._log,
            pid=None,
            ppid=os.getpid(),
            age=age,
            alive=True,
            aborted=False,
            booted=False,
            nr=0,
            timeout=self._cfg.timeout,
            max_requests=self._cfg.max_requests,
            wsgi=None,
        )

    def call(self, name: str, *more: int) -> None:
        """Call a hook, if the file has it. `more` are the details of the event."""
        server, worker = self.server, self.worker
        if name == "on_starting":
            server.pid = os.getpid()
        elif name == "pre_fork":
            worker = self.worker = self._new_worker(more[0])
            server.worker_age = more[0]
        elif name == "post_fork":
            worker.pid = os.getpid()
        elif name == "forked":
            worker.pid = more[0]
            server.WORKERS[worker.pid] = worker
        elif name == "child_exit":
            worker = server.WORKERS.pop(more[0], worker)
        elif name == "nworkers_changed":
            server.num_workers = more[0]
        elif more:
            # When a worker exits: the number of requests it has handled.
            worker.nr = more[0]
        function = self._functions.get(name)
        if function is None:
            return
        with self._environment(name):
            if name == "nworkers_changed":
                function(server, more[0], None if more[1] < 0 else more[1])
            elif HOOKS[name] == 2:
                function(server, worker)
            else:
                function(worker if name in OF_WORKER else server)

    def names(self) -> list[str]:
        """The hooks of the file."""
        return list(self._functions)

    def has(self, name: str) -> bool:
        """Whether the file has this hook."""
        return name in self._functions

    def worker_init(self, app: Any) -> Any:
        """Call post_worker_init, which may replace the application in `worker.wsgi`."""
        self.worker.wsgi = app
        self.worker.booted = True
        self.call("post_worker_init")
        return self.worker.wsgi

    @contextlib.contextmanager
    def _environment(self, name: str) -> Iterator[None]:
        """Set `raw_env` for a hook that runs in the master, and restore the environment after it: a
        reload must not see it. Workers keep it."""
        if name in OF_WORKER or name == "worker_exit":
            yield
            return
        ours = self._cfg.env
        before = {key: os.environ.get(key) for key in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for key, value in before.items():
                # Keep a value that the hook has set.
                if os.environ.get(key) != ours[key]:
                    continue
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value

    def around(self) -> RequestHooks | None:
        """The pre_request and post_request hooks, if there are any."""
        pre, post = self._functions.get("pre_request"), self._functions.get("post_request")
        return RequestHooks(self.worker, pre, post) if pre or post else None

    @property
    def logconfig_dict(self) -> dict[str, Any] | None:
        """The configuration of `logging` in the file, if there is one."""
        return self._settings.get("logconfig_dict") or None

    def adopt(self, other: Hooks | None) -> None:
        """Take over the workers that the hooks of the previous configuration know."""
        if other is not None:
            self.server.WORKERS = other.server.WORKERS
            self.server.num_workers = other.server.num_workers
