"""Fixtures: the door under test, and servers started through it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ServerProcess, available_doors

Factory = Callable[..., ServerProcess]


@pytest.fixture(scope="session", params=available_doors() or [None])
def door(request: pytest.FixtureRequest) -> str:
    """One of the ways to start the server."""
    if request.param is None:
        pytest.fail("no server to test: install the wheel or build target/release/rustwsgi")
    return request.param


@pytest.fixture(scope="session")
def _shared(door: str) -> Iterator[dict[tuple[object, ...], ServerProcess]]:
    servers: dict[tuple[object, ...], ServerProcess] = {}
    yield servers
    codes = {key: server.stop() for key, server in servers.items()}
    assert not any(codes.values()), f"exit codes after SIGTERM: {codes}"


@pytest.fixture
def serve(door: str, _shared: dict[tuple[object, ...], ServerProcess]) -> Iterator[Factory]:
    """`serve("echo:app", "--threads", "4")`: a server shared by all tests that ask for the same."""
    used: set[tuple[object, ...]] = set()

    def get(app: str, *args: str, env: dict[str, str] | None = None) -> ServerProcess:
        key = (app, args, tuple(sorted((env or {}).items())))
        if key not in _shared:
            _shared[key] = ServerProcess(door, app, *args, env=env).start()
        used.add(key)
        return _shared[key]

    yield get
    for key in used:
        server = _shared[key]
        if not server.is_alive():
            del _shared[key]
            pytest.fail(f"the server died with {server.wait()}:\n{server.stderr()}")


@pytest.fixture
def fresh_server(door: str) -> Iterator[Factory]:
    """As `serve`, but a process of the test's own; takes ServerProcess's keywords as well."""
    started: list[ServerProcess] = []

    def start(app: str | None, *args: str, **keywords: object) -> ServerProcess:
        server = ServerProcess(door, app, *args, **keywords)  # type: ignore[arg-type]
        started.append(server)
        return server.start()

    yield start
    codes = [server.stop() for server in started if server.is_alive()]
    assert not any(codes), f"exit codes after SIGTERM: {codes}"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe: whoever opens one end waits for the other, so a test says when it goes on."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture(params=["whole", "bytes"])
def how(request: pytest.FixtureRequest) -> str:
    """How a request is delivered: in one piece, or byte by byte."""
    return request.param


@pytest.fixture(params=["whole", "bytes", "pipelined"])
def delivery(request: pytest.FixtureRequest) -> str:
    """How a valid request is delivered; see `harness.exchange`."""
    return request.param


@pytest.fixture
def echo(serve: Factory) -> ServerProcess:
    """echo:app in one thread, which makes "was never called" a certain statement."""
    return serve("echo:app", "--threads", "1")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for server in ServerProcess.running:
        server.log_mark = len(server.stderr())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows what its servers logged meanwhile."""
    report = yield
    if report.failed:
        for server in ServerProcess.running:
            log = server.stderr()[server.log_mark :]
            if log.strip():
                report.sections.append((f"log of {server.app} {' '.join(server.args)}", log))
    return report
