"""Attacks the server with malicious clients: measures the latency of a normal one, and memory.

    python benches/abuse.py
    python benches/abuse.py --server OTHER/.venv/bin/rustwsgi

- Slow clients: 300 that send their request heads byte by byte, 50 stalled uploads, and 50 downloads
  of 20 MB whose clients do not read. The median latency of a normal client must be less than twice
  that without them, and memory must grow by less than 64 MiB.
- Pipelining: 100,000 requests on a connection whose client does not read.
- Uploads of 512 MB, with a Content-Length and chunked.

Exits with 1 if a limit is exceeded. Takes about a minute, and 1 GB of space for temporary files.
tests/connection/test_abuse.py runs the same attacks at a smaller scale, without measuring time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import probe
from process import environment, free_port, tree, usage
from servers import ROOT

DEFAULT = Path(sys.executable).parent / "rustwsgi"
APPS = ROOT / "tests" / "apps"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
MIB = 1 << 20
MAX_GROWTH = 64 * MIB
MAX_SLOWER = 2.0
UPLOAD = 512_000_000
BLOCK = b"x" * 64_000
_START_SECONDS = 20


class Server:
    """The server under attack."""

    def __init__(self, command: str, *options: str) -> None:
        self.port = free_port()
        bind = ["--bind", f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(
            [command, *bind, *options, "memory:app"], cwd=APPS, env=environment({})
        )
        until = time.monotonic() + _START_SECONDS
        probe.wait_until_up(self.port, GET, until, lambda: self._process.poll() is None)

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(60)

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """Open a connection."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def median(self, seconds: float) -> float:
        """The median latency in seconds of requests on one keep-alive connection."""
        times = []
        with self.connect() as sock:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                began = time.perf_counter()
                sock.sendall(GET)
                response = b""
                while not response.endswith(b"hello"):
                    response += sock.recv(4096)
                times.append(time.perf_counter() - began)
                time.sleep(0.001)
        return statistics.median(times)

    @contextlib.contextmanager
    def growth(self) -> Iterator[list[int]]:
        """The peak resident memory within the block minus that before it, in bytes."""
        before = usage(self._process.pid).rss_kib * 1024
        for pid in tree(self._process.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets VmHWM: proc(5)
        grown: list[int] = []
        yield grown
        peak = 0
        for pid in tree(self._process.pid):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak += int(line.split()[1]) * 1024
        grown.append(peak - before)


@contextlib.contextmanager
def slow_clients(server: Server) -> Iterator[None]:
    """Keep 400 slow clients connected within the block."""
    heads = [server.connect() for _ in range(300)]
    uploads = [server.connect() for _ in range(50)]
    readers = [server.connect(receive_buffer=4096) for _ in range(50)]
    for sock in heads:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    for number, sock in enumerate(uploads):
        length = (b"Transfer-Encoding: chunked", b"Content-Length: 20000000")[number % 2]
        start = (b"1312d00\r\n", b"")[number % 2]
        sock.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s" % (length, start))
        sock.sendall(BLOCK * 5)
    targets = itertools.cycle([b"/sparse", b"/one-block"])
    for sock, target in zip(readers, targets, strict=False):
        sock.sendall(b"GET %s?size=20000000 HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    stop = threading.Event()

    def send_slowly() -> None:
        # One byte per second and client. The server closes after --header-timeout: connect again.
        while not stop.is_set():
            for number, sock in enumerate(heads):
                try:
                    sock.sendall(b"y")
                except OSError:
                    sock.close()
                    heads[number] = server.connect()
            stop.wait(1)

    thread = threading.Thread(target=send_slowly)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for sock in [*heads, *uploads, *readers]:
            sock.close()


def pipeline(server: Server) -> int:
    """Pipeline 100,000 requests without reading; return how many bytes the server accepts."""
    requests = b"GET /block?size=10000 HTTP/1.1\r\nHost: a\r\n\r\n" * 100_000
    with server.connect(receive_buffer=4096) as sock:
        sock.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < len(requests):
                sent += sock.send(requests[sent : sent + 65536])
    return sent


def upload(server: Server, *, chunked: bool) -> None:
    """Send a large body and read the response."""
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % UPLOAD
    piece = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    with server.connect() as sock:
        sock.sendall(b"POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n\r\n" % length)
        for _ in range(UPLOAD // len(BLOCK)):
            sock.sendall(piece)
        if chunked:
            sock.sendall(b"0\r\n\r\n")
        response = b""
        while block := sock.recv(4096):
            response += block
        if not response.endswith(b"\r\n\r\n%d" % UPLOAD):
            sys.exit(f"wrong response to the upload: {response!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Attack the server with malicious clients.")
    parser.add_argument("--server", default=str(DEFAULT), help="path of the rustwsgi to run")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="duration of each latency measurement"
    )
    parser.add_argument("options", nargs="*", help="options for the server, after --")
    args = parser.parse_args()
    server = Server(args.server, *args.options)
    exceeded = []

    def report(what: str, value: float, limit: float, unit: str) -> None:
        print(f"{what:<40}{value:>10.2f} {unit}  (limit {limit:g})", flush=True)
        if value >= limit:
            exceeded.append(what)

    try:
        alone = server.median(args.seconds)
        print(f"{'median latency without attack':<40}{alone * 1e3:>10.2f} ms", flush=True)
        with server.growth() as grown, slow_clients(server):
            attacked = server.median(args.seconds)
        report("median latency with slow clients", attacked * 1e3, MAX_SLOWER * alone * 1e3, "ms")
        report("memory for slow clients", grown[0] / MIB, MAX_GROWTH / MIB, "MiB")
        with server.growth() as grown:
            sent = pipeline(server)
        print(f"{'bytes accepted of the pipeline':<40}{sent / MIB:>10.2f} MiB", flush=True)
        report("memory for the pipeline", grown[0] / MIB, MAX_GROWTH / MIB, "MiB")
        for chunked in (False, True):
            with server.growth() as grown:
                upload(server, chunked=chunked)
            kind = "chunked upload" if chunked else "upload with Content-Length"
            report(f"memory for {kind}", grown[0] / MIB, MAX_GROWTH / MIB, "MiB")
    finally:
        server.stop()
    if exceeded:
        sys.exit(f"limits exceeded: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
