"""Parses the arguments of an application factory, as in ``module:factory('literal', key=1)``."""

from __future__ import annotations

import ast
from typing import Any


def parse(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parse what stands between the parentheses into positional and keyword arguments.

    Only literals are accepted. Raises SyntaxError or ValueError for everything else.
    """
    call = ast.parse(f"_({text})", mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError("more than one pair of parentheses")
    keywords: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError("** is not a literal")
        keywords[keyword.arg] = _evaluate(keyword.value)
    return tuple(_evaluate(argument) for argument in call.args), keywords


def _evaluate(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is not a literal") from None
