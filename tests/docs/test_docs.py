"""Everything that the documentation names exists: tests, files, functions, options, links."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from harness import ROOT, TESTS, run_cli

RULES = ["docs/http-rules.md", "docs/wsgi-rules.md"]
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
)
#: `src/http1/scan.rs` or `src/http1/scan.rs::advance`
SOURCE = re.compile(r"`((?:src|python|tests|fuzz|flask_application)/[\w./-]+)(?:::(\w+))?`")
#: `http/test_limits.py::TestOptions::test_fields`
TEST = re.compile(r"`(\w+/test_\w+\.py)::(?:(\w+)::)?(\w+)`")
#: `src/http1/tests/framing.rs::content_length_delimits_the_body`
RUST_TEST = re.compile(r"`(src/[\w/]+\.rs)::(\w+)`")
ESCAPED_BAR = r"(?<!\\)\|"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(text: str, head: str) -> list[list[str]]:
    """The cells of every row of the tables whose first line begins with `head`."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(head):
            inside = True
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in re.split(ESCAPED_BAR, line)[1:-1]])
    return found


@cache
def functions_of(file: Path) -> set[tuple[str | None, str]]:
    """The test functions of a file, each with its class."""
    found: set[tuple[str | None, str]] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = node.name if isinstance(node, ast.ClassDef) else None
        found |= {(owner, item.name) for item in inner if isinstance(item, ast.FunctionDef)}
    return found


def assert_tests_exist(row: str, cell: str) -> None:
    """The cell names black-box tests, Rust tests or both, and each of them exists."""
    python, rust = TEST.findall(cell), RUST_TEST.findall(cell)
    assert python or rust, f"{row}: names no test"
    assert len(python) + len(rust) == cell.count("`") // 2, f"{row}: {cell}"
    for file, owner, function in python:
        assert (TESTS / file).is_file(), f"{row}: there is no tests/{file}"
        assert function.startswith("test_"), f"{row}: {function} is not a test"
        assert (owner or None, function) in functions_of(TESTS / file), f"{row}: {file}::{function}"
    for file, function in rust:
        assert (ROOT / file).is_file(), f"{row}: there is no {file}"
        definition = rf"#\[test\]\n(?:\s*#\[.*\n)*\s*fn {function}\(\)"
        assert re.search(definition, read(file)), f"{row}: {file} has no test {function}"


@pytest.mark.parametrize("page", PAGES)
def test_no_conflict_is_left_by_a_merge(page: str) -> None:
    assert not re.search(r"^(<{7}|={7}|>{7})( |$)", read(page), re.MULTILINE)


@pytest.mark.parametrize("page", RULES)
def test_every_rule_names_tests_that_exist(page: str) -> None:
    table = rows(read(page), "| Rule |")
    assert len(table) > 40, "the tables are no longer found"
    for rule, _, _, tests in table:
        assert_tests_exist(rule, tests)


def test_every_past_bug_names_tests_that_exist() -> None:
    table = rows(read("docs/past-bugs.md"), "| Report |")
    assert len(table) > 30, "the tables are no longer found"
    for report, *_, tests in table:
        assert "](https://" in report, f"no source: {report}"
        assert_tests_exist(report, tests)


@pytest.mark.parametrize("page", RULES)
def test_every_rule_names_its_code(page: str) -> None:
    for rule, _, code, _ in rows(read(page), "| Rule |"):
        named = SOURCE.findall(code)
        assert named and len(named) == code.count("`") // 2, f"{rule}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_named_files_and_functions_exist(page: str) -> None:
    for file, name in SOURCE.findall(read(page)):
        assert (ROOT / file).exists(), f"there is no {file}"
        if name:
            definition = rf"\b(?:fn|const|struct|enum|trait|def|class) {name}\b|^ +{name},$"
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(definition, source, re.MULTILINE), f"{file} does not define {name}"


def test_every_option_of_the_help_is_described(door: str) -> None:
    options = set(re.findall(r"(?m)^ +(?:-\w, )?(--[\w-]+)", run_cli(door, "--help").stdout))
    assert len(options) > 20, "the options are no longer found"
    described = set(re.findall(r"`(--[\w-]+)", read("docs/configuration.md")))
    assert options <= described, options - described


def test_every_counter_has_a_bound_and_a_test() -> None:
    """The table of dangers in docs/limits.md has every counter, and tests that exist."""
    table = rows(read("docs/limits.md"), "| Danger |")
    counted = re.findall(r'\(Count::\w+, "(\w+)"\)', read("src/observe/counters.rs"))
    assert sorted(counter.strip("`") for *_, counter, _ in table) == sorted(counted)
    for danger, *_, tests in table:
        assert_tests_exist(danger, tests)


def test_every_event_is_listed() -> None:
    """docs/events.md has the ids that the code logs, and no others."""
    in_rust = r'(?:target: |_EVENT: &str = )"([a-z]+\.[a-z_]+)"'
    in_python = r'(?:event=|, )"([a-z]+\.[a-z_]+)"'
    logged: set[str] = set()
    for path in (ROOT / "src").rglob("*.rs"):
        code = re.sub(r"(?m)^ *//.*$", "", path.read_text(encoding="utf-8"))
        logged.update(re.findall(in_rust, code))
    for path in (ROOT / "python").rglob("*.py"):
        logged.update(re.findall(in_python, path.read_text(encoding="utf-8")))
    listed = [row[0].strip("`") for row in rows(read("docs/events.md"), "| Event |")]
    assert sorted(listed) == sorted(logged)


def test_every_part_has_its_place_in_the_layout() -> None:
    """CONTRIBUTING.md and docs/architecture.md name every directory and layer."""
    layout = "".join(row[0] for row in rows(read("CONTRIBUTING.md"), "| Directory |"))
    ours = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] not in "._"]
    parts = [
        path for path in (ROOT / "src").iterdir() if path.suffix != ".rs" or path.stem == "sync"
    ]
    # The others are written by `make`.
    parts += [path for path in ours if not path.name.startswith(("dist", "target", "src"))]
    for part in parts:
        assert f"`{part.relative_to(ROOT)}/" in layout or f"`{part.relative_to(ROOT)}`" in layout, (
            part
        )
    (layers,) = re.findall(r"(?ms)^L3 .*?^```", read("docs/architecture.md"))
    modules = re.findall(r"(?m)^(?:pub )?mod (\w+);", read("src/lib.rs"))
    assert len(modules) > 5, "the modules are no longer found"
    for module in modules:
        assert re.search(rf"\b{module}\b", layers), f"no layer has {module}"


@pytest.mark.parametrize("page", ["README.md", "docs/deployment.md"])
def test_figures_equal_the_benchmarks(page: str) -> None:
    figures = re.findall(r"\b\d{1,3}(?:,\d{3})+\b", read(page))
    assert figures, "they are no longer found"
    measured = set(re.findall(r"[\d,.]+", read("docs/benchmarks.md")))
    assert set(figures) <= measured, set(figures) - measured


def test_versions_in_the_readme() -> None:
    needed = re.search(r'rust-version = "([\d.]+)"', read("Cargo.toml"))
    python = re.search(r'requires-python = ">=([\d.]+)"', read("pyproject.toml"))
    assert needed and python
    assert f"needs Rust ({needed[1]} or later)" in read("README.md")
    assert f"Python {python[1]} or later" in read("README.md")


#: Lines of a screen. A line of the source that is longer than the screen counts once.
SCREEN = 70


def test_readme_is_one_screen_with_a_chart() -> None:
    text = read("README.md")
    assert len(text.splitlines()) <= SCREEN
    assert "](docs/benchmarks-summary.svg)" in text
    first, second = re.findall(r"(?ms)^```sh\n(.*?)^```", text)[:2]
    assert re.findall(r"(?m)^make \w+", first) == ["make demo", "make test"]
    assert second.startswith("python3 -m venv .venv && . .venv/bin/activate")


def test_readme_links_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"\]\(docs/([\w-]+\.md)", read("README.md")))


def anchors(text: str) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ +(.+)$", re.sub(r"(?ms)^```.*?^```", "", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page: str) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", read(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if fragment:
            assert fragment in anchors(file.read_text(encoding="utf-8")), f"{page}: {target}"
