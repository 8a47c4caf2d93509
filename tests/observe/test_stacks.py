"""`rustwsgi ctl stacks` and `profile`: what the threads of workers do, also while one of them keeps
the interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness import TIMEOUT, ServerProcess, build_request, wait_until
from harness.control import Control
from harness.doors import WITHOUT_GIL
from harness.supervision import end, freeze, workers

APP = "handed_over:app"
Factory = Callable[..., ServerProcess]
with_gil = pytest.mark.skipif(WITHOUT_GIL, reason="no thread can keep the interpreter")


@pytest.fixture
def control(tmp_path: Path, door: str) -> Control:
    return Control(tmp_path, door)


@contextmanager
def held(server: ServerProcess, fifo: Path) -> Iterator[str]:
    """Keep a thread in a request, with this target."""
    os.mkfifo(fifo)
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("^held")
        yield f"/hold?{fifo}"
        fifo.open("w").close()
        assert client.response().status == 200


@contextmanager
def seized(server: ServerProcess) -> Iterator[int]:
    """Let a thread keep the interpreter, in the only worker, whose pid it is."""
    [pid] = workers(server, 1)
    with server.connect() as client:
        client.send(build_request("GET", "/seize?600"))
        server.wait_for_log("seized")
        yield pid
        end(pid, signal.SIGKILL)


@pytest.mark.second_door("first case")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_stacks_are_shown_with_their_requests(
    fresh_server: Factory, door: str, control: Control, tmp_path: Path, threads: str
) -> None:
    server = fresh_server(APP, *control.options, "--threads", threads)
    [pid] = workers(server, 1)
    with held(server, tmp_path / "hold") as target:
        text = control.succeeds("stacks")
        assert text.startswith(f"Worker {pid}\n")
        blocks = [block for block in text.split("\n\n") if f": GET {target}, running for " in block]
        assert len(blocks) == 1 and 'handed_over.py", line' in blocks[0].splitlines()[1], text
        assert blocks[0].splitlines()[1].endswith("in app")
        [report] = control.json("stacks", str(pid))
        assert report["pid"] == pid and report["note"] is None
        [thread] = [thread for thread in report["threads"] if thread["request"]]
        expected = "MainThread" if threads == "1" else "rustwsgi-"
        assert thread["name"].startswith(expected) and thread["frames"][0]["function"] == "app"
        names = {thread["name"] for thread in report["threads"]}
        # The main thread of the binary runs no Python code while others run requests.
        own = {"rustwsgi-control"} if door == "binary" else {"rustwsgi-control", "MainThread"}
        assert own <= names
    known = f"no worker has the pid 1; there are {pid}"
    assert known in control.fails("stacks", "1")
    assert known in control.send(b'{"command": "stacks", "worker": 1}\n')["error"]


@with_gil
@pytest.mark.parametrize("threads", ["1", "2"])
def test_thread_that_keeps_the_interpreter_is_shown(
    fresh_server: Factory, control: Control, threads: str
) -> None:
    server = fresh_server(APP, *control.options, "--threads", threads)
    with seized(server) as pid:
        # The second time the first reader still waits for the interpreter.
        for _ in range(2):
            [report] = control.json("stacks")
            assert report["pid"] == pid and "a thread keeps it" in report["note"]
            [thread] = [thread for thread in report["threads"] if thread["request"]]
            assert thread["request"]["target"] == "/seize?600"
            assert [frame["function"] for frame in thread["frames"][:2]] == ["seize", "app"]
        assert "was not free during the whole profile" in control.fails("profile", "0.1")


@with_gil
def test_native_frames_of_a_loop_in_c_are_shown(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    (tmp_path / "loops.py").write_text(
        "import sys\n"
        "def app(environ, start_response):\n"
        "    print('looping', file=sys.stderr, flush=True)\n"
        "    sum(range(10**15))\n"
    )
    server = fresh_server("loops:app", *control.options, cwd=tmp_path)
    [pid] = workers(server, 1)
    with server.connect() as client:
        client.send(build_request("GET", "/loop"))
        server.wait_for_log("looping")
        loop = {"function": "app", "file": str(tmp_path / "loops.py"), "line": 4}
        thread: dict[str, Any] = {}

        def is_in_the_loop() -> bool:
            [report] = control.json("stacks")
            thread.update(*[each for each in report["threads"] if each["request"]])
            return bool(thread["frames"][0] == loop)

        wait_until(is_in_the_loop, f"the loop is shown: {thread}")
        assert thread["native"] and thread["request"]["target"] == "/loop"
        end(pid, signal.SIGKILL)


@with_gil
def test_worker_survives_without_the_signal(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    """The application may take the signal away: sending it would end the process then."""
    (tmp_path / "away.py").write_text(
        "import faulthandler, signal\n"
        "from handed_over import app\n"
        "for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):\n"
        "    faulthandler.unregister(number)\n"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps")}
    server = fresh_server("away:app", *control.options, cwd=tmp_path, env=env)
    with seized(server) as pid:
        assert "has the application unregistered it?" in control.fails("stacks")
        assert workers(server, 1) == {pid}


def test_stacks_of_a_worker_that_boots(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "late.py").write_text("def wait():\n    open('gate').read()\nwait()\n")
    server = fresh_server("late:app", *control.options, cwd=tmp_path)
    wait_until(lambda: "line 2, in wait" in control.ctl("stacks").stdout, "the import is shown")
    server.send_signal(signal.SIGTERM)
    server.wait()


def test_worker_that_does_not_answer_fails_the_command(
    fresh_server: Factory, control: Control
) -> None:
    server = fresh_server(APP, *control.options, "--workers", "2")
    pids = workers(server, 2)
    server.wait_for_event("server.ready")
    stopped = min(pids)
    freeze(stopped)
    done = control.ctl("stacks", "--timeout", "5")
    assert done.returncode == 1 and f"worker {stopped} has not answered within 5 s" in done.stderr
    assert f"Worker {max(pids)}\n" in done.stdout
    os.kill(stopped, signal.SIGCONT)
    assert control.json("stacks", str(stopped))[0]["pid"] == stopped


@pytest.mark.second_door("first case")
def test_profile_is_written_by_the_extension(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    server = fresh_server(APP, *control.options, "--workers", "2")
    server.wait_for_event("server.ready")  # a worker that boots runs Python code
    files = {name: tmp_path / f"out.{name}" for name in ("svg", "txt", "json")}
    with held(server, tmp_path / "hold"):
        for path in files.values():
            written = control.succeeds("profile", "0.3", "-o", str(path))
            assert written.startswith(f"Wrote {path}: ") and "of 2 workers" in written
        table = control.succeeds("profile", "0.3")
        assert "100.0%  100.0%  app " in table, table
    [line] = files["txt"].read_text().splitlines()
    stack, _, count = line.rpartition(" ")
    assert stack.startswith("requests;app (") and "handed_over.py:" in stack and int(count) > 0
    assert "app (" in "".join(ElementTree.parse(files["svg"]).getroot().itertext())
    document = json.loads(files["json"].read_text())
    names = [frame["name"] for frame in document["shared"]["frames"]]
    [sample] = document["profiles"][0]["samples"]
    assert [names[number] for number in sample] == ["requests", "app"]
    assert "No Python code has run" in control.succeeds("profile", "0.05")


def test_profile_that_can_not_be_written_is_refused_first(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    fresh_server(APP, *control.options)
    done = control.ctl("profile", "60", "-o", str(tmp_path / "out.png"))
    assert done.returncode == 2 and "has no known extension" in done.stderr
    said = control.fails("profile", "60", "-o", str(tmp_path / "none" / "out.svg"))
    assert "No such file or directory" in said


def test_second_profile_is_refused_and_an_abandoned_one_ends(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    server = fresh_server(APP, *control.options)
    [pid] = workers(server, 1)
    out = tmp_path / "out.svg"
    first = control.start("profile", "60", "-o", str(out))
    server.wait_for_event("control.command", "profile")
    assert f"a profile of worker {pid} is running already" in control.fails("profile", "0.05")
    assert control.json("stacks")[0]["pid"] == pid
    first.send_signal(signal.SIGINT)
    assert first.wait(TIMEOUT) == -signal.SIGINT
    first.communicate()
    wait_until(lambda: control.ctl("profile", "0.05").returncode == 0, "the first one has ended")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_profile_of_a_worker_that_exits_fails(
    fresh_server: Factory, control: Control, tmp_path: Path, how: signal.Signals
) -> None:
    server = fresh_server(APP, *control.options)
    server.wait_for_event("server.ready")
    [pid] = workers(server, 1)
    out = tmp_path / "out.svg"
    profile: subprocess.Popen[str] = control.start("profile", "60", "-o", str(out))
    server.wait_for_event("control.command", "profile")
    # The worker has the command when it refuses another one.
    assert "is running already" in control.fails("profile", "0.05")
    end(pid, how)
    _, said = profile.communicate(timeout=TIMEOUT)
    expected = {
        signal.SIGKILL: f"worker {pid} has ended",
        signal.SIGTERM: f"worker {pid} ends before its profile",
    }
    assert profile.returncode == 1 and expected[how] in said, said
    assert not out.exists()


@pytest.mark.parametrize("command", ["stacks", "profile"])
def test_reply_that_its_client_does_not_read_does_not_keep_the_worker(
    fresh_server: Factory, control: Control, tmp_path: Path, command: str
) -> None:
    (tmp_path / "parked.py").write_text(
        "import threading\n"
        # A socket does not take a report with this name.
        "exec(compile('def park(event): event.wait()', 'x' * 2_000_000, 'exec'))\n"
        "threading.Thread(target=park, args=[threading.Event()], daemon=True).start()\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '0')])\n"
        "    return []\n"
    )
    options = [*control.options, "--graceful-timeout", "10"]
    server = fresh_server("parked:app", *options, cwd=tmp_path)
    [pid] = workers(server, 1)
    server.get("/")
    with control.connect() as client:
        asked: dict[str, object] = {"command": command, "worker": pid}
        if command == "profile":
            asked["seconds"] = 0.05
        client.sendall(json.dumps(asked).encode() + b"\n")
        # The reply has begun.
        assert client.recv(1) == b"{"
        assert server.stop() == 0
    assert "[worker.killed]" not in server.stderr()


def test_requests_are_answered_while_stacks_are_read(
    fresh_server: Factory, control: Control
) -> None:
    """Clients that ask and go away cost neither requests nor descriptors."""
    server = fresh_server(APP, *control.options)
    [pid] = workers(server, 1)
    line = json.dumps({"command": "stacks", "worker": pid}).encode() + b"\n"
    descriptors = Path(f"/proc/{pid}/fd")
    server.get("/")
    before = len(list(descriptors.iterdir()))
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(control.connect()).sendall(line)
            assert server.get("/").status == 200
    assert control.json("stacks")[0]["pid"] == pid
    wait_until(lambda: len(list(descriptors.iterdir())) <= before + 2, "all are closed")


def test_profile_sees_the_middle_of_requests(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    """With Python's switch interval, samples come where requests end and give the interpreter up."""
    (tmp_path / "deep.py").write_text(
        "def dive(depth):\n"
        "    for _ in range(5000): pass\n"
        "    return depth and dive(depth - 1)\n"
        "def app(environ, start_response):\n"
        "    dive(30)\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    server = fresh_server("deep:app", *control.options, cwd=tmp_path)
    profile = control.start("--json", "profile", "1.5")
    with server.connect() as client:
        while profile.poll() is None:
            assert client.request(build_request("GET", "/"), method="GET").status == 200
    out, err = profile.communicate()
    assert profile.returncode == 0, err
    stacks = json.loads(out)["stacks"]
    assert all(stack["thread"] == "requests" for stack in stacks)
    assert len({len(stack["frames"]) for stack in stacks}) > 5
