"""Checks a server's responses before its speed is measured.

A small strict client: it checks status, framing, body and whether the connection is reused, and
describes the first error.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from workloads import Workload

#: Limit for one response, in seconds.
TIMEOUT = 5.0
#: Enough to close a connection, even on a busy machine.
CLOSE_SECONDS = 1.0


#: The certificate is not verified: it is one of the server's own machine.
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


class ProbeError(Exception):
    """A response is wrong; the message describes the error."""


class ClosesError(ProbeError):
    """The responses are correct, but the server closes the connection after each."""


@dataclass(frozen=True)
class Answer:
    """One response."""

    #: The fields, with names in lower case.
    fields: list[tuple[str, str]]
    #: The body without its framing.
    body: bytes
    #: `length`, `chunked` or `close`.
    framing: str
    #: Whether the response announces that the connection closes.
    closes: bool


class Client:
    """A connection with a read buffer."""

    def __init__(
        self, port: int, timeout: float = TIMEOUT, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        if tls:
            self.socket = tls.wrap_socket(self.socket)
        self._buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, request: bytes) -> Answer:
        """Send a request and read the whole response."""
        try:
            self.socket.sendall(request)
            return self._answer()
        except TimeoutError:
            raise ProbeError(f"no response within {TIMEOUT:.0f} s") from None
        except OSError as error:
            raise ProbeError(f"connection lost: {error.strerror or error}") from None

    def at_end(self) -> bool:
        """Whether the server closes the connection without sending more."""
        # uwsgi only closes after its timeout of 4 s: that does not count.
        self.socket.settimeout(CLOSE_SECONDS)
        try:
            return not self._buffer and self.socket.recv(1) == b""
        except (ConnectionResetError, ssl.SSLEOFError):
            return True
        except TimeoutError:
            return False

    def _more(self) -> bool:
        data = self.socket.recv(1 << 18)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        parts = [self._buffer]
        missing = size - len(self._buffer)
        while missing > 0:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ProbeError("the connection ends within the body")
            parts.append(data)
            missing -= len(data)
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return whole[:size]

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            if not self._more():
                raise ProbeError("the connection ends within the response")
        taken, self._buffer = self._buffer.split(end, 1)
        return taken

    def _answer(self) -> Answer:
        status, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, _, code = status.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or code.split(" ")[0] != "200":
            raise ProbeError(f"status line {status!r}")
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name.strip() == name:
                raise ProbeError(f"field line {line!r}")
            fields.append((name.lower(), value.strip()))
        lengths = [value for name, value in fields if name == "content-length"]
        codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
        options = ",".join(value for name, value in fields if name == "connection").lower()
        closes = "close" in options or (version == "HTTP/1.0" and "keep-alive" not in options)
        if len(lengths) + len(codings) > 1:
            raise ProbeError("more than one length of the body")
        if lengths:
            if not lengths[0].isdigit():
                raise ProbeError(f"Content-Length: {lengths[0]}")
            return Answer(fields, self._take(int(lengths[0])), "length", closes)
        if codings == ["chunked"]:
            return Answer(fields, self._chunks(), "chunked", closes)
        if codings:
            raise ProbeError(f"Transfer-Encoding: {codings[0]}")
        while self._more():
            pass
        body, self._buffer = self._buffer, b""
        return Answer(fields, body, "close", True)

    def _chunks(self) -> bytes:
        blocks = []
        while size := self._chunk_size():
            blocks.append(self._take(size))
            if self._take(2) != b"\r\n":
                raise ProbeError("a chunk is longer than its size")
        if self._take(2) != b"\r\n":
            raise ProbeError("data after the last chunk")
        return b"".join(blocks)

    def _chunk_size(self) -> int:
        line = self._until(b"\r\n")
        try:
            return int(line, 16)
        except ValueError:
            raise ProbeError(f"chunk size {line[:24]!r}") from None


def check(port: int, workload: Workload) -> str:
    """Raise `ProbeError` unless several requests get correct responses. Return a remark, if any."""
    remark = ""
    if workload.close:
        for _ in range(2):
            with _connect(port, workload) as client:
                remark = _check_answer(client.ask(workload.request()), workload)
                if not client.at_end():
                    raise ProbeError("the connection stays open after Connection: close")
        return remark
    with _connect(port, workload) as client:
        turns = ("first", "second", "third")
        for turn in turns[:2] if workload.is_download else turns:
            try:
                answer = client.ask(workload.request())
            except ProbeError as error:
                raise ProbeError(f"{turn} request on a connection: {error}") from None
            remark = _check_answer(answer, workload)
            if answer.closes:
                raise ClosesError("closes the connection after each response")
    return remark


def _connect(port: int, workload: Workload) -> Client:
    try:
        return Client(port, tls=TLS if workload.tls else None)
    except OSError as error:
        raise ProbeError(f"cannot connect: {error}") from None


def _check_answer(answer: Answer, workload: Workload) -> str:
    if answer.body != workload.expected_body:
        raise ProbeError(f"wrong body: {len(answer.body)} bytes, {answer.body[:24]!r}...")
    if workload.sized and answer.framing != "length":
        if workload.static and answer.framing == "chunked":
            # Correct, although the size of the file is known.
            return "sends files chunked"
        raise ProbeError(f"the application's Content-Length is lost ({answer.framing})")
    return ""


def wait_until_up(
    port: int,
    request: bytes,
    deadline: float,
    is_alive: Callable[[], bool],
    *,
    tls: ssl.SSLContext | None = None,
) -> float:
    """Connect until the server responds; return `time.perf_counter()` at its first byte.

    A refused connection costs the server nothing, so this tries every millisecond.
    """
    while time.monotonic() < deadline and is_alive():
        try:
            with Client(port, 10.0, tls=tls) as client:
                client.socket.sendall(request)
                if client.socket.recv(1):
                    return time.perf_counter()
        except OSError:
            pass
        time.sleep(0.001)
    raise ProbeError("does not start")
