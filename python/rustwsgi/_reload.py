"""For development: notices that a source file has changed, and shows why the code does not load.

Files are looked at once a second. That costs a stat each, needs no thread, and works on every file
system, also where a virtual machine or a container shares it.
"""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Watcher:
    """The files of all imported modules, and others that were named."""

    def __init__(self, others: Iterable[str | os.PathLike[str]]) -> None:
        self._others = [os.path.abspath(path) for path in others]
        self._seen: dict[str, int] = {}
        self.changed()

    def _files(self) -> Iterator[str]:
        for module in list(sys.modules.values()):
            try:
                path = getattr(module, "__file__", None)
            except Exception:  # its own __getattr__ may raise anything
                continue
            if isinstance(path, str) and path.endswith(".py"):
                yield path
        yield from self._others

    def changed(self) -> str | None:
        """A file that is not as it was when it was last looked at."""
        found = None
        for path in self._files():
            try:
                stamp = os.stat(path).st_mtime_ns
            except OSError:
                stamp = 0  # an editor may be replacing it
            if self._seen.setdefault(path, stamp) != stamp:
                self._seen[path] = stamp
                found = path
        return found


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>rustwsgi --reload</title>
<style>body{{font:1rem sans-serif;margin:2rem}} pre{{background:#eee;padding:1rem}}</style>
<h1>The application does not load</h1><p>It is loaded again when a file changes.</p><pre>{}</pre>"""


def broken(text: str) -> tuple[Callable[..., list[bytes]], list[str]]:
    """An application that shows `text`, and the files that it mentions."""
    page = PAGE.format(html.escape(text)).encode()
    files = [path for path in re.findall(r'File "([^"]+)"', text) if os.path.isfile(path)]

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        fields = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
        start_response("500 Internal Server Error", fields)
        return [page]

    return application, files
