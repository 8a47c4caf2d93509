"""--generate: completions that shells accept, and a manual page with every option."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from harness import ROOT, TIMEOUT, run_cli

#: What is generated, and where the wheel puts it.
FILES = {
    "completions-bash": "share/bash-completion/completions/rustwsgi",
    "completions-zsh": "share/zsh/site-functions/_rustwsgi",
    "completions-fish": "share/fish/vendor_completions.d/rustwsgi.fish",
    "man": "share/man/man1/rustwsgi.1",
}


def generate(door: str, what: str) -> str:
    done = run_cli(door, "--generate", what)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def run(*command: str, text: str = "") -> str:
    """The output of a program that must succeed."""
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def options(door: str) -> set[str]:
    found = set(re.findall(r"(?m)^ +(?:-\w, )?(--[\w-]+)", run_cli(door, "--help").stdout))
    assert len(found) > 40, "the options are no longer found"
    return found


@pytest.mark.parametrize("what", FILES)
def test_wheel_contains_the_generated_files(door: str, what: str) -> None:
    text = generate(door, what)
    assert (ROOT / "packaging" / "wheel" / "data" / FILES[what]).read_text() == text
    if door == "wheel":
        assert (Path(sysconfig.get_path("data")) / FILES[what]).read_text() == text


@pytest.mark.parametrize("what", ["completions-bash", "completions-zsh", "man"])
def test_every_option_is_completed(door: str, what: str) -> None:
    text = generate(door, what).replace("\\", "")
    assert not {option for option in options(door) if option not in text}


def test_every_option_is_completed_in_fish(door: str) -> None:
    long = set(re.findall(r"-l ([\w-]+)", generate(door, "completions-fish")))
    assert {option[2:] for option in options(door)} <= long


def complete(door: str, typed: str) -> list[str]:
    """The completions of bash for the last word."""
    script = generate(door, "completions-bash")
    run("bash", "-n", text=script)
    # `complete -p` prints the function that bash would call, with the words in its variables.
    script += """
spec=$(complete -p rustwsgi); [[ $spec =~ -F\\ ([^ ]+) ]]
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"${BASH_REMATCH[1]}" rustwsgi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
    return run("bash", "-c", script, "bash", *typed.split(" ")).split()


def test_bash_completes_options_and_values(door: str) -> None:
    offered = complete(door, "rustwsgi --wor")
    assert set(offered) == {"--workers", "--worker-class", "--worker-connections"}
    assert complete(door, "rustwsgi hello:app --reload-strategy r") == ["rolling"]
    assert "--dirty-threads" not in complete(door, "rustwsgi --")


@pytest.mark.parametrize(
    ("shell", "what"), [("zsh", "completions-zsh"), ("fish", "completions-fish")]
)
def test_completion_is_valid_in_the_other_shells(door: str, shell: str, what: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    run(shell, "-n", text=generate(door, what))


def test_manual_page_has_every_section(door: str, tmp_path: Path) -> None:
    text = generate(door, "man")
    for section in ("NAME", "SYNOPSIS", "LOGS", "SIGNALS", "FILES", "ENVIRONMENT", '"EXIT STATUS"'):
        assert f"\n.SH {section}\n" in text, section
    if shutil.which("groff"):
        shown = run("groff", "-man", "-Tascii", "-ww", text=text)
        assert "--keep-alive" in re.sub(r".\x08|\x1b\[[0-9;]*m", "", shown)


@pytest.mark.parametrize("given", [["--generate"], ["--generate", "completions-tcsh"]])
def test_unknown_kind_of_output_is_an_error(door: str, given: list[str]) -> None:
    done = run_cli(door, *given)
    assert done.returncode == 2 and "completions-bash" in done.stderr, done


def test_generate_is_not_a_setting(door: str, tmp_path: Path) -> None:
    (tmp_path / "rustwsgi.toml").write_text("generate = 'man'\n")
    done = run_cli(door, "a:b", cwd=tmp_path)
    assert done.returncode == 2 and "unknown option 'generate'" in done.stderr, done
