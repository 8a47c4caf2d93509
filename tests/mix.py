"""Clients of apps/mixed.py: each kind of request, and crowds that send them at random.

A kind is a function that is given a `Session` and checks what comes back. The polite kinds work
through a proxy as well. The rude ones break off, break rules or take their time; they need a
connection of their own.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from harness import TIMEOUT, Client, NoResponse, Response, build_request, chunked, wait_until

BLOCK = bytes(range(256)) * 4
KIB = 1024
Kind = Callable[["Session"], None]


class Session:
    """One client: it keeps its connection as long as the server does, and counts the answers."""

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
        """Send one request on the kept connection; its answer."""
        self.client.send(raw)
        return self.hear(raw, status)

    def hear(self, raw: bytes, status: int = 200) -> Response:
        """The answer to a request that was sent on the kept connection."""
        response = self.client.response(raw.split(b" ", 1)[0].decode())
        while response.status < 200:
            response = self.client.response(raw.split(b" ", 1)[0].decode())
        return self.note(response, status, raw)

    def note(self, response: Response, status: int, raw: bytes) -> Response:
        """Count an answer, which must be complete and have this status."""
        self.answers[response.status] += 1
        assert response.status == status and response.complete, (raw[:80], response)
        if self._client is not None and "close" in response.connection:
            self.leave()
        return response

    def word(self) -> str:
        return f"{self.random.getrandbits(48):x}"


# ---------------------------------------------------------------------------------- polite kinds


def hello(session: Session) -> None:
    word = session.word()
    assert session.ask(build_request("GET", f"/hello?{word}")).text == f"hello {word}"


def same_again(session: Session) -> None:
    """The very bytes of the request before."""
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
    """A body, and what /sum says of it."""
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
    """Goes to a temporary file."""
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


POLITE: dict[Kind, int] = {
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


# ----------------------------------------------------------------------------------------- crowds


class Crowd:
    """Clients in threads, each with a session of its own, which they go through at random.

    They stop when `share` answers were counted by each, or at the end of the `with` block.
    `failures` has what was not as expected; the client that met it goes on anew.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        kinds: dict[Kind, int],
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
        """The number of answers with each status."""
        return sum((Counter(session.answers) for session in self.sessions), Counter())

    def more(self, count: int) -> None:
        """Wait until so many more requests were answered."""
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
