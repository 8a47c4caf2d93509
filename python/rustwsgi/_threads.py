"""Threads of the application that keep a worker from ending."""

from __future__ import annotations

import os
import threading

from rustwsgi import _rustwsgi

#: Most threads end soon when they are asked to, as those of `concurrent.futures` are.
SECONDS = 1.0


def tell_who_stays() -> None:
    """Have the log name the threads that Python waits for at its end, if they do not end soon."""
    if waited_for():
        threading.Thread(target=_tell, name="rustwsgi-end", daemon=True).start()


def _tell() -> None:
    # Nobody sets it: what ends this wait is the time, or the end of the process.
    threading.Event().wait(SECONDS)
    names = ", ".join(repr(thread.name) for thread in waited_for())
    if names:
        message = f"worker {os.getpid()} cannot end before these threads of the application do: "
        _rustwsgi.log(
            "warning",
            f"{message}{names}; threading.Thread(daemon=True) is not waited for",
            "worker.threads_left",
        )


def waited_for() -> list[threading.Thread]:
    """The threads that Python waits for at its end."""
    own = (threading.main_thread(), threading.current_thread())
    return [t for t in threading.enumerate() if not t.daemon and t not in own]
