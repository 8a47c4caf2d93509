"""Fixtures: servers that speak HTTP/2, without TLS to this machine, with TLS, or both."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness import ServerProcess
from harness.tls import Authority
from harness.ways import Ways

Factory = Callable[..., ServerProcess]
CLEARTEXT = ("--http2-cleartext", "both")


@pytest.fixture
def plain(serve: Factory) -> Factory:
    """As `serve`, with HTTP/2 in cleartext."""
    return lambda app, *args, **keywords: serve(app, *CLEARTEXT, *args, **keywords)


@pytest.fixture
def fresh_plain(fresh_server: Factory) -> Factory:
    """As `fresh_server`, with HTTP/2 in cleartext."""
    return lambda app, *args, **keywords: fresh_server(app, *CLEARTEXT, *args, **keywords)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(serve: Factory, authority: Authority) -> Factory:
    """As `serve`, with TLS."""

    def get(app: str, *args: str) -> ServerProcess:
        server = serve(app, *authority.issue_once("localhost", "localhost").options(), *args)
        server.tls = authority.context()
        return server

    return get


@pytest.fixture
def both(serve: Factory, authority: Authority) -> Callable[..., Ways]:
    """Servers with two addresses, each of which speaks both protocols."""

    def get(app: str, *args: str, env: dict[str, str] | None = None) -> Ways:
        pair = authority.issue_once("localhost", "localhost")
        plain = ("--insecure-bind", "127.0.0.1:0", *CLEARTEXT)
        return Ways(serve(app, *pair.options(), *plain, *args, env=env), authority)

    return get
