"""For the command line: what the process was given, and a request that can be held."""

import gc
import json
import os
import sys

from echo import recorded, reply


@recorded
def app(environ, start_response):
    """/hold?PATH waits for the FIFO at PATH to be written; other paths return the state of the process."""
    if environ["PATH_INFO"] == "/hold":
        print("request started", file=environ["wsgi.errors"], flush=True)
        with open(environ["QUERY_STRING"]) as fifo:  # opens when the test opens it to write
            return reply(start_response, fifo.read().encode())
    if environ["PATH_INFO"] == "/sized":
        return reply(start_response, b"x" * int(environ["QUERY_STRING"]))
    state = {
        "cwd": os.getcwd(),
        "path": sys.path,
        "environ": dict(os.environ),
        "pid": os.getpid(),
        "executable": sys.executable,
        "argv": sys.argv,
        "prefix": sys.prefix,
        "multithread": environ["wsgi.multithread"],
        "remote": environ.get("REMOTE_ADDR"),
        "server": [environ["SERVER_NAME"], environ["SERVER_PORT"]],
    }
    return reply(start_response, json.dumps(state).encode(), "application/json")


def frozen(environ, start_response):
    """How many objects the garbage collector leaves alone."""
    return reply(start_response, str(gc.get_freeze_count()).encode())
