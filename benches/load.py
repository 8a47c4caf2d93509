"""Runs a workload on a running server and measures it.

The load generator is wrk, which on one core is faster than every server here. The server's CPU time
is read before and after the load.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

import probe
from process import LOAD_CORE, SERVER_CORE, Running, Usage, run_pinned
from servers import BENCHES
from workloads import Kind, Workload

#: Figures by name, with the unit in the name. Metrics that were not measured are absent.
Metrics = dict[str, float]

#: Connections from one source address: fewer than there are ephemeral ports.
_PER_ADDRESS = 20_000
#: How long CPU time is measured with idle connections. One tick of 10 ms is then 0.5 %.
_QUIET_SECONDS = 2


@dataclass
class Outcome:
    """The result of one measurement."""

    metrics: Metrics = field(default_factory=dict)
    #: Why the figures do not count; empty if they do.
    wrong: str = ""
    #: A remark on figures that count.
    note: str = ""


def wrk(port: int, workload: Workload, seconds: int) -> dict[str, int]:
    """Run wrk and return what wrk.lua prints."""
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", "1s"]
    for name, value in workload.fields:
        command += ["-H", f"{name}: {value}"]
    if workload.close:
        command += ["-H", "Connection: close"]
    command += ["-s", str(BENCHES / "wrk.lua"), f"http://127.0.0.1:{port}/"]
    if workload.post:
        command += ["--", "post"]
    try:
        output = run_pinned(command, LOAD_CORE, seconds + 20)
    except subprocess.SubprocessError as error:
        raise probe.ProbeError(f"wrk failed: {error}") from None
    for line in output.splitlines():
        if line.startswith("RESULT "):
            figures: dict[str, int] = json.loads(line.removeprefix("RESULT "))
            return figures
    raise probe.ProbeError("wrk printed no result")


def measure(server: Running, workload: Workload, seconds: int, idle: int) -> Outcome:
    """Measure a server that has just answered its first request, alone."""
    outcome = Outcome()
    try:
        try:
            probe.check(server.port, workload)
        except probe.ClosesError as error:
            # Valid HTTP, but not the workload: the figures are shown and do not count.
            if workload.kind is not Kind.STARTUP:
                outcome.wrong = str(error)
        if workload.kind is Kind.STARTUP:
            outcome.metrics["start_ms"] = server.start_seconds * 1000
        elif workload.kind is Kind.IDLE:
            wrk(server.port, workload, 1)  # warm-up
            _beside_idle(server, workload, seconds, idle, outcome)
        elif workload.kind is Kind.MEMORY:
            outcome.metrics["rss_start_mib"] = server.usage().rss_kib / 1024
            _loaded(server, workload, seconds, outcome)
    except probe.ProbeError as error:
        outcome.wrong = str(error)
    if not outcome.wrong and not server.is_alive():
        outcome.wrong = "died"
    return outcome


def warm_up(server: Running, workload: Workload) -> Outcome:
    """Check the responses of a server that has just started, and load it for a second.

    The outcome has no figures, only the reason if the server does not count.
    """
    outcome = Outcome()
    try:
        probe.check(server.port, workload)
        if workload.kind is Kind.LOAD:
            wrk(server.port, workload, 1)
        else:
            _think(server, 1.0, 0)
    except probe.ProbeError as error:
        outcome.wrong = str(error)
    return outcome


def measure_round(server: Running, workload: Workload, seconds: int, turn: int) -> Outcome:
    """Load a server that is warm, for one round. Other servers are running, but are not loaded."""
    outcome = Outcome()
    try:
        if workload.kind is Kind.THINK:
            before = server.usage()
            figures = _think(server, seconds, turn)
            after = server.usage()
            cpu = (after.cpu_seconds - before.cpu_seconds) * 1e6 / max(figures["requests"], 1)
            outcome.metrics = {
                "rps": figures["requests"] / figures["seconds"],
                "p50_ms": figures["p50_ms"],
                "p99_ms": figures["p99_ms"],
                "cpu_us": cpu,
            }
            if figures["errors"]:
                outcome.wrong = "a connection was lost"
        else:
            _loaded(server, workload, seconds, outcome)
    except probe.ProbeError as error:
        outcome.wrong = str(error)
    if not outcome.wrong and not server.is_alive():
        outcome.wrong = "died"
    return outcome


def _think(server: Running, seconds: float, seed: int) -> dict[str, float]:
    script = [sys.executable, str(BENCHES / "think.py"), str(server.port), str(seconds), str(seed)]
    try:
        figures: dict[str, float] = json.loads(run_pinned(script, LOAD_CORE, seconds + 20))
    except subprocess.SubprocessError as error:
        raise probe.ProbeError(f"the load failed: {error}") from None
    return figures


def bound(python: str, workload: Workload, seconds: int) -> Metrics:
    """Calls of the application per second in one interpreter, on the server's core."""
    script = [python, str(BENCHES / "bound.py"), workload.app, str(seconds)]
    return {"rps": float(run_pinned(script, SERVER_CORE, seconds + 20))}


def _loaded(server: Running, workload: Workload, seconds: int, outcome: Outcome) -> None:
    before = server.usage()
    figures = wrk(server.port, workload, seconds)
    after = server.usage()
    outcome.metrics.update(_per_request(figures, before, after))
    kinds = ("connect", "read", "write", "status")
    found = [f"{figures[kind]} {kind} errors" for kind in kinds if figures[kind]]
    # A server that binds threads to connections answers those fast while others wait, which the
    # percentiles of responses do not show.
    if figures["timeout"]:
        outcome.note = f"{figures['timeout']} requests waited over 1 s"
    if not figures["requests"]:
        found.append("no response under load")
    outcome.wrong = ", ".join(filter(None, [outcome.wrong, *found]))


def _per_request(figures: dict[str, int], before: Usage, after: Usage) -> Metrics:
    requests = max(figures["requests"], 1)
    return {
        "rps": figures["requests"] / (figures["duration_us"] / 1e6),
        "p50_ms": figures["p50_us"] / 1000,
        "p99_ms": figures["p99_us"] / 1000,
        "user_us": (after.user_seconds - before.user_seconds) * 1e6 / requests,
        "system_us": (after.system_seconds - before.system_seconds) * 1e6 / requests,
        "faults": (after.faults - before.faults) / requests,
        "rss_mib": after.rss_kib / 1024,
        "pss_mib": after.pss_kib / 1024,
    }


def _beside_idle(
    server: Running, workload: Workload, seconds: int, idle: int, outcome: Outcome
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY:
        idle = min(idle, limit - 500)
    alone = server.usage()
    with contextlib.ExitStack() as stack:
        held = _open_idle(server.port, workload.request(), idle, stack)
        outcome.metrics["idle_connections"] = len(held)
        quiet = server.usage()
        time.sleep(_QUIET_SECONDS)
        used = server.usage().cpu_seconds - quiet.cpu_seconds
        outcome.metrics["idle_cpu_percent"] = round(100 * used / _QUIET_SECONDS, 2)
        if held:
            outcome.metrics["idle_kib"] = (quiet.rss_kib - alone.rss_kib) / len(held)
        if len(held) < idle:
            outcome.wrong = f"accepted {len(held)} of {idle} idle connections in time"
            return
        _loaded(server, workload, seconds, outcome)
        if lost := sum(not _still_open(connection) for connection in held):
            outcome.wrong = f"closed {lost} of {idle} idle connections"


def _open_idle(
    port: int, request: bytes, count: int, stack: contextlib.ExitStack
) -> list[socket.socket]:
    """Open connections, and send one request on each.

    Returns fewer than `count` if a response takes over 2 s or all of them over a minute.
    """
    held: list[socket.socket] = []
    deadline = time.monotonic() + 60
    while len(held) < count and time.monotonic() < deadline:
        source = f"127.0.0.{2 + len(held) // _PER_ADDRESS}" if count > _PER_ADDRESS else ""
        try:
            connection = socket.create_connection(
                ("127.0.0.1", port), 2.0, source_address=(source, 0) if source else None
            )
            held.append(stack.enter_context(connection))
            connection.sendall(request)
            response = b""
            while b"Hello, World!" not in response:
                if not (data := connection.recv(4096)):
                    raise ConnectionResetError
                response += data
        except OSError:
            return held[:-1]
    return held


def _still_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def calibrate_cpu(python: str) -> int:
    """How many iterations of the loop in cpu.py take 1 ms on the server's core."""
    code = (
        "import cpu, time\n"
        "def once():\n"
        "    began = time.perf_counter(); cpu.work(100_000)\n"
        "    return time.perf_counter() - began\n"
        "print(int(100_000 * 0.001 / min(once() for _ in range(30))))"
    )
    return int(run_pinned([python, "-c", code], SERVER_CORE, 20))


def reference(python: str, workload: Workload) -> Metrics:
    """The time and memory of an interpreter that only imports the application."""
    if workload.kind is Kind.STARTUP:
        began = time.perf_counter()
        run_pinned([python, "-c", f"import {workload.app}"], SERVER_CORE, 20)
        return {"start_ms": (time.perf_counter() - began) * 1000}
    code = f"import {workload.app}; print(open('/proc/self/status').read())"
    for line in run_pinned([python, "-c", code], SERVER_CORE, 20).splitlines():
        if line.startswith("VmRSS:"):
            held = int(line.split()[1]) / 1024
            return {"rss_start_mib": held, "rss_mib": held}
    return {}


def raise_file_limit() -> int:
    """Raise the limit of descriptors to the maximum; the servers inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def load_average() -> float:
    """The load average of the last minute: near zero on a quiet machine."""
    return os.getloadavg()[0]
