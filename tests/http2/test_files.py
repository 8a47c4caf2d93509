"""Files over HTTP/2: static ones, those that the application names, and `wsgi.file_wrapper`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.http2 import http2
from harness.wsgi import events, new_key

LARGE = bytes(range(256)) * 8192


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    (root / "a.txt").write_bytes(b"hello\n")
    (root / "large.bin").write_bytes(LARGE)
    return root


@pytest.fixture
def site(plain, tree: Path):
    return plain("static_app:app", "--static", f"/static={tree}")


def test_static_file_is_sent(site) -> None:
    with http2(site) as client:
        small = client.request("/static/a.txt")
        assert (small.status, small.body) == (200, b"hello\n")
        assert small.all("content-length") == ["6"]
        etag = small.all("etag")
        assert client.request("/static/large.bin").body == LARGE
        assert client.request("/static/none").status == 404
        head = client.request("/static/a.txt", method="HEAD")
        assert (head.status, head.body, head.all("content-length")) == (200, b"", ["6"])
        same = client.request("/static/a.txt", fields=[("if-none-match", etag[0])])
        assert (same.status, same.body) == (304, b"")
        part = client.request("/static/large.bin", fields=[("range", "bytes=100-299")])
        assert (part.status, part.body) == (206, LARGE[100:300])
        assert client.request("/static/a.txt", body=b"x").status == 405


@pytest.mark.parametrize("name", ["a.txt", "large.bin"])
def test_file_that_the_application_names_is_sent(fresh_plain, tree: Path, name: str) -> None:
    options = ("--sendfile-root", str(tree))
    server = fresh_plain("static_app:app", *options, env={"SENDFILE_ROOT": str(tree)})
    with http2(server) as client:
        body = json.dumps({"path": f"ROOT/{name}"}).encode()
        response = client.request("/send/list", body=body)
        assert response.body == (tree / name).read_bytes()
        assert not response.all("x-sendfile")


def test_file_that_shrinks_while_it_is_sent_is_a_reset(plain) -> None:
    """The client must not take what it has for the whole file."""
    server = plain("wsgi_file:app", "--threads", "4")
    start = len(server.stderr())
    with http2(server, reads=False) as client:
        stream = client.start("/shrinking")
        while not client.streams[stream].blocks:
            assert client.receive()
        assert server.get("/shrink").status == 200
        client.reads = True
        client.h2.increment_flow_control_window(2**24)
        client.h2.increment_flow_control_window(2**24, stream)
        client.flush()
        response = client.wait(stream)
    assert response.status == 200 and response.reset == 2, "INTERNAL_ERROR"
    length = int(response.all("content-length")[0])
    assert len(response.body) < length and not response.body.strip(b"\0")
    server.wait_for_log(r"\[ERROR\].*shrank", start=start)


def test_file_is_closed_when_its_stream_is_reset(plain) -> None:
    server, key = plain("wsgi_file:app", "--threads", "4"), new_key()
    with http2(server, reads=False) as client:
        stream = client.start(f"/noting/big?key={key}")
        while not client.streams[stream].blocks:
            assert client.receive()
        client.h2.reset_stream(stream, 8)
        # Unread content of the stream fills the window of the connection.
        client.reads = True
        client.h2.increment_flow_control_window(2**20)
        client.flush()
        assert events(server, key, want="close").count("close") == 1
        assert client.request("/file/file").status == 200, "the connection goes on"


def test_files_of_several_streams_are_sent_side_by_side(site) -> None:
    """Each is larger than its window; a small one does not wait for them."""
    with http2(site) as client:
        streams = [client.start("/static/large.bin") for _ in range(8)]
        small = client.start("/static/a.txt")
        assert client.wait(small).body == b"hello\n"
        assert not any(client.streams[stream].done for stream in streams)
        client.wait(*streams)
        assert {client.streams[stream].body for stream in streams} == {LARGE}
