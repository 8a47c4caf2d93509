"""All kinds of requests for tests that send many of them; the other half is tests/mix.py.

/hello?TEXT   "hello TEXT", of known length
/sum          the length and the digest of the request's body
/unread       answers without a look at the body
/nothing      204
/unchanged    304
/blocks?N     N blocks of 1 KiB from a generator without a length
/large?N      N bytes in one block
/file?N       the same through wsgi.file_wrapper
/write?N      N blocks of 1 KiB through write()
/raise        fails before the head is sent
/break        fails after the first block
/vitals       what the process holds, in JSON: pid, heap (malloc's bytes in use), blocks (Python's)
"""

import ctypes
import gc
import hashlib
import json
import os
import sys
import tempfile

BLOCK = bytes(range(256)) * 4


class Broken(Exception):
    """The requested failure."""


class Mallinfo(ctypes.Structure):
    """glibc's struct mallinfo2: mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def vitals():
    gc.collect()
    heap = None
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pass  # another C library, or an old one
    else:
        mallinfo.restype = Mallinfo
        found = mallinfo()
        heap = found.uordblks + found.hblkhd
    return {"pid": os.getpid(), "heap": heap, "blocks": sys.getallocatedblocks()}


def blocks(count, fails=False):
    for _ in range(count):
        yield BLOCK
    if fails:
        raise Broken


def file(size):
    made = tempfile.TemporaryFile()
    made.write(b"f" * size)
    made.seek(0)
    return made


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    status, body, fields = "200 OK", b"", [("Content-Type", "text/plain")]
    if path in ("/blocks", "/break"):
        start_response(status, fields)
        return blocks(int(query), path == "/break")
    if path == "/write":
        write = start_response(status, fields)
        for block in blocks(int(query)):
            write(block)
        return []
    if path == "/file":
        start_response(status, [*fields, ("Content-Length", query)])
        return environ["wsgi.file_wrapper"](file(int(query)))
    if path == "/raise":
        raise Broken
    if path in ("/nothing", "/unchanged"):
        start_response("204 No Content" if path == "/nothing" else "304 Not Modified", [])
        return []
    if path == "/sum":
        digest, length = hashlib.sha1(), 0
        while block := environ["wsgi.input"].read(65536):
            digest.update(block)
            length += len(block)
        body = b"%d %s" % (length, digest.hexdigest().encode())
    elif path == "/large":
        body = b"l" * int(query)
    elif path == "/vitals":
        body = json.dumps(vitals()).encode()
    elif path == "/unread":
        body = b"not looked at"
    else:
        body = b"hello " + query.encode("latin-1")
    start_response(status, [*fields, ("Content-Length", str(len(body)))])
    return [body]
