"""Waiting for SIGINT and SIGTERM in the main thread.

Python's C-level handler writes the signal's number to a socket as soon as the signal comes; the
wait below ends at once, and Python then runs whatever handlers the application has set for other
signals.
In any other thread (a server in the background of a program) signals are none of our business.

A process that the application forks inherits the handlers and the socket. A signal to it must
neither be lost there nor wake its parent, so a fork puts back in the child what was there before.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

_WATCHED = (signal.SIGINT, signal.SIGTERM)
#: What a forked child does, while a server waits for signals.
_undo: list[Callable[[], None]] = []
#: The mask of the thread that forks.
_mask = threading.local()


def _hold() -> None:
    # A signal that comes before the child is ready for it would be the server's.
    if _undo:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)


def _release() -> None:
    before = _mask.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _let_go() -> None:
    while _undo:
        _undo.pop()()
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_let_go)


def install() -> tuple[Callable[[float], int], Callable[[], None]]:
    """Return `(wait, restore)`; `wait(seconds)` returns each signal once, or 0 if none has come."""
    if threading.current_thread() is not threading.main_thread():
        never = threading.Event()
        return lambda seconds: int(never.wait(seconds)), lambda: None

    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    # Not select(), where there is better: an application may have opened more files than it can
    # number. Not poll() by name: eventlet takes it away.
    selector = selectors.DefaultSelector()
    selector.register(receiver, selectors.EVENT_READ)
    asked: list[int] = []

    def ask(number: int, _frame: Any) -> None:
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in _WATCHED}
    wakeup_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def put_back(number: signal.Signals) -> None:
        handler = before[number]
        signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def undo() -> None:
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup_before if wakeup == sender.fileno() else wakeup)
        for number in _WATCHED:
            # Not what the application has set since.
            if signal.getsignal(number) is ask:
                put_back(number)

    _undo.append(undo)

    def wait(seconds: float) -> int:
        if not asked:
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            receiver.recv(4096)
        return asked.pop(0) if asked else 0

    def restore() -> None:
        signal.set_wakeup_fd(wakeup_before)
        for number in _WATCHED:
            put_back(number)
        with contextlib.suppress(ValueError):
            _undo.remove(undo)
        selector.close()
        receiver.close()
        sender.close()

    return wait, restore
