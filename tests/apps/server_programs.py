"""Programs that use `rustwsgi.serve` and `rustwsgi.Server`; the environment's PROGRAM chooses one.

Each prints what it has seen as JSON, in one line. What happens when a program ends is what some of
them are about, so each runs in a process of its own: see server/test_api.py.
"""

import atexit
import http.client
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request

import rustwsgi

LOCAL = "127.0.0.1:0"
inside, gate = threading.Event(), threading.Event()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]


def never_ends(environ, start_response):
    """Comes back to the interpreter all the time, as one that computes does."""
    inside.set()
    while True:
        time.sleep(0.001)


def gated(environ, start_response):
    inside.set()
    gate.wait(25)
    return app(environ, start_response)


def get(url):
    with urllib.request.urlopen(url, timeout=25) as response:
        return response.read().decode()


def ask(url):
    """Sends a request, and returns when it is inside the application."""
    threading.Thread(target=get, args=(url,), daemon=True).start()
    assert inside.wait(25)


def raised(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


# --------------------------------------------------------- programs that end in a request's midst


def never_stopped():
    server = rustwsgi.Server(never_ends, bind=LOCAL, graceful_timeout=0).start()
    ask(server.url)
    return None


def stop_in_vain():
    server = rustwsgi.Server(never_ends, bind=LOCAL, graceful_timeout=0).start()
    ask(server.url)
    return server.stop()


def serve_in_vain():
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def client():
        ask(url)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=client, daemon=True).start()
    options = {"bind": f"fd://{listener.fileno()}", "graceful_timeout": 0}
    return raised(lambda: rustwsgi.serve(never_ends, **options))


# ------------------------------------------------------------------------ programs that get a signal twice


def told_twice(again, app=gated):
    """What `serve()` comes to if, while a request runs, it gets TERM and then, often, another signal."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def client():
        idle = socket.create_connection(listener.getsockname(), timeout=25)
        ask(url)  # on a connection that is accepted after this one
        os.kill(os.getpid(), signal.SIGTERM)
        assert not idle.recv(1), "the server has received TERM, and closes idle connections"
        for _ in range(10):
            time.sleep(0.05)  # signals that come together count as one
            os.kill(os.getpid(), again)
        gate.set()

    threading.Thread(target=client, daemon=True).start()
    options = {"bind": f"fd://{listener.fileno()}", "graceful_timeout": 600}
    signal.signal(again, signal.SIG_IGN)  # what comes when the server has ended
    return raised(lambda: rustwsgi.serve(app, **options))


def told_term_again():
    return told_twice(signal.SIGTERM)


def told_int():
    return told_twice(signal.SIGINT, never_ends)


# ------------------------------------------------------------------- handlers of the program


def served_until(act, app=app):
    """The outcome of `serve()` if a client calls `act` with the server's URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def client():
        get(url)
        act(url)

    threading.Thread(target=client, daemon=True).start()
    return raised(lambda: rustwsgi.serve(app, bind=f"fd://{listener.fileno()}"))


def own_handler():
    seen = []
    signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    outcome = served_until(lambda url: os.kill(os.getpid(), signal.SIGTERM))
    signal.raise_signal(signal.SIGTERM)  # it is still set
    return outcome, seen


def own_handler_raises():
    def handler(number, frame):
        raise LookupError("enough")

    signal.signal(signal.SIGINT, handler)
    return served_until(lambda url: os.kill(os.getpid(), signal.SIGINT))


def handler_of_the_server_is_called():
    def stopping(environ, start_response):
        if environ["PATH_INFO"] == "/stop":
            signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)
        return app(environ, start_response)

    outcome = served_until(lambda url: get(url + "/stop"), stopping)
    return outcome, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def one_int():
    """A single INT, for which Python also calls the server's handler, lets a request finish."""
    bodies = []

    def act(url):
        asking = threading.Thread(target=lambda: bodies.append(get(url + "/gated")))
        asking.start()
        assert inside.wait(25)
        idle = http.client.HTTPConnection(url.removeprefix("http://"), timeout=25)
        idle.request("GET", "/")
        idle.getresponse().read()
        os.kill(os.getpid(), signal.SIGINT)
        assert not idle.sock.recv(1), "the server stops, and closes idle connections"
        gate.set()
        asking.join(25)

    def either(environ, start_response):
        chosen = gated if environ["PATH_INFO"] == "/gated" else app
        return chosen(environ, start_response)

    return served_until(act, either), bodies


# ------------------------------------------------------------------- children and their signals


def in_a_child(report):
    """What `report` returns in a forked child, which says it is ready and then waits for TERM."""
    said, say = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(say, report().encode())
        os.close(say)
        while True:
            signal.pause()
    os.close(say)
    with open(said, "rb") as file:
        text = file.read().decode()
    os.kill(pid, signal.SIGTERM)
    return [text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]


def handlers():
    numbers = (signal.SIGINT, signal.SIGTERM)
    held = signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(numbers)
    found = [signal.getsignal(number) for number in numbers]
    names = [getattr(handler, "name", None) or handler.__name__ for handler in found]
    return f"{names} {signal.set_wakeup_fd(-1)} {held}"


def forking(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [json.dumps(in_a_child(handlers)).encode()]


def children_of(start, stop):
    """What five children see, one after the other, and whether the server is still there."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    seen = []

    def client():
        for _ in range(5):
            seen.append(json.loads(get(url)))
        stop()

    asking = threading.Thread(target=client, daemon=True)
    asking.start()
    start(lambda: rustwsgi.serve(forking, bind=f"fd://{listener.fileno()}"))
    asking.join(25)
    listener.close()
    return seen, in_a_child(handlers)


def children_of_serve():
    return children_of(lambda serve: serve(), lambda: os.kill(os.getpid(), signal.SIGTERM))


def children_of_a_thread():
    def start(serve):
        threading.Thread(target=serve, daemon=True).start()
        assert over.wait(25)

    over = threading.Event()
    return children_of(start, over.set)


def ends_beside_serve():
    """The program ends while a daemon thread is in `serve()`, and its end takes long."""

    class Slow:
        def __del__(self, sleep=time.sleep):
            sleep(1.5)

    def register(hook):
        """Lets the program end before the hook of `serve()` is there, if a request is served by then."""
        if hook.__name__ == "rustwsgi_stop_at_exit":
            time.sleep(1)
        return registered(hook)

    registered, atexit.register = atexit.register, register
    listener = socket.create_server(("127.0.0.1", 0))
    options = {"bind": f"fd://{listener.fileno()}"}
    threading.Thread(target=rustwsgi.serve, args=(app,), kwargs=options, daemon=True).start()
    body = get(f"http://127.0.0.1:{listener.getsockname()[1]}")
    # Deleted with all modules, when other threads may no longer run.
    sys.modules["slow"] = Slow()
    return body


# ------------------------------------------------------------------------------ start and stop


def threads_of_a_server():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rustwsgi")]


def start_fails_half_way():
    """The third thread cannot be started."""
    bind = f"127.0.0.1:{os.environ['FREE_PORT']}"
    start = threading.Thread.start

    def failing(self):
        if self.name == "rustwsgi-2":
            raise RuntimeError("can't start new thread")
        start(self)

    server = rustwsgi.Server(app, bind=bind, threads=4)
    threading.Thread.start = failing
    failure = raised(server.start)
    threading.Thread.start = start
    left = threads_of_a_server()
    with server:  # on the same port
        return [failure, left, get(server.url)]


def start_at_once():
    server, barrier = rustwsgi.Server(app, bind=LOCAL), threading.Barrier(8)
    outcomes = []

    def start():
        barrier.wait(25)
        outcomes.append(raised(server.start))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = sorted(str(outcome and outcome[0]) for outcome in outcomes)
    return [names, get(server.url), server.stop(), threads_of_a_server()]


def stop_inside():
    outcomes = []

    def stops(environ, start_response):
        outcomes.append(raised(server.stop))
        return app(environ, start_response)

    server = rustwsgi.Server(stops, bind=LOCAL).start()
    body = get(server.url)
    return [outcomes[0][0], body, server.stop(), server.stop(), threads_of_a_server()]


def stop_again():
    server = rustwsgi.Server(gated, bind=LOCAL, graceful_timeout=0).start()
    ask(server.url)
    first = [server.stop(), server.stop()]
    gate.set()
    end = time.monotonic() + 25
    while not (stopped := server.stop()) and time.monotonic() < end:
        time.sleep(0.01)
    return [first, stopped, threads_of_a_server()]


# -------------------------------------------------------------------------- a forked process


def fork_inside():
    """The child leaves the block; the parent stays in it and serves."""
    path = os.path.abspath(f"{os.getpid()}.sock")
    try:
        with rustwsgi.Server(app, bind=[LOCAL, f"unix:{path}"]) as server:
            pid = os.fork()
            if not pid:
                sys.exit(7)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return [status, get(server.url), os.path.exists(path)]
    except SystemExit as end:
        os._exit(end.code)


# ------------------------------------------------------------------------- gunicorn's loggers


def lines_of(*paths):
    """The access log of a server that gets these requests."""
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "access.log")
        options = {"access_logfile": log, "access_logformat": "%(U)s"}
        with rustwsgi.Server(app, bind=LOCAL, **options) as server:
            for path in paths:
                get(f"{server.url}{path}")
        with open(log) as file:
            return file.read().split()


def loggers():
    error, access = logging.getLogger("gunicorn.error"), logging.getLogger("gunicorn.access")
    access.addFilter(lambda record: record.args["U"] != "/b")
    seen = [lines_of("/a", "/b"), lines_of("/b", "/c")]
    return [*seen, [len(logger.handlers) for logger in (error, access)]]


def loggers_of_the_program():
    """A program that has set up one of the loggers keeps both as they are."""
    error, access = logging.getLogger("gunicorn.error"), logging.getLogger("gunicorn.access")
    own = logging.NullHandler()
    error.handlers, access.handlers = [own], []
    seen = lines_of("/a")
    return [seen, error.handlers == [own], access.handlers]


# ------------------------------------------------------------------------------------ mistakes


async def asgi(scope, receive, send):
    pass


def mistakes():
    launch = ["factory", "app_dir", "chdir", "pythonpath", "env", "venv", "check_config"]
    found = {name: raised(lambda n=name: rustwsgi.Server(app, **{n: "x"})) for name in launch}
    found["print_config"] = raised(lambda: rustwsgi.serve(app, print_config=True))
    found["reload"] = raised(lambda: rustwsgi.Server(app, reload=True))
    found["config"] = raised(lambda: rustwsgi.serve(app, config="rustwsgi.toml"))
    found["max_requests"] = raised(lambda: rustwsgi.Server(app, max_requests=10))
    found["pid"] = raised(lambda: rustwsgi.Server(app, pid="server.pid"))
    found["not callable"] = raised(lambda: rustwsgi.Server("app"))
    found["async"] = raised(lambda: rustwsgi.Server(asgi))
    found["access log"] = raised(
        rustwsgi.Server(app, bind=LOCAL, access_logfile="/nowhere/access.log").start
    )
    found["error log"] = raised(
        rustwsgi.Server(app, bind=LOCAL, error_logfile="/nowhere/error.log").start
    )
    # Values that ask for nothing are no mistake.
    nothing = {"reload": False, "max_requests": 0, "pid": None, "config": None, "preload": False}
    server = rustwsgi.Server(app, bind=LOCAL, **nothing)
    for name in ("url", "urls", "host", "port"):
        found[name] = raised(lambda n=name: getattr(server, n))
    return found


def factory():
    def create_app():
        return app

    with rustwsgi.Server(create_app, bind=LOCAL):
        return None


if os.environ.get("PROGRAM"):
    print(json.dumps(globals()[os.environ["PROGRAM"]]()), flush=True)
