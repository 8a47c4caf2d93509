"""Tells which threads run the application, and how many at once."""

import asyncio
import threading
import time

from wsgi_common import note, query, reply_json, table, wait_gate

_barrier = threading.Barrier(4)


def barrier(environ, start_response):
    """Four requests must be inside the application at once."""
    try:
        _barrier.wait(10)
        result = b"together"
    except threading.BrokenBarrierError:
        result = b"alone"
    start_response("200 OK", [])
    return [result]


_active = 0
_lock = threading.Lock()
_local = threading.local()


def serial(environ, start_response):
    """How many are inside at once, on which thread, and how often this thread has been here."""
    global _active
    with _lock:
        _active += 1
        most = _active
    _local.count = getattr(_local, "count", 0) + 1
    for _ in range(20):
        time.sleep(0)  # an invitation to any other thread
        with _lock:
            most = max(most, _active)
    thread = threading.current_thread()
    _local.thread = getattr(_local, "thread", thread)
    seen = {
        "most": most,
        "ident": threading.get_ident(),
        "same_object": _local.thread is thread,
        "count": _local.count,
    }
    with _lock:
        _active -= 1
    return reply_json(start_response, seen)


def background(environ, start_response):
    """A thread of the application's own goes on while the server is idle."""
    key, errors = query(environ, "key"), environ["wsgi.errors"]

    def work():
        pause = threading.Event()
        for _ in range(5):
            pause.wait(0.02)
        errors.write(f"background {key} went on\n")

    threading.Thread(target=work).start()
    return reply_json(start_response, "started")


def hold(environ, start_response):
    """Notes when it begins, and stays until its gate is opened."""
    key = query(environ, "key")
    note(key, "begin")
    wait_gate(key)
    note(key, "end")
    return reply_json(start_response, threading.get_ident())


def loop(environ, start_response):
    """asyncio.run works on the server's threads, time after time."""

    async def answer():
        await asyncio.sleep(0)
        return "answered"

    return reply_json(start_response, asyncio.run(answer()))


app = table(
    {
        "barrier": barrier,
        "serial": serial,
        "background": background,
        "hold": hold,
        "loop": loop,
    }
)
