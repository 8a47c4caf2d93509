"""Takes pages from outside docs/ into the site, and adapts the links between them.

In the repository, links are relative paths, so that they work where the files are read. On the site
all pages are in one folder, and source files are not part of it: a link to one becomes its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
#: Pages outside docs/ by their paths in the repository, with their paths on the site.
FURTHER = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "RELEASING.md": "RELEASING.md",
    "SECURITY.md": "SECURITY.md",
    "tests/README.md": "tests.md",
    "benches/README.md": "benches.md",
}
SOURCES = {on_site: path for path, on_site in FURTHER.items()}
#: `[text](target)` and `![text](target)`, with a target that is no URL and no mere fragment.
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
#: Code, where brackets are no links.
CODE = re.compile(r"(?ms)^```.*?^```|`[^`\n]+`")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions, one page each, in the order of their numbers."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    pages = [f"decisions/{path.name}" for path in decisions]
    for group in config.nav[-1].values():
        for entry in group:
            if isinstance(entry, dict) and "Decisions" in entry:
                entry["Decisions"] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for path, on_site in FURTHER.items():
        files.append(File.generated(config, on_site, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt the links of a page."""
    source = SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    # The heading with a logo or badges has HTML, which stays.
    code = [(match.start(), match.end()) for match in CODE.finditer(markdown)]

    def adapted(match: re.Match[str]) -> str:
        if any(start <= match.start() < end for start, end in code):
            return match[0]
        image, text, target, fragment = match[1], match[2], match[3], match[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        found = site_path(path, files)
        if found is None:
            return text
        here = posixpath.dirname(page.file.src_uri)
        return f"{image}[{text}]({posixpath.relpath(found, here or '.')}{fragment})"

    return LINK.sub(adapted, markdown)


def site_path(path: str, files: Files) -> str | None:
    """The path on the site of a file of the repository; None if it is not on it."""
    if not (ROOT / path).exists():
        raise FileNotFoundError(f"a link to {path}, which does not exist")
    if path in FURTHER:
        return FURTHER[path]
    inside = path.removeprefix("docs/")
    return inside if path.startswith("docs/") and files.get_file_from_path(inside) else None
