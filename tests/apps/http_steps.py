"""Responses that continue when another request releases them: no test has to sleep.

/start?id=X&...  begins, then waits for /go?id=X before each further step
/go?id=X         lets it take one step
/state?id=X      what has happened so far
/wait?id=X&for=E responds when E has happened
"""

import json
import threading
from collections import defaultdict
from urllib.parse import parse_qs

from echo import recorded, reply

TIMEOUT = 20


class Run:
    """What one id has done, and how many steps it may still take."""

    def __init__(self):
        self.permits = threading.Semaphore(0)
        self.changed = threading.Condition()
        self.events = []

    def note(self, event):
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def wait_for(self, event):
        with self.changed:
            return self.changed.wait_for(lambda: event in self.events, TIMEOUT)

    def step(self):
        if not self.permits.acquire(timeout=TIMEOUT):
            raise TimeoutError("the step was not released")


_runs = defaultdict(Run)
_lock = threading.Lock()


class Blocks:
    """Yields "one", waits, yields "two", and so on; notes each move, and close()."""

    def __init__(self, run, blocks):
        self.run = run
        self.left = list(blocks)
        self.first = True

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            self.run.note("end")
            raise StopIteration
        if not self.first:
            self.run.step()
        self.first = False
        block = self.left.pop(0)
        self.run.note(block.decode())
        return block

    def close(self):
        self.run.note("close")


class Endless:
    """A large or endless body that may stay unread; notes close()."""

    def __init__(self, run, count):
        self.run = run
        self.count = count

    def __iter__(self):
        block = b"x" * 65536
        self.run.note("begin")
        for _ in range(self.count):
            yield block
        self.run.note("end")

    def close(self):
        self.run.note("close")


@recorded
def app(environ, start_response):
    options = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
    with _lock:
        run = _runs[options.get("id", "")]
    path = environ["PATH_INFO"]
    if path == "/go":
        run.permits.release()
        return reply(start_response, b"gone")
    if path == "/state":
        return reply(start_response, json.dumps(run.events).encode())
    if path == "/wait":
        return reply(start_response, json.dumps(run.wait_for(options["for"])).encode())
    if path == "/block":
        run.note("started")
        run.step()
        run.note("finished")
        return reply(start_response, b"unblocked")
    if path == "/mark":
        run.note("mark")
        return reply(start_response, b"marked")
    if path == "/large":
        run.note("started")
        return reply(start_response, b"x" * int(options["size"]))
    if path == "/endless":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Endless(run, int(options.get("count", "1000000")))
    fields = [("Content-Type", "text/plain")]
    blocks = [b"one", b"two", b"three"]
    if options.get("length"):
        fields.append(("Content-Length", str(sum(map(len, blocks)))))
    write = start_response("200 OK", fields)
    if options.get("write"):
        for number, block in enumerate(blocks):
            if number:
                run.step()
            run.note(block.decode())
            write(block)
        return []
    return Blocks(run, blocks)
