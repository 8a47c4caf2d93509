"""Clients of apps/mixed.py: each kind of request, and crowds that send them at random.

A kind is a function that gets a `Session` and checks the response. The polite kinds work through a
proxy as well. The rude ones pipeline, disconnect, break rules or are slow.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from harness import TIMEOUT, Client, NoResponse, Response, build_request, chunked, wait_until

BLOCK = bytes(range(256)) * 4
KIB = 1024
Kind = Callable[["Session"], None]
#: Stands for a status where the client did not wait for one.
GIVEN_UP = 0


class Session:
    """One client: it keeps its connection as long as the server does, and counts the responses."""

    def __init__(self, connect: Callable[[], Client], seed: int) -> None:
        self.connect = connect
        self.random = Random(seed)
        self.answers: Counter[int] = Counter()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The kept connection."""
        if self._client is None:
            self._client = self.connect()
        return self._client

    def leave(self) -> None:
        """End the kept connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(self, raw: bytes, status: int = 200) -> Response:
        """Send one request on the kept connection; return the response."""
        self.client.send(raw)
        return self.hear(raw, status)

    def hear(self, raw: bytes, status: int = 200) -> Response:
        """The response to a request that was sent on the kept connection."""
        response = self.client.response(raw.split(b" ", 1)[0].decode())
        while response.status < 200:
            response = self.client.response(raw.split(b" ", 1)[0].decode())
        self.note(response, status, raw)
        if "close" in response.connection:
            self.leave()
        return response

    def note(self, response: Response, status: int, raw: bytes) -> Response:
        """Count a response, which must be complete and have this status."""
        self.answers[response.status] += 1
        assert response.status == status and response.complete, (raw[:80], response)
        return response

    def word(self) -> str:
        return f"{self.random.getrandbits(48):x}"


# ---------------------------------------------------------------------------------- polite kinds


def hello(session: Session) -> None:
    word = session.word()
    assert session.ask(build_request("GET", f"/hello?{word}")).text == f"hello {word}"


def same_again(session: Session) -> None:
    """The same bytes as the request before."""
    raw = build_request("GET", "/hello?again", fields=[("Cookie", "a=b"), ("Accept", "*/*")])
    for _ in range(10):
        assert session.ask(raw).body == b"hello again"


def head(session: Session) -> None:
    response = session.ask(build_request("HEAD", "/large?5000"))
    assert response.get("Content-Length") == "5000" and not response.body
    session.ask(build_request("HEAD", "/blocks?3"))


def nothing(session: Session) -> None:
    session.ask(build_request("GET", "/nothing"), 204)
    session.ask(build_request("GET", "/unchanged"), 304)


def generated(session: Session) -> None:
    count = session.random.randint(0, 40)
    assert session.ask(build_request("GET", f"/blocks?{count}")).body == BLOCK * count


def written(session: Session) -> None:
    count = session.random.randint(1, 10)
    assert session.ask(build_request("GET", f"/write?{count}")).body == BLOCK * count


def large(session: Session) -> None:
    size = session.random.randint(1, 300 * KIB)
    assert session.ask(build_request("GET", f"/large?{size}")).body == b"l" * size


def filed(session: Session) -> None:
    size = session.random.randint(1, 100 * KIB)
    assert session.ask(build_request("GET", f"/file?{size}")).body == b"f" * size


def body_of(session: Session, most: int) -> tuple[bytes, bytes]:
    """A body, and the response of /sum to it."""
    size = session.random.randint(0, most)
    body = (b"%x." % session.random.getrandbits(96)) * (size // 20 + 1)
    return body, b"%d %s" % (len(body), hashlib.sha1(body).hexdigest().encode())


def post(session: Session) -> None:
    body, told = body_of(session, 20 * KIB)
    assert session.ask(build_request("POST", "/sum", body=body)).body == told


def post_chunked(session: Session) -> None:
    body, told = body_of(session, 20 * KIB)
    pieces = [body[at : at + 4000] for at in range(0, len(body), 4000)]
    fields = [("Transfer-Encoding", "chunked")]
    raw = build_request("POST", "/sum", fields=fields, body=chunked(*pieces))
    assert session.ask(raw).body == told


def post_large(session: Session) -> None:
    """A body that is spooled to a temporary file."""
    body, told = body_of(session, 2 * KIB * KIB)
    assert session.ask(build_request("PUT", "/sum", body=body)).body == told


def expect(session: Session) -> None:
    body, told = body_of(session, 5 * KIB)
    fields = [("Expect", "100-continue"), ("Content-Length", str(len(body)))]
    raw = build_request("POST", "/sum", fields=fields)
    session.client.send(raw)
    assert session.client.response("POST").status == 100
    session.client.send(body)
    assert session.hear(raw).body == told


def new_connection(session: Session) -> None:
    session.leave()
    hello(session)
    session.leave()


POLITE: dict[Kind, float] = {
    hello: 20,
    same_again: 6,
    head: 4,
    nothing: 4,
    generated: 4,
    written: 2,
    large: 3,
    filed: 2,
    post: 8,
    post_chunked: 4,
    post_large: 1,
    expect: 2,
    new_connection: 2,
}


# ------------------------------------------------------------------------------------ rude kinds

#: What must be rejected, and with what.
BAD = [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        400,
    ),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: y\r\n\r\n", 417),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
]


def pipelined(session: Session) -> None:
    words = [session.word() for _ in range(session.random.randint(2, 60))]
    requests = [build_request("GET", f"/hello?{word}") for word in words]
    session.client.send(b"".join(requests))
    for word, raw in zip(words, requests, strict=True):
        assert session.hear(raw).text == f"hello {word}"


def pipelined_kinds(session: Session) -> None:
    requests = [
        build_request("POST", "/sum", body=b"abc"),
        build_request("HEAD", "/large?9"),
        build_request(
            "POST", "/sum", fields=[("Transfer-Encoding", "chunked")], body=chunked(b"abc")
        ),
        build_request("GET", "/blocks?2"),
        build_request("GET", "/file?10"),
    ]
    expected = [b"3 a9993e36", b"", b"3 a9993e36", BLOCK * 2, b"f" * 10]
    session.client.send(b"".join(requests))
    for raw, start in zip(requests, expected, strict=True):
        assert session.hear(raw).body.startswith(start)


def unread(session: Session) -> None:
    session.ask(build_request("POST", "/unread", body=b"u" * session.random.randint(1, 30000)))


def many_fields(session: Session) -> None:
    fields = [(f"X-{session.word()}", session.word()) for _ in range(60)]
    session.ask(build_request("GET", "/hello?fields", fields=fields))


def raised(session: Session) -> None:
    session.ask(build_request("GET", "/raise"), 500)


def broken_off(session: Session) -> None:
    with session.connect() as client:
        response = client.request(build_request("GET", "/break?3"))
        session.answers[response.status] += 1
        assert response.status == 200 and not response.complete and response.body == BLOCK * 3


def bad(session: Session) -> None:
    raw, status = session.random.choice(BAD)
    with session.connect() as client:
        client.send(raw)
        response = client.response()
        session.answers[response.status] += 1
        assert response.status in (status if isinstance(status, set) else {status}), response
        assert client.at_eof()


def old_version(session: Session) -> None:
    with session.connect() as client:
        raw = build_request("GET", "/hello?old", version="HTTP/1.0")
        session.note(client.request(raw), 200, raw)
        assert client.at_eof()


def half_closed(session: Session) -> None:
    with session.connect() as client:
        raw = build_request("GET", "/blocks?20")
        client.send(raw)
        client.shutdown_write()
        assert session.note(client.response(), 200, raw).body == BLOCK * 20
        assert client.at_eof()


def dribbled(session: Session) -> None:
    with session.connect() as client:
        raw = build_request("POST", "/sum", body=b"abc")
        client.send_slowly(raw)
        session.note(client.response(), 200, raw)


def slow_reader(session: Session) -> None:
    """Reads a little at a time of a response larger than the socket buffers."""
    target = session.random.choice(["/blocks?3000", "/large?3000000", "/file?3000000"])
    with session.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw = build_request("GET", target)
        client.send(raw)
        time.sleep(0.02)
        session.note(client.response(), 200, raw)


def left_in_a_response(session: Session) -> None:
    target = session.random.choice(["/blocks?2000", "/large?2000000", "/file?2000000"])
    with session.connect() as client:
        client.send(build_request("GET", target))
        if session.random.random() < 0.7:
            client.read(session.random.choice([1, 1000, 100_000]))
        session.answers[GIVEN_UP] += 1
        if session.random.random() < 0.5:
            client.reset()


def left_in_a_request(session: Session) -> None:
    size = session.random.choice([10, 5000, 600_000])
    raw = build_request("POST", "/sum", body=b"b" * size)
    if session.random.random() < 0.5:
        fields = [("Transfer-Encoding", "chunked")]
        raw = build_request("POST", "/sum", fields=fields, body=chunked(b"b" * size))
    with session.connect() as client:
        client.send(raw[: session.random.randrange(len(raw) - 5)])
        session.answers[GIVEN_UP] += 1
        if session.random.random() < 0.5:
            client.reset()


def left_before_the_answer(session: Session) -> None:
    with session.connect() as client:
        client.send(build_request("GET", "/hello?left") * session.random.randint(1, 3))
        session.answers[GIVEN_UP] += 1
        client.reset()


RUDE: dict[Kind, float] = {
    pipelined: 8,
    pipelined_kinds: 2,
    unread: 2,
    many_fields: 2,
    raised: 2,
    broken_off: 2,
    bad: 4,
    old_version: 1,
    half_closed: 1,
    dribbled: 1,
    slow_reader: 1,
    left_in_a_response: 2,
    left_in_a_request: 3,
    left_before_the_answer: 2,
}


# ------------------------------------------------- kinds that wait for a time limit of the server


def stalled(session: Session) -> None:
    """Stalls in the head or in the body and gets 408 at the timeout."""
    session.leave()
    raw = build_request("POST", "/sum", body=b"abc")
    with session.connect() as client:
        client.send(raw[: session.random.choice([10, len(raw) - 1])])
        client.sock.settimeout(60)
        response = client.response()
        session.answers[response.status] += 1
        assert response.status == 408 and client.at_eof()


def idle(session: Session) -> None:
    session.leave()
    with session.connect() as client:
        raw = build_request("GET", "/hello?idle")
        session.note(client.request(raw), 200, raw)
        client.sock.settimeout(60)
        assert client.at_eof()


PATIENT: dict[Kind, float] = {stalled: 0.05, idle: 0.05}


# ----------------------------------------------------------------------------------------- crowds


class Crowd:
    """Clients in threads, each with a session of its own, which they go through at random.

    They stop when `share` answers were counted by each, or at the end of the `with` block.
    `failures` has what was not as expected; the client that met it goes on anew.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        kinds: dict[Kind, float],
        *,
        clients: int,
        share: int | None = None,
        seed: int = 0,
    ) -> None:
        self._kinds: Sequence[Kind] = list(kinds)
        self._weights = list(kinds.values())
        self._share = share
        self._end = threading.Event()
        self.sessions = [Session(connect, seed * 1000 + number) for number in range(clients)]
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(session,), daemon=True)
            for session in self.sessions
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(6 * TIMEOUT)

    def join(self, timeout: float | None = None) -> None:
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "a client waits for ever"

    @property
    def answers(self) -> Counter[int]:
        """The number of responses with each status."""
        return sum((Counter(session.answers) for session in self.sessions), Counter())

    def more(self, count: int) -> None:
        """Wait until `count` more requests were answered."""
        goal = self.answers.total() + count
        wait_until(
            lambda: self.answers.total() >= goal, f"{count} more: {self.failures[:3]}", 3 * TIMEOUT
        )

    def _run(self, session: Session) -> None:
        while not self._end.is_set():
            if self._share is not None and session.answers.total() >= self._share:
                break
            kind = session.random.choices(self._kinds, self._weights)[0]
            try:
                kind(session)
            except (OSError, NoResponse, AssertionError) as failure:
                self.failures.append(f"{kind.__name__}: {failure!r}")
                session.leave()
        session.leave()
