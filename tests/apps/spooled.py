"""Generators whose blocks are all different, so that no block can be lost, doubled or misplaced.

/blocks?id=X&count=N   N blocks of 64 KiB; `length=1` declares the length, `write=1` uses write()
/pause?id=X&count=N    N blocks, then "last" when /go?id=X comes
/go?id=X               lets it continue
/closed?id=X           waits for close(), and returns how many blocks were produced
/produced?id=X         how many blocks were produced so far
"""

import threading
from collections import defaultdict
from urllib.parse import parse_qs

SIZE = 65536
TIMEOUT = 20


class Run:
    """The state of one response."""

    def __init__(self):
        self.produced = 0
        self.go = threading.Event()
        self.closed = threading.Event()


_runs = defaultdict(Run)
_lock = threading.Lock()


class Blocks:
    """The blocks of one response; with `pause`, one more after a pause."""

    def __init__(self, run, count, pause):
        self.run = run
        self.count = count
        self.pause = pause

    def __iter__(self):
        for number in range(self.count):
            self.run.produced += 1
            yield b"%08d" % number * (SIZE // 8)
        if self.pause:
            if not self.run.go.wait(TIMEOUT):
                raise TimeoutError("nobody has sent /go")
            yield b"last"

    def close(self):
        self.run.closed.set()


def app(environ, start_response):
    options = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    with _lock:
        run = _runs[options.get("id", "")]
    path, fields = environ["PATH_INFO"], [("Content-Type", "text/plain")]
    if path in {"/blocks", "/pause"}:
        count = int(options["count"])
        if "length" in options:
            fields.append(("Content-Length", str(count * SIZE)))
        write = start_response("200 OK", fields)
        blocks = Blocks(run, count, path == "/pause")
        if "write" not in options:
            return blocks
        for block in blocks:
            write(block)
        blocks.close()
        return []
    body = b"ok"
    if path == "/go":
        run.go.set()
    elif path == "/closed":
        body = str(run.produced if run.closed.wait(TIMEOUT) else "still running").encode()
    elif path == "/produced":
        body = str(run.produced).encode()
    elif path == "/count":
        body = str(len(environ["wsgi.input"].read())).encode()
    start_response("200 OK", [*fields, ("Content-Length", str(len(body)))])
    return [body]
