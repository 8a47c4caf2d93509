"""Requests with ids, traces and phases.

/               the environ's strings that concern the trace
/own            a response with the fields X-Request-ID and Server-Timing of its own
/fail           raises an exception
/errors         writes three lines to wsgi.errors, in parts
/log            logs by the handlers of gunicorn.error
/wait?PATH      waits until the named pipe at PATH is written to
/spend?S        runs for S seconds, then answers in two blocks
/stream?N       N blocks of 64 KiB, made one by one
/seize?PATH     keeps the interpreter to itself until the named pipe at PATH is written to, as a C
                extension may
"""

import ctypes
import json
import logging
import os
import time

logger = logging.getLogger("app")
logger.handlers = logging.getLogger("gunicorn.error").handlers

KEYS = ("HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT", "rustwsgi.request_id")


def wait_for(path):
    with open(path) as pipe:
        pipe.read()


def errors(environ):
    stream = environ["wsgi.errors"]
    print("one", "line", file=stream)
    stream.write("two\nli")
    stream.write("nes\n")


def blocks(count):
    for _ in range(count):
        yield b"x" * 65536


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    fields = [("Content-Type", "application/json")]
    if path == "/own":
        fields += [("x-request-id", "own"), ("Server-Timing", "db;dur=53")]
    elif path == "/fail":
        raise ValueError("in the application")
    elif path == "/errors":
        errors(environ)
    elif path == "/log":
        logger.warning("from the application")
    elif path == "/wait":
        wait_for(query)
    elif path == "/spend":
        time.sleep(float(query.partition("&")[0]))
        start_response("200 OK", fields)
        return iter([b"a", b"b"])
    elif path == "/stream":
        start_response("200 OK", fields)
        return blocks(int(query))
    elif path == "/seize":
        libc = ctypes.PyDLL(None)  # keeps the interpreter during its calls
        libc.close(libc.open(query.encode(), os.O_RDONLY))
    start_response("200 OK", fields)
    return [json.dumps({key: environ[key] for key in KEYS if key in environ}).encode()]
