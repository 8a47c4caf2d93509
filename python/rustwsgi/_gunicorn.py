"""A gunicorn configuration: a Python file whose names are settings, and functions called at events.

The file is executed as gunicorn does it. What becomes of each setting is decided in
`src/config/gunicorn.rs`. Hooks get objects with the
attributes that configurations use: `server.log`, `worker.pid` and the like.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from rustwsgi import _rustwsgi
from rustwsgi._around import Around, arguments_of

# Each with the number of arguments it is given.
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


def as_values(name: str, value: Any) -> list[str]:
    """A setting as the option's values."""
    if name == "umask" and isinstance(value, int):
        return [f"{value:03o}"]
    if isinstance(value, dict):
        return sorted(f"{key}={item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return [str(value).lower()]
    if callable(value):
        return [getattr(value, "__name__", "set")]
    return [str(value)]


def execute(
    path: str | os.PathLike[str], settings: Iterable[str]
) -> tuple[list[tuple[str, list[str]]], Hooks]:
    """Run the file; returns those of gunicorn's `settings` that it sets, and its hooks."""
    path = os.fspath(path)
    names: dict[str, Any] = {
        "__builtins__": __builtins__,
        "__name__": "__config__",
        "__file__": path,
        "__doc__": None,
        "__package__": None,
    }
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), names)
    found = {name: names[name] for name in settings if names.get(name) is not None}
    hooks = {name: found.pop(name) for name in HOOKS if callable(found.get(name))}
    if "post_request" in hooks:
        arguments_of(hooks["post_request"])
    values = [(name, as_values(name, value)) for name, value in found.items()]
    return values, Hooks(hooks, found)


class Log:
    """What `server.log` is for: lines in the error log."""

    def _log(self, level: str, message: object, args: tuple[Any, ...]) -> None:
        text = str(message)
        _rustwsgi.log(level, text % args if args else text)

    def debug(self, message: object, *args: Any, **_: Any) -> None:
        self._log("debug", message, args)

    def info(self, message: object, *args: Any, **_: Any) -> None:
        self._log("info", message, args)

    def warning(self, message: object, *args: Any, **_: Any) -> None:
        self._log("warning", message, args)

    warn = warning

    def error(self, message: object, *args: Any, **_: Any) -> None:
        self._log("error", message, args)

    critical = error

    def exception(self, message: object, *args: Any, **_: Any) -> None:
        self._log("error", message, args)
        import traceback

        _rustwsgi.log("error", traceback.format_exc())


class Hooks:
    """The file's functions, and the objects they are given."""

    def __init__(self, functions: dict[str, Callable[..., Any]], settings: dict[str, Any]) -> None:
        self._functions = functions
        self._cfg = SimpleNamespace(**settings)
        self._log = Log()
        self.server = SimpleNamespace(
            cfg=self._cfg, log=self._log, pid=os.getpid(), WORKERS={}, num_workers=0
        )
        self.worker = self._new_worker(0)

    def _new_worker(self, age: int) -> SimpleNamespace:
        return SimpleNamespace(
            cfg=self._cfg, log=self._log, pid=None, ppid=os.getpid(), age=age, alive=True
        )

    def call(self, name: str, *more: int) -> None:
        """Call a hook, if the file has it. `more` is what the master knows about the event."""
        server, worker = self.server, self.worker
        if name == "on_starting":
            server.pid = os.getpid()
        elif name == "pre_fork":
            worker = self.worker = self._new_worker(more[0])
        elif name == "post_fork":
            worker.pid = os.getpid()
        elif name == "forked":
            worker.pid = more[0]
            server.WORKERS[worker.pid] = worker
        elif name == "child_exit":
            worker = server.WORKERS.pop(more[0], worker)
        elif name == "nworkers_changed":
            server.num_workers = more[0]
        function = self._functions.get(name)
        if function is None:
            return
        if name == "nworkers_changed":
            function(server, more[0], None if more[1] < 0 else more[1])
        elif HOOKS[name] == 2:
            function(server, worker)
        else:
            function(
                worker if name in ("post_worker_init", "worker_int", "worker_abort") else server
            )

    def around(self) -> Around | None:
        """What is called around each request of this process, if anything is."""
        pre, post = self._functions.get("pre_request"), self._functions.get("post_request")
        return Around(self.worker, pre, post) if pre or post else None

    def adopt(self, other: Hooks | None) -> None:
        """Go on with the workers that another configuration's hooks have seen."""
        if other is not None:
            self.server.WORKERS = other.server.WORKERS
            self.server.num_workers = other.server.num_workers
