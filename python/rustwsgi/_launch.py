"""Starts the server from the command of a framework: ``manage.py rustwsgi``, ``flask rustwsgi`` and
``pserve``.

Such a command has imported parts of the application, which a reload could not load anew. So it
replaces itself by the ``rustwsgi`` command wherever the application can be named; otherwise the
server runs in this process, as with ``--preload``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from rustwsgi._settings import OCTAL

#: The variable that the server reads: `src/config/sources/integration.rs`.
VARIABLE = "RUSTWSGI_INTEGRATION"

#: Returns the application that this process serves.
_load: Callable[[], Any] | None = None


class Settings:
    """Options besides the command line."""

    def __init__(
        self,
        origin: str,
        settings: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        #: The place of the settings, for messages.
        self.origin = origin
        #: What the framework's configuration sets: it overrides configuration files.
        self.settings = settings or {}
        #: What the command sets: everything overrides it.
        self.defaults = defaults or {}

    def encode(self) -> str:
        """The value of the variable, in TOML."""
        lines = [f"origin = {_literal(self.origin)}"]
        for title, options in (("settings", self.settings), ("defaults", self.defaults)):
            lines.append(f"[{title}]")
            given = {name: value for name, value in options.items() if value is not None}
            lines += [f"{_literal(name)} = {_value(name, value)}" for name, value in given.items()]
        return "\n".join(lines)


def _value(name: str, value: Any) -> str:
    if name in OCTAL and type(value) is int:
        # The text of these options is octal, and 0o660 is the number 432.
        return _literal(f"{value:o}")
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return f"[{', '.join(_literal(f'{key}={item}') for key, item in value.items())}]"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(_literal(item) for item in value)}]"
    return _literal(value)


def _literal(value: Any) -> str:
    """A string in TOML's notation, which is that of JSON except for DEL."""
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def replace_process(arguments: Sequence[str], settings: Settings) -> NoReturn:
    """Become the ``rustwsgi`` command. Does not return."""
    import subprocess

    os.environ[VARIABLE] = settings.encode()
    extend_path()
    # `-X dev`, `-W error` and their like stay.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *flags, "-m", "rustwsgi", *arguments])


def extend_path() -> None:
    """Let the new interpreter find the modules that this one finds: a program may have added
    directories to `sys.path`."""
    installed = tuple(os.path.join(os.path.realpath(prefix), "") for prefix in _prefixes())
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    added = [
        path
        for path in map(os.path.abspath, sys.path)
        if os.path.isdir(path)
        and not os.path.join(os.path.realpath(path), "").startswith(installed)
        and path not in given
        and os.pathsep not in path
    ]
    if added:
        os.environ["PYTHONPATH"] = os.pathsep.join([*dict.fromkeys(added), *filter(None, given)])


def _prefixes() -> set[str]:
    import site
    import sysconfig

    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return {*(paths[name] for name in names), *site.getsitepackages(), site.getusersitepackages()}


def serve_here(load: Callable[[], Any], arguments: Sequence[str], settings: Settings) -> int:
    """Serve the application that ``load`` returns, with workers forked from this process. Returns
    the exit code."""
    global _load
    from rustwsgi import cli

    os.environ[VARIABLE] = settings.encode()
    _load = load
    return cli.main(["--preload", *arguments, "rustwsgi._launch:loaded()"])


def loaded() -> Any:
    """The application of :func:`serve_here`."""
    if _load is None:
        raise RuntimeError("this application exists in the process of serve_here() only")
    return _load()
