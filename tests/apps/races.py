"""Many things at once: what a request was given must come back, and nothing of another's.

Each answer is made from all that the request brought, so that a value, a block or a callable that
went to the wrong thread shows in it.
"""

import hashlib
import sys
import tempfile
import threading

from wsgi_common import table

#: Some bytes that a file wrapper may send by itself.
FILE_SIZE = 100_000
_file = tempfile.NamedTemporaryFile()
_file.write(bytes(range(250)) * (FILE_SIZE // 250))
_file.flush()

_local = threading.local()


def identity(environ):
    """The marks by which a client recognizes its own request."""
    told = [environ.get(f"HTTP_X_CLIENT_{name}", "-") for name in "ABC"]
    told += [environ["QUERY_STRING"], environ["PATH_INFO"], environ["REQUEST_METHOD"]]
    return "|".join([*told, environ["REMOTE_PORT"], environ["HTTP_USER_AGENT"]]).encode()


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    answer = identity(environ) + b"|" + hashlib.sha256(body).hexdigest().encode()
    start_response("200 OK", [("X-Query", environ["QUERY_STRING"])])
    return [answer]


def blocks(environ, start_response):
    """A generator, some of whose blocks wait for the poller."""
    answer = identity(environ)
    write = start_response("200 OK", [("X-Query", environ["QUERY_STRING"])])
    write(answer)
    yield from environ["wsgi.input"]
    yield answer


def shared_input(environ, start_response):
    """Threads of the application read one input: each byte goes to exactly one of them."""
    stream, parts = environ["wsgi.input"], []

    def work():
        while line := stream.readline():
            parts.append(line)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    start_response("200 OK", [("X-Query", environ["QUERY_STRING"])])
    return [*sorted(parts), identity(environ)]


def keeps(environ, start_response):
    """Keeps what it was given. Meanwhile another thread calls what the request before has kept, which
    is over: that must reach no other request."""
    kept = getattr(_local, "kept", None)

    def work():
        environ, late, disconnected = kept
        environ.clear()
        disconnected()
        for attempt in range(3):
            try:
                late("200 OK", [("X-Late", str(attempt))])(b"late")
            except RuntimeError:
                pass

    thread = threading.Thread(target=work if kept else int)
    thread.start()
    _local.kept = (environ, start_response, environ["rustwsgi.client_disconnected"])
    start_response("200 OK", [("X-Query", environ["QUERY_STRING"])])
    yield identity(environ)
    thread.join()


def file(environ, start_response):
    start_response("200 OK", [("X-Query", environ["QUERY_STRING"])])
    return environ["wsgi.file_wrapper"](open(_file.name, "rb"))


def closed_beside(environ, start_response):
    """Another thread closes the file while the server looks at it."""
    handle = open(_file.name, "rb")
    thread = threading.Thread(target=handle.close)
    start_response("200 OK", [("Content-Length", str(FILE_SIZE))])
    wrapper = environ["wsgi.file_wrapper"](handle)
    thread.start()
    return wrapper


def changed_beside(environ, start_response):
    """Another thread changes the headers and the result while the server reads them."""
    headers, result = [("X-Query", environ["QUERY_STRING"])], [b"0123456789"]

    def work():
        for _ in range(50):
            headers.append(("X-More", "more"))
            result.append(b"more")
            headers.pop()
            result.pop()

    thread = threading.Thread(target=work)
    thread.start()
    start_response("200 OK", headers)
    return result


def gil(environ, start_response):
    """Whether this interpreter runs one thread at a time."""
    start_response("200 OK", [])
    return [str(getattr(sys, "_is_gil_enabled", lambda: True)()).encode()]


app = table(
    {
        "echo": echo,
        "blocks": blocks,
        "shared-input": shared_input,
        "keeps": keeps,
        "file": file,
        "closed-beside": closed_beside,
        "changed-beside": changed_beside,
        "gil": gil,
    }
)
