"""Random clients against a complete server, including the WSGI layer.

Each connection sends a pipeline of valid, invalid and mutated requests (`generated.py`) in random
pieces to an application that responds correctly and incorrectly (`apps/fuzzed.py`). Then the client
reads everything, or leaves at any time in any way. All responses must be well framed, in order, and
complete where the application was. Afterwards the server has the same processes and descriptors as
before.

Connection number N of a seed is always the same; `FUZZ_CONNECTIONS` and `FUZZ_SEED` choose others.
"""

from __future__ import annotations

import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import Client, NoResponse, Response, ServerProcess, wait_until
from harness.generated import mutated, request

pytestmark = pytest.mark.second_door("no case")

CONNECTIONS = int(os.environ.get("FUZZ_CONNECTIONS", "600"))
SEED = os.environ.get("FUZZ_SEED", "1")

WAYS = [
    *["list", "generator", "write", "read-part", "read-all", "large", "large-steps", "file"],
    *["close", "no-content", "again", "long", "short", "break", "raise", "exit", "bad-field"],
    *["bad-status", "none", "bad-close"],
]
#: Their responses may end early.
BROKEN = {"short", "break"}

OPTIONS = ["--threads", "4", "--keep-alive", "1", "--header-timeout", "1", "--body-timeout", "1"]
OPTIONS += ["--limit-request-body", "100000"]
#: Seconds after which the server may close a connection that its client has left alone.
PATIENCE = 1


def pipeline(source: random.Random) -> bytes:
    requests = [
        request(
            source,
            wrong=0.03,
            more=(b"X-Way: " + source.choice(WAYS).encode(), b"X-Seq: %d" % number),
        )
        for number in range(source.choice([1, 1, 2, 3, 5]))
    ]
    data = b"".join(requests)
    return mutated(source, data) if source.random() < 0.3 else data


def pieces(source: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(source.randrange(len(data) + 1) for _ in range(source.choice([0, 0, 1, 3, 9])))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def check(response: Response, method: str | None, last: int, may_be_reset: bool) -> int:
    """One response; returns the number of its request."""
    way = response.get("X-Way")
    if method is None:
        # The server's own; to HEAD it has no content, and is the connection's last.
        assert response.status >= 400, response
        assert response.complete or (not response.body and "close" in response.connection)
        return last
    assert response.get("Injected") is None
    number = response.get("X-Seq") or ""
    if number.isdigit():
        assert int(number) >= last, f"answered out of order: {response}"
        last = int(number)
    length = int(response.get("X-Length") or 0)
    if response.complete and way not in BROKEN and response.framing != "none":
        assert len(response.body) == length, response
    assert len(response.body) <= length, response
    assert response.complete or way in BROKEN or may_be_reset, response
    return last


def read_all(client: Client, data: bytes, begin: float) -> None:
    # What only the close would end, and breaks off, ends in a reset. It also takes along what the client
    # has not read of responses before it. And who asks for the end and sends more all the same, which
    # RFC 9112 section 9.6 forbids, may find the connection closed.
    may_be_reset = bool(re.search(rb"(?i)HTTP/1\.0|\nconnection:[^\r]*close", data))
    # On a machine that is very slow just now, the client has sent too late.
    may_be_reset |= time.monotonic() - begin >= PATIENCE
    last = 0
    while True:
        try:
            response = client.head()
            if response.status == 100:
                continue
            method = response.get("X-Method")
            client.read_body(response, method or "GET")
        except NoResponse:
            return
        except ConnectionResetError:
            assert may_be_reset, "reset without a reason"
            return
        last = check(response, method, last, may_be_reset)
        if not response.complete:
            return


def one_connection(server: ServerProcess, number: int) -> None:
    source = random.Random(f"connection {SEED} {number}")
    data = pipeline(source)
    manner = source.choice(["read", "read", "read", "half", "half", "leave", "reset", "peek"])
    buffer = source.choice([None, None, 4096])
    begin = time.monotonic()
    with server.connect(receive_buffer=buffer) as client:
        try:
            parts = pieces(source, data)
            for part in parts:
                client.send(part)
                if manner in {"leave", "reset"} and source.random() < 0.5:
                    break
            if manner == "half":
                client.shutdown_write()
        except TimeoutError:
            raise
        except OSError:
            pass  # refused, and closed before all was sent
        if manner == "peek":
            client.sock.settimeout(0.2)
            try:
                client.read(source.choice([1, 20, 5000]))
            except (TimeoutError, ConnectionResetError):
                pass
        if manner in {"reset", "peek"}:
            client.reset()
        elif manner in {"read", "half"}:
            try:
                read_all(client, data, begin)
            except BaseException as problem:
                raise AssertionError(f"connection {number} ({manner}): {data!r}") from problem


def descriptors(server: ServerProcess) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.processes())


def resident(server: ServerProcess) -> int:
    """The resident size of all processes in KiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in server.processes()]
    return sum(int(size) for text in texts for size in re.findall(r"VmRSS:\s+(\d+)", text))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_random_requests_never_break_the_server(fresh_server) -> None:
    server: ServerProcess = fresh_server("fuzzed:app", *OPTIONS)

    def healthy() -> None:
        for _ in range(5):
            begin = time.monotonic()
            try:
                assert server.get(fields=[("X-Way", "list")]).body == b"hello"
                return
            except (ConnectionError, NoResponse):
                if time.monotonic() - begin < PATIENCE:
                    raise  # otherwise its request came too late
        pytest.fail("five requests have got no response")

    def run(numbers: range) -> None:
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda number: one_connection(server, number), numbers))
        healthy()

    for _ in range(8):
        healthy()
    processes, before = server.processes(), descriptors(server)
    run(range(CONNECTIONS // 3))
    warm = resident(server)
    run(range(CONNECTIONS // 3, CONNECTIONS))
    assert server.processes() == processes, "a process ended"
    wait_until(lambda: descriptors(server) <= before, "the descriptors are as many as before")
    assert resident(server) < warm + 32 * 1024, "memory grows"
    assert "panicked" not in server.stderr()
    # No client waits any more for a thread that is stuck.
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda _: healthy(), range(32)))
