"""Returns, in JSON, what the application received.

`recorded` wraps any application so that a test can ask at /seen which calls there were: that is
how "the application was never called" is shown.
"""

import hashlib
import json
import threading
from urllib.parse import parse_qs

_calls = []
_lock = threading.Lock()


def recorded(app):
    """Note every call of `app` but those for /seen, which lists them."""

    def wrapper(environ, start_response):
        if environ.get("PATH_INFO") == "/seen":
            start = int(parse_qs(environ.get("QUERY_STRING", "")).get("from", ["0"])[0])
            with _lock:
                answer = {"total": len(_calls), "calls": _calls[start:]}
            return reply(start_response, json.dumps(answer).encode(), "application/json")
        call = {
            "port": environ.get("REMOTE_PORT"),
            "method": environ.get("REQUEST_METHOD"),
            "path": environ.get("PATH_INFO"),
            "query": environ.get("QUERY_STRING"),
        }
        with _lock:
            _calls.append(call)
        return app(environ, start_response)

    return wrapper


def reply(start_response, body, content_type="text/plain", status="200 OK", fields=()):
    """A response of known length."""
    head = [("Content-Type", content_type), ("Content-Length", str(len(body))), *fields]
    start_response(status, head)
    return [body]


@recorded
def app(environ, start_response):
    """Echo: the environ's strings, and the body with its length and digest.

    A body that cannot be read is reported as "error". A query of `read=no` leaves the body alone, and
    `pad=N` makes the answer at least N bytes long.
    """
    options = parse_qs(environ.get("QUERY_STRING", ""))
    body, error = b"", None
    if options.get("read") != ["no"]:
        try:
            body = environ["wsgi.input"].read()
        except OSError as problem:
            error = f"{type(problem).__name__}: {problem}"
    seen = {
        "environ": {k: v for k, v in environ.items() if isinstance(v, str)},
        "types": {k: type(v).__name__ for k, v in environ.items()},
        "http": sorted(k for k in environ if k.startswith("HTTP_")),
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "body": body.decode("latin-1") if len(body) <= 65536 else None,
        "error": error,
        "pad": "x" * int(options.get("pad", ["0"])[0]),
    }
    return reply(start_response, json.dumps(seen).encode(), "application/json")
