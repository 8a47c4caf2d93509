"""Tools that watch an application: each runs once, as docs/integrations.md says."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from harness import TIMEOUT, wait_until
from harness.ports import free_port
from harness.projects import PYTHON, run, script, write
from harness.supervision import workers

APP = """
import time
def compute(path):
    text = "called " + path
    return text.encode()
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [compute(environ["PATH_INFO"])]
"""
OPTIONS = ["--bind", "127.0.0.1:0"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path, {"hello.py": APP})


def test_coverage_of_workers_is_written_at_their_exit(start, project: Path) -> None:
    pytest.importorskip("coverage")
    write(project, {".coveragerc": "[run]\nsource = .\nparallel = true\nconcurrency = thread\n"})
    command = [PYTHON, "-m", "coverage", "run", "-m", "rustwsgi"]
    server = start(*command, *OPTIONS, "--workers", "2", "hello:app", cwd=project)
    server.wait_for_event("server.ready")
    assert server.get("/x").text == "called /x"
    assert server.stop() == 0
    run(PYTHON, "-m", "coverage", "combine", cwd=project)
    report = json.loads(
        run(PYTHON, "-m", "coverage", "json", "-o", "-", "-q", cwd=project).stdout.partition("\n")[
            0
        ]
    )
    covered = report["files"]["hello.py"]
    assert covered["missing_lines"] == [], covered


PROMETHEUS = """
from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess
CALLS = Counter("calls", "Calls of the application")
def app(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        CALLS.inc()
        body = b"counted"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""
PROMETHEUS_HOOK = """
from prometheus_client import multiprocess
def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""


def test_prometheus_counts_across_workers(start, project: Path) -> None:
    write(project, {"counted.py": PROMETHEUS, "gunicorn.conf.py": PROMETHEUS_HOOK, "metrics/x": ""})
    env = {"PROMETHEUS_MULTIPROC_DIR": str(project / "metrics")}
    command = [PYTHON, "-m", "rustwsgi", *OPTIONS, "--workers", "2", "counted:app"]
    server = start(*command, cwd=project, env=env)
    server.wait_for_event("server.ready")
    for _ in range(4):
        server.get("/")
    # New workers: what the old ones have counted stays.
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    server.get("/")
    assert "\ncalls_total 5.0\n" in server.get("/metrics").text


def test_debugger_attaches_to_a_worker(start, project: Path) -> None:
    """The adapter of debugpy speaks to its client, which sees the thread that runs a request."""
    pytest.importorskip("debugpy")
    port = free_port()
    hook = f"def post_worker_init(worker):\n    import debugpy\n    debugpy.listen({port})\n"
    write(project, {"debug.conf.py": hook})
    command = [PYTHON, "-m", "rustwsgi", *OPTIONS, "-c", "debug.conf.py", "hello:app"]
    server = start(*command, cwd=project)
    server.wait_for_event("server.ready")
    with (
        socket.create_connection(("127.0.0.1", port), TIMEOUT) as client,
        client.makefile("rb") as replies,
    ):
        debugger = Debugger(client, replies)
        debugger.send("initialize", adapterID="test")
        debugger.send("attach", justMyCode=True)
        debugger.wait_for("event", "initialized")
        breakpoints = [{"line": APP.splitlines().index("    return text.encode()") + 1}]
        source = {"path": str(project / "hello.py")}
        debugger.send("setBreakpoints", source=source, breakpoints=breakpoints)
        debugger.send("configurationDone")
        debugger.wait_for("command", "attach")
        with server.connect() as browser:
            browser.send(b"GET /stopped HTTP/1.1\r\nHost: x\r\n\r\n")
            stopped = debugger.wait_for("event", "stopped")["body"]
            assert stopped["reason"] == "breakpoint"
            debugger.send("continue", threadId=stopped["threadId"])
            assert browser.response("GET").text == "called /stopped"
        debugger.send("disconnect")
        debugger.wait_for("command", "disconnect")


class Debugger:
    """A client of the debug adapter protocol."""

    def __init__(self, client: socket.socket, replies: object) -> None:
        self.client, self.replies, self.number = client, replies, 0

    def send(self, command: str, **arguments: object) -> None:
        self.number += 1
        message = {"seq": self.number, "type": "request", "command": command}
        body = json.dumps({**message, "arguments": arguments}).encode()
        self.client.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def wait_for(self, key: str, value: str) -> dict:
        """The next event or response of this name."""
        while True:
            length = 0
            while line := self.replies.readline().strip():
                length = int(line.partition(b":")[2])
            message = json.loads(self.replies.read(length))
            if message.get(key) == value:
                assert message.get("success", True), message
                return message


def test_memory_profile_has_the_allocations_of_workers(start, project: Path) -> None:
    pytest.importorskip("memray")
    source = 'KEPT = []\ndef keep():\n    KEPT.append(b"x" * 20_000_000)\n' + APP.replace(
        "    text =", "    keep(); text ="
    )
    write(project, {"hello.py": source})
    command = [PYTHON, "-m", "memray", "run", "--follow-fork", "-q", "-o", "profile.bin"]
    server = start(*command, "-m", "rustwsgi", *OPTIONS, "hello:app", cwd=project)
    (worker,) = workers(server, 1)
    server.get("/")
    assert server.stop() == 0
    profile = project / f"profile.bin.{worker}"
    said = run(PYTHON, "-m", "memray", "stats", profile.name, cwd=project).stdout
    assert re.search(r"keep:hello\.py|keep.*hello\.py", said), said


def test_profiler_shows_the_stack_of_a_request(start, project: Path, fifo: Path) -> None:
    if not Path(script("py-spy")).exists():
        pytest.skip("py-spy is not installed")
    source = APP.replace("    text =", f'    open("{fifo}").close()\n    text =')
    write(project, {"hello.py": source})
    server = start(PYTHON, "-m", "rustwsgi", *OPTIONS, "hello:app", cwd=project)
    (worker,) = workers(server, 1)
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        spy = [script("py-spy"), "dump", "--pid", str(worker)]
        wait_until(lambda: "compute (hello.py" in run(*spy, cwd=project).stdout, "the stack")
        fifo.open("w").close()
        assert client.response("GET").status == 200
