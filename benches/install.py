"""A virtual environment with the servers to compare, apart from the project's own.

A peer that cannot be installed is missing from the comparison, with the reason; it does not stop
the others.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence

from servers import BIN, LIMIT, OURS, ROOT, VENV, Server

#: What the applications of the comparison need.
FRAMEWORKS = ("flask", "django")
_INSTALL_SECONDS = 600


class SetupError(Exception):
    """Nothing can be compared; the text says what to do."""


def prepare(servers: Sequence[Server]) -> dict[str, str]:
    """Install what is not there yet. Returns why a server is missing, by name."""
    if shutil.which("wrk") is None:
        raise SetupError("wrk, the load generator, is missing. Debian: apt-get install wrk")
    if not (BIN / "python").exists():
        print(f"making {VENV.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    have = versions()
    for framework in FRAMEWORKS:
        if framework not in have and (reason := _pip(framework)):
            raise SetupError(f"{framework} does not install: {reason}")
    missing = {}
    for server in servers:
        if reason := _install(server, have):
            missing[server.name] = f"{reason}. {server.hint}".rstrip(". ")
    return missing


def versions() -> dict[str, str]:
    """The versions in the environment by distribution name in lower case, and of the tools."""
    command = [str(BIN / "python"), "-m", "pip", "list", "--format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {entry["name"].lower(): entry["version"] for entry in json.loads(listed)}
    if shutil.which("nginx"):
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False)
        found["nginx"] = told.stderr.strip().rpartition("/")[2]
    told = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    found["wrk"] = told.stdout.split(" [")[0].removeprefix("wrk ")
    return found


def _install(server: Server, have: dict[str, str]) -> str:
    if server.name == OURS:
        return _install_ours()
    if server.name == LIMIT:
        return "" if shutil.which("nginx") else "not installed"
    # Its own package comes first; what else it requires came with it.
    if server.name in have:
        return ""
    print(f"installing {server.name}", flush=True)
    return _pip(*server.requires)


def _install_ours() -> str:
    wheels = sorted((ROOT / "target" / "wheels").glob("*.whl"), key=lambda p: p.stat().st_mtime)
    if not wheels:
        return "no wheel in target/wheels: run make build"
    stamp = VENV / ".wheel"
    built = f"{wheels[-1].name} {wheels[-1].stat().st_mtime_ns}"
    if stamp.exists() and stamp.read_text() == built:
        return ""
    if reason := _pip("--force-reinstall", "--no-deps", str(wheels[-1])):
        return reason
    stamp.write_text(built)
    return ""


def _pip(*arguments: str) -> str:
    """Run pip install; what stopped it, or nothing."""
    command = [str(BIN / "python"), "-m", "pip", "install", "--quiet", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "pip took too long"
    if done.returncode == 0:
        return ""
    # pip's own summary, "subprocess-exited-with-error", surrounds what the compiler said.
    lines = [line.strip() for line in done.stderr.splitlines()]
    errors = [line for line in lines if "error: " in line.lower() and "subprocess-" not in line]
    # Short: it may quote a whole command with the paths of this machine.
    return textwrap.shorten((errors or lines or ["pip failed"])[0], 60, placeholder=" ...")
