"""Builds the wheels of a release and its source archive into dist/, and checks them: `make wheels`.

One wheel for each supported Python of this machine, because CPython's structures differ between
versions; those that are named must exist. RUSTWSGI_TEST_PYTHONS has the paths of further ones. The
wheels are built from the unpacked source archive, which is complete if they build. zig links them,
against the C library of `--platform`: a wheel for manylinux2014 runs on every Linux since 2014.

A wheel that this machine can run is installed into a new virtual environment and serves the Flask
demo (check_wheel.py). The size of each and the time to import it are printed, and written to a file
beside the wheels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import licenses
import pythons

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
MATURIN = [sys.executable, "-m", "maturin"]
#: With the names of functions, for stack traces of native code, and without line tables.
PROFILE = {"CARGO_PROFILE_RELEASE_STRIP": "debuginfo", "CARGO_PROFILE_RELEASE_DEBUG": "none"}
#: With the tools of the virtual environment: python, which runs zig.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


class Failed(Exception):
    """A step failed; the message says which."""


def run(what: str, command: Sequence[str | Path], **env: str | Path) -> str:
    """The standard output of a command that must succeed; the rest is shown if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in env.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Failed(f"{what} failed:\n{done.stdout[-10000:]}{done.stderr[-10000:]}")
    return done.stdout


def build_sdist() -> Path:
    """The source archive."""
    run("building the source archive", [*MATURIN, "sdist", "--out", DIST])
    (archive,) = DIST.glob("*.tar.gz")
    return archive


def build_wheel(source: Path, python: Path, target: str | None, tag: str) -> Path:
    """Build the wheel of an interpreter from the unpacked source archive."""
    with tempfile.TemporaryDirectory(prefix="rustwsgi-wheel-") as out:
        command = [*MATURIN, "build", "--release", "--locked", "--zig", "--compatibility", tag]
        command += ["--manifest-path", str(source / "Cargo.toml")]
        command += ["--interpreter", str(python), "--out", out]
        command += ["--target", target] if target else []
        run("building", command, CARGO_TARGET_DIR=ROOT / "target" / "dist", PATH=PATH, **PROFILE)
        (wheel,) = Path(out).glob("*.whl")
        return Path(shutil.move(wheel, DIST / wheel.name))


def copy_licenses() -> None:
    """Copy the licences of the crates, which each wheel has, for the page of the release.

    Raises:
        Failed: They are not those of the crates that are built.
    """
    run("comparing licences", [sys.executable, ROOT / "packaging" / "licenses.py", "--check"])
    shutil.copy(licenses.FILE, DIST)


def unpack(archive: Path, directory: str) -> Path:
    """Unpack the source archive; its only folder."""
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    (source,) = Path(directory).iterdir()
    return source


def find_pythons(names: Sequence[str]) -> dict[str, Path | None]:
    """The interpreters of those names, or all supported ones, which may be missing.

    Raises:
        Failed: An interpreter that is named is missing.
    """
    found = {name: pythons.find(name) for name in pythons.SUPPORTED} | pythons.given()
    if missing := [name for name in names if found.get(name) is None]:
        raise Failed(
            f"There is no Python {', '.join(missing)} on this machine. Install it, or put its path"
            " into RUSTWSGI_TEST_PYTHONS."
        )
    return {name: found[name] for name in names} if names else found


def build_all(archive: Path, wanted: dict[str, Path | None], options: argparse.Namespace) -> int:
    """Build and check a wheel for each interpreter; how many failed."""
    musl = options.platform.startswith("musllinux")
    target = f"{platform.machine()}-unknown-linux-musl" if musl else None
    failed, figures = 0, []
    with tempfile.TemporaryDirectory(prefix="rustwsgi-sdist-") as directory:
        source = unpack(archive, directory)
        for name, python in wanted.items():
            if python is None:
                print(f"{name:6} NOT FOUND on this machine: no wheel", flush=True)
                continue
            try:
                wheel = build_wheel(source, python, target, options.platform)
                # A musllinux wheel needs an interpreter that is linked with musl.
                checked = "not checked: another C library" if musl else check(python)
                mib = wheel.stat().st_size / 2**20
                figures.append(f"{name:6} {wheel.name}: {mib:.1f} MiB, {checked}")
                print(figures[-1], flush=True)
            except Failed as problem:
                failed += 1
                print(f"{name:6} FAILED: {problem}", flush=True)
    file = DIST / f"wheels-{options.platform}-{platform.machine()}.txt"
    file.write_text("".join(f"{line}\n" for line in figures))
    return failed


def check(python: Path) -> str:
    """Install the wheel of this interpreter and serve; the figures as text."""
    script = ROOT / "packaging" / "check_wheel.py"
    found = json.loads(run("checking the wheel", [python, script, DIST]))
    return f"{found['installed_mib']} MiB installed, serves, imported in {found['import_ms']} ms"


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pythons", nargs="*", help="such as 3.12 or 3.14t; all if none")
    parser.add_argument("--platform", default="manylinux2014", help="such as musllinux_1_2")
    parser.add_argument("--sdist", action="store_true", help="build the source archive only")
    options = parser.parse_args()
    try:
        wanted = {} if options.sdist else find_pythons(options.pythons)
        shutil.rmtree(DIST, ignore_errors=True)
        archive = build_sdist()
        copy_licenses()
        failed = 0 if options.sdist else build_all(archive, wanted, options)
    except (Failed, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
