"""Writes packaging/LICENSES.txt, the licences of the crates in a wheel: `make licenses`.

Each wheel has the file. Licences ask for their text, with the names of the authors, in every copy
of the software. So the texts come from the crates themselves. Of a choice (`MIT OR Apache-2.0`) the
shortest licence is taken. A text that several crates have is written once. `--check` fails if the
file is not what would be written: `make lint`.

Procedural macros and build scripts are not part of a wheel.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "packaging" / "LICENSES.txt"
#: The platforms of the wheels.
TARGETS = [
    f"{cpu}-unknown-linux-{libc}" for cpu in ("x86_64", "aarch64") for libc in ("gnu", "musl")
]
CARGO = ["cargo", "--color", "never"]

#: Licences in the order in which they are chosen, and words that only their texts have. White space
#: differs between crates.
KNOWN = {
    "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy",
    "ISC": "distribute this software for any purpose with or without fee is hereby granted",
    "Zlib": "Altered source versions must be plainly marked as such",
    "BSD-2-Clause": "Redistributions in binary form must reproduce the above copyright",
    "BSD-3-Clause": "may be used to endorse or promote products derived from this software",
    "Unicode-3.0": "UNICODE LICENSE V3",
    "CC0-1.0": "CC0 1.0 Universal",
    "Unlicense": "This is free and unencumbered software released into the public domain",
    "BSL-1.0": "Boost Software License - Version 1.0",
    "Apache-2.0 WITH LLVM-exception": "LLVM Exceptions to the Apache 2.0 License",
    "Apache-2.0": "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION",
    "CDDL-1.0": "COMMON DEVELOPMENT AND DISTRIBUTION LICENSE",
    "MIT-0": "MIT No Attribution",
}
#: Files with licences, and names of authors.
NAMES = re.compile(r"(?i)(un)?licen[cs]e|copying|copyright|notice")
#: Code may have such a name.
CODE = (".py", ".rs")
#: The standard library is part of each wheel, too. Its text is that of a crate of its authors.
STANDARD_LIBRARY, ITS_CRATE = "Rust's standard library", "libc"

HEAD = """\
The wheels of rustwsgi contain the crates below, which are libraries in Rust, C and assembler. The
list names the licence of each, and the texts of the licences follow. The sources of a crate are at
https://crates.io/crates/NAME/VERSION; they are used unchanged.

packaging/licenses.py writes this file.
"""
RULE = "-" * 100


class Failed(Exception):
    """The file cannot be written; the message says why."""


@dataclass(frozen=True, order=True)
class Crate:
    name: str
    version: str
    #: The expression of SPDX.
    license: str
    directory: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def texts(self) -> list[str]:
        """The texts of the licences that apply, and further names of authors.

        Raises:
            Failed: The text of a licence is missing.
        """
        if not self.license:
            raise Failed(f"{self} names no licence: see {self.directory}/Cargo.toml")
        wanted = chosen(self.license)
        found, left = [], set(wanted)
        # Those of parts by other authors are below.
        for path in sorted(self.directory.rglob("*")):
            if not NAMES.match(path.name) or path.suffix in CODE or not path.is_file():
                continue
            text = tidy(path.read_text(encoding="utf-8", errors="replace"))
            licenses = contained(text)
            # What has no text of a licence names the authors, or the choice.
            if text not in found and (not licenses or licenses & wanted):
                found.append(text)
                left -= licenses
        if left:
            raise Failed(
                f"{self} has no text of {', '.join(sorted(left))}: see {self.directory}, and add"
                " what identifies it to packaging/licenses.py"
            )
        return found


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout


def crates() -> list[Crate]:
    """The crates of the wheels, without this one."""
    linked = set()
    for target in TARGETS:
        tree = run(
            *CARGO, "tree", "--locked", "--all-features", "--target", target, "--no-dedupe",
            "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}",
        )  # fmt: skip
        linked |= {tuple(line.split()[:2]) for line in tree.splitlines()}
    platforms = [word for target in TARGETS for word in ("--filter-platform", target)]
    command = [*CARGO, "metadata", "--locked", "--all-features", "--format-version=1"]
    metadata = run(*command, *platforms)
    found = [
        Crate(
            package["name"],
            package["version"],
            package["license"] or "",
            Path(package["manifest_path"]).parent,
        )
        for package in json.loads(metadata)["packages"]
        if (package["name"], f"v{package['version']}") in linked
    ]
    if len(found) != len(linked):
        raise Failed("cargo tree and cargo metadata name different crates")
    return sorted(crate for crate in found if crate.directory != ROOT)


def chosen(expression: str) -> set[str]:
    """The licences of an expression that apply: of each choice, the one that is known first."""
    words = re.findall(r"\(|\)|[^()\s/]+|/", expression.replace(" WITH ", "\0"))
    words = ["OR" if word == "/" else word.replace("\0", " WITH ") for word in words]

    def rank(licenses: set[str]) -> int:
        order = list(KNOWN)
        return max(order.index(each) if each in KNOWN else len(order) for each in licenses)

    def alternatives() -> set[str]:
        found = [parts()]
        while words and words[0] == "OR":
            words.pop(0)
            found.append(parts())
        return min(found, key=rank)

    def parts() -> set[str]:
        found = one()
        while words and words[0] == "AND":
            words.pop(0)
            found |= one()
        return found

    def one() -> set[str]:
        word = words.pop(0)
        if word != "(":
            return {word}
        found = alternatives()
        words.pop(0)
        return found

    return alternatives()


def contained(text: str) -> set[str]:
    """The licences whose texts are in this one."""
    flat = normalize_space(text).casefold()
    return {name for name, words in KNOWN.items() if words.casefold() in flat}


def tidy(text: str) -> str:
    """The text without what differs between copies of it: white space, and signs of comments."""
    text = re.sub(r"(?m)^//[ \t]?", "", text.replace("\ufeff", ""))
    lines = [line.rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def normalize_space(text: str) -> str:
    """What is equal for texts that differ in line breaks only."""
    return " ".join(text.split())


def render(found: Iterable[Crate]) -> str:
    """The content of the file."""
    found = list(found)
    holders: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for crate in found:
        names = [str(crate)] + ([STANDARD_LIBRARY] if crate.name == ITS_CRATE else [])
        for text in crate.texts():
            texts.setdefault(normalize_space(text), text)
            holders.setdefault(normalize_space(text), []).extend(names)
    rows = [f"{crate}: {crate.license}" for crate in found]
    rows.append(f"{STANDARD_LIBRARY}: MIT OR Apache-2.0")
    sections = [f"{RULE}\n{wrap(holders[key])}\n{RULE}\n\n{text}" for key, text in texts.items()]
    return "\n".join([HEAD, "\n".join(rows) + "\n", *sections])


def wrap(names: list[str]) -> str:
    """Names in lines of at most 100 characters."""
    lines = [""]
    for name in [f"{name}," for name in names[:-1]] + names[-1:]:
        line = f"{lines[-1]} {name}".strip()
        if len(line) > len(RULE):
            lines.append(name)
        else:
            lines[-1] = line
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only compare the file")
    options = parser.parse_args()
    try:
        text = render(crates())
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 1
    if not options.check:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        print("packaging/LICENSES.txt is not up to date: run `make licenses`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
