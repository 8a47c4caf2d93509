"""The faults of hostile_observers.py, each in a process of its own.

As soon as they are in place, they run with the lowest priority (SCHED_IDLE), so that they do not
take the processors from the server.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

Address = tuple[str, int] | str

#: One address has too few ports for connections that have ended and those that follow.
SOURCES = 100
#: ip(7)
_IP_BIND_ADDRESS_NO_PORT = 24
#: The measurement begins with fewer connections if they take longer.
FILL_SECONDS = 10.0
#: Time from the beginning of a profile to the end of its worker.
_PROFILED_SECONDS = 0.15
_SPAWN = multiprocessing.get_context("spawn")


def connect(address: Address, timeout: float = 30.0, source: int = 1) -> socket.socket:
    """Open a connection to a TCP or a unix socket, over TCP from 127.0.0.`source`."""
    is_unix = isinstance(address, str)
    sock = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        if not is_unix:
            # Any port that is not used for this destination.
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((f"127.0.0.{source}", 0))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def shared_number() -> Synchronized[int]:
    """A number that this process and the faults share."""
    return _SPAWN.Value("L", 0)


def children(pid: int) -> list[int]:
    """The workers of a master; none if it has ended."""
    try:
        return [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Fault:
    """A process that is running, and how often it has done its deed."""

    #: They have the lowest priority.
    are_idle = True

    def __init__(self) -> None:
        self.pid = 0
        self.is_ready: Event = _SPAWN.Event()
        self.count = shared_number()

    @contextlib.contextmanager
    def running(self, target: Callable[..., None], *args: Any) -> Iterator[Fault]:
        """Run `target(is_ready, count, *args)` within the block."""
        process = _SPAWN.Process(target=target, args=(self.is_ready, self.count, *args))
        process.start()
        assert process.pid is not None
        self.pid = process.pid
        try:
            if not self.is_ready.wait(60):
                raise SystemExit(f"{target.__name__} is not in place after 60 s")
            if self.are_idle and target is not collect:
                os.sched_setscheduler(self.pid, os.SCHED_IDLE, os.sched_param(0))
            yield self
        finally:
            process.kill()
            process.join()


def hold_connections(
    is_ready: Event, made: Synchronized[int], address: Address, payload: bytes, number: int
) -> None:
    """Keep so many connections that have sent `payload` and read nothing, and replace the oldest
    again and again. With 1 each is closed at once."""
    held: deque[socket.socket] = deque()
    end = time.monotonic() + FILL_SECONDS
    while True:
        if not is_ready.is_set() and (len(held) >= number or time.monotonic() > end):
            is_ready.set()
        if len(held) >= number:
            held.popleft().close()
        try:
            held.append(connect(address, 0.2, 2 + made.value % SOURCES))
            made.value += 1
            held[-1].send(payload)
        except OSError:
            pass  # the accept queue is full, or the server has closed the connection


def read_state(
    is_ready: Event, asked: Synchronized[int], address: Address, streams: int, pollers: int
) -> None:
    """Read streams of events, and ask for the state of the server, until it ends."""
    with contextlib.suppress(ConnectionError):
        _read_state(is_ready, asked, address, streams, pollers)


def _read_state(
    is_ready: Event, asked: Synchronized[int], address: Address, streams: int, pollers: int
) -> None:
    get = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    streaming = [connect(address) for _ in range(streams)]
    for sock in streaming:
        sock.sendall(get.format("/events").encode())
    asking = [connect(address) for _ in range(pollers)]
    paths = ["/status", "/metrics", "/ready"]
    is_ready.set()
    while True:
        for number, sock in enumerate(asking):
            sock.sendall(get.format(paths[number % len(paths)]).encode())
        for sock in asking:
            _read_response(sock)
            asked.value += 1
        for sock in select.select(streaming, [], [], 0)[0]:
            sock.recv(1 << 20)


def _read_response(sock: socket.socket) -> None:
    response = b""
    while b"\r\n\r\n" not in response:
        block = sock.recv(1 << 16)
        if not block:
            raise ConnectionError("the server has ended the connection")
        response += block
    head, _, body = response.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    assert length is not None, head
    left = int(length[1]) - len(body)
    while left > 0:
        left -= len(sock.recv(min(left, 1 << 16)))


def end_workers(
    is_ready: Event,
    ended: Synchronized[int],
    master: int,
    spared: Synchronized[int],
    control: str | None,
) -> None:
    """End every worker but one again and again, by KILL and TERM in turn: with `control` while it
    sends its stacks, and a profile, to clients that read nothing."""
    is_ready.set()
    while True:
        for pid in children(master):
            if pid == spared.value:
                continue
            with contextlib.ExitStack() as stack:
                for command in ("stacks", "profile") if control else ():
                    with contextlib.suppress(OSError):
                        client = stack.enter_context(connect(control or "", 1))
                        client.sendall(_command(command, pid, 60))
                time.sleep(_PROFILED_SECONDS)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, (signal.SIGKILL, signal.SIGTERM)[ended.value % 2])
                    ended.value += 1
                time.sleep(_PROFILED_SECONDS)
        time.sleep(0.01)


def profile_unread(is_ready: Event, asked: Synchronized[int], master: int, control: str) -> None:
    """Ask all workers for stacks and short profiles, and read nothing."""
    held: deque[socket.socket] = deque()
    while True:
        for pid in children(master):
            for command in ("stacks", "profile"):
                with contextlib.suppress(OSError):
                    held.append(connect(control, 1))
                    held[-1].sendall(_command(command, pid, 0.05))
                    asked.value += 1
        while len(held) > 40:
            held.popleft().close()
        time.sleep(0.2)
        is_ready.set()


def _command(name: str, pid: int, seconds: float) -> bytes:
    values: dict[str, object] = {"command": name, "worker": pid}
    if name == "profile":
        values["seconds"] = seconds
    return json.dumps(values).encode() + b"\n"


def collect(is_ready: Event, received: Synchronized[int], paths: list[tuple[str, int]]) -> None:
    """Read what the server sends to statsd and syslog, at unix sockets of these paths and kinds.
    SIGSTOP makes it a collector that hangs."""
    sockets = []
    for path, kind in paths:
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(path)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        sockets.append(sock)
    listeners = [sock for sock in sockets if sock.type == socket.SOCK_STREAM]
    is_ready.set()
    while True:
        for sock in select.select(sockets, [], [])[0]:
            if sock in listeners:
                sockets.append(sock.accept()[0])
                continue
            received.value += 1
            if not sock.recv(1 << 16) and sock.type == socket.SOCK_STREAM:
                sockets.remove(sock)
                sock.close()
