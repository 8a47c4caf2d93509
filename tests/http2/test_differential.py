"""Generated requests and responses mean the same over HTTP/1.1 and over HTTP/2.

Each request goes to one application over both, and so does the request for each response. Over HTTP/2
it is sent by the Python library h2, with frames cut at random and streams mixed, and by nghttp. What
the application sees must be equal, but for the protocol, and so must the responses.

`DIFFERENTIAL_CASES=10000` looks longer; `DIFFERENTIAL_SEED` looks elsewhere.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness import Client, ServerProcess, build_request, chunked
from harness.http2 import Http2Client, Stream, http2

CASES = int(os.environ.get("DIFFERENTIAL_CASES", "300"))
SEED = os.environ.get("DIFFERENTIAL_SEED", "1")
#: Streams that are sent at a time.
AT_ONCE = 20

METHODS = ["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "M-SEARCH", "get"]
TARGETS = ["/", "/?", "/a/b?c=d&e", "/%41%2f%zz", "//double", "/a;b=c,d:@e", "/x//y/../z", "/?/?"]
TARGETS += ["/caf%C3%A9?%E2%82%AC", "/" + "long/" * 500, "/!$&'()*+,;=-._~", "/q?" + "y=1&" * 900]
HOSTS = ["localhost", "a:80", "[::1]:8000", "a_b", "xn--a.example.", "A.Example"]
NAMES = ["accept", "x-a", "x-b", "user-agent", "x-1!#$%&'*+.^`|~", "authorization", "range", "via"]
NAMES += ["if-none-match", "x-forwarded-for", "x-forwarded-proto", "forwarded", "priority"]
VALUES = [
    "",
    "1",
    "a  b\tc",
    "caf\xe9 \xff\x80",
    '"quoted, \\" text"',
    "x" * 3000,
    "a=b; c=d",
    "*/*",
]
COOKIES = ["a=1", 'b="two words"', "c=", "d=" + "y" * 500]
DROPPED = ["X_A", "X-Forwarded_For", "Content_Length"]


@dataclass
class Request:
    """A valid request."""

    method: str
    target: str
    host: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None
    #: Whether its length is declared.
    is_sized: bool = True
    trailers: list[tuple[str, str]] = field(default_factory=list)

    def as_http1(self) -> bytes:
        fields = [("Host", self.host), *self.fields]
        if self.body is None or self.is_sized:
            return build_request(self.method, self.target, fields=fields, body=self.body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.trailers)
        coded = chunked(*([self.body] if self.body else []), trailers=lines.encode("latin-1"))
        fields.append(("Transfer-Encoding", "chunked"))
        return build_request(self.method, self.target, fields=fields, body=coded)


def random_request(source: random.Random) -> Request:
    request = Request(source.choice(METHODS), source.choice(TARGETS), source.choice(HOSTS))
    for _ in range(source.choice([0, 1, 2, 5, 30])):
        request.fields.append((source.choice(NAMES), source.choice(VALUES)))
    request.fields += [("cookie", cookie) for cookie in COOKIES if source.random() < 0.2]
    if source.random() < 0.1:
        request.fields.append((source.choice(DROPPED).lower(), "6"))
    if source.random() < 0.5:
        request.body = source.randbytes(source.choice([0, 1, 100, 16_384, 16_385, 70_000, 200_000]))
        request.is_sized = source.random() < 0.5
        if source.random() < 0.5:
            request.fields.append(("content-type", "text/plain"))
        if not request.is_sized and source.random() < 0.3:
            request.trailers.append((source.choice(["x-sum", "host", "content-length"]), "1"))
    source.shuffle(request.fields)
    return request


class Sender:
    """Sends a request by the library, in frames of random sizes."""

    def __init__(self, client: Http2Client, request: Request, source: random.Random) -> None:
        self.client, self.request, self.source = client, request, source
        head = [(":method", request.method), (":scheme", "http"), (":path", request.target)]
        if source.random() < 0.8:
            head.append((":authority", request.host))
            if source.random() < 0.2:
                request.fields.append(("host", request.host))
        else:
            request.fields.append(("host", request.host))
        fields = list(request.fields)
        if request.body is not None and request.is_sized:
            fields.append(("content-length", str(len(request.body))))
        self.left = request.body or b""
        self.is_done = request.body is None
        encoded = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in [*head, *fields]]
        self.stream = client.send_head(encoded, end=self.is_done)

    def send_some(self) -> None:
        """One frame of the content, with padding at times."""
        connection, source = self.client.h2, self.source
        if not self.left:
            self.end()
            return
        window = connection.local_flow_control_window(self.stream)
        padding = source.choice([None, None, 0, 9, 255])
        overhead = 0 if padding is None else padding + 1
        most = min(window, connection.max_outbound_frame_size) - overhead
        if most <= 0:
            assert self.client.receive()
            return
        size = min(most, source.choice([1, 100, 5000, 16_384]), len(self.left))
        piece, self.left = self.left[:size], self.left[size:]
        is_end = not self.left and not self.request.trailers and source.random() < 0.5
        connection.send_data(self.stream, piece, end_stream=is_end, pad_length=padding)
        self.client.flush()
        self.is_done = is_end

    def end(self) -> None:
        trailers = [(n.encode(), v.encode()) for n, v in self.request.trailers]
        if trailers:
            self.client.send_trailers(self.stream, trailers)
        else:
            self.client.h2.end_stream(self.stream)
            self.client.flush()
        self.is_done = True


def send_mixed(client: Http2Client, requests: list[Request], source: random.Random) -> list[Stream]:
    """The responses to requests whose frames are mixed."""
    senders = [Sender(client, request, source) for request in requests]
    while unfinished := [sender for sender in senders if not sender.is_done]:
        source.choice(unfinished).send_some()
    client.wait(*(sender.stream for sender in senders))
    return [client.streams[sender.stream] for sender in senders]


def of_the_application(body: bytes) -> Any:
    """What echo.py saw, without what differs between the protocols."""
    seen = json.loads(body)
    for name in ("SERVER_PROTOCOL", "REMOTE_PORT"):
        seen["environ"].pop(name, None)
    seen.pop("pad")
    return seen


def over_http1(client: Client, request: Request) -> Any:
    return client.request(request.as_http1(), method=request.method)


@pytest.fixture
def echo(plain) -> ServerProcess:
    # Each of two connections is idle while the other one is used.
    return plain("echo:app", "--threads", "4", "--keep-alive", "60")


def test_request_means_the_same(echo: ServerProcess) -> None:
    source = random.Random(f"requests {SEED}")
    with http2(echo) as client, echo.connect() as old:
        for _ in range(CASES // AT_ONCE):
            requests = [random_request(source) for _ in range(AT_ONCE)]
            expected = [over_http1(old, request) for request in requests]
            for request, known, found in zip(
                requests, expected, send_mixed(client, requests, source), strict=True
            ):
                assert found.status == known.status, (request, known, found)
                if request.method == "HEAD":
                    assert found.body == b""
                else:
                    seen = of_the_application(found.body)
                    assert seen == of_the_application(known.body), request


def nghttp_command(request: Request, file: Path, url: str, source: random.Random) -> list[str]:
    command = ["nghttp", f"-H:method: {request.method}", f"-H:authority: {request.host}"]
    command.append(f"-H:path: {request.target}")
    command += [f"-H{name}: {value}" for name, value in request.fields]
    if request.body is not None:
        file.write_bytes(request.body)
        command += ["-d", str(file)]
        if not request.is_sized:
            command += ["--no-content-length"]
            command += [f"--trailer={name}: {value}" for name, value in request.trailers]
    for option in ("--continuation", "--no-dep", "--padding=100", "--window-bits=10"):
        if source.random() < 0.4:
            command.append(option)
    if source.random() < 0.3:
        command.append(f"--header-table-size={source.choice([0, 100, 65536])}")
    return [*command, url]


#: Fields that nghttp adds.
NGHTTP_ADDS = {"HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "HTTP_USER_AGENT", "HTTP_PRIORITY"}


@pytest.mark.skipif(
    shutil.which("nghttp") is None, reason="needs nghttp: on Debian, apt-get install nghttp2-client"
)
def test_request_of_nghttp_means_the_same(echo: ServerProcess, tmp_path: Path) -> None:
    source = random.Random(f"nghttp {SEED}")
    url = f"http://127.0.0.1:{echo.port}"
    with echo.connect() as old:
        for _ in range(CASES // 10):
            request = random_request(source)
            if request.method == "HEAD":
                continue
            request.host = "localhost:81"  # it knows fewer forms of a host
            # It takes names in lower case, and values without control characters, from arguments.
            request.fields = [(n, v) for n, v in request.fields if v.isascii() and v.strip()]
            command = nghttp_command(request, tmp_path / "body", url, source)
            done = subprocess.run(command, capture_output=True, timeout=60)
            assert done.returncode == 0, (command, done.stderr)
            found = of_the_application(done.stdout)
            known = of_the_application(over_http1(old, request).body)
            for name in NGHTTP_ADDS | {
                n for n in found["http"] if n.startswith("HTTP_CONTINUATION")
            }:
                for seen in (found, known):
                    seen["environ"].pop(name, None)
                    seen["types"].pop(name, None)
                    seen["http"] = [each for each in seen["http"] if each != name]
            assert found == known, command


# ------------------------------------------------------------------------------------ responses

STATUSES = ["200 OK", "200 OK", "201 Created", "204 No Content", "205 Reset Content", "304 Same"]
STATUSES += ["301 Moved", "404 Not Found", "418 Teapot", "500 Broken", "599 Very Broken"]
SENT = [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2, c"], ["X-Empty", ""], ["X-8bit", "\xe9\xff"]]
SENT += [
    ["Vary", "a"],
    ["Vary", "b"],
    ["ETag", '"x"'],
    ["Connection", "keep-alive"],
    ["Date", "now"],
]
SENT += [["Content-Type", "text/plain"], ["Server", "mine"], ["Keep-Alive", "1"], ["Trailer", "x"]]
KINDS = ["list", "tuple", "generator", "iterator", "items", "write"]
OF_THE_CONNECTION = {"connection", "keep-alive", "transfer-encoding"}


def random_response(source: random.Random) -> dict[str, object]:
    """What http_responses.py is asked for."""
    blocks = [
        source.choice(["", "a", "bcd", "e" * 9000]) for _ in range(source.choice([0, 1, 1, 3]))
    ]
    fields = [each for each in SENT if source.random() < 0.3]
    length = sum(map(len, blocks))
    if source.random() < 0.4:
        wrong = max(0, length + source.choice([0, 0, 0, 1, -1]))
        fields.append(["Content-Length", str(wrong)])
    spec: dict[str, object] = {"fields": fields, "blocks": blocks, "as": source.choice(KINDS)}
    spec["status"] = source.choice(STATUSES)
    if source.random() < 0.1:
        spec["raise_after"] = source.choice([-1, 0, 1])
    return spec


def fields_of(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of one name in their order. Of different names, it means nothing. [RFC 9110 section 5.3]"""
    named = [(name.lower(), value) for name, value in fields]
    kept = [
        (name, re.sub(r"^\w{3}, .*GMT$", "...", value) if name == "date" else value)
        for name, value in named
        if name not in OF_THE_CONNECTION
    ]
    return sorted(kept, key=lambda field: field[0])


def test_response_means_the_same(plain) -> None:
    server = plain("http_responses:app", "--threads", "4")
    source = random.Random(f"responses {SEED}")
    with http2(server) as client:
        for _ in range(CASES):
            method = source.choice(["GET", "GET", "GET", "HEAD", "POST"])
            path = "/?spec=" + quote(json.dumps(random_response(source)))
            known = server.get(path, method=method)
            found = client.request(path, method=method)
            case = (method, path, known, found)
            assert found.status == known.status, case
            assert fields_of(found.fields) == fields_of(known.fields), case
            assert found.body == known.body, case
            assert (found.reset is None) == known.complete, case
