"""Texts with placeholders: ``@name@``, since the files have their own dollar signs and braces.

The values of YAML are quoted here, too.
"""

from __future__ import annotations

import json
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


def yaml_string(text: str) -> str:
    """A string of YAML in quotation marks. YAML has no surrogates, which JSON writes in ASCII for
    characters beyond U+FFFF."""
    return json.dumps(text, ensure_ascii=False)


def yaml_word(text: str) -> str:
    """A word of a list in YAML, in quotation marks if it needs them."""
    is_plain = text.replace("-", "").replace("_", "").isalnum() and not text.lstrip("-").isdecimal()
    is_string = is_plain and text.lower() not in ("on", "off", "yes", "no")
    return text if is_string else yaml_string(text)
