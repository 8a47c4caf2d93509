"""Each block is sent before the next is requested. [PEP 3333, "Buffering and Streaming"]"""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from harness import ServerProcess, build_request, wait_until

_ids = itertools.count()


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("http_steps:app", "--threads", "4")


@pytest.fixture
def run() -> str:
    return f"s{next(_ids)}"


def events(server: ServerProcess, run: str) -> list[str]:
    return json.loads(server.get(f"/state?id={run}").body)


@pytest.mark.parametrize("how", ["", "&write=1"], ids=["iterable", "write"])
def test_stream_arrives_chunk_by_chunk(server: ServerProcess, run: str, how: str) -> None:
    with server.connect() as client:
        client.send(build_request("GET", f"/start?id={run}{how}"))
        assert client.head().get("Transfer-Encoding") == "chunked"
        for number, block in enumerate([b"one", b"two", b"three"]):
            assert client.next_chunk() == block
            assert len([e for e in events(server, run) if e not in {"end", "close"}]) == number + 1
            if number < 2:
                server.get(f"/go?id={run}")
        assert client.next_chunk() == b""


@pytest.mark.parametrize("how", ["", "&write=1"], ids=["iterable", "write"])
@pytest.mark.parametrize("length", ["", "&length=1"], ids=["close", "length"])
def test_stream_with_length_arrives_block_by_block(
    server: ServerProcess, run: str, length: str, how: str
) -> None:
    with server.connect() as client:
        path = f"/start?id={run}{length}{how}"
        client.send(build_request("GET", path, version="HTTP/1.0"))
        assert client.head().get("Transfer-Encoding") is None
        for block in [b"one", b"two", b"three"]:
            assert client.read(len(block)) == block
            server.get(f"/go?id={run}")
        assert client.at_eof()


def may_trace() -> bool:
    """Whether strace(1) is here and allowed."""
    try:
        return subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_trace(), reason="needs strace")
def test_writability_reported_during_a_send_is_not_lost(door: str, tmp_path: Path) -> None:
    """The one report that the socket has room again came while another thread was still in the
    send that had found it full, and was lost: the response stood still until --write-timeout,
    which is longer here than the client waits. Each send returns late here, so that the report
    comes first."""
    server = ServerProcess(door, "http_responses:app", "--write-timeout", "60")
    trace = tmp_path / "trace"
    late = ["-e", "trace=sendto,sendmsg", "-e", "inject=sendto,sendmsg:delay_exit=100000"]
    server.command = ["strace", "-D", "-f", "-qq", "-o", str(trace), *late, *server.command]
    size, times = 5_000_000, 2
    spec = {"fields": [], "blocks": ["x"], "swell": size, "times": times, "as": "generator"}
    with server, server.connect() as client:
        client.send(build_request("GET", "/?spec=" + quote(json.dumps(spec))))
        wait_until(lambda: "EAGAIN" in trace.read_text(), "the socket is full")
        response = client.response()
        assert response.complete and len(response.body) == size * times


def test_stream_to_http10_is_closed_after_the_last_block(server: ServerProcess, run: str) -> None:
    for _ in range(2):
        server.get(f"/go?id={run}")
    assert server.get(f"/start?id={run}").chunks == [b"one", b"two", b"three"]
    assert server.get(f"/wait?id={run}&for=close").body == b"true"
    assert events(server, run) == ["one", "two", "three", "end", "close"]


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_stream_to_a_client_that_leaves_is_closed(
    server: ServerProcess, run: str, how: str
) -> None:
    """The iterable is closed and produces nothing more."""
    with server.connect() as client:
        client.send(build_request("GET", f"/endless?id={run}"))
        assert client.head().status == 200 and client.next_chunk()
        client.reset() if how == "reset" else client.close()
    assert server.get(f"/wait?id={run}&for=close").body == b"true"
    assert events(server, run) == ["begin", "close"]


def test_stream_that_is_read_slowly_is_whole(server: ServerProcess, run: str) -> None:
    """Back-pressure: the application is held up, and no byte is lost."""
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/endless?id={run}&count=200"))
        wait_until(lambda: events(server, run), "the response has begun")
        response = client.response()
        assert response.complete and len(response.body) == 200 * 65536
