"""The control socket: `rustwsgi ctl`, who may use it, and clients that misbehave."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import TIMEOUT, ServerProcess, build_request, run_cli, wait_until
from harness.control import Control, outcome
from harness.metrics import OPTIONS, Metrics
from harness.server import StartFailed
from harness.supervision import children, descriptors, end, freeze, workers

APP = "handed_over:app"
Factory = Callable[..., ServerProcess]
#: For cases that run the command: the embedded binary starts it without Python.
both_doors = pytest.mark.second_door("every case")


@pytest.fixture
def control(tmp_path: Path, door: str) -> Control:
    return Control(tmp_path, door)


def begin_upgrade(server: ServerProcess) -> int:
    """Start a new master, and wait until it serves; its pid."""
    start = server.wait_for_event("server.ready").end()
    server.send_signal(signal.SIGUSR2)
    master = int(server.wait_for_event("upgrade.started", r"master (\d+)", start=start)[1])
    server.wait_for_event("server.ready", start=start)
    return master


def hold(server: ServerProcess, stack: ExitStack, fifo: Path) -> None:
    """Keep a thread in a request until the stack is closed."""
    os.mkfifo(fifo)
    client = stack.enter_context(server.connect())
    start = len(server.stderr())
    client.send(build_request("GET", f"/hold?{fifo}"))
    # Not "^held": another worker may have written the word, and not yet the end of its line.
    server.wait_for_log("held", start=start)
    stack.callback(lambda: fifo.open("w").close())


@both_doors
def test_status_and_requests_are_shown_at_both_addresses(
    fresh_server: Factory, door: str, control: Control, tmp_path: Path
) -> None:
    server = fresh_server(APP, *control.options, *OPTIONS, "--workers", "2", "--threads", "1")
    metrics = Metrics(server)
    pids = workers(server, 2)
    wait_until(lambda: metrics.get("/ready").status == 200, "the server is ready")
    at_metrics = ["--metrics", "{}:{}".format(*metrics.address)]
    with ExitStack() as stack:
        hold(server, stack, tmp_path / "a")
        hold(server, stack, tmp_path / "b")
        metrics.wait_for_requests(*((f"/hold?{tmp_path}/{name}", "running") for name in "ab"))
        shown = []
        for address in (list(control.options), at_metrics):
            done = run_cli(door, "ctl", *address, "status")
            assert (done.returncode, done.stderr) == (0, ""), done
            assert f"master {server.pid}: serving, ready" in done.stdout
            assert "2 workers, 2 threads (2 busy), 0 requests queued" in done.stdout
            assert {int(line.split()[0]) for line in done.stdout.splitlines()[-2:]} == pids
            done = run_cli(door, "ctl", *address, "requests")
            assert f"/hold?{tmp_path}/a" in done.stdout and "running" in done.stdout
            assert len(done.stdout.splitlines()) == 3
            done = run_cli(door, "ctl", *address, "requests", "--json")
            shown.append([(r["worker"], r["thread"], r["target"]) for r in json.loads(done.stdout)])
        assert sorted(shown[0]) == sorted(shown[1]) and len(shown[0]) == 2
        done = run_cli(door, "ctl", *at_metrics, "reload")
        assert done.returncode == 2 and "needs the control socket" in done.stderr
    wait_until(lambda: control.json("requests") == [], "no request runs")
    assert control.succeeds("requests") == "No request runs or waits.\n"


@both_doors
def test_number_of_workers_changes(fresh_server: Factory, control: Control) -> None:
    server = fresh_server(APP, *control.options)
    workers(server, 1)
    assert control.succeeds("workers", "3") == "Changing the number of workers from 1 to 3\n"
    workers(server, 3)
    assert control.json("workers", "3") == {"workers": 3, "previous": 3}
    assert control.succeeds("workers", "3") == "The number of workers is 3 already\n"
    control.succeeds("workers", "1")
    workers(server, 1)
    for count in (0, 1025):
        line = json.dumps({"command": "workers", "count": count}).encode()
        assert "not a number of workers" in control.send(line + b"\n")["error"]
    server.wait_for_event("control.command", "workers .*of user ")


@both_doors
def test_reload_waits_for_its_outcome(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    module = tmp_path / "shop.py"
    module.write_text("from handed_over import app\n")
    config = tmp_path / "rustwsgi.toml"
    config.write_text("threads = 2\n")
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps")}
    server = fresh_server("shop:app", *control.options, cwd=tmp_path, env=env)
    before = workers(server, 1)
    assert control.succeeds("reload") == "Reloaded: 1 worker\n"
    workers(server, 1, without=before)
    assert control.json("reload") == {"workers": 1}

    config.write_text("thraeds = 2\n")
    assert "the reload was rejected: " in control.fails("reload")
    config.write_text("threads = 2\n")

    module.write_text("raise RuntimeError\n")
    (kept,) = workers(server, 1)  # the one before has ended
    said = control.fails("reload")
    assert "the reload failed: Worker " in said and "the old workers keep serving" in said
    assert server.get("/").status == 200
    wait_until(lambda: children(server.pid) == {kept}, "the old worker stays")
    reloads = control.status()["reloads"]
    expected = {"completed": 2, "rejected": 1, "rolled_back": 1}
    assert {name: count for name, count in reloads.items() if count} == expected


def test_number_of_workers_survives_a_roll_back(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    """Regression: the number of the old deployment came back with it."""
    module = tmp_path / "shop.py"
    module.write_text("from handed_over import app\n")
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps")}
    server = fresh_server("shop:app", *control.options, "--workers", "2", cwd=tmp_path, env=env)
    before = workers(server, 2)
    os.mkfifo(tmp_path / "gate")
    module.write_text("open('gate').read()\nraise RuntimeError\n")
    with control.connect() as sock:
        sock.sendall(b'{"command": "reload"}\n')
        server.wait_for_event("worker.booting", start=server.wait_for_event("reload.started").end())
        assert control.json("workers", "1") == {"workers": 1, "previous": 2}
        (tmp_path / "gate").open("w").close()
        assert "the reload failed: Worker " in outcome(sock)["error"]
    assert control.json("workers", "1") == {"workers": 1, "previous": 1}
    assert workers(server, 1) < before
    assert server.get("/").status == 200


@both_doors
def test_reopen_uses_new_files(fresh_server: Factory, control: Control, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "access"
    log.parent.mkdir()
    server = fresh_server(APP, *control.options, "--access-logfile", str(log))
    log.rename(tmp_path / "old")
    assert control.succeeds("reopen") == "Reopened the log files\n"
    server.get("/new")
    wait_until(lambda: log.exists() and "/new" in log.read_text(), "the new file is used")
    log.rename(tmp_path / "older")
    log.parent.rmdir()
    assert f"cannot open the access log {log}" in control.fails("reopen")


@both_doors
def test_stop_waits_for_the_end(fresh_server: Factory, control: Control, tmp_path: Path) -> None:
    server = fresh_server(APP, *control.options)
    with ExitStack() as stack:
        hold(server, stack, tmp_path / "hold")
        stopping = control.start("stop")
        server.wait_for_event("server.stopping")
        wait_until(lambda: control.status()["stage"] == "stopping", "the stage is shown")
        assert "the server is shutting down" in control.fails("workers", "2")
        start = len(server.stderr())
        again = control.start("stop")
        server.wait_for_event("control.command", "stop", start=start)
        assert stopping.poll() is None
    assert server.wait() == 0
    for command in (stopping, again):
        out, err = command.communicate(timeout=TIMEOUT)
        assert (command.returncode, out, err) == (0, "Stopped\n", "")
    assert server.stderr().count("[server.stopping]") == 1
    assert not control.path.exists()
    said = control.fails("status")
    assert "there is no such socket; start the server with --control-socket" in said


def test_reload_that_a_stop_ends_has_failed(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    module = tmp_path / "shop.py"
    module.write_text("from handed_over import app\n")
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps")}
    server = fresh_server("shop:app", *control.options, cwd=tmp_path, env=env)
    server.wait_for_event("server.ready")
    os.mkfifo(tmp_path / "gate")
    module.write_text("open('gate').read()\n")
    with ExitStack() as stack:
        sock = stack.enter_context(control.connect())
        sock.sendall(b'{"command": "reload"}\n')
        server.wait_for_event("reload.started")
        server.send_signal(signal.SIGTERM)
        assert outcome(sock) == {"ok": False, "error": "the server is shutting down"}
    assert server.wait() == 0


@both_doors
def test_master_answers_while_workers_keep_their_interpreters(
    fresh_server: Factory, control: Control
) -> None:
    server = fresh_server(APP, *control.options, "--graceful-timeout", "1")
    pid = workers(server, 1)
    with server.connect() as client:
        client.send(build_request("GET", "/seize?600"))
        server.wait_for_log("seized")
        [request] = control.json("requests")
        assert request["worker"] in pid and request["target"] == "/seize?600"
        freeze(*pid)
        assert len(control.status()["workers"]) == 1
        end(*pid, signal.SIGKILL)
    workers(server, 1, without=pid)
    assert control.json("status")["restarts"]["killed"] == 1


@pytest.mark.parametrize(
    ("options", "mode"), [([], 0o600), (["--control-socket-mode", "660"], 0o660)]
)
def test_socket_has_its_mode(
    fresh_server: Factory, control: Control, options: list[str], mode: int
) -> None:
    fresh_server(APP, *control.options, *options, "--umask", "0")
    assert stat.S_IMODE(control.path.stat().st_mode) == mode


@pytest.mark.parametrize("notation", ["0o640", "640", '"640"', '"0640"', '"0o640"'])
def test_mode_in_a_file_is_octal_in_each_notation(
    fresh_server: Factory, control: Control, tmp_path: Path, notation: str
) -> None:
    """Regression: the number 0o640 is 416, which is octal digits, too."""
    file = tmp_path / "conf.toml"
    file.write_text(f"control_socket_mode = {notation}\n")
    fresh_server(APP, "-c", str(file), *control.options)
    assert stat.S_IMODE(control.path.stat().st_mode) == 0o640


def test_stale_socket_is_replaced_and_one_in_use_is_an_error(
    fresh_server: Factory, door: str, control: Control
) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(control.path))
    server = fresh_server(APP, *control.options)
    assert control.status()["pid"] == server.pid
    with pytest.raises(StartFailed, match=r"--control-socket: .*another server is listening"):
        fresh_server(APP, *control.options)
    assert control.status()["pid"] == server.pid


@both_doors
def test_upgrade_passes_the_socket_on(fresh_server: Factory, control: Control) -> None:
    server = fresh_server(APP, *control.options, "--graceful-timeout", "1")
    master = begin_upgrade(server)
    assert control.status()["pid"] == server.pid
    control.succeeds("stop")
    wait_until(lambda: control.status()["pid"] == master, "the new master answers")
    assert control.path.exists()
    control.succeeds("stop")
    # The master answers the client before it removes the file.
    wait_until(lambda: not control.path.exists(), "the socket is removed")
    assert "RUSTWSGI_INHERITED" not in server.stderr()


@both_doors
def test_upgrade_without_the_option_removes_the_socket(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    """Regression: the old master left the files of its sockets to the new one, which did not know
    those that it does not use."""
    config = tmp_path / "rustwsgi.toml"
    sockets = {name: tmp_path / name for name in ("old", "kept")}
    binds = {name: f'"unix:{path}"' for name, path in sockets.items()}
    config.write_text(
        f'control_socket = "{control.path}"\n'
        f'bind = ["127.0.0.1:0", {binds["old"]}, {binds["kept"]}]\n'
    )
    server = fresh_server(APP, "--config", str(config), bind=None)
    server.wait_for_event("server.ready")
    config.write_text(f'bind = ["127.0.0.1:0", {binds["kept"]}]\n')
    master = begin_upgrade(server)
    assert control.status()["pid"] == server.pid
    assert sockets["old"].exists()
    control.succeeds("stop")
    server.wait_for_event("upgrade.completed")
    assert not control.path.exists() and not sockets["old"].exists()
    assert "there is no such socket" in control.fails("status")
    assert sockets["kept"].exists()
    os.kill(master, signal.SIGTERM)
    assert server.wait() == 0
    wait_until(lambda: not sockets["kept"].exists(), "the new master has ended")


@both_doors
def test_workers_can_not_use_the_socket(
    fresh_server: Factory, control: Control, tmp_path: Path
) -> None:
    (tmp_path / "inside.py").write_text(
        "import os, socket\n"
        "def app(environ, start_response):\n"
        "    with socket.socket(socket.AF_UNIX) as sock:\n"
        f"        sock.connect({str(control.path)!r})\n"
        '        sock.sendall(b\'{"command": "stop"}\\n\')\n'
        "        reply = sock.recv(65536)\n"
        "    start_response('200 OK', [('Content-Length', str(len(reply)))])\n"
        "    return [reply]\n"
    )
    server = fresh_server("inside:app", *control.options, cwd=tmp_path)
    # A client that is connected when a worker is forked.
    with control.connect() as sock:
        reply = json.loads(server.get("/").body)
        assert reply == {"ok": False, "error": "workers and their user may not control the server"}
        control.succeeds("workers", "2")
        [inode] = {
            line.split()[6]
            for line in Path("/proc/net/unix").read_text().splitlines()
            if line.endswith(str(control.path)) and line.split()[5] == "01"
        }
        # A worker that was just forked has all descriptors of the master.
        wait_until(
            lambda: [each["state"] for each in control.status()["workers"]] == ["ready"] * 2,
            "both workers are ready",
        )
        for pid in workers(server, 2):
            assert f"socket:[{inode}]" not in descriptors(pid)
        sock.sendall(b'{"command": "status"}\n')
        assert outcome(sock)["ok"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user_of_the_workers_is_refused_whatever_the_mode_is(
    fresh_server: Factory, public: Path, door: str
) -> None:
    control = Control(public, door)
    options = ["--preload", "--user", "65534", "--group", "65534"]
    server = fresh_server(APP, *control.options, *options, "--control-socket-mode", "666")
    assert control.path.stat().st_uid == 0
    code = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "sock.connect(sys.argv[1])\n"
        'sock.sendall(b\'{"command": "stop"}\\n\')\n'
        "print(sock.recv(65536).decode())\n"
    )
    # Another interpreter than that of the tests may be in a home directory.
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no interpreter that every user may run")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", code, str(control.path)],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    assert "workers and their user may not control the server" in done.stdout, done
    server.wait_for_event("server.ready")
    assert control.status()["ready"]
    os.chown(public, 65534, 65534)
    with pytest.raises(StartFailed, match=r"--control-socket: cannot use .* as root"):
        fresh_server(APP, *control.options, *options)
    os.chown(public, 0, 0)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"GET /status HTTP/1.1\r\n", "not a command"),
        (b"{}\n", "missing field `command`"),
        (b'{"command": "dance"}\n', "unknown variant"),
        (b'{"command": "stacks", "worker": 1}\n', "no worker"),
        (b"x" * 5000, "at most 4096 bytes"),
        (b"[" * 4000 + b"\n", "not a command"),
    ],
)
def test_bad_commands_are_refused(
    serve: Factory,
    door: str,
    tmp_path_factory: pytest.TempPathFactory,
    line: bytes,
    error: str,
) -> None:
    control = Control(tmp_path_factory.getbasetemp(), door)
    serve("echo:app", *control.options)
    assert error in control.send(line)["error"]


def test_commands_are_read_in_pieces_and_one_after_the_other(
    fresh_server: Factory, control: Control
) -> None:
    fresh_server("echo:app", *control.options)
    with control.connect() as sock:
        for byte in b'{"command": "status"}\n':
            sock.sendall(bytes([byte]))
        assert outcome(sock)["ok"]
        sock.sendall(b'{"command": "workers", "count": 1}\n' * 3)
        sock.shutdown(socket.SHUT_WR)
        data = bytearray()
        while more := sock.recv(65536):
            data += more
    assert [json.loads(line)["ok"] for line in data.splitlines()] == [True] * 3


def test_crowd_of_clients_delays_neither_signals_nor_commands(
    fresh_server: Factory, control: Control
) -> None:
    server = fresh_server("echo:app", *control.options)
    server.wait_for_event("server.ready")
    with ExitStack() as stack:
        waiting = stack.enter_context(control.connect())
        for number in range(300):
            sock = stack.enter_context(control.connect())
            # Silent ones, ones in the middle of a command, and ones that never read.
            sock.sendall((b"", b'{"comm', b'{"command": "status"}\n' * 100)[number % 3])
        assert control.status()["ready"]
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        sockets = [each for each in descriptors(server.pid) if each.startswith("socket:")]
        assert len(sockets) < 100, "it is bounded"
        waiting.close()


def test_clients_with_many_commands_leave_the_others_their_turns(
    fresh_server: Factory, control: Control
) -> None:
    server = fresh_server("echo:app", *control.options)
    workers(server, 1)
    with ExitStack() as stack:
        crowd = [stack.enter_context(control.connect()) for _ in range(8)]
        other = stack.enter_context(control.connect())
        start = len(server.stderr())
        freeze(server.pid)
        for sock in crowd:
            sock.sendall(b'{"command": "workers", "count": 1}\n' * 100)
        other.sendall(b'{"command": "reopen"}\n')
        server.send_signal(signal.SIGCONT)
        assert outcome(other)["ok"]
        server.wait_for_event("control.command", "reopen", start=start)
        said = server.stderr()[start:].partition("reopen")[0]
        # It is the ninth client. Each of the others has 100 commands.
        assert said.count("[control.command]") < 50


@both_doors
def test_slow_server_is_given_up(control: Control) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(control.path))
        assert "no server listens there" in control.fails("status")
        listener.listen(0)
        said = control.fails("status", "--timeout", "0.2")
        assert "has not answered within 0.2 s" in said
