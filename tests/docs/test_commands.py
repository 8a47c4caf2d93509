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
OWN = ["SECURITY.md"]
OWN += [f"docs/{page}.md" for page in ["operations", "limits", "deployment", "proxies"]]


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


#: The first arguments that are no options of the server.
COMMANDS = ["convert", "init"]


def check_command(door: str, arguments: list[str]) -> None:
    """A command that needs a file of the reader is not run."""
    is_named = len(arguments) > 1 and arguments[1] != "KIND"
    if not is_named or (arguments[0] == "convert" and "--" not in arguments):
        return
    if arguments[0] == "init":
        arguments = [*arguments[:1], *arguments[1].split("|")[:1], *arguments[2:]]
        arguments += [] if ":" in arguments[-1] else ["hello:app"]
    done = run_cli(door, *arguments)
    assert done.returncode == 0, (arguments, done)


@pytest.mark.parametrize("page", PAGES)
def test_command_lines(door: str, page: str) -> None:
    for program, *arguments in command_lines(page):
        assert program == "rustwsgi"
        if arguments[:1] == ["top"]:
            # It needs a terminal, and a server.
            continue
        if arguments[:1] == ["ctl"]:
            check_ctl(door, page, arguments)
            continue
        if arguments and arguments[0] in COMMANDS:
            check_command(door, arguments)
            continue
        done = run_cli(door, *arguments, "--print-config")
        assert done.returncode == 0, (page, arguments, done.stderr)
        assert "WARNING" not in done.stderr, (page, arguments, done.stderr)


def check_ctl(door: str, page: str, arguments: list[str]) -> None:
    """A command for a running server, of which there is none. Its name alone is no command line."""
    if len(arguments) > 1:
        done = run_cli(door, *arguments, env={"RUSTWSGI_CONTROL_SOCKET": "/nonexistent"})
        assert done.returncode == 1 and "cannot connect to" in done.stderr, (page, done)


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
    meant = {"--help", "--version", "--print-config", "--check-config", "--generate", "--socket"}
    unknown = set(named) - options_of_the_page() - meant
    assert not unknown, f"{page}: {unknown}"
