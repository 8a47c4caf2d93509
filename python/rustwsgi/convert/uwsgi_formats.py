"""The formats of uWSGI's files: INI, XML, YAML and JSON, each read as a list of names and values.

As in uWSGI, a name may occur several times.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

from rustwsgi.convert.conversion import ConvertError

MAX_FILE_BYTES = 1 << 20

Pairs = list[tuple[str, str]]


def read_text(path: str) -> str:
    """The text of a file. Raises ConvertError if it cannot be read."""
    try:
        if not os.path.isfile(path):
            kind = "is not a file" if os.path.exists(path) else "does not exist"
            raise ConvertError(f"{path} {kind}")
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConvertError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConvertError(f"{path} is not text in UTF-8") from None
    if len(text) > MAX_FILE_BYTES:
        raise ConvertError(f"{path} is larger than 1 MiB: it is no configuration file")
    if "\0" in text:
        raise ConvertError(f"{path} is not text")
    return text


def format_of(path: str, text: str) -> str:
    extension = os.path.splitext(path)[1].lower()
    known = {".ini": "ini", ".xml": "xml", ".yaml": "yaml", ".yml": "yaml", ".json": "json"}
    known |= {".js": "json"}
    if extension in known:
        return known[extension]
    beginning = text.lstrip()
    return "xml" if beginning.startswith("<") else "json" if beginning.startswith("{") else "ini"


def read_ini(text: str, section: str, path: str) -> Pairs:
    pairs: Pairs = []
    current, has_section = "", False
    # As in uWSGI, only a line feed ends a line.
    for line in text.split("\n"):
        line = line.strip(" \t\r")
        if line.startswith("[") and line.rstrip().endswith("]"):
            current = line[1:-1]
            has_section = has_section or current == section
        elif line and line[0] not in ";#" and current == section:
            key, _, value = line.partition("=")
            pairs.append((key.strip(), without_comment(value.strip())))
    if not has_section:
        raise ConvertError(f"{path} has no section [{section}]")
    return pairs


def without_comment(value: str) -> str:
    """uWSGI has no comments behind a value, but reads a number only up to its first space: many
    files rely on that."""
    return re.sub(r"\s+[;#](\s.*)?$", "", value)


def read_xml(text: str, section: str, path: str) -> Pairs:
    from xml.etree import ElementTree
    from xml.parsers import expat

    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, expat.ExpatError, ValueError) as error:
        raise ConvertError(f"{path} is not XML: {error}") from None
    # As in uWSGI, only a section that is named chooses by the id, and not at the root.
    found = [
        node
        for node in root.iter("uwsgi")
        if node is root or section == "uwsgi" or node.get("id", section) == section
    ]
    if not found:
        raise ConvertError(f"{path} has no element <uwsgi>")
    return [(node.tag, (node.text or "true").strip()) for node in found[0]]


def read_json(text: str, section: str, path: str) -> Pairs:
    try:
        # uWSGI allows a name several times.
        data = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise ConvertError(f"{path} is not JSON: {error}") from None
    found = [value for key, value in pairs_of(data) if key == section]
    if not found:
        raise ConvertError(f'{path} has no object "{section}"')
    pairs: Pairs = []
    for key, value in pairs_of(found[0]):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (list, tuple)):
                raise ConvertError(f'{path}: "{key}" is not text, a number or a list of them')
            pairs.append((key, as_text(item)))
    return pairs


def pairs_of(data: Any) -> list[tuple[str, Any]]:
    """The members of an object."""
    is_object = isinstance(data, list) and all(isinstance(item, tuple) for item in data)
    return data if is_object else []


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


#: `key: value`
YAML_MEMBER = re.compile(r"([\w-]+)\s*:(?:\s+(.*))?")


def read_yaml(text: str, section: str, path: str) -> Pairs:
    """The subset of YAML that configurations of uWSGI use: an object of texts and lists of them."""
    pairs: Pairs = []
    current, key = "", ""
    for number, line in enumerate(text.split("\n"), 1):
        content = line.rstrip()
        bare = content.lstrip()
        if not bare or bare.startswith("#") or content in ("---", "..."):
            continue
        is_item = bare.startswith("- ")
        member = YAML_MEMBER.fullmatch(bare.removeprefix("- "))
        if member and not is_item and bare == content:
            current, key = member[1], ""
        elif current != section:
            continue
        elif is_item and key:
            if pairs[-1] == (key, ""):
                pairs.pop()
            pairs.append((key, scalar(bare[2:], path, number)))
        elif member:
            pairs.append((member[1], scalar(member[2] or "", path, number)))
            key = "" if is_item else member[1]
        else:
            raise ConvertError(f"{path}: line {number} is not `key: value` or `- value`")
    if not pairs:
        raise ConvertError(f"{path} has no options below `{section}:`")
    return pairs


def scalar(text: str, path: str, number: int) -> str:
    """A plain or quoted value."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text[:1] in ("[", "{", "|", ">", "&", "*", "!"):
        raise ConvertError(
            f"{path}: line {number}: only plain values and lists of `- value` are supported"
        )
    return re.sub(r"\s+#.*$", "", text)


READERS: dict[str, Callable[[str, str, str], Pairs]] = {
    "ini": read_ini,
    "xml": read_xml,
    "yaml": read_yaml,
    "json": read_json,
}
