"""Builds and tests the server with every supported Python that this machine has.

Wheels are built per version, because CPython's structures differ; `make test` tests one version.
For each other version this script builds the wheel (unoptimized, with Rust's overflow and debug
checks), installs it into a new virtual environment, and runs the tests that depend most on the
interpreter. One of the versions gets the embedded binary as well. It prints a line for each version
and fails if one fails. A version that is not installed is reported and is no failure.

A free-threaded interpreter ("3.14t") is tested with the whole suite, as it is the one that finds
data races; `--whole` does the same for the others. RUSTWSGI_TEST_PYTHONS names interpreters by their
paths, separated by colons: those that are elsewhere, and such that are not supported.
`packaging/build-python.sh` builds one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "packaging"))

import pythons  # noqa: E402

WORK = ROOT / "target" / "versions"
#: One for all: what knows nothing of Python is compiled once.
BUILD = WORK / "build"

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
#: What the tests cannot do without is installed. Browsers and agents are not tested, and gevent has no
#: wheel for a free-threaded interpreter.
LEFT_OUT = ("ddtrace", "debugpy", "gevent", "memray", "selenium")
#: What the whole suite has beside the server's behaviour: browsers, pages, benchmarks.
NOT_PYTHON = {"browser/test_browser.py", "docs/test_benches.py", "docs/test_docs.py"}


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


def make_environment(python: Path, wheel: Path, home: Path) -> Path:
    """A virtual environment with the wheel and the tests' requirements; its interpreter."""
    run("making the virtual environment", [python, "-m", "venv", home])
    own = home / "bin" / "python"
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run("installing", [*pip, wheel, *requirements()])
    return own


def requirements() -> list[str]:
    lines = (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", *LEFT_OUT))]


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


def check(name: str, python: Path, with_binary: bool, whole: bool) -> str:
    options = build_options(name)
    wheel = build_wheel(python, **options)
    tests = SMOKE
    if whole or name.endswith("t"):
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
    parser.add_argument("--whole", action="store_true", help="run the whole suite with each")
    options = parser.parse_args()
    further = pythons.given()
    names = list(dict.fromkeys([*pythons.SUPPORTED, *further]))
    if unknown := set(options.versions) - set(names):
        parser.error(f"not supported: {', '.join(sorted(unknown))}")
    failed, missing, binary_due = [], [], True
    for name in names:
        if options.versions and name not in options.versions:
            continue
        if not options.versions and name not in further and name == pythons.name_of(sys.executable):
            print(f"{name}  left to the main test run", flush=True)
            continue
        python = further.get(name) or pythons.find(name)
        if python is None:
            missing.append(name)
            print(f"{name}  NOT FOUND, not tested", flush=True)
            continue
        start = time.monotonic()
        try:
            with_binary = binary_due or name in further
            outcome = f"ok      {check(name, python, with_binary, options.whole)}"
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
