"""Reports the application's threads that keep a stopping worker from exiting.

CPython joins every non-daemon thread before the interpreter exits. A worker whose application
started such a thread therefore stays until the thread ends, and the log should say why.
"""

from __future__ import annotations

import os
import threading

from rustwsgi import _rustwsgi

#: Threads that the interpreter asks to stop, such as those of ``concurrent.futures``, end within
#: this time. Those that remain after it are worth a warning.
GRACE_SECONDS = 1.0


def report_soon() -> None:
    """After a grace period, log the non-daemon threads that still run, if there are any."""
    if _non_daemon_threads():
        threading.Thread(target=_report, name="rustwsgi-exit", daemon=True).start()


def _report() -> None:
    # The event is never set: the wait ends by its timeout, or with the process.
    threading.Event().wait(GRACE_SECONDS)
    names = ", ".join(repr(thread.name) for thread in _non_daemon_threads())
    if names:
        _rustwsgi.log(
            "warning",
            f"Worker {os.getpid()} cannot exit: Python waits for these threads of the application"
            f" to end: {names}. Start them with daemon=True to exit without them",
            event="worker.lingering_threads",
        )


def _non_daemon_threads() -> list[threading.Thread]:
    """The threads that the interpreter joins when it exits, apart from the main thread."""
    own = (threading.main_thread(), threading.current_thread())
    return [t for t in threading.enumerate() if not t.daemon and t not in own]
