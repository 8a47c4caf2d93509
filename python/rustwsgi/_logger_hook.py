"""Sets up the loggers of :mod:`rustwsgi._loggers` as soon as the application imports ``logging``.

``logging`` and the modules that it imports take about half of a worker's time to start, and a MiB
of its memory. An application that does not import it does without.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: The ``--log-level`` to set up the loggers with, until they are.
_pending: str | None = None


def install(level: str, has_access_log: bool) -> None:
    """Call :func:`rustwsgi._loggers.install` now if ``logging`` is imported, or if there is an
    access log, which needs the loggers; else once it is imported."""
    global _pending
    if has_access_log or "logging" in sys.modules:
        _pending = None
        _install_now(level, has_access_log)
        return
    _pending = level
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def _install_now(level: str, has_access_log: bool) -> None:
    from rustwsgi import _loggers

    _loggers.install(level, has_access_log)


class _Finder:
    """Lets a :class:`_Loader` load ``logging``. It stays in ``sys.meta_path``: another thread,
    which goes through that list to import a module, could miss a finder if this one was removed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "logging" or _pending is None:
            return None
        for finder in sys.meta_path:
            # As the import system: a finder of the application may be older than `find_spec`.
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """Loads a module with another loader, and sets up the loggers."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        global _pending
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        level, _pending = _pending, None
        if level is not None:
            _install_now(level, False)


_FINDER = _Finder()
