"""For tests of the master: its workers, and clients that send requests all the time."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from harness import TIMEOUT, Client, NoResponse, ServerProcess, build_request, wait_until

GET = build_request("GET", "/")


def children(pid: int) -> set[int]:
    """The living child processes of `pid` (Linux)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            columns = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(columns[1]) == pid and columns[0] != "Z":
            found.add(int(path.parent.name))
    return found


def descriptors(pid: int) -> list[str]:
    """What the open descriptors of a process are (Linux). One may be closed meanwhile."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except OSError:
            continue
    return found


def holds(pid: int, client: Client) -> bool:
    """Whether a process has the server's end of the client's connection (Linux)."""
    inodes = descriptors(pid)
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Clients of other servers may have the same port.
    ends = [row for row in rows if row[2].endswith(f":{client.port:04X}") and row[3] == "01"]
    return any(f"socket:[{row[9]}]" in inodes for row in ends)


def is_asleep(pid: int) -> bool:
    """Whether all threads of a process wait for something (Linux)."""
    return set(thread_states(pid)) == {"S"}


def thread_states(pid: int) -> list[str]:
    """The letters of proc(5) for the states of a process's threads. One may end meanwhile."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            found.append(path.read_text().rpartition(") ")[2][0])
        except OSError:
            continue
    return found


def listens(path: Path) -> bool:
    """Whether a process listens on a unix socket. The file exists a moment earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def freeze(pid: int) -> None:
    """Stop a process, and wait until it has stopped: its threads may run for a while after the
    signal. SIGCONT resumes it."""
    os.kill(pid, signal.SIGSTOP)

    wait_until(lambda: set(thread_states(pid)) == {"T"}, f"all threads of {pid} have stopped")


def workers(server: ServerProcess, count: int, without: set[int] = frozenset()) -> set[int]:
    """The workers, once there are `count` and none of `without` is among them."""
    found: set[int] = set()

    def are_there() -> bool:
        found.clear()
        found.update(children(server.pid))
        return len(found) == count and not found & without

    wait_until(
        are_there, f"{count} workers, none of {without}: {children(server.pid)}\n{server.stderr()}"
    )
    return found


def serving_pid(server: ServerProcess) -> int:
    """The process that answers a new connection, once the start is complete: until then the master
    takes a worker for one that boots, and treats signals otherwise."""
    server.wait_for_event("server.ready")
    return int(server.get("/").body)


class Load:
    """Clients in threads, each sending its next request when it has its response.

    Some keep their connections, some make a new one for each request. Everything that is not a
    complete 200 is a failure, and so is a connection that ends without a response; a kept
    connection that the server closes with `Connection: close` is not. Nor is one that ends before
    its first request, if the client took longer than `first_request_seconds` to make it.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        kept: int = 6,
        fresh: int = 2,
        request: bytes = GET,
        first_request_seconds: float = math.inf,
    ) -> None:
        self._connect = connect
        self._first_request_seconds = first_request_seconds
        self._request = request
        self._kinds = [True] * kept + [False] * fresh
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        #: How many requests each client has begun.
        self._begun = [0] * len(self._kinds)
        self.answered = 0
        self.failures: list[str] = []
        self.bodies: set[bytes] = set()

    def __enter__(self) -> Load:
        for number in range(len(self._kinds)):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            thread.start()
            self._threads.append(thread)
        wait_until(lambda: self.answered >= len(self._kinds), "every client was answered once")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _run(self, number: int) -> None:
        client: Client | None = None
        keep = self._kinds[number]
        while not self._end.is_set():
            served = 0
            begin, sent = time.monotonic(), math.inf
            try:
                client = self._connect()
                while not self._end.is_set():
                    self._begun[number] += 1
                    client.send(self._request)
                    sent = min(sent, time.monotonic())
                    response = client.response("GET")
                    served += 1
                    with self._lock:
                        self.answered += 1
                        self.bodies.add(response.body)
                        if response.status != 200 or not response.complete:
                            self.failures.append(repr(response))
                    if not keep or "close" in response.connection:
                        break
            except (OSError, NoResponse, AssertionError) as failure:
                is_late = served == 0 and sent - begin > self._first_request_seconds
                if is_late and isinstance(failure, NoResponse):
                    continue
                with self._lock:
                    self.failures.append(f"{failure!r} after {served} responses")
            finally:
                if client is not None:
                    client.close()

    def settle(self) -> None:
        """Wait until all responses to requests that were sent before are counted."""
        before = list(self._begun)
        pairs = range(len(before))
        wait_until(
            lambda: all(self._begun[number] > before[number] for number in pairs),
            f"each client sends another request: {self.failures[:3]}",
        )

    def more(self, count: int = 50) -> None:
        """Wait until `count` more requests were answered."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal, f"{count} more responses: {self.failures[:3]}")


def refuses(server: ServerProcess) -> bool:
    try:
        server.connect().close()
    # Reset: the listener was closed between two steps of the handshake.
    except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
        return True
    return False


def connect_to(host: str, port: int) -> Client:
    sock = socket.create_connection((host, port), timeout=TIMEOUT)
    return Client(sock)


def end(pid: int, sig: int) -> None:
    """Signal a process of the server that may have ended already."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def reloads(server: ServerProcess) -> int:
    return len(re.findall(r"\[reload.completed\]", server.stderr()))
