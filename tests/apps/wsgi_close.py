"""Bodies that note how they end, and whether anything of their request outlives it."""

import time

from wsgi_common import LIMIT, Token, note, query, reply_json, table, wait_gate


class Body:
    """An iterable that is not its own iterator, and that notes what is done to it.

    (fastwsgi and others call close() on the iterator only, so Django's request_finished is lost.)
    """

    def __init__(self, key, blocks, fail=None, fail_close=None):
        self.key, self.blocks, self.fail, self.fail_close = key, blocks, fail, fail_close
        self.token = Token(key)

    def __iter__(self):
        note(self.key, "iter")
        for block in self.blocks:
            note(self.key, "next")
            yield block
        if self.fail:
            raise self.fail()  # made here: a kept exception would be a cycle through its traceback

    def close(self):
        note(self.key, "close")
        if self.fail_close:
            raise self.fail_close()


class OwnIteratorBody(Body):
    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.source = iter(self.blocks)

    def __iter__(self):
        return self

    def __next__(self):
        note(self.key, "next")
        for block in self.source:
            return block
        if self.fail:
            raise self.fail()
        raise StopIteration


class ListBody(list):
    """A list with a close(), as some middleware returns."""

    def __init__(self, key, blocks):
        super().__init__(blocks)
        self.key = key
        self.token = Token(key)

    def close(self):
        note(self.key, "close")


class InstanceClose:
    """close is an attribute of the object, not of its class."""

    def __init__(self, key):
        self.token = Token(key)
        self.close = lambda: note(key, "close")

    def __iter__(self):
        return iter([b"one", b"two"])


class FailingIter(Body):
    def __iter__(self):
        raise RuntimeError("secret: no iterator")


class Unclosable(Body):
    """close exists and cannot be called."""

    close = None


def closing_generator(key, blocks):
    token = Token(key)
    try:
        yield from blocks
        note(token.key, "exhausted")
    except GeneratorExit:
        note(token.key, "close")
        raise


def endless(key, environ):
    """Blocks until the client has gone, each small, so that only the socket ends it."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        yield b"x" * 65536
    note(key, "never told")


BODIES = {
    "exhausted": lambda k: Body(k, [b"one", b"two"]),
    "exhausted-one": lambda k: Body(k, [b"one"]),
    "exhausted-empty": lambda k: Body(k, []),
    "exhausted-empty-block": lambda k: Body(k, [b"", b""]),
    "own-iterator": lambda k: OwnIteratorBody(k, [b"one", b"two"]),
    "list": lambda k: ListBody(k, [b"one", b"two"]),
    "list-one": lambda k: ListBody(k, [b"one"]),
    "list-empty": lambda k: ListBody(k, []),
    "instance-attribute": InstanceClose,
    "raises-first": lambda k: Body(k, [], lambda: RuntimeError("secret")),
    "raises-later": lambda k: Body(k, [b"one"], lambda: RuntimeError("secret")),
    "raises-own-iterator": lambda k: OwnIteratorBody(k, [b"one"], lambda: RuntimeError("secret")),
    "raises-in-iter": lambda k: FailingIter(k, []),
    "system-exit": lambda k: Body(k, [b"one"], lambda: SystemExit(3)),
    "keyboard-interrupt": lambda k: Body(k, [], KeyboardInterrupt),
    "generator-exit": lambda k: Body(k, [b"one"], GeneratorExit),
    "item-str": lambda k: Body(k, ["secret"]),
    "item-str-later": lambda k: Body(k, [b"one", "secret", b"two"]),
    "list-item-str": lambda k: ListBody(k, ["secret"]),
    "close-raises": lambda k: Body(k, [b"one"], fail_close=lambda: RuntimeError("secret close")),
    "close-exits": lambda k: Body(k, [b"one"], fail_close=lambda: SystemExit(4)),
    "both-raise": lambda k: Body(
        k, [b"one"], lambda: ValueError("secret"), lambda: RuntimeError("secret close")
    ),
}


def closes(environ, start_response):
    key = query(environ, "key")
    headers = []
    if query(environ, "length"):
        headers.append(("Content-Length", query(environ, "length")))
    body = BODIES[environ["PATH_INFO"].split("/")[2]](key)
    if not query(environ, "never"):
        start_response(query(environ, "status", "200 OK"), headers)
    return body


def unclosable(environ, start_response):
    start_response("200 OK", [])
    return Unclosable(query(environ, "key"), [b"one"])


def disconnect(environ, start_response):
    """Streams to a client that leaves."""
    key, how = query(environ, "key"), query(environ, "how")
    note(key, "called")
    write = start_response("200 OK", [])
    if how == "before":
        wait_gate(key)
        return Body(key, [b"x" * 65536] * 2000)
    if how == "write":
        body = Body(key, [])
        try:
            for block in endless(key, environ):
                write(block)
        except OSError:
            note(key, "write raised")
        return body
    if how == "generator":
        return closing_generator(key, endless(key, environ))
    if how == "own-iterator":
        return OwnIteratorBody(key, endless(key, environ))
    if how == "list":
        return ListBody(key, [b"x" * (1 << 20)] * 64)
    return Body(key, endless(key, environ))


def watching(environ, start_response):
    """Asks rustwsgi.client_disconnected until it says so."""
    key = query(environ, "key")
    gone = environ["rustwsgi.client_disconnected"]
    note(key, f"at first {gone()!r}")
    start_response("200 OK", [])
    token = Token(key)

    def blocks():
        yield b"started"
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if gone():
                note(token.key, f"gone {gone()!r}")
                return
            time.sleep(0.005)
        note(token.key, "never told")

    return blocks()


def not_gone(environ, start_response):
    """What client_disconnected says to a client that waits for its response."""
    gone = environ["rustwsgi.client_disconnected"]
    answers = [gone() for _ in range(3)]
    environ["wsgi.input"].read()
    answers.append(gone())
    return reply_json(start_response, answers)


KEPT = {}


def keep_gone(environ, start_response):
    """Keeps client_disconnected beyond the request."""
    KEPT[query(environ, "key")] = environ["rustwsgi.client_disconnected"]
    return reply_json(start_response, None)


def kept_gone(environ, start_response):
    """What a kept client_disconnected says, and that of this request."""
    kept = KEPT[query(environ, "key")]
    return reply_json(start_response, [kept(), environ["rustwsgi.client_disconnected"]()])


class Shared(list):
    def close(self):
        note(self.key, "close")


SHARED = Shared([b"one ", b"two"])


def shared(environ, start_response):
    """The same list object for every request."""
    SHARED.key = query(environ, "key")
    start_response("200 OK", [])
    return SHARED


PLAIN_SHARED = [b"the same ", b"list"]


def plain_shared(environ, start_response):
    start_response("200 OK", [])
    return PLAIN_SHARED


# ----------------------------------------------------------------------------------------- leaks


def holding(environ, start_response):
    """The environ and the start_response closure hold tokens that must go with the request."""
    key, how = query(environ, "key"), query(environ, "how")
    environ["test.token"] = Token(key)
    if how == "raise":
        local = Token(key + "-frame")
        raise RuntimeError(f"secret {local.key}")
    start_response("200 OK", [])
    if how == "generator":

        def blocks():
            local = Token(key + "-frame")
            yield local.key.encode()

        return blocks()
    if how == "raise-later":

        def failing():
            local = Token(key + "-frame")
            yield b"one"
            raise RuntimeError(f"secret {local.key}")

        return failing()
    note(key + "-frame", "freed")
    return [b"body"]


app = table(
    {
        "closes": closes,
        "unclosable": unclosable,
        "disconnect": disconnect,
        "watching": watching,
        "not-gone": not_gone,
        "keep-gone": keep_gone,
        "kept-gone": kept_gone,
        "shared": shared,
        "plain-shared": plain_shared,
        "holding": holding,
    }
)
