"""Builds and tests the server with every supported Python that this machine has.

Wheels are built per version, because CPython's structures differ; `make test` tests one version.
For each other version this script builds the wheel (unoptimized, with Rust's overflow and debug
checks), installs it into a new virtual environment, and runs the tests that depend most on the
interpreter. One of the versions gets the embedded binary as well. It prints a line for each version
and fails if one fails. A version that is not installed is reported and is no failure.

RUSTWSGI_TEST_PYTHONS names further interpreters by their paths, separated by colons. They are
tested as well: a free-threaded one with the whole suite, as it is the one that finds data races.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "versions"
#: One for all: what knows nothing of Python is compiled once.
BUILD = WORK / "build"
SUPPORTED = [(3, minor) for minor in range(10, 14)]

#: What differs between versions is Python: its objects, its threads, its start and its end.
SMOKE = [
    "wsgi/test_close.py",
    "wsgi/test_environ.py",
    "wsgi/test_errors.py",
    "wsgi/test_input.py",
    "wsgi/test_iterable.py",
    "wsgi/test_start_response.py",
    "wsgi/test_threads.py",
    "wsgi/test_write.py",
    "wsgi/test_races.py",
    "frameworks/test_flask.py",
    "frameworks/test_django.py",
]
NEEDED = ("pytest", "flask", "django", "pyramid")

#: What the whole suite has beside the server's behaviour: browsers, pages, benchmarks.
NOT_PYTHON = {"browser/test_browser.py", "docs/test_benches.py", "docs/test_docs.py"}

Version = tuple[int, int]


class Failed(Exception):
    """A step failed; the message has its output."""


def run(what: str, command: Sequence[object], **env: object) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=os.environ | {key: str(value) for key, value in env.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Failed(f"{what} failed:\n{done.stdout[-20000:]}")
    return done.stdout


def is_version(python: str | Path, version: Version) -> bool:
    """Whether it really is that version: a shim may have no interpreter behind it."""
    code = "import sys; print(sys.version_info[:2], sys.implementation.name)"
    try:
        shown = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return shown.stdout.strip() == f"{version} cpython"


def pyenv_versions() -> list[Path]:
    try:
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    versions = Path(root.stdout.strip()) / "versions"
    return list(versions.iterdir()) if versions.is_dir() else []


def find(version: Version) -> Path | None:
    """The newest of that version which pyenv has, else the one on the PATH."""
    name = re.compile(rf"{version[0]}\.{version[1]}\.(\d+)")
    found = [(int(m[1]), path) for path in pyenv_versions() if (m := name.fullmatch(path.name))]
    pythons = [path / "bin" / "python" for _, path in sorted(found, reverse=True)]
    if on_path := shutil.which(f"python{version[0]}.{version[1]}"):
        pythons.append(Path(on_path))
    return next((python for python in pythons if is_version(python, version)), None)


def given() -> dict[str, Path]:
    """The interpreters in RUSTWSGI_TEST_PYTHONS by version: "3.14", or "3.14t"."""
    code = (
        "import sys, sysconfig; print(*sys.version_info[:2], sep='.', end='');"
        "print('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else '')"
    )
    paths = [path for path in os.environ.get("RUSTWSGI_TEST_PYTHONS", "").split(":") if path]
    return {run(f"asking {path}", [path, "-c", code]).strip(): Path(path) for path in paths}


def make_environment(python: Path, wheel: Path, home: Path) -> Path:
    """A virtual environment with the wheel and the tests' requirements; its interpreter."""
    run("making the virtual environment", [python, "-m", "venv", home])
    own = home / "bin" / "python"
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run("installing", [*pip, wheel, *requirements()])
    return own


def requirements() -> list[str]:
    lines = (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line.startswith(NEEDED)]


def build_options(name: str) -> dict[str, str]:
    """The environment variables to build for a version. PyO3 supports free-threaded interpreters
    from 3.14 on and refuses 3.13t, although it still has all the code."""
    return {"UNSAFE_PYO3_SKIP_VERSION_CHECK": "1"} if name == "3.13t" else {}


def build_wheel(python: Path, **options: str) -> Path:
    out = WORK / "wheels"
    shutil.rmtree(out, ignore_errors=True)
    maturin = [sys.executable, "-m", "maturin", "build", "--interpreter", python, "--out", out]
    run("building the wheel", maturin, CARGO_TARGET_DIR=BUILD, **options)
    (wheel,) = out.glob("*.whl")
    return wheel


def build_binary(python: Path, **options: str) -> Path:
    command = ["cargo", "build", "--features", "embed", "--bin", "rustwsgi"]
    run("building the binary", command, CARGO_TARGET_DIR=BUILD, PYO3_PYTHON=python, **options)
    return BUILD / "debug" / "rustwsgi"


def smoke(python: Path, door: str, names: list[str], **env: str | Path) -> str:
    """Run the tests through one door; pytest's last line."""
    tests = [ROOT / "tests" / name for name in names]
    pytest = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *tests]
    output = run(f"testing the {door}", pytest, RUSTWSGI_DOORS=door, **env)
    return f"{door}: {output.strip().splitlines()[-1].strip('= ')}"


def check(name: str, python: Path, with_binary: bool) -> str:
    options = build_options(name)
    wheel = build_wheel(python, **options)
    tests = SMOKE
    if name.endswith("t"):
        tests = sorted(
            str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").glob("*/test_*.py")
        )
        tests = [test for test in tests if test not in NOT_PYTHON]
    with tempfile.TemporaryDirectory(prefix="rustwsgi-versions-") as home:
        own = make_environment(python, wheel, Path(home))
        said = [smoke(own, "wheel", tests)]
        if with_binary:
            binary = build_binary(own, **options)
            said.append(smoke(own, "binary", SMOKE, RUSTWSGI_BINARY=binary))
    return "; ".join(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", nargs="*", help="such as 3.10; all but the running one if none")
    wanted = parser.parse_args().versions
    names = {f"{major}.{minor}": (major, minor) for major, minor in SUPPORTED}
    further = given()
    if unknown := set(wanted) - names.keys() - further.keys():
        parser.error(f"not supported: {', '.join(sorted(unknown))}")
    failed, missing, binary_due = [], [], True
    for name, version in [*names.items(), *dict.fromkeys(further).items()]:
        if wanted and name not in wanted:
            continue
        if not wanted and version and version == sys.version_info[:2]:
            print(f"{name}  left to the main test run", flush=True)
            continue
        python = find(version) if version else further[name]
        if python is None:
            missing.append(name)
            print(f"{name}  NOT FOUND, not tested", flush=True)
            continue
        start = time.monotonic()
        try:
            outcome = f"ok      {check(name, python, binary_due or version is None)}"
            binary_due = False
        except Failed as problem:
            failed.append(name)
            outcome = f"FAILED  {problem}"
        print(f"{name}  {outcome}  [{time.monotonic() - start:.0f} s in all]", flush=True)
    if missing:
        print(f"not found on this machine: {', '.join(missing)}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
