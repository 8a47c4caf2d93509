"""Runs a server on one core, reads its CPU time and memory from /proc, and stops it.

CPU time varies least on a shared machine. It is measured for the server's whole process tree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import probe
from servers import BENCHES, TARGET, Launch, Server
from workloads import Workload

APPS = BENCHES / "apps"
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
#: For wrk and this program. The same as the server's core if there is only one.
LOAD_CORE = _CORES[1 % len(_CORES)]

START_SECONDS = 20.0
STOP_SECONDS = 3.0


@contextlib.contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """Pin the processes that are started in this block to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Usage:
    """The CPU time and memory of a process tree."""

    user_seconds: float
    system_seconds: float
    rss_kib: int
    pss_kib: int
    #: Page faults that needed no disk: memory that the kernel had to provide.
    faults: int

    @property
    def cpu_seconds(self) -> float:
        """User and system time, with the resolution of the clock tick."""
        return round(self.user_seconds + self.system_seconds, 2)


def tree(root: int) -> list[int]:
    """The process ids of `root` and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def usage(root: int) -> Usage:
    """The usage of the process tree of `root`."""
    user = system = rss = pss = faults = 0
    for pid in tree(root):
        if fields := _stat(pid):
            faults += int(fields[7])
            user += int(fields[11])
            system += int(fields[12])
        rss += _kib(pid, "status", "VmRSS:")
        pss += _kib(pid, "smaps_rollup", "Pss:")
    return Usage(user / _TICKS_PER_SECOND, system / _TICKS_PER_SECOND, rss, pss, faults)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat that follow the command's name; the first is the state."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _kib(pid: int, file: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def environment(extra: dict[str, str]) -> dict[str, str]:
    """A minimal environment, so that variables of the shell do not influence the servers."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "PYTHONPATH": str(APPS), **extra}


def free_port() -> int:
    """An unused port. Several peers cannot bind to port 0."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Running:
    """A running server that has answered a request."""

    def __init__(
        self,
        server: Server,
        workload: Workload,
        extra_env: dict[str, str],
        cores: Sequence[int] = (SERVER_CORE,),
    ) -> None:
        self.port = free_port()
        launch = Launch(self.port, workload.threads, workload.app, workload.close, workload.workers)
        command = server.command(launch)
        log = TARGET / "logs" / f"{workload.name}-{server.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output, on_core(*cores):
            began = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                cwd=APPS,
                env=environment({**server.env, **extra_env}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid
        try:
            answered = probe.wait_until_up(
                self.port,
                workload.request(),
                time.monotonic() + START_SECONDS,
                self.is_alive,
            )
        except BaseException:
            self.stop()
            raise
        #: From the start of the command to the first byte of the first response.
        self.start_seconds = answered - began

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_alive(self) -> bool:
        """Whether the server's first process is running."""
        return self._process.poll() is None

    def usage(self) -> Usage:
        """The server's current usage."""
        return usage(self.pid)

    def stop(self) -> None:
        """Stop the server with SIGTERM, then with SIGKILL."""
        pids = tree(self.pid)
        if self.is_alive():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        if self.is_alive():
            self._process.kill()
        self._process.wait()
        for pid in pids[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def run_pinned(command: Sequence[str], core: int, seconds: float) -> str:
    """Run a command on `core` for at most `seconds`; return its standard output."""
    with on_core(core):
        return subprocess.run(
            command,
            cwd=APPS,
            env=environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        ).stdout
