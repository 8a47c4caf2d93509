"""Installs the wheel of this interpreter as a user does, and checks that it serves.

    python packaging/check_wheel.py DIRECTORY

DIRECTORY has the wheels. The one of the running interpreter is installed into a new virtual
environment, with neither Rust nor a C compiler on the PATH, and serves the Flask demo. Prints its
size and the time to import it. Needs the standard library only, so that it runs in any container.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "flask_application"
TIME_IMPORT = (
    "import time; start = time.perf_counter(); import rustwsgi._rustwsgi;"
    "print(round((time.perf_counter() - start) * 1000, 1))"
)


class Failed(Exception):
    """A check failed; the message says which."""


class Installed:
    """A virtual environment with the wheel."""

    def __init__(self, home: Path) -> None:
        venv.create(home, with_pip=True)
        self.bin = home / "bin"
        # Only what is in the environment is found: no cargo, no cc.
        self.env = {"PATH": str(self.bin), "HOME": str(home), "PYTHONNOUSERSITE": "1"}
        # Settings of pip, such as a mirror, stay.
        self.env |= {key: value for key, value in os.environ.items() if key.startswith("PIP_")}

    def run(self, *command: str | Path) -> str:
        """The output of a command of the environment, which must succeed."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            [self.bin / program, *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{program} {' '.join(arguments)} failed:\n{done.stdout}")
        return done.stdout.strip()

    def install(self, directory: Path) -> None:
        """Install the wheel from there, and what the demo needs."""
        pip = ("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        self.run(
            *pip, "--no-index", "--find-links", directory, "--only-binary", ":all:", "rustwsgi"
        )
        self.run(*pip, "--requirement", DEMO / "requirements.txt")

    @contextlib.contextmanager
    def serve(self, *arguments: str) -> Iterator[str]:
        """Run the server; the address that it listens at.

        Raises:
            Failed: It does not start, or does not end in good order on SIGTERM.
        """
        command = [self.bin / "rustwsgi", "--bind", "127.0.0.1:0", *arguments]
        server = subprocess.Popen(
            command, cwd=DEMO, env=self.env, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        assert server.stderr
        lines = []
        try:
            for line in server.stderr:
                lines.append(line)
                if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield address[0]
                    break
            else:
                raise Failed(f"the server does not start:\n{''.join(lines)}")
            server.terminate()
            _, rest = server.communicate(timeout=20)
            if server.returncode:
                raise Failed(f"exit code {server.returncode}:\n{''.join(lines)}{rest}")
        finally:
            server.kill()
            server.wait()


def get(url: str, data: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of a response."""
    try:
        with urllib.request.urlopen(url, data, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def check(directory: Path) -> dict[str, object]:
    """Install and serve; the figures."""
    with tempfile.TemporaryDirectory(prefix="rustwsgi-wheel-") as home:
        installed = Installed(Path(home))
        installed.install(directory)
        version = installed.run("rustwsgi", "--version")
        if installed.run("python", "-m", "rustwsgi", "--version") != version:
            raise Failed("the two commands have different versions")
        with installed.serve("flask_app:app", "--static", "auto") as address:
            for path, expected in (("/", 200), ("/absent", 404)):
                status, body = get(address + path)
                if status != expected or not body:
                    raise Failed(f"GET {path}: {status} with {len(body)} bytes")
        with installed.serve("--workers", "2", "--threads", "4", "rustwsgi.demo:app") as address:
            if get(address + "/")[0] != 200:
                raise Failed("the plain demo fails with two workers")
        times = sorted(float(installed.run("python", "-c", TIME_IMPORT)) for _ in range(5))
        package = next(Path(home).glob("lib/python*/site-packages/rustwsgi"))
        if not list(package.parent.glob("rustwsgi-*.dist-info/licenses/**/LICENSES.txt")):
            raise Failed("the licences of the crates are missing")
        size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    return {"version": version, "installed_mib": round(size / 2**20, 1), "import_ms": times[2]}


def main() -> int:
    """Check the wheel of this interpreter."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        figures = check(Path(sys.argv[1]).resolve())
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 1
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
