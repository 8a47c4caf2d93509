"""Mistakes that only the system knows of: one line each, with the option, the value, the cause and a way out."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from harness import APPS, run_cli

APP = "supervised:app"
NOT_THERE = "No such file or directory"

#: arguments, exit code, and what the one line says besides the value
MISTAKES = {
    "user": (
        ["--user", "nosuchuser"],
        1,
        ["--user", "nosuchuser", "there is no user", "create it"],
    ),
    "group": (["--group", "nosuchgroup"], 1, ["--group", "nosuchgroup", "there is no group"]),
    "pid": (["--pid", "{dir}/no/p"], 1, ["--pid", "{dir}/no/p", NOT_THERE, "make its directory"]),
    "resolve": (
        ["--bind", "no-such-host.invalid:0"],
        1,
        ["--bind", "no-such-host.invalid", "correct"],
    ),
    "in-use": (["--bind", "127.0.0.1:{port}"], 1, ["{port}", "in use", "choose another --bind"]),
    "not-ours": (["--bind", "192.0.2.1:0"], 1, ["192.0.2.1", "this machine has no such address"]),
    "no-socket-dir": (["--bind", "unix:{dir}/no/s"], 1, ["unix:{dir}/no/s", NOT_THERE]),
    "chdir": (["--chdir", "{dir}/no"], 2, ["--chdir", "{dir}/no", NOT_THERE, "make it"]),
    "chdir-file": (["--chdir", "{dir}/file"], 2, ["--chdir", "{dir}/file", "Not a directory"]),
    "config": (["-c", "{dir}/no.toml"], 2, ["--config", "{dir}/no.toml", NOT_THERE]),
    "config-py": (["-c", "{dir}/no.py"], 2, ["--config", "{dir}/no.py", NOT_THERE]),
    "config-dir": (["-c", "{dir}"], 2, ["--config", "{dir}", "Is a directory"]),
    "access-log": (
        ["--access-logfile", "{dir}/no/a"],
        1,
        ["--access-logfile", "{dir}/no/a", NOT_THERE, "make its directory"],
    ),
    "access-log-dir": (
        ["--access-logfile", "{dir}"],
        1,
        ["--access-logfile", "{dir}", "directory"],
    ),
    "error-log": (
        ["--error-logfile", "{dir}/no/e"],
        1,
        ["--error-logfile", "{dir}/no/e", NOT_THERE, "make its directory"],
    ),
    "error-log-dir": (
        ["--error-logfile", "{dir}"],
        1,
        ["--error-logfile", "{dir}", "Is a directory"],
    ),
}


@pytest.fixture
def places(tmp_path: Path):
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"dir": str(tmp_path), "port": str(listener.getsockname()[1])}


def complaints(stderr: str) -> list[str]:
    """All but the lines of INFO."""
    return [line for line in stderr.splitlines() if line and "[INFO]" not in line]


@pytest.mark.parametrize("name", MISTAKES)
def test_one_line(door: str, places: dict[str, str], name: str) -> None:
    given, code, said = MISTAKES[name]
    given = [text.format(**places) for text in given]
    bind = [] if "--bind" in given else ["--bind", "127.0.0.1:0"]
    done = run_cli(door, *bind, *given, APP)
    assert done.returncode == code, done
    lines = complaints(done.stderr)
    assert len(lines) == 1, done.stderr
    for text in said:
        assert re.search(re.escape(text.format(**places)), lines[0], re.IGNORECASE), lines[0]
    assert "Booting" not in done.stderr


def test_a_log_in_the_directory_of_chdir(fresh_server, tmp_path: Path) -> None:
    """Where a worker opens it is where it is looked for."""
    (tmp_path / "logs").mkdir()
    args = ["--chdir", str(tmp_path), "--access-logfile", "logs/a", "--pythonpath", str(APPS)]
    fresh_server(APP, *args).get("/")
    assert (tmp_path / "logs" / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_another_user_without_being_root(door: str) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", "--user", "0", APP)
    assert done.returncode == 1 and "only root can become another user" in done.stderr, done


def test_a_daemon_says_it_before_it_leaves(door: str) -> None:
    """Afterwards there is nobody to hear it."""
    done = run_cli(door, "--daemon", "--bind", "127.0.0.1:0", "--user", "nosuchuser", APP)
    assert done.returncode == 1 and "nosuchuser" in done.stderr, done
