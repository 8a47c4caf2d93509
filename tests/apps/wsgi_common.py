"""Shared parts of the WSGI test applications: a table of paths, JSON responses, notes and gates.

Every module built with `table` has two paths of its own, by which a test talks to the process:

/notes?key=K&want=E   what was noted under K, once E is among it
/open?key=K           opens the gate K, for which an application may be waiting

So nothing in the tests sleeps: each side waits for an event, with a limit that only turns a hang
into a failure.
"""

import json
import threading
from urllib.parse import parse_qs

#: Seconds. Below the client's own limit (`harness.TIMEOUT`), so that a failing test gets a response
#: to show.
LIMIT = 20.0

_notes = {}
_gates = {}
_changed = threading.Condition()


def note(key, event):
    """Note that `event` happened, and on which thread."""
    with _changed:
        _notes.setdefault(key, []).append({"event": event, "thread": threading.get_ident()})
        _changed.notify_all()


def notes(key, want=None):
    """What was noted under `key`, once `want` was."""
    with _changed:
        _changed.wait_for(
            lambda: not want or any(n["event"] == want for n in _notes.get(key, [])), LIMIT
        )
        return list(_notes.get(key, []))


def wait_gate(key):
    """Wait until a test opens the gate `key`."""
    with _changed:
        if not _changed.wait_for(lambda: _gates.get(key), LIMIT):
            raise TimeoutError(f"gate {key} was never opened")


def open_gate(key):
    with _changed:
        _gates[key] = True
        _changed.notify_all()


def query(environ, name, default=None):
    return parse_qs(environ["QUERY_STRING"], keep_blank_values=True).get(name, [default])[0]


def reply_json(start_response, value, headers=()):
    body = json.dumps(value).encode()
    start_response(
        "200 OK",
        [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers],
    )
    return [body]


def table(handlers):
    """An application that chooses by the path's first segment, or by "" for any other."""

    def app(environ, start_response):
        name = environ["PATH_INFO"].split("/")[1]
        if name == "notes":
            found = notes(query(environ, "key"), query(environ, "want"))
            return reply_json(start_response, found)
        if name == "open":
            open_gate(query(environ, "key"))
            return reply_json(start_response, "open")
        handler = handlers.get(name, handlers.get(""))
        if handler is None:
            return reply_json(start_response, f"no handler {name!r}")
        return handler(environ, start_response)

    return app


class Token:
    """Notes "freed" when the last reference to it goes, which is how a test sees a leak."""

    def __init__(self, key):
        self.key = key

    def __del__(self):
        note(self.key, "freed")
