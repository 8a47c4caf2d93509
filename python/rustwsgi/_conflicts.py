"""Recognizes the failure of a worker that needs a resource which another process holds.

A worker usually starts while its predecessor serves. An application that binds a port or locks a
file while it is imported cannot start then, but can once the predecessor has ended. Nothing but
the exception tells this from any other mistake.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_CODES = {errno.EADDRINUSE, errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY, errno.EEXIST}
_MESSAGE = re.compile(
    r"\b(in use|locked|could not lock|couldn't lock|"
    r"(?:set|get|acquire|obtain)\w* (?:\w+ ){0,3}lock|"
    r"lock (?:\S+ ){0,4}could not be acquired|already (?:running|started|held)|"
    r"resource temporarily unavailable)\b",
    re.IGNORECASE,
)
#: `LockError`, `AlreadyLocked`, `LockTimeout`; not `BlockingIOError`, whose code decides.
_TYPE = re.compile(r"(^|[a-z])(Lock|Locked)([A-Z]|$)")


def _chain(exception: BaseException | None) -> Iterator[BaseException]:
    """The exception, and those that it followed."""
    seen: set[int] = set()
    waiting = [exception]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__]


def _is_one(exception: BaseException) -> bool:
    if isinstance(exception, (ImportError, SyntaxError)):
        return False
    if isinstance(exception, OSError) and exception.errno in _CODES:
        return True
    return bool(_TYPE.search(type(exception).__name__) or _MESSAGE.search(str(exception)))


def is_conflict(exception: BaseException) -> bool:
    """Return whether an exception comes from a resource that another process holds."""
    try:
        return any(_is_one(found) for found in _chain(exception))
    except Exception:  # a message of the application's own may raise anything
        return False
