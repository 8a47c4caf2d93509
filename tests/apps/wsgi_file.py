"""Returns files through wsgi.file_wrapper: real ones, odd ones, and things that only look so."""

import gzip
import io
import os
import tempfile

from wsgi_common import Token, note, query, reply_json, table

DIRECTORY = tempfile.TemporaryDirectory()
#: Lines of unequal length, so that a wrong position shows.
CONTENT = b"".join(b"%d %s\n" % (i, b"x" * (i * 7 % 50)) for i in range(3000))
PATH = os.path.join(DIRECTORY.name, "content")
EMPTY = os.path.join(DIRECTORY.name, "empty")
ZIPPED = os.path.join(DIRECTORY.name, "content.gz")
BIG = os.path.join(DIRECTORY.name, "big")
#: More than any socket buffers, so that a client that does not read stops the sending.
BIG_SIZE = 64 << 20

for _path, _data in ((PATH, CONTENT), (EMPTY, b""), (ZIPPED, gzip.compress(CONTENT))):
    with open(_path, "wb") as _file:
        _file.write(_data)


def opened():
    return open(PATH, "rb")


# ------------------------------------------------------------------- files, with what they give


def at(offset, whence=0):
    file = opened()
    file.seek(offset, whence)
    return file


def read_ahead():
    """The descriptor is at the end of a buffer, the logical position is after the first line."""
    file = opened()
    file.readline()
    return file


def read_some(size):
    file = opened()
    file.read(size)
    return file


def peeked():
    file = opened()
    file.peek(10)
    return file


def temporary(write_more=b""):
    file = tempfile.TemporaryFile()
    file.write(CONTENT + write_more)
    file.seek(0)
    return file


def unlinked():
    path = os.path.join(DIRECTORY.name, "unlinked")
    with open(path, "wb") as file:
        file.write(CONTENT)
    file = open(path, "rb")
    os.unlink(path)
    return file


def named_temporary():
    """A wrapper around a file that is not an io class."""
    file = tempfile.NamedTemporaryFile()
    file.write(CONTENT)
    file.seek(0)
    return file


def spooled():
    """Has a fileno() that changes what it is."""
    file = tempfile.SpooledTemporaryFile(max_size=1 << 20)
    file.write(CONTENT)
    file.seek(0)
    return file


def unflushed():
    """Written and not flushed: the descriptor's file is shorter than the object's."""
    file = tempfile.TemporaryFile()
    file.write(CONTENT[:-5])
    file.flush()
    file.write(CONTENT[-5:])
    file.seek(0)
    return file


def pipe():
    """Has a fileno() that can be neither seeked nor sent by sendfile."""
    reader, writer = os.pipe()
    os.write(writer, CONTENT[:4000])
    os.close(writer)
    return os.fdopen(reader, "rb")


class OnlyRead:
    def __init__(self, data=CONTENT):
        self.source = io.BytesIO(data)

    def read(self, size=-1):
        return self.source.read(size)


class ShortReads(OnlyRead):
    """Gives less than was asked for, as sockets do."""

    def read(self, size=-1):
        return super().read(min(size, 1000) if size > 0 else 1000)


class BadFileno(OnlyRead):
    def fileno(self):
        raise io.UnsupportedOperation("fileno")


class NegativeFileno(OnlyRead):
    def fileno(self):
        return -1


class TextFileno(OnlyRead):
    def fileno(self):
        return "stdin"


#: What the kernel makes up as it is read: /proc says that it is empty, /sys that it has 4096 bytes.
MADE_UP = [
    path if os.path.exists(path) else EMPTY for path in ("/proc/version", "/sys/class/net/lo/mtu")
]


def made_up(number):
    with open(MADE_UP[number], "rb") as file:
        return file.read()


FILES = {
    "file": (opened, CONTENT),
    "unbuffered": (lambda: open(PATH, "rb", buffering=0), CONTENT),
    "read-write": (lambda: open(PATH, "r+b"), CONTENT),
    "empty": (lambda: open(EMPTY, "rb"), b""),
    "offset": (lambda: at(12345), CONTENT[12345:]),
    "offset-from-end": (lambda: at(-7, 2), CONTENT[-7:]),
    "offset-at-end": (lambda: at(0, 2), b""),
    "offset-beyond-end": (lambda: at(10**7), b""),
    "read-ahead": (read_ahead, CONTENT[CONTENT.index(b"\n") + 1 :]),
    "read-ahead-some": (lambda: read_some(10), CONTENT[10:]),
    "read-ahead-many": (lambda: read_some(20000), CONTENT[20000:]),
    "read-ahead-all": (lambda: read_some(-1), b""),
    "read-ahead-peek": (peeked, CONTENT),
    "temporary": (temporary, CONTENT),
    "unlinked": (unlinked, CONTENT),
    "named-temporary": (named_temporary, CONTENT),
    "spooled": (spooled, CONTENT),
    "unflushed": (unflushed, CONTENT),
    "gzip": (lambda: gzip.open(ZIPPED), CONTENT),
    "pipe": (pipe, CONTENT[:4000]),
    "bytesio": (lambda: io.BytesIO(CONTENT), CONTENT),
    "bytesio-offset": (lambda: io.BytesIO(CONTENT[100:]), CONTENT[100:]),
    "bytesio-empty": (io.BytesIO, b""),
    "buffered-bytesio": (lambda: io.BufferedReader(io.BytesIO(CONTENT)), CONTENT),
    "only-read": (OnlyRead, CONTENT),
    "short-reads": (ShortReads, CONTENT),
    "bad-fileno": (BadFileno, CONTENT),
    "negative-fileno": (NegativeFileno, CONTENT),
    "text-fileno": (TextFileno, CONTENT),
    "made-up": (lambda: open(MADE_UP[0], "rb"), made_up(0)),
    "made-up-unbuffered": (lambda: open(MADE_UP[0], "rb", buffering=0), made_up(0)),
    "made-up-with-a-size": (lambda: open(MADE_UP[1], "rb"), made_up(1)),
}


def whole(environ, start_response):
    """A file, with the Content-Length and the block size of the query."""
    make, content = FILES[environ["PATH_INFO"].split("/")[2]]
    wrapper = environ["wsgi.file_wrapper"]
    size, length = query(environ, "size"), query(environ, "length")
    headers = [("Content-Type", "text/plain")]
    if length == "exact":
        length = str(len(content))
    if length:
        headers.append(("Content-Length", length))
    start_response(query(environ, "status", "200 OK"), headers)
    return wrapper(make(), int(size)) if size else wrapper(make())


# --------------------------------------------------------------------------------- used by hand


def by_hand(environ, start_response):
    """The wrapper is an ordinary iterable, whatever the server could do with it."""
    how = environ["PATH_INFO"].split("/")[2]
    wrapper = environ["wsgi.file_wrapper"](opened(), 1000)
    write = start_response("200 OK", [])
    if how == "list":
        return list(wrapper)
    if how == "generator":
        return (block for block in wrapper)
    if how == "upper":  # a middleware that changes the content
        return (block.upper() for block in wrapper)
    if how == "partly":  # what was taken already is not sent again
        first = next(iter(wrapper))
        write(b"%d " % len(first))
        return wrapper
    if how == "write":
        write(b"written ")
        return wrapper
    if how == "sizes":
        sizes = [len(block) for block in wrapper]
        return [repr((sizes[0], max(sizes), sum(sizes))).encode()]
    if how == "twice":
        return [b"".join(wrapper), b"".join(wrapper)]
    raise LookupError(how)


# ----------------------------------------------------------------------------------------- close


class NotingFile(OnlyRead):
    """A file-like that notes its close()."""

    def __init__(self, key, data=CONTENT, fail=None):
        super().__init__(data)
        self.key, self.fail, self.token = key, fail, Token(key)

    def read(self, size=-1):
        if self.fail and self.source.tell() >= self.fail:
            raise OSError("secret read error")
        return super().read(size)

    def close(self):
        note(self.key, "close")


class NotingRaw(io.FileIO):
    """A real descriptor whose close() is noted."""

    def __init__(self, key, path=PATH):
        super().__init__(path)
        self.key = key

    def close(self):
        if not self.closed:
            note(self.key, "close")
        super().close()


def noting(environ, start_response):
    key, how = query(environ, "key"), environ["PATH_INFO"].split("/")[2]
    headers = []
    if query(environ, "length"):
        headers.append(("Content-Length", query(environ, "length")))
    if not query(environ, "never"):
        start_response(query(environ, "status", "200 OK"), headers)
    if how == "object":
        file = NotingFile(key)
    elif how == "raw":
        file = NotingRaw(key)
    elif how == "buffered":
        file = io.BufferedReader(NotingRaw(key))
    elif how == "fails-first":
        file = NotingFile(key, fail=-1)
    elif how == "fails-later":
        file = NotingFile(key, fail=1)
    elif how == "big":
        make_big()
        file = io.BufferedReader(NotingRaw(key, BIG))
    elif how == "big-object":
        file = NotingFile(key, b"x" * BIG_SIZE)
    else:
        raise LookupError(how)
    return environ["wsgi.file_wrapper"](file)


def closed(environ, start_response):
    """Keeps a plain file to look at in the next request."""
    before = KEPT.get("file")
    if query(environ, "look"):
        return reply_json(start_response, before.closed)
    KEPT["file"] = opened()
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](KEPT["file"])


KEPT = {}


class NoClose:
    def __init__(self):
        self.read = io.BytesIO(CONTENT).read


def attributes(environ, start_response):
    """PEP 3333: close must be there if the file has one."""
    wrapper = environ["wsgi.file_wrapper"]
    with_close = wrapper(io.BytesIO())
    found = {
        "close": callable(getattr(with_close, "close", None)),
        "no_close_is_harmless": True,
        "iterator": hasattr(with_close, "__iter__"),
    }
    close = getattr(wrapper(NoClose()), "close", None)
    if close is not None:
        close()
    return reply_json(start_response, found)


def no_close(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](NoClose())


def wrong(environ, start_response):
    """Files that give something else than bytes, and things that are no files."""
    start_response("200 OK", [("X-First", "1")])
    make = {
        "text": lambda: open(PATH),
        "stringio": lambda: io.StringIO("secret"),
        "none": lambda: OnlyNone(),
        "closed": closed_file,
        "write-only": lambda: io.FileIO(os.open(PATH, os.O_WRONLY), "w"),
        "directory": lambda: NoRead(),
    }[environ["PATH_INFO"].split("/")[2]]
    return environ["wsgi.file_wrapper"](make())


class OnlyNone:
    def read(self, size=-1):
        return 5


class NoRead:
    pass


def closed_file():
    file = opened()
    file.close()
    return file


# -------------------------------------------------------------------------- changes while sending


def make_big():
    with open(BIG, "wb") as file:
        file.truncate(BIG_SIZE)


def shrinking(environ, start_response):
    """Promises the whole file; the test truncates it as soon as it has seen the head."""
    make_big()
    start_response("200 OK", [("Content-Length", str(BIG_SIZE))])
    return environ["wsgi.file_wrapper"](open(BIG, "rb"))


def shrink(environ, start_response):
    os.truncate(BIG, 1 << 20)
    return reply_json(start_response, "shrunk")


def growing(environ, start_response):
    """The file grows after its size was reported."""
    file = temporary(b"more than was promised")
    start_response("200 OK", [("Content-Length", str(len(CONTENT)))])
    return environ["wsgi.file_wrapper"](file)


def descriptors(environ, start_response):
    return reply_json(start_response, len(os.listdir("/proc/self/fd")))


app = table(
    {
        "file": whole,
        "by-hand": by_hand,
        "noting": noting,
        "closed": closed,
        "attributes": attributes,
        "no-close": no_close,
        "wrong": wrong,
        "shrinking": shrinking,
        "shrink": shrink,
        "growing": growing,
        "descriptors": descriptors,
    }
)
