"""The black-box harness: a real server process, raw sockets, and a strict response parser.

Nothing here knows how the server works inside. Tests write bytes and compare bytes; the parser
refuses whatever RFC 9112 does not allow a server to send, so every test checks well-formed
responses for free. Waiting is always for an event (a log line, a byte, an end of file), with a
time limit that only turns a hang into a failure.

A *door* is one of the ways to start the server: the wheel's module or the embedded binary.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qsl

TESTS = Path(__file__).resolve().parent
APPS = TESTS / "apps"
ROOT = TESTS.parent

#: Turns a hang into a failure; no test waits for it.
TIMEOUT = 10.0

#: This interpreter, and so the server's, has no GIL.
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

#: What `assert_refused` pipelines after a bad request: the application must never see it.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

# Settings of the shell that runs the tests must not reach the servers they start.
_SCRUBBED = re.compile(
    r"RUSTWSGI_|GUNICORN_CMD_ARGS$|WEB_CONCURRENCY$|LISTEN_|NOTIFY_SOCKET$|FORWARDED_ALLOW_IPS$"
    r"|SCRIPT_NAME$"
)


# --------------------------------------------------------------------------------------- doors


def binary_path() -> Path:
    """Where the embedded binary is looked for."""
    return Path(os.environ.get("RUSTWSGI_BINARY") or ROOT / "target" / "release" / "rustwsgi")


def available_doors() -> list[str]:
    """The doors to test: those named in RUSTWSGI_DOORS, else those that exist."""
    named = os.environ.get("RUSTWSGI_DOORS", "")
    if named.strip():
        return [door.strip() for door in named.split(",") if door.strip()]
    doors = []
    if importlib.util.find_spec("rustwsgi") is not None:
        doors.append("wheel")
    if binary_path().is_file():
        doors.append("binary")
    return doors


def door_command(door: str) -> list[str]:
    """The command that starts the server through `door`, without options."""
    if door == "wheel":
        return [sys.executable, "-m", "rustwsgi"]
    if door == "binary":
        venv = ["--venv", sys.prefix] if sys.prefix != sys.base_prefix else []
        return [str(binary_path()), *venv]
    raise ValueError(f"unknown door {door!r}: use wheel or binary")


def child_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test run's environment without server settings, plus `env`."""
    child = {k: v for k, v in os.environ.items() if not _SCRUBBED.match(k)}
    child["PYTHONDONTWRITEBYTECODE"] = "1"
    child.update(env or {})
    return child


def run_cli(
    door: str,
    *args: str,
    cwd: str | Path = APPS,
    env: Mapping[str, str] | None = None,
    timeout: float = 20.0,
) -> subprocess.CompletedProcess[str]:
    """Run the server with `args` and wait for it to end by itself."""
    return subprocess.run(
        [*door_command(door), *args],
        cwd=cwd,
        env=child_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


# -------------------------------------------------------------------------------------- server


class _Capture:
    """Collects a pipe's text in a thread, and lets others wait for a pattern in it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            with self._changed:
                self._data += data
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return

    def text(self) -> str:
        with self._changed:
            return self._data.decode("utf-8", "replace")

    def wait_for(self, pattern: str, timeout: float, start: int = 0) -> re.Match[str] | None:
        """The first match at or after `start`; None when time is up or the pipe has ended."""
        deadline = time.monotonic() + timeout
        regex = re.compile(pattern, re.MULTILINE)
        with self._changed:
            while True:
                match = regex.search(self._data.decode("utf-8", "replace"), start)
                left = deadline - time.monotonic()
                if match or self._ended or left <= 0:
                    return match
                self._changed.wait(left)

    def join(self, timeout: float) -> bool:
        """True when every process that held the pipe has closed it."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


class StartFailed(Exception):
    """The server ended, or stayed silent, before it said where it listens."""


class ServerProcess:
    """A running server. Use as a context manager, or call `start` and `stop`."""

    #: Every server started and not yet stopped, for reports of failed tests.
    running: ClassVar[list[ServerProcess]] = []

    def __init__(
        self,
        door: str,
        app: str | None,
        *args: str,
        cwd: str | Path = APPS,
        env: Mapping[str, str] | None = None,
        bind: str | None = "127.0.0.1:0",
        pass_fds: Sequence[int] = (),
    ) -> None:
        options = ["--bind", bind] if bind is not None else []
        self.command = [*door_command(door), *options, *args, *([app] if app else [])]
        self.door = door
        self.app = app
        self.args = args
        self.cwd = cwd
        self.env = child_environment(env)
        self.pass_fds = pass_fds
        self.host = ""
        self.port = 0
        self.unix: str | None = None
        self.pid = 0
        self.process: subprocess.Popen[bytes]
        self.log_mark = 0
        self._seen = 0
        self._started = False

    def start(self) -> ServerProcess:
        """Start, and return when the server says that it listens."""
        self.process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=self.pass_fds,
            # A group of its own, so that workers can be found if the master fails to end them.
            start_new_session=True,
        )
        self._started = True
        self.pid = self.process.pid
        assert self.process.stdout is not None and self.process.stderr is not None
        self._stdout = _Capture(self.process.stdout.fileno())
        self._stderr = _Capture(self.process.stderr.fileno())
        ServerProcess.running.append(self)
        where = self._stderr.wait_for(
            r"Listening at: (?:https?://(\[[^\]\s]+\]|[^:\s\[]+):(\d+)|unix:(\S+))", TIMEOUT
        )
        if where is None:
            code = self._finish(kill=True)
            raise StartFailed(f"{self.command} ended with {code}:\n{self.stderr()}")
        if where[3]:
            self.unix = where[3]
        else:
            self.host, self.port = where[1].strip("[]"), int(where[2])
        return self

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_alive():
            if kind is None:
                self.stop()
            else:
                self._finish(kill=True)

    def is_alive(self) -> bool:
        return self._started and self.process.poll() is None

    def stderr(self) -> str:
        return self._stderr.text()

    def stdout(self) -> str:
        return self._stdout.text()

    def wait_for_log(self, regex: str, timeout: float = TIMEOUT, start: int = 0) -> re.Match[str]:
        """Wait until stderr matches `regex` (MULTILINE) at or after offset `start`."""
        return self._expect(self._stderr, "stderr", regex, timeout, start)

    def wait_for_stdout(
        self, regex: str, timeout: float = TIMEOUT, start: int = 0
    ) -> re.Match[str]:
        """The same for stdout, where `--access-logfile -` writes."""
        return self._expect(self._stdout, "stdout", regex, timeout, start)

    @staticmethod
    def _expect(pipe: _Capture, name: str, regex: str, timeout: float, start: int) -> re.Match[str]:
        match = pipe.wait_for(regex, timeout, start)
        assert match, f"no {regex!r} on {name}, which says:\n{pipe.text()[start:]}"
        return match

    def send_signal(self, sig: int) -> None:
        self.process.send_signal(sig)

    def wait(self, timeout: float = 15.0) -> int:
        """Wait until the server has ended by itself; its exit code."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._finish(kill=True)
            raise AssertionError(f"server did not end; stderr:\n{self.stderr()}") from None
        return self._finish(kill=False)

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 15.0) -> int:
        """Send `sig` and wait for the end; its exit code."""
        if self.is_alive():
            self.send_signal(sig)
        return self.wait(timeout)

    def _finish(self, *, kill: bool) -> int:
        if kill and self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)  # not reaped yet, so the group is still ours
        code = self.process.wait()
        if self in ServerProcess.running:
            ServerProcess.running.remove(self)
        if not (self._stderr.join(5) and self._stdout.join(5)):
            # Someone still holds the pipes, so the group still exists under this id.
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"a process outlived the server; stderr:\n{self.stderr()}")
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def connect(self, timeout: float = TIMEOUT, *, receive_buffer: int | None = None) -> Client:
        """A new connection; `receive_buffer` makes a client that takes little at a time."""
        if self.unix is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address: Any = self.unix
        else:
            ipv6 = ":" in self.host
            sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
            address = (self.host, self.port)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return Client(sock)

    def get(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        fields: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
        version: str = "HTTP/1.1",
    ) -> Response:
        """One request and its final response on a connection of its own."""
        raw = build_request(method, path, fields=fields, body=body, version=version)
        with self.connect() as client:
            response = client.request(raw, method=method)
            while response.status < 200:
                response = client.response(method)
            return response

    def holds(self, client: Client) -> bool:
        """Whether the server still owns its end of `client`'s connection (Linux)."""
        columns = self._end_of(client)
        return columns is not None and columns[9] != "0"  # the inode is 0 once nobody has it open

    def has_read(self, client: Client) -> bool:
        """Whether the server has accepted `client` and read what it sent (Linux)."""
        columns = self._end_of(client)
        return columns is not None and columns[9] != "0" and columns[4].endswith(":00000000")

    def _end_of(self, client: Client) -> list[str] | None:
        """The server's end of `client`'s connection, as the kernel describes it: proc(5)."""
        end = f":{self.port:04X}", f":{client.port:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[1].endswith(end[0]) and columns[2].endswith(end[1]):
                return columns
        return None

    def _group(self) -> Iterator[tuple[int, list[str]]]:
        """Each of the server's processes, with what /proc/PID/stat has behind its name (Linux)."""
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                columns = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(columns[2]) == self.pid:  # the process group
                yield int(path.parent.name), columns

    def processes(self) -> list[int]:
        """The numbers of the server's processes, those that nobody has waited for included (Linux)."""
        return sorted(pid for pid, _ in self._group())

    def write_calls(self) -> int:
        """write(2) and its kin, to files and pipes, by the server's processes (Linux)."""
        counters = [Path(f"/proc/{pid}/io").read_text() for pid in self.processes()]
        calls = [re.search(r"^syscw: (\d+)", text, re.MULTILINE) for text in counters]
        return sum(int(found[1]) for found in calls if found)

    def cpu_seconds(self) -> float:
        """Processor time used so far by the server's processes (Linux)."""
        ticks = sum(int(columns[11]) + int(columns[12]) for _, columns in self._group())
        return ticks / os.sysconf("SC_CLK_TCK")

    def counters(self) -> dict[str, int]:
        """How often each bound was reached, as the only worker says when it is asked."""
        start = len(self.stderr())
        self.send_signal(signal.SIGUSR1)
        said = self.wait_for_log(r"Bounds reached since the start: (.*)\n", start=start)[1]
        items = [item.partition("=") for item in said.split()]
        return {name: int(count) for name, _, count in items if count}

    def calls_since_last_asked(self) -> list[dict[str, Any]]:
        """What a `recorded` application (see apps/echo.py) was called for since the last time."""
        answer = json.loads(self.get(f"/seen?from={self._seen}").body)
        self._seen = answer["total"]
        return answer["calls"]


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


# -------------------------------------------------------------------------------------- client


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
    #: How the body's end was told: "none", "length", "chunked" or "close".
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
    """One connection: raw bytes out, strictly parsed responses in."""

    def __init__(self, sock: socket.socket) -> None:
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
        """Our end's port, which the application sees as REMOTE_PORT."""
        return self.sock.getsockname()[1]

    # out

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_slowly(self, data: bytes) -> None:
        """Each byte in a send call, and (TCP_NODELAY) a segment, of its own."""
        for i in range(len(data)):
            self.sock.sendall(data[i : i + 1])

    def shutdown_write(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def is_broken(self) -> bool:
        """Whether the connection was reset, even if its end came first and is what a read would tell."""
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
        """Only the head of a response; chunks can then be read one by one with `next_chunk`."""
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
        """Parse exactly one response, interim ones too; what follows stays for the next call."""
        response = self.head()
        self.read_body(response, method)
        return response

    def read_body(self, response: Response, method: str) -> None:
        """What follows a `head`: RFC 9112 section 6.3, in its order, with every ambiguity an error."""
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


# ---------------------------------------------------------------------------------- assertions


def deliver(client: Client, raw: bytes, how: str = "whole") -> None:
    """Send `raw` in one call ("whole") or one byte at a time ("bytes")."""
    if how == "bytes":
        client.send_slowly(raw)
    else:
        client.send(raw)


def assert_error_response(response: Response, status: int | set[int]) -> None:
    """A well-formed refusal: the status, a text for the reader, and a closing connection."""
    wanted = {status} if isinstance(status, int) else status
    assert response.status in wanted, response
    assert "close" in response.connection, response
    assert response.framing == "length" and response.complete, response
    assert (response.get("Content-Type") or "").startswith("text/"), response
    assert response.body.strip(), "an error response should say what was wrong"
    assert response.get("Date"), response


def assert_refused(
    server: ServerProcess,
    raw: bytes,
    status: int | set[int],
    *,
    reason_contains: str | None = None,
    how: str = "whole",
) -> Response:
    """`raw`, with a good request pipelined after it, gets one refusal, then a clean end of file.

    The application (which must be `recorded`, see apps/echo.py) is not called for any of it.
    Calls are told apart by the client's port. The question "who called?" is asked on a new
    connection after the end of file, so a server with `--threads 1` answers it after everything
    that it might have started before.
    """
    with server.connect() as client:
        port = client.port
        if how == "whole":
            client.send(raw + SMUGGLED)
        else:
            client.send_slowly(raw)
            client.send(SMUGGLED)
        response = client.response()
        assert_error_response(response, status)
        assert client.at_eof(), f"more after the refusal: {client.rest()!r}"
    if reason_contains is not None:
        assert reason_contains.lower() in (response.text + response.reason).lower(), response
    calls = server.calls_since_last_asked()
    mine = [call for call in calls if call["port"] in (str(port), None)]
    assert not mine, f"the application was called: {mine}"
    return response


def exchange(
    server: ServerProcess, raw: bytes, delivery: str, method: str | None = None
) -> Response:
    """The response to one valid request, however it is delivered.

    "whole", "bytes" (one byte at a time), or "pipelined": in one segment with a second request,
    which shows that the first took exactly its own bytes.
    """
    method = method or raw.lstrip().split(b" ", 1)[0].decode("latin-1")
    with server.connect() as client:
        if delivery == "pipelined":
            client.send(raw + b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        else:
            deliver(client, raw, delivery)
        response = client.response(method)
        while response.status < 200:
            response = client.response(method)
        if "close" in response.connection or response.framing == "close":
            assert client.at_eof(), client.rest()
        elif delivery == "pipelined":
            after = echoed(client.response())
            assert after["environ"]["PATH_INFO"] == "/after" and after["length"] == 0, after
        return response


def wait_until(condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
    """For the rare state that sends no event: look again until it holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.01)


def readable(raw: bytes) -> str:
    """For test ids."""
    return raw.decode("latin-1").encode("unicode_escape").decode()


def echoed(response: Response) -> dict[str, Any]:
    """What echo.py saw, from a complete 200."""
    assert response.status == 200 and response.complete, response
    return response.json()


def query(environ: Mapping[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
