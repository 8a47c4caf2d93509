"""`make demo` on a machine where something is missing: the message names it, and where to get it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import ROOT, TIMEOUT

#: What the recipes use besides the tools that may be missing.
TOOLS = ("make", "bash", "sh", "sed", "head", "awk", "git", "find", "grep", "touch")
OLD_PYTHON = '[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n'
NO_VENV = 'case "$*" in *venv*) exit 1;; esac\n'

#: the tools that are there with their scripts, and what is said
MACHINES = {
    "cargo": ({}, "rustup"),
    "cc": ({"cargo": ""}, "C compiler"),
    "python": ({"cargo": "", "cc": ""}, "There is no python3"),
    "old-python": ({"cargo": "", "cc": "", "python3": OLD_PYTHON}, "make demo PYTHON="),
    "venv": ({"cargo": "", "cc": "", "python3": NO_VENV}, "python3-venv"),
}


@pytest.mark.parametrize("name", MACHINES)
def test_missing_tool_is_named_before_anything_is_built(tmp_path: Path, name: str) -> None:
    found, said = MACHINES[name]
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path is not None, tool
        (tools / tool).symlink_to(path)
    for tool, script in found.items():
        (tools / tool).write_text(f"#!/bin/sh\n{script}")
        (tools / tool).chmod(0o755)
    done = subprocess.run(
        ["make", "demo", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        env={"PATH": str(tools), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 2 and said in done.stderr, done
    assert len(done.stderr.splitlines()) == 2, done.stderr
    assert not (tmp_path / "venv").exists()
