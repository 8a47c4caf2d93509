"""Projects in a temporary directory, and the commands of their frameworks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .doors import child_environment
from .server import ServerProcess

PYTHON = sys.executable


def script(name: str) -> str:
    """The path of a console script of this environment."""
    return str(Path(PYTHON).parent / name)


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files with their content, and return the directory."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


def save(path: Path, text: str) -> None:
    """Save a file in one step, as editors do: a server that watches it could load it while it is
    still empty."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


class Command(ServerProcess):
    """A server that another program's command starts."""

    def __init__(
        self, *command: str, cwd: str | Path, env: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("wheel", None, cwd=cwd, env=env)
        self.command = list(command)
        self.tls = None
        self.app = " ".join(command)


def run(
    *command: str, cwd: str | Path, env: Mapping[str, str] | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command until it ends by itself."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=child_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )


def has_wheel() -> bool:
    """Whether the integrations, which belong to the wheel, can be tested."""
    named = os.environ.get("RUSTWSGI_DOORS", "")
    return not named.strip() or "wheel" in named
