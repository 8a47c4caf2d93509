"""Applications that take their connections, by the path of the request."""

from __future__ import annotations

import copy
import os
import select
import socket
import threading
import time

ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
#: Threads that run requests which have taken their connections.
inside = set()
KEYS = ("gunicorn.socket", "werkzeug.socket", "rustwsgi.socket")


def worker_threads() -> int:
    """Threads that run requests, or wait for some, without the main thread."""
    return sum(thread.name.removeprefix("rustwsgi-").isdigit() for thread in threading.enumerate())


def echo(sock: socket.socket) -> None:
    sock.sendall(ACCEPT)
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    sock = environ.get("rustwsgi.socket")
    if sock is None or path == "/unused":
        start_response("200 OK", [("Content-Type", "text/plain")])
        facts = [
            *(key for key in KEYS if key in environ),
            f"multithread={environ['wsgi.multithread']}",
            f"inside={len(inside)}",
            f"threads={worker_threads()}",
            f"pid={os.getpid()}",
        ]
        return ["\n".join(facts).encode()]
    inside.add(threading.get_ident())
    try:
        return globals()[path.strip("/")](environ, start_response, sock)
    finally:
        inside.discard(threading.get_ident())


def plain(environ, start_response, sock):
    """The echo; the response is ignored."""
    echo(sock)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ignored"]


def looked_at(environ, start_response, sock):
    """What debuggers do is not a use."""
    facts = [repr(sock), isinstance(sock, socket.socket), bool(sock), sock is not None, hash(sock)]
    facts.append(str(environ))
    copy.copy(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{len(facts)} {isinstance(sock, socket.socket)}".encode()]


def described(environ, start_response, sock):
    """The class and state of the socket."""
    before = isinstance(sock, socket.socket), environ["gunicorn.socket"] is sock
    fileno = sock.fileno()
    line = f"{before} {type(sock) is socket.socket} {fileno >= 0} {sock.getblocking()} {sock.family.name}"
    sock.sendall(ACCEPT + line.encode() + b"\n")
    sock.close()
    raise StopIteration


def selected(environ, start_response, sock):
    """Bytes that came with the head are reported by the kernel."""
    sock.sendall(ACCEPT)
    while True:
        ready, _, _ = select.select([sock], [], [], 10)
        data = sock.recv(65536) if ready else b"nothing\n"
        if not data:
            raise ConnectionError
        sock.sendall(data)


def body(environ, start_response, sock):
    """The content first, then the connection."""
    content = environ["wsgi.input"].read()
    sock.sendall(ACCEPT + b"%d\n" % len(content))
    echo_rest(sock)
    return []


def echo_rest(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


def too_early(environ, start_response, sock):
    """The content was not read: the connection cannot be taken."""
    try:
        sock.fileno()
    except OSError as error:
        start_response("200 OK", [])
        return [str(error).encode()]
    raise AssertionError


def begun(environ, start_response, sock):
    """The response has begun: the connection cannot be taken."""
    write = start_response("200 OK", [("Content-Length", "4")])
    write(b"no")
    try:
        sock.fileno()
    except OSError:
        write(b"!!")
    return []


def fails(environ, start_response, sock):
    sock.sendall(ACCEPT)
    sock.close()
    raise ValueError("after the upgrade")


def closing(environ, start_response, sock):
    """close() of the iterable is called."""

    class Blocks:
        def __iter__(self):
            yield b"ignored"

        def close(self):
            sock.sendall(ACCEPT + b"closed\n")
            sock.close()

    sock.fileno()
    return Blocks()


kept: list[socket.socket] = []


def keep(environ, start_response, sock):
    """The socket is kept unused, and used by a later request."""
    kept.append(sock)
    start_response("200 OK", [])
    return [b"kept"]


def use_kept(environ, start_response, sock):
    try:
        kept[-1].fileno()
    except OSError as error:
        start_response("200 OK", [])
        return [type(error).__name__.encode()]
    raise AssertionError


def thread(environ, start_response, sock):
    """Another thread uses the connection after the request."""
    sock.fileno()
    threading.Thread(target=echo, args=(sock,), daemon=True).start()
    return []


def half(environ, start_response, sock):
    """Sends, shuts its side down, and reads to the end."""
    sock.sendall(ACCEPT + b"bye\n")
    sock.shutdown(socket.SHUT_WR)
    received = b""
    while data := sock.recv(65536):
        received += data
    print(f"received {len(received)}", flush=True)
    sock.close()


def source(environ, start_response, sock):
    """Sends as much as the query says, in large blocks."""
    sock.sendall(ACCEPT)
    left = int(environ["QUERY_STRING"])
    sent = 0
    block = bytes(range(256)) * 1024
    try:
        while left > 0:
            count = sock.send(block[: min(left, len(block))])
            sent, left = sent + count, left - count
            # The pattern continues in the next block.
            block = block[count % 256 :] + block[: count % 256]
    except OSError as error:
        print(f"failed {type(error).__name__}", flush=True)
    sock.close()


def sink(environ, start_response, sock):
    """Reads nothing until the file of the query exists; then reports what it reads."""
    sock.sendall(ACCEPT)
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
    total, is_right = 0, True
    while data := sock.recv(65536):
        start = total % 256
        pattern = bytes(range(256)) * (len(data) // 256 + 2)
        is_right &= data == pattern[start : start + len(data)]
        total += len(data)
    sock.sendall(f"{total} {is_right}\n".encode())
    sock.close()


def disconnected(environ, start_response, sock):
    """Notices the end of its client without a read."""
    sock.sendall(ACCEPT)
    is_disconnected = environ["rustwsgi.client_disconnected"]
    sock.sendall(f"{is_disconnected()}\n".encode())
    while not is_disconnected():
        time.sleep(0.01)
    print("noticed", flush=True)
    sock.close()


def hints(environ, start_response, sock):
    """Takes the connection after a 103."""
    environ["wsgi.early_hints"]([("Link", "</a>")])
    return plain(environ, start_response, sock)


def fork(environ, start_response, sock):
    """A child cannot take the connection."""
    pid = os.fork()
    if pid == 0:
        try:
            sock.fileno()
        except OSError:
            os._exit(7)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    start_response("200 OK", [])
    return [str(os.waitstatus_to_exitcode(status)).encode()]


def sink_unused(environ, start_response, sock):
    """Runs longer than --timeout, without the connection."""
    while True:
        time.sleep(0.05)


def waits(environ, start_response, sock):
    """Waits until the file of the query exists, without the connection."""
    while not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
    start_response("200 OK", [])
    return [b"ok"]
