"""Calls the `write` that start_response returns: in good time, too much, and with what is no bytes."""

from wsgi_common import note, query, table, wait_gate

OK = "200 OK"


def plain(environ, start_response):
    """What the next request on a connection gets, if all is well."""
    start_response(OK, [])
    return [b"body"]


def writes(environ, start_response):
    """write() and the iterable together, in order."""
    how = environ["PATH_INFO"].split("/")[2]
    if how == "length":
        write = start_response(OK, [("Content-Length", "9")])
    else:
        write = start_response(OK, [])
    if how == "only":
        write(b"one ")
        write(b"two ")
        write(b"end")
        return []
    write(b"one ")
    if how == "empty":
        write(b"")
    if how in ("list", "length", "empty"):
        return [b"two ", b"e"] if how == "length" else [b"two ", b"end"]

    def blocks():
        yield b"two "
        yield b"end"

    return blocks()


def write_steps(environ, start_response):
    """Each write has sent before it returns: the client must see a block to open its gate."""
    key = query(environ, "key")
    write = start_response(OK, [])
    write(b"first")
    wait_gate(key + "-1")
    write(b"second")
    wait_gate(key + "-2")
    return [b"third"]


def write_too_much(environ, start_response):
    write = start_response(OK, [("Content-Length", "4")])
    write(b"12")
    write(b"3456")
    return [b"78"]


class WritesAgain:
    """Notes what becomes of a write in close(), when the response is complete."""

    def __init__(self, key, write):
        self.key, self.write = key, write

    def __iter__(self):
        return iter([b"34"])

    def close(self):
        note_failure(self.key, "close", lambda: self.write(b"late"))


def write_beyond(environ, start_response):
    """More than the Content-Length: across it, behind it, and in close()."""
    key, how = query(environ, "key"), query(environ, "how")
    write = start_response(OK, [("Content-Length", "4")])
    write(b"12")
    if how == "close":
        return WritesAgain(key, write)
    note_failure(key, "across", lambda: write(b"3456"))
    note_failure(key, "behind", lambda: write(b"78"))
    return []


def note_failure(key, where, call):
    try:
        call()
    except Exception as problem:
        note(key, f"{where}-{type(problem).__name__}")
    else:
        note(key, f"{where}-nothing")


def write_too_little(environ, start_response):
    write = start_response(OK, [("Content-Length", "10")])
    write(b"12")
    return [b"34"]


WRITES = {
    "str": "text",
    "none": None,
    "int": 5,
    "bytearray": bytearray(b"array"),
    "memoryview": memoryview(b"view"),
    "list": [b"list"],
    "str-empty": "",
}


def write_bad(environ, start_response):
    """A bad argument raises and sends nothing; the response continues."""
    write = start_response("200 OK", [])
    raised = "nothing"
    try:
        write(WRITES[environ["PATH_INFO"].split("/")[2]])
    except Exception as problem:
        raised = f"{type(problem).__name__}: {problem}"
    return [raised.encode()]


def write_head_request(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])(b"body")
    return []


def write_then_fail(environ, start_response):
    start_response("200 OK", [])(b"sent")
    raise RuntimeError("secret failure")


app = table(
    {
        "plain": plain,
        "writes": writes,
        "write-steps": write_steps,
        "write-too-much": write_too_much,
        "write-beyond": write_beyond,
        "write-too-little": write_too_little,
        "write-bad": write_bad,
        "write-head": write_head_request,
        "write-then-fail": write_then_fail,
    }
)
