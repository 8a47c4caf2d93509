"""An application for hostile_observers.py: its process id, a slow request, and a thread whose stack
is longer than the buffer of a socket."""

import os
import threading
import time

LONG_NAME = "x" * 400_000
# A report of stacks has the name of each file: nothing that a client does not read is that long.
exec(compile("def park(event):\n    event.wait()\n", LONG_NAME, "exec"))
threading.Thread(target=globals()["park"], args=[threading.Event()], daemon=True).start()


def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/slow"):
        time.sleep(0.06)
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
