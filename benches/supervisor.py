"""Measures the master's memory and CPU time, and how long the replacement of a worker takes.

    make build && .venv/bin/python benches/supervisor.py [--binary] [--rounds N]

Prints:

- the time from `kill -9` of a worker until its successor answers a request, and the time in which
  a new interpreter imports the same application;
- the master's private memory (USS) and proportional memory (PSS), and its CPU time and context
  switches in ten idle seconds.

Targets: import time + 0.2 s, 15 MB, no wake-up. No test checks the times, as they depend on the
machine.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IDLE_SECONDS = 10
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
APPLICATION = """
import time
time.sleep({sleep})


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


class Running:
    """A server with one worker, and its log."""

    def __init__(self, command: list[str], directory: str) -> None:
        options = ["--bind", "127.0.0.1:0", "--pythonpath", directory, "replaced:app"]
        self.process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self._wait(r"Listening at: http://127\.0\.0\.1:(\d+)")[1])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def _wait(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(pattern, "".join(self.lines)):
                return found
            time.sleep(0.01)
        raise SystemExit(f"the log has no line {pattern!r}:\n{''.join(self.lines)}")

    def answer(self) -> None:
        """Send a request, wait in the accept queue for a ready worker, and read the response."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while client.recv(4096):
                pass

    def worker(self) -> int:
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def replacement(command: list[str], sleep: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "replaced.py").write_text(APPLICATION.format(sleep=sleep))
        bare = []
        for _ in range(rounds):
            begin = time.monotonic()
            code = f"import sys; sys.path.insert(0, {directory!r}); import replaced"
            subprocess.run([sys.executable, "-c", code], check=True)
            bare.append(time.monotonic() - begin)
        server = Running(command, directory)
        server.answer()
        times = []
        for number in range(rounds):
            begin = time.monotonic()
            os.kill(server.worker(), signal.SIGKILL)
            server.answer()
            # Without the restart delay, which grows with successive failures from zero.
            pause = 0 if number == 0 else min(0.05 * 2**number, 2.0)
            times.append(time.monotonic() - begin - pause)
        server.stop()
    print(
        f"import {sleep:.1f} s: replaced in {statistics.median(times):.3f} s"
        f" (from {min(times):.3f} to {max(times):.3f});"
        f" a new interpreter imports it in {statistics.median(bare):.3f} s"
    )


def status(pid: int, key: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{key}:\s+(\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def memory(pid: int) -> dict[str, int]:
    """The sizes in smaps_rollup, in kB."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        found[name.rstrip(":")] = int(size)
    return found


def idle_master(command: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "replaced.py").write_text(APPLICATION.format(sleep=0))
        server = Running(command, directory)
        server.answer()
        pid = server.process.pid
        switches = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")

        def used() -> tuple[int, int]:
            columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks = int(columns[11]) + int(columns[12])
            return ticks, sum(status(pid, key) for key in switches)

        time.sleep(1)
        ticks, switched = used()
        time.sleep(IDLE_SECONDS)
        ticks, switched = used()[0] - ticks, used()[1] - switched
        kept = memory(pid)
        own = kept["Private_Clean"] + kept["Private_Dirty"]
        server.stop()
    print(
        f"master: RSS {kept['Rss'] / 1024:.1f} MiB, PSS {kept['Pss'] / 1024:.1f} MiB,"
        f" USS {own / 1024:.1f} MiB; idle for {IDLE_SECONDS} s: {switched} context switches,"
        f" {ticks * 1000 // TICKS_PER_SECOND} ms of CPU"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--binary", action="store_true", help="run the embedded binary instead of the wheel"
    )
    parser.add_argument("--rounds", type=int, default=4, help="replacements to measure")
    options = parser.parse_args()
    command = [sys.executable, "-m", "rustwsgi"]
    if options.binary:
        command = [str(ROOT / "target/release/rustwsgi"), "--venv", sys.prefix]
    replacement(command, 0.0, options.rounds)
    replacement(command, 1.0, options.rounds)
    idle_master(command)


if __name__ == "__main__":
    main()
