"""Formats the exception that has ended the import of the application."""

from __future__ import annotations

import importlib
import os
import traceback

_IMPORTLIB = os.path.abspath(importlib.__file__)


def format_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without the frames of importlib and of the server."""
    formatted = traceback.TracebackException.from_exception(error)
    _remove_foreign_frames(formatted)
    if not formatted.stack and formatted.__cause__ is None and formatted.__context__ is None:
        return "".join(formatted.format_exception_only())
    return "".join(formatted.format())


def summary(error: BaseException) -> str:
    """The exception in one line."""
    lines = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    # The last line, but the first one of a message that has several.
    text = str(error).strip().partition("\n")[0]
    line = next((line for line in lines if text and text in line), lines[-1] if lines else "")
    return line if len(line) <= 300 else f"{line[:300]}..."


def _remove_foreign_frames(formatted: traceback.TracebackException) -> None:
    pending: list[traceback.TracebackException | None] = [formatted]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.stack[:] = [frame for frame in one.stack if not _is_foreign(frame.filename)]
        pending += [one.__cause__, one.__context__]


def _is_foreign(filename: str) -> bool:
    if filename.startswith(("<frozen importlib", "<rustwsgi.")):
        return True
    directory = os.path.dirname(_is_foreign.__code__.co_filename)
    return os.path.abspath(filename) == _IMPORTLIB or os.path.dirname(filename) == directory != ""
