"""Requests that say which worker ran them, and leave a record in the file RECORDS.

/                the body of the request, and the process id
/hold?PATH       waits until the named pipe at PATH is written to
/seize?PATH      keeps the interpreter to itself until the named pipe at PATH is written to, as a C
                 extension may; /seize?N keeps it for N seconds
/ends            how many ends of their queue this worker has, and a child that it forks
/garble          sends nonsense to the other workers, as broken code in a worker could
/run?ID,SECONDS  records its begin and its end, and sleeps in between
"""

import ctypes
import json
import os
import socket
import time

PID = os.getpid()
records = os.open(os.environ.get("RECORDS", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def seize(until):
    libc = ctypes.PyDLL(None)  # keeps the interpreter during its calls
    libc.write(2, b"seized\n", 7)
    if until.startswith("/"):
        libc.close(libc.open(until.encode(), os.O_RDONLY))
    else:
        libc.sleep(int(until))


def queue_ends():
    """Copies of the sockets over which workers hand requests over."""
    for name in os.listdir("/proc/self/fd"):
        try:
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with copy:
            if copy.type & socket.SOCK_SEQPACKET == socket.SOCK_SEQPACKET:
                yield copy


def garble():
    for end in queue_ends():
        end.send(b"nonsense")


def ends_in_child():
    """How many of these sockets a forked child has."""
    pid = os.fork()
    if pid == 0:
        os._exit(len(list(queue_ends())))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def record(event, number):
    os.write(records, f"{event} {number} {PID}\n".encode())


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/hold":
        print("held", file=environ["wsgi.errors"], flush=True)
        with open(query) as pipe:
            pipe.read()
    elif path == "/seize":
        seize(query)
    elif path == "/garble":
        garble()
    elif path == "/ends":
        ends = {"worker": len(list(queue_ends())), "child": ends_in_child()}
    elif path == "/run":
        number, seconds = query.split(",")
        record("begin", number)
        time.sleep(float(seconds))
        record("end", number)
    fields = {name: environ.get(name) for name in FIELDS}
    if path == "/ends":
        fields |= ends
    body = environ["wsgi.input"].read().decode()
    reply = json.dumps({"pid": PID, "body": body, **fields}).encode()
    start_response("200 OK", [("Content-Length", str(len(reply)))])
    return [reply]


FIELDS = ["REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "HTTP_X_FIELD"]
