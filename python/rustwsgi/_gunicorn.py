"""A gunicorn configuration: a Python file whose names are settings, and functions called at events.

The file is executed as gunicorn does it. Settings that rustwsgi has become options; those it does
not have are listed, so that nobody relies on what is not there. Hooks get objects with the
attributes that configurations use: `server.log`, `worker.pid` and the like.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from rustwsgi import _rustwsgi
from rustwsgi._around import Around, arguments_of

# gunicorn's names where ours differ.
RENAMED = {
    "accesslog": "access_logfile",
    "access_log_format": "access_logformat",
    "errorlog": "error_logfile",
    "keepalive": "keep_alive",
    "loglevel": "log_level",
    "pidfile": "pid",
    "preload_app": "preload",
    "proc_name": "name",
    "raw_env": "env",
    "reload_extra_files": "reload_extra_file",
    "wsgi_app": "app",
}

# Where the names are the same.
SAME = {
    "backlog",
    "bind",
    "chdir",
    "check_config",
    "daemon",
    "forwarded_allow_ips",
    "graceful_timeout",
    "group",
    "header_map",
    "limit_request_field_size",
    "limit_request_fields",
    "limit_request_line",
    "max_requests",
    "max_requests_jitter",
    "print_config",
    "pythonpath",
    "reload",
    "threads",
    "timeout",
    "umask",
    "user",
    "worker_class",
    "worker_connections",
    "workers",
}

# What gunicorn has and this server has not, or not yet.
MISSING = {
    "ca_certs",
    "casefold_http_method",
    "cert_reqs",
    "certfile",
    "ciphers",
    "dirty_apps",
    "dirty_workers",
    "disable_redirect_access_to_syslog",
    "do_handshake_on_connect",
    "dogstatsd_tags",
    "enable_stdio_inheritance",
    "forwarder_headers",
    "initgroups",
    "keyfile",
    "logconfig",
    "logconfig_dict",
    "logconfig_json",
    "logger_class",
    "paste",
    "permit_obsolete_folding",
    "permit_unconventional_http_method",
    "permit_unconventional_http_version",
    "pre_exec",
    "proxy_allow_ips",
    "proxy_protocol",
    "raw_paste_global_conf",
    "reload_engine",
    "reuse_port",
    "secure_scheme_headers",
    "sendfile",
    "spew",
    "ssl_context",
    "ssl_version",
    "statsd_host",
    "statsd_prefix",
    "strip_header_spaces",
    "suppress_ragged_eofs",
    "syslog",
    "syslog_addr",
    "syslog_facility",
    "syslog_prefix",
    "tmp_upload_dir",
    "worker_tmp_dir",
}

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
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, type):
        return [value.__name__]
    return [str(value)]


def execute(path: str | os.PathLike[str]) -> tuple[list[tuple[str, list[str]]], list[str], Hooks]:
    """Run the file; returns options, the names of settings that are ignored, and hooks."""
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
    options = []
    for name, value in names.items():
        known = RENAMED.get(name, name if name in SAME else None)
        if known is not None and value is not None:
            options.append((known, as_values(name, value)))
    ignored = sorted(name for name in names if name in MISSING and names[name] is not None)
    hooks = {name: names[name] for name in HOOKS if callable(names.get(name))}
    if "post_request" in hooks:
        arguments_of(hooks["post_request"])
    return options, ignored, Hooks(hooks, names)


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

    def __init__(self, functions: dict[str, Callable[..., Any]], names: dict[str, Any]) -> None:
        self._functions = functions
        settings = {k: v for k, v in names.items() if k in SAME or k in RENAMED or k in MISSING}
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
