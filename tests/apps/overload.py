"""Requests that occupy a thread until they are released.

/hold?PATH    waits until the named pipe at PATH is written to
/await?PATH   waits until the named pipe at PATH, which has a writer, has none any more
/seize?PATH   keeps the interpreter to itself until the named pipe is written to, as a C
              extension may
/eat?N        takes N MiB of memory and gives it back
"""

import ctypes
import os
import sys

from echo import recorded, reply


@recorded
def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/hold":
        print("held", file=environ["wsgi.errors"], flush=True)
        with open(query) as pipe:
            pipe.read()
    elif path == "/await":
        with open(query) as pipe:
            print("held", file=environ["wsgi.errors"], flush=True)
            pipe.read()
    elif path == "/seize":
        libc = ctypes.PyDLL(None)  # keeps the interpreter during its calls
        # print() lets it go while it writes, and another thread could run a request in between.
        sys.setswitchinterval(600)
        libc.write(2, b"seized\n", 7)
        libc.close(libc.open(query.encode(), os.O_RDONLY))
        sys.setswitchinterval(0.005)
    elif path == "/eat":
        len(bytearray(int(query) << 20))
    return reply(start_response, b"served")
