"""Calls wsgi.input as a script in the query says, and returns the results.

`perform` is the same function that the test runs on an io.BytesIO, which is the oracle.
"""

import hashlib
import io
import json

from wsgi_common import note, query, reply_json, table


def shown(value):
    """A result with its exact type; long ones as length and digest."""
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
        if len(data) > 100:
            data = f"{len(data)}:{hashlib.sha1(data).hexdigest()}".encode()
        return [type(value).__name__, data.decode("latin-1")]
    if isinstance(value, list):
        return ["list", [shown(item) for item in value]]
    return [type(value).__name__, repr(value)]


def step(stream, name, args):
    if name == "next":
        return next(iter(stream), None)
    if name == "list":
        return list(stream)
    if name == "readinto":
        buffer = bytearray(args[0])
        return buffer[: stream.readinto(buffer)]
    return getattr(stream, name)(*args)


def perform(stream, script):
    """The results of the steps, an exception as the name of its type."""
    results = []
    for name, *args in script:
        try:
            results.append(shown(step(stream, name, args)))
        except (TypeError, ValueError) as problem:
            results.append(["raised", type(problem).__name__])
    return results


def scripted(environ, start_response):
    script = json.loads(query(environ, "script"))
    return reply_json(start_response, perform(environ["wsgi.input"], script))


def wrapped(environ, start_response):
    """Through io's wrappers, as libraries that parse uploads do."""
    how = query(environ, "how")
    source = environ["wsgi.input"]
    if how == "buffered":
        with io.BufferedReader(source) as reader:
            first, peeked = reader.readline(), reader.peek(1)
            body = first + reader.read()
            assert body[len(first) :].startswith(peeked)
    elif how == "buffered-small":
        with io.BufferedReader(source, 3) as reader:
            body = reader.read(5) + reader.readline() + reader.read()
    elif how == "text":
        with io.TextIOWrapper(source, encoding="utf-8", newline="") as reader:
            body = "".join(reader).encode()
    elif how == "text-buffered":
        with io.TextIOWrapper(io.BufferedReader(source), encoding="utf-8", newline="") as reader:
            body = reader.read().encode()
    else:
        raise LookupError(how)
    return reply_json(start_response, shown(body))


def facts(environ, start_response):
    """The environ's words about the body, and the body."""
    note(query(environ, "key", ""), "called")
    seen = {
        k: v
        for k, v in environ.items()
        if type(v) is str and not k.startswith(("RAW_", "REQUEST_", "REMOTE_"))
    }
    return reply_json(
        start_response, {"environ": seen, "body": shown(environ["wsgi.input"].read())}
    )


def ignored(environ, start_response):
    """Leaves the body alone."""
    note(query(environ, "key", ""), "called")
    return reply_json(start_response, environ["REQUEST_METHOD"])


KEPT = {}


def kept(environ, start_response):
    """Reads from the stream of the request before, which is over."""
    before = KEPT.get("input")
    KEPT["input"] = environ["wsgi.input"]
    late = []
    for name, *args in [["read"], ["read", 5], ["readline"], ["readlines"]] if before else []:
        try:
            late.append(shown(step(before, name, args)))
        except (ValueError, OSError):
            late.append("refused")
    return reply_json(start_response, {"late": late, "own": shown(environ["wsgi.input"].read())})


app = table(
    {
        "script": scripted,
        "wrap": wrapped,
        "facts": facts,
        "ignored": ignored,
        "kept": kept,
    }
)
