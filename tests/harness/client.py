"""A client: it sends raw bytes, and its parser rejects responses that RFC 9112 does not allow."""

from __future__ import annotations

import json
import re
import select
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

#: Turns a hang into a failure; no test waits for it. A loaded machine may take seconds for what
#: takes milliseconds. It is less than the server's timeouts of 30 s, which would end some hangs.
TIMEOUT = 25.0


def build_request(
    method: str = "GET",
    target: str = "/",
    *,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """A request with a Host, and a Content-Length if there is a body, unless `fields` have them."""
    fields = list(fields)
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", "localhost"))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """The chunked coding of `chunks`, with its last chunk."""
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


class Malformed(AssertionError):
    """The server sent something that is not HTTP/1.1."""


class NoResponse(AssertionError):
    """The connection ended before the first byte of a response."""


@dataclass
class Response:
    """One response, exactly as it was on the wire."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    #: The data of each chunk, or None if the body was not chunked.
    chunks: list[bytes] | None = None
    #: False if the connection ended inside a chunked body or short of the Content-Length.
    complete: bool = True
    trailers: list[tuple[str, str]] = field(default_factory=list)
    #: How the body was framed: "none", "length", "chunked" or "close".
    framing: str = "none"

    def get(self, name: str, default: str | None = None) -> str | None:
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name: str) -> list[str]:
        return [v for n, v in self.fields if n.lower() == name.lower()]

    @property
    def connection(self) -> set[str]:
        """The connection options, in lower case."""
        options = ",".join(self.get_all("Connection")).split(",")
        return {option.strip().lower() for option in options if option.strip()}

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return (
            f"<Response {self.version} {self.status} {self.reason} {self.fields} {self.framing}"
            f" complete={self.complete} body[{len(self.body)}]={self.body[:200]!r}>"
        )


_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e\x80-\xff]"
    rb"(?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_MAX_LINE = 1 << 20


class Client:
    """One connection: sends raw bytes, parses responses strictly."""

    def __init__(self, sock: Any) -> None:
        #: A socket, or a `TlsSocket`.
        self.sock = sock
        self._buffer = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    @property
    def port(self) -> int:
        """The client's port, which the application sees as REMOTE_PORT."""
        return self.sock.getsockname()[1]

    # out

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_slowly(self, data: bytes) -> None:
        """Send each byte in a call, and (TCP_NODELAY) a segment, of its own."""
        for i in range(len(data)):
            self.sock.sendall(data[i : i + 1])

    def shutdown_write(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def is_broken(self) -> bool:
        """Whether the connection was reset, even if a FIN came first, which is all that a read reports."""
        asked = select.poll()
        asked.register(self.sock, 0)
        return any(events & select.POLLERR for _, events in asked.poll(0))

    # in

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def at_eof(self) -> bool:
        """Wait for the server: True if it ends its side, False if it sends something instead.

        A reset raises ConnectionResetError: a server that closes properly never resets.
        """
        return not self._buffer and not self._more()

    def rest(self) -> bytes:
        """Everything until the end of the connection."""
        while self._more():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer if the connection ends."""
        while len(self._buffer) < size and self._more():
            pass
        return self._take(size)

    def read_line(self) -> bytes:
        """Up to and including the next LF."""
        while (end := self._buffer.find(b"\n") + 1) == 0 and self._more():
            pass
        return self._take(end)

    def request(self, data: bytes, *, method: str | None = None) -> Response:
        """Send `data` and read one response; the method is taken from `data` if not given."""
        self.send(data)
        return self.response(method or data.lstrip().split(b" ", 1)[0].decode("latin-1"))

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more_or_reset(self) -> bool:
        """Inside a body an abort may be a reset just as well as a FIN."""
        try:
            return self._more()
        except ConnectionResetError:
            return False

    def _line(self) -> bytes | None:
        """A line without its CRLF; None if the connection ends before one is complete."""
        start = 0
        while True:
            at = self._buffer.find(b"\n", start)
            if at >= 0:
                line = self._take(at + 1)
                if not line.endswith(b"\r\n"):
                    raise Malformed(f"bare LF after {line!r}")
                if b"\r" in line[:-2]:
                    raise Malformed(f"bare CR in {line!r}")
                return line[:-2]
            start = len(self._buffer)
            if start > _MAX_LINE:
                raise Malformed("endless line")
            if not self._more_or_reset():
                return None

    def _fields(self) -> list[tuple[str, str]] | None:
        fields = []
        while True:
            line = self._line()
            if line is None:
                return None
            if not line:
                return fields
            match = _FIELD_LINE.fullmatch(line)
            if not match:
                raise Malformed(f"bad field line {line!r}")
            fields.append((match[1].decode("ascii"), match[2].decode("latin-1")))

    def head(self) -> Response:
        """The head of a response only; `next_chunk` then reads its chunks."""
        if not self._buffer and not self._more():
            raise NoResponse("the server closed the connection without a response")
        line = self._line()
        if line is None:
            raise Malformed(f"connection ended in the status line: {bytes(self._buffer)!r}")
        match = _STATUS_LINE.fullmatch(line)
        if not match:
            raise Malformed(f"bad status line {line!r}")
        fields = self._fields()
        if fields is None:
            raise Malformed(f"connection ended in the head after {line!r}")
        return Response(
            version=match[1].decode(),
            status=int(match[2]),
            reason=match[3].decode("latin-1"),
            fields=fields,
        )

    def response(self, method: str = "GET") -> Response:
        """Parse exactly one response, which may be interim; later bytes stay for the next call."""
        response = self.head()
        self.read_body(response, method)
        return response

    def read_body(self, response: Response, method: str) -> None:
        """The body after a `head`, as RFC 9112 section 6.3 frames it; every ambiguity is an
        error."""
        lengths = response.get_all("Content-Length")
        codings = response.get_all("Transfer-Encoding")
        if len(lengths) > 1 or any(not re.fullmatch("[0-9]+", n) for n in lengths):
            raise Malformed(f"bad Content-Length {lengths}")
        if codings and (codings != ["chunked"] or lengths or response.version != "HTTP/1.1"):
            raise Malformed(f"bad Transfer-Encoding {codings} in {response}")
        if response.status < 200 or response.status == 204:
            if lengths or codings:
                raise Malformed(f"{response.status} with a length field: {response.fields}")
            return
        if method == "HEAD" or response.status == 304:
            return
        if codings:
            self._chunked(response)
        elif lengths:
            response.framing = "length"
            size = int(lengths[0])
            while len(self._buffer) < size and self._more_or_reset():
                pass
            response.body = self._take(size)
            response.complete = len(response.body) == size
        else:
            response.framing = "close"
            while self._more():
                pass
            response.body = self._take(len(self._buffer))

    def next_chunk(self) -> bytes | None:
        """One chunk's data (b"" for the last chunk); None if the connection ends inside it."""
        line = self._line()
        if line is None:
            return None
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line):
            raise Malformed(f"bad chunk size line {line!r}")
        size = int(line, 16)
        if size == 0:
            return b""
        while len(self._buffer) < size + 2:
            if not self._more_or_reset():
                return None
        data = self._take(size)
        if self._take(2) != b"\r\n":
            raise Malformed("chunk data not followed by CRLF")
        return data

    def _chunked(self, response: Response) -> None:
        response.framing = "chunked"
        response.chunks = []
        while data := self.next_chunk():
            response.chunks.append(data)
        response.body = b"".join(response.chunks)
        trailers = self._fields() if data is not None else None
        response.complete = trailers is not None
        response.trailers = trailers or []
