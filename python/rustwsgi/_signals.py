"""Waits for SIGINT and SIGTERM in the main thread, for :func:`rustwsgi.serve`.

Python's C-level signal handler writes the number of a signal to a wakeup socket. That ends the
wait below at once, whichever Python handler is set, and Python then runs that handler. So handlers
of the program stay in place, also for the two signals, and are called. In any other thread,
signals are left alone.

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
#: Added to the number of a signal that did not come: the server's handler was called.
_CALLED = 0x80
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


def _is_of_program(handler: Any) -> bool:
    """Whether the program has set this handler."""
    return callable(handler) and handler is not signal.default_int_handler


def _act_by_default(number: int) -> None:
    """Do what a signal does to a process without handlers."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def install() -> tuple[Callable[[float], int], Callable[[], None]] | None:
    """Set the handlers. Returns the functions ``(wait, restore)``; None in a thread that receives
    no signals.

    ``wait(seconds)`` returns the number of the next signal, or 0 after the timeout. ``restore()``
    sets the previous handlers again.
    """
    if threading.current_thread() is not threading.main_thread():
        return None

    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    # Not select(), which fails for descriptors from 1024 on. Not poll() by name, which eventlet's
    # monkey patch removes.
    selector = selectors.DefaultSelector()
    selector.register(receiver, selectors.EVENT_READ)
    #: Signals to return.
    received: list[int] = []
    #: All signals that have counted.
    seen: list[int] = []
    #: The process that serves. A handler of the program may call :func:`handle` in a child.
    process = os.getpid()

    def handle(number: int = signal.SIGTERM, _frame: Any = None) -> None:
        """Python calls this for a signal, and a handler that has replaced it may call it too."""
        if os.getpid() != process:
            _act_by_default(number)
        else:
            with contextlib.suppress(BlockingIOError):
                sender.send(bytes([number + _CALLED]))

    previous_handlers = {number: signal.getsignal(number) for number in _WATCHED}
    for number, previous in previous_handlers.items():
        if not _is_of_program(previous):
            signal.signal(number, handle)
    previous_wakeup_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def restore_handlers() -> None:
        for number, previous in previous_handlers.items():
            # Leave a handler alone that the program has set itself.
            if signal.getsignal(number) is handle:
                signal.signal(number, signal.SIG_DFL if previous is None else previous)

    def restore_in_child() -> None:
        wakeup_fd = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(previous_wakeup_fd if wakeup_fd == sender.fileno() else wakeup_fd)
        restore_handlers()

    _restore_in_child.append(restore_in_child)

    def wait(seconds: float) -> int:
        if not received:
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            # Of signals that have come together, each counts once.
            for byte in dict.fromkeys(receiver.recv(4096)):
                # After a signal a call is a consequence of it, and does not count.
                if byte in _WATCHED or (byte - _CALLED in _WATCHED and not seen):
                    received.append(byte % _CALLED)
                    seen.append(byte)
        return received.pop(0) if received else 0

    def restore() -> None:
        signal.set_wakeup_fd(previous_wakeup_fd)
        restore_handlers()
        with contextlib.suppress(ValueError):
            _restore_in_child.remove(restore_in_child)
        selector.close()
        receiver.close()
        sender.close()

    return wait, restore
