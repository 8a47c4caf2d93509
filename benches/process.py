"""Runs a server on one core, reads its CPU time and memory from /proc, and stops it.

CPU time varies least on a shared machine. It is measured for the server's whole process tree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import http2
import probe
from servers import BENCHES, STATIC, TARGET, Launch, Server
from workloads import Workload

APPS = BENCHES / "apps"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
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


def held_kib(root: int) -> int:
    """The memory of the process tree of `root`, each page counted once.

    The sum of the resident sizes counts the pages that a master and its workers share once for each
    of them. The proportional sizes depend on other processes that run the same Python.
    """
    anonymous = 0
    pages: set[tuple[str, int]] = set()
    for pid in tree(root):
        anonymous += _kib(pid, "smaps_rollup", "Pss_Anon:")
        with contextlib.suppress(OSError):
            pages |= _file_pages(pid)
    return anonymous + len(pages) * _PAGE_BYTES // 1024


def _file_pages(pid: int) -> set[tuple[str, int]]:
    """The pages of files that are present in a process: file and index in the file."""
    present = set()
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, _, offset, device, inode, *_ = line.split()
            start, end = (int(part, 16) // _PAGE_BYTES for part in addresses.split("-"))
            if inode == "0":
                continue
            pagemap.seek(start * 8)
            entries = pagemap.read((end - start) * 8)
            first = int(offset, 16) // _PAGE_BYTES
            for index, (entry,) in enumerate(struct.iter_unpack("=Q", entries)):
                # Bit 63: present; bit 61: of a file, and not a private copy.
                if entry >> 61 & 0b101 == 0b101:
                    present.add((f"{device} {inode}", first + index))
    return present


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
        launch = Launch(
            self.port,
            workload.threads,
            workload.app,
            workload.close,
            workload.workers,
            static=bool(workload.static),
            tls=workload.tls,
            http2=workload.http2,
        )
        if workload.static:
            STATIC.mkdir(parents=True, exist_ok=True)
            file = STATIC / f"{workload.static}.bin"
            if not file.exists() or file.stat().st_size != workload.static:
                file.write_bytes(workload.expected_body)
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
                http2.PREFACE if workload.http2 else workload.request(),
                time.monotonic() + START_SECONDS,
                self.is_alive,
                tls=(http2.TLS if workload.http2 else probe.TLS) if workload.tls else None,
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
