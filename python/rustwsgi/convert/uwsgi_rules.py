"""What becomes of each option of uWSGI: tables of names, and functions for values that change.

An option that is in no table has no equivalent; `src/config/compat/` has the advice about it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from rustwsgi import _rustwsgi
from rustwsgi._options import options
from rustwsgi.convert.conversion import Given, number

if TYPE_CHECKING:
    from rustwsgi.convert.uwsgi import Uwsgi

FALSE = ("false", "0", "no", "off")

#: Options with the same value, and their names here.
RENAMED = {
    "chdir": "chdir",
    "env": "env",
    "gid": "group",
    "harakiri": "timeout",
    "ienv": "env",
    "limit-post": "limit_request_body",
    "listen": "backlog",
    "max-requests": "max_requests",
    "max-requests-delta": "max_requests_jitter",
    "max-worker-lifetime": "max_worker_lifetime",
    "pidfile": "pid",
    "processes": "workers",
    "procname": "name",
    "procname-master": "name",
    "procname-prefix": "name",
    "procname-prefix-spaced": "name",
    "reload-mercy": "graceful_timeout",
    "reuse-port": "reuse_port",
    "safe-pidfile": "pid",
    "threads": "threads",
    "uid": "user",
    "umask": "umask",
    "worker-reload-mercy": "graceful_timeout",
    "workers": "workers",
}

#: Options that are converted together.
ORDERED = """
    http http-socket http11-socket https https-socket http-to-https socket uwsgi-socket
    shared-socket undeferred-shared-socket protocol socket-protocol module wsgi wsgi-file file
    callable mount paste ini-paste ini-paste-logged daemonize daemonize2 logto logto2 logger
    req-logger logger-req log-format logformat disable-logging
"""


def set_option(uwsgi: Uwsgi, name: str, given: Given) -> None:
    """Set an option to the value of one of uWSGI."""
    option = options()[name]
    if option.is_flag:
        uwsgi.result.set(name, given.value.lower() not in FALSE, given)
    elif option.is_repeatable:
        uwsgi.result.add(name, given.value, given)
    else:
        uwsgi.result.set(name, number(given.value), given)


def address(text: str, shared: list[str]) -> str:
    """A socket of uWSGI, as an address of ``bind``."""
    text = text.strip()
    if re.fullmatch(r"=\d+", text) and int(text[1:]) < len(shared):
        text = shared[int(text[1:])].strip()
    if text.startswith("fd://"):
        return text
    if text == "0":
        return "fd://0"
    host, colon, port = text.rpartition(":")
    if colon and "/" not in text:
        return f":{port}" if host in ("", "*") else text
    if text.isdecimal():
        return f":{text}"
    return text if text.startswith("unix:") else f"unix:{text}"


def on_socket_mode(uwsgi: Uwsgi, given: Given) -> None:
    """The socket has mode 0666 without the bits of the mask, which is also that of new files."""
    text = given.value if given.value != "true" else "666"
    mode = int(text, 8) if re.fullmatch("[0-7]{3,4}", text) else None
    if mode is None or uwsgi.value("umask"):
        uwsgi.result.drop(given, "a Unix socket has mode 0666 without the bits of umask")
    elif mode & 0o006 == 0o006:
        uwsgi.result.drop(
            given,
            'a Unix socket has mode 0666 without the bits of umask, and umask = "000" would let '
            "every user change the files of the application: add the proxy's user to the group "
            'and write umask = "007"',
        )
    else:
        mask = 0o666 & ~mode & 0o777
        # Directories and programs: what may not read may not search either.
        mask |= mask >> 2 & 0o111
        uwsgi.result.set("umask", f"{mask:03o}", given, f"for {given}; also for new files")


def on_size(uwsgi: Uwsgi, given: Given) -> None:
    """uWSGI's buffer holds all variables of a request."""
    size = int(given.value) if given.value.isdecimal() else 0
    if size <= 8192:
        uwsgi.result.drop(given, 'the defaults are larger: limit_request_head = "64k"')
        return
    value: str | int = f"{size // 1024}k" if size % 1024 == 0 else size
    for name in ("limit_request_line", "limit_request_field_size", "limit_request_head"):
        uwsgi.result.set(name, value, given)


def on_megabytes(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.set("max_worker_rss", f"{given.value}m", given)


def on_keep_alive(uwsgi: Uwsgi, given: Given) -> None:
    if given.value.isdecimal() and int(given.value) > 1:
        uwsgi.result.set("keep_alive", int(given.value), given)
    else:
        uwsgi.result.drop(given, "connections are kept alive for keep_alive seconds, by default 5")


def on_static(uwsgi: Uwsgi, given: Given) -> None:
    """As with uWSGI, the application gets what is no file."""
    url, sign, path = given.value.partition("=")
    if os.path.splitext(path)[1] and not os.path.isdir(os.path.join(uwsgi.chdir(), path)):
        uwsgi.result.drop(given, "static serves directories: let the proxy serve this file")
        return
    source = f"/{url.strip('/')}={path}" if sign else given.value
    uwsgi.result.add("static", source, given, "the directories must exist")
    uwsgi.result.set("static_fallback", "app", given, "as with uWSGI")


def on_check_static(uwsgi: Uwsgi, given: Given) -> None:
    on_static(uwsgi, Given(given.name, f"/={given.value}"))


def on_expires(uwsgi: Uwsgi, given: Given) -> None:
    pattern, _, seconds = given.value.rpartition(" ")
    if pattern.strip() in ("/*", ".*", "/.*", "*") and seconds.isdecimal():
        uwsgi.result.set("static_max_age", min(int(seconds), 31_536_000), given)
    else:
        advice = _rustwsgi.uwsgi_advice("static_expires_uri") or ""
        uwsgi.result.drop(given, advice)


def on_static_index(uwsgi: Uwsgi, given: Given) -> None:
    if uwsgi.result.get("static_index") is None:
        uwsgi.result.set("static_index", given.value, given)
    else:
        uwsgi.result.drop(given, "there is one name for all directories")


def on_virtual_environment(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.drop(
        given,
        f"start {given.value.rstrip('/')}/bin/rustwsgi, which belongs to that environment, or "
        f"write --venv {given.value} on the command line of the standalone binary",
    )


def on_metrics(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.set("metrics", address(given.value, []), given, "in place of the stats server")
    uwsgi.result.comment("metrics", "it shows the targets of requests: keep it private")


def on_autoreload(uwsgi: Uwsgi, given: Given) -> None:
    if given.value.lower() not in FALSE:
        uwsgi.result.set("reload", True, given, "for development")


def on_proxy_protocol(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.set("proxy_protocol", "auto", given, "see also proxy_allow_from")


def on_pythonpath(uwsgi: Uwsgi, given: Given) -> None:
    for path in given.value.split(":"):
        uwsgi.result.add("pythonpath", path, given)


def on_green_threads(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.drop(given, "green threads are not supported: see threads")


def on_syslog(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.drop(given, _rustwsgi.uwsgi_advice("logger") or "")


def on_automatic_name(uwsgi: Uwsgi, given: Given) -> None:
    uwsgi.result.drop(given, "remove it: processes are named after the application")


RULES: dict[str, Callable[[Uwsgi, Given], None]] = {
    "async": on_green_threads,
    "asyncio": on_green_threads,
    "auto-procname": on_automatic_name,
    "buffer-size": on_size,
    "check-static": on_check_static,
    "chmod": on_socket_mode,
    "chmod-socket": on_socket_mode,
    "enable-proxy-protocol": on_proxy_protocol,
    "evil-reload-on-rss": on_megabytes,
    "gevent": on_green_threads,
    "home": on_virtual_environment,
    "http-enable-proxy-protocol": on_proxy_protocol,
    "http-keepalive": on_keep_alive,
    "log-syslog": on_syslog,
    "pp": on_pythonpath,
    "py-auto-reload": on_autoreload,
    "py-autoreload": on_autoreload,
    "pyhome": on_virtual_environment,
    "python-auto-reload": on_autoreload,
    "python-autoreload": on_autoreload,
    "python-path": on_pythonpath,
    "pythonpath": on_pythonpath,
    "reload-on-rss": on_megabytes,
    "static-check": on_check_static,
    "static-expires": on_expires,
    "static-index": on_static_index,
    "static-map": on_static,
    "static-map2": on_static,
    "stats": on_metrics,
    "stats-server": on_metrics,
    "venv": on_virtual_environment,
    "virtualenv": on_virtual_environment,
}
