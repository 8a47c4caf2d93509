"""Each block is on its way before the next is asked for. [PEP 3333, "Buffering and Streaming"]"""

from __future__ import annotations

import itertools
import json
import threading
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
def test_chunk_by_chunk(server: ServerProcess, run: str, how: str) -> None:
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
def test_block_by_block_without_chunks(
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


def test_large_blocks_to_fast_readers_arrive_whole(serve) -> None:
    """The one report that the socket has room again came while another thread was still in the
    send that had filled it, and was lost: the response stood still until the write bound."""
    server = serve("http_responses:app", "--threads", "4", "--write-timeout", "3")
    size, times = 5_000_000, 12
    spec = {"fields": [], "blocks": ["x"], "swell": size, "times": times, "as": "generator"}
    lengths: list[int] = []

    def read() -> None:
        with server.connect() as client:
            client.send(build_request("GET", "/?spec=" + quote(json.dumps(spec))))
            client.head()
            total = 0
            while block := client.next_chunk():
                total += len(block)
            lengths.append(total if block is not None else -1)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert lengths == [size * times] * 4


def test_closed_after_the_last_block(server: ServerProcess, run: str) -> None:
    for _ in range(2):
        server.get(f"/go?id={run}")
    assert server.get(f"/start?id={run}").chunks == [b"one", b"two", b"three"]
    assert server.get(f"/wait?id={run}&for=close").body == b"true"
    assert events(server, run) == ["one", "two", "three", "end", "close"]


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_client_that_leaves_in_the_middle(server: ServerProcess, run: str, how: str) -> None:
    """The iterable is closed; nothing keeps producing for nobody."""
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
