"""The smallest WSGI application that is still of use: it greets, and lists what it was given.

    rustwsgi demo_app            # from this directory; then open http://127.0.0.1:8000
    python demo_app.py           # the same, without the command line

WSGI is an agreement between two parties, written down in PEP 3333
(https://peps.python.org/pep-3333/). A *server* speaks HTTP and knows nothing about your pages; an
*application* makes pages and knows nothing about sockets. All that passes between them is one call

    blocks = application(environ, start_response)

and this file is the application's half of it, with the section of PEP 3333 behind each line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these names exist for type checkers only, and from Python 3.11 on
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


# "The Application/Framework Side": an application is any callable that takes two *positional*
# arguments. A function will do; a class, a method, or an object with __call__ would, too (Flask's
# `app` is the last kind). Several threads may be in here at the same time, so nothing is kept
# between two calls.
def demo_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # "environ Variables": a plain dict that describes one request. The upper-case keys come from
    # CGI (RFC 3875), HTTP_* are the fields the client sent, wsgi.* comes from PEP 3333 itself.
    # The dict is yours: an application may change it in any way it likes.
    name = environ.get("PATH_INFO", "/").strip("/") or "world"

    # "Unicode Issues": every str in the environ holds *bytes*, one per character (latin-1). A path
    # in UTF-8 therefore has to be turned back into bytes and decoded by the application, which
    # alone knows what encoding its links use.
    name = name.encode("latin-1").decode("utf-8", "replace")

    lines = [f"Hello, {name}!", "", "This is the environ of your request:", ""]
    for key, value in sorted(environ.items()):
        lines.append(f"{key} = {value!r}")
    body = ("\n".join(lines) + "\n").encode("utf-8")

    # "The start_response() Callable": first the status (a str: three digits, a space, a phrase),
    # then the fields, a *list* of (name, value) tuples of str. Nothing is sent yet: the server
    # waits for the first block that is not empty, so that an application which fails until then
    # can still have its page replaced by an error page.
    start_response(
        "200 OK",
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            # "Handling the Content-Length Header": optional. Left out here, the server could still
            # find it, because the list below has one block only; with more it would use chunks.
            ("Content-Length", str(len(body))),
        ],
    )
    # A Date, a Server and the fields that steer the connection are the server's business ("Other
    # HTTP Features"); an application must not send Connection or Transfer-Encoding by itself.

    # The return value is an *iterable of bytes*. A list of one block is the simplest; a generator
    # would make a stream. A str would be a mistake: the server could not know its encoding, and
    # iterating a bytes object would yield its bytes one by one.
    #
    # "Buffering and Streaming": the server sends each block on before it asks for the next. When
    # all is said, or the client has gone, it calls close() on what it got here, if there is one.
    return [body]


# Servers look for a name to import: `rustwsgi demo_app` tries `app`, then `application`;
# `rustwsgi demo_app:demo_app` names it outright.
app = application = demo_app


if __name__ == "__main__":
    import rustwsgi

    rustwsgi.serve(app, bind="127.0.0.1:8000")
