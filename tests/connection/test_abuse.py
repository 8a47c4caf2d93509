"""Hostile clients, and a machine without memory, disk space or descriptors: memory is bounded,
others are served.

The sizes are those of a quick test; benches/abuse.py does the same at full size and with a clock.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from harness import (
    WITHOUT_GIL,
    Client,
    ServerProcess,
    assert_error_response,
    assert_unavailable,
    build_request,
    wait_until,
)
from harness.memory import MIB, Growth, assert_small, download, unlinked_files
from harness.supervision import workers

pytestmark = pytest.mark.second_door("no case")

resource = pytest.importorskip("resource")

MEMORY = "memory:app"
BUDGET = 64 * MIB
#: No client is given up while the test goes on, however slow the machine is.
PATIENT = ["--header-timeout", "600", "--body-timeout", "600", "--write-timeout", "600"]


def fill(client: Client, data: bytes) -> int:
    """Send until the kernel accepts no more; the number of bytes sent."""
    client.sock.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += client.sock.send(data[sent : sent + 65536])
    except BlockingIOError:
        pass
    client.sock.settimeout(10)
    return sent


def worker(server: ServerProcess) -> int:
    """The worker, once it has booted."""
    server.wait_for_event("server.ready")
    (pid,) = workers(server, 1)
    return pid


# ------------------------------------------------------------------------------------------ clients


def test_crowd_of_hostile_clients_is_bounded(fresh_server) -> None:
    """Dribbled heads, stalled uploads and unread downloads of every kind, and one normal client."""
    server = fresh_server(MEMORY, "--threads", "4", *PATIENT)
    download(server, "/generate?", 8 * MIB)
    growth = Growth(server)
    heads = [server.connect() for _ in range(100)]
    uploads = [server.connect() for _ in range(20)]
    readers = [server.connect(receive_buffer=4096) for _ in range(20)]
    crowd = [*heads, *uploads, *readers]
    try:
        for client in heads:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for number, client in enumerate(uploads):
            sized = ("Content-Length", str(MIB))
            fields = [("Transfer-Encoding", "chunked") if number % 2 else sized]
            body = b"80000\r\n" if number % 2 else b""
            client.send(build_request("POST", "/count", fields=fields) + body + b"x" * 300_000)
        for number, client in enumerate(readers):
            # No generator longer than the high-water mark: it would hold a thread, as documented.
            # Without a GIL, CPython's allocator fills a block of zeros, which then takes memory.
            target = "/sparse" if number % 2 or WITHOUT_GIL else "/one-block"
            client.send(build_request("GET", f"{target}?size={20_000_000}"))
            assert client.head().status == 200
        with server.connect() as healthy:
            for _ in range(20):
                for client in heads:
                    client.send(b"y")
                assert healthy.request(build_request()).body == b"hello"
        assert_small(growth(), BUDGET)
        heads[0].send(b"\r\n\r\n")
        assert heads[0].response().body == b"hello"
    finally:
        for client in crowd:
            client.close()


def test_endless_pipeline_with_unread_responses_is_bounded(fresh_server) -> None:
    """A hundred thousand requests: the server reads one at a time, and the kernel holds the rest
    back."""
    server = fresh_server(MEMORY, "--threads", "1", *PATIENT)
    download(server, "/generate?", MIB)
    growth = Growth(server)
    requests = build_request("GET", "/block?size=10000") * 100_000
    with server.connect(receive_buffer=4096) as client:
        assert fill(client, requests) < len(requests)
        for _ in range(20):
            assert server.get("/").body == b"hello"
        fill(client, requests)  # wherever it goes on: nothing of this is read
        assert_small(growth(), 16 * MIB)


# ------------------------------------------------------------------------------------------- memory


def test_memory_used_up_by_unread_responses_is_freed(fresh_server) -> None:
    """The response that was unread for longest is dropped, and its memory serves others."""
    server = fresh_server(MEMORY, "--threads", "1", "--limit-memory", "4m")
    readers = [server.connect(receive_buffer=4096) for _ in range(2)]
    try:
        for client in readers:
            client.send(build_request("GET", f"/block?size={16 * MIB}"))
        # It is looked for when a request finds none.
        wait_until(
            lambda: server.get("/").status == 200 and "stalled_closed" in server.counters(),
            "a response was dropped",
        )
        assert server.get("/").status == 200
        server.wait_for_event("memory.evicted", "--limit-memory")
        for client in readers:
            with pytest.raises((ConnectionResetError, AssertionError)):
                response = client.response()
                assert response.status == 200 and response.complete
    finally:
        for client in readers:
            client.close()


def test_memory_used_up_by_a_slowly_read_response_is_freed(fresh_server) -> None:
    """It does not stall, so no timeout drops it; but no other client could be served."""
    server = fresh_server(MEMORY, "--threads", "1", "--limit-memory", "4m")
    with server.connect() as reader:

        def others_are_served() -> bool:
            try:
                # Enough that the server's socket has room again every few times.
                reader.sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except OSError:
                pass  # nothing yet, or given up
            return server.get("/").status == 200

        start = time.monotonic()
        reader.send(build_request("GET", f"/one-block?size={1024 * MIB}"))
        assert reader.head().status == 200
        rejected = server.get("/").status == 503
        # On a machine that is very slow just now, the response has stalled for a second already.
        assert rejected or time.monotonic() - start >= 1
        wait_until(others_are_served, "there is memory for others")
        assert server.counters()["stalled_closed"] == 1


def test_request_without_memory_is_rejected(fresh_server) -> None:
    server = fresh_server(MEMORY, "--limit-memory", "1k", "--body-buffer-size", "64k")
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 5000)
        assert_unavailable(client.response())
        assert client.at_eof()
    assert server.get("/").body == b"hello", "one that needs none is served"
    assert server.counters() == {"memory_limit": 1}
    server.wait_for_event("memory.limit", "--limit-memory: rejected 1 request ")


LARGE_HEAD = b"POST /count HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 50_000
INCOMPLETE = {
    "head": LARGE_HEAD,
    "content": LARGE_HEAD + b"\r\nContent-Length: 1\r\n\r\n",
    "trailers": b"POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    b"X: " + b"y" * 50_000,
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_incomplete_requests_count_in_the_memory_limit(fresh_server, what: str) -> None:
    """Regression: complete heads and trailers did not, so a worker grew to several times its
    limit."""
    server = fresh_server(
        MEMORY,
        "--limit-memory",
        "1m",
        "--limit-request-field-size",
        "64k",
        "--limit-trailers",
        "64k",
        *PATIENT,
    )
    clients = [server.connect() for _ in range(40)]
    try:
        for client in clients:
            client.send(INCOMPLETE[what])
            wait_until(lambda: server.has_read_or_rejected(client), "it was read")  # noqa: B023
        rejected = server.counters()["memory_limit"]
        assert 15 <= rejected < 40, "a buffer may have twice the size of its bytes"
        assert_unavailable(clients[-1].response())
        assert server.get("/").body == b"hello", "a small request is served"
    finally:
        for client in clients:
            client.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_promised_body_takes_no_memory(fresh_server) -> None:
    """Regression: a Content-Length was allocated and counted once its first byte had arrived. So a
    few clients that sent little made the server store the bodies of all others in files."""
    options = ["--limit-memory", "1m", "--body-buffer-size", "256k", *PATIENT]
    server = fresh_server(MEMORY, *options)
    assert server.get("/").body == b"hello"
    server.wait_for_event("server.ready")
    at_start = {file for file, _ in unlinked_files(server)}
    clients = [server.connect() for _ in range(20)]
    size = 200_000
    try:
        for client in clients:
            head = build_request("POST", "/count", fields=[("Content-Length", str(size))])
            client.send(head + b"x" * 10_000)
            wait_until(lambda: server.has_read(client), "it was read")  # noqa: B023
        assert {file for file, _ in unlinked_files(server)} == at_start
        with server.connect() as honest:
            posted = honest.request(build_request("POST", "/count", body=b"x" * 100_000))
            assert posted.body == b"100000"
        for client in clients:
            client.send(b"x" * (size - 10_000))
            assert client.response().body == str(size).encode()
        assert server.counters() == {}
    finally:
        for client in clients:
            client.close()


def test_bodies_go_to_files_early_while_memory_is_short(fresh_server) -> None:
    """Together they would exceed the memory limit; each alone is below its buffer size."""
    options = ["--limit-memory", "1m", "--body-buffer-size", "256k", *PATIENT]
    server = fresh_server(MEMORY, *options)
    clients = [server.connect() for _ in range(30)]
    size = 200_000
    try:
        for client in clients:
            head = build_request("POST", "/count", fields=[("Content-Length", str(size))])
            client.send(head + b"x" * (size - 1))
            wait_until(lambda: server.has_read(client), "it was read")  # noqa: B023
        for client in clients:
            client.send(b"x")
            assert client.response().body == str(size).encode()
        assert server.counters() == {}
    finally:
        for client in clients:
            client.close()


# ---------------------------------------------------------------------------------- temporary files

SPOOL = ["--body-buffer-size", "1k", "--limit-spool", "200k"]


def test_body_larger_than_the_spool_limit_is_rejected(fresh_server) -> None:
    server = fresh_server(MEMORY, *SPOOL)
    with server.connect() as client:
        client.send(build_request("POST", "/count", fields=[("Content-Length", "204801")]))
        assert_error_response(client.response(), 413)
    server.wait_for_event("request.rejected", "with 413: .*--limit-spool 204800")
    assert server.get("/count", method="POST", body=b"x" * 204_800).body == b"204800"


def test_body_over_the_spool_limit_is_rejected(fresh_server) -> None:
    server = fresh_server(MEMORY, *SPOOL)
    chunked = build_request("POST", "/count", fields=[("Transfer-Encoding", "chunked")])
    with server.connect() as first, server.connect() as second:
        first.send(chunked + b"1d4c0\r\n" + b"x" * 120_000)
        wait_until(lambda: server.has_read(first), "it was read")
        second.send(chunked + b"2bf20\r\n" + b"x" * 180_000)
        assert_unavailable(second.response())
        first.send(b"\r\n0\r\n\r\n")
        assert first.response().body == b"120000"
    # The space is free again.
    assert server.get("/count", method="POST", body=b"x" * 180_000).body == b"180000"
    assert server.counters() == {"spool_limit": 1}
    server.wait_for_event("spool.limit", "--limit-spool: rejected 1 request ")


def test_body_on_a_full_disk_is_rejected(fresh_server) -> None:
    """A file size limit (RLIMIT_FSIZE) looks like a full disk to the server."""
    server = fresh_server(MEMORY, "--body-buffer-size", "1k")
    resource.prlimit(worker(server), resource.RLIMIT_FSIZE, (100_000, 100_000))
    for _ in range(2):
        response = server.get("/count", method="POST", body=b"x" * 300_000)
        assert_error_response(response, 507)
    assert server.get("/count", method="POST", body=b"x" * 50_000).body == b"50000"
    assert server.counters() == {"spool_failed": 2}


def test_body_without_a_temporary_directory_is_rejected(fresh_server, tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path / "missing")}
    server = fresh_server(MEMORY, "--body-buffer-size", "1k", env=env)
    assert_error_response(server.get("/count", method="POST", body=b"x" * 2000), 507)
    assert server.get("/count", method="POST", body=b"x" * 1000).body == b"1000"
    server.wait_for_event("spool.failed")


# ------------------------------------------------------------------------------------- descriptors


def test_server_out_of_descriptors_recovers(fresh_server) -> None:
    """Accepting pauses, connected clients are served, and accepting resumes once a connection is
    idle."""
    server = fresh_server(MEMORY, "--keep-alive", "600", "--write-timeout", "600")
    with server.connect(receive_buffer=4096) as connected:
        connected.send(build_request("GET", f"/block?size={8 * MIB}"))
        assert connected.head().status == 200
        take_descriptors(server)
        with server.connect() as refused:
            refused.send(build_request())
            server.wait_for_event("accept.paused", "os error 24")
            assert len(connected.read(8 * MIB)) == 8 * MIB
            assert refused.response().body == b"hello"
            assert connected.at_eof()
    assert server.counters()["accept_failed"] >= 1


def test_idle_connections_are_evicted_when_descriptors_run_out(fresh_server) -> None:
    server = fresh_server(MEMORY, "--keep-alive", "600")
    with server.connect() as first, server.connect() as second:
        assert first.request(build_request()).body == b"hello"
        assert second.request(build_request()).body == b"hello"
        take_descriptors(server)
        with server.connect() as newcomer:
            assert newcomer.request(build_request()).body == b"hello"
            assert first.at_eof(), "it was idle for longest"
            assert second.request(build_request()).body == b"hello"
            assert newcomer.request(build_request()).body == b"hello"
    assert server.counters() == {"idle_closed": 1}
    server.wait_for_event("connection.evicted", "1 idle .*no descriptors")


def take_descriptors(server: ServerProcess) -> None:
    """Lower the worker's limit to the descriptors that it has."""
    pid = worker(server)
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    numbers: list[int] = []

    def has_no_gap() -> bool:
        numbers[:] = [int(number) for number in os.listdir(f"/proc/{pid}/fd")]
        return max(numbers) + 1 == len(numbers)

    wait_until(has_no_gap, "no lower number is free")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(numbers), hard))


# -------------------------------------------------------------------------------------- the worker


def test_application_out_of_memory_costs_its_request(fresh_server) -> None:
    server = fresh_server("overload:app", "--threads", "2")
    pid = worker(server)
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (size + 256 * MIB, resource.RLIM_INFINITY))
    assert server.get("/eat?10").body == b"served"
    assert server.get("/eat?1000").status == 500
    server.wait_for_log("MemoryError")
    assert server.get("/eat?10").body == b"served"
    assert worker(server) == pid
