"""The release workflows, RELEASING.md and the image name commands, options and files that exist."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys

import pytest
import yaml

from harness import ROOT, run_cli

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


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_commit(path) -> None:
    """A tag of an action can be moved; the comment has the version, which dependabot reads."""
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used and all(re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v[\d.]+", each) for each in used), (
        used
    )


def test_only_a_pushed_tag_publishes() -> None:
    """A run by hand publishes nothing, also if it is started for a tag."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    publishing = {
        name for name, job in jobs.items() if "write" in job.get("permissions", {}).values()
    }
    assert publishing == {"publish", "push-image", "page"}
    assert {jobs[name].get("if") for name in publishing} == {"github.event_name == 'push'"}


IMAGE = ROOT / "packaging" / "docker"


def instruction(name: str) -> list[str]:
    (found,) = re.findall(rf"(?m)^{name} (\[.*\])$", (IMAGE / "Dockerfile").read_text())
    return json.loads(found)


@pytest.mark.second_door("no case")
def test_options_of_the_image_and_the_compose_file_are_accepted(door: str, tmp_path) -> None:
    (service,) = yaml.safe_load((IMAGE / "compose.yaml").read_text())["services"].values()
    build = service["build"]
    context = (IMAGE / build["context"]).resolve()
    assert context == ROOT and (context / build["dockerfile"]).samefile(IMAGE / "Dockerfile")
    program, *options = instruction("ENTRYPOINT")
    assert program == "rustwsgi"
    help_page = run_cli(door, *options, *instruction("CMD"), cwd=tmp_path)
    assert (help_page.returncode, help_page.stderr) == (0, ""), help_page
    loaded = run_cli(door, *options, *service["command"], "--check-config", cwd=tmp_path)
    assert loaded.returncode == 0, loaded
    printed = run_cli(door, *options, *service["command"], "--print-config", cwd=tmp_path).stdout
    (grace,) = re.findall(r"(?m)^graceful_timeout = (\d+)", printed) or ["30"]
    assert int(service["stop_grace_period"].removesuffix("s")) > int(grace)


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


def write_interpreter(path, name: str) -> None:
    """A program that calls itself Python `name`, as pythons.NAME prints it."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {name}\n")
    path.chmod(0o755)


def test_interpreter_behind_one_of_another_kind_is_found(tmp_path, monkeypatch) -> None:
    """The free-threaded build may be installed as python3.14 as well, and come first."""
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    pythons = importlib.import_module("pythons")
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("python3.14", "python3.14t"):
        write_interpreter(first / name, "3.14t")
    write_interpreter(second / "python3.14", "3.14")
    monkeypatch.setenv("PATH", f"{first}:{second}:/usr/bin:/bin")
    assert pythons.find("3.14t") == first / "python3.14t"
    assert pythons.find("3.14") == second / "python3.14"
    assert pythons.find("3.8") is None


def test_wheel_of_a_missing_interpreter_is_an_error() -> None:
    """Before anything is built, or the previous wheels are removed."""
    command = [sys.executable, "packaging/wheels.py", "3.9"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": "/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    assert done.stderr.startswith("There is no Python 3.9 on this machine. Install it"), done


LICENSES = ROOT / "packaging" / "LICENSES.txt"


def listed_crates() -> dict[str, str]:
    """The rows of the list: crates with their versions, and the expressions of their licences."""
    rows = LICENSES.read_text().partition("\n\n-----")[0].splitlines()
    return dict(re.findall(r"^([\w-]+ [\w.+-]+): (.+)$", "\n".join(rows), re.M))


def test_licences_are_those_of_the_locked_crates() -> None:
    """`make lint` compares all of the file, but needs cargo."""
    lock = (ROOT / "Cargo.lock").read_text()
    locked = {
        f"{name} {version}"
        for name, version in re.findall(r'name = "(.+)"\nversion = "(.+)"', lock)
    }
    listed = listed_crates()
    assert listed.keys() <= locked, "run `make licenses`"
    manifest = (ROOT / "Cargo.toml").read_text()
    (direct,) = re.findall(r"(?ms)^\[dependencies\]\n(.*?)^\[", manifest)
    names = set(re.findall(r"(?m)^([\w-]+) = ", direct))
    assert names <= {crate.split()[0] for crate in listed}, "run `make licenses`"


def test_each_crate_has_a_text() -> None:
    text = LICENSES.read_text()
    heads = re.findall(r"(?ms)^-{100}\n(.*?)\n-{100}$", text)
    holders = {name for head in heads for name in " ".join(head.split()).split(", ")}
    assert listed_crates().keys() <= holders
    for words in (
        "Permission is hereby granted, free of charge",
        "Apache License",
        "COMMON DEVELOPMENT AND DISTRIBUTION LICENSE",
        "UNICODE, INC. LICENSE AGREEMENT",
    ):
        assert words in text


def test_installed_wheel_has_the_licences() -> None:
    files = importlib.metadata.files("rustwsgi") or []
    (installed,) = [file for file in files if file.name == "LICENSES.txt"]
    assert installed.read_text() == LICENSES.read_text()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", {"MIT"}),
        ("Apache-2.0 OR MIT", {"MIT"}),
        ("Unlicense/MIT", {"MIT"}),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", {"MIT", "Unicode-3.0"}),
        ("ISC AND (Apache-2.0 OR ISC)", {"ISC"}),
        ("Apache-2.0 WITH LLVM-exception OR BSL-1.0", {"BSL-1.0"}),
        ("Apache-2.0 WITH LLVM-exception", {"Apache-2.0 WITH LLVM-exception"}),
        ("New-1.0 OR Apache-2.0", {"Apache-2.0"}),
    ],
)
def test_licence_is_chosen_from_an_expression(monkeypatch, expression: str, expected) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    assert importlib.import_module("licenses").chosen(expression) == expected


def test_texts_of_a_crate_are_found_or_missed(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    licenses = importlib.import_module("licenses")
    crate = licenses.Crate("a", "1.0.0", "MIT OR Apache-2.0", tmp_path)
    with pytest.raises(licenses.Failed, match=r"a 1\.0\.0 has no text of MIT"):
        crate.texts()
    (tmp_path / "LICENSE-APACHE").write_text(f"{licenses.KNOWN['Apache-2.0']}\n")
    mit = "Permission is hereby granted, free of charge,\nto any person obtaining a copy"
    (tmp_path / "LICENSE-MIT").write_text(f"\ufeff// {mit}  \n")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "NOTICE").write_text("(c) B\n")
    assert crate.texts() == [f"{mit}\n", "(c) B\n"]
    other = licenses.Crate("b", "2.0.0", "MIT", tmp_path)
    text = licenses.render([crate, other])
    assert text.count("to any person obtaining a copy") == 1 and "\na 1.0.0, b 2.0.0\n" in text
