"""The integrations belong to the wheel: without it there is nothing to test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.projects import Command, has_wheel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if has_wheel():
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "door" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="RUSTWSGI_DOORS has no wheel"))


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """Start a server by the command of a framework: `start("flask", "rustwsgi", cwd=project)`."""
    started: list[Command] = []

    def start(*command: str, **keywords: object) -> Command:
        server = Command(*command, **keywords)  # type: ignore[arg-type]
        started.append(server)
        server.start()
        return server

    yield start
    codes = [server.stop() for server in started if server.is_alive()]
    assert not any(codes), f"exit codes after SIGTERM: {codes}"
