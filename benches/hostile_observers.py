"""Measures what hostile clients of the metrics address and the control socket, collectors that do
not read, and profiles of workers that end cost the requests and signals of a server.

    python benches/hostile_observers.py
    python benches/hostile_observers.py --only 'metrics|syslog' --rounds 5
    python benches/hostile_observers.py --server OTHER/.venv/bin/rustwsgi

Each fault is measured in pairs: on a server without it, then on one with it. A row has what the
fault adds, as the median of all rounds, to

- a request on a kept connection: at the median and at the 99th percentile,
- a signal, from kill(2) to the line of the master (USR1, HUP, TERM), and a command (`reopen`) on a
  new connection to the control socket: at the median,
- the end of the server, from TERM to its exit.

`cpu` is the most processor time that the master has used between a signal and its line, with the
fault: other processes do not influence it. `largest` is the longest time to a line, with the fault.
`master` is its share of a processor. `done` is how often the fault has connected, asked or killed.

Exits with 1 if a fault adds more than 10 ms to the 99th percentile of requests or to the median of
signals, or if the master has used more than 10 ms before it reacted. Takes about eight minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import hostile_faults as faults
from hostile_faults import Fault, connect
from process import APPS, environment

DEFAULT = Path(sys.executable).parent / "rustwsgi"
LIMIT_SECONDS = 0.010
#: No event takes longer, also on a busy machine.
WAIT_SECONDS = 60.0
#: Signals and commands of one measurement.
SIGNALS = 30
COMMANDS = 10
#: A command is sent again if its connection was closed for another client, for this time.
COMMAND_SECONDS = 5.0
#: Requests whose lines in the access log fill the buffers of a collector.
FILLING = 600
GET = b"GET /?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 1500)
SLOW = b"GET /slow/%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 120)
REOPEN = b'{"command": "reopen"}\n'


def cpu_seconds(pid: int) -> float:
    """The processor time of another process, by its clock: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


class Server:
    """The server, and what it writes to standard error."""

    def __init__(self, command: list[str], directory: Path, syslog: int, workers: int) -> None:
        self.control = str(directory / "control")
        kind = "stream" if syslog == socket.SOCK_STREAM else "dgram"
        options = [
            *("--bind", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--keep-alive", "60"),
            *("--control-socket", self.control, "--workers", str(workers), "--threads", "4"),
            *("--statsd-host", f"unix://{directory}/statsd", "--slow-request", "0.02"),
            *("--log-syslog", "--log-syslog-to", f"unix://{directory}/syslog#{kind}"),
        ]
        self._process = subprocess.Popen(
            [*command, *options, "observed:app"],
            cwd=APPS,
            env=environment({"RUSTWSGI_LOG_EVENTS": "1"}),
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        assert self._process.stderr is not None
        self._log = self._process.stderr.fileno()
        os.set_blocking(self._log, False)
        started = self.wait_for(rb"\[server\.ready\]")
        listening = re.search(rb"Listening at: http://[\d.]+:(\d+)", started)
        metrics = re.search(rb"Metrics at: http://[\d.]+:(\d+)", started)
        assert listening and metrics, started
        self.address = "127.0.0.1", int(listening[1])
        self.metrics = "127.0.0.1", int(metrics[1])

    def _read_log(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            if text := os.read(self._log, 1 << 16):
                return text
            raise SystemExit("the server has ended")
        return b""

    def wait_for(self, pattern: bytes) -> bytes:
        """Wait for a line in the log; the text up to it."""
        text, end = b"", time.monotonic() + WAIT_SECONDS
        while not re.search(pattern, text):
            left = end - time.monotonic()
            if left < 0:
                raise SystemExit(f"no {pattern!r} in the log:\n{text.decode()}")
            select.select([self._log], [], [], left)
            text += self._read_log()
        return text

    def signal(self, number: signal.Signals) -> tuple[float, float]:
        """Send a signal; the time to its line, and the processor time of the master meanwhile."""
        while self._read_log():
            pass
        used, began = cpu_seconds(self.pid), time.perf_counter()
        os.kill(self.pid, number)
        name = number.name.removeprefix("SIG").lower().encode()
        self.wait_for(rb"\[signal\.received\].*: %b\n" % name)
        took = time.perf_counter() - began
        return took, cpu_seconds(self.pid) - used

    def command(self) -> float:
        """Send a command on a new connection; the time to its outcome."""
        began = time.perf_counter()
        while time.perf_counter() - began < COMMAND_SECONDS:
            with contextlib.suppress(OSError), connect(self.control, COMMAND_SECONDS) as client:
                client.sendall(REOPEN)
                if client.recv(1 << 16):
                    break
        return time.perf_counter() - began

    def stop(self) -> float:
        """Wait for the exit after TERM; the time that it took."""
        began, end = time.perf_counter(), time.monotonic() + WAIT_SECONDS
        while self._process.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise SystemExit("the server has not ended")
            # A full pipe must not delay its end.
            with contextlib.suppress(SystemExit):
                self._read_log()
            time.sleep(0.001)
        return time.perf_counter() - began

    def kill(self) -> None:
        """End it if it has not ended."""
        if self._process.poll() is None:
            workers = faults.children(self.pid)
            self._process.kill()
            self._process.wait()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert self._process.stderr is not None
        self._process.stderr.close()


class Client:
    """A kept connection to the application, to a worker that is spared."""

    def __init__(self, server: Server, spared: Synchronized[int]) -> None:
        self._server, self._spared = server, spared
        self._sock = connect(server.address)

    def request(self, request: bytes = GET) -> float:
        """Send a request; its latency."""
        began = time.perf_counter()
        self._sock.sendall(request)
        response = self._sock.recv(4096)
        took = time.perf_counter() - began
        head, _, body = response.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or not body:
            raise SystemExit(f"wrong response: {response!r}")
        self._spared.value = int(body)
        return took

    def renew(self) -> None:
        """Connect again, perhaps to another worker."""
        self.close()
        self._sock = connect(self._server.address)
        self.request()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


def fill_tables(server: Server) -> None:
    """Let each worker show as many slow requests as it can."""

    def ask(_: int) -> None:
        with connect(server.address) as sock:
            for _ in range(20):
                sock.sendall(SLOW)
                assert sock.recv(4096)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))


@dataclass
class Measured:
    """The times of one server, in seconds."""

    requests: list[float] = field(default_factory=list)
    signals: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)
    #: Processor time of the master between a signal and its line.
    used: list[float] = field(default_factory=list)
    exit: float = 0.0
    #: Processor time of the master per second.
    master: float = 0.0
    #: Deeds of the fault per second.
    done: float = 0.0

    def percentile(self, share: float) -> float:
        """Of the requests."""
        return sorted(self.requests)[int(share * (len(self.requests) - 1))]


#: Starts a fault, or what both servers of a pair have.
Start = Callable[[Server, "Synchronized[int]"], contextlib.AbstractContextManager[Fault | None]]


def nothing(server: Server, spared: Synchronized[int]) -> contextlib.nullcontext[None]:
    """No fault."""
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Case:
    """A fault."""

    name: str
    start: Start
    #: What the server without the fault has as well.
    background: Start = nothing
    #: Workers end all the time, so that a reload would fail.
    ends_workers: bool = False
    #: The collectors read nothing.
    stops_collectors: bool = False
    syslog: int = socket.SOCK_DGRAM


def flood(is_control: bool, payload: bytes, number: int) -> Start:
    """Connections to the metrics address or the control socket."""

    def start(
        server: Server, spared: Synchronized[int]
    ) -> contextlib.AbstractContextManager[Fault]:
        address = server.control if is_control else server.metrics
        return Fault().running(faults.hold_connections, address, payload, number)

    return start


def read_state(streams: int, pollers: int) -> Start:
    """Clients that read the state of the server as fast as they can."""

    @contextlib.contextmanager
    def start(server: Server, spared: Synchronized[int]) -> Iterator[Fault]:
        if streams:
            fill_tables(server)
        with Fault().running(faults.read_state, server.metrics, streams, pollers) as fault:
            yield fault

    return start


def end_workers(profiles: bool) -> Start:
    """Workers that end all the time, perhaps while they are profiled."""

    def start(
        server: Server, spared: Synchronized[int]
    ) -> contextlib.AbstractContextManager[Fault]:
        control = server.control if profiles else None
        return Fault().running(faults.end_workers, server.pid, spared, control)

    return start


def profile(server: Server, spared: Synchronized[int]) -> contextlib.AbstractContextManager[Fault]:
    """Profiles and stacks that no client reads."""
    return Fault().running(faults.profile_unread, server.pid, server.control)


def cases(number: int) -> list[Case]:
    """All faults, with so many connections."""
    status = b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    floods = {
        "metrics: silent": (False, b"", number),
        "metrics: half requests": (False, status[:30], number),
        "metrics: garbage": (False, bytes(range(256)) * 4, number),
        "metrics: unread responses": (False, status * 20, number),
        "metrics: unread events": (False, status.replace(b"/status", b"/events"), number),
        "metrics: connect and close": (False, b"", 1),
        "control: silent": (True, b"", number),
        "control: half commands": (True, b'{"command": "sta', number),
        "control: garbage": (True, bytes(range(256)) * 4, number),
        "control: unread outcomes": (True, b'{"command": "status"}\n' * 20, number),
        "control: connect and close": (True, b"", 1),
    }
    dying = end_workers(profiles=False)
    return [
        *(Case(name, flood(*arguments)) for name, arguments in floods.items()),
        Case("metrics: 32 streams, 8 pollers", read_state(32, 8)),
        Case("metrics: 8 pollers, workers end", read_state(0, 8), dying, ends_workers=True),
        Case("profile: workers end", end_workers(profiles=True), dying, ends_workers=True),
        Case("profile: unread", profile),
        Case("statsd, syslog datagrams: unread", nothing, stops_collectors=True),
        Case(
            "statsd, syslog stream: unread",
            nothing,
            stops_collectors=True,
            syslog=socket.SOCK_STREAM,
        ),
    ]


@dataclass(frozen=True)
class Bench:
    """What is measured, and how often."""

    command: list[str]
    workers: int
    requests: int

    def measure(self, case: Case, with_fault: bool) -> Measured:
        """Start a server, perhaps with the fault, measure it, and stop it."""
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            kinds = {"statsd": socket.SOCK_DGRAM, "syslog": case.syslog}
            paths = [(str(directory / name), kind) for name, kind in kinds.items()]
            collectors = stack.enter_context(Fault().running(faults.collect, paths))
            server = Server(self.command, directory, case.syslog, self.workers)
            stack.callback(server.kill)
            spared: Synchronized[int] = faults.shared_number()
            client = Client(server, spared)
            stack.callback(client.close)
            client.request()
            stack.enter_context(case.background(server, spared))
            fault = None
            if with_fault:
                if case.stops_collectors:
                    os.kill(collectors.pid, signal.SIGSTOP)
                    for _ in range(FILLING):
                        client.request()
                fault = stack.enter_context(case.start(server, spared))
            return self._measure(case, server, client, fault)

    def _measure(self, case: Case, server: Server, client: Client, fault: Fault | None) -> Measured:
        measured = Measured()
        done = fault.count.value if fault else 0
        used, began = cpu_seconds(server.pid), time.perf_counter()

        def send(number: signal.Signals) -> None:
            took, used = server.signal(number)
            measured.signals.append(took)
            measured.used.append(used)

        for turn in range(self.requests):
            measured.requests.append(client.request())
            if turn % (self.requests // SIGNALS) == 0:
                send(signal.SIGUSR1)
            time.sleep(0.001)
        for _ in range(COMMANDS):
            measured.commands.append(server.command())
        elapsed = time.perf_counter() - began
        measured.master = (cpu_seconds(server.pid) - used) / elapsed
        measured.done = ((fault.count.value if fault else 0) - done) / elapsed
        if not case.ends_workers:
            send(signal.SIGHUP)
            server.wait_for(rb"\[reload\.completed\]")
            client.renew()
        send(signal.SIGTERM)
        measured.exit = server.stop()
        return measured


@dataclass(frozen=True)
class Row:
    """What a fault adds, in seconds, and what it does."""

    request: float
    slow_request: float
    signal: float
    command: float
    exit: float
    used: float
    largest: float
    master: float
    done: float

    @classmethod
    def of(cls, pairs: list[tuple[Measured, Measured]]) -> Row:
        """The medians of pairs: without the fault, and with it."""

        def added(value: Callable[[Measured], float]) -> float:
            return statistics.median(value(after) - value(before) for before, after in pairs)

        faulty = [after for _, after in pairs]
        return cls(
            request=added(lambda it: it.percentile(0.5)),
            slow_request=added(lambda it: it.percentile(0.99)),
            signal=added(lambda it: statistics.median(it.signals)),
            command=added(lambda it: statistics.median(it.commands)),
            exit=added(lambda it: it.exit),
            used=max(max(it.used) for it in faulty),
            largest=statistics.median(max(it.signals) for it in faulty),
            master=statistics.median(it.master for it in faulty),
            done=statistics.median(it.done for it in faulty),
        )

    def exceeds(self) -> bool:
        """Whether a request or a signal is delayed by more than is allowed."""
        return max(self.slow_request, self.signal, self.used) > LIMIT_SECONDS

    def __str__(self) -> str:
        times = (self.request, self.slow_request, self.signal, self.command, self.exit)
        values = [f"{value * 1e3:+10.2f}" for value in times]
        values += [f"{self.used * 1e3:10.2f}", f"{self.largest * 1e3:10.2f}"]
        return "".join([*values, f"{self.master:9.0%}", f"{self.done:10.0f}"])


HEADINGS = ("request", "p99", "signal", "command", "exit", "cpu", "largest", "master", "done/s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the cost of hostile observers.")
    parser.add_argument("--server", default=str(DEFAULT), help="path of the rustwsgi to run")
    parser.add_argument("--only", default="", help="a regular expression: the faults to measure")
    parser.add_argument("--rounds", type=int, default=3, help="pairs for each fault")
    parser.add_argument("--requests", type=int, default=600, help="requests for each server")
    parser.add_argument("--workers", type=int, default=2, help="of each server")
    parser.add_argument(
        "--busy", action="store_true", help="let the clients have the priority of the server"
    )
    args = parser.parse_args()
    Fault.are_idle = not args.busy
    # The server's own limit stays as it is.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    number = min(limit[1], 20_000) - 100
    bench = Bench([args.server], args.workers, args.requests)
    print(f"{number} connections; milliseconds\n{'':<34}", end="")
    print("".join(f"{heading:>{9 if heading == 'master' else 10}}" for heading in HEADINGS))
    exceeded = []
    for case in cases(number):
        if not re.search(args.only, case.name):
            continue
        pairs = []
        for _ in range(args.rounds):
            pairs.append((bench.measure(case, False), bench.measure(case, True)))
        row = Row.of(pairs)
        print(f"{case.name:<34}{row}", flush=True)
        if row.exceeds():
            exceeded.append(case.name)
    if exceeded:
        sys.exit(f"more than {LIMIT_SECONDS * 1e3:.0f} ms: {', '.join(exceeded)}")


if __name__ == "__main__":
    main()
