"""Clients that attack: each is bounded and counted, and the others are served."""

from __future__ import annotations

import contextlib
import os
import time

import pytest

from harness import TIMEOUT, wait_until
from harness.http2 import Http2Client, frame, http2

ENHANCE_YOUR_CALM = 11
HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 1, 3, 4, 6, 8, 9


def head_block(client: Http2Client, path: str = "/") -> bytes:
    """A compressed head that uses no dynamic table."""
    authority = b"localhost"
    return b"\x82\x86\x04" + bytes([len(path)]) + path.encode() + b"\x01\x09" + authority


def expect_calm(client: Http2Client) -> None:
    """The server ends the connection with ENHANCE_YOUR_CALM, or has already ended it."""
    client.wait_for_end()
    assert client.goaway is None or client.goaway[0] == ENHANCE_YOUR_CALM


def send_until_end(client: Http2Client, data: bytes, times: int) -> None:
    try:
        for _ in range(times):
            client.send_raw(data)
    except OSError:
        pass  # the server has ended the connection


def counted(server, name: str) -> bool:
    wait_until(lambda: server.counters().get(name, 0) > 0, name)
    return True


def test_rapid_reset_in_one_packet_ends_the_connection(fresh_plain) -> None:
    """CVE-2023-44487: streams that are reset before they can be accepted."""
    server = fresh_plain("echo:app")
    with http2(server) as client:
        block = head_block(client)
        pairs = [
            frame(HEADERS, 5, stream, block) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
            for stream in range(1, 2000, 2)
        ]
        send_until_end(client, b"".join(pairs), 1)
        expect_calm(client)
    counters = server.counters()
    assert counters.get("http2_resets") or counters.get("http2_excess")
    with http2(server) as client:
        assert client.request().status == 200
    assert len(server.calls_since_last_asked()) < 300


def test_slow_rapid_reset_ends_the_connection(fresh_plain, tmp_path) -> None:
    """Each reset comes when the request has been accepted. The server allows 100 in a second, so
    the client sends many of them together: it may itself be slow. With a lower
    limit of streams the server would refuse some, because those that were reset wait for the thread."""
    server = fresh_plain("overload:app", "--threads", "1", "--http2-max-concurrent-streams", "1000")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "localhost")]
    with http2(server) as other, http2(server) as client:
        held = other.start(f"/hold?{pipe}")
        server.wait_for_log("held")
        deadline = time.monotonic() + TIMEOUT
        try:
            while time.monotonic() < deadline:
                # Fewer than one read of the server may have: see the test above.
                streams = [client.h2.get_next_available_stream_id() + 2 * n for n in range(40)]
                for stream in streams:
                    client.h2.send_headers(stream, head, end_stream=True)
                client.flush()
                client.synchronize()
                for stream in streams:
                    client.h2.reset_stream(stream, 8)
                client.flush()
                client.synchronize()
        except (AssertionError, OSError):
            pass
        else:
            pytest.fail(f"the server has allowed {streams[-1] // 2} resets")
        expect_calm(client)
        pipe.write_bytes(b"")
        assert other.wait(held).status == 200
    assert counted(server, "http2_resets")


def test_continuation_flood_ends_the_connection(fresh_plain) -> None:
    """CVE-2024-27316: a head without end."""
    server = fresh_plain("echo:app")
    with http2(server) as client:
        client.send_raw(frame(HEADERS, 1, 1, head_block(client)))
        send_until_end(client, frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y" * 1000), 2000)
        client.wait_for_end()
    with http2(server) as client:
        assert client.request().status == 200


def test_empty_continuation_flood_ends_the_connection(fresh_plain) -> None:
    server = fresh_plain("echo:app")
    with http2(server) as client:
        client.send_raw(frame(HEADERS, 1, 1, head_block(client)))
        send_until_end(client, frame(CONTINUATION, 0, 1) * 100, 100)
        client.wait_for_end()
    assert counted(server, "http2_excess")


@pytest.mark.parametrize(
    "flood",
    [
        frame(SETTINGS, 0, 0),
        frame(PING, 0, 0, b"12345678"),
        frame(2, 0, 1, b"\0\0\0\0\x10"),
        frame(0xBB, 0, 0),
    ],
    ids=["settings", "ping", "priority", "unknown"],
)
def test_control_frame_flood_ends_the_connection(fresh_plain, flood: bytes) -> None:
    """CVE-2019-9512, CVE-2019-9515: frames that carry nothing."""
    server = fresh_plain("echo:app")
    with http2(server) as client:
        client.request()
        send_until_end(client, flood * 500, 10)
        expect_calm(client)
    assert counted(server, "http2_control_frames")


def test_empty_data_flood_ends_the_connection(fresh_plain) -> None:
    """CVE-2019-9518"""
    server = fresh_plain("echo:app")
    with http2(server) as client:
        stream = client.start(method="POST", end=False)
        send_until_end(client, frame(0, 0, stream) * 500, 10)
        expect_calm(client)


def test_provoked_resets_end_the_connection(fresh_plain) -> None:
    """CVE-2025-8671: the server resets streams because of invalid frames."""
    server = fresh_plain("echo:app")
    with http2(server) as client:
        block = head_block(client)
        for stream in range(1, 1001, 2):
            # A window update of 0 is an error of the stream.
            data = frame(HEADERS, 4, stream, block) + frame(WINDOW_UPDATE, 0, stream, bytes(4))
            try:
                client.send_raw(data)
            except OSError:
                break
        client.wait_for_end()
    counters = server.counters()
    assert counters.get("http2_excess") or counters.get("malformed")
    with http2(server) as client:
        assert client.request().status == 200


def test_header_bomb_is_refused(fresh_plain) -> None:
    """A small block that names one large field of the dynamic table again and again."""
    server = fresh_plain("echo:app")
    with http2(server) as client:
        value = b"v" * 4000
        field = b"\x40\x01x\x7f" + bytes(
            [(len(value) - 127) % 128 + 128, (len(value) - 127) // 128]
        )
        block = head_block(client) + field + value + b"\xbe" * 16000
        chunks = [block[at : at + 16000] for at in range(0, len(block), 16000)]
        data = frame(HEADERS, 1, 1, chunks[0])
        for number, chunk in enumerate(chunks[1:], 2):
            data += frame(CONTINUATION, 4 if number == len(chunks) else 0, 1, chunk)
        send_until_end(client, data, 1)
        while not client.streams[1].done and client.receive():
            pass
        refused = client.streams[1].status == 431 or client.streams[1].reset is not None
        assert refused or client.closed
    with http2(server) as client:
        assert client.request().status == 200
    assert not [call for call in server.calls_since_last_asked() if call["port"] is None]


def test_requests_that_were_reset_still_count(fresh_plain, tmp_path) -> None:
    """A reset does not free the thread: a client cannot keep more busy than it has streams."""
    server = fresh_plain("overload:app", "--http2-max-concurrent-streams", "2", "--threads", "8")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    with http2(server) as client:
        for number in range(4):
            stream = client.start(f"/await?{pipe}")
            start = 0
            for _ in range(number + 1):
                start = server.wait_for_log("held", start=start).end()
            client.h2.reset_stream(stream, 8)
            client.flush()
        client.synchronize()
        assert client.wait(client.start("/more")).reset == 7, "REFUSED_STREAM"
        os.close(writer)
        wait_until(
            lambda: client.wait(client.start("/again")).status == 200, "the threads are free"
        )
    assert server.counters()["http2_refused"] >= 1


def test_streams_over_the_limit_are_refused(plain) -> None:
    server = plain("http_steps:app", "--http2-max-concurrent-streams", "3", "--threads", "8")
    with http2(server) as client:
        client.request("/mark?id=limit")
        client.h2.remote_settings[3] = 100  # the client does not keep to it
        client.h2.remote_settings.acknowledge()
        streams = [client.start(f"/block?id=limit-{number}") for number in range(5)]
        client.synchronize()
        refused = [stream for stream in streams if client.streams[stream].reset == 7]
        assert refused == streams[3:], "REFUSED_STREAM"
        with http2(server) as other:
            for number in range(3):
                other.request(f"/go?id=limit-{number}")
        client.wait(*streams[:3])


def test_stalled_windows_hold_little_and_end(fresh_plain) -> None:
    """A client opens 100 streams and reads none; others are served, and a deadline ends it."""
    server = fresh_plain(
        "http_steps:app", "--write-timeout", "2", "--threads", "4", "--response-spool", "0"
    )
    with http2(server, settings={4: 0}) as client:
        streams = [client.start(f"/large?size=300000&id={number}") for number in range(100)]
        with http2(server) as other:
            assert other.request("/mark?id=other").status == 200
        while not all(client.streams[stream].reset is not None for stream in streams):
            assert client.receive()
        assert {client.streams[stream].status for stream in streams} == {200}
    assert server.counters()["write_timeout"] == 100


def test_client_that_reads_nothing_from_the_socket_is_ended(fresh_plain) -> None:
    server = fresh_plain("http_steps:app", "--write-timeout", "2")
    client = Http2Client(server.connect(receive_buffer=4096), settings={4: 2**31 - 1})
    with client:
        client.h2.increment_flow_control_window(2**30)
        # A slow machine may end the client before it has sent all of them.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number in range(20):
                client.start(f"/large?size=2000000&id={number}")
        wait_until(lambda: server.counters().get("write_timeout", 0) > 0, "write timeout")
        with http2(server) as other:
            assert other.request("/mark?id=other").status == 200


def test_incomplete_head_is_ended_by_the_header_timeout(fresh_plain) -> None:
    server = fresh_plain("echo:app", "--header-timeout", "2")
    with http2(server) as client:
        client.synchronize()
        client.send_raw(frame(HEADERS, 1, 1, head_block(client)))
        client.wait_for_end()
    assert counted(server, "header_timeout")


def test_slow_content_is_ended_by_the_body_timeout(fresh_plain) -> None:
    server = fresh_plain("echo:app", "--body-timeout", "1")
    with http2(server) as client:
        stream = client.start(method="POST", end=False)
        response = client.wait(stream)
        assert response.status == 408
        assert client.request().status == 200
    assert counted(server, "body_timeout")


@pytest.mark.parametrize(
    "garbage",
    [
        frame(0, 0, 1, b"x"),
        frame(HEADERS, 5, 2, b"\x82\x86\x84"),
        frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
        frame(5, 4, 1, b"\0\0\0\x02"),
        frame(SETTINGS, 0, 1),
        frame(SETTINGS, 0, 0, b"\0"),
        frame(PING, 0, 0, b"1"),
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
    ],
)
def test_violation_ends_the_connection(plain, garbage: bytes) -> None:
    server = plain("echo:app")
    with http2(server) as client:
        client.synchronize()
        send_until_end(client, garbage, 1)
        client.wait_for_end()
        assert client.goaway is not None and client.goaway[0] != 0
    with http2(server) as client:
        assert client.request().status == 200


PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 6, 9


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize(
    ("violation", "code"),
    [
        (frame(0, 0, 0, b"x"), PROTOCOL_ERROR),
        (frame(2, 0, 1, b"1234"), FRAME_SIZE_ERROR),
        (frame(RST_STREAM, 0, 1, b"12345"), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 1, 0, b"123456"), FRAME_SIZE_ERROR),
        (frame(SETTINGS, 0, 0, b"\0\4\x80\0\0\0"), FLOW_CONTROL_ERROR),
        (frame(SETTINGS, 0, 0, b"\0\5\0\0\0\1"), PROTOCOL_ERROR),
        (frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
        (frame(7, 0, 0, b"1234"), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, b"123"), FRAME_SIZE_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), FLOW_CONTROL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL_ERROR),
        # The index 0, one that is not in the table, an integer without end.
        (frame(HEADERS, 5, 1, b"\x80"), COMPRESSION_ERROR),
        (frame(HEADERS, 5, 1, b"\x82\x86\x84\xc6"), COMPRESSION_ERROR),
        (frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
        # Huffman codes: a byte of padding, padding of zeros, and the code that ends a string.
        (frame(HEADERS, 5, 1, b"\x82\x86\x84\x00\x01a\x82\xf8\xff"), COMPRESSION_ERROR),
        (frame(HEADERS, 5, 1, b"\x82\x86\x84\x00\x01a\x82\xf8\x00"), COMPRESSION_ERROR),
        (frame(HEADERS, 5, 1, b"\x82\x86\x84\x00\x01a\x84\xff\xff\xff\xff"), COMPRESSION_ERROR),
    ],
)
def test_violation_has_the_error_code_of_the_rfc(
    plain, violation: bytes, code: int, is_first: bool
) -> None:
    """[RFC 9113 sections 4.3 and 6] `is_first`: it comes together with the preface."""
    server = plain("echo:app")
    if is_first:
        with server.connect(bridged=False) as raw:
            raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0) + violation)
            received = raw.sock.makefile("rb").read()
        goaway = received.index(b"\0\0\x08\7\0" + bytes(4))
        assert received[goaway + 13 : goaway + 17] == bytes([0, 0, 0, code])
        return
    with http2(server) as client:
        client.request()
        client.send_raw(violation)
        assert client.wait_for_goaway() == code
        client.wait_for_end()


@pytest.mark.parametrize(
    "field", [("X-Upper", "b"), ("x-a", "b\r\nc: d"), ("x-b", "\0"), ("", "x")]
)
def test_field_that_breaks_its_line_never_arrives(plain, field: tuple[str, str]) -> None:
    server = plain("echo:app")
    server.calls_since_last_asked()
    with http2(server) as client:
        stream = client.start(fields=[field])
        while not client.streams[stream].done and client.receive():
            pass
        assert client.streams[stream].status in (0, 400)
    assert not server.calls_since_last_asked()
