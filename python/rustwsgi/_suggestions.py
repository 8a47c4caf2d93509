"""Suggests what to write when the application that the user has named cannot be found.

Only called after a failed import. Source files near the working directory are parsed, never
executed, and objects of the application are only looked at: to read an attribute of a lazy object
may run code, and raises an exception outside of a request. Whatever goes wrong here must not hide
the failure: the caller then does without advice.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import os
import shlex
import warnings
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType

#: Names of applications, the most usual one first.
APPLICATIONS = ("application", "app")
#: Functions that make an application, by the last part of their names.
CONSTRUCTORS = {"Flask", "Bottle", "get_wsgi_application", "make_wsgi_app", "default_app"}
FACTORIES = ("create_app", "make_app", "create_application", "build_app", "get_app")

#: The search is bounded: a user waits for the message.
MAX_DIRECTORIES = 200
MAX_DEPTH = 2
MAX_FILES = 40
MAX_ENTRIES = 2000
MAX_FILE_BYTES = 256 * 1024
SKIPPED = {"node_modules", "site-packages", "tests", "test", "docs", "build", "dist", "migrations"}

#: The file that makes a directory a virtual environment.
VENV_MARK = "pyvenv.cfg"

#: Commands of other programs.
VERBS = {"run", "serve", "start", "runserver", "dev", "shell"}


def missing_module(module: str, attr: str | None) -> str:
    """Advise a user whose module does not exist. ``attr`` is what stands behind the colon."""
    found = _elsewhere(module, attr) or _similar(module, attr)
    other = _any_application() if found is None and "." not in module else None
    if found is None and module in VERBS and attr is None:
        name = other or "hello:app"
        return f"{module!r} is no command of rustwsgi; name the application alone: rustwsgi {name}"
    if other is not None:
        found = f"did you mean {other}?"
    return found or (
        "run rustwsgi in the directory that has it, or name that directory with --chdir or "
        "--pythonpath"
    )


def missing_import(name: str, importer: str | None, spec: str) -> str | None:
    """Advise a user whose application ``spec`` imports a module that does not exist.

    ``importer`` is the file with the import.
    """
    if importer is None or not os.path.isfile(importer):
        return None
    directory = os.path.dirname(os.path.abspath(importer))
    if _module_file(directory, name.partition(".")[0]) is None or directory == os.getcwd():
        return None
    module, colon, attr = spec.partition(":")
    own = os.path.splitext(os.path.basename(importer))[0]
    option = f"--pythonpath {_relative(directory)} {spec}"
    if module.rpartition(".")[2] == own:
        option = f"--chdir {_relative(directory)} {own}{colon}{attr}"
    return f"which is in {_relative(directory)}, beside {own}.py: write {option}"


def missing_attribute(module: ModuleType, path: str | None) -> str | None:
    """Advise a user whose module does not have the attribute ``path``, or neither usual name."""
    name = module.__name__
    candidates = list(_applications_in(module))
    if path is not None and "." not in path:
        plain = {candidate.removesuffix("()"): candidate for candidate in candidates}
        near = difflib.get_close_matches(path, plain, 1)
        public = [key for key, value in _public(module) if callable(value)]
        near = [plain[key] for key in near] or difflib.get_close_matches(path, public, 1, 0.75)
        candidates = near or candidates
    return f"did you mean {name}:{candidates[0]}?" if candidates else None


def _applications_in(module: ModuleType) -> Iterator[str]:
    """The names in an imported module that may be applications, or factories with ``()``."""
    values = vars(module)
    yield from (name for name in APPLICATIONS if callable(values.get(name)))
    for name, value in _public(module):
        # isinstance() would ask a lazy object for its __class__.
        if name in APPLICATIONS or issubclass(type(value), type):
            continue
        if callable(getattr(type(value), "wsgi_app", None)) or _takes_environ(value):
            yield name
    for name in FACTORIES:
        if callable(values.get(name)):
            yield f"{name}()"


def _public(module: ModuleType) -> list[tuple[str, object]]:
    return [(name, value) for name, value in list(vars(module).items()) if name[:1] != "_"]


def _takes_environ(value: object) -> bool:
    if type(value) is not FunctionType:
        return False
    return value.__code__.co_varnames[:2] == ("environ", "start_response")


def _elsewhere(module: str, attr: str | None) -> str | None:
    """The module exists, but in a directory that is not searched."""
    name = _with_attribute(module, attr)
    for directory in _directories():
        if (path := _module_file(directory, module)) is None:
            continue
        if directory != "." and os.path.isfile(os.path.join(directory, "__init__.py")):
            package = os.path.relpath(directory).replace(os.sep, ".")
            return f"did you mean {_with_attribute(f'{package}.{module}', attr, path)}?"
        name = _with_attribute(module, attr, path)
        return f"it is in {_relative(directory)}: write --chdir {_relative(directory)} {name}"
    if _module_file("..", module) is not None:
        return f"it is in the directory above: write --chdir .. {name}"
    return None


def _similar(module: str, attr: str | None) -> str | None:
    """A module of the working directory has a similar name."""
    parent, _, last = module.rpartition(".")
    directory = parent.replace(".", os.sep) or "."
    known = dict(_modules(directory))
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(last.lower(), lower, 1, 0.7)
    if not near:
        return None
    found = lower[near[0]]
    name = f"{parent}.{found}" if parent else found
    return f"did you mean {_with_attribute(name, attr, known[found])}?"


def _any_application() -> str | None:
    """An application in a file of the working directory, if there is exactly one such file."""
    names = [(name, defined(path)) for name, path in _modules(".")]
    names = [(name, attributes) for name, attributes in names if attributes]
    return f"{names[0][0]}:{names[0][1][0]}" if len(names) == 1 else None


def _with_attribute(module: str, attr: str | None, path: str | None = None) -> str:
    """``module:attr``, with the attribute that the file ``path`` has, if it is another one."""
    attributes = defined(path) if path is not None else []
    if attributes and (attr is None or attr.partition("(")[0] not in _names(attributes)):
        attr = attributes[0]
    return f"{module}:{attr}" if attr else module


def _names(attributes: Iterable[str]) -> set[str]:
    return {attribute.removesuffix("()") for attribute in attributes}


def defined(path: str) -> list[str]:
    """The applications that a source file seems to define, and factories with ``()``."""
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            return []
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(file.read()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = list(_defined_in(body))
    usual = [name for name in APPLICATIONS if name in found]
    factories = [f"{name}()" for name in FACTORIES if name in found]
    return usual + [name for name in found if name not in (*APPLICATIONS, *FACTORIES)] + factories


def _defined_in(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in APPLICATIONS or _constructs(node.value):
                yield name
        elif isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in node.args.args]
            is_application = arguments == ["environ", "start_response"]
            if is_application or node.name in (*APPLICATIONS, *FACTORIES):
                yield node.name


def _constructs(value: ast.expr) -> bool:
    if not isinstance(value, ast.Call):
        return False
    called = value.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in CONSTRUCTORS


def _modules(directory: str) -> Iterator[tuple[str, str]]:
    """The modules and packages in a directory, with their files."""
    try:
        names = [entry.name for entry in _entries(directory)]
    except OSError:
        return
    count = 0
    for name in names[: 8 * MAX_FILES]:
        stem, extension = os.path.splitext(name)
        path = os.path.join(directory, name)
        if not extension:
            path = os.path.join(path, "__init__.py")
        if stem.isidentifier() and extension in ("", ".py") and os.path.isfile(path):
            yield stem, path
            count += 1
            if count == MAX_FILES:
                return


def _entries(directory: str) -> list[os.DirEntry[str]]:
    """The first entries of a directory, sorted."""
    with os.scandir(directory) as entries:
        first = itertools.islice(entries, MAX_ENTRIES)
        return sorted(first, key=lambda entry: entry.name)


def _module_file(directory: str, module: str) -> str | None:
    base = os.path.join(directory, *module.split("."))
    # Python prefers a package to a module of the same name.
    for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
        if os.path.isfile(path):
            return path
    return None


def _directories() -> Iterator[str]:
    """The directories below the working directory, those near it first."""
    level = ["."]
    count = 0
    for _ in range(MAX_DEPTH):
        below = []
        for parent in level:
            try:
                entries = _entries(parent)
            except OSError:
                continue
            for entry in entries:
                if not _is_searched(entry):
                    continue
                yield entry.path
                below.append(entry.path)
                count += 1
                if count == MAX_DIRECTORIES:
                    return
        level = below


def _is_searched(entry: os.DirEntry[str]) -> bool:
    """Whether this is a directory that may have source files of the application."""
    if entry.name[0] in "._" or entry.name in SKIPPED or not entry.is_dir():
        return False
    # The name is part of a command for the terminal.
    if not entry.name.isprintable():
        return False
    return not os.path.isfile(os.path.join(entry.path, VENV_MARK))


def _relative(directory: str) -> str:
    """The directory, as it is written on a command line."""
    return shlex.quote(os.path.relpath(directory))
