"""Flask over the real server: sessions, uploads, files, streams, and when a request is over."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import urlencode

import pytest

from harness import ServerProcess, build_request
from harness.sites import (
    BOTH_FRAMINGS,
    DOWNLOAD,
    FORM,
    assert_session_goes_on,
    assert_stream_fails,
    events,
    framed,
    multipart,
)
from harness.wsgi import ask, get_json, json_of, new_key

pytest.importorskip("flask")

JSON = ("Content-Type", "application/json")


SITES = {
    "one-thread": ["--threads", "1"],
    "four-threads": ["--threads", "4"],
    "streamed-uploads": ["--threads", "4", "--request-buffering", "off"],
}


@pytest.fixture(params=SITES.values(), ids=SITES)
def site(serve, request: pytest.FixtureRequest) -> ServerProcess:
    return serve("flask_site:app", *request.param)


def test_routes_paths_and_queries(site: ServerProcess) -> None:
    assert site.get("/").text == "hello from Flask\n"
    seen = get_json(site, "/echo/caf%C3%A9%2Fx%20y?a=1&a=%E2%82%AC&b=")
    assert seen["rest"] == "caf\u00e9/x y"
    assert seen["args"] == {"a": ["1", "\u20ac"], "b": [""]}
    assert site.get("/", method="POST", body=b"x").status == 405


def test_session_survives_between_requests(site: ServerProcess) -> None:
    assert_session_goes_on(site)


@BOTH_FRAMINGS
def test_form(site: ServerProcess, how: str) -> None:
    """Werkzeug reads a body without a length only if the server says wsgi.input_terminated."""
    body = urlencode({"text": "caf\u00e9 & co"}).encode()
    answer = json_of(site.get("/echo/x", method="POST", **framed(body, how, FORM, chunk=4)))
    assert answer["form"] == {"text": ["caf\u00e9 & co"]}


@BOTH_FRAMINGS
@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
def test_upload(site: ServerProcess, size: int, how: str) -> None:
    content = b"u" * size
    kind, body = multipart([("note", None, b"n\xc3\xb6te"), ("file", "a \u00fc.bin", content)])
    assert json_of(site.get("/upload", method="POST", **framed(body, how, kind))) == {
        "files": {"file": ["a \u00fc.bin", size, hashlib.sha256(content).hexdigest()]},
        "form": {"note": ["n\u00f6te"]},
    }


def test_upload_over_the_limit_of_the_application(site: ServerProcess) -> None:
    body = b"text=" + b"x" * 500_000
    assert site.get("/too-small", method="POST", fields=[FORM], body=body).status == 413
    assert site.get("/").status == 200


def test_json(site: ServerProcess) -> None:
    value = {"text": "\u20ac", "list": [1, None, True]}
    body = json.dumps(value).encode()
    answer = site.get("/json", method="POST", fields=[JSON], body=body)
    assert json_of(answer) == {"got": value}
    assert site.get("/json", method="POST", fields=[JSON], body=b"{").status == 400


# ------------------------------------------------------------------------------------ responses


@pytest.mark.parametrize("memory", ["", "1"], ids=["on-disk", "in-memory"])
def test_send_file(site: ServerProcess, memory: str) -> None:
    key = new_key()
    response = site.get(f"/file?key={key}&memory={memory}")
    assert response.status == 200 and response.body == DOWNLOAD
    if not memory:
        assert response.framing == "length"
        assert response.get("Content-Disposition") == (
            "attachment; filename=te.bin; filename*=UTF-8''t%C3%A9.bin"
        )
    assert events(site, key, "teardown") == ["begin", "teardown"]


def test_send_file_range(site: ServerProcess) -> None:
    """Werkzeug cuts the range out of the wrapped file, which then must be iterated."""
    response = site.get("/file", fields=[("Range", "bytes=1000-70000")])
    assert response.status == 206 and response.body == DOWNLOAD[1000:70001]
    assert response.get("Content-Range") == f"bytes 1000-70000/{len(DOWNLOAD)}"


def test_send_file_not_modified(site: ServerProcess) -> None:
    with site.connect() as client:
        response = ask(client, "/file", fields=[("If-None-Match", '"an-etag"')])
        assert response.status == 304
        assert ask(client, "/").status == 200


def test_head(site: ServerProcess) -> None:
    with site.connect() as client:
        for path in ("/", "/file", "/abort/404"):
            head, get = ask(client, path, method="HEAD"), ask(client, path)
            assert head.status == get.status and head.body == b"" and get.body
            assert head.get("Content-Length") == get.get("Content-Length")


@pytest.mark.parametrize(
    "path, method, fields, status",
    [
        pytest.param("/stream", "HEAD", [], 200, id="head-of-a-stream"),
        pytest.param("/conditional", "GET", [("If-None-Match", '"an-etag"')], 304, id="304"),
    ],
)
def test_no_content_length_is_invented(site: ServerProcess, path, method, fields, status) -> None:
    """RFC 9110 section 8.6: in these a Content-Length is the one of a GET's 200, or absent.

    Werkzeug returns an empty tuple for both, whose length says nothing.
    """
    response = site.get(path, method=method, fields=fields)
    assert response.status == status
    assert response.get("Content-Length") in (None, str(len(site.get(path).body)))


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 418, 429, 500, 503])
def test_abort(site: ServerProcess, code: int) -> None:
    key = new_key()
    with site.connect() as client:
        response = ask(client, f"/abort/{code}?key={key}")
        assert response.status == code and str(code) in response.text.replace("\u2019", "'")
        assert ask(client, "/").status == 200
    assert events(site, key, "teardown") == ["begin", "teardown"]


def test_failure(site: ServerProcess) -> None:
    key = new_key()
    with site.connect() as client:
        response = ask(client, f"/boom?key={key}")
        assert response.status == 500 and "on purpose" not in response.text
        assert ask(client, "/").status == 200
    assert events(site, key, "teardown RuntimeError") == ["begin", "teardown RuntimeError"]


def test_redirect_and_no_content(site: ServerProcess) -> None:
    with site.connect() as client:
        moved = ask(client, "/redirect")
        assert (moved.status, moved.get("Location")) == (302, "/echo/caf%C3%A9?a=1")
        assert ask(client, "/no-content").status == 204
        assert ask(client, "/").status == 200


# -------------------------------------------------------------------- when a request is over


def test_stream_keeps_its_request(site: ServerProcess) -> None:
    """The context lasts as long as the generator, and is torn down once, before close() ends."""
    key = new_key()
    response = site.get(f"/stream?key={key}")
    assert response.chunks == [b"/stream 0\n", b"/stream 1\n", b"/stream 2\n"]
    seen = events(site, key, "closed")
    assert seen[0] == "begin" and seen.count("left") == seen.count("closed") == 1
    assert "teardown" in seen and not any("Error" in event for event in seen)


@pytest.mark.parametrize("block", [0, 1])
def test_failing_stream_aborts_the_response(site: ServerProcess, block: int) -> None:
    key = new_key()
    assert_stream_fails(site, key, block)
    seen = events(site, key, "closed")
    assert seen.count("left") == seen.count("closed") == 1


def test_stream_to_a_client_that_leaves(site: ServerProcess) -> None:
    key = new_key()
    with site.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/stream?key={key}&count=100000000"))
        assert client.head().status == 200
        client.reset()
    seen = events(site, key, "closed")
    assert seen.count("left") == seen.count("closed") == 1


def test_call_on_close_is_called(site: ServerProcess) -> None:
    key = new_key()
    assert site.get(f"/closing?key={key}").text == "closing\n"
    assert events(site, key, "second") == ["begin", "teardown", "first", "second"]
