"""The workloads: application, threads, connections and request of each.

A workload also has the expected response body, so that a server that is fast because its responses
are wrong does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from apps import generator, large, post

HELLO = b"Hello, World!"

#: The request fields of a browser with a session cookie, 12 with Host.
BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "http://127.0.0.1/catalogue?page=3&sort=price"),
    ("Cookie", "session=eyJ1c2VyIjo0Mn0.ZkVw.c2lnbmF0dXJlLW9mLXRoZS1jb29raWU; theme=dark"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Priority", "u=0, i"),
)  # and Host


def file_of(size: int) -> bytes:
    """The content of the static file of this size."""
    return bytes(range(256)) * (size // 256)


class Kind(Enum):
    """How a workload is measured."""

    LOAD = "load"  # requests/s, latency, CPU time and memory under wrk
    HANDSHAKE = "handshake"  # new TLS connections/s, each with one request
    THINK = "think"  # latency of quick requests beside slow ones, from clients that think
    IDLE = "idle"  # the same for one connection while many others are idle
    MEMORY = "memory"  # resident memory after the start and after load
    STARTUP = "startup"  # time from the command to the first response


@dataclass(frozen=True)
class Workload:
    """One row of the comparison."""

    #: The name on the command line.
    name: str
    #: The title in tables and in the chart.
    title: str
    #: The module in apps/.
    app: str = "hello"
    #: Threads that run the application, in each worker.
    threads: int = 1
    #: Worker processes.
    workers: int = 1
    #: Connections that wrk keeps busy.
    connections: int = 64
    #: The expected response body of the application.
    body: bytes = HELLO
    #: Fields of the request besides Host.
    fields: tuple[tuple[str, str], ...] = ()
    #: Whether the request is a POST of `post.PAYLOAD`.
    post: bool = False
    #: Whether each request uses a new connection.
    close: bool = False
    #: Whether the response has a Content-Length; otherwise it must be chunked.
    sized: bool = True
    #: How it is measured.
    kind: Kind = Kind.LOAD
    #: Whether clients speak TLS.
    tls: bool = False
    #: Whether clients speak HTTP/2.
    http2: bool = False
    #: With `http2`: streams that h2load keeps busy on each connection.
    streams: int = 16
    #: With `Kind.HANDSHAKE`: whether connections resume a session.
    resumed: bool = False
    #: With `Kind.IDLE`: idle connections at most.
    most_idle: int = 1_000_000
    #: The size of a static file in bytes, which is requested in place of the application.
    static: int = 0
    #: Whether nginx's constant response, or its static file, is comparable.
    nginx: bool = False
    #: Whether the application called without a server is measured, too.
    has_bound: bool = False

    @property
    def is_download(self) -> bool:
        """Whether MiB/s say more than requests/s."""
        return self.static >= 1 << 20

    @property
    def expected_body(self) -> bytes:
        """The expected response body. Not kept, because it may be large."""
        return file_of(self.static) if self.static else self.body

    @property
    def path(self) -> str:
        """The path of the request."""
        return f"/static/{self.static}.bin" if self.static else "/"

    def request(self) -> bytes:
        """The bytes of the request; wrk sends the same fields."""
        lines = [f"{'POST' if self.post else 'GET'} {self.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.post:
            lines.append(f"Content-Length: {len(post.PAYLOAD)}")
        if self.close:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
        return head + (post.PAYLOAD if self.post else b"")


WORKLOADS: tuple[Workload, ...] = (
    Workload("hello", "Hello, 1 thread", nginx=True),
    Workload("hello8", "Hello, 8 threads", threads=8, nginx=True),
    Workload("browser", "Browser-like head of 12 fields, 1 thread", fields=BROWSER, nginx=True),
    Workload("flask", "Flask, 1 thread", app="flask_hello", has_bound=True),
    Workload("flask8", "Flask, 8 threads", app="flask_hello", threads=8, has_bound=True),
    Workload("django8", "Django, 8 threads", app="django_hello", threads=8),
    Workload("sleep", "Waits 10 ms, 32 threads", app="sleep", threads=32),
    Workload("mixed", "1 % block for 50 ms, 64 connections, 8 threads", app="mixed", threads=8),
    Workload(
        "mixed4",
        "1 % block, 4 connections, 8 threads",
        app="mixed",
        threads=8,
        connections=4,
    ),
    Workload("cpu", "1 ms of pure Python, 8 threads", app="cpu", threads=8),
    Workload(
        "newconn", "A new connection per request, 8 threads", threads=8, close=True, nginx=True
    ),
    Workload("large", "1 MiB response, 1 thread", app="large", body=large.BODY),
    Workload("large8", "1 MiB response, 8 threads", app="large", threads=8, body=large.BODY),
    Workload("sendfile", "File of 1 MiB, 1 thread", app="sendfile", body=large.BODY),
    Workload(
        "generator",
        "Generator of 100 x 1 KiB, no length, 8 threads",
        app="generator",
        threads=8,
        body=generator.BODY,
        sized=False,
    ),
    Workload(
        "post",
        "POST of 64 KiB read in full, 1 thread",
        app="post",
        body=post.answer(post.PAYLOAD),
        post=True,
    ),
    Workload(
        "post8",
        "POST of 64 KiB read in full, 8 threads",
        app="post",
        threads=8,
        body=post.answer(post.PAYLOAD),
        post=True,
    ),
    Workload("static1k", "Static file of 1 KiB", static=1024, nginx=True),
    Workload("static100k", "Static file of 100 KiB", static=102400, nginx=True),
    Workload("tls", "HTTPS: hello, 1 thread", tls=True, nginx=True),
    Workload(
        "tlsnew",
        "HTTPS: new connections, full handshakes (ECDSA P-256)",
        tls=True,
        kind=Kind.HANDSHAKE,
        close=True,
        connections=8,
        nginx=True,
    ),
    Workload(
        "tlsresumed",
        "HTTPS: new connections, resumed sessions",
        tls=True,
        kind=Kind.HANDSHAKE,
        resumed=True,
        close=True,
        connections=8,
        nginx=True,
    ),
    Workload(
        "tls1m",
        "HTTPS: download of 1 MiB",
        tls=True,
        static=1 << 20,
        connections=16,
        nginx=True,
    ),
    Workload(
        "tls256m",
        "HTTPS: download of 256 MiB",
        tls=True,
        static=256 << 20,
        connections=4,
        nginx=True,
    ),
    Workload(
        "tlsidle",
        "HTTPS: one connection beside the idle ones",
        tls=True,
        connections=1,
        kind=Kind.IDLE,
        most_idle=2000,
        nginx=True,
    ),
    Workload("h2c", "HTTP/2: hello, cleartext", http2=True, connections=16, nginx=True),
    Workload("h2", "HTTP/2 over TLS: hello", http2=True, tls=True, connections=16, nginx=True),
    Workload(
        "h2sleep",
        "HTTP/2: waits 10 ms, 100 streams of one connection, 32 threads",
        app="sleep",
        threads=32,
        http2=True,
        connections=1,
        streams=100,
    ),
    Workload(
        "h2large",
        "HTTP/2: 1 MiB response",
        app="large",
        body=large.BODY,
        http2=True,
        connections=16,
        streams=1,
    ),
    Workload(
        "h2idle",
        "HTTP/2: one connection beside the idle ones",
        http2=True,
        connections=1,
        streams=1,
        kind=Kind.IDLE,
        most_idle=2000,
        nginx=True,
    ),
    Workload(
        "beside",
        "Quick requests beside slow ones, 2 workers of 4 threads",
        app="beside",
        threads=4,
        workers=2,
        kind=Kind.THINK,
    ),
    Workload(
        "idle",
        "One connection beside the idle ones, 8 threads",
        threads=8,
        connections=1,
        kind=Kind.IDLE,
        nginx=True,
    ),
    Workload("memory", "Memory, hello, 8 threads", threads=8, kind=Kind.MEMORY, nginx=True),
    Workload(
        "startup",
        "Start to first answer, hello, 8 threads",
        threads=8,
        kind=Kind.STARTUP,
        nginx=True,
    ),
)

BY_NAME: Mapping[str, Workload] = {workload.name: workload for workload in WORKLOADS}
