"""gevent and eventlet in place of Python's threads are an error at the start. Such a server reported that
it was ready, answered no request and ignored TERM."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from harness import APPS, ServerProcess, child_environment, run_cli

PATCH = {
    "gevent": "from gevent import monkey\nmonkey.patch_all({})\n",
    "eventlet": "import eventlet\neventlet.monkey_patch({})\n",
}
WRITTEN = {"gevent": "gevent.monkey.patch_all()", "eventlet": "eventlet.monkey_patch()"}
REFUSED = "has replaced Python's threads by green threads"


@pytest.fixture(params=PATCH)
def library(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def module(tmp_path: Path, source: str) -> list[str]:
    """The options for an application with this source."""
    (tmp_path / "green.py").write_text(source)
    return ["green:app", "--pythonpath", str(tmp_path)]


@pytest.mark.parametrize("option", [None, "--preload", "--check-config"])
def test_application_that_replaces_threads_is_refused(
    door: str, tmp_path: Path, library: str, option: str | None
) -> None:
    source = PATCH[library].format("") + "from echo import app\n"
    options = [*module(tmp_path, source), *([option] if option else [])]
    done = run_cli(door, "--bind", "127.0.0.1:0", *options)
    assert done.returncode == 3, done
    assert f"{WRITTEN[library]} {REFUSED}" in done.stderr


def test_configuration_that_replaces_threads_is_refused(
    door: str, tmp_path: Path, library: str
) -> None:
    """It is executed in the master, and the workers inherit the patched modules."""
    (tmp_path / "conf.py").write_text(PATCH[library].format(""))
    options = ["--bind", "127.0.0.1:0", "-c", str(tmp_path / "conf.py"), "echo:app"]
    done = run_cli(door, *options)
    assert done.returncode == 3, done
    assert REFUSED in done.stderr


def run_program(source: str) -> str:
    """The output of the program, run by the Python of the wheel."""
    pytest.importorskip("rustwsgi")
    return subprocess.run(
        [sys.executable, "-c", source],
        cwd=APPS,
        env=child_environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_program_that_replaces_threads_is_refused(library: str) -> None:
    source = PATCH[library].format("") + (
        "import rustwsgi\n"
        "try:\n"
        "    rustwsgi.Server(lambda *_: [], bind='127.0.0.1:0').start()\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )
    assert run_program(source).startswith(f"{WRITTEN[library]} {REFUSED}")


def test_application_may_patch_everything_but_threads(
    fresh_server, tmp_path: Path, library: str
) -> None:
    """As the message advises: each worker thread then has its own event loop."""
    source = PATCH[library].format("thread=False") + (
        "import socket, time\n"
        "def app(environ, start_response):\n"
        "    time.sleep(0.01)\n"
        "    ours, theirs = socket.socketpair()\n"
        "    theirs.sendall(b'green')\n"
        "    start_response('200 OK', [])\n"
        "    return [ours.recv(5)]\n"
    )
    server: ServerProcess = fresh_server(*module(tmp_path, source), "--threads", "2")
    for _ in range(8):
        assert server.get("/").body == b"green"


def test_program_may_patch_everything_but_threads(library: str) -> None:
    """eventlet removes `select.poll`, which serve() used to wait for signals."""
    source = PATCH[library].format("thread=False") + (
        "import os, signal, socket, threading, urllib.request, rustwsgi\n"
        "from echo import app\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "def ask():\n"
        "    url = 'http://127.0.0.1:%d/' % listener.getsockname()[1]\n"
        "    print(urllib.request.urlopen(url).status, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=ask, daemon=True).start()\n"
        "rustwsgi.serve(app, bind=f'fd://{listener.fileno()}')\n"
        "print('ended')\n"
    )
    assert run_program(source) == "200\nended\n"
