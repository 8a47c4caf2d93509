"""Waits for SIGINT and SIGTERM in the main thread, for :func:`rustwsgi.serve`.

Python's C-level signal handler writes the number of a signal to a wakeup socket. That ends the
wait below at once, and Python then runs the handlers that the application has set for other
signals. In any other thread, signals are left alone.

A process that the application forks inherits the handlers and the socket. A signal to the child
must neither be lost nor wake the parent, so a fork hook restores the previous handlers in it.
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
#: While a server waits for signals: the function that a forked child restores its handlers with.
_restore_in_child: list[Callable[[], None]] = []
#: The signal mask that the forking thread had before.
_mask = threading.local()


def _block_signals() -> None:
    # A signal that reaches the child before its handlers are restored would be the server's.
    if _restore_in_child:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)


def _unblock_signals() -> None:
    before = _mask.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _restore_handlers() -> None:
    while _restore_in_child:
        _restore_in_child.pop()()
    _unblock_signals()


os.register_at_fork(
    before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_restore_handlers
)


def install() -> tuple[Callable[[float], int], Callable[[], None]]:
    """Set the handlers. Returns the functions ``(wait, restore)``.

    ``wait(seconds)`` returns the number of the next signal, or 0 after the timeout. ``restore()``
    sets the previous handlers again.
    """
    if threading.current_thread() is not threading.main_thread():
        never = threading.Event()
        return lambda seconds: int(never.wait(seconds)), lambda: None

    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    # Not select(), which fails for descriptors from 1024 on. Not poll() by name, which eventlet's
    # monkey patch removes.
    selector = selectors.DefaultSelector()
    selector.register(receiver, selectors.EVENT_READ)
    received: list[int] = []

    def receive(number: int, _frame: Any) -> None:
        received.append(number)

    previous_handlers = {number: signal.signal(number, receive) for number in _WATCHED}
    previous_wakeup_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def restore_handler(number: signal.Signals) -> None:
        handler = previous_handlers[number]
        signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def restore_in_child() -> None:
        wakeup_fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(previous_wakeup_fd if wakeup_fd == sender.fileno() else wakeup_fd)
        for number in _WATCHED:
            # Leave a handler alone that the application has set meanwhile.
            if signal.getsignal(number) is receive:
                restore_handler(number)

    _restore_in_child.append(restore_in_child)

    def wait(seconds: float) -> int:
        if not received:
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            receiver.recv(4096)
        return received.pop(0) if received else 0

    def restore() -> None:
        signal.set_wakeup_fd(previous_wakeup_fd)
        for number in _WATCHED:
            restore_handler(number)
        with contextlib.suppress(ValueError):
            _restore_in_child.remove(restore_in_child)
        selector.close()
        receiver.close()
        sender.close()

    return wait, restore
