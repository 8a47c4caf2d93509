"""Calls start_response correctly and incorrectly, and returns the result.

A bad call must raise inside the application and leave nothing behind: the application then calls
start_response properly, and its report is the only thing on the wire.
"""

import collections
import sys
import threading
import weakref

from wsgi_common import Token, note, query, reply_json, table

OK = "200 OK"
Pair = collections.namedtuple("Pair", "name value")


class Text(str):
    """A str whose methods lie; only its true characters may reach the wire."""

    def __str__(self):
        return "lie\r\nX-Injected: 1"

    def __len__(self):
        return 3

    def encode(self, *_):
        return b"lie\r\nX-Injected: 1"


class List(list):
    pass


STATUS = {
    "bytes": b"200 OK",
    "int": 200,
    "none": None,
    "list": ["200 OK"],
    "empty": "",
    "no-reason": "200",
    "no-code": "OK",
    "no-space": "200OK",
    "two-digits": "20 OK",
    "four-digits": "2000 OK",
    "letters": "abc OK",
    "leading-space": " 200 OK",
    "tab-for-space": "200\tOK",
    "signed": "+20 OK",
    "negative": "-20 OK",
    "underscore": "2_0 OK",
    "superscript-digits": "\xb2\xb2\xb2 OK",
    "wide-digits": "\uff12\uff10\uff10 OK",
    "with-version": "HTTP/1.1 200 OK",
    "crlf": "200 OK\r\nX-Injected: 1",
    "lf": "200 OK\nX-Injected: 1",
    "lf-at-end": "200 OK\n",
    "cr": "200 OK\rX",
    "nul": "200 O\x00K",
    "escape": "200 O\x1bK",
    "delete": "200 O\x7fK",
    "not-latin-1": "200 \u20ac",
    "surrogate": "200 \udc80",
}


def _generator():
    yield ("X-A", "1")


HEADERS = {
    "none": None,
    "tuple": (("X-A", "1"),),
    "dict": {"X-A": "1"},
    "generator": _generator(),
    "string": "X-A: 1",
    "int": 1,
    "list-subclass": List([("X-A", "1")]),
    "item-list": [["X-A", "1"]],
    "item-string": ["AB"],
    "item-bytes": [b"AB"],
    "item-none": [None],
    "item-empty": [()],
    "item-one": [("X-A",)],
    "item-three": [("X-A", "1", "2")],
    "second-item": [("X-A", "1"), ("X-B", 2)],
    "name-bytes": [(b"X-A", "1")],
    "name-none": [(None, "1")],
    "name-int": [(1, "1")],
    "name-empty": [("", "1")],
    "name-space": [("X A", "1")],
    "name-leading-space": [(" X-A", "1")],
    "name-trailing-space": [("X-A ", "1")],
    "name-colon": [("X-A:", "1")],
    "name-injection": [("X-A: 1\r\nX-Injected", "1")],
    "name-lf": [("X-A\n", "1")],
    "name-nul": [("X\x00A", "1")],
    "name-delete": [("X\x7fA", "1")],
    "name-latin-1": [("X-\xe9", "1")],
    "name-not-latin-1": [("X-\u20ac", "1")],
    "name-parenthesis": [("X-(A)", "1")],
    "value-bytes": [("X-A", b"1")],
    "value-int": [("X-A", 1)],
    "value-none": [("X-A", None)],
    "value-list": [("X-A", ["1"])],
    "value-crlf": [("X-A", "1\r\nX-Injected: 1")],
    "value-crlf-fold": [("X-A", "1\r\n 2")],
    "value-lf": [("X-A", "1\nX-Injected: 1")],
    "value-cr": [("X-A", "1\rX-Injected: 1")],
    "value-lf-at-end": [("X-A", "1\n")],
    "value-nul": [("X-A", "1\x00")],
    "value-escape": [("X-A", "\x1b[1m")],
    "value-vertical-tab": [("X-A", "1\x0b2")],
    "value-delete": [("X-A", "1\x7f")],
    "value-not-latin-1": [("X-A", "\u20ac")],
    "value-surrogate": [("X-A", "\udc80")],
    "value-beyond-bmp": [("X-A", "\U0001f4a9")],
    "value-low-byte-is-lf": [("X-A", "1\u010aX-Injected: 1")],
    "length-text": [("Content-Length", "abc")],
    "length-empty": [("Content-Length", "")],
    "length-negative": [("Content-Length", "-1")],
    "length-signed": [("Content-Length", "+1")],
    "length-float": [("Content-Length", "1.0")],
    "length-hex": [("Content-Length", "0x1")],
    "length-underscore": [("Content-Length", "1_0")],
    "length-inner-space": [("Content-Length", "1 0")],
    "length-list": [("Content-Length", "1, 2")],
    "length-superscript": [("Content-Length", "\xb2")],
    "length-other-digits": [("Content-Length", "\u0662")],
    "length-overflow": [("Content-Length", "9" * 30)],
    "length-overflow-64": [("Content-Length", str(2**64))],
    "length-lower-case": [("content-length", "-1")],
    "length-twice": [("Content-Length", "1"), ("Content-Length", "2")],
    "length-twice-case": [("Content-Length", "1"), ("X-A", "1"), ("CONTENT-LENGTH", "2")],
}

#: Both readings of PEP 3333 are defensible; what must not happen is that something else is sent.
EITHER = {
    "status-subclass": (Text("200 Fine"), []),
    "tuple-subclass": (OK, [Pair("X-A", "1")]),
    "name-subclass": (OK, [(Text("X-A"), "1")]),
    "value-subclass": (OK, [("X-A", Text("1"))]),
    "length-repeated": (OK, [("Content-Length", "4"), ("Content-Length", "4")]),
    "reason-empty": ("200 ", []),
}

CALLS = {
    **{f"status-{k}": (v, [("X-A", "1")]) for k, v in STATUS.items()},
    **{f"headers-{k}": (OK, v) for k, v in HEADERS.items()},
}


def bad(environ, start_response):
    """The named bad call, then a report by a good one."""
    status, headers = CALLS[environ["PATH_INFO"].split("/")[2]]
    raised = None
    try:
        start_response(status, headers)
    except Exception as problem:
        raised = type(problem).__name__
    # If the bad call was taken for good this second call must fail, which the test sees.
    return reply_json(start_response, {"raised": raised}, [("X-Good", "1")])


def bad_arguments(environ, start_response):
    arguments = {"none": (), "one": (OK,), "four": (OK, [], None, None)}[query(environ, "n")]
    raised = None
    try:
        start_response(*arguments)
    except TypeError as problem:
        raised = type(problem).__name__
    return reply_json(start_response, {"raised": raised})


def keyword(environ, start_response):
    """exc_info by keyword, as WebOb and others pass it."""
    start_response("200 First", [("X-First", "1")], exc_info=None)
    try:
        raise LookupError("replaced")
    except LookupError:
        start_response("500 Second", [("X-Second", "2")], exc_info=sys.exc_info())
    return [b"body"]


def either(environ, start_response):
    status, headers = EITHER[environ["PATH_INFO"].split("/")[2]]
    try:
        start_response(status, list(headers))
    except (TypeError, ValueError, AssertionError):
        start_response("500 Refused", [])
    return [b"body"]


def uncaught(environ, start_response):
    """A bad call whose exception leaves the application."""
    start_response("200 OK", [("X-Injected", "secret\r\nX-More: 1")])
    return [b"secret"]


# -------------------------------------------------------------------------------- good responses


GOOD = {
    "plain": ("200 OK", [("Content-Type", "text/plain")]),
    "reason": ("299 A reason, with (marks) & blanks", []),
    "reason-latin-1": ("200 caf\xe9", []),
    "not-found": ("404 Not Found", [("X-A", "1")]),
    "server-error": ("503 Busy", [("Retry-After", "1")]),
    "unknown-code": ("799 Unheard Of", []),
    "order": ("200 OK", [("X-C", "1"), ("X-A", "2"), ("X-B", "3"), ("X-A", "4")]),
    "cookies": ("200 OK", [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")]),
    "name-case": ("200 OK", [("x-lOwEr", "1"), ("ETag", '"x"'), ("WWW-Authenticate", "Basic")]),
    "value-empty": ("200 OK", [("X-A", "")]),
    "value-latin-1": ("200 OK", [("X-A", "caf\xe9 \xff")]),
    "value-inner-blanks": ("200 OK", [("X-A", "a  b")]),
    "value-long": ("200 OK", [("X-A", "x" * 30000)]),
    "name-marks": ("200 OK", [("X!#$%&'*+-.^_`|~0", "1")]),
    "many": ("200 OK", [(f"X-{i}", str(i)) for i in range(200)]),
    "own-date": ("200 OK", [("Date", "Tue, 15 Nov 1994 08:12:31 GMT")]),
    "own-server": ("200 OK", [("server", "mine/1")]),
    "links": ("200 OK", [("Link", "<a>"), ("Vary", "A"), ("Vary", "B"), ("Link", "<b>")]),
}


def good(environ, start_response):
    status, headers = GOOD[environ["PATH_INFO"].split("/")[2]]
    start_response(status, list(headers))
    return [b"body"]


def close(environ, start_response):
    start_response(OK, [("Connection", query(environ, "value", "close"))])
    return [b"body"]


# ---------------------------------------------------------------------------- second calls


def raised_here(message):
    """An exc_info with a traceback."""
    try:
        raise LookupError(message)
    except LookupError:
        return sys.exc_info()


FIRST = ("200 First", [("X-First", "1"), ("Content-Length", "1000"), ("Content-Type", "a/first")])
SECOND = ("500 Second", [("X-Second", "2"), ("Content-Type", "a/second")])


def twice(environ, start_response):
    """Without exc_info the second call fails; the first one's head stays."""
    start_response("200 First", [("X-First", "1")])
    extra = {"absent": (), "none": (None,)}[query(environ, "exc_info")]
    raised = b"nothing"
    try:
        start_response(*SECOND, *extra)
    except Exception as problem:
        raised = type(problem).__name__.encode()
    return [raised]


def restart(environ, start_response):
    """exc_info before the head has gone replaces everything, whatever came before."""
    how = environ["PATH_INFO"].split("/")[2]
    info = raised_here("restart")
    if how == "only":
        start_response(*SECOND, info)
        return [b"second"]
    write = start_response(*FIRST)
    if how == "empty-write":
        write(b"")
    if how == "returned":
        start_response(*SECOND, info)
        return [b"second"]
    if how == "thrice":
        start_response("404 Other", [("X-Other", "1")], info)
        start_response(*SECOND, info)
        return [b"second"]
    if how == "old-write":
        start_response(*SECOND, info)
        write(b"second")
        return []
    if how == "new-write":
        start_response(*SECOND, info)(b"second")
        return []

    def blocks():
        if how == "empty-blocks":
            yield b""
            yield b""
        start_response(*SECOND, info)
        yield b"second"

    if how in ("generator", "empty-blocks", "empty-write"):
        return blocks()
    raise LookupError(how)


def restart_bad(environ, start_response):
    """A replacement that is itself bad raises; a good one after it is still taken."""
    start_response(*FIRST)
    info = raised_here("restart")
    raised = None
    try:
        start_response("bad", [("X-Bad", "1")], info)
    except (TypeError, ValueError, AssertionError) as problem:
        raised = type(problem).__name__
    start_response("500 Second", [("X-Raised", str(raised))], info)
    return [b"second"]


def too_late(environ, start_response):
    """exc_info after the head has gone: the very exception comes back, with its traceback."""
    key, how = query(environ, "key"), query(environ, "how")
    info = raised_here("late")
    write = start_response("200 First", [("X-First", "1")])

    def restart_now():
        try:
            start_response(*SECOND, info)
        except LookupError as problem:
            names = []
            trace = problem.__traceback__
            while trace:
                names.append(trace.tb_frame.f_code.co_name)
                trace = trace.tb_next
            note(key, f"same={problem is info[1]} origin={'raised_here' in names}")
            raise
        except BaseException as problem:
            note(key, f"other {type(problem).__name__}")
            raise
        note(key, "not raised")

    if how == "write":
        write(b"sent")
        restart_now()
        return [b"unreached"]

    def blocks():
        yield b"sent"
        restart_now()
        yield b"unreached"

    return blocks()


def no_traceback_kept(environ, start_response):
    """The traceback's frames hold a token; nothing of them may outlive the request."""
    key = query(environ, "key")
    sent = query(environ, "sent")

    def fail():
        token = Token(key)
        raise LookupError(f"{token.key} fails")

    try:
        write = start_response(OK, [])
        if sent:
            write(b"sent")
        fail()
    except LookupError:
        try:
            start_response("500 Failed", [], sys.exc_info())
        except LookupError:
            return [b" caught"]
    return [b"failed"]


def no_exception(environ, start_response):
    """exc_info of sys.exc_info() where nothing was raised, after the head has gone."""
    write = start_response(OK, [])
    write(b"sent ")
    try:
        start_response("500 Late", [], (None, None, None))
    except Exception as problem:
        write(type(problem).__name__.encode())
    return []


# -------------------------------------------------------------------------------------- too late

KEPT = threading.local()


def late(environ, start_response):
    """Calls what the request before left behind; each call must raise, and send nothing."""
    before = getattr(KEPT, "calls", None)
    write = start_response("200 OK", [("X-Own", "1")])
    KEPT.calls = (start_response, write)
    if before is None:
        return [b"first"]
    info = raised_here("late")
    raised = []
    for call in (
        lambda: before[0]("200 Late", [("X-Late", "1")]),
        lambda: before[0]("500 Late", [("X-Late", "1")], info),
        lambda: before[1](b"late"),
    ):
        try:
            call()
        except Exception as problem:
            raised.append(type(problem).__name__)
        else:
            raised.append(None)
    return [repr(raised).encode()]


def late_weak(environ, start_response):
    """The same for an application that has kept a weak reference."""
    before = getattr(KEPT, "reference", None)
    KEPT.reference = weakref.ref(start_response)
    kept = before and before()
    if kept:
        kept("200 Hijacked", [("X-Late", "1")])
    else:
        start_response("200 OK", [])
    return [repr(kept).encode()]


app = table(
    {
        "late-weak": late_weak,
        "bad": bad,
        "bad-arguments": bad_arguments,
        "keyword": keyword,
        "either": either,
        "uncaught": uncaught,
        "good": good,
        "close": close,
        "twice": twice,
        "restart": restart,
        "restart-bad": restart_bad,
        "too-late": too_late,
        "no-traceback-kept": no_traceback_kept,
        "no-exception": no_exception,
        "late": late,
    }
)
