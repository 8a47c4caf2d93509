"""An application that restores SIGPIPE, as programs do that write to pipes: the signal then ends the
process that writes to a pipe without a reader. It must not end a worker, and what the application
starts must get it as from any other program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import build_request
from harness.wsgi import THREADS

SOURCE = """
import os, signal, subprocess

if os.environ.get("SIGPIPE") == "default":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
LARGE = os.path.join(os.path.dirname(__file__), "large")
with open(LARGE, "wb") as file:
    file.truncate(256 << 20)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if environ["PATH_INFO"] == "/large":
        return environ["wsgi.file_wrapper"](open(LARGE, "rb"))
    if environ["PATH_INFO"] == "/child":
        # Without the signal `yes` complains that its output is gone.
        command = ["sh", "-c", "yes | head -n 1; grep SigBlk: /proc/self/status"]
        done = subprocess.run(command, capture_output=True)
        return [done.stdout, done.stderr]
    return [b"%d" % os.getpid()]
"""


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    (tmp_path / "pipes.py").write_text(SOURCE)
    return ["pipes:app", *THREADS, "--pythonpath", str(tmp_path)]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_broken_download_with_default_sigpipe_ends_no_worker(
    fresh_server, options: list[str], tmp_path: Path, kind: str
) -> None:
    """`sendfile` has no flag against the signal. On TCP the kernel reports a reset or sends the
    signal, depending on the moment; on a unix socket it always sends the signal."""
    bind = "127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/socket"
    server = fresh_server(*options, bind=bind, env={"SIGPIPE": "default"})
    pid = server.get("/").body
    for _ in range(10):
        with server.connect() as client:
            client.send(build_request("GET", "/large"))
            assert client.head().status == 200
    assert server.get("/").body == pid


def test_lost_log_reader_with_default_sigpipe_ends_no_worker(
    fresh_server, options: list[str], fifo: Path
) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = ["--access-logfile", str(fifo)]
    server = fresh_server(*options, *log, env={"SIGPIPE": "default"})
    pid = server.get("/").body
    os.close(reader)
    for _ in range(3):
        assert server.get("/").body == pid
    server.wait_for_event("accesslog.failed", "Broken pipe")
    assert server.get("/").body == pid


@pytest.mark.parametrize("disposition", ["default", "as Python has it"])
def test_child_process_is_ended_by_sigpipe(
    fresh_server, options: list[str], disposition: str
) -> None:
    """Children inherit the signal mask of a thread; subprocess restores only the disposition."""
    server = fresh_server(*options, env={"SIGPIPE": disposition})
    assert server.get("/child").body == b"y\nSigBlk:\t0000000000000000\n"
