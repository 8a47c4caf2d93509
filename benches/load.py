"""Runs a workload on a running server and measures it.

The load generator is wrk, or h2load for HTTP/2: on one core they are faster than every server here.
The server's CPU time is read before and after the load.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field

import http2
import probe
from process import (
    APPS,
    LOAD_CORE,
    SERVER_CORE,
    Running,
    Usage,
    environment,
    held_kib,
    on_core,
    run_pinned,
    usage,
)
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


def generate(port: int, workload: Workload, seconds: int) -> dict[str, int]:
    """Load the server with the generator that speaks the workload's protocol."""
    run = h2load if workload.http2 else wrk
    return run(port, workload, seconds)


def _check(port: int, workload: Workload) -> str:
    if workload.http2:
        http2.check(port, workload)
        return ""
    return probe.check(port, workload)


def wrk(port: int, workload: Workload, seconds: int) -> dict[str, int]:
    """Run wrk and return what wrk.lua prints."""
    timeout = "30s" if workload.is_download else "1s"
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", timeout]
    for name, value in workload.fields:
        command += ["-H", f"{name}: {value}"]
    if workload.close:
        command += ["-H", "Connection: close"]
    scheme = "https" if workload.tls else "http"
    command += ["-s", str(BENCHES / "wrk.lua"), f"{scheme}://127.0.0.1:{port}{workload.path}"]
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


def h2load(port: int, workload: Workload, seconds: int) -> dict[str, int]:
    """Run h2load. The figures are named as those of wrk, without percentiles."""
    scheme = "https" if workload.tls else "http"
    command = ["h2load", "-t1", f"-c{workload.connections}", f"-m{workload.streams}"]
    command += [f"-D{seconds}", f"{scheme}://127.0.0.1:{port}{workload.path}"]
    try:
        output = run_pinned(command, LOAD_CORE, seconds + 20)
    except (OSError, subprocess.SubprocessError) as error:
        raise probe.ProbeError(f"h2load failed: {error}") from None
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    codes = re.search(r"status codes: (\d+) 2xx", output)
    if not counts or not codes:
        raise probe.ProbeError("h2load printed no result")
    succeeded, failed, errored, late = map(int, counts.groups())
    return {
        "requests": succeeded,
        "duration_us": seconds * 1_000_000,
        "connect": 0,
        "read": errored,
        "write": 0,
        # Those of another status than 2xx count as succeeded.
        "status": failed - errored + max(succeeded - int(codes[1]), 0),
        "timeout": late,
    }


def handshakes(port: int, workload: Workload, seconds: int) -> dict[str, float]:
    """Open connections with full handshakes, one request each, for about `seconds`.

    wrk resumes sessions, and `openssl s_time` has one connection at a time, so several run at once.
    """
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-www", workload.path]
    command += ["-time", str(seconds)]
    with contextlib.ExitStack() as stack, on_core(LOAD_CORE):
        began = time.perf_counter()
        clients = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment({})
                )
            )
            for _ in range(workload.connections)
        ]
        made = 0
        for client in clients:
            try:
                output, _ = client.communicate(timeout=seconds + 20)
            except subprocess.TimeoutExpired:
                client.kill()
                raise probe.ProbeError("openssl s_time does not end") from None
            found = re.search(rb"(\d+) connections in \d+ real seconds", output)
            made += int(found[1]) if found else 0
        return {"requests": made, "seconds": time.perf_counter() - began}


def measure(server: Running, workload: Workload, seconds: int, idle: int) -> Outcome:
    """Measure a server that has just answered its first request, alone."""
    outcome = Outcome()
    try:
        try:
            _check(server.port, workload)
        except probe.ClosesError as error:
            # Valid HTTP, but not the workload: the figures are shown and do not count.
            if workload.kind is not Kind.STARTUP:
                outcome.wrong = str(error)
        if workload.kind is Kind.STARTUP:
            outcome.metrics["start_ms"] = server.start_seconds * 1000
        elif workload.kind is Kind.IDLE:
            generate(server.port, workload, 1)  # warm-up
            _beside_idle(server, workload, seconds, min(idle, workload.most_idle), outcome)
        elif workload.kind is Kind.MEMORY:
            outcome.metrics["held_start_mib"] = held_kib(server.pid) / 1024
            _loaded(server, workload, seconds, outcome)
            outcome.metrics["held_mib"] = held_kib(server.pid) / 1024
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
        outcome.note = _check(server.port, workload)
        if workload.kind in (Kind.LOAD, Kind.HANDSHAKE):
            generate(server.port, workload, 1)
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
        elif workload.kind is Kind.HANDSHAKE:
            _connected(server, workload, seconds, outcome)
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
    figures = generate(server.port, workload, seconds)
    after = server.usage()
    if workload.is_download:
        _per_mebibyte(figures, before, after, outcome)
        return
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


def _connected(server: Running, workload: Workload, seconds: int, outcome: Outcome) -> None:
    before = server.usage()
    if workload.resumed:
        figures = wrk(server.port, workload, seconds)
        made, elapsed = float(figures["requests"]), figures["duration_us"] / 1e6
    else:
        counts = handshakes(server.port, workload, seconds)
        made, elapsed = counts["requests"], counts["seconds"]
    after = server.usage()
    user = after.user_seconds - before.user_seconds
    system = after.system_seconds - before.system_seconds
    if not made:
        outcome.wrong = "no connection under load"
        return
    outcome.metrics.update(
        {
            "rps": made / elapsed,
            "per_cpu_second": made / max(user + system, 0.01),
            "user_us": user * 1e6 / made,
            "system_us": system * 1e6 / made,
            "rss_mib": after.rss_kib / 1024,
        }
    )


def _per_request(figures: dict[str, int], before: Usage, after: Usage) -> Metrics:
    requests = max(figures["requests"], 1)
    percentiles = {
        f"{name}_ms": figures[f"{name}_us"] / 1000
        for name in ("p50", "p99")
        if f"{name}_us" in figures
    }
    return {
        "rps": figures["requests"] / (figures["duration_us"] / 1e6),
        **percentiles,
        "user_us": (after.user_seconds - before.user_seconds) * 1e6 / requests,
        "system_us": (after.system_seconds - before.system_seconds) * 1e6 / requests,
        "faults": (after.faults - before.faults) / requests,
        "rss_mib": after.rss_kib / 1024,
        "pss_mib": after.pss_kib / 1024,
    }


def _per_mebibyte(figures: dict[str, int], before: Usage, after: Usage, outcome: Outcome) -> None:
    """The figures of downloads. They count responses that have not ended, too."""
    received = figures["bytes"] / (1 << 20)
    if received < 1:
        outcome.wrong = "no response under load"
        return
    outcome.metrics = {
        "mib_per_second": received / (figures["duration_us"] / 1e6),
        "user_us": (after.user_seconds - before.user_seconds) * 1e6 / received,
        "system_us": (after.system_seconds - before.system_seconds) * 1e6 / received,
        "rss_mib": after.rss_kib / 1024,
        "pss_mib": after.pss_kib / 1024,
    }
    kinds = ("connect", "read", "write", "status", "timeout")
    outcome.wrong = ", ".join(f"{figures[kind]} {kind} errors" for kind in kinds if figures[kind])


def _beside_idle(
    server: Running, workload: Workload, seconds: int, idle: int, outcome: Outcome
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY:
        idle = min(idle, limit - 500)
    alone = server.usage()
    with contextlib.ExitStack() as stack:
        held = _open_idle(server.port, workload, idle, stack)
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
    port: int, workload: Workload, count: int, stack: contextlib.ExitStack
) -> list[socket.socket]:
    """Open connections, and send one request on each.

    Returns fewer than `count` if a response takes over 2 s or all of them over a minute.
    """
    held: list[socket.socket] = []
    deadline = time.monotonic() + 60
    while len(held) < count and time.monotonic() < deadline:
        source = f"127.0.0.{2 + len(held) // _PER_ADDRESS}" if count > _PER_ADDRESS else ""
        try:
            if workload.http2:
                connection = http2.connect(port, tls=workload.tls, timeout=2.0, source=source)
            else:
                connection = socket.create_connection(
                    ("127.0.0.1", port), 2.0, source_address=(source, 0) if source else None
                )
                if workload.tls:
                    connection = probe.TLS.wrap_socket(connection)
            held.append(stack.enter_context(connection))
            connection.sendall(http2.PREFACE + http2.GET if workload.http2 else workload.request())
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
        # Tickets of a TLS session may wait; after them nothing.
        flags = 0 if isinstance(connection, ssl.SSLSocket) else socket.MSG_PEEK
        return connection.recv(1, flags) != b""
    except (BlockingIOError, ssl.SSLWantReadError):
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
    code = f"import {workload.app}; print('imported', flush=True); input()"
    command = [python, "-c", code]
    pipe = subprocess.PIPE
    with (
        on_core(SERVER_CORE),
        subprocess.Popen(
            command, cwd=APPS, env=environment({}), stdin=pipe, stdout=pipe
        ) as interpreter,
    ):
        assert interpreter.stdin and interpreter.stdout
        if not interpreter.stdout.readline():
            return {}
        held = held_kib(interpreter.pid) / 1024
        resident = usage(interpreter.pid).rss_kib / 1024
        interpreter.stdin.write(b"\n")
    return {"held_start_mib": held, "held_mib": held, "rss_mib": resident}


def raise_file_limit() -> int:
    """Raise the limit of descriptors to the maximum; the servers inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def load_average() -> float:
    """The load average of the last minute: near zero on a quiet machine."""
    return os.getloadavg()[0]
