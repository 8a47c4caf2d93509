"""`server.cfg`: the settings of the server under gunicorn's names.

A setting that is an option here has the option's value (`src/config/compat/gunicorn_cfg.rs`). Any
other has the value of the configuration file, or else gunicorn's default, so that hooks written for
gunicorn find the settings they read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

#: The defaults of gunicorn 27.0, without its hooks. The type of a default is that of all values.
DEFAULTS: dict[str, Any] = {
    "config": "./gunicorn.conf.py",
    "wsgi_app": None,
    "bind": ["127.0.0.1:8000"],
    "backlog": 2048,
    "workers": 1,
    "worker_class": "sync",
    "threads": 1,
    "worker_connections": 1000,
    "max_requests": 0,
    "max_requests_jitter": 0,
    "timeout": 30,
    "graceful_timeout": 30,
    "keepalive": 2,
    "limit_request_line": 4094,
    "limit_request_fields": 100,
    "limit_request_field_size": 8190,
    "reload": False,
    "reload_engine": "auto",
    "reload_extra_files": [],
    "spew": False,
    "check_config": False,
    "print_config": False,
    "preload_app": False,
    "sendfile": None,
    "reuse_port": False,
    "chdir": None,
    "daemon": False,
    "raw_env": [],
    "pidfile": None,
    "worker_tmp_dir": None,
    "user": None,
    "group": None,
    "umask": 0,
    "initgroups": False,
    "tmp_upload_dir": None,
    "secure_scheme_headers": {
        "X-FORWARDED-PROTOCOL": "ssl",
        "X-FORWARDED-PROTO": "https",
        "X-FORWARDED-SSL": "on",
    },
    "forwarded_allow_ips": "127.0.0.1,::1",
    "accesslog": None,
    "disable_redirect_access_to_syslog": False,
    "access_log_format": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "errorlog": "-",
    "loglevel": "info",
    "capture_output": False,
    "logger_class": "gunicorn.glogging.Logger",
    "logconfig": None,
    "logconfig_dict": {},
    "logconfig_json": None,
    "syslog_addr": "udp://localhost:514",
    "syslog": False,
    "syslog_prefix": None,
    "syslog_facility": "user",
    "enable_stdio_inheritance": False,
    "statsd_host": None,
    "dogstatsd_tags": "",
    "statsd_prefix": "",
    "enable_backlog_metric": False,
    "proc_name": None,
    "default_proc_name": "gunicorn",
    "pythonpath": None,
    "paste": None,
    "proxy_protocol": "off",
    "proxy_allow_ips": "127.0.0.1,::1",
    "protocol": "http",
    "uwsgi_allow_ips": "127.0.0.1,::1",
    "keyfile": None,
    "certfile": None,
    "ssl_version": 2,
    "cert_reqs": 0,
    "ca_certs": None,
    "suppress_ragged_eofs": True,
    "do_handshake_on_connect": False,
    "ciphers": None,
    "http_protocols": "h1",
    "http2_cleartext": "off",
    "http2_max_concurrent_streams": 100,
    "http2_initial_window_size": 65535,
    "http2_max_frame_size": 16384,
    "http2_max_header_list_size": 65536,
    "raw_paste_global_conf": [],
    "permit_obsolete_folding": False,
    "strip_header_spaces": False,
    "permit_unconventional_http_method": False,
    "permit_unconventional_http_version": False,
    "casefold_http_method": False,
    "forwarder_headers": "SCRIPT_NAME,PATH_INFO",
    "header_map": "drop",
    "asgi_loop": "auto",
    "asgi_lifespan": "auto",
    "asgi_disconnect_grace_period": 3,
    "websocket_max_message_size": 16777216,
    "http_parser": "auto",
    "root_path": "",
    "dirty_apps": [],
    "dirty_workers": 0,
    "dirty_timeout": 300,
    "dirty_threads": 1,
    "dirty_graceful_timeout": 30,
    "control_socket": None,
    "control_socket_mode": 0o600,
    "control_socket_disable": False,
}

#: Settings whose text is octal.
OCTAL = ("umask", "control_socket_mode")


class Shown(SimpleNamespace):
    """Attributes for hooks. The error for an unknown one lists those there are."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = ", ".join(sorted(key for key in vars(self) if not key.startswith("_")))
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r} in rustwsgi; it has: {known}"
        )


class Config(Shown):
    """gunicorn's `cfg`."""

    @property
    def address(self) -> list[tuple[str, int] | str | int]:
        return [address(bind) for bind in self.bind]

    @property
    def env(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self.raw_env)

    @property
    def uid(self) -> int:
        return int(self.user)

    @property
    def gid(self) -> int:
        return int(self.group)

    worker_class_str = property(lambda self: self.worker_class)
    is_ssl = property(lambda self: bool(self.certfile or self.keyfile))


def config(given: Mapping[str, Any], resolved: Iterable[tuple[str, list[str]]]) -> Config:
    """The server's settings, then those of the configuration file, then gunicorn's defaults."""
    settings = {**DEFAULTS, "chdir": os.getcwd(), **given}
    for name, values in resolved:
        octal = name in OCTAL and bool(values)
        settings[name] = int(values[0], 8) if octal else typed(DEFAULTS[name], values)
    settings["user"] = number_of("pwd", "getpwnam", settings["user"], os.geteuid())
    settings["group"] = number_of("grp", "getgrnam", settings["group"], os.getegid())
    settings["proc_name"] = settings["proc_name"] or settings["wsgi_app"]
    return Config(**settings)


def typed(default: Any, values: list[str]) -> Any:
    """An option's values with the type of gunicorn's default. Without values it is unset."""
    if isinstance(default, list):
        return values
    if not values:
        return default if default is None else type(default)()
    value = ",".join(values)
    if isinstance(default, bool):
        return value == "true"
    if isinstance(default, int):
        number = float(value)
        return int(number) if number.is_integer() else number
    return value


def number_of(module: str, function: str, name: Any, own: int) -> int:
    """The numeric ID of a user or group, as in gunicorn. An unknown name ends the start later."""
    if name is None or str(name) == "":
        return own
    try:
        return int(name)
    except ValueError:
        pass
    try:
        return int(getattr(__import__(module), function)(name)[2])
    except KeyError:
        return own


def address(bind: str) -> tuple[str, int] | str | int:
    """An address as gunicorn parses it: host and port, path of a Unix socket, or descriptor."""
    if bind.startswith("unix:"):
        return bind.removeprefix("unix:")
    if bind.startswith("fd://"):
        return int(bind.removeprefix("fd://"))
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)
