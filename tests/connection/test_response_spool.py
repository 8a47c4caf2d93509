"""Generators that are read slowly: their rest goes to a file, and their threads are free."""

from __future__ import annotations

import contextlib
import re
import resource
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, wait_until
from harness.memory import MIB, Growth, assert_small, unlinked_files
from harness.supervision import workers
from harness.wsgi import new_key

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc"),
    pytest.mark.second_door("no case"),
]

APP = "spooled:app"
SIZE = 65536
#: More than the kernel's buffers hold, and 64 times the high-water mark.
COUNT = 320


@contextlib.contextmanager
def unread(
    server: ServerProcess, target: str, version: str = "HTTP/1.1", method: str = "GET"
) -> Iterator[Client]:
    """A client that has sent a request, and reads nothing by itself. The application answers it: a
    request on another connection cannot take its thread."""
    with server.connect(receive_buffer=65536) as client:
        client.send(build_request(method, target, version=version))
        assert select.select([client.sock], [], [], TIMEOUT)[0]
        yield client


def content(count: int) -> bytes:
    return b"".join(b"%08d" % number * (SIZE // 8) for number in range(count))


def assert_content(client: Client, count: int) -> None:
    response = client.response()
    assert response.complete and response.body == content(count)


def stored(server: ServerProcess) -> int:
    """Bytes in unlinked files that the server has open."""
    return sum(size for _, size in unlinked_files(server))


def test_slow_readers_of_generators_do_not_delay_others(fresh_server) -> None:
    """Four of them held all threads of a default worker, for as long as they cared to read: the
    thread of a generator waited for its client."""
    server = fresh_server(APP, "--threads", "4", "--write-timeout", "600")
    keys = [new_key() for _ in range(12)]
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(unread(server, f"/blocks?id={key}&count={COUNT}")) for key in keys
        ]
        assert server.get("/").body == b"ok"
        # Nothing was read, and all were produced and closed.
        for key in keys:
            assert server.get(f"/closed?id={key}").body == str(COUNT).encode()
        assert stored(server) > len(keys) * 8 * MIB
        for client in clients:
            assert_content(client, COUNT)
        wait_until(lambda: stored(server) == 0, "the files are freed")
    assert not server.counters().keys() - {"keep_alive"}


@pytest.mark.parametrize(
    ("options", "version"),
    [
        pytest.param("", "HTTP/1.0", id="until-close"),
        pytest.param("&length=1", "HTTP/1.1", id="length"),
        pytest.param("&write=1", "HTTP/1.1", id="write"),
    ],
)
def test_spooled_response_of_any_framing_is_whole(serve, options: str, version: str) -> None:
    server, key = serve(APP, "--threads", "1"), new_key()
    with unread(server, f"/blocks?id={key}&count={COUNT}{options}", version) as client:
        assert server.get(f"/closed?id={key}").body == str(COUNT).encode()
        assert_content(client, COUNT)
        if version == "HTTP/1.1":  # the next response on the connection
            client.send(build_request("GET", f"/blocks?id={new_key()}&count=3"))
            assert_content(client, 3)


def test_spooled_response_takes_little_memory(fresh_server) -> None:
    server, count = fresh_server(APP, "--threads", "1"), 256 * MIB // SIZE
    with unread(server, f"/blocks?id={new_key()}&count=100") as client:
        assert_content(client, 100)
    growth, key = Growth(server), new_key()
    with unread(server, f"/blocks?id={key}&count={count}"):
        assert server.get(f"/closed?id={key}").body == str(count).encode()
        assert_small(growth())


def test_block_behind_spooled_ones_is_sent_before_the_next(serve) -> None:
    """Server-sent events: a client that has fallen behind and reads on gets each event that there
    is, although the application still runs."""
    server, key = serve(APP, "--threads", "2"), new_key()
    with unread(server, f"/pause?id={key}&count={COUNT}") as client:
        wait_until(
            lambda: server.get(f"/produced?id={key}").body == str(COUNT).encode(),
            "all blocks are produced",
        )
        assert client.head().status == 200
        for number in range(COUNT):
            assert client.next_chunk() == b"%08d" % number * (SIZE // 8)
        server.get(f"/go?id={key}")
        assert client.next_chunk() == b"last" and client.next_chunk() == b""


def test_head_request_is_not_spooled(serve) -> None:
    server, key = serve(APP, "--threads", "1"), new_key()
    with unread(server, f"/blocks?id={key}&count={COUNT}", method="HEAD") as client:
        assert int(server.get(f"/closed?id={key}").body) <= 1
        assert client.response("HEAD").body == b""


# ------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("options", "event", "counter"),
    [
        pytest.param(["--response-spool", "0"], None, None, id="off"),
        pytest.param(
            ["--response-spool", "1m"], "response.spool_full", "response_spool", id="response"
        ),
        pytest.param(
            ["--limit-spool", "2m"], "response.spool_limit", "response_spool_limit", id="total"
        ),
    ],
)
def test_application_waits_beyond_the_limit(
    fresh_server, options: list[str], event: str | None, counter: str | None
) -> None:
    server, key = fresh_server(APP, "--threads", "2", *options), new_key()
    count = 64 * MIB // SIZE
    with unread(server, f"/blocks?id={key}&count={count}") as client:
        if event:
            server.wait_for_event(event, "1 request")
            assert 0 < stored(server) < 2 * MIB
            # Bodies have space in any case.
            body = b"x" * 300_000
            assert server.get("/count", method="POST", body=body).body == b"300000"
        else:
            assert client.head().status == 200
        assert int(server.get(f"/produced?id={key}").body) < count
        if event:
            assert_content(client, count)
            assert server.get(f"/closed?id={key}").body == str(count).encode()
    assert server.counters() == ({counter: 1} if counter else {})


def test_space_of_a_response_that_was_read_is_free_again(fresh_server) -> None:
    """The limit is less than the sum of the responses, and each needs more than half of it."""
    server = fresh_server(APP, "--threads", "1", "--limit-spool", "32m")
    for _ in range(3):
        key = new_key()
        with unread(server, f"/blocks?id={key}&count={COUNT}") as client:
            assert server.get(f"/closed?id={key}").body == str(COUNT).encode()
            assert_content(client, COUNT)
    assert server.counters() == {}


@pytest.mark.parametrize("cause", ["full", "missing"])
def test_application_waits_if_there_is_no_file(fresh_server, cause: str, tmp_path: Path) -> None:
    """A file size limit (RLIMIT_FSIZE) looks like a full disk to the server."""
    env = {"TMPDIR": str(tmp_path / "missing")} if cause == "missing" else {}
    server = fresh_server(APP, "--threads", "2", env=env)
    if cause == "full":
        server.wait_for_event("server.ready")
        (pid,) = workers(server, 1)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    key, other = new_key(), new_key()
    with unread(server, f"/blocks?id={key}&count={COUNT}") as client:
        server.wait_for_event("response.spool_failed", "file: .*waits for its client in 1 request")
        assert int(server.get(f"/produced?id={key}").body) < COUNT
        assert_content(client, COUNT)
        client.send(build_request("GET", f"/blocks?id={other}&count={COUNT}"))
        wait_until(lambda: server.counters()["response_spool_failed"] == 2, "it is tried again")
        assert_content(client, COUNT)
    assert len(re.findall(r"response\.spool_failed", server.stderr())) == 1, "logged once in 10 s"


# ------------------------------------------------------------------------------------------ clients


def test_client_that_leaves_ends_a_spooled_response(fresh_server) -> None:
    """The generator is closed at its next block, and the files are freed."""
    server, key, count = fresh_server(APP, "--threads", "2"), new_key(), 1_000_000
    with unread(server, f"/blocks?id={key}&count={count}") as client:
        wait_until(lambda: stored(server) > 8 * MIB, "it is spooled")
        client.reset()
    assert int(server.get(f"/closed?id={key}").body) < count
    wait_until(lambda: stored(server) == 0, "the files are freed")
    server.wait_for_event("response.client_disconnected")


def test_client_that_reads_nothing_is_reset_while_the_application_produces(fresh_server) -> None:
    """--write-timeout applies although the application need not wait."""
    # Long enough for the application to produce all.
    server, key = fresh_server(APP, "--threads", "2", "--write-timeout", "3"), new_key()
    with unread(server, f"/pause?id={key}&count={COUNT}") as client:
        wait_until(lambda: stored(server) > 8 * MIB, "it is spooled")
        server.get(f"/go?id={key}")
        assert server.get(f"/closed?id={key}").body == str(COUNT).encode()
        wait_until(lambda: not server.holds(client), "the server has let go")
    wait_until(lambda: stored(server) == 0, "the files are freed")
    assert server.counters() == {"write_timeout": 1}


@pytest.mark.parametrize("spool", ["0", "1g"], ids=["produced-slowly", "produced"])
def test_client_below_the_minimum_rate_is_reset(fresh_server, spool: str) -> None:
    """It reads a little all the time, so that it never stalls for --write-timeout."""
    options = ["--write-timeout", "2", "--write-min-rate", "10m", "--response-spool", spool]
    server = fresh_server(APP, "--threads", "2", *options)
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/blocks?id={new_key()}&count={4 * COUNT}"))
        assert client.head().status == 200

        def is_reset() -> bool:
            try:
                return not client.sock.recv(20_000)
            except ConnectionResetError:
                return True

        wait_until(is_reset, "the server has given up")
    server.wait_for_event("response.slow", r"1 connection .*--write-min-rate.*: GET /blocks")
    assert server.counters() == {"write_rate": 1}


def test_client_above_the_minimum_rate_gets_everything(fresh_server) -> None:
    options = ["--write-timeout", "2", "--write-min-rate", "1000"]
    server = fresh_server(APP, "--threads", "2", *options)
    with unread(server, f"/blocks?id={new_key()}&count={COUNT}") as client:
        assert client.head().status == 200
        for number in range(30):  # together longer than the timeout
            assert client.next_chunk() == b"%08d" % number * (SIZE // 8)
            assert not select.select([], [], [client.sock], 0.1)[2]
        for number in range(30, COUNT):
            assert client.next_chunk() == b"%08d" % number * (SIZE // 8)
        assert client.next_chunk() == b""
    assert server.counters() == {}
