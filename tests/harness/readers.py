"""Three readers of the same bytes: rustwsgi, h11 and gunicorn's parser, and what each finds in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import h11
from gunicorn.config import Config
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.parser import RequestParser

from harness import NoResponse, ServerProcess

GUNICORN = Config()
GUNICORN.set("http_parser", "python")
# Its default is a list of what looks like a method; the RFC's is what we compare with.
GUNICORN.set("permit_unconventional_http_method", True)


@dataclass(frozen=True)
class Request:
    """A request that a parser accepted."""

    method: str
    target: str
    fields: dict[str, str]
    body: str
    #: The connection stays open behind it.
    open: bool


@dataclass(frozen=True)
class Ended:
    """Why no further request follows."""

    #: "rejected", "incomplete" or "closed"
    how: str
    reason: str = field(default="", compare=False)


Story = list[Request | Ended]


def folded(fields: Iterable[tuple[str, str]], target: str, body: str) -> dict[str, str]:
    """Fields as docs/wsgi-rules.md has them in an environ, so that parsers can be compared with it."""
    found: dict[str, str] = {}
    for name, value in fields:
        name = name.upper()
        if "_" in name or name == "PROXY":
            continue  # they could pose as others
        separator = "; " if name == "COOKIE" else ","
        found[name] = found[name] + separator + value if name in found else value
    if found.pop("TRANSFER-ENCODING", None) is not None:
        found["CONTENT-LENGTH"] = str(len(body))  # decoded, and its length known
    authority = re.match(r"https?://([^/?]*)", target, re.IGNORECASE)
    if authority:
        found["HOST"] = authority[1]  # RFC 9112 section 3.2.2
    return found


def read_by_rustwsgi(server: ServerProcess, data: bytes) -> Story:
    story: Story = []
    with server.connect() as client:
        client.send(data)
        client.shutdown_write()
        while True:
            try:
                response = client.response()
            except NoResponse:
                return [*story, Ended("incomplete")]
            if response.status == 100:
                continue
            if response.status != 200:
                assert "close" in response.connection and client.at_eof(), response
                return [*story, Ended("rejected", response.body.decode().strip())]
            seen = json.loads(response.get("X-Seen") or "")
            names = {key: key.removeprefix("HTTP_").replace("_", "-") for key in seen}
            fields = {
                names[key]: value
                for key, value in seen.items()
                if key.startswith("HTTP_") or key in {"CONTENT_TYPE", "CONTENT_LENGTH"}
            }
            stays = "close" not in response.connection
            story.append(
                Request(seen["REQUEST_METHOD"], seen["RAW_URI"], fields, seen["body"], stays)
            )
            if not stays:
                assert client.at_eof()
                return [*story, Ended("closed")]


def read_by_h11(data: bytes) -> Story:
    story: Story = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 16)
    connection.receive_data(data)
    head, body = None, b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return [*story, Ended("rejected", str(error))]
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            # A 2xx to CONNECT would turn the connection into a tunnel.
            status = 501 if head.method == b"CONNECT" else 200
            connection.send(h11.Response(status_code=status, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            stays = connection.our_state is h11.DONE
            pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in head.headers]
            target = head.target.decode("latin-1")
            text = body.decode("latin-1")
            fields = folded(pairs, target, text)
            story.append(Request(head.method.decode(), target, fields, text, stays))
            if not stays:
                return [*story, Ended("closed")]
            connection.start_next_cycle()
        else:
            return [*story, Ended("incomplete")]


def read_by_gunicorn(data: bytes) -> Story:
    story: Story = []
    parser = RequestParser(GUNICORN, iter([data]), ("127.0.0.1", 1))
    while True:
        try:
            request = next(parser)
            body = request.body.read().decode("latin-1")
        except (StopIteration, NoMoreData):
            return [*story, Ended("incomplete")]
        except ParseException as error:
            incomplete = type(error).__name__ == "ChunkMissingTerminator" and not error.term
            return [*story, Ended("incomplete" if incomplete else "rejected", repr(error))]
        stays = not request.should_close()
        fields = folded(request.headers, request.uri, body)
        story.append(Request(request.method, request.uri, fields, body, stays))
        if not stays:
            return [*story, Ended("closed")]
