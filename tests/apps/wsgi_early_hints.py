"""Calls `environ["wsgi.early_hints"]` in the ways that its path names."""

import os
import threading

from echo import reply

LINK = ("Link", "</a.css>; rel=preload; as=style")
#: Bad arguments, by path.
BAD = {
    "/bad/name": [("Li nk", "x")],
    "/bad/split": [("Link", "x\r\nSet-Cookie: secret=1")],
    "/bad/split-name": [("Link: x\r\nSet-Cookie", "y")],
    "/bad/nul": [("Link", "\0")],
    "/bad/latin-1": [("Link", "\u20ac")],
    "/bad/number": [("Link", 1)],
    "/bad/pair": [("Link",)],
    "/bad/list": None,
}
kept = []


def app(environ, start_response):
    path, hints = environ["PATH_INFO"], environ["wsgi.early_hints"]
    if path == "/plain":
        pass
    elif path == "/twice":
        hints([LINK])
        hints([("Link", "</b.js>"), ("X-Other", " trimmed\t")])
    elif path == "/started":
        start_response("200 OK", [("Content-Length", "3")])
        hints([LINK])
        return [b"abc"]
    elif path == "/late":
        return late(hints, start_response)
    elif path == "/write":
        write = start_response("200 OK", [("Content-Length", "6")])
        write(b"abc")
        hints([LINK])
        return [b"def"]
    elif path == "/bytes":
        hints(iter([(b"Link", b"</\xe9.css>"), ["X-List", "1"]]))
    elif path == "/framing":
        hints([("Content-Length", "9"), ("Transfer-Encoding", "chunked"), ("Connection", "close")])
    elif path == "/empty":
        hints([])
    elif path == "/thread":
        thread = threading.Thread(target=hints, args=([LINK],))
        thread.start()
        thread.join()
    elif path == "/keep":
        kept.append(hints)
    elif path == "/kept":
        # That of another request, which has ended.
        kept.pop()([LINK])
    elif path in BAD:
        try:
            hints(BAD[path])
        except Exception as error:
            return reply(start_response, f"{type(error).__name__}: {error}".encode())
    else:
        hints([LINK])
    return reply(start_response, b"done")


def late(hints, start_response):
    start_response("200 OK", [("Content-Length", "6")])
    yield b"abc"
    hints([LINK])
    hints(BAD["/bad/split"])
    yield b"def"


def waiting(environ, start_response):
    """Waits for the test, between the hints and the response."""
    environ["wsgi.early_hints"]([LINK])
    with open(os.environ["FIFO"], "rb") as fifo:
        fifo.read()
    return reply(start_response, b"done")
