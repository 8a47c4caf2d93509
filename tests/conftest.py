"""Fixtures: the door under test, and servers started through it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ServerProcess, available_doors

Factory = Callable[..., ServerProcess]


DOORS = available_doors()
#: How a request reaches the server; see `harness.exchange`.
DELIVERIES = ["whole", "bytes", "pipelined"]
#: Every case runs through the first door. This is what runs through the second as well, by folder;
#: `pytest.mark.second_door("every case")` on a file or a test overrides it. See tests/README.md.
SECOND_DOOR = {
    "server": "every case",
    "config": "first case",
    "connection": "first case",
    "http": "first case",
    "supervisor": "first case",
    "wsgi": "first case",
}


@pytest.fixture(scope="session")
def door(request: pytest.FixtureRequest) -> str:
    """The front door under test, one of the ways to start the server."""
    if request.param is None:
        pytest.fail("no server to test: install the wheel or build target/release/rustwsgi")
    return request.param


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", 'second_door(cases): "every case", "first case" or "no case" of the test'
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "door" in metafunc.fixturenames:
        metafunc.parametrize("door", DOORS or [None], indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> object:
    """Leave out cases that would repeat, in another variant, what the first case of a test shows.

    A variant is a door or a delivery other than the first. The Rust tables try every delivery of
    every case: src/http1/tests.rs.
    """
    found = yield
    if not isinstance(found, list):
        return found
    kept: list[pytest.Item] = []
    seen: set[tuple[str, ...]] = set()
    for item in found:
        if variant := variant_of(item):
            is_door = variant[0] in DOORS
            cases = cases_through_second_door(item) if is_door else "first case"
            if len(variant) > 1 or cases == "no case" or (cases == "first case" and variant in seen):
                continue
            seen.add(variant)
        kept.append(item)
    return kept


def variant_of(item: pytest.Item) -> tuple[str, ...]:
    """The door and the delivery of a case, as far as they are not the first of each."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec else {}
    # RUSTWSGI_DOORS means all tests.
    doors = [] if os.environ.get("RUSTWSGI_DOORS", "").strip() else DOORS[1:]
    found = [params["door"]] if params.get("door") in doors else []
    found += [params[key] for key in ("how", "delivery") if params.get(key) in DELIVERIES[1:]]
    return tuple(found)


def cases_through_second_door(item: pytest.Item) -> str:
    marker = item.get_closest_marker("second_door")
    return marker.args[0] if marker else SECOND_DOOR.get(item.path.parent.name, "no case")


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


@pytest.fixture(params=DELIVERIES[:2])
def how(request: pytest.FixtureRequest) -> str:
    """How a request is delivered: in one piece, or byte by byte."""
    return request.param


@pytest.fixture(params=DELIVERIES)
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
