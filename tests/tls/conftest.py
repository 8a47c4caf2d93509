"""Fixtures: an authority for each test, and a server with a certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ServerProcess
from harness.pebble import Pebble
from harness.tls import Authority


@pytest.fixture(scope="session")
def _shared_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs the certificates of this test."""
    return Authority(tmp_path)


@pytest.fixture
def secure(
    serve: Callable[..., ServerProcess], _shared_authority: Authority
) -> Callable[..., ServerProcess]:
    """As `serve`, with a certificate for localhost; clients use TLS."""

    def get(app: str, *args: str) -> ServerProcess:
        pair = _shared_authority.issue_once("localhost", "localhost")
        server = serve(app, *pair.options(), *args)
        server.tls = _shared_authority.context()
        return server

    return get


@pytest.fixture
def fresh_secure(
    fresh_server: Callable[..., ServerProcess], authority: Authority
) -> Callable[..., ServerProcess]:
    """As `fresh_server`, with a certificate for localhost; clients use TLS."""

    def start(app: str, *args: str, **keywords: object) -> ServerProcess:
        pair = authority.issue("localhost", "localhost")
        server = fresh_server(app, *pair.options(), *args, **keywords)
        server.tls = authority.context()
        return server

    return start


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Pebble]:
    with Pebble(tmp_path, blocked=["refused.example"]) as pebble:
        yield pebble


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def ordering(
    fresh_server: Callable[..., ServerProcess], pebble: Pebble, cache: Path
) -> Callable[..., ServerProcess]:
    """A server that orders a certificate for localhost, or for other domains."""

    def start(*args: str, domains: tuple[str, ...] = ("localhost",), redirects: bool = False):
        if redirects:
            args = (*args, "--redirect-bind", f"127.0.0.1:{pebble.http_port}")
        bind = f"127.0.0.1:{pebble.tls_port}"
        options = [*pebble.options(cache, *domains), *args]
        return fresh_server("echo:app", *options, bind=bind, env=pebble.environment)

    return start
