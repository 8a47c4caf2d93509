"""Keeps a master that is root from importing what the workers' user can change.

With ``--user`` the directory of the application often belongs to that user. A module that code in a
worker writes there must not run in the master, whatever the master imports: for the server itself,
for a gunicorn configuration at a reload, or in one of its hooks.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# What the master and the hooks' objects import late.
PREPARED = (
    "grp",
    "importlib.util",
    "pwd",
    "rustwsgi._gunicorn",
    "signal",
    "threading",
    "traceback",
)


class ImportGuard:
    """While it is installed: leaves out directories of ``sys.path`` that the user can change, and
    refuses a module that is found in such a directory all the same."""

    def __init__(self, can_change: Callable[[str], bool]) -> None:
        self._can_change = can_change
        self._path: list[str] = []
        self._left_out: list[str] = []

    def install(self) -> None:
        """Guard all imports from now on."""
        self._path = list(sys.path)
        self._strip()
        sys.meta_path.insert(0, self)
        for name in PREPARED:
            try:
                importlib.import_module(name)
            except ImportError:
                # The user can change the interpreter itself, which has just been started as root.
                self.remove()
                importlib.import_module(name)
                sys.meta_path.insert(0, self)
                self._strip()

    def remove(self) -> None:
        """Allow all imports again."""
        sys.meta_path.remove(self)
        added = [entry for entry in self._left_out + sys.path if entry not in self._path]
        sys.path[:] = added + self._path

    def _strip(self) -> None:
        """Leave out of ``sys.path`` what the user can change."""
        unsafe = [entry for entry in sys.path if not self._may_use(entry)]
        self._left_out += [entry for entry in unsafe if entry not in self._left_out]
        sys.path[:] = [entry for entry in sys.path if entry not in unsafe]

    def _may_use(self, place: str) -> bool:
        return not self._can_change(os.path.abspath(place))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as without the guard; raise an ImportError if its file is unsafe."""
        # `module_of` and configurations add directories.
        self._strip()
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                break
        else:
            if path is None and (left_out := PathFinder.find_spec(name, self._left_out)):
                raise refused(name, next(places(left_out), None))
            return None
        for place in places(spec):
            if not self._may_use(place):
                raise refused(name, place)
        return spec


def refused(name: str, place: str | None) -> ModuleNotFoundError:
    """The error for a module that must not be imported: as if there were none, as a program may
    do without it."""
    return ModuleNotFoundError(
        f"the master, which is root, does not import {name} from {place}: the workers' user"
        " (--user) can change it",
        name=name,
    )


def places(spec: ModuleSpec) -> Iterator[str]:
    """The files and directories that a module is read from."""
    if spec.has_location and spec.origin:
        yield spec.origin
        if spec.cached:
            yield spec.cached
    yield from spec.submodule_search_locations or []
