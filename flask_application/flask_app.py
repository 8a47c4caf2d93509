"""A Flask application that shows how WSGI works, by recording how it is served.

    rustwsgi flask_app            # from this directory; then open http://127.0.0.1:8000
    python flask_app.py           # the same, without the command line

Between the server and Flask is `Recorder`, a small WSGI middleware. It records what passes in both
directions: the environ, the arguments of start_response, the blocks, the call of close(). The start
page is streamed, so it can show the arguments of start_response *for that same page*.

Read Recorder first, which is plain WSGI without Flask, then the routes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections import deque
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, jsonify, render_template, request, stream_template
from markupsafe import Markup
from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wsgi import FileWrapper

if TYPE_CHECKING:  # wsgiref.types exists from Python 3.11 on, and only type checkers need it
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_UPLOAD = 1024**3
MAX_FORM = 64 * 1024
EVENTS = 20
EVENTS_PER_SECOND = 5


# -------------------------------------------------------------------- the middleware: plain WSGI


class Record:
    """The record of one request. Its size is bounded; it has no body, no query, no request field.

    Only the thread that runs the request writes to it. Other threads may read it before the
    exchange is finished: see `state`.
    """

    MAX_SIZES = 48  # how many sizes of blocks and reads are listed; further ones are only counted
    MAX_FIELDS = 40
    MAX_TEXT = 400

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.id = secrets.token_hex(8)
        self.method = clip(environ["REQUEST_METHOD"], 20)
        self.path = clip(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), 80)
        self.pid = os.getpid()
        self.thread = threading.get_native_id()
        self.started = time.monotonic()
        self.seconds: float | None = None
        self.state = "running"  # then "finished", "failed", or "handed over" for a file
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.block_count = 0
        self.byte_count = 0
        self.block_sizes: list[int] = []
        self.closed = False
        self.error = ""
        self.read_count = 0
        self.read_bytes = 0
        self.read_calls: list[tuple[str, int]] = []

    def started_response(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = clip(status, self.MAX_TEXT)
        self.headers = [
            (clip(name, self.MAX_TEXT), clip(value, self.MAX_TEXT))
            for name, value in headers[: self.MAX_FIELDS]
        ]

    def block(self, size: int) -> None:
        self.block_count += 1
        self.byte_count += size
        if len(self.block_sizes) < self.MAX_SIZES:
            self.block_sizes.append(size)

    def read(self, call: str, size: int) -> None:
        self.read_count += 1
        self.read_bytes += size
        if len(self.read_calls) < self.MAX_SIZES:
            self.read_calls.append((call, size))

    def end(self, state: str, error: BaseException | None = None) -> None:
        if self.seconds is None:
            self.seconds = time.monotonic() - self.started
        if self.state != "failed":  # close() is called after a failure too, and must not hide it
            self.state = state
        if error is not None:
            self.error = type(error).__name__

    def as_dict(self) -> dict[str, Any]:
        """For /last.json. Without `started`, which is a time on the clock of this process."""
        return {key: value for key, value in vars(self).items() if key != "started"}


class Recorder:
    """Middleware: an application to the server, and a server to the application that it wraps.

    PEP 3333, "Middleware: Components that Play Both Sides".
    """

    def __init__(self, app: WSGIApplication, keep: int = 64, skip: tuple[str, ...] = ()) -> None:
        self._app = app
        self._skip = skip
        self._records: deque[Record] = deque(maxlen=keep)  # bounded: drops the oldest
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith(self._skip):
            return self._app(environ, start_response)

        record = Record(environ)
        with self._lock:
            self._records.append(record)

        # The application may change the environ, and to the server this middleware is the
        # application. Keep a copy for the start page, then replace two objects by recording ones.
        environ["demo.as_received"] = dict(environ)
        environ["demo.record"] = record
        environ["wsgi.input"] = RecordingInput(environ["wsgi.input"], record)
        wrapped_files: list[Iterable[bytes]] = []
        if wrapper := environ.get("wsgi.file_wrapper"):

            def file_wrapper(*args: Any) -> Iterable[bytes]:
                wrapped_files.append(wrapper(*args))
                return wrapped_files[0]

            environ["wsgi.file_wrapper"] = file_wrapper

        def recording_start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            write = start_response(status, headers, exc_info)
            record.started_response(status, headers)
            return write

        try:
            blocks = self._app(environ, recording_start_response)
        except BaseException as error:
            record.end("failed", error)
            raise
        finally:
            if wrapper:  # some servers look here to recognise their own file wrapper
                environ["wsgi.file_wrapper"] = wrapper
        # A server uses sendfile only if it gets its own file wrapper back. Return it unchanged: to
        # wrap it would switch that off.
        if wrapped_files and blocks is wrapped_files[0]:
            record.end("handed over")
            return blocks
        return RecordingIterator(blocks, record)

    def find(self, record_id: str) -> Record | None:
        return next((record for record in self.recent() if record.id == record_id), None)

    def recent(self) -> list[Record]:
        """The records, newest first."""
        with self._lock:
            return list(reversed(self._records))


class RecordingIterator:
    """Iterates what the application returned, and records its blocks and the call of close()."""

    def __init__(self, blocks: Iterable[bytes], record: Record) -> None:
        self._blocks = blocks
        self._iterator = iter(blocks)
        self._record = record

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            block = next(self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._record.end("failed", error)
            raise
        self._record.block(len(block))
        return block

    def close(self) -> None:
        """The server calls this exactly once, also if the client disconnects half way."""
        try:
            if hasattr(self._blocks, "close"):
                self._blocks.close()
        finally:
            self._record.closed = True
            self._record.end("finished")


class RecordingInput:
    """wsgi.input; records the calls that read from it. PEP 3333, "Input and Error Streams"."""

    def __init__(self, stream: Any, record: Record) -> None:
        self._stream = stream
        self._record = record

    def read(self, size: int | None = -1) -> bytes:
        call = "read()" if size is None or size < 0 else f"read({size})"
        return self._recorded(call, self._stream.read(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._recorded("readline()", self._stream.readline(size))

    def readlines(self, hint: int = -1) -> list[bytes]:
        lines: list[bytes] = self._stream.readlines(hint)
        self._record.read("readlines()", sum(map(len, lines)))
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _recorded(self, call: str, data: bytes) -> bytes:
        self._record.read(call, len(data))
        return data


def clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


# ------------------------------------------------------------------------------- the application


class HashingSink:
    """Hashes an uploaded file and drops its data, so that neither memory nor disk fills up."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def seek(self, _offset: int, _whence: int = 0) -> int:
        return 0  # the form parser rewinds the file after the upload

    def read(self, _size: int = -1) -> bytes:
        return b""

    readline = read

    def close(self) -> None:
        pass


class DemoRequest(Request):
    def _get_file_stream(self, *_args: Any, **_kwargs: Any) -> Any:  # Werkzeug's hook for uploads
        return HashingSink()


app = Flask(__name__)
app.request_class = DemoRequest
app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD
app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
# `app` remains the Flask object, which calls `app.wsgi_app`: the middleware goes there.
recorder = Recorder(app.wsgi_app, skip=("/static/", "/last.json", "/favicon.ico"))
app.wsgi_app = recorder  # type: ignore[method-assign]


@app.template_filter("thousands")
def thousands(number: int) -> str:
    return f"{number:,}".replace(",", "\N{THIN SPACE}")


@app.template_filter("breakable")
def breakable(text: str) -> Markup:
    """Allow a line break after the commas and semicolons of a long list, or inside a long key."""
    is_long_key = len(text) > 24 and text.isidentifier()
    return Markup("<wbr>").join(re.split("(?<=_)" if is_long_key else "(?<=[,;])", text))


@app.after_request
def guard(response: Response) -> Response:
    """Forbid other origins, inline code, framing, and caching."""
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


@app.context_processor
def server_name() -> dict[str, str]:
    return {"server": str(request.environ.get("SERVER_SOFTWARE", "the server")).split()[0]}


# The template ends each block with {{ end_of_block }}. No page contains a NUL.
END_OF_BLOCK = "\0"


def in_blocks(pieces: Iterable[str]) -> Iterator[str]:
    """Join the hundreds of pieces that Jinja yields into the blocks that the template marks."""
    block: list[str] = []
    for piece in pieces:
        if piece == END_OF_BLOCK:
            yield "".join(block)
            block.clear()
        else:
            block.append(piece)
    yield "".join(block)


@app.get("/")
def home() -> Response:
    """The life of this request, as a stream: start_response is called before the first line."""
    environ = request.environ["demo.as_received"]
    record = request.environ["demo.record"]
    page = stream_template(
        "home.html",
        head=request_head(environ),
        groups=explain(environ),
        chunked=environ["SERVER_PROTOCOL"] != "HTTP/1.0",
        key_count=len(environ),
        record=record,  # read while the page is rendered: it shows the state at that very line
        recent=[other for other in recorder.recent() if other is not record][:8],
        end_of_block=END_OF_BLOCK,
    )
    return Response(in_blocks(page), mimetype="text/html")


@app.get("/last.json")
def last() -> Response:
    """The exchange with the id in ?id=, else the last that has ended; null if there is none.

    Each process has records of its own requests only: another worker may have served the request.
    """
    if record_id := request.args.get("id"):
        record = recorder.find(record_id)
    else:
        record = next((r for r in recorder.recent() if r.state != "running"), None)
    return jsonify(record=record.as_dict() if record else None)


@app.route("/form", methods=["GET", "POST"])
def form() -> str:
    if request.method == "GET":
        return render_template("form.html", sent=None)
    request.max_content_length = MAX_FORM
    body = request.get_data()  # before request.form, which would consume the stream
    sent = {
        "type": request.content_type,
        "length": request.environ.get("CONTENT_LENGTH"),
        "body": clip(body.decode("utf-8", "backslashreplace"), 2000),
        "fields": list(request.form.items(multi=True)),
    }
    return render_template("form.html", sent=sent)


@app.route("/upload", methods=["GET", "POST"])
def upload() -> str | tuple[str, int]:
    if request.method == "GET":
        return render_template("upload.html", file=None, limit=MAX_UPLOAD)
    began = time.monotonic()
    field = request.files.get("file")  # this reads the whole body through wsgi.input
    if field is None or not field.filename:
        return render_template("upload.html", file=None, limit=MAX_UPLOAD, missing=True), 400
    sink: Any = field.stream
    file = {
        "name": field.filename,
        "type": field.mimetype,
        "size": sink.size,
        "sha256": sink.sha256.hexdigest(),
        "milliseconds": (time.monotonic() - began) * 1000,
    }
    record = request.environ["demo.record"]
    return render_template("upload.html", file=file, record=record, limit=MAX_UPLOAD)


@app.get("/try")
def try_it() -> str:
    return render_template("try.html")


@cache
def download_bytes() -> bytes:
    """One mebibyte: 16384 numbered lines of 64 bytes."""
    lines = (f"rustwsgi demo, line {n:05} ".ljust(63, ".") + "\n" for n in range(16384))
    return "".join(lines).encode()


@app.get("/download")
def download() -> Response:
    """A file sent by the server. PEP 3333, "Optional Platform-Specific File Handling"."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the file wrapper's close() closes it
    file.write(download_bytes())
    file.seek(0)  # sending starts at the file's position
    file_wrapper = request.environ.get("wsgi.file_wrapper", FileWrapper)
    response = Response(file_wrapper(file, 64 * 1024), mimetype="text/plain")
    response.direct_passthrough = True  # return the wrapper to the server unchanged
    response.content_length = len(download_bytes())
    response.headers.set("Content-Disposition", "attachment", filename="rustwsgi-demo.txt")
    return response


@app.get("/stream")
def stream() -> str:
    return render_template("stream.html", count=EVENTS, per_second=EVENTS_PER_SECOND)


@app.get("/events")
def events() -> Response:
    """Server-sent events, one block each, a few per second. Occupies one thread until the end."""
    # A browser that reconnects sends the id of the last event. A 204 stops it from reconnecting.
    last_id = request.headers.get("Last-Event-ID", "")
    begin = int(last_id) if last_id.isascii() and last_id.isdigit() and len(last_id) < 9 else 0
    if begin >= EVENTS:
        return Response(status=204)

    def blocks() -> Iterator[str]:
        for n in range(begin + 1, EVENTS + 1):
            data = {"n": n, "of": EVENTS, "time": time.time(), "thread": threading.get_native_id()}
            yield f"id: {n}\ndata: {json.dumps(data)}\n\n"
            time.sleep(1 / EVENTS_PER_SECOND)
        yield "event: end\ndata: {}\n\n"

    return Response(blocks(), mimetype="text/event-stream")


@app.get("/raise")
def fail() -> Response:
    raise RuntimeError("raised on purpose by /raise, to show where the traceback goes")


@app.route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def echo() -> Response:
    """The request body, block by block; for a request without a body, its head."""
    body = request.stream
    first = body.read(64 * 1024)
    if not first:
        return Response(request_head(request.environ["demo.as_received"]), mimetype="text/plain")

    def blocks() -> Iterator[bytes]:
        block = first
        while block:
            yield block
            block = body.read(64 * 1024)

    response = Response(blocks(), mimetype="text/plain")
    if request.content_length is not None:
        response.content_length = request.content_length
    return response


@app.get("/health")
def health() -> Response:
    return Response("ok\n", mimetype="text/plain")


@app.get("/favicon.ico")
def favicon() -> Response:
    return app.send_static_file("favicon.svg")


@app.errorhandler(HTTPException)
def http_error(error: HTTPException) -> tuple[str, int] | HTTPException:
    if error.code is None or error.code < 400:
        return error
    if isinstance(error, InternalServerError):
        # Flask has logged the traceback. The middleware sees a response like any other.
        record = request.environ["demo.record"]
        record.end("failed", error.original_exception or error)
    page = render_template("error.html", error=error, path=clip(request.path, 200))
    return page, error.code


# ------------------------------------------------------------------------ explaining the environ

GUIDE: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("environ_guide.json").read_text(encoding="utf-8")
)


def request_head(environ: WSGIEnvironment) -> str:
    """The head of the request, reconstructed: an environ does not keep the case of field names."""
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not target:
        target = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if query := environ.get("QUERY_STRING"):
            target += "?" + query
    lines = [f"{environ['REQUEST_METHOD']} {target} {environ['SERVER_PROTOCOL']}"]
    for key, value in environ.items():
        if name := field_name(key):
            lines.append(f"{name}: {value}")
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("latin-1").decode("utf-8", "replace")


def field_name(key: str) -> str | None:
    """HTTP_ACCEPT_LANGUAGE -> Accept-Language. None if the key is not that of a header field."""
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH") and not key.startswith("HTTP_"):
        return None
    return key.removeprefix("HTTP_").replace("_", "-").title()


def explain(environ: WSGIEnvironment) -> list[dict[str, Any]]:
    """The environ in the groups and the order of environ_guide.json.

    Each row is (key, value, rank, meaning, rowspan of the meaning; 0 if it is that of a row above).
    """
    groups = []
    unknown = dict(environ)
    for group in GUIDE:
        known = [key for key in group["keys"] if key in environ]
        for key in known:
            del unknown[key]
        rows = [(key, shown(environ[key]), *group["keys"][key], 1) for key in known]
        groups.append({**group, "rows": rows})
    by_id = {group["id"]: group["rows"] for group in groups}
    by_browser = [key for key in sorted(unknown) if key.startswith("HTTP_SEC_")]
    for at, key in enumerate(by_browser):
        meaning = "Set by the browser; a script in a page cannot forge them."
        span = 0 if at else len(by_browser)
        by_id["headers"].append((key, shown(unknown.pop(key)), "may", meaning, span))
    for key, value in sorted(unknown.items()):
        if name := field_name(key):
            meaning = f"The header field {name}. This application does not use it."
            by_id["headers"].append((key, shown(value), "may", meaning, 1))
        elif key.startswith("wsgi."):
            by_id["wsgi"].append((key, shown(value), "extra", "An extension of this server.", 1))
        else:
            by_id["more"].append((key, shown(value), "extra", "Set by this server.", 1))
    return [group for group in groups if group["rows"]]


def shown(value: object) -> str:
    """repr(), which distinguishes '8000' from 8000; without the memory address of an object."""
    text = repr(value)
    if not isinstance(value, str) and " at 0x" in text:
        text = text.partition(" at 0x")[0] + ">"
    return clip(text, 300)


if __name__ == "__main__":
    import rustwsgi

    rustwsgi.serve(app, bind="127.0.0.1:8000")
