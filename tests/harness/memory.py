"""The memory of a server's processes, as the kernel counts it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import Client, build_request
from .server import ServerProcess

KIB, MIB = 1 << 10, 1 << 20
#: A body is never held as a whole: buffers on its way may be.
GROWTH = 4 * MIB


def processes(server: ServerProcess) -> list[Path]:
    """/proc of the server's processes, which are a process group of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            columns = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(columns[2]) == server.pid:
            found.append(path)
    assert found
    return found


def unlinked_files(server: ServerProcess) -> Iterator[tuple[Path, int]]:
    """The open files without a name, each with its size in bytes. One may be closed meanwhile."""
    for process in processes(server):
        with contextlib.suppress(OSError):
            for file in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if "(deleted)" in os.readlink(file):
                        yield file, file.stat().st_size


def status(server: ServerProcess, key: str) -> int:
    """The sum of one number of /proc/PID/status."""
    total = 0
    for path in processes(server):
        match = re.search(rf"^{key}:\s*(\d+)", (path / "status").read_text(), re.MULTILINE)
        assert match, key
        total += int(match[1])
    return total


def faults(server: ServerProcess) -> int:
    """Pages that the kernel has provided without reading them from a disk."""
    stats = [(path / "stat").read_text() for path in processes(server)]
    return sum(int(stat.rpartition(")")[2].split()[7]) for stat in stats)


def resident(server: ServerProcess) -> int:
    return status(server, "VmRSS") * KIB


class Growth:
    """The highest resident size since `start`, less the size at `start`."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        for path in processes(server):
            try:
                (path / "clear_refs").write_text("5")  # VmHWM begins anew: proc(5)
            except OSError as problem:
                pytest.skip(f"the kernel does not reset the highest resident size: {problem}")
        self.before = resident(server)

    def __call__(self) -> int:
        return status(self.server, "VmHWM") * KIB - self.before


def assert_small(grown: int, bound: int = GROWTH) -> None:
    assert grown < bound, f"grew by {grown / MIB:.1f} MiB"


def discard(client: Client) -> int:
    """Read one response without keeping it; the length of its body."""
    response = client.head()
    assert response.status == 200
    if response.get("Transfer-Encoding"):
        total = 0
        while block := client.next_chunk():
            total += len(block)
        assert block is not None and client.read(2) == b"\r\n"
        return total
    length = response.get("Content-Length")
    assert length is not None
    left = int(length)
    while left and (block := client.read(min(left, MIB))):
        left -= len(block)
    return int(length) - left


def download(server: ServerProcess, target: str, size: int) -> None:
    with server.connect(60) as client:
        client.send(build_request("GET", f"{target}size={size}"))
        assert discard(client) == size
