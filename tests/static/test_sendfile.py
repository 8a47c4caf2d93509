"""X-Sendfile and X-Accel-Redirect: the application names a file, and Rust sends it."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from harness import Response, ServerProcess, build_request, wait_until
from harness.supervision import workers

CONTENT = bytes(range(256)) * 1024
OWN = b"the application's own body"


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("sendfile")
    root = top / "root"
    (root / "dir").mkdir(parents=True)
    (root / "a.txt").write_text("hello\n")
    (root / ".hidden").write_text("hidden\n")
    (root / "large.bin").write_bytes(CONTENT)
    (top / "secret").write_text("secret")
    (root / "out").symlink_to("../secret")
    os.mkfifo(root / "pipe")
    os.utime(root / "a.txt", (784111777, 784111777))
    return root


@pytest.fixture
def site(serve, root: Path) -> ServerProcess:
    args = ("--sendfile-root", str(root), "--access-logfile", "-")
    return serve("static_app:app", *args, env={"SENDFILE_ROOT": str(root)})


def send(
    site: ServerProcess, path: str, *fields: tuple[str, str], how: str = "list", **asked: Any
) -> Response:
    method = asked.pop("method", "GET")
    body = json.dumps({"path": path, **asked}).encode()
    return site.get(f"/send/{how}", method=method, fields=fields, body=body)


@pytest.mark.parametrize("how", ["list", "empty", "generator", "write", "closing"])
@pytest.mark.parametrize("field", ["X-Sendfile", "x-accel-redirect"])
@pytest.mark.parametrize("name", ["a.txt", "large.bin"])
def test_named_file_replaces_the_body(site, root, how, field, name):
    response = send(site, f"ROOT/{name}", how=how, field=field)
    assert (response.status, response.body) == (200, (root / name).read_bytes())
    assert response.get(field) is None
    assert response.framing == "length"
    assert response.get("ETag") and response.get("Last-Modified")


def test_fields_of_the_application_are_kept(site):
    headers = [
        ("Content-Type", "application/x-own"),
        ("Content-Disposition", 'attachment; filename="x"'),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "26"),
        ("Cache-Control", "private"),
    ]
    response = send(site, "ROOT/a.txt", headers=headers)
    assert response.body == b"hello\n"
    assert response.get("Content-Length") == "6"
    for name, value in headers:
        assert name == "Content-Length" or value in response.get_all(name)
    assert response.get_all("Set-Cookie") == ["a=1", "b=2"]


def test_media_type_is_that_of_the_file_if_there_is_none(site):
    assert send(site, "ROOT/a.txt").get("Content-Type") == "text/plain; charset=utf-8"


def test_body_of_the_application_is_closed(site):
    before = int(site.get("/closed").text)
    assert send(site, "ROOT/a.txt", how="closing").body == b"hello\n"
    # It may be closed a moment after the last byte.
    wait_until(lambda: int(site.get("/closed").text) > before, "the body is closed")
    assert int(site.get("/closed").text) == before + 1


def test_conditions_and_ranges_apply(site):
    etag = send(site, "ROOT/a.txt").get("ETag") or ""
    for fields, status, body in (
        ([("If-None-Match", etag)], 304, b""),
        ([("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")], 304, b""),
        ([("If-Match", '"x"')], 412, b"412 Precondition Failed\n"),
        ([("Range", "bytes=1-2")], 206, b"el"),
        ([("Range", "bytes=9-")], 416, b"416 Range Not Satisfiable\n"),
    ):
        response = send(site, "ROOT/a.txt", *fields, headers=[("Set-Cookie", "a=1")])
        assert (response.status, response.body) == (status, body)
    response = send(site, "ROOT/large.bin", ("Range", "bytes=0-9,100000-200000"))
    assert response.status == 206
    assert CONTENT[100000:200001] in response.body
    assert send(site, "ROOT/a.txt", ("Range", "bytes=0-1"), method="HEAD").status == 200


def test_validators_of_the_application_are_used(site):
    headers = [("ETag", '"own"')]
    response = send(site, "ROOT/a.txt", ("If-None-Match", '"own"'), headers=headers)
    assert (response.status, response.get_all("ETag")) == (304, ['"own"'])


def test_other_status_is_kept_and_has_no_conditions(site):
    response = send(site, "ROOT/a.txt", ("If-None-Match", "*"), status="403 Forbidden")
    assert (response.status, response.body) == (403, b"hello\n")
    assert send(site, "ROOT/a.txt", ("Range", "bytes=0-1"), method="POST").body == b"hello\n"


def test_partial_response_of_the_application_is_that_of_the_named_file(site):
    """Flask's `send_file()` evaluates Range and names the file all the same."""
    own = {"status": "206 Partial Content", "headers": [("Content-Range", "bytes 1-2/6")]}
    response = send(site, "ROOT/a.txt", ("Range", "bytes=1-2"), **own)
    assert (response.status, response.body) == (206, b"el")
    assert response.get_all("Content-Range") == ["bytes 1-2/6"]
    for method, fields in (("GET", []), ("HEAD", [("Range", "bytes=1-2")]), ("POST", [])):
        response = send(site, "ROOT/a.txt", *fields, method=method, **own)
        assert (response.status, response.get("Content-Length")) == (200, "6"), method
        assert response.get("Content-Range") is None


def test_ranges_that_the_application_refuses_are_ignored(site):
    headers = [("Accept-Ranges", "none")]
    response = send(site, "ROOT/a.txt", ("Range", "bytes=1-2"), headers=headers)
    assert (response.status, response.body) == (200, b"hello\n")
    assert response.get_all("Accept-Ranges") == ["none"]


FLASK = """
import os
from flask import Flask, send_file
app = Flask(__name__)
app.config["USE_X_SENDFILE"] = True

@app.get("/file")
def file():
    return send_file(os.environ["SENDFILE_ROOT"] + "/a.txt")
"""


def test_file_of_flask_is_sent(fresh_server, root, tmp_path):
    pytest.importorskip("flask")
    (tmp_path / "flask_files.py").write_text(FLASK)
    args = ("--sendfile-root", str(root), "--chdir", str(tmp_path))
    site = fresh_server("flask_files:app", *args, env={"SENDFILE_ROOT": str(root)})
    whole = site.get("/file")
    assert (whole.status, whole.body) == (200, b"hello\n")
    etag = whole.get("ETag") or ""
    for fields, status, body in (
        ([("Range", "bytes=1-2")], 206, b"el"),
        ([("Range", "bytes=1-2"), ("If-Range", etag)], 206, b"el"),
        ([("Range", "bytes=1-2"), ("If-Range", '"other"')], 200, b"hello\n"),
        ([("If-None-Match", etag)], 304, b""),
    ):
        response = site.get("/file", fields=fields)
        assert (response.status, response.body) == (status, body), fields
        assert (response.get("Content-Range") == "bytes 1-2/6") == (status == 206)


def test_missing_file_is_404(site):
    for path in ("missing", "dir", "pipe", "", "a.txt/b"):
        response = send(site, f"ROOT/{path}")
        assert (response.status, response.body) == (404, b"404 Not Found\n"), path


def test_hidden_file_is_the_application_s_decision(site):
    assert send(site, "ROOT/.hidden").body == b"hidden\n"


def test_file_outside_of_the_roots_is_a_failure(fresh_server, root):
    """It is counted, and logged at a limited rate: a client may choose the path."""
    options = ("--sendfile-root", str(root))
    site = fresh_server("static_app:app", *options, env={"SENDFILE_ROOT": str(root)})
    outside = ('/etc/"passwd', "ROOT/../secret", "ROOT/out", "a.txt", "ROOTx", "/", "ROOT/../../e")
    for path in outside:
        response = send(site, path)
        assert (response.status, response.body) == (500, b"500 Internal Server Error\n"), path
    site.wait_for_event("sendfile.outside", r'"/etc/\\"passwd": GET /send/list \(1 response,')
    assert site.counters() == {"sendfile_outside": len(outside)}
    assert site.stderr().count("[sendfile.outside]") == 1


def test_server_without_descriptors_rejects_the_request(fresh_server, root):
    site = fresh_server(
        "static_app:app", "--sendfile-root", str(root), env={"SENDFILE_ROOT": str(root)}
    )
    body = json.dumps({"path": "ROOT/a.txt"}).encode()
    request = build_request("GET", "/send/list", body=body)
    with site.connect() as client:
        assert client.request(request).body == b"hello\n"
        (worker,) = workers(site, 1)
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        # Below the lowest free number.
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
        rejected = [client.request(request) for _ in range(3)]
        assert [(r.status, r.get("Retry-After")) for r in rejected] == [(503, "5")] * 3
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        assert client.request(request).body == b"hello\n"
    site.wait_for_event(
        "sendfile.failed", r'root/a.txt", Too many open files .*\(1 response, with 503'
    )
    assert site.counters() == {"sendfile_failed": 3}
    assert site.stderr().count("[sendfile.failed]") == 1


def test_access_log_has_the_size_of_the_file(site):
    send(site, "ROOT/large.bin")
    site.wait_for_stdout(rf'"GET /send/list HTTP/1.1" 200 {len(CONTENT)} ')


def test_without_a_root_the_fields_are_sent_to_the_proxy(serve):
    site = serve("static_app:app")
    response = send(site, "/etc/passwd")
    assert (response.status, response.body) == (200, OWN)
    assert response.get("X-Sendfile") == "/etc/passwd"
