"""The application to serve first after installing: ``python -m rustwsgi.demo``.

That is short for ``rustwsgi rustwsgi.demo:app``, and takes the same options.

It is plain WSGI (PEP 3333) in one file and needs nothing but the standard library. Each view is a
WSGI application of its own and shows one part of the interface: :func:`text` a complete response,
:func:`home` the environ and the arguments of ``start_response``, :func:`stream` a generator,
:func:`post` the request body. The module keeps no state, so any number of threads may run it.
"""

from __future__ import annotations

import sys
import time
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    if sys.version_info >= (3, 11):
        from wsgiref.types import StartResponse, WSGIEnvironment
    else:
        from _typeshed.wsgi import StartResponse, WSGIEnvironment

Headers = list[tuple[str, str]]

STREAM_BLOCKS = 10
SECONDS_BETWEEN_BLOCKS = 0.2
MAX_FORM_BYTES = 64 * 1024


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The WSGI application. It selects a view by the path and calls it in the same way."""
    path = environ.get("PATH_INFO") or "/"
    views = {"/": home, "/text": text, "/stream": stream, "/post": post}
    view = views.get(path, not_found)
    return view(environ, start_response)


# Other servers look for this name.
application = app


def text(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A complete WSGI application: call start_response, then return an iterable of bytes."""
    body = b"Hello from a WSGI application.\n"
    start_response("200 OK", [*text_headers(), ("Content-Length", str(len(body)))])
    return [body]


def home(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A page that shows the environ, and the arguments with which it calls start_response."""
    status = "200 OK"
    # The page shows these headers, so they cannot contain its length. The server adds a
    # Content-Length, because the list that is returned has one block only.
    headers = html_headers()
    start_response(status, headers)
    captured = [("status", status), *headers]
    environ_rows = [(key, shown(value)) for key, value in sorted(environ.items())]
    return [
        page(
            "It works.",
            f"""
<p class="lead"><strong>{server(environ)}</strong> received your request, turned it into a dict and
called a Python function with it. That interface is WSGI. This is what passed through it.</p>
<pre class="call">blocks = <b>app</b>(<b>environ</b>, <b>start_response</b>)</pre>
<h2>Arguments of start_response</h2>
<p>The status and a list of header fields. The server adds Date and the fields that the connection
needs.</p>
{table("captured", captured)}
<h2>Return value</h2>
<p>An iterable of <code>bytes</code>. Here it is a list of one block; a generator makes a
stream.</p>
<p class="more"><a href="/stream">A stream</a> <a href="/text">Plain text</a>
<a href="/missing">A 404</a></p>
<form method="post" action="/post">
<label for="message">The request body: a form arrives as <code>environ["wsgi.input"]</code></label>
<p><input id="message" name="message" value="Hello, WSGI"> <button>POST it</button></p>
</form>
<h2>environ</h2>
<p>Keys in upper case come from CGI, <code>HTTP_*</code> are the header fields of your browser, and
<code>wsgi.*</code> is defined by <a href="https://peps.python.org/pep-3333/">PEP 3333</a>.</p>
{table("environ", environ_rows)}
""",
        )
    ]


def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """A generator. The server sends each block before it asks for the next; try `curl -N`."""
    start_response("200 OK", text_headers())
    for n in range(1, STREAM_BLOCKS + 1):
        yield f"block {n} of {STREAM_BLOCKS}\n".encode()
        if n < STREAM_BLOCKS:
            time.sleep(SECONDS_BETWEEN_BLOCKS)


def post(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read the request body, and show it raw and as a decoded form."""
    if environ["REQUEST_METHOD"] != "POST":
        start_response("303 See Other", [*text_headers(), ("Location", "/")])
        return []
    # Read one byte more than allowed, to detect a longer body. Unless the server promises that
    # wsgi.input ends with the body, an application must not read more than CONTENT_LENGTH bytes.
    size = MAX_FORM_BYTES + 1
    if not environ.get("wsgi.input_terminated"):
        size = min(size, int(environ.get("CONTENT_LENGTH") or 0))
    body = environ["wsgi.input"].read(size)
    if len(body) > MAX_FORM_BYTES:
        start_response("413 Content Too Large", html_headers())
        limit = f"<p class='lead'>This form accepts up to {MAX_FORM_BYTES} bytes.</p>"
        return [page("Too large.", limit)]
    start_response("200 OK", html_headers())
    length = f"{len(body)} byte{'' if len(body) == 1 else 's'}"
    raw = escape(body.decode("utf-8", "backslashreplace"))
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError:  # not ASCII, or too many fields: no browser encodes a form like that
        fields = []
    decoded = f"<h2>Decoded</h2>{table('fields', fields)}" if fields else "<p>It is not a form.</p>"
    return [
        page(
            "It arrived.",
            f"""
<p class="lead">{length}, read from <code>environ["wsgi.input"]</code>:</p>
<pre class="call">{raw}</pre>
{decoded}
<p class="more"><a href="/">Back</a></p>
""",
        )
    ]


def not_found(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The view for all other paths."""
    start_response("404 Not Found", html_headers())
    # A str in the environ has one character for each byte. To decode a path, encode it as latin-1
    # first (PEP 3333, "Unicode Issues").
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    return [
        page(
            "Not found.",
            f"""
<p class="lead">There is no <code>{escape(path)}</code>. The application chose the status 404. To
the server this is a response like any other.</p>
<p class="more"><a href="/">Back</a></p>
""",
        )
    ]


def html_headers() -> Headers:
    return [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
        ("Cache-Control", "no-store"),
    ]


def text_headers() -> Headers:
    return [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]


def server(environ: WSGIEnvironment) -> str:
    """The name of the server, for HTML."""
    return escape(environ.get("SERVER_SOFTWARE") or "The server")


def shown(value: object) -> str:
    """repr(), which distinguishes '8000' from 8000; without the memory address of an object."""
    text = repr(value)
    if not isinstance(value, str) and " at 0x" in text:
        return text.partition(" at 0x")[0] + ">"
    return text


def table(name: str, rows: Iterable[tuple[str, str]]) -> str:
    """An HTML table of keys and values, which are escaped."""
    lines = "".join(
        f"<tr><th scope='row'><code>{escape(key)}</code></th>"
        f"<td><code>{escape(value)}</code></td></tr>"
        for key, value in rows
    )
    return f"<table id='{name}'><tbody>{lines}</tbody></table>"


def page(title: str, content: str) -> bytes:
    """A whole HTML page. `content` is HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · rustwsgi</title>
<link rel="icon" href="{ICON}">
<style>{STYLE}</style>
</head>
<body>
<main>
<p class="brand">{LOGO} <span>rustwsgi</span></p>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
""".encode()


LOGO = """<svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">\
<rect class="tile" width="32" height="32" rx="8"/><g class="arrows" fill="none" stroke-width="2.6" \
stroke-linecap="round" stroke-linejoin="round">\
<path d="M7 12.5h15l-4-4"/><path d="M25 19.5H10l4 4"/></g></svg>"""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%23a83d17'/%3E"
    "%3Cg fill='none' stroke='%23fff' stroke-width='2.6'%3E"
    "%3Cpath d='M7 12.5h15l-4-4M25 19.5H10l4 4'/%3E%3C/g%3E%3C/svg%3E"
)

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf7f2; --surface: #fffefb; --ink: #201a16; --muted: #675c53; --line: #e3d9cc;
  --rust: #a83d17; --fill: #fff; --soft: #fae6db;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, "Liberation Serif", Georgia, serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Code", "DejaVu Sans Mono", Menlo, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161311; --surface: #1f1b18; --ink: #f1e9e1; --muted: #b6a89c; --line: #3a332d;
    --rust: #f29468; --fill: #1a120d; --soft: #40261a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif;
}
main { width: min(100% - 2rem, 50rem); margin: auto; padding: 2.5rem 0 5rem; }
.brand { display: flex; align-items: center; gap: .6rem; font: 600 1.1rem var(--serif); }
.tile { fill: var(--rust); }
.arrows { stroke: var(--fill); }
h1 {
  font: 600 clamp(2.8rem, 9vw, 4.5rem)/1.1 var(--serif); letter-spacing: -.03em;
  margin: 2.5rem 0 1rem;
}
h2 { font: 600 1.5rem/1.2 var(--serif); margin: 2.6rem 0 .5rem; }
.lead { font-size: 1.15rem; color: var(--muted); max-width: 58ch; }
.lead strong { color: var(--ink); }
code, pre { font-family: var(--mono); font-size: .87em; overflow-wrap: anywhere; }
.call {
  font-size: clamp(.76rem, 2.6vw, 1.1rem); background: var(--soft); padding: 1.1rem;
  border-radius: 12px; white-space: pre-wrap;
}
.call b, a { color: var(--rust); }
a { text-underline-offset: .2em; }
.more { display: flex; flex-wrap: wrap; gap: .6rem 1.4rem; }
table {
  width: 100%; table-layout: fixed; border-collapse: separate; border-spacing: 0;
  background: var(--surface); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; font-size: .94rem;
}
th, td {
  text-align: left; vertical-align: top; padding: .5rem 1rem; border-top: 1px solid var(--line);
}
tr:first-child > * { border-top: 0; }
th { width: 36%; color: var(--rust); }
label { font-weight: 600; }
input, button {
  font: inherit; padding: .5rem .9rem; border-radius: 8px; border: 1px solid var(--muted);
}
input {
  background: var(--surface); color: var(--ink); width: min(100%, 22rem); margin-bottom: .5rem;
}
button {
  background: var(--rust); color: var(--fill); border-color: var(--rust); font-weight: 600;
  cursor: pointer;
}
:focus-visible { outline: 3px solid var(--rust); outline-offset: 2px; }
@media (max-width: 36rem) {
  th, td { display: block; width: auto; }
  th { padding-bottom: 0; }
  td, tr:first-child > td { border-top: 0; padding-top: .1rem; }
}
"""


if __name__ == "__main__":
    from rustwsgi.cli import main

    sys.exit(main([*sys.argv[1:], "rustwsgi.demo:app"]))
