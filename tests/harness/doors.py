"""The ways to start the server, each a *door*: the wheel's module, or the embedded binary."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
APPS = TESTS / "apps"
ROOT = TESTS.parent

#: This interpreter, and so the server's, has no GIL.
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# Settings of the shell that runs the tests must not reach the servers they start.
_SCRUBBED = re.compile(
    r"RUSTWSGI_|GUNICORN_CMD_ARGS$|WEB_CONCURRENCY$|LISTEN_|NOTIFY_SOCKET$|FORWARDED_ALLOW_IPS$"
    r"|SCRIPT_NAME$"
)


def binary_path() -> Path:
    """Where the embedded binary is expected."""
    return Path(os.environ.get("RUSTWSGI_BINARY") or ROOT / "target" / "release" / "rustwsgi")


def available_doors() -> list[str]:
    """The doors to test: those named in RUSTWSGI_DOORS, else those that exist."""
    named = os.environ.get("RUSTWSGI_DOORS", "")
    if named.strip():
        return [door.strip() for door in named.split(",") if door.strip()]
    doors = []
    if importlib.util.find_spec("rustwsgi") is not None:
        doors.append("wheel")
    if binary_path().is_file():
        doors.append("binary")
    return doors


def door_command(door: str) -> list[str]:
    """The command that starts the server through `door`, without options."""
    if door == "wheel":
        return [sys.executable, "-m", "rustwsgi"]
    if door == "binary":
        venv = ["--venv", sys.prefix] if sys.prefix != sys.base_prefix else []
        return [str(binary_path()), *venv]
    raise ValueError(f"unknown door {door!r}: use wheel or binary")


def child_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test run's environment without server settings, plus `env`."""
    child = {k: v for k, v in os.environ.items() if not _SCRUBBED.match(k)}
    child["PYTHONDONTWRITEBYTECODE"] = "1"
    child["RUSTWSGI_LOG_EVENTS"] = (
        "1"  # log lines name their events: see ServerProcess.wait_for_event
    )
    child.update(env or {})
    return child


def run_cli(
    door: str,
    *args: str,
    cwd: str | Path = APPS,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run the server with `args` and wait for it to end by itself."""
    return subprocess.run(
        [*door_command(door), *args],
        cwd=cwd,
        env=child_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
