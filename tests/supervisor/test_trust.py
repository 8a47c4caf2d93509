"""The trust boundary between the master and its workers: SECURITY.md, "Trust boundaries"."""

from __future__ import annotations

import json
import os
import pwd
import signal
from pathlib import Path

import pytest

from harness.supervision import children

pytestmark = pytest.mark.second_door("no case")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# Writes a byte to each socket that connects the worker with the master.
COMMANDS_MASTER = """
import os, socket, stat

def app(environ, start_response):
    byte = environ["PATH_INFO"][1:].encode()
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:
            continue
        if is_socket:
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
                    try:
                        sock.send(byte, socket.MSG_DONTWAIT)
                    except OSError:
                        pass
    start_response("200 OK", [])
    return [byte]
"""


def test_worker_cannot_make_the_master_reload(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(COMMANDS_MASTER)
    server = fresh_server("hostile:app", "--threads", "1", cwd=tmp_path)
    assert server.get("/").status == 200
    before = children(server.pid)
    for byte in "~~+?x":
        assert server.get(f"/{byte}").status == 200
    server.wait_for_event("worker.unexpected_message", "SourceChanged")
    # A signal is handled after what workers have sent before it.
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("signal.received", "usr1")
    assert children(server.pid) == before
    assert "reload.started" not in server.stderr()
    assert server.stderr().count("worker.unexpected_message") == 1


def test_reloads_that_a_worker_asks_for_are_bounded(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "hostile.py").write_text(COMMANDS_MASTER)
    (tmp_path / "rustwsgi.toml").write_text("threads = 1\n")
    server = fresh_server("hostile:app", "--reload", cwd=tmp_path)
    # Each reload is rejected, so that the worker stays, and may ask again.
    (tmp_path / "rustwsgi.toml").write_text("threads = -1\n")
    for _ in range(20):
        assert server.get("/~").status == 200
    server.wait_for_event("reload.rejected")
    assert server.stderr().count("reload.rejected") < 5


def test_pid_file_that_is_a_pipe_does_not_stop_the_start(fresh_server, fifo: Path) -> None:
    server = fresh_server("supervised:app", "--pid", str(fifo))
    assert server.get("/").status == 200
    assert fifo.read_text() == f"{server.pid}\n"


SHOWS_ITS_RIGHTS = """
import json, os, threading, traceback  # as root: another user may not read the interpreter

def app(environ, start_response):
    status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status"))
    shown = {name: status[name] for name in ["NoNewPrivs", "CapBnd", "CapPrm", "CapEff"]}
    shown |= {name: os.environ.get(name) for name in ["HOME", "USER", "LOGNAME"]}
    start_response("200 OK", [])
    return [json.dumps(shown).encode()]
"""


@as_root
def test_worker_of_another_user_can_gain_no_rights(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    options = ["--preload", "--user", "nobody", "--group", "nogroup", "--env", "LOGNAME=given"]
    shown = json.loads(fresh_server("shows:app", *options, cwd=tmp_path).get("/").body)
    assert shown.pop("NoNewPrivs") == "1"
    account = pwd.getpwnam("nobody")
    names = {"HOME": account.pw_dir, "USER": "nobody", "LOGNAME": "given"}
    assert {name: shown.pop(name) for name in names} == names
    assert {int(rights, 16) for rights in shown.values()} == {0}


@as_root
def test_environment_names_a_user_without_an_entry(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(SHOWS_ITS_RIGHTS)
    options = ["--preload", "--user", "12345", "--group", "12345"]
    shown = json.loads(fresh_server("shows:app", *options, cwd=tmp_path).get("/").body)
    assert (shown["HOME"], shown["USER"], shown["LOGNAME"]) == ("/", "12345", "12345")
