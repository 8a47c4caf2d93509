"""Answers in the way that the request's X-Way asks for: well, badly, or not to the end.

X-Length says how much content an unbroken answer has. HEAD is answered well, because the client could not
tell whether content follows a head that does not name the method.
"""

import sys
import tempfile

LARGE = b"x" * 300_000

_file = tempfile.TemporaryFile()
_file.write(LARGE)
_file.flush()


class Closing:
    """An iterable whose close() is a failure as well."""

    def __iter__(self):
        yield b"hello"

    def close(self):
        raise RuntimeError("close")


def app(environ, start_response):
    way = environ.get("HTTP_X_WAY", "list")
    method = environ["REQUEST_METHOD"]
    if method == "HEAD" and way in {"raise", "exit", "bad-field", "bad-status", "none"}:
        way = "list"
    body = environ["wsgi.input"]
    said = [("X-Way", way), ("X-Method", method), ("X-Seq", environ.get("HTTP_X_SEQ", "?"))]

    def start(length, *fields, status="200 OK"):
        head = [*said, ("X-Length", str(length)), *fields]
        return start_response(status, head)

    if way == "raise":
        raise RuntimeError("before the head")
    if way == "exit":
        sys.exit("an application may not end the server")
    if way == "bad-field":
        start_response("200 OK", [("X-Bad", "a\r\nInjected: b")])
        return [b"hello"]
    if way == "bad-status":
        start_response("200\r\nInjected: b", [])
        return [b"hello"]
    if way == "none":
        return None
    if way == "generator":
        return steps(start, [b"", b"he", b"llo"])
    if way == "break":
        return steps(start, [b"he", None])
    if way == "short":
        start(5, ("Content-Length", "9"))
        return [b"hello"]
    if way == "long":
        start(5, ("Content-Length", "5"))
        return iter([b"hel", b"lo, and more"])
    if way == "write":
        start(5)(b"he")
        return [b"llo"]
    if way == "read-part":
        body.read(2)
        body.readline()
        start(5)
        return [b"hello"]
    if way == "read-all":
        size = len(body.read())
        start(size)
        return [b"y" * size]
    if way == "large":
        start(len(LARGE))
        return [LARGE]
    if way == "large-steps":
        return steps(start, [LARGE[:30_000]] * 10)
    if way == "file":
        copy = open(f"/proc/self/fd/{_file.fileno()}", "rb")
        start(len(LARGE))
        return environ["wsgi.file_wrapper"](copy)
    if way == "close":
        start(5, ("Connection", "close"))
        return [b"hello"]
    if way == "no-content":
        start(0, status="204 No Content")
        return [b"hello"]
    if way == "again":
        try:
            raise RuntimeError("changed its mind")
        except RuntimeError:
            start_response("200 OK", [("Content-Length", "99")])
            start_response("500 Oops", [*said, ("X-Length", "5")], sys.exc_info())
        return [b"hello"]
    if way == "bad-close":
        start(5)
        return Closing()
    start(5)
    return [b"hello"]


def steps(start, blocks):
    start(sum(len(block) for block in blocks if block))
    for block in blocks:
        if block is None:
            raise RuntimeError("in the middle")
        yield block
