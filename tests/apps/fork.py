"""Forks inside a request. What the child comes back with is in the path:

/call/HOW       forks in the call; both return, or the child raises
/iterate/HOW    forks in an iteration: as it gives a block, as it ends, or as it raises
/close/HOW      forks in close()
/hidden/WHERE   forks where the server calls the application without its knowledge: in a destructor, in
                __iter__, in the attribute `close`, in the text of an exception or of an environ value
/write          forks, and the child calls write(); the parent answers with its exit code
/read           the same with a read of wsgi.input
/spawn          leaves a child behind that sleeps, and says its number; `aside=1` in another process group
/spawn-break    the same, in a response that breaks off after its first block
/reap?pid=N     ends such a child

The parent returns the child's exit code. It waits for it, so a child that does not end is an answer
that does not come.
"""

import os
import signal

from wsgi_common import note, query, reply_json, table

FAILURES = {"exit": SystemExit(7), "fail": RuntimeError("the child fails")}


def wait_for(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def how_of(environ):
    return environ["PATH_INFO"].split("/")[2]


def call(environ, start_response):
    how = how_of(environ)
    if pid := os.fork():
        return reply_json(start_response, wait_for(pid))
    if how in FAILURES:
        raise FAILURES[how]
    return reply_json(start_response, "the child answers")


def iterate(environ, start_response):
    how = how_of(environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    if how == "end":
        yield b""
    if pid := os.fork():
        yield b"%d" % wait_for(pid)
    elif how in FAILURES:
        raise FAILURES[how]
    elif how == "block":
        yield b"the child answers"


class ForkingClose:
    """One block, and a fork behind it."""

    def __init__(self, key, how):
        self.key, self.how = key, how

    def __iter__(self):
        yield b'"closing"'

    def close(self):
        if pid := os.fork():
            note(self.key, f"ended-{wait_for(pid)}")
        elif self.how in FAILURES:
            raise FAILURES[self.how]


def close(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return ForkingClose(query(environ, "key"), how_of(environ))


class Forking:
    """Forks in one of its methods, whose child returns to the server."""

    def __init__(self, key, where):
        self.key, self.where = key, where

    def fork_in(self, where):
        if where == self.where:
            self.where = None
            if pid := os.fork():
                note(self.key, f"ended-{wait_for(pid)}")

    def __del__(self):
        self.fork_in("environ")
        self.fork_in("iterable")

    def __iter__(self):
        self.fork_in("iter")
        return iter([b'"hidden"'])

    def __getattr__(self, name):
        if name == "close":
            self.fork_in("attribute")
        raise AttributeError(name)

    def __str__(self):
        self.fork_in("value")
        return "text"


class ForkingError(Exception):
    def __str__(self):
        self.forking.fork_in("traceback")
        return "with a text that forks"


def hidden(environ, start_response):
    where = how_of(environ)
    forking = Forking(query(environ, "key"), where)
    if where == "traceback":
        error = ForkingError()
        error.forking = forking
        raise error
    start_response("200 OK", [("Content-Type", "application/json")])
    if where in ("environ", "value"):
        environ["test.forking"] = forking
        return [b'"hidden"']
    return forking


def write_in_child(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"parent ")
    if pid := os.fork():
        write(b"%d" % wait_for(pid))
        return []
    try:
        write(b"child ")
    except RuntimeError:
        os._exit(3)
    os._exit(0)


def read_in_child(environ, start_response):
    if pid := os.fork():
        code = wait_for(pid)
        return reply_json(start_response, [code, len(environ["wsgi.input"].read())])
    try:
        environ["wsgi.input"].read(1)
    except RuntimeError:
        os._exit(3)
    os._exit(0)


def sleeping_child(aside=False):
    """A child that holds whatever was open, until it is killed."""
    ready, begun = os.pipe()
    pid = os.fork()
    if not pid and aside:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
    if not pid:
        os.write(begun, b".")
    while not pid:
        signal.pause()
    os.read(ready, 1)
    os.close(ready)
    os.close(begun)
    return pid


def spawn(environ, start_response):
    end = query(environ, "end")
    child = sleeping_child(aside=bool(query(environ, "aside")))
    return reply_json(start_response, child, [("Connection", end)] if end else [])


def spawn_break(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"%d\n" % sleeping_child()
    raise RuntimeError("broken off")


def reap(environ, start_response):
    pid = int(query(environ, "pid"))
    os.kill(pid, signal.SIGKILL)
    return reply_json(start_response, wait_for(pid))


app = table(
    {
        "call": call,
        "iterate": iterate,
        "close": close,
        "hidden": hidden,
        "write": write_in_child,
        "read": read_in_child,
        "spawn": spawn,
        "spawn-break": spawn_break,
        "reap": reap,
        "": lambda environ, start_response: reply_json(start_response, "here"),
    }
)
