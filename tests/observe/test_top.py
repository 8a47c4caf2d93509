"""`rustwsgi top`: a live table in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest

from harness import (
    TIMEOUT,
    ServerProcess,
    build_request,
    child_environment,
    door_command,
    run_cli,
)
from harness.control import Control
from harness.metrics import OPTIONS, Metrics

pytestmark = pytest.mark.second_door("every case")

APP = "handed_over:app"
Factory = Callable[..., ServerProcess]


class Terminal:
    """A command in a terminal of 120 by 40 characters."""

    def __init__(self, command: list[str]) -> None:
        self._fd, self._inner = pty.openpty()
        self._before = termios.tcgetattr(self._inner)
        fcntl.ioctl(self._inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._screen = pyte.Screen(120, 40)
        self._stream = pyte.ByteStream(self._screen)
        self.process = subprocess.Popen(
            command,
            stdin=self._inner,
            stdout=self._inner,
            stderr=self._inner,
            env=child_environment({"TERM": "xterm-256color"}),
            start_new_session=True,
        )

    def wait_for(self, text: str, timeout: float = TIMEOUT) -> None:
        """Wait until a line of the screen has this text."""
        deadline = time.monotonic() + timeout
        while not any(text in line for line in self._screen.display):
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in:\n" + "\n".join(self._screen.display)
            if select.select([self._fd], [], [], left)[0]:
                self._stream.feed(os.read(self._fd, 65536))

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def is_restored(self) -> bool:
        """Whether the terminal has the settings that it had before."""
        return termios.tcgetattr(self._inner) == self._before

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._inner)
        os.close(self._fd)


@contextmanager
def top(door: str, *arguments: str) -> Iterator[Terminal]:
    terminal = Terminal([*door_command(door), "top", *arguments])
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("address", ["metrics", "socket"])
def test_requests_are_shown_while_they_run(
    fresh_server: Factory, door: str, tmp_path: Path, address: str
) -> None:
    control = Control(tmp_path, door)
    server = fresh_server(APP, *control.options, *OPTIONS, "--threads", "2")
    where = ["--metrics", "{}:{}".format(*Metrics(server).address)]
    options = where if address == "metrics" else list(control.options)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with top(door, *options, "--interval", "0.1") as terminal:
        terminal.wait_for(f"pid {server.pid}  serving  ready")
        with server.connect() as client:
            client.send(build_request("GET", f"/hold?{fifo}"))
            terminal.wait_for(f"/hold?{str(fifo)[:30]}")
            fifo.open("w").close()
            client.response()
        terminal.press(b"q")
        assert terminal.process.wait(TIMEOUT) == 0
        assert terminal.is_restored()


def test_server_that_ends_is_shown(fresh_server: Factory, door: str) -> None:
    server = fresh_server(APP, *OPTIONS)
    with top(door, "--metrics", "{}:{}".format(*Metrics(server).address)) as terminal:
        terminal.wait_for("serving")
        server.stop()
        terminal.wait_for("no answer for ")
        terminal.press(b"\x03")
        assert terminal.process.wait(TIMEOUT) == 0
        assert terminal.is_restored()


def test_server_that_does_not_answer(door: str, tmp_path: Path) -> None:
    with top(door, "--control-socket", str(tmp_path / "absent")) as terminal:
        terminal.wait_for("error: cannot connect to")
        assert terminal.process.wait(TIMEOUT) == 1


def test_without_a_terminal(door: str, tmp_path: Path) -> None:
    done = run_cli(door, "top", "--control-socket", str(tmp_path / "absent"))
    assert done.returncode == 1 and "top needs a terminal" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no server is named"),
        (["--metrics", ":9100", "--interval", "0"], "not a number of seconds"),
        (["--metrics", ":9100", "--control-socket", "s"], "cannot be used with"),
    ],
)
def test_bad_arguments(door: str, arguments: list[str], message: str) -> None:
    done = run_cli(door, "top", *arguments)
    assert done.returncode == 2 and message in done.stderr
