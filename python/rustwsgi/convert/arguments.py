"""Servers that are configured by command line only: a table of their options each.

A row says how many values the option takes, and what becomes of it: the name of an option here, a
function, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from rustwsgi._options import options
from rustwsgi.convert.conversion import Conversion, Given, number

Rule = Callable[[Conversion, Given], None]


class Row(NamedTuple):
    """What becomes of an option."""

    #: The number of its values.
    takes: int
    #: The option here, if it has the same value.
    name: str = ""
    rule: Rule | None = None
    #: Why it has no equivalent.
    reason: str = ""


def same(name: str) -> Row:
    """An option with one value, which it has here as well."""
    return Row(1, name)


def flag(name: str) -> Row:
    """An option without a value, which is a flag here."""
    return Row(0, name)


def with_rule(rule: Rule, takes: int = 1) -> Row:
    return Row(takes, rule=rule)


def without(reason: str, takes: int = 1) -> Row:
    """An option that has no equivalent."""
    return Row(takes, reason=reason)


def parse(
    arguments: list[str], table: dict[str, Row], short: dict[str, str]
) -> Iterator[tuple[str, Given]]:
    """The options with their values; an argument has an empty name. The names have no hyphens in
    front, and several values are separated by spaces."""
    rest = list(reversed(arguments))
    while rest:
        word = rest.pop()
        if not word.startswith("-") or word == "-":
            yield "", Given(word)
            continue
        name, sign, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            name, sign, value = short.get(word[1], word[1]), word[2:], word[2:]
        name = name.replace("_", "-")
        row = table.get(name, Row(0))
        values = [value] if sign else []
        while len(values) < row.takes and rest:
            values.append(rest.pop())
        yield name, Given(f"--{name}", " ".join(values), " ")


def apply(result: Conversion, name: str, given: Given, table: dict[str, Row]) -> None:
    """Convert one option."""
    row = table.get(name)
    if row is None:
        result.drop(given, f"this is no option of {result.server} that is known here")
    elif row.rule is not None:
        row.rule(result, given)
    elif row.reason:
        result.drop(given, row.reason)
    elif options()[row.name].is_flag:
        result.set(row.name, True, given)
    elif options()[row.name].is_repeatable:
        result.add(row.name, given.value, given)
    else:
        result.set(row.name, number(given.value), given)
