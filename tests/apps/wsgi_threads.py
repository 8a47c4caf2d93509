"""Returns which threads run the application, and how many at once."""

import asyncio
import sys
import threading
import time

from wsgi_common import LIMIT, note, query, reply_json, table, wait_gate

_barrier = threading.Barrier(4)


def barrier(environ, start_response):
    """Four requests must be inside the application at once."""
    try:
        _barrier.wait(LIMIT)
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
    """A thread of the application keeps running while the server is idle."""
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


PIECE, PIECES = 1 << 20, 8


def write_beside(environ, start_response):
    """A thread of the application writes while the response is iterated."""
    key, write = query(environ, "key"), start_response("200 OK", [])
    begun = threading.Event()

    def work():
        try:
            for _ in range(PIECES):
                begun.set()
                write(b"w" * PIECE)
            note(key, "written")
        except BaseException as problem:
            note(key, repr(problem))

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    try:
        for _ in range(PIECES):
            yield b"i" * PIECE
        note(key, "iterated")
    finally:
        thread.join()


def long_lines(environ, start_response):
    """Whether another thread ran while each line was read. No thread is asked to give way, so it
    can only if reading lets go of the interpreter by itself."""
    turn, over, ran = threading.Semaphore(0), threading.Event(), [0]
    before = sys.getswitchinterval()

    def other():
        while turn.acquire() and not over.is_set():
            ran[0] += 1

    thread = threading.Thread(target=other)
    thread.start()
    found, lines = [], environ["wsgi.input"]
    sys.setswitchinterval(1000)
    try:
        while True:
            turn.release()
            count = ran[0]
            size = len(lines.readline())
            if not size:
                break
            found.append([size, ran[0] - count])
    finally:
        sys.setswitchinterval(before)
        over.set()
        turn.release()
        thread.join()
    return reply_json(start_response, found)


app = table(
    {
        "write-beside": write_beside,
        "long-lines": long_lines,
        "barrier": barrier,
        "serial": serial,
        "background": background,
        "hold": hold,
        "loop": loop,
    }
)
