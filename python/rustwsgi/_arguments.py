"""The arguments of an application factory, as `module:factory('literal', key=1)` has them."""

from __future__ import annotations

import ast
from typing import Any


def read(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments. Raises SyntaxError or ValueError for what is no literal."""
    call = ast.parse(f"_({text})", mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError("more than one pair of parentheses")
    named: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError("** is no literal")
        named[keyword.arg] = value_of(keyword.value)
    return tuple(value_of(argument) for argument in call.args), named


def value_of(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is no literal") from None
