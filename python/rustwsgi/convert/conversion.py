"""A configuration that becomes a ``rustwsgi.toml``: options that are set, and comments.

Each option of the source ends here in one of three ways: as an option, as a comment that gives the
reason why there is none, or as a remark on the whole file. The server's own parser checks every
option, so that the file is valid whatever the source contains.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from rustwsgi import _rustwsgi
from rustwsgi._options import options

Value = str | int | float | bool
#: The columns of a comment.
WIDTH = 96

#: What stands around the name of a variable that is not set during the conversion. A private-use
#: character cannot be part of a value by accident.
OPEN, CLOSE = "\ue000", "\ue001"
UNSET = re.compile(f"{OPEN}([^{CLOSE}]*){CLOSE}")
#: Variables that the server itself reads, with the option that they set.
OWN_VARIABLES = {"PORT": "bind", "WEB_CONCURRENCY": "workers"}

#: The options without which others of TLS are invalid.
COMPANIONS = ("certfile", "keyfile", "ca_certs")


class ConvertError(Exception):
    """What is wrong with the source, as a sentence for the user."""


@dataclass(frozen=True)
class Given:
    """An option as the source has it."""

    name: str
    value: str = ""
    #: What stands between both.
    sign: str = " = "

    def __str__(self) -> str:
        return plain(f"{self.name}{self.sign}{self.value}" if self.value else self.name)


@dataclass
class Entry:
    """An option of the result."""

    name: str
    values: list[Value]
    is_list: bool
    comments: list[str] = field(default_factory=list)

    def line(self) -> str:
        if not self.is_list:
            return f"{self.name} = {toml(self.values[0])}"
        items = [toml(value) for value in self.values]
        short = f"{self.name} = [{', '.join(items)}]"
        if len(short) <= WIDTH:
            return short
        return f"{self.name} = [\n" + "".join(f"    {item},\n" for item in items) + "]"


class Conversion:
    """The result of a conversion, while it is made."""

    def __init__(self, server: str, source: str) -> None:
        self.server, self.source = server, source
        self._entries: dict[str, Entry] = {}
        self._dropped: list[tuple[str, str]] = []
        self._remarks: list[str] = []
        self._defaults: list[tuple[str, Value, str]] = []

    def set(self, name: str, value: Value, given: Given | None = None, comment: str = "") -> None:
        """Set an option, or replace its value. ``given`` is the foreign option, which is named if
        the value cannot be used."""
        if self._is_usable(name, value, given):
            entry = Entry(name, [value], options()[name].is_repeatable)
            self._entries[name] = entry
            self.comment(name, comment)

    def add(self, name: str, value: Value, given: Given | None = None, comment: str = "") -> None:
        """Append a value to an option that takes several."""
        if not self._is_usable(name, value, given):
            return
        entry = self._entries.setdefault(name, Entry(name, [], True))
        if value not in entry.values:
            entry.values.append(value)
        self.comment(name, comment)

    def comment(self, name: str, comment: str) -> None:
        """Write a comment over an option that is set."""
        entry = self._entries.get(name)
        if entry is not None and comment and comment not in entry.comments:
            entry.comments.append(comment)

    def get(self, name: str) -> Value | None:
        """The first value of an option, if it is set."""
        entry = self._entries.get(name)
        return entry.values[0] if entry and entry.values else None

    def remove(self, name: str) -> None:
        self._entries.pop(name, None)

    def drop(self, given: Given, reason: str) -> None:
        """Write a comment in place of an option that has no equivalent."""
        row = (str(given), reason)
        if row not in self._dropped:
            self._dropped.append(row)

    def remark(self, text: str) -> None:
        """Write a comment about the whole file."""
        if text not in self._remarks:
            self._remarks.append(text)

    def default(self, name: str, value: Value, text: str) -> None:
        """Offer an option, as a comment, for a default that differs, unless the option is set."""
        self._defaults.append((name, value, text))

    def _is_usable(self, name: str, value: Value, given: Given | None) -> bool:
        """Whether an option of the server can have the value. If not, a comment says why."""
        given = given or Given(name, str(value))
        text = str(value)
        unset = UNSET.findall(text)
        variable = next((each for each in unset if OWN_VARIABLES.get(each) == name), None)
        if name not in options():
            self.drop(given, f"this version of rustwsgi has no option --{name.replace('_', '-')}")
        elif not is_text(text):
            self.drop(given, "its value is not UTF-8")
        elif variable == "PORT":
            self.drop(given, "no bind is needed: the default is 0.0.0.0:$PORT if PORT is set")
        elif variable:
            self.drop(given, f"not needed: the default is ${variable} if that is set")
        elif unset and name == "env":
            self.drop(given, f"{unset[0]} is not set here: set the variable before the start")
        elif unset:
            self.drop(
                given,
                f"the variable {unset[0]} is not set here: write its value as {name}, or set "
                f"RUSTWSGI_{name.upper()} in the server's environment",
            )
        elif error := check(name, as_text(value)):
            self.drop(given, f"no such value is possible for {name}: {one_line(error)}")
        else:
            return True
        return False

    def _drop_conflicts(self) -> None:
        """Leave out what the options before it exclude."""
        kept: list[tuple[str, list[str]]] = []
        for name in [name for name in options() if name in self._entries]:
            entry = self._entries[name]
            option = (name, [as_text(value) for value in entry.values])
            if error := _rustwsgi.check_options([*kept, option]):
                del self._entries[name]
                self.drop(Given(entry.line()), one_line(error))
            else:
                kept.append(option)

    def render(self) -> str:
        """The file."""
        self._drop_conflicts()
        blocks = [self._head()]
        section = ""
        for name, option in options().items():
            entry = self._entries.get(name)
            if entry is None:
                continue
            block = [*map(comment, entry.comments), entry.line()]
            # A comment belongs to the option below it.
            if option.section == section and not entry.comments and blocks[-1][0] != "#":
                blocks[-1] += "\n" + "\n".join(block)
            else:
                blocks.append("\n".join(block))
            section = option.section
        blocks += self._tail()
        return "\n\n".join(blocks) + "\n"

    def _head(self) -> str:
        lines = [
            f"# rustwsgi.toml, converted from {plain(self.source)} ({self.server}) by rustwsgi "
            f"{_rustwsgi.__version__}",
            "#",
            "# Save it in the directory in which the server starts, read the comments, and try it:",
            "# rustwsgi --check-config",
        ]
        for text in self._remarks:
            lines += ["#", comment(text)]
        if self.get("app") is None and self.get("paste") is None:
            text = "No application was found. Name it here, or on the command line:"
            lines += ["#", comment(text), '# app = "MODULE:NAME"']
        return "\n".join(lines)

    def _tail(self) -> Iterable[str]:
        missing = [row for row in self._defaults if row[0] not in self._entries]
        if missing:
            lines = [comment(f"Defaults of {self.server} that are not those of rustwsgi:")]
            for name, value, text in missing:
                lines += [f"# {name} = {toml(value)}", comment(text, "    ")]
            yield "\n".join(lines)
        if self._dropped:
            lines = [comment(f"Options of {self.server} for which nothing was written:")]
            for given, reason in self._dropped:
                lines += ["#", f"# {given}", comment(reason, "    ")]
            yield "\n".join(lines)


def check(name: str, text: str) -> str | None:
    """The error that the value of an option would cause, whatever the other options are."""
    companions = COMPANIONS if options()[name].section == "TLS" else ()
    others = [(other, ["x"]) for other in companions if other != name]
    return _rustwsgi.check_options([*others, (name, [text])])


def comment(text: str, indent: str = "") -> str:
    """Lines of a comment."""
    lines = textwrap.wrap(
        plain(text), WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(f"# {indent}{line}" for line in lines)


def plain(text: str) -> str:
    """Text for one line of a comment: TOML allows no control characters there."""
    text = UNSET.sub(r"$\1", text)
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def is_text(text: str) -> bool:
    """Whether a file can contain the text: names that are not UTF-8 have surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def one_line(text: str) -> str:
    """The first paragraph of an error message."""
    return " ".join(text.partition("\n\n")[0].split())


def as_text(value: Value) -> str:
    """The value as the server's parser takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def toml(value: Value) -> str:
    """The value in TOML."""
    if not isinstance(value, str):
        return as_text(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    escaped = "".join(
        f"\\u{ord(char):04x}" if char < " " or char == "\x7f" else char for char in escaped
    )
    return f'"{escaped}"'


def number(text: str) -> Value:
    """A number if the text is one, so that it has no quotation marks."""
    if re.fullmatch(r"(0|[1-9]\d{0,15})\.\d{1,9}", text):
        return float(text)
    return int(text) if re.fullmatch(r"0|[1-9]\d{0,17}", text) else text


def module_of_file(conversion: Conversion, path: str, directory: str) -> str | None:
    """The dotted module name of a source file, whose directory becomes part of the search path
    unless it is below ``directory``. None if Python cannot import the file by a name."""
    if UNSET.search(path):
        return None
    stem, extension = os.path.splitext(path)
    if extension != ".py":
        return None
    if os.path.isabs(stem):
        base = os.path.abspath(directory)
        if os.path.commonpath([base, stem]) == base:
            stem = os.path.relpath(stem, base)
    parts = os.path.normpath(stem).split(os.sep)
    if os.path.isabs(stem) or ".." in parts or not all(part.isidentifier() for part in parts):
        conversion.add("pythonpath", os.path.dirname(stem) or "/")
        parts = parts[-1:]
    return ".".join(parts) if all(part for part in parts) else None
