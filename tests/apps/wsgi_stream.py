"""Reads its input while it arrives, for `--request-buffering off`."""

import threading

from wsgi_common import note, query, reply_json, table, wait_gate


def refused(environ, start_response):
    """Answers from the head alone."""
    start_response("401 Unauthorized", [("Content-Length", "2")])
    return [b"no"]


def length(environ, start_response):
    """Reads to the end, after the gate opens if there is one."""
    key = query(environ, "key")
    if key:
        note(key, "called")
        wait_gate(key)
    return reply_json(start_response, len(environ["wsgi.input"].read()))


def echoed(environ, start_response):
    """Sends each piece back as it comes."""
    source = environ["wsgi.input"]
    read = getattr(source, query(environ, "how", "read1"))
    size = int(query(environ, "size", "-1"))
    start_response("200 OK", [])
    return iter(lambda: read(size), b"")


def caught(environ, start_response):
    """Reports what a read raises, twice."""
    note(query(environ, "key", ""), "called")
    found = []
    for method in ("read", "readline"):
        try:
            found.append(len(getattr(environ["wsgi.input"], method)()))
        except OSError as problem:
            bases = [base.__name__ for base in type(problem).__mro__]
            found.append([str(problem), bases])
            note(query(environ, "key", ""), bases[0])
    return reply_json(start_response, found)


def begun(environ, start_response):
    """Begins its response before it reads, with a declared length or in chunks."""
    start_response("200 OK", [("Content-Length", "9")] if query(environ, "sized") else [])
    yield b"begun"
    environ["wsgi.input"].read()
    yield b"done"


def abandoned(environ, start_response):
    """Leaves a thread behind that still reads when the request has ended."""
    key, source = query(environ, "key"), environ["wsgi.input"]
    began = threading.Event()

    def read():
        began.set()
        try:
            source.read()
        except OSError:
            note(key, "refused")

    threading.Thread(target=read, daemon=True).start()
    began.wait()
    return refused(environ, start_response)


app = table(
    {
        "refused": refused,
        "length": length,
        "echoed": echoed,
        "caught": caught,
        "begun": begun,
        "abandoned": abandoned,
    }
)
