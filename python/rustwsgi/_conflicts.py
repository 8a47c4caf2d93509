"""Recognizes the failure of a worker that needs a resource which another process holds.

A worker usually starts while its predecessor serves. An application that binds a port or locks a
file while it is imported cannot start then, but can once the predecessor has ended. Only the
exception shows the cause.

Many applications catch the exception, and do without the scheduler, say, that the resource guards.
:class:`Watch` notices that.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import socket
from collections.abc import Callable, Hashable, Iterator
from typing import Any

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


class Watch:
    """While it is installed: notes ports and lock files that the application tries in vain to take,
    whatever it makes of that."""

    def __init__(self) -> None:
        #: What each was not given, by kind and resource.
        self._missed: dict[tuple[str, Hashable], str] = {}
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def install(self) -> None:
        self._replace(socket.socket, "bind", {errno.EADDRINUSE}, self._address)
        try:
            import fcntl
        except ImportError:
            return
        codes = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
        for name in ("flock", "lockf"):
            self._replace(fcntl, name, codes, self._file)

    def remove(self) -> str | None:
        """Restore what was replaced. Returns what the application has missed last, if anything."""
        for owner, name, wrapper, own in reversed(self._replaced):
            # Another wrapper of the application stays, with this one in it.
            if vars(owner).get(name) is wrapper:
                if own is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, own)
        self._replaced.clear()
        return next(reversed(self._missed.values()), None)

    def _replace(
        self,
        owner: Any,
        name: str,
        codes: set[int],
        resource: Callable[..., tuple[Hashable, str]],
    ) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def wrapper(*args: Any, **keywords: Any) -> Any:
            try:
                result = function(*args, **keywords)
            except OSError as failure:
                if self._replaced and failure.errno in codes:
                    key, text = resource(*args, **keywords)
                    self._missed[name, key] = f"{text}: {failure}"
                raise
            if self._missed:
                # It has waited for the lock, or found another port.
                self._missed.pop((name, resource(*args, **keywords)[0]), None)
            return result

        self._replaced.append((owner, name, wrapper, vars(owner).get(name)))
        setattr(owner, name, wrapper)

    @staticmethod
    def _address(_socket: Any = None, address: Any = None) -> tuple[Hashable, str]:
        return "any port", f"the address {address!r}"

    @staticmethod
    def _file(file: Any = None, *_args: Any, **_keywords: Any) -> tuple[Hashable, str]:
        try:
            number = file if isinstance(file, int) else file.fileno()
            found = os.fstat(number)
        except Exception:
            return None, "a lock"
        return (found.st_dev, found.st_ino), f"the lock of {getattr(file, 'name', 'a file')!r}"


def watch() -> Watch:
    """Install a :class:`Watch`."""
    installed = Watch()
    installed.install()
    return installed
