"""Memory runs out inside a request: `?START,COUNT` lets that many allocations of Python fail.

/list      in the response to a list, after the application has returned it
/early     in the destructor of an object that the application leaves behind
/generate  between two blocks
/start     before start_response
/raise     before an exception
/read      while it reads the content, which it then reads again
/filter    afterwards each line of the access log is a record of Python
/str/NAME  the environ has a value whose conversion for the access log raises

Every other path restores the memory and returns the pid.
"""

import _testcapi
import logging
import os


class Value:
    """A value for the access log, of some size."""

    def __str__(self):
        return "v" * 100


class Failing:
    def __init__(self, failure):
        self.failure = failure

    def __str__(self):
        raise self.failure


class Armed(list):
    """Arms itself when it is dropped."""

    def __init__(self, environ, items):
        super().__init__(items)
        # Not the environ, which may hold this object: only the garbage collector would drop both.
        self.environ = {"QUERY_STRING": environ["QUERY_STRING"]}

    def __del__(self):
        arm(self.environ)


def arm(environ):
    start, count = map(int, environ["QUERY_STRING"].split(","))
    _testcapi.set_nomemory(start, start + count)


def generate(environ):
    yield b"one"
    arm(environ)
    yield b"two"
    yield b"three"


def read(environ, start_response):
    stream = environ["wsgi.input"]
    status = "200 OK"
    arm(environ)
    try:
        content = stream.read()
    except MemoryError:
        _testcapi.remove_mem_hooks()
        content = stream.read()
        status = "507 Insufficient Storage"
    _testcapi.remove_mem_hooks()
    start_response(status, [("Content-Length", str(len(content)))])
    return [content]


def app(environ, start_response):
    _testcapi.remove_mem_hooks()
    path = environ["PATH_INFO"]
    environ["test.value"] = Value()
    if path == "/filter":
        logging.getLogger("gunicorn.access").addFilter(lambda record: bool(record.getMessage()))
    if path == "/raise":
        arm(environ)
        raise ValueError("in a request without memory")
    if path == "/start":
        arm(environ)
    if path == "/read":
        return read(environ, start_response)
    if path.startswith("/str/"):
        failure = {
            "memory": MemoryError(),
            "exit": SystemExit(7),
            "interrupt": KeyboardInterrupt(),
            "value": ValueError("no text"),
        }[path.removeprefix("/str/")]
        environ["test.value"] = Failing(failure)
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/generate":
        return generate(environ)
    if path == "/list":
        blocks = [b"a list"]
        arm(environ)
        return blocks
    if path == "/early":
        environ["test.armed"] = Armed(environ, [])
        return [b"early"]
    return [b"%d" % os.getpid()]
