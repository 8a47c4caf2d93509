"""Fails in every way an application can, and writes to wsgi.errors."""

import sys

from wsgi_common import query, reply_json, table


class BadStr(Exception):
    """Its own description fails."""

    def __str__(self):
        raise RuntimeError("no description")

    __repr__ = __str__


class Base(BaseException):
    pass


def raising(make):
    """A raiser with the key of the request in its message."""

    def fail(key):
        raise make(f"secret-{key}")

    return fail


def chained(key):
    try:
        raise KeyError(f"cause-{key}")
    except KeyError as problem:
        raise RuntimeError(f"secret-{key}") from problem


def recursion(key):
    return recursion(key)


def stop_iteration(key):
    """Out of a call it is an error like any other, not an end."""
    raise StopIteration(f"secret-{key}")


#: How a line of the error log starts.
LOG_LINE = "[2026-11-29 22:43:15 +0000] [1] [CRITICAL]"

FAILURES = {
    "exception": raising(RuntimeError),
    "value-error": raising(ValueError),
    "os-error": raising(OSError),
    "broken-pipe": raising(BrokenPipeError),
    "connection-reset": raising(ConnectionResetError),
    "timeout": raising(TimeoutError),
    "assertion": raising(AssertionError),
    "memory-error": raising(MemoryError),
    "stop-iteration": stop_iteration,
    "non-ascii": lambda key: raising(RuntimeError)(f"{key} caf\xe9 \u20ac \U0001f4a9"),
    "surrogate": lambda key: raising(RuntimeError)(f"{key} \udc80"),
    "crlf": lambda key: raising(RuntimeError)(f"{key}\r\nX-Injected: 1\r\n\r\n<script>"),
    "forged": lambda key: raising(RuntimeError)(
        f"{key}\n{LOG_LINE} {key}\x1b[2J\r{LOG_LINE}\u2028{LOG_LINE}"
    ),
    "chained": chained,
    "recursion": recursion,
    "bad-str": lambda key: raising(lambda _: BadStr())(key),
    "system-exit": raising(SystemExit),
    "system-exit-zero": lambda key: sys.exit(0),
    "system-exit-int": lambda key: sys.exit(3),
    "keyboard-interrupt": raising(KeyboardInterrupt),
    "generator-exit": raising(GeneratorExit),
    "base-exception": raising(Base),
}


def fail(environ, start_response):
    """Fails at the `when` of the path: call, after start_response, first, or later block."""
    _, _, when, name = environ["PATH_INFO"].split("/")
    key, failure = query(environ, "key"), FAILURES[name]
    if when == "call":
        failure(key)
    start_response("200 OK", [("X-First", "1")])
    if when == "started":
        failure(key)

    def blocks():
        if when == "first":
            failure(key)
        yield b""
        if when == "second":
            failure(key)
        yield b"sent"
        failure(key)

    return blocks()


def fine(environ, start_response):
    return reply_json(start_response, "fine")


# ------------------------------------------------------------------------------------ wsgi.errors


def errors(environ, start_response):
    """Writes to wsgi.errors as the path says, and returns the result."""
    stream, key = environ["wsgi.errors"], query(environ, "key")
    how = environ["PATH_INFO"].split("/")[2]
    result = None
    try:
        if how == "write":
            result = stream.write(f"{key} write\n")
        elif how == "pieces":
            stream.write(f"{key} ")
            stream.write("in ")
            stream.write("")
            stream.write("pieces\n")
        elif how == "no-newline":
            stream.write(f"{key} no newline")
        elif how == "writelines":
            result = stream.writelines([f"{key} one\n", "two ", "three\n"])
        elif how == "writelines-generator":
            stream.writelines(line for line in (f"{key} one\n", "two\n"))
        elif how == "print":
            print(f"{key}", "printed", 1, file=stream, flush=True)
        elif how == "unicode":
            stream.write(f"{key} caf\xe9 \u20ac \U0001f4a9\n")
        elif how == "surrogate":
            stream.write(f"{key} \udc80 odd\n")
        elif how == "large":
            stream.write(f"{key} " + "x" * 300000 + " end\n")
        elif how == "forged":
            stream.write(f"{LOG_LINE} {key}\n")
            stream.write(f"{key}\n{LOG_LINE} {key}\x1b[2J\r{LOG_LINE}\x85{LOG_LINE}\n")
        elif how == "forged-pieces":
            for at in range(1, len(LOG_LINE)):
                stream.write(f"{key}\n")
                stream.writelines([LOG_LINE[:at], LOG_LINE[at:], f" {key}\n"])
            stream.writelines([*f"{LOG_LINE} {key}", "\n"])
        elif how == "flask":
            stream.write(f"[2026-11-29 22:43:15,123] ERROR in app: {key}\n")
        elif how == "bytes":
            stream.write(b"bytes")
        elif how == "none":
            stream.write(None)
        elif how == "writelines-bytes":
            stream.writelines([b"bytes"])
        else:
            raise LookupError(how)
        stream.flush()
    except TypeError as problem:
        return reply_json(start_response, {"raised": type(problem).__name__})
    return reply_json(start_response, {"raised": None, "result": result})


KEPT = {}


def kept(environ, start_response):
    """A logger may keep the stream beyond the request."""
    before = KEPT.get("errors")
    KEPT["errors"] = environ["wsgi.errors"]
    if before is not None:
        before.write(f"{query(environ, 'key')} by the kept stream\n")
        before.flush()
    return reply_json(start_response, before is not None)


def stderr(environ, start_response):
    print(f"{query(environ, 'key')} on stderr", file=sys.stderr, flush=True)
    return reply_json(start_response, "written")


app = table({"fail": fail, "fine": fine, "errors": errors, "kept": kept, "stderr": stderr})
