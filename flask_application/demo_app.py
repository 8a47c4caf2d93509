"""A minimal WSGI application, explained line by line: it greets, and lists its environ.

    rustwsgi demo_app            # from this directory; then open http://127.0.0.1:8000
    python demo_app.py           # the same, without the command line

WSGI is the interface between a web server and a Python application, defined in PEP 3333
(https://peps.python.org/pep-3333/). The *server* speaks HTTP and knows nothing about your pages;
the *application* makes pages and knows nothing about sockets. For each request the server makes
one call

    blocks = application(environ, start_response)

This file is the application's side of it. Each comment names the section of PEP 3333.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these names exist for type checkers only, and from Python 3.11 on
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


# "The Application/Framework Side": an application is any callable that takes two *positional*
# arguments: a function, as here, a class, a method, or an object with __call__ (such as Flask's
# `app`). Several threads may call it at the same time, so it keeps no state between calls.
def demo_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # "environ Variables": a dict that describes one request. Keys in upper case come from CGI
    # (RFC 3875), HTTP_* are the header fields that the client sent, wsgi.* is defined by PEP 3333.
    # The application may change the dict.
    name = environ.get("PATH_INFO", "/").strip("/") or "world"

    # "Unicode Issues": a str in the environ has one character for each byte (latin-1). Only the
    # application knows the encoding of its links, so it encodes the path to bytes again and decodes
    # those as UTF-8.
    name = name.encode("latin-1").decode("utf-8", "replace")

    lines = [f"Hello, {name}!", "", "This is the environ of your request:", ""]
    for key, value in sorted(environ.items()):
        lines.append(f"{key} = {value!r}")
    body = ("\n".join(lines) + "\n").encode("utf-8")

    # "The start_response() Callable": the first argument is the status, a str of three digits, a
    # space and a reason phrase; the second is a *list* of (name, value) tuples of str. This call
    # sends nothing. The server sends the head with the first block that is not empty: if the
    # application fails before that, the response becomes an error page.
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            # "Handling the Content-Length Header": optional. Without it the server adds one here,
            # because the list below is complete; the blocks of a generator it sends as chunks.
            ("Content-Length", str(len(body))),
        ],
    )
    # "Other HTTP Features": the server adds Date, Server and the fields that manage the connection.
    # An application must not set hop-by-hop fields such as Transfer-Encoding.

    # Return an *iterable of bytes*. A list with one block is the simplest; a generator makes a
    # stream. A str is an error, because the server does not know its encoding. So is a bytes object
    # by itself: iterating it yields numbers.
    #
    # "Buffering and Streaming": the server sends each block before it asks for the next. At the
    # end, also if the client disconnects, it calls close() on the returned object, if there is one.
    return [body]


# `rustwsgi demo_app` looks for the name `app`, then for `application`.
# `rustwsgi demo_app:demo_app` names the object.
app = application = demo_app


if __name__ == "__main__":
    import rustwsgi

    rustwsgi.serve(app, bind="127.0.0.1:8000")
