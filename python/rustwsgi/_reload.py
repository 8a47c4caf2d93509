"""``--reload``: watches source files, and serves a page if the application fails to load.

The files are polled once a second. That costs one ``stat`` for each file, needs no thread, and
works on every file system, including those that a container or a virtual machine shares.
"""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Watcher:
    """Watches the files of all imported modules, and additional files."""

    def __init__(self, extra_files: Iterable[str | os.PathLike[str]]) -> None:
        self._extra_files = [os.path.abspath(path) for path in extra_files]
        #: The last modification time of each file, in nanoseconds; 0 while it does not exist.
        self._mtimes: dict[str, int] = {}
        self.changed()

    def _files(self) -> Iterator[str]:
        for module in list(sys.modules.values()):
            try:
                path = getattr(module, "__file__", None)
            except Exception:  # a module's own __getattr__ may raise anything
                continue
            if isinstance(path, str) and path.endswith(".py"):
                yield path
        yield from self._extra_files

    def changed(self) -> str | None:
        """Return a file that has changed since the last call, or None."""
        changed = None
        for path in self._files():
            try:
                mtime = os.stat(path).st_mtime_ns
            except OSError:
                mtime = 0  # an editor may be replacing it
            if self._mtimes.setdefault(path, mtime) != mtime:
                self._mtimes[path] = mtime
                changed = path
        return changed


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>rustwsgi --reload</title>
<style>body{{font:1rem sans-serif;margin:2rem}} pre{{background:#eee;padding:1rem}}</style>
<h1>The application failed to load</h1><p>It is loaded again when a file changes.</p>
<pre>{}</pre>"""


def error_application(traceback: str) -> tuple[Callable[..., list[bytes]], list[str]]:
    """Make an application that shows a traceback, and list the files that the traceback names."""
    page = PAGE.format(html.escape(traceback)).encode()
    files = [path for path in re.findall(r'File "([^"]+)"', traceback) if os.path.isfile(path)]

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        fields = [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")]
        start_response("500 Internal Server Error", fields)
        return [page]

    return application, files
