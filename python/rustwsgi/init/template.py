"""Texts with placeholders: ``@name@``, since the files have their own dollar signs and braces."""

from __future__ import annotations

import re

PLACEHOLDER = re.compile(r"@(\w+)@")


def fill(template: str, **values: str) -> str:
    """Replace the placeholders. A line that is left with an empty value only is removed."""

    def replace(match: re.Match[str]) -> str:
        return values[match[1]]

    lines = []
    for line in template.splitlines():
        filled = PLACEHOLDER.sub(replace, line)
        if filled.strip() or not line.strip():
            lines.append(filled.rstrip())
    return "\n".join(lines).strip("\n") + "\n"
