"""What the tests with real frameworks share: a Django site on disk, forms, cookies, streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness import APPS, Response, ServerProcess, child_environment, chunked, wait_until
from harness.wsgi import get_json, json_of

ADMIN, PASSWORD = "chief", "pass word & more"
FORM = ("Content-Type", "application/x-www-form-urlencoded")
#: What /file of both sites sends: longer than any buffer on the way.
DOWNLOAD = bytes(range(256)) * 4096
#: For tests that make a request `framed` both ways.
BOTH_FRAMINGS = pytest.mark.parametrize("how", ["sized", "chunked"])


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


def framed(body: bytes, how: str, *fields: tuple[str, str], chunk: int = 50_000) -> dict[str, Any]:
    """A request's body with its length or in chunks, as keywords of `ServerProcess.get`."""
    if how == "sized":
        return {"fields": list(fields), "body": body}
    chunks = (body[at : at + chunk] for at in range(0, len(body), chunk))
    return {"fields": [*fields, ("Transfer-Encoding", "chunked")], "body": chunked(*chunks)}


def assert_session_goes_on(site: ServerProcess) -> None:
    """The session is in the cookie, so the cookie of each response belongs to the next request."""
    answer = site.get("/session")
    for count in (2, 3):
        answer = site.get("/session", fields=[cookies(answer)])
        assert json_of(answer) == {"count": count}


def assert_stream_fails(site: ServerProcess, key: str, block: int) -> None:
    """A stream that raises at this block: before the first it is a 500, after it an incomplete
    body."""
    response = site.get(f"/stream?key={key}&fail={block}")
    if block:
        assert response.status == 200 and not response.complete
    else:
        assert response.status == 500 and response.complete


def events(site: ServerProcess, key: str, last: str) -> list[str]:
    """The events of a request once `last` is among them; repeated events are listed as well."""
    wait_until(lambda: last in get_json(site, f"/state?of={key}"), f"{last!r} of {key}")
    return get_json(site, f"/state?of={key}")
