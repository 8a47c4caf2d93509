"""Clients of HTTP/2 that send requests all the time, several at once on each connection."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from .checks import wait_until
from .client import TIMEOUT
from .http2 import Http2Client, http2

REFUSED_STREAM = 7


class StreamLoad:
    """Clients in threads, each with `streams` requests at a time on one connection.

    After a GOAWAY a client waits for the streams that it names, and continues on a new connection
    [RFC 9113 section 6.8]. Streams beyond it, and refused ones, were not processed: they are sent
    again, and are no failures [section 8.7]. Everything else that is no complete 200 is one.
    """

    def __init__(
        self, server: Any, *, path: str = "/", connections: int = 3, streams: int = 8
    ) -> None:
        self._server = server
        self._path = path
        self._streams = streams
        self._end = threading.Event()
        #: The server stops: it need not accept new connections.
        self.stops = False
        self._lock = threading.Lock()
        #: Of each client: whether it had a response.
        self._has_begun = threading.local()
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(connections)
        ]
        #: How many clients had a response.
        self._begun = 0
        self.answered = 0
        #: Connections that were ended by GOAWAY, and requests that were sent again.
        self.goaways = 0
        self.repeated = 0
        self.failures: list[str] = []
        self.bodies: set[bytes] = set()

    def __enter__(self) -> StreamLoad:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self._begun == len(self._threads), f"each is answered: {self.failures}")
        self.more(len(self._threads) * self._streams)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Wait until the requests that were sent are answered."""
        self._end.set()
        for thread in self._threads:
            thread.join(TIMEOUT)
        assert not any(thread.is_alive() for thread in self._threads), "a client is stuck"

    def more(self, count: int = 100) -> None:
        """Wait until `count` more requests were answered."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal, f"{count} more responses: {self.failures[:3]}")

    def _run(self) -> None:
        self._has_begun.done = False
        while not self._end.is_set():
            client = None
            try:
                with http2(self._server) as client:
                    self._use(client)
            except (OSError, AssertionError) as failure:
                # A server that stops leaves connections alone that it has not accepted.
                if not (self.stops and (client is None or client.frames == 0)):
                    self._fail(repr(failure))
                return

    def _use(self, client: Http2Client) -> None:
        """Send requests on one connection until it ends."""
        open_streams: set[int] = set()
        while True:
            while client.goaway is None and not self._end.is_set():
                if len(open_streams) == self._streams:
                    break
                open_streams.add(self._start(client))
            if client.goaway is not None:
                code, last = client.goaway
                if code != 0:
                    self._fail(f"GOAWAY {code}")
                unprocessed = {stream for stream in open_streams if stream > last}
                with self._lock:
                    self.repeated += len(unprocessed)
                open_streams -= unprocessed
            if not open_streams:
                with self._lock:
                    self.goaways += client.goaway is not None
                return
            is_open = client.receive()
            open_streams -= self._finished(client, open_streams)
            if not is_open and open_streams:
                if not (self.stops and client.frames == 0):
                    self._fail(f"{len(open_streams)} requests were lost: {client.goaway}")
                return

    def _start(self, client: Http2Client) -> int:
        """Open a stream. If the client is delayed, the server may have ended the connection: its
        GOAWAY, which says that the stream was not processed, can still be read."""
        stream = client.h2.get_next_available_stream_id()
        try:
            client.start(self._path)
        except (BrokenPipeError, ConnectionResetError):
            client.is_shut = True
        return stream

    def _finished(self, client: Http2Client, streams: set[int]) -> set[int]:
        done = {stream for stream in streams if client.streams[stream].done}
        for stream in done:
            response = client.streams.pop(stream)
            if response.reset == REFUSED_STREAM and not response.status:
                with self._lock:
                    self.repeated += 1
            elif response.status == 200 and response.ended:
                with self._lock:
                    self.answered += 1
                    self.bodies.add(response.body)
                    self._begun += not self._has_begun.done
                self._has_begun.done = True
            else:
                self._fail(f"stream {stream}: {response}")
        return done

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
