"""Fake collectors of logs and metrics: syslog and statsd, on real sockets."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

from .client import TIMEOUT


class Collector:
    """Receives datagrams, or streams of messages that end with NUL or LF, until it is closed."""

    def __init__(self, sock: socket.socket, *, paused: bool = False) -> None:
        self.sock = sock
        self.connections = 0
        self._messages: list[bytes] = []
        self._changed = threading.Condition()
        self._closing = False
        self._threads: list[threading.Thread] = []
        if not paused:
            self.resume()

    @classmethod
    def udp(cls) -> Collector:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        return cls(sock)

    @classmethod
    def tcp(cls, port: int = 0) -> Collector:
        return cls(socket.create_server(("127.0.0.1", port)))

    @classmethod
    def unix(cls, path: Path, kind: int = socket.SOCK_DGRAM, *, paused: bool = False) -> Collector:
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(str(path))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        return cls(sock, paused=paused)

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def resume(self) -> None:
        """Begin to read."""
        self._start(self._accept if self._is_stream() else self._receive, self.sock)

    def _is_stream(self) -> bool:
        return bool(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM)

    def _start(self, run, sock: socket.socket) -> None:
        sock.settimeout(0.05)
        thread = threading.Thread(target=run, args=(sock,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _add(self, *messages: bytes) -> None:
        with self._changed:
            self._messages += messages
            self._changed.notify_all()

    def _receive(self, sock: socket.socket) -> None:
        while not self._closing:
            try:
                self._add(sock.recv(65536))
            except TimeoutError:
                pass

    def _accept(self, sock: socket.socket) -> None:
        while not self._closing:
            try:
                connection = sock.accept()[0]
            except TimeoutError:
                continue
            self.connections += 1
            self._start(self._read, connection)

    def _read(self, sock: socket.socket) -> None:
        rest = b""
        with sock:
            while not self._closing:
                try:
                    data = sock.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    return
                *whole, rest = re.split(rb"(?<=[\0\n])", rest + data)
                self._add(*whole)

    def messages(self) -> list[str]:
        with self._changed:
            return [message.decode() for message in self._messages]

    def wait_for(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """Wait for so many messages that match."""
        deadline = time.monotonic() + TIMEOUT
        with self._changed:
            while True:
                texts = [message.decode() for message in self._messages]
                found = [
                    match for match in (re.search(pattern, text, re.M) for text in texts) if match
                ]
                left = deadline - time.monotonic()
                if len(found) >= count or left <= 0:
                    assert len(found) >= count, f"not {count} of {pattern!r} in {texts}"
                    return found
                self._changed.wait(left)

    def metrics(self) -> list[str]:
        """The lines of all datagrams."""
        return [line for message in self.messages() for line in message.split("\n")]

    def close(self) -> None:
        self._closing = True
        for thread in self._threads:
            thread.join()
        self.sock.close()

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
