"""Returns every kind of iterable, good and bad, and notes what the server does with it."""

import functools

from wsgi_common import query, table, wait_gate

TEXT = [("Content-Type", "text/plain")]


# ---------------------------------------------------------------------- kinds, all "one two end"


class GetItem:
    """The old sequence protocol: no __iter__."""

    def __getitem__(self, index):
        return [b"one ", b"two ", b"end"][index]


class Sized:
    """Yields its blocks whatever its length says."""

    def __init__(self, length, blocks=(b"one ", b"two ", b"end")):
        self.length, self.blocks = length, blocks

    def __len__(self):
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __iter__(self):
        return iter(self.blocks)


class Bytes(bytes):
    """bytes whose methods lie."""

    def __len__(self):
        return 1

    def __bytes__(self):
        return b"lie"


class BareIterator:
    """Its own iterator; next() after the end is counted by the response after."""

    def __init__(self):
        self.blocks = [b"one ", b"two ", b"end"]

    def __iter__(self):
        return self

    def __next__(self):
        if not self.blocks:
            raise StopIteration
        return self.blocks.pop(0)


def generator():
    yield b"one "
    yield b"two "
    yield b"end"


def returning_generator():
    yield from (b"one ", b"two ", b"end")
    return "ignored"


KINDS = {
    "list-one": lambda: [b"one two end"],
    "list": lambda: [b"one ", b"two ", b"end"],
    "tuple-one": lambda: (b"one two end",),
    "tuple": lambda: (b"one ", b"two ", b"end"),
    "generator": generator,
    "generator-return": returning_generator,
    "iterator": lambda: iter([b"one ", b"two ", b"end"]),
    "own-iterator": BareIterator,
    "map": lambda: map(bytes, [b"one ", b"two ", b"end"]),
    "getitem": GetItem,
    "set": lambda: {b"one two end"},
    "dict": lambda: {b"one ": 1, b"two ": 2, b"end": 3},
    "deque-like": lambda: Sized(3),
    "len-one": lambda: Sized(1, [b"one two end"]),
    "len-type-error": lambda: Sized(TypeError("no length")),
    "empty-blocks": lambda: [b"", b"one ", b"", b"", b"two ", b"end", b""],
    "empty-blocks-generator": lambda: (b for b in (b"", b"one ", b"", b"two ", b"end", b"")),
    "many-small": lambda: [bytes([c]) for c in b"one two end"],
}

#: `len` breaks its promise; PEP 3333 lets the server trust it, so a prefix may be all there is.
LYING = {
    "one-of-three": lambda: Sized(1),
    "one-of-none": lambda: Sized(1, ()),
    "none-of-three": lambda: Sized(0),
    "ten-of-three": lambda: Sized(10),
    "negative": lambda: Sized(-1),
    "huge": lambda: Sized(2**100),
    "raising": lambda: Sized(RuntimeError("no length")),
}


def kind(environ, start_response):
    start_response("200 OK", TEXT)
    return KINDS[environ["PATH_INFO"].split("/")[2]]()


def lying(environ, start_response):
    start_response("200 OK", TEXT)
    return LYING[environ["PATH_INFO"].split("/")[2]]()


# ------------------------------------------------------------------------------- wrong kinds


class RaisingIter:
    def __iter__(self):
        raise RuntimeError("secret: no iterator")


class NotAnIterator:
    def __iter__(self):
        return 5


async def coroutine():
    return [b"secret"]


#: The first item is already wrong, so nothing of these may be sent.
WRONG = {
    "none": lambda: None,
    "int": lambda: 5,
    "object": object,
    "str": lambda: "secret",
    "bytes": lambda: b"secret",
    "bytearray": lambda: bytearray(b"secret"),
    "list-str": lambda: ["secret"],
    "list-str-empty": lambda: [""],
    "list-int": lambda: [5],
    "list-none": lambda: [None],
    "list-bytearray": lambda: [bytearray(b"secret")],
    "list-memoryview": lambda: [memoryview(b"secret")],
    "list-list": lambda: [[b"secret"]],
    "tuple-str": lambda: ("secret",),
    "generator-str": lambda: (s for s in ["secret"]),
    "generator-none": lambda: (s for s in [None]),
    "empty-then-str": lambda: [b"", "secret"],
    "dict-str": lambda: {"secret": 1},
    "iter-raises": RaisingIter,
    "iter-not-iterator": NotAnIterator,
    "coroutine": coroutine,
    "class": lambda: Sized,
}


def wrong(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    return WRONG[environ["PATH_INFO"].split("/")[2]]()


WRONG_LATER = {
    "str": "secret",
    "none": None,
    "int": 5,
    "bytearray": bytearray(b"secret"),
    "memoryview": memoryview(b"secret"),
}


def wrong_later(environ, start_response):
    start_response("200 OK", TEXT)
    _, _, shape, name = environ["PATH_INFO"].split("/")
    blocks = [b"good", WRONG_LATER[name], b"unreached"]
    return blocks if shape == "list" else iter(blocks)


def bytes_subclass(environ, start_response):
    start_response("200 OK", TEXT)
    return [Bytes(b"true content")]


# -------------------------------------------------------------------------- kinds of application


class ClassApp:
    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", TEXT)
        yield b"class"


class CallableObject:
    def __call__(self, environ, start_response):
        start_response("200 OK", TEXT)
        return [b"object"]

    def method(self, environ, start_response):
        start_response("200 OK", TEXT)
        return [b"method"]


def generator_app(environ, start_response):
    """start_response is called at the first next() only."""
    start_response("201 Created", TEXT)
    yield b"generator"


def with_extra(extra, environ, start_response):
    start_response("200 OK", TEXT)
    return [extra]


async def async_app(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"secret"]


def coroutine_app(environ, start_response):
    return async_app(environ, start_response)


class_app = ClassApp
object_app = CallableObject()
method_app = CallableObject().method
partial_app = functools.partial(with_extra, b"partial")


def lambda_app(e, s):
    return (s("200 OK", TEXT), [b"lambda"])[1]


# --------------------------------------------------------------------- no start_response, no body


def late_start(environ, start_response):
    """The status of a generator application is the one it gives, not 200."""

    def blocks():
        yield b""
        start_response("404 Lost", [("X-Late", "1")])
        yield b""
        yield b"lost"

    return blocks()


NEVER = {
    "list": lambda: [b"secret"],
    "empty-list": list,
    "generator": lambda: (b for b in [b"secret"]),
    "empty-generator": lambda: iter(()),
    "empty-block": lambda: [b""],
}


def never(environ, start_response):
    """Never calls start_response."""
    return NEVER[environ["PATH_INFO"].split("/")[2]]()


EMPTY = {
    "list": list,
    "tuple": tuple,
    "list-empty-block": lambda: [b""],
    "list-empty-blocks": lambda: [b"", b""],
    "generator": lambda: iter(()),
    "generator-empty-block": lambda: iter([b""]),
}


def empty(environ, start_response):
    start_response("200 OK", TEXT)
    return EMPTY[environ["PATH_INFO"].split("/")[2]]()


def bodiless(environ, start_response):
    """Yields a body under a status that has none."""
    headers = [("X-A", "1")]
    if query(environ, "length"):
        headers.append(("Content-Length", "4"))
    start_response(query(environ, "status"), headers)
    return [b"body"] if query(environ, "list") else iter([b"bo", b"dy"])


# --------------------------------------------------------------------------------------- length

LENGTHS = {
    # name: (Content-Length, blocks)
    "exact": ("6", [b"123456"]),
    "exact-blocks": ("6", [b"12", b"", b"34", b"56"]),
    "zero": ("0", []),
    "zero-empty-block": ("0", [b""]),
    "leading-zeros": ("0006", [b"123456"]),
    "over-one": ("4", [b"123456"]),
    "over-blocks": ("4", [b"123", b"456"]),
    "over-later": ("4", [b"1234", b"56"]),
    "over-zero": ("0", [b"123456"]),
    "short-one": ("10", [b"1234"]),
    "short-blocks": ("10", [b"12", b"34"]),
    "short-empty": ("10", []),
    "short-empty-block": ("10", [b""]),
}


def length(environ, start_response):
    _, _, shape, name = environ["PATH_INFO"].split("/")
    number, blocks = LENGTHS[name]
    start_response("200 OK", [("Content-Length", number)])
    return list(blocks) if shape == "list" else iter(blocks)


# -------------------------------------------------------------------------------------- progress


def steps(environ, start_response):
    """Each block waits for a gate that the client opens when it has seen the one before."""
    key = query(environ, "key")
    headers = [("Content-Length", "16")] if query(environ, "length") else []
    start_response("200 OK", headers)

    def blocks():
        yield b"first"
        wait_gate(key + "-1")
        if query(environ, "empty"):
            yield b""
        yield b"second"
        wait_gate(key + "-2")
        yield b"third"

    return blocks()


app = table(
    {
        "kind": kind,
        "lying": lying,
        "wrong": wrong,
        "wrong-later": wrong_later,
        "bytes-subclass": bytes_subclass,
        "late-start": late_start,
        "never": never,
        "empty": empty,
        "bodiless": bodiless,
        "length": length,
        "steps": steps,
    }
)
