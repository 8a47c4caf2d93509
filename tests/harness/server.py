"""A real server process: start it, read its logs, send it requests, stop it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from .bridge import Bridge, is_bridged
from .client import TIMEOUT, Client, Response, build_request
from .doors import APPS, child_environment, door_command
from .tls import TlsSocket, everywhere

#: Reads of 64 KiB without a pause: a process may write all the time.
_MAX_READS = 256


class _Capture:
    """Collects the text of a pipe in a thread, and waits for patterns in it.

    The thread may run late, so `text` reads the pipe as well: its result has every byte that a
    process wrote before the call. For example, the lines that an application writes during a
    request are there once the test has the response.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        readable = self._poll()
        ended = False
        while not ended:
            readable.poll()
            with self._changed:
                ended = self._read_available()

    def _poll(self) -> select.poll:
        readable = select.poll()
        readable.register(self._fd, select.POLLIN)
        return readable

    def _read_available(self) -> bool:
        """Read what the pipe has, without waiting; whether it has ended. The caller has the lock."""
        readable = self._poll()
        for _ in range(_MAX_READS):
            if self._ended or not readable.poll(0):
                break
            try:
                data = os.read(self._fd, 65536)
            except OSError:
                data = b""
            self._data += data
            self._ended = not data
            self._changed.notify_all()
        return self._ended

    def text(self) -> str:
        with self._changed:
            self._read_available()
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
    """The server ended, or logged nothing, before it logged its address."""


class ServerProcess:
    """A running server. Use as a context manager, or call `start` and `stop`."""

    #: Every server started and not yet stopped, for reports of failed tests.
    running: ClassVar[list[ServerProcess]] = []
    #: What clients use, if they use TLS by default.
    tls: ssl.SSLContext | None = None

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
        if is_bridged():
            options += ["--http2-cleartext", "both"]
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
        if os.environ.get("RUSTWSGI_TEST_TLS") and not {"--certfile", "--preload"} & {*args}:
            authority, pair = everywhere()
            self.tls = authority.context()
            self.command[len(door_command(door)) : 0] = pair.options()
        self.pid = 0
        self.process: subprocess.Popen[bytes]
        self.log_mark = 0
        self._seen = 0
        self._started = False

    def start(self) -> ServerProcess:
        """Start, and return when the server logs its address."""
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

    def wait_for_event(
        self, event: str, detail: str = "", timeout: float = TIMEOUT, start: int = 0
    ) -> re.Match[str]:
        """Wait for a log line of this event (docs/operations.md lists them) whose message matches
        the regex `detail`: facts such as a pid or an option's name, not prose."""
        regex = rf"\[{re.escape(event)}\] \[[A-Z]+\] .*?{detail}"
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

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait until the server has exited; its exit code."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._finish(kill=True)
            raise AssertionError(f"server did not end; stderr:\n{self.stderr()}") from None
        return self._finish(kill=False)

    def stop(self, sig: int = signal.SIGTERM, timeout: float = TIMEOUT) -> int:
        """Send `sig` and wait for the exit; its exit code."""
        if self.is_alive():
            self.send_signal(sig)
        return self.wait(timeout)

    def _finish(self, *, kill: bool) -> int:
        if kill and self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)  # not reaped yet, so the group is still ours
        code = self.process.wait()
        if self in ServerProcess.running:
            ServerProcess.running.remove(self)
        if not (self._stderr.join(TIMEOUT) and self._stdout.join(TIMEOUT)):
            # A process still holds the pipes, so the group still exists under this id.
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"a process outlived the server; stderr:\n{self.stderr()}")
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def connect(
        self,
        timeout: float = TIMEOUT,
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        name: str | None = "localhost",
        session: ssl.SSLSession | None = None,
        port: int | None = None,
        bridged: bool | None = None,
    ) -> Client:
        """A new connection; with a small `receive_buffer` the client takes little at a time. With
        `tls` it is a session, for a server of this `name`. `bridged` is whether it goes over HTTP/2:
        see `bridge`."""
        if self.unix is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            address: Any = self.unix
        else:
            ipv6 = ":" in self.host
            sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
            address = (self.host, port or self.port)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        try:
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        context = tls or (self.tls if self.unix is None and port is None else None)
        bridged = is_bridged() if bridged is None else bridged
        try:
            if context is None:
                return Client(Bridge(sock) if bridged else sock)
            if bridged:
                context.set_alpn_protocols(["h2"])
            secure = TlsSocket(sock, context, name, session).handshake()
            return Client(Bridge(secure, tls=True) if bridged else secure)
        except BaseException:
            sock.close()
            raise

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
        return (
            columns is not None and columns[9] != "0"
        )  # the inode is 0 once no process has it open

    def has_read(self, client: Client) -> bool:
        """Whether the server has accepted `client` and read what it sent (Linux)."""
        # The kernel may deliver bytes later than it takes them. Acknowledged ones have arrived.
        unacknowledged = fcntl.ioctl(client.sock.fileno(), termios.TIOCOUTQ, bytes(4))
        if struct.unpack("i", unacknowledged)[0]:
            return False
        columns = self._end_of(client)
        return columns is not None and columns[9] != "0" and columns[4].endswith(":00000000")

    def has_read_or_rejected(self, client: Client) -> bool:
        """The same for a request that may be rejected: the server closes its end soon after that."""
        columns = self._end_of(client)
        has_ended = columns is not None and columns[3] in {"04", "05"}  # FIN_WAIT1, FIN_WAIT2
        return has_ended or client.is_broken() or self.has_read(client)

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
        """The ids of the server's processes, including those not yet reaped (Linux)."""
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
        """How often each limit was reached, as the only worker reports at USR1."""
        # Until then the master takes the worker for one that boots, and does not ask it.
        self.wait_for_event("server.ready")
        start = len(self.stderr())
        self.send_signal(signal.SIGUSR1)
        said = self.wait_for_event("server.counters", r": (.*)\n", start=start)[1]
        items = [item.partition("=") for item in said.split()]
        return {name: int(count) for name, _, count in items if count}

    def calls_since_last_asked(self) -> list[dict[str, Any]]:
        """The calls of a `recorded` application (see apps/echo.py) since the last time."""
        answer = json.loads(self.get(f"/seen?from={self._seen}").body)
        self._seen = answer["total"]
        return answer["calls"]
