"""uWSGI's ``log-format``, as a format of the access log."""

from __future__ import annotations

import re

#: uWSGI's variables, and the atoms of ``access_logformat``.
ATOMS = {
    "addr": "%(h)s",
    "user": "%(u)s",
    "method": "%(m)s",
    "uri": "%({RAW_URI}e)s",
    "proto": "%(H)s",
    "status": "%(s)s",
    "size": "%(B)s",
    "rsize": "%(B)s",
    "msecs": "%(M)s",
    "micros": "%(D)s",
    "secs": "%(T)s",
    "ltime": "%(t)s",
    "ctime": "%(t)s",
    "ftime": "%(t)s",
    "time": "%(t)s",
    "pid": "%(p)s",
    "referer": "%(f)s",
    "uagent": "%(a)s",
    "host": "%({host}i)s",
    "cl": "%({content-length}i)s",
}


def translate(text: str) -> tuple[str, list[str]]:
    """The format, and the variables for which there is no atom: they become ``-``."""
    unknown: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name in ATOMS:
            return ATOMS[name]
        if name.startswith("var."):
            return f"%({{{name[4:]}}}e)s"
        unknown.append(name)
        return "-"

    # %(t)s has brackets.
    text = re.sub(r"\[(%\((?:ltime|ctime|ftime|time)\))\]", r"\1", text)
    # A percent sign of its own would begin an atom.
    parts = re.split(r"(%\([^()]*\))", text)
    for index, part in enumerate(parts):
        match = re.fullmatch(r"%\(([^()]*)\)", part)
        parts[index] = replace(match) if match else part.replace("%", "%%")
    return "".join(parts), unknown
