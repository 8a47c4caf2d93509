"""The validator of the standard library, wsgiref.validate, around applications of every kind.

It reports a broken rule with an AssertionError (a 500 here), an iterator that was not closed with a
message on wsgi.errors, and a questionable value with a warning, which the application module turns
into an error.
"""

from __future__ import annotations

import pytest

from harness import APPS, ServerProcess, chunked
from harness.wsgi import THREADS, ask


@pytest.fixture
def server(serve, buffering: str) -> ServerProcess:
    options = ["--body-buffer-size", "1024", "--request-buffering", buffering]
    return serve("wsgi_validated:app", *THREADS, *options)


BODY = b"first\n" + b"x" * 5000 + b"\nlast"
SUM = b"%d %d" % (len(BODY), sum(BODY))
SOURCE = (APPS / "wsgi_validated.py").read_bytes()

CASES = [
    ("plain", "GET", 200, b"plain"),
    ("no_length", "GET", 200, b"no length"),
    ("generator", "GET", 200, b"generator"),
    ("writes", "GET", 200, b"written and returned"),
    ("restart", "GET", 500, b"replaced"),
    ("upload", "GET", 200, b"0 0"),
    ("upload", "POST", 200, SUM),
    ("upload", "PUT", 200, SUM),
    ("lines", "POST", 200, BODY),
    ("errors", "GET", 200, b"errors"),
    ("empty", "GET", 204, b""),
    ("file", "GET", 200, SOURCE),
    ("plain", "HEAD", 200, b""),
    ("generator", "HEAD", 200, b""),
    ("file", "HEAD", 200, b""),
    ("plain", "OPTIONS", 200, b"plain"),
    ("plain", "DELETE", 200, b"plain"),
]
FIELDS = [("Content-Type", "text/plain"), ("X-A", "caf\xe9"), ("X-A", "2"), ("Cookie", "a=b")]


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize(
    "app, method, status, body", CASES, ids=[f"{app}-{method}" for app, method, *_ in CASES]
)
def test_validator_is_silent(server, app, method, status, body, framing, buffering):
    if (app, framing, buffering) == ("upload", "chunked", "off"):
        pytest.skip("reads as many bytes as CONTENT_LENGTH says, which is not known")
    start = len(server.stderr())
    upload, fields = None, list(FIELDS)
    if method in ("POST", "PUT"):
        upload = BODY
        if framing == "chunked":
            upload = chunked(BODY[:100], BODY[100:])
            fields.append(("Transfer-Encoding", "chunked"))
    with server.connect() as client:
        target = f"/%C3%A9/%20?app={app}&q=%20"
        for _ in range(2):
            response = ask(client, target, method=method, fields=fields, body=upload)
            assert response.status == status, server.stderr()[start:]
            assert response.body == body and response.complete
    log = server.stderr()[start:]
    for sign in ("Traceback", "AssertionError", "without being closed", "Warning"):
        assert sign not in log, log
