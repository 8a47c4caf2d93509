"""The files and command lines of uWSGI, read as uWSGI reads them: a list of options.

Loops and conditions (``for =``, ``if-env =``) and included files are followed while a file is read,
and placeholders (``%(name)``), magic variables (``%d``) and variables (``$(NAME)``) are replaced
afterwards, since a placeholder may name an option below it.
"""

from __future__ import annotations

import glob
import grp
import operator
import os
import pwd
import re
import socket
from collections.abc import Callable

from rustwsgi.convert.conversion import CLOSE, OPEN, OWN_VARIABLES, ConvertError, Given
from rustwsgi.convert.uwsgi_formats import READERS, Pairs, format_of, read_text

#: uWSGI's options that name another file of options, and the formats of those.
INCLUDES = {
    "ini": "ini",
    "inherit": "",
    "include": "",
    "config": "",
    "xml": "xml",
    "xmlconfig": "xml",
    "yaml": "yaml",
    "yml": "yaml",
    "json": "json",
    "js": "json",
}
#: Files that include each other are a mistake.
MAX_DEPTH = 20
#: A placeholder may name an option with placeholders.
MAX_EXPANSIONS = 20


class Reader:
    """Collects the options of a file, with those that it includes."""

    def __init__(self) -> None:
        self.options: Pairs = []
        #: What was replaced or left out, for comments: texts.
        self.remarks: list[str] = []
        #: The names in formulas that are being expanded.
        self._open: set[str] = set()
        self._depth = 0
        self._path = ""

    def read(self, name: str, format: str = "") -> None:
        """Read the options of ``PATH`` or ``PATH:SECTION``."""
        path, section = split_section(name)
        path = path or self._path
        if self._depth == MAX_DEPTH:
            raise ConvertError(f"{path}: the files include each other")
        text = read_text(path)
        format = format or format_of(path, text)
        pairs = READERS[format](text, section, path)
        outer, self._path = self._path, path
        self._depth += 1
        self._follow(
            [(magic(key, path, section), magic(text, path, section)) for key, text in pairs]
        )
        self._depth -= 1
        self._path = outer

    def add(self, key: str, value: str) -> None:
        """Add an option, or read the file that it includes."""
        if key in INCLUDES and value:
            self.read(self._find(self._expand_early(value)), INCLUDES[key])
        else:
            self.options.append((key, value))

    def _find(self, name: str) -> str:
        """The included file: as uWSGI, from the working directory, else beside the file."""
        path, _ = split_section(name)
        beside = os.path.join(os.path.dirname(self._path), name)
        return name if not path or os.path.exists(path) else beside

    def _follow(self, pairs: Pairs) -> None:
        """Add the options of a file. As in uWSGI, a loop or condition repeats or omits each option
        up to its end, and the next one ends it."""
        #: The texts for `%(_)`, one for each repetition; None outside of a block.
        items: list[str] | None = None
        has_failed = False
        for key, value in pairs:
            if key in LOOPS:
                items = LOOPS[key](self._expand_early(value))
            elif key in CONDITIONS:
                found = CONDITIONS[key](self, self._expand_early(value))
                has_failed = found is None
                items = [] if found is None else [found]
                self._remark_condition(key, value, not has_failed)
            elif key == "else":
                items = [""] if has_failed else []
            elif key in ("endif", "end-if", "endfor", "end-for"):
                items = None
            elif items is None:
                self.add(key, value)
            else:
                for item in items:
                    self.add(key, value.replace("%(_)", item))

    def _remark_condition(self, key: str, value: str, holds: bool) -> None:
        state = "holds" if holds else "does not hold"
        self.remarks.append(
            f"{key} = {value} {state} during this conversion, so its options are "
            f"{'set' if holds else 'left out'}."
        )

    def value_of(self, name: str) -> str | None:
        """The first value of an option or placeholder."""
        for key, value in self.options:
            if key == name:
                return value
            if key in ("set", "set-placeholder", "set-ph"):
                name_of, _, text = value.partition("=")
                if name_of == name:
                    return text
        return None

    def _expand_early(self, value: str) -> str:
        return UNSET_MARKS.sub("", self._expand(value))

    def _expand(self, value: str) -> str:
        """Replace variables, files and placeholders."""
        value = re.sub(r"\$\(([^()]*)\)", self._variable, value)
        value = re.sub(r"@\(([^()]*)\)", self._content, value)
        for _ in range(MAX_EXPANSIONS):
            replaced = re.sub(r"%\(([^()]*)\)", self._placeholder, value)
            if replaced == value:
                break
            value = re.sub(r"\$\(([^()]*)\)", self._variable, replaced)
        return value

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1]
        value = os.environ.get(name)
        if name in OWN_VARIABLES or value is None:
            return f"{OPEN}{name}{CLOSE}"
        self.remarks.append(f"$({name}) was replaced by its value during this conversion.")
        return value

    def _content(self, match: re.Match[str]) -> str:
        scheme, separator, _ = match[1].partition("://")
        if separator and scheme != "file":
            self.remarks.append(f"@({match[1]}) was not read: only files are.")
            return ""
        return read_text(match[1].removeprefix("file://")).strip()

    def _placeholder(self, match: re.Match[str]) -> str:
        first, *rest = match[1].split() or [""]
        value = self._calculate([first, *rest]) if rest else self.value_of(first)
        # What is no option is text, such as the variables of log-format.
        return match[0] if value is None else value

    def _calculate(self, formula: list[str]) -> str | None:
        """The value of ``%(NAME + NUMBER ...)``: calculated from left to right, items without an
        operator between them are joined. None if it is no formula."""
        value, sign = "", ""
        for word in formula:
            if word in OPERATORS:
                sign = word
                continue
            item: str | None = word
            if word in STEPS:
                item, sign = "1", STEPS[word]
            elif not INTEGER.fullmatch(word):
                item = self._item(word)
            if item is None:
                return None
            if sign == "":
                value += item
            elif INTEGER.fullmatch(value) and INTEGER.fullmatch(item):
                if sign == "/" and int(item) == 0:
                    return None
                value = str(OPERATORS[sign](int(value), int(item)))
            else:
                return None
            sign = ""
        return value

    def _item(self, name: str) -> str | None:
        """The expanded value of a name in a formula. None if there is none, or it needs itself."""
        value = self.value_of(name)
        if value is None or name in self._open:
            return None
        self._open.add(name)
        try:
            return self._expand(value)
        finally:
            self._open.remove(name)

    def expanded(self) -> list[Given]:
        """The options in their order, without placeholders."""
        placeholders = re.findall(r"%\(([^()]*)\)", "".join(value for _, value in self.options))
        used = {name for names in placeholders for name in names.split()}
        found = []
        for key, value in self.options:
            if key in ("set", "set-placeholder", "set-ph"):
                name, _, value = value.partition("=")
                if name.replace("_", "-") != name or name in used:
                    continue
                key = name
            found.append((key, value))
        self.placeholders = {key for key, _ in found if key in used}
        return [Given(key, self._expand(value)) for key, value in found]


def divide(dividend: int, divisor: int) -> int:
    """The quotient, rounded toward zero as in C."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


#: What ``%(a + b)`` may calculate, with whole numbers.
OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
}
STEPS = {"++": "+", "--": "-"}
INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)

UNSET_MARKS = re.compile(f"{OPEN}[^{CLOSE}]*{CLOSE}")


def words(text: str) -> list[str]:
    return text.split()


def times(text: str) -> list[str]:
    count = int(text) if text.isdecimal() and len(text) < 5 else 0
    return [str(index) for index in range(1, count + 1)]


LOOPS: dict[str, Callable[[str], list[str]]] = {
    "for": words,
    "for-times": times,
    "for-glob": lambda text: sorted(glob.glob(text)) or [text],
    "for-readline": lambda text: read_text(text).splitlines(),
}


def if_equal(text: str, lookup: Callable[[str], str | None]) -> str | None:
    """The value of ``NAME``, or of ``NAME=VALUE`` if it has that one."""
    name, sign, wanted = text.partition("=")
    value = lookup(name)
    return value if not sign or value == wanted else None


def negated(found: str | None) -> str | None:
    return "" if found is None else None


def if_path(test: Callable[[str], bool]) -> Callable[[Reader, str], str | None]:
    return lambda reader, path: path if test(path) else None


def unless_path(test: Callable[[str], bool]) -> Callable[[Reader, str], str | None]:
    return lambda reader, path: None if test(path) else ""


CONDITIONS: dict[str, Callable[[Reader, str], str | None]] = {
    "if-env": lambda reader, text: if_equal(text, os.environ.get),
    "ifenv": lambda reader, text: if_equal(text, os.environ.get),
    "if-not-env": lambda reader, text: negated(if_equal(text, os.environ.get)),
    "if-opt": lambda reader, text: if_equal(text, reader.value_of),
    "if-not-opt": lambda reader, text: negated(if_equal(text, reader.value_of)),
    "if-exists": if_path(os.path.exists),
    "ifexists": if_path(os.path.exists),
    "if-not-exists": unless_path(os.path.exists),
    "if-file": if_path(os.path.isfile),
    "if-not-file": unless_path(os.path.isfile),
    "if-dir": if_path(os.path.isdir),
    "ifdir": if_path(os.path.isdir),
    "if-directory": if_path(os.path.isdir),
    "if-not-dir": unless_path(os.path.isdir),
    "if-reload": lambda reader, text: None,
    "if-not-reload": lambda reader, text: "",
    "if-hostname": lambda reader, text: text if text == socket.gethostname() else None,
    "if-not-hostname": lambda reader, text: None if text == socket.gethostname() else "",
    "if-plugin": lambda reader, text: text if text.startswith("python") else None,
    "if-not-plugin": lambda reader, text: None if text.startswith("python") else "",
}


def split_section(name: str) -> tuple[str, str]:
    """``PATH:SECTION``, whose section is by default uwsgi."""
    path, colon, section = name.rpartition(":")
    if not colon or "/" in section:
        return name, "uwsgi"
    return path, section or "uwsgi"


def magic(text: str, path: str, section: str) -> str:
    """Replace the magic variables of a file."""
    full = os.path.abspath(path)
    directory, name = os.path.split(full)
    stem, extension = os.path.splitext(name)
    values: dict[str, Callable[[], str]] = {
        "p": lambda: full,
        "o": lambda: path,
        "s": lambda: name,
        "d": lambda: directory.rstrip("/") + "/",
        "c": lambda: os.path.basename(directory),
        "e": lambda: extension.removeprefix("."),
        "n": lambda: stem,
        "x": lambda: section,
        "v": os.getcwd,
        "h": socket.gethostname,
        "k": lambda: str(os.cpu_count() or 1),
        "u": lambda: str(os.getuid()),
        "g": lambda: str(os.getgid()),
        "U": lambda: user_name() or "",
        "G": lambda: grp.getgrgid(os.getgid()).gr_name,
    }
    values |= {letter.upper(): values[letter] for letter in "posdcenx"}

    def replace(match: re.Match[str]) -> str:
        letter = match[1]
        if letter == "%":
            return "%"
        if letter.isdigit():
            parts = [part for part in directory.split("/") if part]
            index = int(letter)
            return parts[index] if index < len(parts) else ""
        return values[letter]() if letter in values else match[0]

    # `%(` begins a placeholder.
    return re.sub(r"%([A-Za-z0-9%])", replace, text)


def user_name() -> str | None:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None
