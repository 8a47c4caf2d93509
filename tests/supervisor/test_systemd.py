"""systemd: inherited sockets, notifications and the watchdog."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import (
    APPS,
    TIMEOUT,
    Client,
    build_request,
    child_environment,
    door_command,
    wait_until,
)
from harness.supervision import end, is_alive

APP = "supervised:app"
#: The process that is started has to be the server itself, with the listening socket, if any, as 3.
LAUNCHER = """
import os, sys
listener = int(sys.argv[1])
if listener:
    os.dup2(listener, 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Systemd:
    """A service manager: it starts services and receives their notifications.

    In a thread of its own: the kernel holds ten of them, and then a service waits.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = directory / "notify"
        self.socket.bind(str(self.path))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        #: The lines of each notification, and the process that has sent it.
        self.received: list[tuple[list[str], int]] = []
        #: How many of them `wait_for` has looked at.
        self.seen = 0
        self.started: list[subprocess.Popen[bytes]] = []
        self.reader = threading.Thread(target=self._receive, daemon=True)
        self.reader.start()

    def _receive(self) -> None:
        while True:
            data, control, *_ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
            pid = struct.unpack("3i", control[0][2])[0]
            if pid == os.getpid():  # `close`
                return
            self.received.append((data.decode().splitlines(), pid))

    def close(self) -> None:
        """Kill all services, and receive no more."""
        for process in self.started:
            process.kill()
            process.wait()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.path))
        self.reader.join()
        self.socket.close()

    def start(
        self, door: str, *args: str, listener: socket.socket | None = None
    ) -> subprocess.Popen[bytes]:
        fds = [listener.fileno()] if listener else []
        launcher = [sys.executable, "-c", LAUNCHER, *(str(fd) for fd in fds or [0])]
        env = {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": "200000"}
        process = subprocess.Popen(
            [*launcher, *door_command(door), *args],
            cwd=APPS,
            env=child_environment(env),
            pass_fds=fds,
        )
        self.started.append(process)
        return process

    def wait_for(self, line: str, sender: int | None = None, besides: int | None = None) -> int:
        """Wait for the next such notification, from `sender` or from any process but `besides`; the
        pid of its sender."""
        found: list[int] = []

        def is_there() -> bool:
            while not found and self.seen < len(self.received):
                lines, pid = self.received[self.seen]
                self.seen += 1
                if line in lines and sender in {None, pid} and besides != pid:
                    found.append(pid)
            return bool(found)

        wait_until(is_there, f"the notification {line}")
        return found[0]

    def heard(self, line: str) -> set[int]:
        """The pids of all processes that have sent it so far."""
        return {pid for lines, pid in self.received if line in lines}


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path)
    yield systemd
    systemd.close()


def test_systemd_service_starts_and_stops(door: str, systemd: Systemd) -> None:
    """Type=notify with a watchdog and socket activation; reload and stop are notified, too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = systemd.start(door, APP, listener=listener)
        systemd.wait_for("READY=1")
        with Client(socket.create_connection(listener.getsockname(), TIMEOUT)) as client:
            assert client.request(build_request("GET", "/environ?LISTEN_FDS")).body == b""
        systemd.wait_for("WATCHDOG=1")
        systemd.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        systemd.wait_for("RELOADING=1")
        systemd.wait_for("READY=1")
        with Client(socket.create_connection(listener.getsockname(), TIMEOUT)) as client:
            assert client.request(build_request()).status == 200
        process.send_signal(signal.SIGTERM)
        systemd.wait_for("STOPPING=1")
        assert process.wait(TIMEOUT) == 0
        # systemd owns the socket, which keeps listening for the next start.
        socket.create_connection(listener.getsockname(), TIMEOUT).close()


@pytest.mark.parametrize(
    "mistake",
    ["no_such_option = 1", "user = 'no-such-name'", "chdir = '/nowhere'", "bind = '192.0.2.1:0'"],
)
def test_systemd_reload_without_a_change_is_acknowledged(
    door: str, systemd: Systemd, tmp_path: Path, mistake: str
) -> None:
    """`systemctl reload` waits for a notification (Type=notify-reload), which was not sent."""
    config = tmp_path / "options.toml"
    config.write_text("bind = '127.0.0.1:0'\n")
    process = systemd.start(door, "--config", str(config), APP)
    systemd.wait_for("READY=1")
    config.write_text(f"{mistake}\n")
    process.send_signal(signal.SIGHUP)
    systemd.wait_for("RELOADING=1")
    systemd.wait_for("READY=1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0


def test_upgrade_under_systemd_keeps_the_service(door: str, systemd: Systemd) -> None:
    """Regression: the new master never fed the watchdog, which was for the old one, and the old
    master notified STOPPING."""
    process = systemd.start(door, "--bind", "127.0.0.1:0", APP)
    old = process.pid
    systemd.wait_for("READY=1", old)
    process.send_signal(signal.SIGUSR2)
    new = systemd.wait_for("READY=1", besides=old)
    try:
        systemd.wait_for("WATCHDOG=1", new)
        process.send_signal(signal.SIGTERM)
        # Before it ends, as systemd takes the word of the main process only.
        systemd.wait_for(f"MAINPID={new}", old)
        assert process.wait(TIMEOUT) == 0
        systemd.wait_for(f"MAINPID={new}", new)
        systemd.wait_for("WATCHDOG=1", new)
        assert not systemd.heard("STOPPING=1")
        os.kill(new, signal.SIGTERM)
        systemd.wait_for("STOPPING=1", new)
        wait_until(lambda: not is_alive(new), "it ends")
    finally:
        end(new, signal.SIGKILL)


def test_rolled_back_upgrade_under_systemd_keeps_the_service(door: str, systemd: Systemd) -> None:
    """The service continues when the new master ends."""
    process = systemd.start(door, "--bind", "127.0.0.1:0", APP)
    old = process.pid
    systemd.wait_for("READY=1", old)
    process.send_signal(signal.SIGUSR2)
    new = systemd.wait_for("READY=1", besides=old)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not is_alive(new), "it ends")
    process.send_signal(signal.SIGTERM)
    systemd.wait_for("STOPPING=1", old)
    assert systemd.heard("STOPPING=1") == {old}
    assert not systemd.heard(f"MAINPID={new}")
    assert process.wait(TIMEOUT) == 0
