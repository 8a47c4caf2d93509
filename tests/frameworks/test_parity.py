"""The same applications on gunicorn and on rustwsgi give the same responses, byte for byte.

A user who comes from gunicorn finds nothing changed. Each request goes to both servers; version,
status, reason, field list (order and repetition), framing and body must be equal. Left out are Date,
Server, Connection and Keep-Alive, which belong to the server, and the place of Transfer-Encoding.

Where rustwsgi differs on purpose, INSTEAD and CHANGES say how and why. An entry that is no longer
needed fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from harness import ServerProcess
from harness.site_requests import APP_OF, COMMON, REQUESTS, masked
from harness.sites import make_django_site
from harness.wsgi import THREADS

pytest.importorskip("gunicorn")
pytest.importorskip("django")
pytest.importorskip("flask")

SERVERS_OWN = {"date", "server", "connection", "keep-alive", "transfer-encoding"}


@dataclass
class Answer:
    """What is compared."""

    version: str
    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes
    framing: str
    #: Bytes after the response, of which there should be none.
    stray: bytes


class Gunicorn(ServerProcess):
    """gunicorn says where it listens in the words that rustwsgi took over."""

    def __init__(self, app: str, env: dict[str, str]) -> None:
        super().__init__("wheel", app, env=env)
        self.command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0"]
        self.command += ["--worker-class", "gthread", *THREADS, app]


# Werkzeug makes Allow from a set of strings, whose order is another in each process by default.
SAME_ORDER = {"PYTHONHASHSEED": "0"}


# --------------------------------------------------------------------------------- differences

#: A chunked body is complete when the application is called, so rustwsgi says its CONTENT_LENGTH, and
#: HTTP_TRANSFER_ENCODING no longer holds. Django takes such a body for an empty one under gunicorn.
#: What is expected is what gunicorn gives for the same body with its length.
INSTEAD = {
    "post-form-chunked": "post-form",
    "post-body-chunked": "post-body",
    "post-trailers": "post-byte",
    "django-upload-chunked": "upload",
}


def version_1_1(theirs: Answer) -> Answer:
    """A server sends its own version, not the client's. [RFC 9110 section 6.2]"""
    return replace(theirs, version="HTTP/1.1")


def known_to_be_empty(theirs: Answer) -> Answer:
    """An application that ended without a block had none: that needs no chunked coding."""
    assert theirs.framing == "chunked" and theirs.body == b""
    return replace(theirs, framing="length", fields=[*theirs.fields, ("Content-Length", "0")])


CHANGES: dict[str, Callable[[Answer], Answer]] = {
    **{name: version_1_1 for name in COMMON if name.endswith("-1.0")},
    "stream-empty": known_to_be_empty,
    "django-admin-no-slash": known_to_be_empty,
}


# ------------------------------------------------------------------------------------ the test


@pytest.fixture(scope="session")
def site_envs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    django = make_django_site(tmp_path_factory.mktemp("parity"))
    return {"django": django | SAME_ORDER, "flask": SAME_ORDER}


@pytest.fixture(scope="session")
def gunicorns(site_envs: dict[str, dict[str, str]]) -> Iterator[dict[str, ServerProcess]]:
    started = {site: Gunicorn(app, site_envs[site]).start() for site, app in APP_OF.items()}
    yield started
    for server in started.values():
        server.stop()


def answer_of(server: ServerProcess, raw: bytes) -> Answer:
    with server.connect() as client:
        response = client.request(raw)
        stray = client.rest()
    fields = [(n, masked(n, v)) for n, v in response.fields if n.lower() not in SERVERS_OWN]
    return Answer(
        response.version,
        response.status,
        response.reason,
        fields,
        response.body,
        response.framing,
        stray,
    )


def cases() -> list[object]:
    found: list[object] = []
    for site, requests in REQUESTS.items():
        for name in requests:
            found.append(pytest.param(site, name, id=f"{site}-{name}"))
    return found


@pytest.mark.parametrize("site, name", cases())
def test_answer_equals_that_of_gunicorn(
    serve: Callable[..., ServerProcess],
    gunicorns: dict[str, ServerProcess],
    site_envs: dict[str, dict[str, str]],
    site: str,
    name: str,
) -> None:
    requests, gunicorn, key = REQUESTS[site], gunicorns[site], f"{site}-{name}"
    mine = answer_of(serve(APP_OF[site], *THREADS, env=site_envs[site]), requests[name])
    theirs = answer_of(gunicorn, requests[name])
    assert mine.stray == b""
    if change := CHANGES.get(key) or CHANGES.get(name):
        assert mine != theirs, f"no difference any more: {change.__doc__}"
        theirs = change(theirs)
    elif instead := INSTEAD.get(key) or INSTEAD.get(name):
        assert mine != theirs, "no difference any more"
        theirs = answer_of(gunicorn, requests[instead])
    assert mine == theirs
