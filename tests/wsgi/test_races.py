"""Eight clients at once use what threads share. With a GIL this finds little; without one, missing
locks. `make test-versions` runs it with every interpreter that it is given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import harness.wsgi  # noqa: F401  (puts apps/ on the path)
from harness import WITHOUT_GIL, Client, Response, ServerProcess, build_request

from races import FILE_SIZE  # isort: skip  (apps/)

CLIENTS = 8
ROUNDS = 60


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("races:app", "--threads", "8")


class Asker:
    """One client, which recognizes its own responses."""

    def __init__(self, client: Client, number: int) -> None:
        self.client, self.number, self.round = client, number, 0

    def ask(self, path: str, body: bytes | None = None) -> tuple[Response, bytes]:
        """The response, and the marks with which the application must have seen the request."""
        self.round += 1
        # Some values return, some are always new: what is remembered is used, and replaced.
        query = f"n={self.number}&r={self.round % 3}"
        own = [f"{self.number}-{self.round % size}" for size in (1, 2, 7)]
        fields = [(f"X-Client-{name}", value) for name, value in zip("ABC", own, strict=True)]
        fields.append(("User-Agent", f"client {self.number}"))
        method = "GET" if body is None else "POST"
        raw = build_request(method, f"{path}?{query}", fields=fields, body=body)
        response = self.client.request(raw, method=method)
        marks = [*own, query, path, method, str(self.client.port), f"client {self.number}"]
        return response, "|".join(marks).encode()

    def lines(self) -> list[bytes]:
        text = f"{self.number}:{self.round}".encode()
        return [text + b":%03d\n" % i for i in range(50)]


def at_once(server: ServerProcess, work) -> None:
    """Run `work` for every client, each on its own connection and thread."""

    def run(number: int) -> None:
        with server.connect() as client:
            asker = Asker(client, number)
            for _ in range(ROUNDS):
                work(asker)

    by_every_client(run)


def by_every_client(run: Callable[[int], None]) -> None:
    """Call `run` in a thread for each client, with the client's number."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(run, number) for number in range(CLIENTS)]:
            done.result()


def assert_own(response: Response, marks: bytes) -> None:
    assert response.status == 200 and response.complete, response
    assert response.get("X-Query") == marks.split(b"|")[3].decode()
    assert response.get("X-Late") is None


def test_extension_keeps_the_gil_off(server):
    """Importing the server must not enable the GIL."""
    enabled = server.get("/gil").body
    assert enabled == (b"False" if WITHOUT_GIL else b"True")


def test_environ_and_input_belong_to_one_request(server):
    def work(asker: Asker) -> None:
        body = b"".join(asker.lines()) if asker.round % 2 else None
        response, marks = asker.ask("/echo", body)
        assert_own(response, marks)
        assert response.body == marks + b"|" + hashlib.sha256(body or b"").hexdigest().encode()

    at_once(server, work)


def test_blocks_reach_their_own_client(server):
    def work(asker: Asker) -> None:
        lines = asker.lines()
        response, marks = asker.ask("/blocks", b"".join(lines))
        assert_own(response, marks)
        assert response.body == marks + b"".join(lines) + marks

    at_once(server, work)


def test_threads_may_share_one_input(server):
    def work(asker: Asker) -> None:
        lines = asker.lines()
        response, marks = asker.ask("/shared-input", b"".join(lines))
        assert_own(response, marks)
        assert response.body == b"".join(lines) + marks

    at_once(server, work)


def test_kept_objects_reach_no_other_request(server):
    def work(asker: Asker) -> None:
        response, marks = asker.ask("/keeps")
        assert_own(response, marks)
        assert response.body == marks

    at_once(server, work)


def test_concurrent_files_do_not_mix(server):
    def work(asker: Asker) -> None:
        response, marks = asker.ask("/file")
        assert_own(response, marks)
        assert response.body == bytes(range(250)) * (FILE_SIZE // 250)

    at_once(server, work)


def test_list_changed_by_another_thread_is_safe(server):
    """Every block sent was in the list."""

    def work(asker: Asker) -> None:
        response, marks = asker.ask("/changed-beside")
        assert_own(response, marks)
        assert response.get_all("X-More") in ([], ["more"])
        assert response.body in (b"0123456789", b"0123456789more")

    at_once(server, work)


def test_file_closed_by_another_thread_is_safe(server):
    """The whole file or nothing: never a file that another request has opened under the same
    descriptor."""
    content = bytes(range(250)) * (FILE_SIZE // 250)

    def run(number: int) -> None:
        for _ in range(ROUNDS // 2):
            with server.connect() as client:
                client.send(
                    build_request("GET", "/closed-beside", fields=[("Connection", "close")])
                )
                seen = client.rest()
            head, _, body = seen.partition(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 200 "):
                assert content.startswith(body)
            else:
                assert head.startswith(b"HTTP/1.1 500 ")

    by_every_client(run)
