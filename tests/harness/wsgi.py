"""What the WSGI tests share: unique keys, and the test's side of apps/wsgi_common.py."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

from . import APPS, Client, Response, ServerProcess, build_request

if str(APPS) not in sys.path:  # the oracles of some tests are the fixture applications' functions
    sys.path.append(str(APPS))

THREADS = ("--threads", "4")


def new_key() -> str:
    """A name under which one test's application notes its events."""
    return uuid.uuid4().hex


def get_json(server: ServerProcess, path: str, **keywords: Any) -> Any:
    """The JSON of a complete 200."""
    return json_of(server.get(path, **keywords))


def json_of(response: Response) -> Any:
    assert response.status == 200 and response.complete, response
    return json.loads(response.body)


def noted(server: ServerProcess, key: str, want: str = "") -> list[dict[str, Any]]:
    """The notes under `key` with their threads; waits until `want` is among them."""
    found = get_json(server, f"/notes?key={key}&want={want}")
    assert not want or any(n["event"] == want for n in found), f"no {want!r} in {found}"
    return found


def events(server: ServerProcess, key: str, want: str = "") -> list[str]:
    return [n["event"] for n in noted(server, key, want)]


def open_gate(server: ServerProcess, key: str) -> None:
    get_json(server, f"/open?key={key}")


def ask(client: Client, target: str, method: str = "GET", **keywords: Any) -> Response:
    """One request on an open connection."""
    return client.request(build_request(method, target, **keywords))


def assert_error_500(response: Response) -> None:
    """A failure before the head: a complete 500 without details."""
    assert response.status == 500 and response.complete, response
    assert b"Traceback" not in response.body and b"secret" not in response.body, response
