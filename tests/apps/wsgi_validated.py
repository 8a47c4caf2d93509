"""Well-behaved applications under wsgiref.validate, which checks both sides of the interface."""

import warnings
from wsgiref.validate import WSGIWarning, validator

from wsgi_common import query

warnings.simplefilter("error", WSGIWarning)

TEXT = [("Content-Type", "text/plain")]


def plain(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [b"plain"]


def no_length(environ, start_response):
    start_response("200 OK", list(TEXT))
    return [b"no ", b"length"]


def generator(environ, start_response):
    start_response("200 OK", list(TEXT))
    yield from (b"gen", b"er", b"ator")


def writes(environ, start_response):
    start_response("200 OK", list(TEXT))(b"written ")
    return [b"and returned"]


def restart(environ, start_response):
    import sys

    start_response("200 OK", list(TEXT))
    try:
        raise LookupError("replaced")
    except LookupError:
        start_response("500 Replaced", list(TEXT), sys.exc_info())
    return [b"replaced"]


def upload(environ, start_response):
    """Reads as the validator wants it: with one argument, to the length."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", list(TEXT))
    return [b"%d %d" % (len(body), sum(body))]


def lines(environ, start_response):
    source = environ["wsgi.input"]
    first, some = source.readline(), source.readlines(100)
    rest = list(source)
    start_response("200 OK", list(TEXT))
    return [first, *some, *rest]


def errors(environ, start_response):
    environ["wsgi.errors"].write("validated\n")
    environ["wsgi.errors"].writelines(["lines\n"])
    environ["wsgi.errors"].flush()
    start_response("200 OK", list(TEXT))
    return [b"errors"]


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def file(environ, start_response):
    start_response("200 OK", list(TEXT))
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


APPS = {
    f.__name__: validator(f)
    for f in (
        plain,
        no_length,
        generator,
        writes,
        restart,
        upload,
        lines,
        errors,
        empty,
        file,
    )
}


def app(environ, start_response):
    return APPS[query(environ, "app")](environ, start_response)
