"""A small `make soak`: requests of all kinds, every response counted, no resource left behind."""

from __future__ import annotations

import sys

import pytest

from harness.mix import POLITE, RUDE
from harness.soak import ENVIRONMENT, OPTIONS, Process, Round, complaints, soak

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc"),
    pytest.mark.second_door("no case"),
]
REQUESTS = 6_000


def test_small_soak_loses_nothing(fresh_server) -> None:
    server = fresh_server("mixed:app", *OPTIONS, env=ENVIRONMENT)
    said: list[str] = []
    rounds = soak(server, {**POLITE, **RUDE}, REQUESTS, rounds=4, say=said.append)
    assert list(complaints(rounds)) == [], "\n".join(said)
    assert len(rounds) == 4
    # The clients' shares are rounded down, and the last requests of each may be several.
    assert sum(done.answers.total() for done in rounds) > 0.9 * REQUESTS


def test_soak_reports_growth() -> None:
    def rounds(**more: int) -> list[Round]:
        held = {"rss": 50 << 20, "descriptors": 9, "threads": 6, "heap": 1 << 20, "blocks": 10_000}
        after = {name: value + more.get(name, 0) for name, value in held.items()}
        return [Round({}, [], 1, {1: Process(**held)}), Round({}, [], 1, {1: Process(**after)})]

    assert list(complaints(rounds(rss=1 << 20, heap=1 << 12, blocks=100))) == []
    for more in ({"rss": 1 << 24}, {"heap": 1 << 22}, {"blocks": 10**4}, {"descriptors": 1}):
        assert len(list(complaints(rounds(**more)))) == 1, more
    assert len(list(complaints(rounds(threads=1)))) == 1
    assert len(list(complaints(rounds(threads=-1)))) == 1
