"""The command line of uWSGI."""

from __future__ import annotations

import os

from rustwsgi.convert.uwsgi_files import Reader

#: uWSGI's short options, and the long ones.
SHORT = {
    "s": "socket",
    "p": "processes",
    "t": "harakiri",
    "x": "xml",
    "S": "set",
    "d": "daemonize",
    "l": "listen",
    "v": "max-vars",
    "b": "buffer-size",
    "C": "chmod-socket",
    "T": "enable-threads",
    "i": "single-interpreter",
    "M": "master",
    "R": "max-requests",
    "z": "socket-timeout",
    "A": "sharedarea",
    "Q": "spooler",
    "L": "disable-logging",
    "y": "yaml",
    "j": "json",
    "w": "module",
    "H": "home",
    "O": "optimize",
    "m": "memory-report",
    "r": "reaper",
}
#: Options without a value on a command line.
FLAGS = """
    abstract-socket auto-procname autoload catch-exceptions cheap close-on-exec close-on-exec2
    die-on-idle die-on-term disable-logging disable-sendfile disable-write-exception
    drop-after-apps drop-after-init dynamic-apps enable-metrics enable-proxy-protocol
    enable-threads exit-on-reload freebind gevent-early-monkey-patch gevent-monkey-patch
    harakiri-verbose honour-range honour-stdin http-auto-chunked http-auto-gzip
    http-chunked-input http-raw-body http-websockets ignore-script-name ignore-sigpipe
    ignore-write-errors lazy lazy-apps log-4xx log-5xx log-master log-micros log-reopen
    log-x-forwarded-for log-zero manage-script-name master master-as-root need-app
    no-default-app no-defer-accept no-orphans no-orphan no-server no-site
    py-call-osafterfork reaper reload-on-exception reload-os-env reuse-port show-config
    single-interpreter skip-atexit so-keepalive static-gzip-all stats-http strict tcp-nodelay
    threaded-logger thunder-lock vacuum vhost wsgi-accept-buffer wsgi-disable-file-wrapper
"""
#: Options whose value may be left out on a command line.
OPTIONAL = frozenset(["chmod-socket", "memory-report", "http-keepalive", "logdate", "log-date"])


def command_line(reader: Reader, arguments: list[str]) -> None:
    """Add the options of a command line."""
    rest = list(reversed(arguments))
    while rest:
        word = rest.pop()
        if word.startswith("--"):
            name, sign, value = word[2:].partition("=")
            name = name.replace("_", "-")
        elif len(word) > 1 and word[0] == "-":
            name, sign, value = SHORT.get(word[1], word[1]), word[2:], word[2:]
        else:
            positional(reader, word)
            continue
        is_flag = name in FLAGS.split() or (
            name in OPTIONAL and (not rest or rest[-1].startswith("-"))
        )
        if not sign and not is_flag and rest:
            value = rest.pop()
        reader.add(name, value or "true")


def positional(reader: Reader, word: str) -> None:
    """An argument without an option: a file, an address or a module, as uWSGI guesses."""
    extension = os.path.splitext(word.partition(":")[0])[1].lower()
    if extension in (".ini", ".xml", ".yaml", ".yml", ".json", ".js"):
        reader.add("ini" if extension == ".ini" else "config", word)
    elif extension in (".py", ".wsgi"):
        reader.add("wsgi-file", word)
    else:
        reader.add("socket" if word.startswith((":", "/")) else "module", word)
