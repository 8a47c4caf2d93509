"""The command that the wheel installs."""

from __future__ import annotations

from importlib.metadata import distribution

import pytest

pytestmark = pytest.mark.second_door("no case")


def test_command_is_an_entry_point() -> None:
    """Regression: the wheel had a script of its own. Its first line names the interpreter, which no
    system finds if the path has a space, or more than 255 bytes. The scripts that installers make
    for entry points work everywhere."""
    commands = distribution("rustwsgi").entry_points.select(group="console_scripts")
    assert [(command.name, command.value) for command in commands] == [
        ("rustwsgi", "rustwsgi.cli:main")
    ]
