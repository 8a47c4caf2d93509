"""The server accepts what the documentation shows: command lines, configuration files, options.

They are parsed (`--print-config`), not run: applications, users and directories are the reader's.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from harness import ROOT, run_cli

PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
)
#: Those that speak of this server's options only.
OWN = ["README.md", "SECURITY.md", "docs/operations.md", "docs/limits.md", "docs/deployment.md"]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", read(page))


def prose(page: str) -> str:
    return re.sub(r"(?ms)^```.*?^```", "", read(page))


def command_lines(page: str) -> list[list[str]]:
    """The arguments of each `rustwsgi` in shells, units, images, pods, and within sentences."""
    shell = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    typed = [line for line in shell if line.startswith("rustwsgi ")]
    # But not what only names an option that needs a value.
    typed += re.findall(r"`(rustwsgi (?!--generate`)[^`]+)`", prose(page))
    for unit in blocks(page, "ini"):
        typed += re.findall(r"(?m)^ExecStart=\S*/(rustwsgi .+)$", unit)
    found = [shlex.split(line.split(" > ")[0], comments=True) for line in typed]
    for image in blocks(page, "dockerfile"):
        found += [json.loads(command) for command in re.findall(r"(?m)^CMD (\[.+\])$", image)]
    for pod in blocks(page, "yaml"):
        for command in re.findall(r"(?m)^ +args: \[(.+)\]$", pod):
            found.append([word.strip('"') for word in command.split(", ")])
    return found


@pytest.mark.parametrize("page", PAGES)
def test_command_lines(door: str, page: str) -> None:
    for program, *arguments in command_lines(page):
        assert program == "rustwsgi"
        done = run_cli(door, *arguments, "--print-config")
        assert done.returncode == 0, (page, arguments, done.stderr)
        assert "WARNING" not in done.stderr, (page, arguments, done.stderr)


def test_command_lines_are_found() -> None:
    assert len(command_lines("README.md")) >= 4
    # The unit, the image, the pod, and what completes shells.
    assert len(command_lines("docs/deployment.md")) >= 7


def test_configuration_files(door: str, tmp_path: Path) -> None:
    files = [text for page in PAGES for text in blocks(page, "toml") if "# rustwsgi.toml" in text]
    assert len(files) >= 2, "they are no longer found"
    for text in files:
        (tmp_path / "rustwsgi.toml").write_text(text)
        done = run_cli(door, "--print-config", cwd=tmp_path)
        assert done.returncode == 0 and "WARNING" not in done.stderr, (text, done.stderr)


@cache
def options_of_the_page() -> set[str]:
    return set(re.findall(r"`(--[\w-]+)", read("docs/configuration.md")))


@pytest.mark.parametrize("page", OWN)
def test_options_in_sentences(page: str) -> None:
    named = re.findall(r"`(?:-\w`, `)?(--[\w-]+)(?: [^`]+)?`", prose(page))
    assert named
    meant = {"--help", "--version", "--print-config", "--check-config", "--generate"}
    unknown = set(named) - options_of_the_page() - meant
    assert not unknown, f"{page}: {unknown}"
