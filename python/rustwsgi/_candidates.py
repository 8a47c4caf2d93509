"""Looks for applications in source files, which are parsed and never executed."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator

from rustwsgi import _suggestions
from rustwsgi._suggestions import APPLICATIONS, CONSTRUCTORS, MAX_FILE_BYTES

#: A module of any program may have this name, so its `app` counts only if it is made by one of
#: `CONSTRUCTORS` or `FACTORIES`.
COMMON = "main"
#: flask's names of factories, which it calls without arguments.
FACTORIES = ("create_app", "make_app")


class NotFound(LookupError):
    """There is no application, or more than one. The message says what to write instead."""


def application(path: str, module: str, place: str) -> str | None:
    """The name of the application in a source file, or of its factory with ``()``. An empty name is
    one that only the import of the module can find.

    ``place`` is the file in messages. Raises NotFound if there are several, or if the only one
    needs a change of the file.
    """
    try:
        tree = parse(path)
    except SyntaxError as error:
        if module != COMMON:
            # The import reports it, with its traceback.
            return ""
        raise NotFound(f"{place} cannot be parsed: {describe(error)}; correct it") from None
    bound = _bound(statements(tree.body) if tree is not None else [])
    name = _application_of(bound, module, place)
    if name is None and "*" in bound and module != COMMON:
        return ""
    if name is None and tree is not None:
        name = _application_of(_bound(_guarded(tree.body)), module, place)
        if name is not None:
            raise NotFound(
                f"{place} makes {name.removesuffix('()')} below if __name__ == '__main__', which a"
                " server does not run: move it to the top level of the file"
            )
    return name


def _application_of(bound: dict[str, ast.AST], module: str, place: str) -> str | None:
    for name in APPLICATIONS:
        if name in bound and (module != COMMON or _is_made_by(bound[name])):
            return name
    made = [name for name, node in bound.items() if _constructs(node, CONSTRUCTORS)]
    if len(made) > 1:
        commands = " or ".join(f"rustwsgi {module}:{name}" for name in made[:3])
        raise NotFound(f"{place} has {len(made)} applications: write {commands}")
    if made:
        return made[0]
    for name in FACTORIES:
        if name not in bound:
            continue
        if _needs_arguments(bound[name]):
            raise NotFound(
                f"the factory {name} in {place} needs arguments: write them, as in rustwsgi"
                f" \"{module}:{name}('production')\""
            )
        return f"{name}()"
    return None


def _bound(body: Iterator[ast.stmt] | list[ast.stmt]) -> dict[str, ast.AST]:
    """The names that statements bind, with the statement or the value. `*` stands for all names of
    another module."""
    found: dict[str, ast.AST] = {}
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                value = node if isinstance(target, ast.Tuple) else node.value
                found.update((name.id, value) for name in names if isinstance(name, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            found.update((alias.asname or alias.name, node) for alias in node.names)
    return found


def has_name(path: str, name: str) -> bool:
    """Whether a source file seems to bind this name. A file that cannot be parsed may."""
    try:
        tree = parse(path)
    except SyntaxError:
        return True
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


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at the top level, also those below `if`, `try` and `with`."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from statements(_branches(node)[0])
        elif isinstance(node, ast.Try):
            handled = [statement for handler in node.handlers for statement in handler.body]
            yield from statements([*node.body, *handled, *node.orelse, *node.finalbody])
        elif isinstance(node, ast.With):
            yield from statements(node.body)


def _guarded(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run only if the file is started itself."""
    for node in body:
        if isinstance(node, ast.If):
            yield from statements(_branches(node)[1])


def _branches(node: ast.If) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """The statements that an import may run, and those that run only if the file is started
    itself: the latter are below ``if __name__ == "__main__"``."""
    test = node.test
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        sides = [test.left, test.comparators[0]]
        if any(is_name(side, "__name__") for side in sides) and "__main__" in map(text, sides):
            if isinstance(test.ops[0], ast.Eq):
                return node.orelse, node.body
            if isinstance(test.ops[0], ast.NotEq):
                return node.body, node.orelse
    return [*node.body, *node.orelse], []


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


def parse(path: str) -> ast.Module | None:
    """The statements of a file, or None if it does not exist or is too large.

    Raises SyntaxError.
    """
    source = read(path)
    if source is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error)) from None


def describe(error: SyntaxError) -> str:
    """The reason, and its line if there is one."""
    return f"line {error.lineno}: {error.msg}" if error.lineno else str(error.msg)


def read(path: str) -> bytes | None:
    """The content of a small file."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > MAX_FILE_BYTES:
            return None
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
