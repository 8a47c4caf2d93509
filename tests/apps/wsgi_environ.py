"""Returns the environ to the client, then changes it as a hostile application would."""

import os
import threading

from wsgi_common import query, reply_json

# Nothing of the process's environment may reach an environ, whether set before the start
# (the test does that too) or later.
os.environ["HTTP_X_FROM_MODULE"] = "leaked"
os.environ["REMOTE_USER"] = "leaked"
os.environ["CONTENT_TYPE"] = "leaked/leaked"

KEPT = []
_lock = threading.Lock()


def describe(environ):
    errors, source = environ["wsgi.errors"], environ["wsgi.input"]
    return {
        "type": type(environ).__name__,
        "exact_dict": type(environ) is dict,
        "strings": {k: v for k, v in environ.items() if type(v) is str},
        "types": {k: type(v).__name__ for k, v in environ.items()},
        "bad_keys": [repr(k) for k in environ if type(k) is not str],
        "wide": [k for k, v in environ.items() if type(v) is str and any(ord(c) > 255 for c in v)],
        "version": repr(environ["wsgi.version"]),
        "flags": {
            k: environ[k]
            for k in ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once")
            if type(environ[k]) is bool
        },
        "input_terminated": environ.get("wsgi.input_terminated") is True,
        "callable": [k for k, v in environ.items() if callable(v)],
        "errors_methods": [
            m for m in ("flush", "write", "writelines") if callable(getattr(errors, m, None))
        ],
        "input_methods": [
            m
            for m in ("__iter__", "read", "readline", "readlines")
            if callable(getattr(source, m, None))
        ],
    }


def dump(environ, start_response):
    return reply_json(start_response, describe(environ))


def mutate(environ, start_response):
    """Describe, then leave as much rubbish in the dict as possible."""
    seen = describe(environ)
    environ["HTTP_X_PLANTED"] = "planted"
    environ["planted.object"] = object()
    for name in list(environ):
        if name.startswith("HTTP_X_") or name in ("PATH_INFO", "QUERY_STRING", "CONTENT_TYPE"):
            environ[name] = "mutated"
    environ["wsgi.version"] = (9, 9)
    environ["wsgi.url_scheme"] = "mutated"
    environ["wsgi.multithread"] = "mutated"
    environ["wsgi.file_wrapper"] = None
    for name in ("REQUEST_METHOD", "SERVER_PROTOCOL", "SERVER_NAME", "REMOTE_ADDR"):
        environ.pop(name, None)
    if "clear" in seen["strings"]["QUERY_STRING"]:
        environ.clear()
    return reply_json(start_response, seen)


def keep(environ, start_response):
    """Keep every environ alive, and return what the kept ones hold now (`?keep` empties first)."""
    with _lock:
        if query(environ, "first") is not None:
            KEPT.clear()
        KEPT.append(environ)
        seen = [
            {k: kept.get(k) for k in ("PATH_INFO", "HTTP_X_A", "CONTENT_LENGTH")} for kept in KEPT
        ]
        distinct = len({id(kept) for kept in KEPT}) == len(KEPT)
        inputs = len({id(kept["wsgi.input"]) for kept in KEPT}) == len(KEPT)
    return reply_json(start_response, {"kept": seen, "distinct": distinct, "inputs": inputs})
