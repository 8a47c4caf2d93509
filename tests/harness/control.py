"""The control socket of a server: `rustwsgi ctl`, and the protocol behind it."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

from .client import TIMEOUT
from .doors import child_environment, door_command, run_cli


class Control:
    """A control socket. Its server is started with `options`, and its commands through `door`."""

    def __init__(self, directory: Path, door: str) -> None:
        self.path = directory / "control"
        self.options = ("--control-socket", str(self.path))
        self.door = door

    def ctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `rustwsgi ctl` with these arguments."""
        return run_cli(self.door, "ctl", *self.options, *args)

    def succeeds(self, *args: str) -> str:
        """What the command prints."""
        done = self.ctl(*args)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def fails(self, *args: str) -> str:
        """What the command says is wrong."""
        done = self.ctl(*args)
        assert done.returncode == 1 and done.stdout == "", done
        assert done.stderr.startswith("error: "), done
        return done.stderr

    def json(self, *args: str) -> Any:
        return json.loads(self.succeeds("--json", *args))

    def start(self, *args: str) -> subprocess.Popen[str]:
        """The same as `ctl`, without waiting for its end."""
        return subprocess.Popen(
            [*door_command(self.door), "ctl", *self.options, *args],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(str(self.path))
        return sock

    def send(self, line: bytes) -> dict[str, Any]:
        """The outcome of one line on a connection of its own."""
        with self.connect() as sock:
            sock.sendall(line)
            return outcome(sock)

    def status(self) -> dict[str, Any]:
        reply = self.send(b'{"command": "status"}\n')
        assert reply["ok"], reply
        return reply["result"]


def outcome(sock: socket.socket) -> dict[str, Any]:
    """The next outcome on this connection."""
    line = bytearray()
    while not line.endswith(b"\n"):
        data = sock.recv(65536)
        assert data, f"the connection has ended after {bytes(line)!r}"
        line += data
    return json.loads(line)
