"""PEP 3333 "Optional Platform-Specific File Handling": wsgi.file_wrapper."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from harness import NoResponse, ServerProcess, build_request, wait_until
from harness.wsgi import THREADS, ask, assert_error_500, events, get_json, json_of, new_key

from wsgi_file import BIG_SIZE, CONTENT, FILES, made_up  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_file:app", *THREADS)


# ------------------------------------------------------------------------------------- content


@pytest.mark.parametrize("size", ["", "&size=7", "&size=100000"], ids=["", "small", "large"])
@pytest.mark.parametrize("length", ["", "exact"], ids=["no-length", "length"])
@pytest.mark.parametrize("name", FILES)
def test_file_content_is_sent(server, name, length, size):
    """Sent from its logical position: buffered bytes count as unread."""
    content = FILES[name][1]
    with server.connect() as client:
        for _ in range(2):
            response = ask(client, f"/file/{name}?length={length}{size}")
            assert response.status == 200
            assert response.body == content and response.complete
            if length:
                assert response.framing == "length"
                assert response.get("Content-Length") == str(len(content))
            else:
                assert response.framing in ("chunked", "length")


@pytest.mark.parametrize("name", ["file", "offset", "read-ahead", "bytesio", "empty", "pipe"])
def test_file_for_http10_is_sent(server, name):
    response = server.get(f"/file/{name}", version="HTTP/1.0")
    assert response.framing in ("close", "length")
    assert response.body == FILES[name][1] and response.complete


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="Linux counts packets")
def test_head_and_file_share_a_packet(server):
    """A packet for the head alone woke the client, which then read while the file was sent: half
    as many responses of 1 MiB. A server that is delayed for 200 ms between the two makes the kernel
    send the head alone: no defect, but it does not happen five times in a row."""
    with server.connect() as client:

        def received():
            """`tcpi_data_segs_in` of `struct tcp_info`, see linux/tcp.h."""
            info = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
            return struct.unpack_from("I", info, 152)[0]

        def packets():
            before = received()
            assert ask(client, "/file/file?length=10").body == CONTENT[:10]
            return received() - before

        assert any(packets() == 1 for _ in range(5))


REAL = ["file", "unbuffered", "temporary", "offset", "read-ahead", "bytesio", "only-read", "gzip"]


@pytest.mark.parametrize("number", [0, 1, 10, 8192, 20001])
@pytest.mark.parametrize("name", REAL)
def test_content_length_bounds_what_is_sent(server, name, number):
    with server.connect() as client:
        response = ask(client, f"/file/{name}?length={number}")
        assert response.status == 200
        assert response.get("Content-Length") == str(number)
        expected = FILES[name][1][:number]
        if response.complete:
            assert response.body == expected
            try:
                assert ask(client, "/file/empty").body == b""
            except (NoResponse, ConnectionResetError, BrokenPipeError):
                pass  # too much from an application may cost it the connection
        else:
            assert expected.startswith(response.body)


@pytest.mark.parametrize("name", REAL)
def test_file_shorter_than_content_length_aborts(server, name):
    content = FILES[name][1]
    with server.connect() as client:
        raw = build_request("GET", f"/file/{name}?length={len(content) + 1}")
        client.send(raw + build_request("GET", "/file/empty"))
        response = client.response()
        assert response.status == 200
        assert response.body == content and not response.complete


@pytest.mark.parametrize("name", ["empty", "bytesio-empty", "offset-at-end"])
def test_empty_file_shorter_than_content_length_aborts(server, name):
    with server.connect() as client:
        response = ask(client, f"/file/{name}?length=10")
        if response.status == 500:  # nothing was sent before, so there was time to see it
            assert_error_500(response)
        else:
            assert response.body == b"" and not response.complete


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", ["", "exact"], ids=["no-length", "length"])
def test_head_of_a_file_has_no_body(server, name, length):
    with server.connect() as client:
        response = ask(client, f"/file/{name}?length={length}", method="HEAD")
        assert response.status == 200
        if length:
            assert response.get("Content-Length") == str(len(FILES[name][1]))
        assert ask(client, f"/file/{name}?length={length}").body == FILES[name][1]


@pytest.mark.parametrize("name", ["file", "bytesio"])
@pytest.mark.parametrize("status", ["204+No+Content", "304+Not+Modified"])
def test_status_without_body_sends_no_body(server, name, status):
    with server.connect() as client:
        response = ask(client, f"/file/{name}?status={status}")
        assert response.status == int(status[:3])
        assert ask(client, "/file/file").body == CONTENT


def test_pipelined_files_come_in_order(server):
    names = ["file", "offset", "bytesio", "read-ahead", "empty", "gzip", "file"]
    with server.connect() as client:
        for name in names:
            client.send(build_request("GET", f"/file/{name}?length=exact"))
        for name in names:
            response = client.response()
            assert response.body == FILES[name][1] and response.complete


# ------------------------------------------------------------------------------------- by hand

FIRST = 1000
BY_HAND = {
    "list": CONTENT,
    "generator": CONTENT,
    "upper": CONTENT.upper(),
    "partly": b"1000 " + CONTENT[FIRST:],
    "write": b"written " + CONTENT,
    "sizes": repr((1000, 1000, len(CONTENT))).encode(),
    "twice": CONTENT,
}


@pytest.mark.parametrize("how, expected", BY_HAND.items(), ids=BY_HAND)
def test_wrapper_is_a_plain_iterable(server, how, expected):
    """Middleware may iterate it; its blocks have the requested size."""
    response = server.get(f"/by-hand/{how}")
    assert response.status == 200
    assert response.body == expected and response.complete


def test_wrapper_has_the_attributes_of_the_pep(server):
    found = get_json(server, "/attributes")
    assert found == {"close": True, "no_close_is_harmless": True, "iterator": True}


def test_file_without_close(server):
    assert server.get("/no-close").body == CONTENT


@pytest.mark.skipif(made_up(0) == b"", reason="needs /proc")
@pytest.mark.parametrize("name", ["made-up", "made-up-unbuffered", "made-up-with-a-size"])
def test_virtual_file_is_iterated(server, name):
    """Regression: a file without a size, or with a wrong one, was sent empty or cut off."""
    content = FILES[name][1]
    with server.connect() as client:
        for length in ("", "exact"):
            response = ask(client, f"/file/{name}?length={length}")
            assert response.body == content and response.complete


@pytest.mark.parametrize("name", ["text", "stringio", "none", "closed", "directory", "write-only"])
def test_wrong_file_is_a_500(server, name):
    """Regression: of a write-only file the kernel sent nothing, and the connection broke."""
    response = server.get(f"/wrong/{name}")
    assert_error_500(response)
    assert response.get("X-First") is None
    assert CONTENT[:20] not in response.body


# --------------------------------------------------------------------------------------- close


def test_plain_file_is_closed(server):
    with server.connect() as client:
        assert ask(client, "/closed").body == CONTENT
        # The client may have the whole file before close() is called.
        wait_until(lambda: json_of(ask(client, "/closed?look=1")) is True, "it is closed")


CASES = {
    "complete": ("GET", ""),
    "length": ("GET", f"&length={len(CONTENT)}"),
    "over": ("GET", "&length=10"),
    "under": ("GET", f"&length={len(CONTENT) + 10}"),
    "zero": ("GET", "&length=0"),
    "head": ("HEAD", ""),
    "head-length": ("HEAD", f"&length={len(CONTENT)}"),
    "not-modified": ("GET", "&status=304+Not+Modified"),
    "never-started": ("GET", "&never=1"),
}


@pytest.mark.parametrize("how", ["object", "raw", "buffered"])
@pytest.mark.parametrize("method, extra", CASES.values(), ids=CASES)
def test_file_is_closed_once(server, method, extra, how):
    key = new_key()
    with server.connect() as client:
        response = ask(client, f"/noting/{how}?key={key}{extra}", method=method)
        assert (response.status == 500) == ("never" in extra)
        if how == "object":
            assert events(server, key, want="freed").count("close") == 1
        else:
            assert events(server, key, want="close") == ["close"]


@pytest.mark.parametrize("how", ["fails-first", "fails-later"])
def test_read_error_aborts(server, how):
    key = new_key()
    with server.connect() as client:
        response = ask(client, f"/noting/{how}?key={key}&length={len(CONTENT)}")
        if how == "fails-first":
            assert_error_500(response)
        else:
            assert response.status == 200 and not response.complete
            assert response.body and CONTENT.startswith(response.body)
    assert events(server, key, want="freed").count("close") == 1
    server.wait_for_log("secret read error")


@pytest.mark.parametrize("leave", ["reset", "close"])
@pytest.mark.parametrize("how", ["big", "big-object"])
@pytest.mark.parametrize("length", ["", f"&length={BIG_SIZE}"], ids=["no-length", "length"])
def test_file_is_closed_when_the_client_leaves(server, how, leave, length):
    key = new_key()
    client = server.connect(receive_buffer=4096)
    client.send(build_request("GET", f"/noting/{how}?key={key}{length}"))
    assert client.head().status == 200
    getattr(client, leave)()
    assert events(server, key, want="close").count("close") == 1


# ----------------------------------------------------------------------- changes while sending


def test_file_that_shrinks_while_it_is_sent_aborts(server):
    """No padding, no crash (a mapped file would raise SIGBUS), no endless wait, and an error in the
    log."""
    start = len(server.stderr())
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/shrinking"))
        head = client.head()
        assert head.get("Content-Length") == str(BIG_SIZE)
        get_json(server, "/shrink")
        received = 0
        with pytest.raises(ConnectionResetError):
            while data := client.read(1 << 20):
                received += len(data)
                assert data.count(0) == len(data)
        assert received < BIG_SIZE, "the file was no longer that long"
    server.wait_for_log(r"\[ERROR\].*shrank", start=start)
    assert server.get("/file/file").body == CONTENT


def test_file_that_grew_is_bounded_by_its_length(server):
    with server.connect() as client:
        for _ in range(2):
            response = ask(client, "/growing")
            assert response.body == CONTENT and response.complete


def test_large_file_is_whole(server):
    """Larger than every socket buffer, with a client that reads."""
    key = new_key()
    response = server.get(f"/noting/big?key={key}&length={BIG_SIZE}")
    assert response.complete and len(response.body) == BIG_SIZE
    assert not response.body.strip(b"\0")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_descriptor_is_left_open(fresh_server):
    server = fresh_server("wsgi_file:app", "--threads", "1")
    with server.connect() as client:

        def round_trip() -> int:
            for name in FILES:
                assert ask(client, f"/file/{name}").status == 200
                assert ask(client, f"/file/{name}", method="HEAD").status == 200
            return json_of(ask(client, "/descriptors"))

        before = round_trip()
        assert round_trip() == round_trip() == before
