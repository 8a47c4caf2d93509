"""Large responses and slow readers over TLS: the bounds of plain connections hold."""

from __future__ import annotations

import hashlib

import pytest

from harness import build_request, wait_until

GET = build_request()
SIZE = 20_000_000

APP = """
import os
BLOCK = bytes(range(256)) * 256
SIZE = 20_000_000
def app(environ, start_response):
    kind = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Length", str(SIZE))])
    if kind == "/file":
        path = os.path.join(os.path.dirname(__file__), "data")
        return environ["wsgi.file_wrapper"](open(path, "rb"))
    if kind == "/whole":
        return [(BLOCK * (SIZE // len(BLOCK) + 1))[:SIZE]]
    return blocks(SIZE)
def blocks(size):
    while size:
        block = BLOCK[:min(size, len(BLOCK))]
        size -= len(block)
        yield block
"""


@pytest.fixture
def large(fresh_secure, tmp_path):
    def start(*args: str):
        (tmp_path / "large.py").write_text(APP)
        block = bytes(range(256)) * 256
        data = (block * (SIZE // len(block) + 1))[:SIZE]
        (tmp_path / "data").write_bytes(data)
        server = fresh_secure("large:app", *args, cwd=tmp_path)
        return server, hashlib.sha256(data).digest()

    return start


@pytest.mark.parametrize("kind", ["/file", "/whole", "/blocks"])
def test_large_response_arrives_complete(large, kind: str) -> None:
    server, digest = large()
    with server.connect() as client:
        for _ in range(2):
            response = client.request(build_request("GET", kind))
            assert hashlib.sha256(response.body).digest() == digest


@pytest.mark.parametrize("kind", ["/file", "/whole", "/blocks"])
def test_client_that_does_not_read_is_dropped(large, kind: str) -> None:
    server, _ = large("--write-timeout", "0.5", "--threads", "1")
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", kind))
        wait_until(lambda: server.counters().get("write_timeout") == 1, "it is dropped")
        with pytest.raises(ConnectionResetError):
            client.rest()


@pytest.mark.parametrize("kind", ["/file", "/whole", "/blocks"])
def test_slow_reader_gets_all_and_holds_no_thread(large, kind: str) -> None:
    server, digest = large("--threads", "1")
    with server.connect(receive_buffer=65536) as client:
        client.send(build_request("GET", kind))
        head = client.head()
        assert head.status == 200
        # The thread is free, or will be soon: another request is answered.
        with server.connect() as other:
            assert hashlib.sha256(other.request(GET).body).digest() == digest
        client.read_body(head, "GET")
        assert hashlib.sha256(head.body).digest() == digest


def test_file_that_shrinks_ends_the_connection_only(large, tmp_path) -> None:
    server, _ = large()
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/file"))
        client.read(1000)
        with open(tmp_path / "data", "r+b") as data:
            data.truncate(1000)
        with pytest.raises(ConnectionResetError):
            client.rest()
    assert server.get("/whole").status == 200


def test_upload_of_a_streaming_application_arrives(fresh_secure) -> None:
    server = fresh_secure("echo:app", "--request-buffering", "off")
    body = bytes(range(256)) * 40_000
    with server.connect() as client:
        for _ in range(2):
            echoed = client.request(build_request("POST", body=body)).json()
            assert echoed["length"] == len(body)
            assert echoed["sha256"] == hashlib.sha256(body).hexdigest()
