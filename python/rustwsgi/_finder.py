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
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rustwsgi import _candidates, _suggestions
from rustwsgi._candidates import NotFound
from rustwsgi._suggestions import APPLICATIONS, defined

#: The modules that may have the application, the first one that has it wins: those of flask, then
#: those of platforms that serve an application by the name of its file.
MODULES = ("wsgi", "app", "application", _candidates.COMMON)
MANAGE = "manage.py"
WSGI = "wsgi.py"
SETTINGS = "DJANGO_SETTINGS_MODULE"
#: Files with variables that the flask command reads, the one that it prefers first.
VARIABLES = (".env", ".flaskenv")
PASTE_FILES = [f"{name}.ini" for name in ("development", "production")]
#: The directory of the packages of a project, in one of the usual layouts.
SOURCES = "src"

#: Settings modules that import each other.
MAX_SETTINGS = 8
#: Directories below that may have an application.
MAX_DIRECTORIES = 200


class Found(NamedTuple):
    """An application."""

    #: Its name, as on the command line.
    name: str
    #: The file or variable that has named it.
    place: str


def find(directory: str = ".", environ: Mapping[str, str] = os.environ) -> Found:
    """Find the application of the project in ``directory``.

    Raises NotFound.
    """
    found = _find_here(directory, environ)
    if found is None:
        raise NotFound(_absent(directory))
    return found


def _find_here(directory: str, environ: Mapping[str, str]) -> Found | None:
    """The same without a look at other directories. Raises NotFound with a reason of its own."""
    flask = _flask_variable(directory, environ)
    if flask is not None:
        return flask
    django = _django(directory, environ)
    try:
        plain = _plain(directory)
    except NotFound:
        if django is None:
            raise
        plain = None
    if django is not None and plain is not None and django.name != plain.name:
        raise NotFound(
            f"{django.place} is a Django project ({django.name}), and {plain.place} has"
            f" {plain.name}: write rustwsgi {_quoted(django)} or rustwsgi {_quoted(plain)}"
        )
    return django or plain


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
    for name in VARIABLES:
        if not value:
            value = _read_variable(os.path.join(directory, name))
            place = f"FLASK_APP of {name}"
    return Found(f"rustwsgi.flask:load_app({value!r})", place) if value else None


def _read_variable(path: str) -> str:
    """FLASK_APP of a file with variables."""
    for line in (_candidates.read(path) or b"").decode("utf-8", "replace").splitlines():
        found = re.fullmatch(r"\s*(?:export\s+)?FLASK_APP\s*=\s*(.*?)\s*", line)
        if found:
            value = found[1]
            is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            return value[1:-1] if is_quoted else value.partition(" #")[0].strip()
    return ""


# Django


def _django(directory: str, environ: Mapping[str, str]) -> Found | None:
    """The application of the settings that manage.py names."""
    try:
        manage = _candidates.parse(os.path.join(directory, MANAGE))
    except SyntaxError as error:
        raise NotFound(
            f"{MANAGE} cannot be parsed: {_candidates.describe(error)}; correct it, or write"
            " rustwsgi PROJECT.wsgi:application"
        ) from None
    if manage is None or not any(_candidates.text(node) == SETTINGS for node in ast.walk(manage)):
        return None
    settings = environ.get(SETTINGS) or _settings_named_in(manage)
    if settings is None:
        return _only_package(directory)
    name = _application_of(directory, settings)
    if name is not None:
        return Found(name, MANAGE)
    for below in _directories(directory):
        # manage.py may add it to the path.
        name = _application_of(os.path.join(directory, below), settings)
        if name is not None:
            raise NotFound(
                f"{MANAGE} is that of a Django project, whose {name.partition(':')[0]} is in"
                f" {below}: write rustwsgi --pythonpath {shlex.quote(below)} {name}"
            )
    raise NotFound(
        f"{MANAGE} is that of a Django project, but its settings {settings} name no WSGI"
        " application in this directory: set WSGI_APPLICATION, or write rustwsgi"
        " PROJECT.wsgi:application"
    )


def _application_of(directory: str, settings: str) -> str | None:
    """The application that a settings module of this directory names, if its module is there."""
    application = _setting(directory, settings)
    if application is None and "." in settings:
        application = f"{settings.partition('.')[0]}.wsgi.application"
    module, _, attribute = (application or "").rpartition(".")
    if not module or _suggestions._module_file(directory, module) is None:
        return None
    return f"{module}:{attribute}"


def _only_package(directory: str) -> Found:
    """The application of the only package with a wsgi.py, for settings that only running manage.py
    would name."""
    names = [f"{package}.wsgi:application" for package in _packages_with_wsgi(directory)]
    if len(names) == 1:
        return Found(names[0], MANAGE)
    commands = " or ".join(f"rustwsgi {name}" for name in names[:3])
    raise NotFound(
        f"{MANAGE} computes {SETTINGS}: set that variable, or write"
        f" {commands or 'rustwsgi PROJECT.wsgi:application'}"
    )


def _packages_with_wsgi(directory: str) -> Iterator[str]:
    for below in _directories(directory):
        path = os.path.join(directory, below, WSGI)
        if below.isidentifier() and os.path.isfile(path):
            yield below


def _settings_named_in(manage: ast.Module) -> str | None:
    """The value of the variable that `os.environ.setdefault()` or an assignment sets."""
    for node in ast.walk(manage):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            key, value = node.args
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key, value = node.targets[0].slice, node.value
        else:
            continue
        if _candidates.text(key) == SETTINGS and _candidates.text(value):
            return _candidates.text(value)
    return None


def _setting(directory: str, module: str) -> str | None:
    """WSGI_APPLICATION of a settings module, or of one whose names it imports."""
    waiting, seen = [module], 0
    while waiting and seen < MAX_SETTINGS:
        current = waiting.pop(0)
        seen += 1
        path = _suggestions._module_file(directory, current)
        try:
            tree = _candidates.parse(path) if path is not None else None
        except SyntaxError:
            # The import of the application reports it.
            continue
        if path is None or tree is None:
            continue
        for node in _candidates.statements(tree.body):
            if isinstance(node, ast.Assign) and _candidates.is_name(
                node.targets[0], "WSGI_APPLICATION"
            ):
                return _candidates.text(node.value)
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
            name = _candidates.application(path, module, place)
        except NotFound as refusal:
            reason = reason or refusal
            continue
        if name is not None:
            return Found(f"{module}:{name}" if name else module, place)
    if reason is not None:
        raise reason
    return None


# Nothing found


def _absent(directory: str) -> str:
    """What the directory does not have, and what to write instead."""
    files = ", ".join(f"{module}.py" for module in MODULES)
    where = "this directory" if os.path.normpath(directory) == "." else directory
    text = f"{where} has neither Django's manage.py nor one of {files} with an application; "
    for file in PASTE_FILES:
        if os.path.isfile(os.path.join(directory, file)):
            return f"{text}write rustwsgi --paste {file}"
    below = _directories(directory)
    # A Django project without its manage.py, perhaps.
    for package in below:
        path = os.path.join(directory, package)
        is_package = os.path.isfile(os.path.join(path, "__init__.py"))
        if is_package and package.isidentifier() and (name := _wsgi_of(path)):
            return f"{text}write rustwsgi {package}.{name}"
    try:
        names = list(_names(directory))
    except NotFound as reason:
        return f"{text}{reason}"
    if names:
        return text + "write " + " or ".join(f"rustwsgi {shlex.quote(name)}" for name in names[:3])
    for other in below:
        if command := _command_for(os.path.join(directory, other), other):
            return f"{text}write {command}"
    return f"{text}write rustwsgi MODULE:NAME, for example: rustwsgi hello:app"


def _command_for(path: str, name: str) -> str | None:
    """The command that serves the application of a directory below, if there is one."""
    option = f"rustwsgi --chdir {shlex.quote(name)}"
    try:
        if _find_here(path, {}) is not None:
            return option
        if name != SOURCES:
            return None
        for package in _packages_with_wsgi(path):
            if found := _wsgi_of(os.path.join(path, package)):
                return f"{option} {package}.{found}"
        other = next(_names(path), None)
        return f"{option} {shlex.quote(other)}" if other else None
    except NotFound:
        # There is one, and the command says what it lacks.
        return option


def _wsgi_of(package: str) -> str | None:
    """The application in wsgi.py of a package."""
    path = os.path.join(package, WSGI)
    try:
        name = _candidates.application(path, "wsgi", path)
    except NotFound:
        return None
    return f"wsgi:{name}" if name in APPLICATIONS else None


def _names(directory: str) -> Iterator[str]:
    """The applications in modules and packages of the directory. Raises NotFound if a factory needs
    arguments."""
    for module, path in _suggestions._modules(directory):
        for name in defined(path)[:1]:
            if name.endswith("()"):
                _candidates.application(path, module, os.path.relpath(path, directory))
            yield f"{module}:{name}"


def _directories(directory: str) -> list[str]:
    """The names of the directories below that may belong to the project."""
    try:
        entries = _suggestions._entries(directory)
    except OSError:
        return []
    names = [entry.name for entry in entries if _suggestions._is_searched(entry)]
    return sorted(names[:MAX_DIRECTORIES], key=lambda name: name != SOURCES)
