"""A client of HTTP/2 over a socket, by the `h2` library: frames out, events in."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from .client import Client

Fields = Iterable[tuple[str, str]]
#: Names and values as they are sent.
Head = list[tuple[bytes, bytes]]


@dataclass
class Stream:
    """What has arrived of one stream."""

    status: int = 0
    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    #: What each DATA frame has brought.
    blocks: list[bytes] = field(default_factory=list)
    ended: bool = False
    #: The error code of a reset.
    reset: int | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    @property
    def done(self) -> bool:
        return self.ended or self.reset is not None

    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name]


class Http2Client:
    """A connection. `reads` is whether it gives flow control back for what it has read."""

    def __init__(
        self,
        client: Client,
        *,
        reads: bool = True,
        settings: dict[int, int] | None = None,
        upgraded: bool = False,
    ) -> None:
        self.client = client
        self.reads = reads
        self.streams: dict[int, Stream] = defaultdict(Stream)
        #: The error code of a GOAWAY, and the last stream that it names.
        self.goaway: tuple[int, int] | None = None
        self.closed = False
        #: This side is shut down: nothing is sent any more.
        self.is_shut = False
        self.pings = 0
        #: How many have come.
        self.frames = 0
        self._received = b""
        config = h2.config.H2Configuration(
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.h2 = h2.connection.H2Connection(config)
        for code, value in (settings or {}).items():
            self.h2.local_settings[code] = value
        self.h2.local_settings.acknowledge()
        if upgraded:
            # The request is the first stream, and its SETTINGS were sent with it.
            self.h2.initiate_upgrade_connection()
        else:
            self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.is_shut:
            self.client.send(data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes that the library does not know of."""
        self.client.send(data)

    def start(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        fields: Fields = (),
        authority: str | None = "localhost",
        scheme: str = "http",
        end: bool = True,
    ) -> int:
        """Open a stream; its id."""
        head = [(":method", method), (":scheme", scheme), (":path", path)]
        if authority is not None:
            head.append((":authority", authority))
        return self.send_head([*head, *fields], end=end)

    def send_head(self, head: Head | list[tuple[str, str]], *, end: bool = True) -> int:
        """Open a stream with this head, valid or not; its id."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    def send_body(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """Send content as flow control allows."""
        sent = 0
        while sent < len(body) and not self.streams[stream].done:
            window = self.h2.local_flow_control_window(stream)
            size = min(window, self.h2.max_outbound_frame_size, len(body) - sent)
            if size == 0:
                if not self.receive():
                    return
                continue
            self.h2.send_data(stream, body[sent : sent + size])
            self.flush()
            sent += size
        if end and not self.streams[stream].done:
            self.h2.end_stream(stream)
            self.flush()

    def send_trailers(self, stream: int, fields: Head) -> None:
        """End the content with these fields."""
        if not self.streams[stream].done:
            self.h2.send_headers(stream, fields, end_stream=True)
            self.flush()

    def receive(self) -> bool:
        """Take in what arrives next; False at the end of the connection."""
        try:
            data = self.client.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return False
        self._received += data
        while len(self._received) >= 9:
            size = 9 + int.from_bytes(self._received[:3], "big")
            if len(self._received) < size:
                break
            one, self._received = self._received[:size], self._received[size:]
            self.frames += 1
            for event in self.h2.receive_data(one):
                self._on_event(event)
            try:
                # After each frame: at a GOAWAY the library drops what it has to send.
                self.flush()
            except (BrokenPipeError, ConnectionResetError):
                self.is_shut = True  # what has come is not lost with it
        return True

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                fields = list(event.headers)
                status = int(dict(fields)[":status"])
                self.streams[event.stream_id].interim.append((status, fields[1:]))
            case h2.events.ResponseReceived():
                fields = list(event.headers)
                self.streams[event.stream_id].status = int(dict(fields)[":status"])
                self.streams[event.stream_id].fields = fields[1:]
            case h2.events.DataReceived():
                self.streams[event.stream_id].blocks.append(event.data)
                if self.reads and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case h2.events.StreamReset():
                self.streams[event.stream_id].reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = int(event.error_code), event.last_stream_id
                # The library stops here, although streams that are open go on.
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            case h2.events.PingAckReceived():
                self.pings += 1

    def wait(self, *streams: int) -> Stream:
        """Wait until these streams have ended; the last one."""
        while not all(self.streams[stream].done for stream in streams):
            assert self.receive(), f"the connection ended: {self.goaway}, {dict(self.streams)}"
        return self.streams[streams[-1]]

    def wait_for_goaway(self) -> int:
        """The error code of the server's GOAWAY."""
        while self.goaway is None:
            assert self.receive(), "the connection ended without GOAWAY"
        return self.goaway[0]

    def wait_for_end(self) -> None:
        """Read until the connection ends."""
        while self.receive():
            pass

    def synchronize(self) -> None:
        """Wait until the server has taken in all frames that were sent."""
        before = self.pings
        self.h2.ping(b"rustwsgi")
        self.flush()
        while self.pings == before:
            assert self.receive(), "the connection ended"

    def request(self, path: str = "/", *, body: bytes | None = None, **keywords: Any) -> Stream:
        """One request and its response."""
        if body is not None:
            keywords = {"method": "POST", **keywords}
        stream = self.start(path, end=body is None, **keywords)
        if body is not None:
            self.send_body(stream, body)
        return self.wait(stream)


def http2(server: Any, **keywords: Any) -> Http2Client:
    """A connection to a server: by ALPN if it has TLS, else by prior knowledge."""
    if server.tls is not None:
        server.tls.set_alpn_protocols(["h2"])
    client = server.connect(bridged=False)
    if server.tls is not None:
        assert client.sock.tls.selected_alpn_protocol() == "h2"
    return Http2Client(client, **keywords)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame as RFC 9113 section 4.1 has it."""
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )
