"""Installs the servers to compare into a separate virtual environment.

A peer that cannot be installed is left out of the comparison, and the report gives the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence

from servers import BIN, CERTIFICATE, KEY, LIMIT, OURS, ROOT, VENV, Server

#: Required by the applications in apps/.
FRAMEWORKS = ("flask", "django")
_INSTALL_SECONDS = 600


class SetupError(Exception):
    """The comparison cannot run; the message says what to do."""


def prepare(servers: Sequence[Server]) -> dict[str, str]:
    """Install missing packages. Return the servers that failed to install, and why."""
    if shutil.which("wrk") is None:
        raise SetupError("wrk, the load generator, is missing. Debian: apt-get install wrk")
    if shutil.which("openssl") is None:
        raise SetupError("openssl is missing. Debian: apt-get install openssl")
    if not KEY.exists():
        _make_certificate()
    if not (BIN / "python").exists():
        print(f"creating {VENV.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    have = versions()
    for framework in FRAMEWORKS:
        if framework not in have and (reason := _pip(framework)):
            raise SetupError(f"cannot install {framework}: {reason}")
    missing = {}
    for server in servers:
        if reason := _install(server, have):
            missing[server.name] = f"{reason}. {server.hint}".rstrip(". ")
    return missing


def _make_certificate() -> None:
    command = ["openssl", "req", "-x509", "-nodes", "-days", "3650", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-out", str(CERTIFICATE), "-keyout", str(KEY)]
    subprocess.run(command, check=True, capture_output=True)


def versions() -> dict[str, str]:
    """The versions of packages, by distribution name in lower case, and of the tools."""
    command = [str(BIN / "python"), "-m", "pip", "list", "--format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {entry["name"].lower(): entry["version"] for entry in json.loads(listed)}
    if shutil.which("nginx"):
        done = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False)
        found["nginx"] = done.stderr.strip().rpartition("/")[2]
    done = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    found["wrk"] = done.stdout.split(" [")[0].removeprefix("wrk ")
    return found


def _install(server: Server, have: dict[str, str]) -> str:
    if server.name == OURS:
        return _install_ours()
    if server.name == LIMIT:
        return "" if shutil.which("nginx") else "not installed"
    # Other packages that it requires were installed with it.
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
    """Run pip install; return the error, or an empty string."""
    command = [str(BIN / "python"), "-m", "pip", "install", "--quiet", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"pip did not finish within {_INSTALL_SECONDS} s"
    if done.returncode == 0:
        return ""
    # Skip pip's summary, "subprocess-exited-with-error", which surrounds the compiler's error.
    lines = [line.strip() for line in done.stderr.splitlines()]
    errors = [line for line in lines if "error: " in line.lower() and "subprocess-" not in line]
    # Shortened, as it may quote a whole command.
    return textwrap.shorten((errors or lines or ["pip failed"])[0], 60, placeholder=" ...")
