"""Bodies larger than anyone should hold in memory, in and out.

/count            reads the request's body in blocks, and returns its length
/scratch?size=N   fills N bytes in blocks of 60 KB and frees them
/generate?size=N  yields N bytes; `length=1` says so first
/sparse?size=N    a file of N zeros that takes no room on the disk, through wsgi.file_wrapper
/temporary?size=N the same, but a tempfile.TemporaryFile
/block?size=N     a list of one block of N bytes, all of them in memory, as zeros need not be
/one-block?size=N a block of N zeros from an iterator without a length
/flood?id=X       yields without end
/flooded?id=X     how many bytes that was, once X was closed
"""

import tempfile
import threading
from collections import defaultdict
from urllib.parse import parse_qs

BLOCK = b"x" * 65536
TIMEOUT = 20


class Flood:
    """Endless blocks, counted; `over` is set by close()."""

    def __init__(self):
        self.count = 0
        self.over = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        self.count += len(BLOCK)
        return BLOCK

    def close(self):
        self.over.set()


_floods = defaultdict(Flood)
_lock = threading.Lock()


def flood(name):
    with _lock:
        return _floods[name]


def count(stream):
    total = 0
    while block := stream.read(len(BLOCK)):
        total += len(block)
    return total


def blocks(size):
    for _ in range(size // len(BLOCK)):
        yield BLOCK
    if rest := size % len(BLOCK):
        yield BLOCK[:rest]


def temporary(size):
    """As an application fills one and then gives it out."""
    file = tempfile.TemporaryFile()
    file.truncate(size)
    return file


def sparse(size):
    """Opened for reading, as downloads are."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        return open(file.name, "rb")


FILES = {"/sparse": sparse, "/temporary": temporary}


def app(environ, start_response):
    options = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
    path, size = environ["PATH_INFO"], int(options.get("size", "0"))
    fields = [("Content-Type", "application/octet-stream")]
    if path == "/generate":
        if "length" in options:
            fields.append(("Content-Length", str(size)))
        start_response("200 OK", fields)
        return blocks(size)
    if path in FILES:
        start_response("200 OK", [*fields, ("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"](FILES[path](size))
    if path == "/block":
        start_response("200 OK", fields)
        return [b"x" * size]
    if path == "/one-block":
        start_response("200 OK", fields)
        return iter([bytes(size)])
    if path == "/flood":
        start_response("200 OK", fields)
        return flood(options["id"])
    if path == "/scratch":
        # The list comes first, so that nothing lies behind the blocks in the heap.
        filled = [b""] * (size // 60_000)
        for i in range(len(filled)):
            filled[i] = b"x" * 60_000
        del filled
    if path == "/count":
        body = str(count(environ["wsgi.input"])).encode()
    elif path == "/flooded":
        run = flood(options["id"])
        body = str(run.count if run.over.wait(TIMEOUT) else "still running").encode()
    else:
        body = b"hello"
    start_response("200 OK", [*fields, ("Content-Length", str(len(body)))])
    return [body]
