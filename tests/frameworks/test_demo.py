"""The demos over the real server: the Flask application, demo_app and rustwsgi.demo."""

from __future__ import annotations

import hashlib
import html
import inspect
import json
import re
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from harness import ROOT, TIMEOUT, Response, ServerProcess, build_request, chunked

FLASK = ROOT / "flask_application"
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.fixture
def site(serve: Callable[..., ServerProcess]) -> ServerProcess:
    """The Flask demo in one process, so that /last.json knows every request."""
    pytest.importorskip("flask")
    args = ("--workers", "1", "--threads", "8", "--static", "auto", "--chdir", str(FLASK))
    return serve("flask_app:app", *args)


@pytest.fixture
def small(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve("demo_app", "--chdir", str(FLASK))


@pytest.fixture
def installed(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve("rustwsgi.demo:app", "--threads", "4")


def record_of(site: ServerProcess, query: str, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """The record, once it is as wanted: close() may come a moment after the last byte."""
    deadline = time.monotonic() + TIMEOUT
    record: dict[str, Any] | None = None
    while time.monotonic() < deadline:
        record = site.get("/last.json" + query).json()["record"]
        if record and wanted(record):
            return record
    raise AssertionError(f"the record stayed {record}")


def finished(record: dict[str, Any]) -> bool:
    return bool(record["state"] != "running")


def multipart(name: str, content: bytes) -> tuple[tuple[str, str], bytes]:
    body = (
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n--limit--\r\n"
    ) % (name.encode(), content)
    return ("Content-Type", "multipart/form-data; boundary=limit"), body


# ------------------------------------------------------------------- the Flask application: home


def test_home_shows_the_environ(site: ServerProcess) -> None:
    page = html.unescape(site.get("/?q=%C3%BC", fields=[("X-Odd", "<i>&")]).text)
    assert "GET /?q=%C3%BC HTTP/1.1" in page
    assert "<code>HTTP_X_ODD</code>" in page
    for key in ("REQUEST_METHOD", "SERVER_PORT", "wsgi.input", "wsgi.file_wrapper"):
        assert f"<code>{key}</code>" in page
    assert f"<code>'{site.port}'</code>" in page, "a port is a str"


def test_assets_are_sent_without_flask(site: ServerProcess) -> None:
    page = site.get("/").text
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(assets) >= 2
    for asset in assets:
        response = site.get(asset)
        assert response.body == (FLASK / asset[1:]).read_bytes()
        assert response.get("Cache-Control") == "max-age=60", "Flask sends no-cache"


def test_home_escapes_what_the_client_sent(site: ServerProcess) -> None:
    page = site.get("/", fields=[("X-Odd", "<script>alert(1)</script>")]).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_home_shows_its_own_start_response_without_javascript(site: ServerProcess) -> None:
    response = site.get("/")
    captured = re.search(r'<table class="plain" id="captured">(.*?)</table>', response.text, re.S)
    assert captured
    rows = dict(re.findall(r'row">(.*?)</th><td><code.*?>(.*?)</code>', captured[1]))
    assert rows.pop("status") == "200 OK"
    for name, value in rows.items():
        assert response.get(name) == html.unescape(value), "said, but not sent like this"
    assert "Content-Length" not in rows


def test_home_is_sent_in_the_blocks_that_it_reports(site: ServerProcess) -> None:
    response = site.get("/")
    assert response.framing == "chunked"
    assert response.chunks is not None
    record_id = re.search(r'data-record="(\w+)"', response.text)
    assert record_id
    record = record_of(site, f"?id={record_id[1]}", finished)
    assert record["state"] == "finished"
    assert record["closed"] is True
    assert record["block_sizes"] == [len(chunk) for chunk in response.chunks]
    assert record["byte_count"] == len(response.body)


def test_home_for_http_1_0_reports_no_chunks(site: ServerProcess) -> None:
    response = site.get("/", version="HTTP/1.0")
    assert response.framing == "close"
    assert "HTTP/1.0 knows no chunks" in response.text
    assert "Transfer-Encoding: chunked" not in response.text


def test_records_of_simultaneous_requests_do_not_mix(site: ServerProcess) -> None:
    def one(n: int) -> None:
        response = site.get("/" if n % 2 else "/form")
        if n % 2:
            record_id = re.search(r'data-record="(\w+)"', response.text)
            assert record_id
            record = record_of(site, f"?id={record_id[1]}", finished)
            assert record["path"] == "/"
            assert record["byte_count"] == len(response.body)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(32)))


def test_last_json_of_an_unknown_request_is_empty(site: ServerProcess) -> None:
    assert site.get("/last.json?id=0").json() == {"record": None}


# ------------------------------------------------------------------------------ its other routes


def test_form_echoes_the_fields(site: ServerProcess) -> None:
    body = urlencode({"name": "Ünïcode", "message": "<b>&amp;</b>"}).encode()
    page = site.get("/form", method="POST", fields=[FORM_TYPE], body=body).text
    assert "<b>&amp;</b>" not in page
    assert '<td class="value">Ünïcode</td>' in page
    assert '<td class="value">&lt;b&gt;&amp;amp;&lt;/b&gt;</td>' in page


def test_form_takes_a_chunked_body(site: ServerProcess) -> None:
    raw = build_request("POST", "/form", fields=[FORM_TYPE, ("Transfer-Encoding", "chunked")])
    with site.connect() as client:
        response = client.request(raw + chunked(b"name=", b"piecemeal"))
    assert '<td class="value">piecemeal</td>' in response.text


def test_form_refuses_a_long_body(site: ServerProcess) -> None:
    body = b"name=" + b"x" * 70_000
    assert site.get("/form", method="POST", fields=[FORM_TYPE], body=body).status == 413


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_upload_reports_size_and_hash(site: ServerProcess, size: int) -> None:
    content = bytes(i % 251 for i in range(1000)) * (size // 1000) + b"!" * (size % 1000)
    content_type, body = multipart("a&b.bin", content)
    response = site.get("/upload", method="POST", fields=[content_type], body=body)
    assert response.status == 200, response
    assert hashlib.sha256(content).hexdigest() in response.text
    assert "a&amp;b.bin" in response.text
    assert f'id="size">{size:,}<'.replace(",", "\u2009") in response.text


def test_upload_without_a_file_is_a_400(site: ServerProcess) -> None:
    assert site.get("/upload", method="POST", fields=[FORM_TYPE], body=b"a=b").status == 400


def test_download_is_complete(site: ServerProcess) -> None:
    response = site.get("/download")
    assert response.status == 200
    assert response.framing == "length"
    assert response.complete
    assert len(response.body) == 1024**2
    assert response.body.startswith(b"rustwsgi demo, line 00000 ")
    assert {len(line) for line in response.body.splitlines()} == {63}
    record = record_of(site, "", lambda record: record["path"] == "/download")
    assert record["state"] == "handed over", "the middleware must not stand between file and server"


def test_events_arrive_one_by_one(site: ServerProcess) -> None:
    assert site.get("/health").status == 200
    with site.connect() as client:
        client.send(build_request("GET", "/events"))
        assert client.head().get("Content-Type") == "text/event-stream; charset=utf-8"
        events = [client.next_chunk() for _ in range(5)]
        last = record_of(site, "", lambda record: record["path"] in {"/health", "/events"})
        assert last["path"] == "/health", "they came in one heap"
        events += [client.next_chunk() for _ in range(16)]
        assert client.next_chunk() == b""
    for n, event in enumerate(events[:-1], start=1):
        assert event is not None
        assert json.loads(event.partition(b"data: ")[2])["n"] == n
    assert events[-1] == b"event: end\ndata: {}\n\n"


def test_events_are_closed_when_the_client_leaves(site: ServerProcess) -> None:
    with site.connect() as client:
        client.send(build_request("GET", "/events", fields=[("Last-Event-ID", "1")]))
        client.head()
        first = client.next_chunk()
        assert first is not None
        assert first.startswith(b"id: 2\n")
        client.reset()
    record = record_of(
        site, "", lambda record: record["path"] == "/events" and record["block_count"] < 19
    )
    assert record["closed"] is True


def test_finished_events_are_not_repeated(site: ServerProcess) -> None:
    assert site.get("/events", fields=[("Last-Event-ID", "20")]).status == 204


def test_raise_is_logged_and_answered_with_a_page(site: ServerProcess) -> None:
    mark = len(site.stderr())
    response = site.get("/raise")
    assert response.status == 500
    assert "on purpose" not in response.text, "the client learns no details"
    assert "error log" in response.text and response.get("Content-Type").startswith("text/html")
    site.wait_for_log(r"RuntimeError: raised on purpose by /raise", start=mark)
    record = record_of(site, "", lambda record: record["path"] == "/raise")
    assert (record["state"], record["error"]) == ("failed", "RuntimeError")


def test_echo(site: ServerProcess) -> None:
    body = bytes(range(256)) * 1000
    response = site.get("/echo", method="PUT", body=body)
    assert response.body == body
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert site.get("/echo").text.startswith("GET /echo HTTP/1.1\r\nHost: localhost\r\n")


def test_echo_of_a_chunked_body(site: ServerProcess) -> None:
    raw = build_request("POST", "/echo", fields=[("Transfer-Encoding", "chunked")])
    with site.connect() as client:
        assert client.request(raw + chunked(b"in ", b"chunks")).body == b"in chunks"


def test_health(site: ServerProcess) -> None:
    assert site.get("/health").body == b"ok\n"


def test_a_page_that_does_not_exist(site: ServerProcess) -> None:
    response = site.get("/%3Cb%3E")
    assert response.status == 404
    assert "&lt;b&gt;" in response.text


@pytest.mark.parametrize("path", ["/", "/form", "/upload", "/stream", "/try", "/no/such/page"])
def test_every_page_links_to_every_route(site: ServerProcess, path: str) -> None:
    links = set(re.findall(r'href="(/[^"]*)"', site.get(path).text))
    pages = {"/", "/form", "/upload", "/stream", "/try"}
    assert links >= pages | {"/download", "/raise", "/echo", "/health", "/events", "/last.json"}


@pytest.mark.parametrize("path", ["/", "/form", "/upload", "/stream", "/try", "/no/such/page"])
def test_pages_name_no_other_host(site: ServerProcess, path: str) -> None:
    response = site.get(path)
    loaded = re.findall(r'(?:src|href)="([^"]*)"', response.text)
    assert {url for url in loaded if "//" in url} == {"https://peps.python.org/pep-3333/"}
    assert "default-src 'self'" in (response.get("Content-Security-Policy") or "")


def test_static_files(site: ServerProcess) -> None:
    for file in (FLASK / "static").iterdir():
        response = site.get(f"/static/{file.name}")
        assert (response.status, response.body) == (200, file.read_bytes())


def test_head_has_no_body(site: ServerProcess) -> None:
    response = site.get("/", method="HEAD")
    assert (response.status, response.body) == (200, b"")


# -------------------------------------------------------------------------------- the plain ones


def test_demo_app_greets_and_lists(small: ServerProcess) -> None:
    page = small.get("/J%C3%BCrgen").text
    assert page.startswith("Hello, Jürgen!\n")
    assert "REQUEST_METHOD = 'GET'\n" in page
    assert "wsgi.version = (1, 0)\n" in page


def test_installed_demo_shows_environ_and_start_response(installed: ServerProcess) -> None:
    response = installed.get("/", fields=[("X-Odd", "<i>")])
    page = html.unescape(response.text)
    assert "&lt;i&gt;" in response.text
    for text in ("HTTP_X_ODD", "200 OK", response.get("Content-Type"), "wsgi.url_scheme"):
        assert f"<code>{text}</code>" in page
    assert response.framing == "length", "one block: the server knows the length"


def test_installed_demo_streams(installed: ServerProcess) -> None:
    response = installed.get("/stream")
    assert response.chunks == [b"block %d of 10\n" % n for n in range(1, 11)]


def test_installed_demo_text(installed: ServerProcess) -> None:
    assert installed.get("/text").body == b"Hello from a WSGI application.\n"


def test_installed_demo_post(installed: ServerProcess) -> None:
    def post(body: bytes) -> Response:
        return installed.get("/post", method="POST", fields=[FORM_TYPE], body=body)

    assert "<code>&lt;b&gt; ü</code>" in post(b"message=%3Cb%3E+%C3%BC").text
    answer = post(b"\xff\xfe<b>")
    assert (answer.status, "Decoded" in answer.text) == (200, False)
    assert post(b"x" * 70_000).status == 413
    assert installed.get("/post").status == 303


def test_installed_demo_404(installed: ServerProcess) -> None:
    response = installed.get("/%3Cb%3E")
    assert response.status == 404
    assert "&lt;b&gt;" in response.text


# ------------------------------------------------- without a server: to the letter of PEP 3333


@pytest.fixture
def flask_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    pytest.importorskip("flask")
    monkeypatch.syspath_prepend(FLASK)
    import flask_app

    yield flask_app
    del sys.modules["flask_app"]


def call(app: Any, path: str) -> bytes:
    environ: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    blocks: Any = validator(app)(environ, lambda status, headers, exc_info=None: lambda data: None)
    try:
        return b"".join(blocks)
    finally:
        blocks.close()


@pytest.mark.parametrize("path", ["/", "/form", "/try", "/health", "/no/such/page", "/last.json"])
def test_flask_app_conforms(flask_app: ModuleType, path: str) -> None:
    assert call(flask_app.app, path)


def test_recorder_drops_old_requests(flask_app: ModuleType) -> None:
    for _ in range(100):
        call(flask_app.app, "/health")
    assert len(flask_app.recorder.recent()) == 64


@pytest.mark.parametrize("path", ["/", "/text", "/post", "/missing"])
def test_installed_demo_conforms(path: str) -> None:
    demo = pytest.importorskip("rustwsgi.demo")
    assert call(demo.app, path) or path == "/post"


def test_demo_app_conforms() -> None:
    app = runpy.run_path(str(FLASK / "demo_app.py"))["demo_app"]
    assert call(app, "/").startswith(b"Hello, world!\n")


@pytest.mark.parametrize("name", ["flask_app", "demo_app"])
def test_running_the_file_serves_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`python flask_app.py` ends in a call that rustwsgi.serve accepts."""
    rustwsgi = pytest.importorskip("rustwsgi")
    if name == "flask_app":
        pytest.importorskip("flask")
    signature = inspect.signature(rustwsgi.serve)
    calls: list[inspect.BoundArguments] = []
    monkeypatch.setattr(rustwsgi, "serve", lambda *a, **k: calls.append(signature.bind(*a, **k)))
    namespace = runpy.run_path(str(Path(FLASK, f"{name}.py")), run_name="__main__")
    assert len(calls) == 1
    assert calls[0].args[0] is namespace["app"]
