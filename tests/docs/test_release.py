"""The release workflows and RELEASING.md name commands, stages and files that exist."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from harness import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = [*WORKFLOWS, ROOT / "RELEASING.md"]
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2027-01-02\n\n- two\n\n## [0.1.0] - 2026-12-01\n\n- one\n"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def stages() -> set[str]:
    return set(re.findall(r"^stage_([a-z-]+)\(", (ROOT / ".ci" / "run").read_text(), re.M))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_named_commands_exist(path) -> None:
    text = re.sub(r"^#.*", "", path.read_text(), flags=re.M)
    commands = re.findall(r"(?:run: |command: |`|\| )make ([a-z-]+)", text)
    assert set(commands) <= targets()
    assert set(re.findall(r"\.ci/run (?:--stage )?([a-z-]+)", text)) <= stages()
    files = re.findall(r"(?<![\w/])(packaging/[\w/.-]+\w)", text)
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_stages_of_pull_requests_exist() -> None:
    found = re.search(r"stage: \[(.*)\]", (ROOT / ".github/workflows/ci.yml").read_text())
    assert found and set(found[1].split(", ")) <= stages()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_few_rights(path) -> None:
    """The token may read only, unless a job asks for more."""
    text = path.read_text()
    assert "\npermissions:\n  contents: read\n\n" in text
    # Values of events are no part of a script.
    scripts = re.findall(r"run: (?:\|\n)?(.*(?:\n {10}.*)*)", text)
    assert not any("github.event" in script or "github.ref" in script for script in scripts)


def run_script(name: str, root, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    folder = root / "packaging"
    folder.mkdir()
    script = folder / name
    script.write_text((ROOT / "packaging" / name).read_text())
    command = ["bash", str(script), *arguments]
    return subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("tag", "version", "message"),
    [
        ("v0.2.0", "0.2.0", ""),
        ("", "0.2.0", ""),
        ("v0.2.1", "0.2.0", "the tag is v0.2.1, but Cargo.toml has version 0.2.0"),
        ("v0.3.0", "0.3.0", "CHANGELOG.md has no section"),
    ],
)
def test_tag_must_agree_with_the_version(tmp_path, tag: str, version: str, message: str) -> None:
    (tmp_path / "Cargo.toml").write_text(f'[package]\nname = "rustwsgi"\nversion = "{version}"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    done = run_script("check-release.sh", tmp_path, TAG=tag)
    assert (done.returncode == 0, message in done.stderr) == (not message, True)


def test_notes_are_the_section_of_the_version(tmp_path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    done = run_script("release-notes.sh", tmp_path, "v0.2.0")
    assert (done.returncode, done.stdout.strip()) == (0, "- two")


def test_notes_of_an_unknown_version_fail(tmp_path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    assert run_script("release-notes.sh", tmp_path, "v0.9.0").returncode == 1
