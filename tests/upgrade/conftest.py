"""Fixtures: a server, plain and over TLS, and clients that ask for an upgrade."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import ServerProcess
from harness.tls import Authority
from harness.upgrades import Upgrades

Start = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def _shared_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls"])
def start(
    request: pytest.FixtureRequest, fresh_server: Start, _shared_authority: Authority
) -> Callable[..., Upgrades]:
    """Start a server, plain and over TLS."""

    def start(*args: str, app: str = "upgrade:app", **keywords: object) -> Upgrades:
        if request.param == "plain":
            server, authority = fresh_server(app, *args, **keywords), None
        else:
            pair = _shared_authority.issue_once("localhost", "localhost")
            server = fresh_server(app, *pair.options(), *args, **keywords)
            server.tls, authority = _shared_authority.context(), _shared_authority.file
        server.wait_for_event("server.ready")  # for the signals of tests
        return Upgrades(server, authority)

    return start


@pytest.fixture(params=["plain", "tls"])
def shared(request: pytest.FixtureRequest, serve: Start, _shared_authority: Authority) -> Upgrades:
    """A server that tests share, plain and over TLS."""
    if request.param == "plain":
        return Upgrades(serve("upgrade:app", "--threads", "2"))
    pair = _shared_authority.issue_once("localhost", "localhost")
    server = serve("upgrade:app", "--threads", "2", *pair.options())
    server.tls = _shared_authority.context()
    return Upgrades(server, _shared_authority.file)


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """A file that an application waits for."""
    return tmp_path / "go"
