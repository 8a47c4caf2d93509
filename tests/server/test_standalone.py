"""The embedded binary without a virtual environment, or beside a broken one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import APPS, ServerProcess, binary_path

#: What `env -i` leaves, and a PATH to find nothing useful in.
BARE = {"PATH": "/usr/bin:/bin"}


@pytest.fixture(autouse=True)
def only_the_binary(door: str) -> None:
    if door != "binary":
        pytest.skip("about the binary alone")


def run(tmp_path: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(binary_path()), *args],
        cwd=tmp_path,
        env=BARE | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("env", [{}, {"VIRTUAL_ENV": "/nowhere"}, {"PYTHONHOME": "/nowhere"}])
@pytest.mark.parametrize(("option", "told"), [("--version", "rustwsgi "), ("--help", "--venv")])
def test_help_needs_no_python(tmp_path: Path, option: str, told: str, env: dict[str, str]) -> None:
    """Regression: a broken environment made `--help` fail."""
    done = run(tmp_path, option, **env)
    assert done.returncode == 0 and told in done.stdout and done.stderr == "", done


def test_broken_environment_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "http_cli:app", VIRTUAL_ENV="/nowhere")
    assert done.returncode == 1 and "/nowhere" in done.stderr, done


def test_without_an_environment_its_own_python_is_used(tmp_path: Path) -> None:
    """Regression: it used the first python3 of PATH, whatever its version."""
    other = tmp_path / "bin"
    other.mkdir()
    (other / "python3").write_text("#!/bin/sh\nexit 1\n")
    (other / "python3").chmod(0o755)
    server = ServerProcess("binary", "http_cli:app", cwd=APPS)
    server.command = [str(binary_path()), "--bind", "127.0.0.1:0", "http_cli:app"]
    server.env = {"PATH": f"{other}:{BARE['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    with server:
        state = server.get("/").json()
    assert state["prefix"] == sys.base_prefix
    assert not state["executable"].startswith(str(other))
