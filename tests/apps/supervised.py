"""An application whose worker can be identified, blocked and crashed."""

import contextlib
import ctypes
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time

PID = os.getpid()


def flood(errors, fifo):
    """Blocks without end; says what ends it. With a named pipe, its cleanup waits for a writer."""
    try:
        while True:
            yield b"x" * 65536
    except BaseException as end:
        print(f"the flood is ended by {type(end).__name__}", file=errors, flush=True)
        raise
    finally:
        if fifo:
            with open(fifo) as pipe:
                pipe.read()
            print("the flood has cleaned up", file=errors, flush=True)


def pausing(errors, fifo):
    """A block, a pause in C until the named pipe has a writer, and another block."""
    yield b"first"
    os.close(os.open(fifo, os.O_RDONLY))
    print("the pause is over", file=errors, flush=True)
    yield b"second"


class SlowToClose(list):
    """Says when it is closed."""

    def __init__(self, errors, seconds):
        super().__init__([b"whole"])
        self.errors, self.seconds = errors, seconds

    def __iter__(self):
        return super().__iter__()

    def close(self):
        time.sleep(self.seconds)
        print("it is closed", file=self.errors, flush=True)


#: epoll_wait, epoll_pwait, epoll_pwait2, by their numbers on x86 and on ARM.
POLLING = {"232", "281", "22", "441"}


def polls(thread):
    """Whether a thread waits for events of sockets (Linux)."""
    with open(f"/proc/self/task/{thread.native_id}/syscall") as call:
        return call.read().split()[0] in POLLING


class Deaf(map):
    """Blocks that are made in C, where no exception is heard; says that it was closed."""

    blocks = queue.SimpleQueue()

    def close(self):
        print("the deaf one was closed", file=sys.stderr, flush=True)


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = str(os.getpid())
    if path == "/hold":  # until the named pipe has a writer
        print("request started", file=environ["wsgi.errors"], flush=True)
        with open(query) as fifo:
            body = fifo.read()
    elif path == "/say":
        print(query, file=environ["wsgi.errors"], flush=True)
    elif path == "/passed":  # what a command sees as this descriptor
        command = ["readlink", f"/proc/self/fd/{query}"]
        body = subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout
    elif path == "/segfault":
        ctypes.string_at(0)
    elif path == "/exit":
        os._exit(int(query))
    elif path == "/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif path == "/leak":
        app.leaked = getattr(app, "leaked", b"") + b"x" * (int(query) << 20)
    elif path == "/spin":  # in Python, so that an exception can end it
        print("request started", file=environ["wsgi.errors"], flush=True)
        while True:
            pass
    elif path == "/flood":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return flood(environ["wsgi.errors"], query)
    elif path == "/pause":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pausing(environ["wsgi.errors"], query)
    elif path == "/close":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return SlowToClose(environ["wsgi.errors"], float(query))
    elif path == "/insist":  # the same by write(), whatever that says
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        while True:
            with contextlib.suppress(OSError):
                write(b"x" * 65536)
    elif path == "/deaf":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Deaf(Deaf.blocks.get, itertools.repeat(True))
    elif path == "/feed":
        for _ in range(int(query or 1000)):
            Deaf.blocks.put(b"x" * 65536)
    elif path == "/seize":  # in C, with the interpreter
        print(f"seized {os.getpid()}", file=environ["wsgi.errors"], flush=True)
        ctypes.PyDLL(None).sleep(600)
    elif path == "/stick":  # stops the other threads in C, without the interpreter
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        libc.signal(signal.SIGUSR2, ctypes.cast(libc.pause, ctypes.c_void_p))
        print(f"sticks {os.getpid()}", file=environ["wsgi.errors"], flush=True)
        others = set(threading.enumerate()) - {threading.current_thread()}
        others = [thread for thread in others if thread.name.startswith("rustwsgi-")]
        while not any(map(polls, others)):
            time.sleep(0.01)
        for thread in others:
            signal.pthread_kill(thread.ident, signal.SIGUSR2)
    elif path == "/sleep":
        time.sleep(float(query))
    elif path == "/imported":
        body = str(PID)
    elif path == "/version":
        body = os.environ.get("SUPERVISED_VERSION", "none")
    elif path == "/threads":
        body = str(threading.active_count())
    elif path == "/environ":
        body = os.environ.get(query, "")
    elif path == "/multiprocess":
        body = str(environ["wsgi.multiprocess"])
    elif path == "/argv":
        body = repr(sys.argv)
    data = body.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
    return [data]
