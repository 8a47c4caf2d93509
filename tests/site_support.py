"""What the tests with real frameworks share: a Django site on disk, forms, and cookies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from harness import APPS, Response, child_environment

ADMIN, PASSWORD = "chief", "pass word & more"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
#: What /file of both sites sends: longer than any buffer on the way.
DOWNLOAD = bytes(range(256)) * 4096


def make_django_site(home: Path) -> dict[str, str]:
    """Tables, an administrator and a file below `home`; the environment of the site's servers."""
    env = {"DJANGO_SITE_DIR": str(home), "DJANGO_SETTINGS_MODULE": "django_site.settings"}
    (home / "download.bin").write_bytes(DOWNLOAD)
    for command in (
        ["migrate", "--verbosity", "0"],
        ["createsuperuser", "--no-input", "--username", ADMIN, "--email", "chief@example.org"],
    ):
        subprocess.run(
            [sys.executable, "-m", "django", *command],
            env=child_environment(env)
            | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "PYTHONPATH": os.fspath(APPS)},
            check=True,
            timeout=60,
        )
    return env


def cookies(*responses: Response) -> tuple[str, str]:
    """The Cookie field of a client that kept what `responses` set."""
    jar: dict[str, str] = {}
    for response in responses:
        for line in response.get_all("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            jar[name] = value
    return "Cookie", "; ".join(f"{name}={value}" for name, value in jar.items())


def multipart(
    parts: Iterable[tuple[str, str | None, bytes]], boundary: str = "a-boundary"
) -> tuple[tuple[str, str], bytes]:
    """The Content-Type and the body of a form of (name, file name or None, content)."""
    body = bytearray()
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        kind = "Content-Type: application/octet-stream\r\n" if filename is not None else ""
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{kind}\r\n'
        body += head.encode() + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return ("Content-Type", f"multipart/form-data; boundary={boundary}"), bytes(body)
