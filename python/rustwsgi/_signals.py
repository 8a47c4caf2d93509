"""Waiting for SIGINT and SIGTERM in the main thread.

Python's C-level handler writes the signal's number to a socket as soon as the signal comes; the
wait below ends at once, and Python then runs whatever handlers the application has set for other
signals.
In any other thread (a server in the background of a program) signals are none of our business.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any


def install() -> tuple[Callable[[float], bool], Callable[[], None]]:
    """Return `(wait, restore)`; `wait(seconds)` is true once for each stop that was asked for."""
    if threading.current_thread() is not threading.main_thread():
        never = threading.Event()
        return never.wait, lambda: None

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

    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, ask) for number in watched}
    wakeup_before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def wait(seconds: float) -> bool:
        if not asked:
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            receiver.recv(4096)
        stop = bool(asked)
        del asked[:1]
        return stop

    def restore() -> None:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        selector.close()
        receiver.close()
        sender.close()

    return wait, restore
