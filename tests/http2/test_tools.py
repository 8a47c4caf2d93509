"""Clients that this project did not write get every page of the demo over HTTP/2."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import ROOT, TIMEOUT, build_request
from harness.ways import HTTP2_WAYS, Ways
from harness.wsgi import THREADS

pytest.importorskip("flask")

DEMO = ROOT / "flask_application"
PAGES = ["/", "/form", "/upload", "/stream", "/try", "/download", "/echo", "/health"]
PAGES += ["/last.json", "/favicon.ico", "/static/style.css", "/static/favicon.svg"]
#: These do not show how they were requested.
EQUAL = ["/form", "/upload", "/stream", "/try", "/download", "/health", "/static/style.css"]


def needs(tool: str, package: str) -> pytest.MarkDecorator:
    reason = f"needs {tool}: on Debian, apt-get install {package}"
    return pytest.mark.skipif(shutil.which(tool) is None, reason=reason)


@pytest.fixture
def demo(both) -> Ways:
    return both("flask_app:app", *THREADS, "--static", "auto", "--chdir", str(DEMO))


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(demo: Ways, way: str, page: str) -> bytes:
    """What HTTP/1.1 gives."""
    host = [("Host", demo.url(way).partition("//")[2])]
    with demo.connect("https/1.1" if way == "h2" else "http/1.1") as client:
        return client.request(build_request("GET", page, fields=host)).body


def curl_protocol() -> str | None:
    """Why this curl cannot be used, or None."""
    if shutil.which("curl") is None:
        return "needs curl: on Debian, apt-get install curl"
    return None if "HTTP2" in run("curl", "--version") else "this curl has no HTTP/2"


@pytest.mark.skipif(curl_protocol() is not None, reason=curl_protocol() or "")
@pytest.mark.parametrize(
    ("way", "option"),
    [("h2", "--http2"), ("h2c", "--http2-prior-knowledge"), ("h2c", "--http2")],
    ids=["tls", "prior-knowledge", "upgrade"],
)
def test_curl_gets_every_page(demo: Ways, authority, tmp_path: Path, way: str, option: str) -> None:
    command = ["curl", "-sS", option, "--cacert", str(authority.file), "--noproxy", "*"]
    command += ["--resolve", f"localhost:{demo.url(way).rpartition(':')[2]}:127.0.0.1"]
    file = tmp_path / "page"
    command += ["-w", "%{http_version} %{http_code}", "-o", str(file)]
    # One by one: without TLS, curl 7.88 cannot use a connection again.
    for page in PAGES:
        assert run(*command, demo.url(way) + page) == "2 200", page
        assert page not in EQUAL or file.read_bytes() == expected(demo, way, page), page


@needs("nghttp", "nghttp2-client")
@pytest.mark.parametrize(
    ("way", "options"),
    [("h2", []), ("h2c", []), ("h2c", ["-u"]), ("h2", ["-a"])],
    ids=["tls", "prior-knowledge", "upgrade", "assets"],
)
def test_nghttp_gets_every_page(demo: Ways, way: str, options: list[str]) -> None:
    urls = [demo.url(way) + page for page in PAGES]
    table = run("nghttp", "-nsy", *options, *urls)
    found = re.findall(r"^ *\d+ .* (\d{3}) +\S+ (/\S*)$", table, re.MULTILINE)
    assert {status for status, _ in found} == {"200"}, table
    assert {path for _, path in found} >= set(PAGES), table


@needs("h2load", "nghttp2-client")
@pytest.mark.parametrize("way", HTTP2_WAYS)
def test_h2load_gets_every_page(demo: Ways, way: str) -> None:
    urls = [demo.url(way) + page for page in PAGES]
    count = 10 * len(PAGES)
    report = run("h2load", "-n", str(count), "-c", "2", "-m", "10", "-t", "1", *urls)
    assert f"Application protocol: {way}" in report
    assert re.search(
        rf"^requests: {count} total, .* {count} succeeded, 0 failed", report, re.MULTILINE
    )
    assert re.search(rf"^status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx", report, re.MULTILINE)


@pytest.mark.parametrize("way", HTTP2_WAYS)
def test_httpx_gets_every_page(demo: Ways, way: str) -> None:
    httpx = pytest.importorskip("httpx", reason="needs httpx: pip install httpx")
    transport = httpx.HTTPTransport(
        http1=way == "h2", http2=True, verify=demo.contexts["h2"], trust_env=False
    )
    with httpx.Client(transport=transport, base_url=demo.url(way), timeout=TIMEOUT) as client:
        for page in PAGES:
            response = client.get(page)
            assert (response.http_version, response.status_code) == ("HTTP/2", 200), page
            if page in EQUAL:
                assert response.content == expected(demo, way, page), page
        form = client.post("/form", data={"name": "Zo\u00eb", "message": "one & two"})
        assert "Zo\u00eb" in form.text and "one &amp; two" in form.text
        upload = client.post("/upload", files={"file": ("a.bin", b"x" * 3_000_000)})
        assert upload.status_code == 200 and "a.bin" in upload.text
        assert client.get("/missing").status_code == 404
        with client.stream("GET", "/download") as download:
            size = sum(len(piece) for piece in download.iter_bytes())
        assert size == 1 << 20
