"""Context variables: each request reports what it finds, and sets them."""

import contextvars
import threading

from wsgi_common import LIMIT, note, query, reply_json, table

user = contextvars.ContextVar("user", default=None)
barrier = threading.Barrier(2)
kept = {}


def call(environ, start_response):
    """Reports the value that the call finds, and sets it."""
    found = user.get()
    user.set(query(environ, "user"))
    return reply_json(start_response, {"found": found, "thread": threading.get_ident()})


def fail(environ, start_response):
    user.set(query(environ, "user"))
    raise LookupError(user.get())


class Blocks:
    """Each call of the server finds what the one before has set, and sets more."""

    def __init__(self, key):
        self.key = key
        self.number = 0

    def step(self, name):
        note(self.key, f"{name}: {user.get()}")
        user.set(f"{user.get()}+{name}")

    def __iter__(self):
        self.step("iter")
        return self

    def __next__(self):
        if self.number == 2:
            raise StopIteration
        self.number += 1
        self.step("next")
        return b"x"

    def close(self):
        self.step("close")


def iterable(environ, start_response):
    note(query(environ, "key"), f"call: {user.get()}")
    user.set("call")
    start_response("200 OK", [])
    return Blocks(query(environ, "key"))


def generator(environ, start_response):
    """A generator that sets the value, yields, and still has it; also when it is closed early."""
    key = query(environ, "key")
    start_response("200 OK", [("Content-Length", query(environ, "length"))])
    note(key, f"start:{user.get()}")
    token = user.set("mine")
    try:
        yield b"x"
        note(key, f"next:{user.get()}")
        yield b"x"
    finally:
        user.reset(token)  # fails in another context
        note(key, f"end:{user.get()}")


def together(environ, start_response):
    """Two requests at the same time."""
    user.set(query(environ, "user"))
    barrier.wait(LIMIT)
    first = user.get()
    start_response("200 OK", [])
    yield first.encode()
    barrier.wait(LIMIT)
    yield user.get().encode()


def keep(environ, start_response):
    """Keeps the context beyond the request."""
    user.set("kept")
    kept["context"] = contextvars.copy_context()
    return reply_json(start_response, None)


def use_kept(environ, start_response):
    found = kept["context"].run(user.get)
    return reply_json(start_response, [found, user.get()])


app = table(
    {
        "call": call,
        "fail": fail,
        "iterable": iterable,
        "generator": generator,
        "together": together,
        "keep": keep,
        "use-kept": use_kept,
    }
)
