"""Memory and threads that connections and large bodies cost, as the kernel counts them.

Sizes are those of a quick run; RUSTWSGI_FULL_SIZE=1 makes each body a gibibyte. The tests compare
the highest resident size during the transfer with the size before, over all processes of the
server. A first round of the same kind comes before, so that memory allocated once is already there.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator

import pytest

from harness import TIMEOUT, WITHOUT_GIL, Client, ServerProcess, build_request, wait_until
from harness.memory import KIB, MIB, Growth, assert_small, download, faults, resident, status
from harness.wsgi import new_key

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc"),
    pytest.mark.second_door("no case"),
]

SIZE = 1024 * MIB if os.environ.get("RUSTWSGI_FULL_SIZE") else 256 * MIB
CONNECTIONS = 4000
BLOCK = b"u" * 65536


@pytest.fixture(params=["1", "4"], ids=["one-thread", "four-threads"])
def start(fresh_server, request: pytest.FixtureRequest) -> Callable[..., ServerProcess]:
    """Start a server with one thread, and with four."""
    options = ["--threads", request.param, "--limit-request-body", "0", "--response-spool", "0"]
    return lambda *more: fresh_server("memory:app", *options, *more)


@pytest.fixture
def server(start: Callable[..., ServerProcess]) -> ServerProcess:
    return start()


# ---------------------------------------------------------------------------------- at rest


@pytest.mark.skipif(WITHOUT_GIL, reason="the allocator of 3.13t keeps large blocks by itself")
def test_large_block_is_freed_by_an_idle_server(fresh_server) -> None:
    """Regression: a block sent by a thread that was not attached to Python was kept until the next
    request."""
    server, size = fresh_server("memory:app", "--threads", "2"), 64 * MIB
    download(server, "/block?", 8 * MIB)
    before = resident(server)
    download(server, "/block?", size)
    wait_until(lambda: resident(server) < before + size // 4, "the block's memory is free")


@pytest.mark.skipif(WITHOUT_GIL, reason="its allocator does not use that of the C library")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tests the allocator of glibc")
@pytest.mark.parametrize("chosen", [None, "131072"])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_freed_memory_serves_the_next_request(
    fresh_server, threads: str, chosen: str | None
) -> None:
    """glibc would return it to the kernel, which provides and zeroes it again for each request.
    With that limit in the environment it does."""
    env = {"MALLOC_TRIM_THRESHOLD_": chosen} if chosen else {}
    server, size = fresh_server("memory:app", "--threads", threads, env=env), 4 * MIB
    with server.connect() as client:

        def run(count: int) -> int:
            before = faults(server)
            for _ in range(count):
                request = build_request("GET", f"/scratch?size={size}")
                assert client.request(request).body == b"hello"
            return (faults(server) - before) // count

        run(5)
        if chosen:
            assert run(20) > 100, "pages a request, of 1024"
        else:
            assert run(20) < 20, "pages a request, of 1024"


# ------------------------------------------------------------------------------- connections


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise the limit of descriptors, which the server inherits, for the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} open files are allowed; {wanted} are needed")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_idle(server: ServerProcess, count: int) -> list[Client]:
    """Keep-alive connections that have had one response."""
    clients = []
    for _ in range(count):
        client = server.connect()
        assert client.request(build_request()).body == b"hello"
        clients.append(client)
    return clients


def test_idle_connections_cost_little_and_no_thread(many_files: None, fresh_server) -> None:
    server = fresh_server("memory:app", "--keep-alive", "600")
    clients = open_idle(server, 50)
    try:
        threads, before = status(server, "Threads"), resident(server)
        clients += open_idle(server, CONNECTIONS)
        assert status(server, "Threads") == threads
        each = (resident(server) - before) / CONNECTIONS
        assert each < 4 * KIB, f"{each:.0f} bytes for each connection"
        for client in clients[:: CONNECTIONS // 20]:  # all of them are still served
            assert client.request(build_request()).body == b"hello"
    finally:
        for client in clients:
            client.close()


# ------------------------------------------------------------------------------------ uploads


def upload(server: ServerProcess, size: int, *, chunked: bool) -> None:
    length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    piece = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    with server.connect(60) as client:
        client.send(build_request("POST", "/count", fields=[length]))
        for _ in range(size // len(BLOCK)):
            client.send(piece)
        if chunked:
            client.send(b"0\r\n\r\n")
        assert client.response().body == str(size).encode()


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_large_upload_takes_little_memory(server: ServerProcess, chunked: bool) -> None:
    upload(server, MIB, chunked=chunked)
    growth = Growth(server)
    upload(server, SIZE, chunked=chunked)
    assert_small(growth())


# ---------------------------------------------------------------------------------- downloads


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/generate?", id="generator"),
        pytest.param("/generate?length=1&", id="generator-with-length"),
        pytest.param("/sparse?", id="file"),
    ],
)
def test_large_download_takes_little_memory(server: ServerProcess, target: str) -> None:
    download(server, target, 8 * MIB)
    growth = Growth(server)
    download(server, target, SIZE)
    assert_small(growth())


def test_generator_waits_for_a_client_that_does_not_read(
    start: Callable[..., ServerProcess],
) -> None:
    """Without a response spool. Until --write-timeout ends it, it has produced only what the buffers
    hold."""
    server = start("--write-timeout", "2")
    download(server, "/generate?", 8 * MIB)
    growth, name = Growth(server), new_key()
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/flood?id={name}"))
        produced = int(server.get(f"/flooded?id={name}").body)
    assert_small(growth())
    # The kernel's buffers of both ends are part of it; tcp(7): tcp_wmem, tcp_rmem.
    assert produced < 16 * MIB


def test_generator_runs_at_the_pace_of_its_client(server: ServerProcess) -> None:
    """Without a response spool: when the client reads a little, it produces only a little."""
    download(server, "/generate?", 8 * MIB)
    growth, name = Growth(server), new_key()
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/flood?id={name}"))
        assert client.head().status == 200
        read = 0
        while read < 32 * MIB:
            block = client.next_chunk()
            assert block
            read += len(block)
        client.reset()
    produced = int(server.get(f"/flooded?id={name}").body)
    assert_small(growth())
    assert read <= produced < read + 16 * MIB


def test_unread_downloads_are_bounded_together(fresh_server) -> None:
    """Fifty files for fifty clients: the data stays in the kernel."""
    server = fresh_server("memory:app", "--threads", "4")
    download(server, "/sparse?", 8 * MIB)
    growth = Growth(server)
    clients = [server.connect(TIMEOUT, receive_buffer=4096) for _ in range(50)]
    try:
        for client in clients:
            client.send(build_request("GET", f"/sparse?size={64 * MIB}"))
        for client in clients:
            assert client.head().status == 200
        assert server.get("/").body == b"hello"
        assert_small(growth())
    finally:
        for client in clients:
            client.close()
