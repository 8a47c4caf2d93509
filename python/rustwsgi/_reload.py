"""``--reload``: knows the files that make up the application, and shows why it failed to load.

The server watches the files. This module finds them: imported modules, the files that a traceback
names, and the directories of templates.
"""

from __future__ import annotations

import glob
import hashlib
import html
import importlib.machinery
import os
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: A file, and its modification time in nanoseconds and size when it was read; None if unknown.
Source = tuple[str, "tuple[int, int] | None"]

#: Bytecode names the second in which its source was modified, and the source's size. A source that
#: was modified this recently may change again without a difference in either.
_BYTECODE_MARGIN = 2.0

_PATHS = sysconfig.get_paths()
_LIBRARIES = tuple(
    {os.path.join(_PATHS[name], "") for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def _is_installed(path: str) -> bool:
    """Whether a file or directory belongs to Python or to an installed package."""
    path = os.path.join(path, "")
    return path.startswith(_LIBRARIES) or "/site-packages/" in path or "/dist-packages/" in path


class Modules:
    """The source files of imported modules."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[int, int]] = {}
        self._reported: set[str] = set()
        self._modules_seen = 0

    def record_imports(self) -> None:
        """From now on, record the state in which each source file is read, and use no bytecode
        that may be older than it."""
        loader = importlib.machinery.SourceFileLoader
        path_stats = loader.path_stats

        def recorded_stats(self_: Any, path: str) -> dict[str, Any]:
            stats = dict(path_stats(self_, path))
            found = os.stat(path)
            self._read.setdefault(os.path.abspath(path), (found.st_mtime_ns, found.st_size))
            if time.time() - found.st_mtime < _BYTECODE_MARGIN:
                stats["mtime"] = 1
            return stats

        loader.path_stats = recorded_stats  # type: ignore[method-assign, assignment]

    def _files(self) -> Iterator[str]:
        for module in list(sys.modules.values()):
            try:
                path = getattr(module, "__file__", None)
            except Exception:  # a module's own __getattr__ may raise anything
                continue
            if isinstance(path, str) and path.endswith(".py"):
                yield os.path.abspath(path)

    def new(self) -> list[Source]:
        """The files that were not returned before."""
        found = dict.fromkeys(list(self._read))
        # A module that does not come from a source loader has its file in `__file__` only.
        if len(sys.modules) != self._modules_seen:
            self._modules_seen = len(sys.modules)
            found.update(dict.fromkeys(self._files()))
        new = [path for path in found if path not in self._reported]
        self._reported.update(new)
        return [(path, self._read.get(path)) for path in new]


# Templates


def _loader_directories(loader: Any) -> Iterator[str]:
    """The directories of a Jinja loader, and of those that it combines."""
    yield from getattr(loader, "searchpath", ())
    yield from filter(None, [getattr(loader, "_template_root", None)])
    combined = getattr(loader, "loaders", None) or getattr(loader, "mapping", None) or ()
    for other in combined.values() if isinstance(combined, dict) else combined:
        if not callable(other):
            yield from _loader_directories(other)


def _wrapped(app: Any) -> Iterator[Any]:
    """The application, and the objects that its middleware wraps."""
    seen: set[int] = set()
    waiting = [app]
    while waiting and len(seen) < 100:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        members = getattr(current, "__dict__", {})
        names = ("app", "wsgi_app", "application", "_app", "wrap_app", "__wrapped__")
        waiting += [members[name] for name in names if name in members]
        waiting += [getattr(current, "__self__", None), *members.get("mounts", {}).values()]


def _flask_directories(app: Any) -> Iterator[str]:
    flask = sys.modules["flask"]
    own = [app_ for app_ in _wrapped(app) if isinstance(app_, flask.Flask)]
    for app_ in own or _globals(flask.Flask):
        for scaffold in [app_, *app_.blueprints.values()]:
            yield from _loader_directories(scaffold.jinja_loader)


def _globals(kind: type) -> Iterator[Any]:
    """Objects of this type that modules outside the Python installation define."""
    for module in list(sys.modules.values()):
        members = getattr(module, "__dict__", {})
        path = members.get("__file__")
        if isinstance(path, str) and not _is_installed(path):
            # Not by isinstance(), which asks the object: a lazy one would be made for that.
            yield from (found for found in list(members.values()) if issubclass(type(found), kind))


def _jinja_directories(_app: Any) -> Iterator[str]:
    for environment in _globals(sys.modules["jinja2"].Environment):
        yield from _loader_directories(environment.loader)


def _django_directories(_app: Any) -> Iterator[str]:
    if sys.modules["django.conf"].settings.configured:
        for backend in sys.modules["django.template"].engines.all():
            yield from backend.template_dirs
            yield from _loader_directories(getattr(getattr(backend, "env", None), "loader", None))
            for loader in getattr(getattr(backend, "engine", None), "template_loaders", ()):
                yield from loader.get_dirs() if hasattr(loader, "get_dirs") else ()


_FINDERS: dict[str, Callable[[Any], Iterator[str]]] = {
    "flask": _flask_directories,
    "jinja2": _jinja_directories,
    "django.template": _django_directories,
}


def template_directories(app: Any) -> set[str]:
    """The directories of templates of the frameworks that are imported."""
    found: set[str] = set()
    for module, finder in _FINDERS.items():
        if module not in sys.modules:
            continue
        try:
            found.update(os.path.abspath(path) for path in finder(app))
        except Exception:  # a framework that is not set up, or one that has changed
            continue
    return {path for path in found if not _is_installed(path) and os.path.isdir(path)}


class Sources:
    """The files and directories that a worker's server watches."""

    def __init__(self) -> None:
        self._modules = Modules()
        self._modules.record_imports()
        self._app: Any = None
        self._templates: set[str] = set()

    def set_app(self, app: Any) -> None:
        self._app = app

    def new(self) -> tuple[list[Source], list[str]]:
        """The files and directories that were not returned before."""
        templates = template_directories(self._app) - self._templates
        self._templates |= templates
        return self._modules.new(), sorted(templates)


# The error page

#: The page asks for itself until the response is another one.
_MARK = "X-Rustwsgi-Error-Page"
_REFRESH = """<script>
(async () => {{
  for (;;) {{
    await new Promise((resolve) => setTimeout(resolve, 500));
    try {{
      const response = await fetch(location.href, {{ method: "HEAD", cache: "no-store" }});
      if (response.headers.get("{mark}") !== "{text}") break;
    }} catch {{}}
  }}
  location.reload();
}})();
</script>
<noscript><meta http-equiv="refresh" content="2"></noscript>"""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>rustwsgi --reload</title>
{refresh}<style>body{{font:1rem sans-serif;margin:2rem}} pre{{background:#eee;padding:1rem}}</style>
<h1>The application failed to load</h1><p>It is loaded again when a file changes.</p>
<pre>{text}</pre>"""


def error_application(
    traceback: str,
) -> tuple[Callable[..., list[bytes]], list[str], list[str]]:
    """Make an application that shows a traceback. Also returns the files that the traceback names,
    and patterns of files whose change may correct it."""
    digest = hashlib.sha256(traceback.encode("utf-8", "replace")).hexdigest()[:16]
    text = html.escape(traceback)
    refreshing = _REFRESH.format(mark=_MARK, text=digest)
    pages = [
        _PAGE.format(refresh=refresh, text=text).encode("utf-8", "replace")
        for refresh in ("", refreshing)
    ]

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        fields = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-store"),
            (_MARK, digest),
        ]
        start_response("500 Internal Server Error", fields)
        # Another method than GET may not be repeated.
        return [pages[environ["REQUEST_METHOD"] == "GET"]]

    files = [path for path in re.findall(r'File "([^"]+)"', traceback) if os.path.isfile(path)]
    return application, files, _module_patterns(files)


def _module_patterns(files: Iterable[str]) -> list[str]:
    """Patterns of the modules in and beside the application: one of them may be missing."""
    directories = {os.path.dirname(os.path.abspath(path)) for path in files}
    directories.update(os.path.abspath(path) for path in sys.path)
    own = [path for path in directories if not _is_installed(path)]
    return [
        os.path.join(glob.escape(path), pattern)
        for path in sorted(own)
        if os.path.isdir(path)
        for pattern in ("*.py", os.path.join("*", "__init__.py"))
    ]
