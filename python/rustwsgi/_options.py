"""The table of options of this server, for commands that are written in Python."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from rustwsgi import _rustwsgi


class Option(NamedTuple):
    """One option."""

    #: The key in a file.
    name: str
    #: The heading in ``--help``.
    section: str
    #: The short flag without its hyphen, or nothing.
    short: str
    #: The long flags without hyphens in front, the option's own first.
    flags: list[str]
    #: Whether it takes no value on the command line.
    is_flag: bool
    #: Whether it takes several values.
    is_repeatable: bool
    #: gunicorn's name of the setting.
    gunicorn: str | None
    #: uWSGI's options, with underscores, that it replaces.
    uwsgi: list[str]


@cache
def options() -> dict[str, Option]:
    """All options by their names, in the order of the documentation."""
    rows = (Option(*row) for row in _rustwsgi.option_rows())
    return {option.name: option for option in rows}
