"""Requests for the sites of Django and Flask in apps/, and what is compared of their responses."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from . import build_request, chunked
from .sites import FORM, multipart

APP_OF = {"django": "django_site.wsgi:application", "flask": "flask_site:app"}


def r(target: str, method: str = "GET", *fields: tuple[str, str], **more: object) -> bytes:
    """A request that asks for the connection's end, so that stray bytes are seen."""
    every = [*fields, ("Connection", "close")]
    return build_request(method, target, fields=every, **more)  # type: ignore[arg-type]


_CHUNKED = ("Transfer-Encoding", "chunked")
_FORM_BODY = urlencode([("a", "1"), ("a", "\u20ac & co"), ("b", "")]).encode()
_UPLOAD_KIND, _UPLOAD = multipart([("note", None, b"n\xc3\xb6te"), ("file", "a.bin", b"f" * 9000)])
_SINCE = ("If-Modified-Since", "Mon, 03 Feb 2020 04:05:06 GMT")

#: Requests that both sites serve, each through its framework.
COMMON = {
    "root": r("/"),
    "root-1.0": r("/", version="HTTP/1.0"),
    "head": r("/", "HEAD"),
    "head-1.0": r("/", "HEAD", version="HTTP/1.0"),
    "empty-query": r("/?"),
    "double-slash": r("//"),
    "dots": r("/echo/./a/../b"),
    "query": r("/echo/x?a=1&a=2&b=&c=%E2%82%AC&d=a+b&=e&f"),
    "query-question-mark": r("/echo/x?a=?/;:@!$'()*,"),
    "query-percent-odd": r("/echo/x?a=%zz&b=%&c=%00"),
    "path-percent": r("/echo/caf%C3%A9%2Fx%20y"),
    "path-lower-case-percent": r("/echo/caf%c3%a9"),
    "path-not-utf-8": r("/echo/%ff%fe"),
    "path-semicolon": r("/echo/a;b=c/d,e"),
    "path-plus-tilde": r("/echo/a+b~c:d@e"),
    "path-bad-percent": r("/echo/100%"),
    "path-reserved": r("/echo/!$&'()*"),
    "absolute-form": r("http://localhost/echo/absolute?x=1"),
    "cookies": r("/echo/x", "GET", ("Cookie", 'a=1; b="two words"; c=')),
    "repeated-fields": r("/echo/x", "GET", ("X-A", "1"), ("Accept", "a/b"), ("X-A", "2")),
    "empty-field": r("/echo/x", "GET", ("X-Empty", "")),
    "latin-1-field": r("/echo/x", "GET", ("X-Latin", "caf\xe9")),
    "long-field": r("/echo/x", "GET", ("X-Long", "x" * 8000)),
    "underscore-field": r("/echo/x", "GET", ("X_Under", "1")),
    "forwarded": r("/echo/x", "GET", ("X-Forwarded-For", "1.2.3.4"), ("Via", "1.1 a")),
    "forwarded-proto": r("/echo/x", "GET", ("X-Forwarded-Proto", "https")),
    "basic-auth": r("/echo/x", "GET", ("Authorization", "Basic dTpw")),
    "put": r("/echo/x", "PUT", body=b"put"),
    "delete": r("/echo/x", "DELETE"),
    "options": r("/echo/x", "OPTIONS"),
    "unknown-method": r("/echo/x", "BREW"),
    "post-form": r("/echo/x?q=1", "POST", FORM, body=_FORM_BODY),
    "post-form-1.0": r("/echo/x", "POST", FORM, body=_FORM_BODY, version="HTTP/1.0"),
    "post-form-chunked": r("/echo/x?q=1", "POST", FORM, _CHUNKED, body=chunked(_FORM_BODY)),
    "post-empty": r("/echo/x", "POST", FORM, body=b""),
    "post-no-length": r("/body", "POST"),
    "post-body": r("/body", "POST", body=b"b" * 70_000 + b"c" * 30_000),
    "post-body-chunked": r("/body", "POST", _CHUNKED, body=chunked(b"b" * 70_000, b"c" * 30_000)),
    "post-byte": r("/body", "POST", body=b"b"),
    "post-trailers": r("/body", "POST", _CHUNKED, body=chunked(b"b", trailers=b"X-T: 1\r\n")),
    "upload": r("/upload", "POST", _UPLOAD_KIND, body=_UPLOAD),
    "upload-chunked": r(
        "/upload", "POST", _UPLOAD_KIND, _CHUNKED, body=chunked(_UPLOAD[:5000], _UPLOAD[5000:])
    ),
    "upload-large": r("/body", "POST", body=b"0123456789abcdef" * 200_000),
    "not-allowed": r("/body", "PATCH", body=b"x"),
    "session": r("/session"),
    "stream": r("/stream?count=4"),
    "stream-empty": r("/stream?count=0"),
    "stream-head": r("/stream?count=4", "HEAD"),
    "stream-1.0": r("/stream?count=4", version="HTTP/1.0"),
    "file": r("/file"),
    "file-1.0": r("/file", version="HTTP/1.0"),
    "file-head": r("/file", "HEAD"),
    "fields": r("/fields"),
    "conditional": r("/conditional"),
    "conditional-etag": r("/conditional", "GET", ("If-None-Match", '"an-etag"')),
    "conditional-other-etag": r("/conditional", "GET", ("If-None-Match", '"other"')),
    "conditional-since": r("/conditional", "GET", _SINCE),
    "conditional-head": r("/conditional", "HEAD", ("If-None-Match", '"an-etag"')),
    "conditional-match": r("/conditional", "GET", ("If-Match", '"other"')),
    "redirect": r("/redirect"),
    "no-content": r("/no-content"),
    "no-content-head": r("/no-content", "HEAD"),
    "missing": r("/no-such-route"),
    "missing-head": r("/no-such-route", "HEAD"),
    "missing-post": r("/no-such-route", "POST", body=b"unread"),
    "boom": r("/boom"),
    "boom-head": r("/boom", "HEAD"),
}
REQUESTS = {
    "django": COMMON
    | {
        "not-modified": r("/not-modified"),
        "admin": r("/admin/"),
        "admin-no-slash": r("/admin"),
        "denied": r("/denied"),
        "suspicious": r("/suspicious"),
        "get-only": r("/get-only", "POST", body=b"x"),
        "csrf": r("/form", "POST", FORM, body=b"a=1"),
        "read": r("/read", "POST", body=b"abcline\nmore\nand more"),
        "file-from": r("/file?from=1000"),
        "file-watched": r("/file?watched=1"),
    },
    "flask": COMMON
    | {
        "file-range": r("/file", "GET", ("Range", "bytes=1000-70000")),
        "file-bad-range": r("/file", "GET", ("Range", "bytes=9999999-")),
        "file-memory": r("/file?memory=1"),
        "json": r(
            "/json", "POST", ("Content-Type", "application/json"), body=b'{"a": "\xe2\x82\xac"}'
        ),
        "bad-json": r("/json", "POST", ("Content-Type", "application/json"), body=b"{"),
        "too-large": r("/too-small", "POST", FORM, body=b"a=" + b"x" * 20_000),
    }
    | {f"abort-{code}": r(f"/abort/{code}") for code in (400, 401, 403, 405, 410, 418, 429, 503)},
}


def masked(name: str, value: str) -> str:
    """Signed cookies contain the time and CSRF tokens are random: names and attributes count."""
    if name.lower() == "expires":
        return "..."  # contains the time of day, which differs between the two requests
    if name.lower() == "set-cookie":
        value = re.sub(r"^(session|sessionid|csrftoken)=[^;]*", r"\1=...", value)
        value = re.sub(r"^(sessionid|csrftoken)(=.*expires=)[^;]*", r"\1\2...", value)
    return value
