"""A client of the debug adapter protocol, as an IDE is one."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from .client import TIMEOUT
from .projects import PYTHON


class Debugger:
    """One session. It reads only while a test waits for a message."""

    def __init__(self, writer: IO[bytes], reader: IO[bytes]) -> None:
        self._writer, self._reader, self._number = writer, reader, 0

    def send(self, command: str, **arguments: object) -> None:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command}
        body = json.dumps({**message, "arguments": arguments}).encode()
        self._writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._writer.flush()

    def wait_for(self, key: str, value: str) -> dict[str, Any]:
        """The next event or response of this name."""
        while True:
            length = 0
            while line := self._reader.readline().strip():
                length = int(line.partition(b":")[2])
            assert length, f"the session has ended without {value}"
            message: dict[str, Any] = json.loads(self._reader.read(length))
            if message.get(key) == value:
                assert message.get("success", True), message
                return message

    def begin(self, request: str, configuration: Mapping[str, Any], file: Path, line: int) -> None:
        """Launch a program, or attach to one, with a breakpoint."""
        self.send("initialize", adapterID="test")
        self.send(request, **configuration)
        self.wait_for("event", "initialized")
        self.send("setBreakpoints", source={"path": str(file)}, breakpoints=[{"line": line}])
        self.send("configurationDone")
        self.wait_for("command", request)

    def wait_for_breakpoint(self) -> int:
        """The thread that has stopped at it."""
        stopped = self.wait_for("event", "stopped")["body"]
        assert stopped["reason"] == "breakpoint"
        return int(stopped["threadId"])


@contextlib.contextmanager
def attached(port: int) -> Iterator[Debugger]:
    """A session with the program that listens at this port."""
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as client,
        client.makefile("rwb") as stream,
    ):
        debugger = Debugger(stream, stream)
        yield debugger
        debugger.send("disconnect")
        debugger.wait_for("command", "disconnect")


@contextlib.contextmanager
def launching() -> Iterator[Debugger]:
    """A session that may launch a program, which ends with it."""
    with subprocess.Popen(
        [PYTHON, "-m", "debugpy.adapter"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as adapter:
        assert adapter.stdin is not None and adapter.stdout is not None
        debugger = Debugger(adapter.stdin, adapter.stdout)
        try:
            yield debugger
            debugger.send("disconnect", terminateDebuggee=True)
            debugger.wait_for("command", "disconnect")
        finally:
            adapter.stdin.close()
            adapter.terminate()
