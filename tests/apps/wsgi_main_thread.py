"""Uses objects that belong to the thread which has imported this module, and signal handlers."""

import asyncio
import os
import signal
import sqlite3
import sys
import threading
import time

from wsgi_common import LIMIT, reply_json, table

_local = threading.local()
_local.value = "set at import"
_database = sqlite3.connect(":memory:")
_loop = asyncio.new_event_loop()


def thread(environ, start_response):
    """On which thread a request runs, and what that thread has from the import."""
    current = threading.current_thread()
    seen = [current is threading.main_thread(), current.name, getattr(_local, "value", None)]
    return reply_json(start_response, seen)


def database(environ, start_response):
    return reply_json(start_response, _database.execute("select 1").fetchone())


def loop(environ, start_response):
    return reply_json(start_response, _loop.run_until_complete(asyncio.sleep(0, "answered")))


class Alarm(Exception):
    pass


def alarm(environ, start_response):
    """An alarm interrupts a wait."""

    def ring(number, frame):
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        threading.Event().wait(LIMIT)
        answer = "not interrupted"
    except Alarm:
        answer = "interrupted"
    return reply_json(start_response, answer)


def unhandled_alarm(environ, start_response):
    """The same, but the exception leaves the application."""

    def ring(number, frame):
        raise Alarm

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    threading.Event().wait(LIMIT)
    return reply_json(start_response, "not interrupted")


def later(environ, start_response):
    """A handler that is set in a request, for a signal that comes after it."""
    errors = environ["wsgi.errors"]
    signal.signal(signal.SIGUSR2, lambda *_: print("the handler has run", file=errors, flush=True))
    return reply_json(start_response, os.getpid())


def loop_with_signals(environ, start_response):
    """An event loop that handles signals; at its end it leaves default actions behind."""

    async def wait():
        running, come = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            running.add_signal_handler(number, come.set)
        signal.raise_signal(signal.SIGUSR2)
        await asyncio.wait_for(come.wait(), LIMIT)

    asyncio.run(wait())
    return reply_json(start_response, "come")


def is_default(environ, start_response):
    """Whether TERM would kill the process."""
    return reply_json(start_response, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)


def term(environ, start_response):
    """TERM comes while the request runs."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)  # the signal does not end it
    return reply_json(start_response, os.getpid())


def leave(environ, start_response):
    sys.exit(3)


app = table(
    {
        "thread": thread,
        "database": database,
        "loop": loop,
        "alarm": alarm,
        "unhandled-alarm": unhandled_alarm,
        "later": later,
        "loop-with-signals": loop_with_signals,
        "is-default": is_default,
        "term": term,
        "leave": leave,
    }
)
