"""Pyramid over the real server, started through its application factory."""

from __future__ import annotations

import hashlib
from urllib.parse import urlencode

import pytest

from harness import ServerProcess, build_request
from harness.sites import (
    BOTH_FRAMINGS,
    DOWNLOAD,
    FORM,
    assert_session_goes_on,
    events,
    framed,
    multipart,
)
from harness.wsgi import THREADS, ask, assert_error_500, get_json, json_of, new_key

pytest.importorskip("pyramid")


@pytest.fixture
def site(serve) -> ServerProcess:
    return serve("pyramid_site:main()", *THREADS)


def test_routes_paths_and_queries(site: ServerProcess) -> None:
    assert site.get("/").text == "hello from Pyramid\n"
    seen = get_json(site, "/echo/caf%C3%A9/x%20y?a=1&a=%E2%82%AC", fields=[("Cookie", "c=d")])
    assert seen == {
        "rest": ["caf\u00e9", "x y"],
        "url": "http://HOST/echo/caf%C3%A9/x%20y?a=1&a=%E2%82%AC",
        "params": [["a", "1"], ["a", "\u20ac"]],
        "cookies": {"c": "d"},
    }


def test_session_survives_between_requests(site: ServerProcess) -> None:
    assert_session_goes_on(site)


@BOTH_FRAMINGS
@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_body(site: ServerProcess, size: int, how: str) -> None:
    """WebOb asks CONTENT_LENGTH or wsgi.input_terminated before it reads."""
    content = b"b" * size
    answer = json_of(site.get("/body", method="POST", **framed(content, how)))
    assert answer == {"length": size, "sha256": hashlib.sha256(content).hexdigest()}


def test_form_and_upload(site: ServerProcess) -> None:
    body = urlencode({"text": "caf\u00e9 & co"}).encode()
    seen = json_of(site.get("/echo/x", method="POST", fields=[FORM], body=body))
    assert seen["params"] == [["text", "caf\u00e9 & co"]]
    content = b"u" * 500_000
    kind, body = multipart([("note", None, b"n\xc3\xb6te"), ("file", "a.bin", content)])
    assert json_of(site.get("/upload", method="POST", fields=[kind], body=body)) == {
        "note": "n\u00f6te",
        "name": "a.bin",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_stream(site: ServerProcess) -> None:
    key = new_key()
    response = site.get(f"/stream?key={key}")
    assert response.chunks == [b"block 0\n", b"block 1\n", b"block 2\n"]
    assert sorted(events(site, key, "closed")) == ["begin", "closed", "finished"]


def test_stream_to_a_client_that_leaves(site: ServerProcess) -> None:
    key = new_key()
    with site.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/stream?key={key}&count=100000000"))
        assert client.head().status == 200
        client.reset()
    assert sorted(events(site, key, "closed")) == ["begin", "closed", "finished"]


@pytest.mark.parametrize("query", ["", "?iterated=1"], ids=["response", "iterated"])
def test_file(site: ServerProcess, query: str) -> None:
    response = site.get(f"/file{query}")
    assert response.body == DOWNLOAD and response.complete
    if not query:
        assert response.get("Content-Length") == str(len(DOWNLOAD))
        since = [("If-Modified-Since", response.get("Last-Modified") or "")]
        assert site.get("/file", fields=since).status == 304


def test_head(site: ServerProcess) -> None:
    with site.connect() as client:
        for path in ("/", "/file", "/denied"):
            head, get = ask(client, path, method="HEAD"), ask(client, path)
            assert head.status == get.status and head.body == b"" and get.body
            assert head.get("Content-Length") == get.get("Content-Length")


def test_errors(site: ServerProcess) -> None:
    """Pyramid hands an exception on, so the page and the log are the server's."""
    start = len(site.stderr())
    assert site.get("/no-such-route").status == 404
    assert site.get("/denied").status == 403
    moved = site.get("/redirect")
    assert moved.status == 302 and (moved.get("Location") or "").endswith("/")
    key = new_key()
    assert_error_500(site.get(f"/boom?key={key}"))
    site.wait_for_log("RuntimeError: secret: boom on purpose", start=start)
    assert events(site, key, "finished") == ["begin", "finished"]
