"""Applications that call os.fork() in a request: the child does not become a second server, and no
client waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, wait_until
from harness.ports import free_port
from harness.supervision import children, is_alive, workers
from harness.wsgi import THREADS, ask, events, get_json, json_of, new_key


@pytest.fixture
def server(fresh_server) -> ServerProcess:
    return fresh_server("fork:app", *THREADS)


def assert_alone(server: ServerProcess, clients: list[Client]) -> None:
    """Every connection, old or new, is answered by the only process."""
    for number in range(60):
        client = clients[number % len(clients)]
        assert json_of(ask(client, "/")) == get_json(server, "/") == "here"
    # The master and its worker.
    wait_until(lambda: len(server.processes()) == 2, "no other process is left")


# --------------------------------------------------------------------- a child that comes back


@pytest.mark.parametrize(
    ("target", "code"),
    [
        *[("call/return", 0), ("call/exit", 7), ("call/fail", 1), ("iterate/block", 0)],
        *[("iterate/end", 0), ("iterate/nothing", 0), ("iterate/exit", 7), ("iterate/fail", 1)],
    ],
)
def test_forked_child_that_returns_ends(server: ServerProcess, target: str, code: int) -> None:
    """Regression: it became a second server on the same sockets and accepted every other client."""
    with server.connect() as one, server.connect() as two:
        assert json_of(ask(one, f"/{target}")) == code
        assert_alone(server, [one, two])


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 7), ("fail", 1)])
def test_child_forked_in_close_ends(server: ServerProcess, how: str, code: int) -> None:
    """The same, from close(), which is called last."""
    key = new_key()
    with server.connect() as one, server.connect() as two:
        assert json_of(ask(one, f"/close/{how}?key={key}")) == "closing"
        assert events(server, key, want=f"ended-{code}") == [f"ended-{code}"]
        assert_alone(server, [one, two])


@pytest.mark.parametrize(
    "where", ["environ", "iterable", "iter", "attribute", "value", "traceback"]
)
def test_child_forked_in_code_that_the_server_calls_ends(
    fresh_server, tmp_path: Path, where: str
) -> None:
    """Regression: the child took the steps that followed. It called post_request, wrote to the error
    log, or sent the response a second time, before it ended."""
    conf = tmp_path / "conf.py"
    conf.write_text(
        "import os, sys\n"
        "def post_request(worker, req, environ, resp):\n"
        "    if '/hidden' in req.path:\n"
        "        print('served by', os.getpid(), file=sys.stderr, flush=True)\n"
    )
    log = ["--access-logfile", str(tmp_path / "access"), "--access-logformat"]
    server = fresh_server(
        "fork:app", "-c", str(conf), *THREADS, *log, "%(U)s %(s)s %({test.forking}e)s"
    )
    key = new_key()
    (pid,) = workers(server, 1)
    with server.connect() as one, server.connect() as two:
        response = ask(one, f"/hidden/{where}?key={key}")
        assert response.status == (500 if where == "traceback" else 200)
        assert events(server, key, want="ended-0") == ["ended-0"]
        assert_alone(server, [one, two])
    server.stop()
    said = server.stderr()
    assert said.count("served by") == 1 and f"served by {pid}" in said
    assert said.count("[request.failed]") == (1 if where == "traceback" else 0)
    assert (tmp_path / "access").read_text().count("/hidden") == 1


@pytest.mark.parametrize("options", [[], ["--preload"]])
def test_child_forked_in_an_import_ends(fresh_server, tmp_path: Path, options: list[str]) -> None:
    """Regression: it became a second worker or master until it found that it had no sockets."""
    (tmp_path / "forking.py").write_text(
        "import os\npid = os.fork()\nif pid:\n    os.waitpid(pid, 0)\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    server = fresh_server("forking:app", *options, "--pythonpath", str(tmp_path))
    assert server.get("/").body == b"ok"
    (pid,) = workers(server, 1)
    assert not children(pid)
    assert "ERROR" not in server.stderr()


def test_child_forked_in_a_configuration_ends(fresh_server, tmp_path: Path) -> None:
    """Regression: it hung as a second master, waiting for a thread that exists only in the
    parent."""
    config = tmp_path / "conf.py"
    config.write_text("")
    server = fresh_server("supervised:app", "-c", str(config))
    server.get("/")
    config.write_text("import os\nif os.fork():\n    os.wait()\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    assert server.get("/").status == 200
    assert "ERROR" not in server.stderr()


def test_forked_child_leaves_the_response_to_its_parent(server: ServerProcess) -> None:
    """Regression: its bytes were among those of the parent, and it waited for ever for a lock that a
    thread of the parent had held."""
    with server.connect() as client:
        assert ask(client, "/write").body == b"parent 3"


def test_forked_child_leaves_the_rest_of_the_request_to_its_parent(fresh_server) -> None:
    server = fresh_server("fork:app", *THREADS, "--request-buffering", "off")
    with server.connect() as client:
        client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        assert json_of(client.response()) == [3, 4]


# -------------------------------------------------------------------------- a child that stays


@pytest.fixture
def spawning(serve) -> Iterator[ServerProcess]:
    yield serve("fork:app", *THREADS, "--keep-alive", "1", "--write-timeout", "1")


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        pytest.param("/spawn", [("Connection", "close")], id="the-client-asks"),
        pytest.param("/spawn?end=close", [], id="the-application-asks"),
        pytest.param("/spawn", [], id="idle"),
    ],
)
def test_connection_is_closed_though_a_child_holds_it(
    spawning: ServerProcess, target: str, fields: list[tuple[str, str]]
) -> None:
    """Regression: the child has the connection's descriptor, too, so the client saw no FIN until
    the child ended."""
    with spawning.connect() as client:
        pid = json_of(client.request(build_request("GET", target, fields=fields)))
        assert client.at_eof()
    assert get_json(spawning, f"/reap?pid={pid}") == -9


def test_connection_is_reset_though_a_child_holds_it(spawning: ServerProcess) -> None:
    """A response without a length must neither end like a complete one nor stay open."""
    with spawning.connect() as client:
        client.send(build_request("GET", "/spawn-break", version="HTTP/1.0"))
        assert client.head().status == 200
        pid = int(client.read_line())
        with pytest.raises(ConnectionResetError):
            client.rest()
    assert get_json(spawning, f"/reap?pid={pid}") == -9


# ------------------------------------------------------------------------- a child that logs

LOGGING = """
import ctypes, os, signal, time

forks = {"python": os.fork, "c": ctypes.PyDLL(None).fork}


def ends(pid):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.0005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def app(environ, start_response):
    fork = forks[environ["PATH_INFO"][1:]]
    for _ in range(400):
        if not (pid := fork()):
            environ["wsgi.errors"].write("child\\n")
            os._exit(0)
        if not ends(pid):
            break
    else:
        pid = 0
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hangs" if pid else b"all have ended"]
"""


@pytest.mark.parametrize("how", ["python", "c"])
def test_child_that_logs_does_not_wait_for_a_thread_of_its_parent(
    fresh_server, tmp_path: Path, how: str
) -> None:
    """Regression: the poller was writing a line of the log at the moment of the fork, and the child
    waited for its lock forever. One in a hundred children hung."""
    (tmp_path / "logging_children.py").write_text(LOGGING)
    server = fresh_server("logging_children:app", *THREADS, "--pythonpath", str(tmp_path))
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), server.connect() as client:
                client.send(b"BAD\r\n\r\n")

    floods = [threading.Thread(target=flood) for _ in range(3)]
    for thread in floods:
        thread.start()
    try:
        # A loaded machine takes minutes for all of them; one that hangs is given up after 20 s.
        with server.connect(timeout=600) as client:
            assert client.request(build_request("GET", f"/{how}")).body == b"all have ended"
    finally:
        over.set()
        for thread in floods:
            thread.join()
    server.wait_for_log("^child$")


# --------------------------------------------------------------------- a child that is signalled


PROCESSES = """
import multiprocessing, os, signal, time

fork = multiprocessing.get_context("fork")


def sleep():
    time.sleep(600)


def terminate():
    process = fork.Process(target=sleep)
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


def pool():
    with fork.Pool(2) as pool:
        return sum(pool.map(abs, [-1, -2, -3]))


def default():
    '''What a child does with the signals that the server catches.'''
    said, say = os.pipe()
    pid = os.fork()
    if not pid:
        ours = "HUP INT QUIT TERM USR1 USR2 TTIN TTOU WINCH CHLD".split()
        numbers = [getattr(signal, f"SIG{name}") for name in ours]
        handlers = {getattr(signal.getsignal(n), "name", signal.getsignal(n)) for n in numbers}
        good = handlers == {"SIG_DFL", signal.default_int_handler}
        good = good and not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(numbers)
        good = good and signal.set_wakeup_fd(-1) == -1
        os.write(say, b"good" if good else repr(handlers).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(say)
    with open(said, "rb") as file:
        return file.read().decode()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {globals()[environ['PATH_INFO'][1:]]()}".encode()]
"""


@pytest.fixture
def processes(fresh_server, tmp_path: Path) -> ServerProcess:
    (tmp_path / "processes.py").write_text(PROCESSES)
    return fresh_server("processes:app", *THREADS, "--pythonpath", str(tmp_path))


@pytest.mark.parametrize(("call", "answer"), [("terminate", -15), ("pool", 6), ("default", "good")])
def test_signal_to_a_child_does_not_reach_the_worker(
    processes: ServerProcess, call: str, answer
) -> None:
    """Regression: the child had the worker's handlers and the socket through which the worker
    learns of signals, so the signal ended the worker."""
    answers = {processes.get(f"/{call}").text for _ in range(5)}
    (worker,) = {said.split()[0] for said in answers}
    assert answers == {f"{worker} {answer}"}
    assert "Worker exiting" not in processes.stderr()


def test_child_inherits_signal_handlers_of_the_application(fresh_server, tmp_path: Path) -> None:
    """Only handlers of the server are removed in a child."""
    (tmp_path / "own.py").write_text(
        "import os, signal, time\n"
        "def own(*_): os._exit(7)\n"
        "signal.signal(signal.SIGALRM, own)\n"
        "def app(environ, start_response):\n"
        "    ready, say = os.pipe()\n"
        "    if not (pid := os.fork()):\n"
        "        os.write(say, b'.')\n"
        "        while True:\n"
        "            time.sleep(0.01)\n"
        "    os.read(ready, 1)\n"
        # CPython from 3.13 on loses a signal between two calls that it would interrupt, in a child of
        # another thread than the main one: it marks the main thread of the parent.
        "    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:\n"
        "        os.kill(pid, signal.SIGALRM)\n"
        "        time.sleep(0.05)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'%d' % os.waitstatus_to_exitcode(ended[1])]\n"
    )
    assert fresh_server("own:app", "--pythonpath", str(tmp_path)).get("/").body == b"7"


@pytest.mark.parametrize("options", [[], ["--preload"]])
def test_child_forked_in_an_import_gets_signals(
    fresh_server, tmp_path: Path, options: list[str]
) -> None:
    """Regression: with --preload the whole server ended."""
    (tmp_path / "imports.py").write_text(
        "import os, signal\n"
        "pid = os.fork()\n"
        "while not pid:\n"
        "    signal.pause()\n"
        "os.kill(pid, signal.SIGTERM)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "from supervised import app as answer\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] != '/code':\n"
        "        return answer(environ, start_response)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'%d' % code]\n"
    )
    server = fresh_server("imports:app", *options, "--pythonpath", str(tmp_path))
    assert server.get("/code").body == b"-15"
    pid = server.get("/").body
    # What the master has heard comes before this.
    server.send_signal(signal.SIGUSR1)
    server.wait_for_event("signal.received", "usr1")
    assert server.get("/").body == pid
    assert "Handling signal: term" not in server.stderr()


# ------------------------------------------------------------------ a child that outlives us


@pytest.mark.parametrize("when", ["request", "import", "preload"])
def test_child_does_not_keep_the_address(door: str, tmp_path: Path, when: str) -> None:
    """Regression: the kernel kept completing handshakes for a server that had ended, and a new one
    could not bind the address."""
    said = tmp_path / "pid"
    call = "leave_behind()" if when != "request" else "pass"
    (tmp_path / "leaving.py").write_text(
        "import os, signal\n"
        "def leave_behind():\n"
        "    ready, begun = os.pipe()\n"
        "    if pid := os.fork():\n"
        "        os.read(ready, 1)\n"
        f"        open({str(said)!r}, 'w').write(str(pid))\n"
        "        return\n"
        "    os.setsid()\n"
        "    null = os.open('/dev/null', os.O_RDWR)\n"
        "    for stream in range(3):\n"
        "        os.dup2(null, stream)\n"
        "    os.write(begun, b'.')\n"
        "    while True:\n"
        "        signal.pause()\n"
        f"{call}\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/fork':\n"
        "        leave_behind()\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    options = ["--pythonpath", str(tmp_path), *(["--preload"] if when == "preload" else [])]
    bind = f"127.0.0.1:{free_port()}"
    child = 0
    try:
        with ServerProcess(door, "leaving:app", *options, bind=bind) as server:
            if when == "request":
                assert server.get("/fork").body == b"ok"
            assert server.get("/").body == b"ok"
            child = int(said.read_text())
            assert server.stop() == 0
            assert is_alive(child)
            with pytest.raises(ConnectionRefusedError):
                server.connect()
            (tmp_path / "leaving.py").write_text("from echo import app\n")
            with ServerProcess(door, "leaving:app", *options, bind=bind) as successor:
                assert successor.get("/").status == 200
    finally:
        if child:
            os.kill(child, signal.SIGKILL)


def test_child_does_not_keep_an_inherited_socket(door: str) -> None:
    """Regression: the child kept the descriptor that the server had inherited."""
    child = 0
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        fd = listener.fileno()
        address = listener.getsockname()
        server = ServerProcess(door, "fork:app", bind=f"fd://{fd}", pass_fds=(fd,)).start()
    try:
        child = get_json(server, "/spawn?aside=1")
        assert server.stop() == 0
        assert is_alive(child)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, TIMEOUT)
    finally:
        server.stop()
        if child:
            os.kill(child, signal.SIGKILL)


def test_child_of_an_embedding_program_does_not_keep_the_address() -> None:
    """The same for `rustwsgi.Server`; the program continues to serve after the fork."""
    rustwsgi = pytest.importorskip("rustwsgi")

    def app(environ, start_response):  # type: ignore[no-untyped-def]
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with rustwsgi.Server(app, bind=f"127.0.0.1:{free_port()}") as server:
        address = (server.host, server.port)
        ready, begun = os.pipe()
        pid = os.fork()
        if not pid:
            os.write(begun, b".")
            while True:
                signal.pause()
        try:
            os.read(ready, 1)
            with Client(socket.create_connection(address, TIMEOUT)) as client:
                assert client.request(build_request()).body == b"ok"
            server.stop()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, TIMEOUT)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
