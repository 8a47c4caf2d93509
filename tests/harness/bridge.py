"""HTTP/1.1 for a test, HTTP/2 for the server: with RUSTWSGI_TEST_HTTP2=1 each connection has a bridge.

It is a socket that takes requests as HTTP/1.1 writes them, sends each as a stream, and gives the
responses back as HTTP/1.1 writes them, in the order of the requests. It translates as an
intermediary has to [RFC 9113 section 8.2.2, 8.3.1], and passes on names, values, methods and targets
that are not allowed. So a test of a rule of HTTP or of PEP 3333 shows that the rule holds over HTTP/2.
The client of `http2` checks the frames that come from the server.

Bytes that mean nothing in HTTP/2 raise `NoForm`: such tests are left out by name, in `left_out`.
"""

from __future__ import annotations

import os
import re
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from .client import Client
from .http2 import Head, Http2Client

#: Fields of a connection, which HTTP/2 does not have.
OF_THE_CONNECTION = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
OF_THE_CONNECTION |= {b"transfer-encoding"}
SPELLINGS = {"etag": "ETag", "www-authenticate": "WWW-Authenticate"}
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def is_bridged() -> bool:
    """Whether requests that tests write as HTTP/1.1 are sent over HTTP/2."""
    return bool(os.environ.get("RUSTWSGI_TEST_HTTP2"))


class NoForm(AssertionError):
    """A request has no form in HTTP/2."""


@dataclass
class Exchange:
    """A request, and how much of its response was given to the test."""

    stream: int
    method: str
    interims: int = 0
    #: Of the response, once its head was given: "none", "length" or "chunked".
    framing: str | None = None


@dataclass
class Request:
    """The head of a request, as HTTP/2 has it."""

    method: str
    head: Head
    #: The length of the content; None if it is chunked.
    length: int | None = 0
    #: The server has to reject the head: what follows is not read.
    is_malformed: bool = False


def translate(lines: bytes, scheme: bytes) -> Request:
    """A head without its empty line."""
    first, *rest = lines.split(b"\r\n")
    if first.count(b" ") != 2 or not first.endswith(b" HTTP/1.1"):
        raise NoForm(f"the request line {first!r}")
    method, target, _ = first.split(b" ")
    fields = split_fields(rest)
    request = Request(method.decode("latin-1"), [(b":method", method)])
    find_content(request, fields)
    authority = next((value for name, value in fields if name == b"host"), None)
    if absolute := _ABSOLUTE.fullmatch(target):
        scheme, authority = absolute[1].lower(), absolute[2]
        target = absolute[3] if absolute[3].startswith(b"/") else b"/" + absolute[3]
    if method == b"CONNECT":
        authority = target
    else:
        request.head += [(b":scheme", scheme), (b":path", target)]
    if authority is not None:
        request.head.append((b":authority", authority))
    request.head += kept(fields)
    return request


def split_fields(lines: list[bytes]) -> Head:
    fields: Head = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or line.startswith((b" ", b"\t")):
            raise NoForm(f"the line {line!r}")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields


def kept(fields: Head) -> Head:
    """The fields that HTTP/2 has as well. A second Host stays, so that the server rejects it."""
    options = b",".join(value for name, value in fields if name == b"connection").split(b",")
    dropped = OF_THE_CONNECTION | {option.strip().lower() for option in options if option}
    found: Head = []
    hosts = 0
    for name, value in fields:
        hosts += name == b"host"
        if name not in dropped and (name, hosts) != (b"host", 1):
            found.append((name, value))
    return found


def find_content(request: Request, fields: Head) -> None:
    """How much content follows, by the fields of HTTP/1.1."""
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    lengths = [value for name, value in fields if name == b"content-length"]
    if codings:
        if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
            raise NoForm(f"the framing {codings}, {lengths}")
        request.length = None
    elif len(lengths) == 1 and re.fullmatch(rb"0*[0-9]{1,19}", lengths[0]):
        request.length = int(lengths[0])
    elif lengths:
        request.is_malformed = True


class Bridge:
    """A connection over HTTP/2 with the calls of a socket that the client uses."""

    def __init__(self, sock: Any, *, tls: bool = False) -> None:
        self._raw = sock
        self._scheme = b"https" if tls else b"http"
        self._http2 = Http2Client(Client(sock))
        #: Requests whose responses are not complete, in their order.
        self._exchanges: deque[Exchange] = deque()
        #: Bytes of the test that are not translated yet.
        self._unsent = bytearray()
        #: What these bytes are: see `_advance`.
        self._reading = "head"
        #: Bytes until the end of the content, or of the chunk.
        self._left = 0
        self._sending = 0
        #: Bytes for the test.
        self._ready = bytearray()
        self._is_over = False

    # out

    def sendall(self, data: bytes) -> None:
        self._unsent += data
        while self._advance():
            pass

    def _advance(self) -> bool:
        """Translate the next part of a request; False if it is not complete."""
        match self._reading:
            case "head":
                return self._read_head()
            case "content" | "chunk":
                return self._read_content()
            case "size":
                return self._read_size()
            case "trailers":
                return self._read_trailers()
            case _:
                self._unsent.clear()  # behind a malformed head
                return False

    def _take(self, end: bytes) -> bytes | None:
        """What comes before `end`, without it."""
        before, found, _ = self._unsent.partition(end)
        if not found:
            return None
        del self._unsent[: len(before) + len(end)]
        return bytes(before)

    def _read_head(self) -> bool:
        lines = self._take(b"\r\n\r\n")
        if lines is None:
            return False
        request = translate(lines, self._scheme)
        is_complete = request.length == 0 and not request.is_malformed
        stream = self._http2.send_head(request.head, end=is_complete)
        self._exchanges.append(Exchange(stream, request.method))
        self._sending = stream
        if request.is_malformed:
            self._reading = "nothing"
        elif request.length is None:
            self._reading = "size"
        elif request.length:
            self._reading, self._left = "content", request.length
        return True

    def _read_content(self) -> bool:
        piece = bytes(self._unsent[: self._left])
        if not piece:
            return False
        del self._unsent[: len(piece)]
        self._left -= len(piece)
        is_end = self._left == 0 and self._reading == "content"
        self._http2.send_body(self._sending, piece, end=is_end)
        if self._left == 0:
            self._reading = "head" if is_end else "size"
        return True

    def _read_size(self) -> bool:
        if self._unsent.startswith(b"\r\n"):
            del self._unsent[:2]  # behind the chunk before
        line = self._take(b"\r\n")
        if line is None:
            return False
        size = line.partition(b";")[0].strip(b" \t")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size):
            raise NoForm(f"the size of a chunk: {line!r}")
        self._left = int(size, 16)
        self._reading = "chunk" if self._left else "trailers"
        return True

    def _read_trailers(self) -> bool:
        if self._unsent.startswith(b"\r\n"):
            del self._unsent[:2]
            self._http2.send_body(self._sending, b"")
        else:
            lines = self._take(b"\r\n\r\n")
            if lines is None:
                return False
            self._http2.send_trailers(self._sending, split_fields(lines.split(b"\r\n")))
        self._reading = "head"
        return True

    # in

    def recv(self, size: int) -> bytes:
        self._give()
        while not self._ready and not self._is_over:
            is_open = self._http2.receive()
            self._give()
            self._is_over |= not is_open
        data = bytes(self._ready[:size])
        del self._ready[: len(data)]
        return data

    def _give(self) -> None:
        """Give the test what has come, up to the end of the first response that is not complete. One
        that was reset ends the connection, as over HTTP/1.1."""
        while self._exchanges and not self._is_over:
            exchange = self._exchanges[0]
            stream = self._http2.streams[exchange.stream]
            for status, fields in stream.interim[exchange.interims :]:
                self._give_head(status, fields)
                exchange.interims += 1
            if stream.status and exchange.framing is None:
                exchange.framing = framing_of(exchange.method, stream.status, stream.fields)
                more = [("transfer-encoding", "chunked")] if exchange.framing == "chunked" else []
                self._give_head(stream.status, [*stream.fields, *more])
            for block in stream.blocks:
                self._give_block(exchange, block)
            stream.blocks.clear()
            if not stream.ended:
                self._is_over = stream.reset is not None
                return
            if exchange.framing == "chunked":
                self._ready += b"0\r\n\r\n"
            self._exchanges.popleft()

    def _give_head(self, status: int, fields: list[tuple[str, str]]) -> None:
        known = {each.value: each.phrase for each in HTTPStatus}
        lines = [f"HTTP/1.1 {status} {known.get(status, '')}"]
        # HTTP/2 has no case of names; most applications write them so.
        lines += [f"{SPELLINGS.get(name, name.title())}: {value}" for name, value in fields]
        self._ready += "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _give_block(self, exchange: Exchange, block: bytes) -> None:
        if not block:
            return
        assert exchange.framing != "none", f"content where none is allowed: {block[:100]!r}"
        chunked = exchange.framing == "chunked"
        self._ready += b"%x\r\n%b\r\n" % (len(block), block) if chunked else block

    # the socket

    def close(self) -> None:
        self._raw.close()

    def shutdown(self, how: int) -> None:
        self._raw.shutdown(how)
        self._http2.is_shut = True

    def fileno(self) -> int:
        return self._raw.fileno()

    def getsockname(self) -> Any:
        return self._raw.getsockname()

    def getsockopt(self, *args: Any) -> Any:
        return self._raw.getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        self._raw.setsockopt(*args)

    def settimeout(self, timeout: float | None) -> None:
        self._raw.settimeout(timeout)


def framing_of(method: str, status: int, fields: list[tuple[str, str]]) -> str:
    """How HTTP/1.1 frames the content of a response. [RFC 9112 section 6.3]"""
    if method == "HEAD" or status in (204, 304):
        return "none"
    return "length" if any(name == "content-length" for name, _ in fields) else "chunked"
