"""Finds the application of the project in a directory, for ``rustwsgi`` without arguments.

Only files with well-known names are looked at: Django's ``manage.py`` and the settings it names,
``wsgi.py``, ``app.py`` and their like, as ``flask run`` does, and ``FLASK_APP``. They are parsed,
never executed: the server imports the application later, in a worker.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rustwsgi import _suggestions
from rustwsgi._suggestions import APPLICATIONS, CONSTRUCTORS, MAX_FILE_BYTES, defined

#: The modules that may have the application, the first one that has it wins: those of flask, then
#: those of platforms that serve an application by the name of its file.
MODULES = ("wsgi", "app", "application", "main")
#: A module of any program may have this name, so its `app` counts only if it is made by one of
#: `CONSTRUCTORS` or `FACTORIES`.
COMMON = "main"
#: flask's names of factories, which it calls without arguments.
FACTORIES = ("create_app", "make_app")
MANAGE = "manage.py"
SETTINGS = "DJANGO_SETTINGS_MODULE"
PASTE_FILES = [f"{name}.ini" for name in ("development", "production")]

#: Settings modules that import each other.
MAX_SETTINGS = 8
#: Packages of the directory that may have a wsgi.py.
MAX_PACKAGES = 200


class Found(NamedTuple):
    """An application."""

    #: Its name, as on the command line.
    name: str
    #: The file or variable that has named it.
    place: str


class NotFound(LookupError):
    """There is no application, or more than one. The message says what to write instead."""


def find(directory: str = ".", environ: Mapping[str, str] = os.environ) -> Found:
    """Find the application of the project in ``directory``.

    Raises NotFound.
    """
    flask = _flask_variable(directory, environ)
    if flask is not None:
        return flask
    django, plain = _django(directory, environ), _plain(directory)
    if django is not None and plain is not None and django.name != plain.name:
        raise NotFound(
            f"{django.place} is a Django project ({django.name}), and {plain.place} has"
            f" {plain.name}: write rustwsgi {_quoted(django)} or rustwsgi {_quoted(plain)}"
        )
    found = django or plain
    if found is None:
        raise NotFound(_absent(directory))
    return found


def search(directory: str) -> tuple[str | None, str]:
    """The name of the application and its place, or None and the reason."""
    try:
        return find(directory)
    except NotFound as reason:
        return None, str(reason)


def _quoted(found: Found) -> str:
    return shlex.quote(found.name)


def _flask_variable(directory: str, environ: Mapping[str, str]) -> Found | None:
    """The application that the user has named for flask."""
    value, place = environ.get("FLASK_APP", ""), "FLASK_APP"
    if not value:
        value = _read_variable(os.path.join(directory, ".flaskenv"))
        place = "FLASK_APP of .flaskenv"
    return Found(f"rustwsgi.flask:load_app({value!r})", place) if value else None


def _read_variable(path: str) -> str:
    """FLASK_APP of a file with variables."""
    for line in (_read(path) or b"").decode("utf-8", "replace").splitlines():
        found = re.fullmatch(r"\s*(?:export\s+)?FLASK_APP\s*=\s*(.*?)\s*", line)
        if found:
            value = found[1]
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            return value[1:-1] if is_quoted else value.partition(" #")[0].strip()
    return ""


# Django


def _django(directory: str, environ: Mapping[str, str]) -> Found | None:
    """The application of the settings that manage.py names."""
    manage = _parse(os.path.join(directory, MANAGE))
    named = _settings_named_in(manage) if manage is not None else None
    if named is None:
        return None
    settings = environ.get(SETTINGS) or named
    application = _setting(directory, settings)
    if application is None and "." in settings:
        application = f"{settings.partition('.')[0]}.wsgi.application"
    module, _, attribute = (application or "").rpartition(".")
    if not module or _suggestions._module_file(directory, module) is None:
        raise NotFound(
            f"manage.py is that of a Django project, but its settings {settings} name no WSGI"
            " application in this directory: set WSGI_APPLICATION, or write rustwsgi"
            " PROJECT.wsgi:application"
        )
    return Found(f"{module}:{attribute}", MANAGE)


def _settings_named_in(manage: ast.Module) -> str | None:
    """The value of the variable that `os.environ.setdefault()` or an assignment sets."""
    for node in ast.walk(manage):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            key, value = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key, value = node.targets[0].slice, node.value
        else:
            continue
        if _text(key) == SETTINGS and _text(value):
            return _text(value)
    return None


def _setting(directory: str, module: str) -> str | None:
    """WSGI_APPLICATION of a settings module, or of one whose names it imports."""
    waiting, seen = [module], 0
    while waiting and seen < MAX_SETTINGS:
        current = waiting.pop(0)
        seen += 1
        path = _suggestions._module_file(directory, current)
        tree = _parse(path) if path is not None else None
        if path is None or tree is None:
            continue
        for node in _statements(tree.body):
            if isinstance(node, ast.Assign) and _is_name(node.targets[0], "WSGI_APPLICATION"):
                return _text(node.value)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                waiting.append(_absolute(node, current, path))
    return None


def _absolute(node: ast.ImportFrom, importer: str, path: str) -> str:
    """The name of the module that an import statement names."""
    parts = importer.split(".")
    if node.level == 0:
        return node.module or ""
    up = node.level - os.path.basename(path).startswith("__init__")
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


# flask and others


def _plain(directory: str) -> Found | None:
    """The application of the first module with a usual name that has one."""
    reason = None
    for module in MODULES:
        path = _suggestions._module_file(directory, module)
        if path is None:
            continue
        place = os.path.relpath(path, directory)
        try:
            name = _application(path, module)
        except NotFound as refusal:
            reason = reason or refusal
            continue
        if name is not None:
            return Found(f"{module}:{name}", place)
    if reason is not None:
        raise reason
    return None


def _application(path: str, module: str) -> str | None:
    """The name of the application in a source file, or of its factory with ``()``."""
    bound = _bound(path)
    for name in APPLICATIONS:
        if name in bound and (module != COMMON or _is_made_by(bound[name])):
            return name
    made = [name for name, node in bound.items() if _constructs(node, CONSTRUCTORS)]
    if len(made) > 1:
        commands = " or ".join(f"rustwsgi {module}:{name}" for name in made[:3])
        raise NotFound(f"{os.path.basename(path)} has {len(made)} applications: write {commands}")
    if made:
        return made[0]
    for name in FACTORIES:
        if name not in bound:
            continue
        if _needs_arguments(bound[name]):
            raise NotFound(
                f"the factory {name} in {os.path.basename(path)} needs arguments: write them, as in"
                f" rustwsgi \"{module}:{name}('production')\""
            )
        return f"{name}()"
    return None


def _bound(path: str) -> dict[str, ast.AST]:
    """The names that a source file binds at its top level, with the statement or the value."""
    tree = _parse(path)
    found: dict[str, ast.AST] = {}
    for node in _statements(tree.body if tree is not None else []):
        if isinstance(node, ast.Assign):
            targets = [target for target in node.targets if isinstance(target, ast.Name)]
            found.update((target.id, node.value) for target in targets)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            found.update((alias.asname or alias.name, node) for alias in node.names)
    return found


def has_name(path: str, name: str) -> bool:
    """Whether a source file seems to bind this name. A file that cannot be parsed may."""
    tree = _parse(path)
    if tree is None:
        return True
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found = {node.name}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found = {alias.asname or alias.name for alias in node.names}
        else:
            found = {getattr(node, "id", "")}
        if {name, "*", "__getattr__"} & found:
            return True
    return False


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at the top level, also those below `if`, `try` and `with`."""
    for node in body:
        yield node
        if isinstance(node, ast.If) and not _is_main_guard(node):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handled = [statement for handler in node.handlers for statement in handler.body]
            yield from _statements([*node.body, *handled, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With):
            yield from _statements(node.body)


def _is_main_guard(node: ast.If) -> bool:
    return isinstance(node.test, ast.Compare) and _is_name(node.test.left, "__name__")


def _is_made_by(node: ast.AST) -> bool:
    """Whether this makes a WSGI application for sure."""
    if isinstance(node, ast.FunctionDef):
        return [argument.arg for argument in node.args.args] == ["environ", "start_response"]
    return _constructs(node, {*CONSTRUCTORS, *_suggestions.FACTORIES})


def _constructs(node: ast.AST, functions: set[str]) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in functions


def _needs_arguments(node: ast.AST) -> bool:
    if not isinstance(node, ast.FunctionDef):
        return False
    given = node.args
    positional = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return positional > 0 or None in given.kw_defaults


# Files


def _parse(path: str) -> ast.Module | None:
    source = _read(path)
    if source is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # The import of the application reports it.
        return None


def _read(path: str) -> bytes | None:
    """The content of a small file."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MAX_FILE_BYTES:
            return None
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _absent(directory: str) -> str:
    """What the directory does not have, and what to write instead."""
    files = ", ".join(f"{module}.py" for module in MODULES)
    where = "this directory" if os.path.normpath(directory) == "." else directory
    text = f"{where} has neither Django's manage.py nor one of {files} with an application; "
    for name in PASTE_FILES:
        if os.path.isfile(os.path.join(directory, name)):
            return f"{text}write rustwsgi --paste {name}"
    try:
        entries = _suggestions._entries(directory)
    except OSError:
        return f"{text}write rustwsgi MODULE:NAME, for example: rustwsgi hello:app"
    for entry in entries[:MAX_PACKAGES]:
        if os.path.isfile(os.path.join(entry.path, MANAGE)):
            return f"{text}write rustwsgi --chdir {shlex.quote(entry.name)}"
        # A Django project without its manage.py, perhaps.
        bound = _bound(os.path.join(entry.path, f"{MODULES[0]}.py"))
        for name in APPLICATIONS:
            if name in bound and entry.name.isidentifier():
                return f"{text}write rustwsgi {entry.name}.{MODULES[0]}:{name}"
    modules = _suggestions._modules(directory)
    names = [f"{module}:{name}" for module, path in modules for name in defined(path)[:1]]
    if names:
        return text + "write " + " or ".join(f"rustwsgi {shlex.quote(name)}" for name in names[:3])
    return f"{text}write rustwsgi MODULE:NAME, for example: rustwsgi hello:app"
