"""Finds the interpreters that the server supports, for `make wheels` and `make test-versions`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.14t")

#: Prints what an interpreter calls itself: "3.14", or "3.14t" if it is free-threaded.
NAME = (
    "import sys, sysconfig; print(*sys.version_info[:2], sep='.', end='');"
    "print('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else '');"
    "sys.exit(sys.implementation.name != 'cpython')"
)


def name_of(python: str | Path) -> str | None:
    """The name of its version, unless there is no CPython: a shim may have none behind it."""
    try:
        shown = subprocess.run([python, "-c", NAME], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return None if shown.returncode else shown.stdout.strip()


def _pyenv_versions() -> list[Path]:
    try:
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    versions = Path(root.stdout.strip()) / "versions"
    return list(versions.iterdir()) if versions.is_dir() else []


def find(version: str) -> Path | None:
    """The newest of that version which pyenv has, else the first one on the PATH."""
    number, free_threaded = version.removesuffix("t"), "t" * version.endswith("t")
    name = re.compile(rf"{re.escape(number)}\.(\d+){free_threaded}")
    found = [(int(m[1]), path) for path in _pyenv_versions() if (m := name.fullmatch(path.name))]
    pythons = [path / "bin" / "python" for _, path in sorted(found, reverse=True)]
    # All of the PATH: a free-threaded interpreter may also be installed as `python3.14`.
    pythons += [Path(folder) / f"python{version}" for folder in os.get_exec_path()]
    return next((python for python in pythons if name_of(python) == version), None)


def given() -> dict[str, Path]:
    """The interpreters in RUSTWSGI_TEST_PYTHONS, paths separated by colons, by their names.

    Raises:
        ValueError: One of them is no CPython.
    """
    found = {}
    for path in filter(None, os.environ.get("RUSTWSGI_TEST_PYTHONS", "").split(":")):
        name = name_of(path)
        if name is None:
            raise ValueError(f"RUSTWSGI_TEST_PYTHONS: {path} is no CPython")
        found[name] = Path(path)
    return found
