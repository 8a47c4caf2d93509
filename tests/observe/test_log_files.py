"""Log files: which user opens them, reopening at USR1, and failures that must not end the server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import (
    APPS,
    TIMEOUT,
    Client,
    Response,
    build_request,
    child_environment,
    door_command,
    run_cli,
    wait_until,
)
from harness.control import Control
from harness.supervision import children

APP = "supervised:app"
# These import the application beforehand, as root: its interpreter may be in a home directory.
AS_NOBODY = ["--preload", "--user", "65534", "--group", "65534"]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def lines(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def wait_for(path: Path, pattern: str) -> None:
    wait_until(lambda: re.search(pattern, lines(path), re.M), f"{pattern} in {path}: {lines(path)}")


class Logged:
    """A server whose error log is a file, on a unix socket."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process, self.path = process, path
        wait_until(self.answers, "it serves", 2 * TIMEOUT)

    def answers(self) -> bool:
        assert self.process.poll() is None, "it has ended"
        try:
            return self.get("/").status == 200
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def get(self, target: str) -> Response:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(str(self.path))
            return Client(sock).request(build_request("GET", target), method="GET")

    def said(self, text: str) -> None:
        """Have the application write `text` to the error log."""
        assert self.get(f"/say?{text}").status == 200

    def replace_worker(self) -> None:
        wait_until(lambda: len(children(self.process.pid)) == 1, "one worker")
        (before,) = children(self.process.pid)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: children(self.process.pid) - {before}, "another worker")
        assert int(self.get("/").body) != before

    def usr1(self) -> None:
        self.process.send_signal(signal.SIGUSR1)


Start = Callable[..., Logged]


@pytest.fixture
def start(door: str, tmp_path: Path) -> Iterator[Start]:
    """`start(*options)`: a server that must exit with 0 after the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*options: object, **keywords: object) -> Logged:
        path = tmp_path / f"socket{len(started)}"
        arguments = ["--bind", f"unix:{path}", *map(str, options), APP]
        process = subprocess.Popen(
            [*door_command(door), *arguments],
            cwd=APPS,
            env=child_environment(),
            text=True,
            **keywords,  # type: ignore[call-overload]
        )
        started.append(process)
        return Logged(process, path)

    yield begin
    codes = []
    for process in started:
        process.terminate()
        try:
            codes.append(process.wait(TIMEOUT))
        finally:
            process.kill()
    assert not any(codes), codes


def nobodys(path: Path) -> Path:
    path.mkdir()
    os.chown(path, 65534, 65534)
    return path


def by_nobody(*command: object) -> None:
    """Run a command as the user of the workers, as a compromised worker could."""
    subprocess.run(list(map(str, command)), user=65534, group=65534, extra_groups=[], check=True)


# ------------------------------------------------------------------------- who can change a path


@as_root
@pytest.mark.parametrize("when", ["USR1", "HUP"])
@pytest.mark.parametrize("link", ["file", "directory", "existing"])
def test_log_file_replaced_by_a_link_of_the_workers_user_is_refused(
    start: Start, public: Path, link: str, when: str
) -> None:
    """Regression: the master followed a link of the workers' user: root created a file in a
    directory of root's, and the next worker could write to it."""
    logs = nobodys(public / "logs")
    by_nobody("mkdir", logs / "mine")
    secret = public / "secret"
    secret.mkdir(0o700)
    server = start(*AS_NOBODY, "--error-logfile", logs / "mine" / "err.log")
    by_nobody("mv", logs / "mine", logs / "old")
    if link == "directory":
        by_nobody("ln", "-s", secret, logs / "mine")
    else:
        by_nobody("mkdir", logs / "mine")
        by_nobody("ln", "-s", secret / "err.log", logs / "mine" / "err.log")
    if link == "existing":
        (secret / "err.log").touch(0o600)
    old = logs / "old" / "err.log"
    if when == "USR1":
        server.usr1()
        wait_for(old, r"\[log.not_reopened\].* error log .*Permission denied")
    else:
        server.process.send_signal(signal.SIGHUP)
        wait_for(old, r"\[reload.rejected\].* --error-logfile: .*Permission denied")
    server.replace_worker()
    server.said("hello")
    wait_for(old, "hello")
    assert lines(secret / "err.log") == "" and (link == "existing") == any(secret.iterdir())


@as_root
@pytest.mark.parametrize("option", ["--error-logfile", "--access-logfile"])
def test_log_file_that_is_a_link_of_the_workers_user_is_refused_at_the_start(
    door: str, public: Path, option: str
) -> None:
    logs = nobodys(public / "logs")
    secret = public / "secret"
    secret.mkdir(0o700)
    by_nobody("ln", "-s", secret / "log", logs / "log")
    done = run_cli(
        door, "--bind", "127.0.0.1:0", *AS_NOBODY, option, str(logs / "log"), "--check-config", APP
    )
    if option == "--access-logfile":  # a check does not open that
        done = run_cli(door, "--bind", "127.0.0.1:0", *AS_NOBODY, option, str(logs / "log"), APP)
    assert done.returncode == 1, done
    assert f"{option}: cannot open {logs}/log" in done.stderr, done
    assert "for the user of the workers, who can change what is there" in done.stderr, done
    assert not any(secret.iterdir())


@as_root
@pytest.mark.parametrize("where", ["root's", "the user's", "stdout"])
def test_log_file_that_is_a_link_of_root_is_opened(start: Start, public: Path, where: str) -> None:
    """From a directory of root's to another disk or to the container's output."""
    (public / "var").mkdir()
    (public / "data").mkdir()
    if where == "the user's":
        os.chown(public / "data", 65534, 65534)
    target = public / "data" / "log"
    link = public / "var" / "app.log"
    link.symlink_to("/dev/stdout" if where == "stdout" else target)
    options = ["--error-logfile", link, "--access-logfile", link]
    with open(public / "stdout" if where == "stdout" else os.devnull, "w") as stdout:
        server = start(*AS_NOBODY, *options, stdout=stdout)
    written = public / "stdout" if where == "stdout" else target
    for _ in range(2):
        server.said("hello")
        wait_for(written, "^hello")
        wait_for(written, r"GET /say\?hello")
        if where != "stdout":
            written.rename(public / "data" / "old")
        server.usr1()
        wait_for(written, "Limits reached")
        server.replace_worker()
    assert "log.not_reopened" not in lines(written)


@as_root
def test_logs_in_a_directory_of_the_workers_user_are_rotated(start: Start, public: Path) -> None:
    """The files belong to that user, because only its permissions were used."""
    logs = nobodys(public / "logs")
    error, access = logs / "err.log", logs / "acc.log"
    server = start(*AS_NOBODY, "--error-logfile", error, "--access-logfile", access)
    for text in ("one", "two"):
        server.said(text)
        wait_for(error, f"^{text}")
        wait_for(access, rf"GET /say\?{text}")
        for path in (error, access):
            assert path.stat().st_uid == path.stat().st_gid == 65534
            path.rename(f"{path}.{text}")
        server.usr1()
        wait_for(error, "Limits reached")


# ----------------------------------------------------------------------------------------- USR1


@as_root
def test_log_rotation_in_a_directory_of_root_is_followed(start: Start, public: Path) -> None:
    """Regression: workers could not create the new files. They kept the old ones, and new workers
    did not start."""
    logs = public / "logs"
    logs.mkdir()
    error, access = logs / "err.log", logs / "acc.log"
    server = start(*AS_NOBODY, "--error-logfile", error, "--access-logfile", access)
    for path in (error, access):
        path.rename(f"{path}.1")
    server.usr1()
    wait_for(error, "Limits reached")
    for text in ("one", "two"):
        server.said(text)
        wait_for(error, f"^{text}")
        wait_for(access, rf"GET /say\?{text}")
        server.replace_worker()
    assert "/say" not in lines(logs / "acc.log.1")


def test_worker_that_boots_during_a_rotation_writes_to_the_new_log(
    start: Start, tmp_path: Path, fifo: Path
) -> None:
    """Regression: it kept the old files until its end."""
    error, access = tmp_path / "err.log", tmp_path / "acc.log"
    conf = tmp_path / "conf.py"
    conf.write_text("")
    options = ["-c", conf, "--error-logfile", error, "--access-logfile", access]
    server = start(*options)
    conf.write_text(f"def post_worker_init(worker):\n    open({str(fifo)!r}).read()\n")
    server.process.send_signal(signal.SIGHUP)
    with fifo.open("w"):  # a reader lets the new worker boot
        for path in (error, access):
            path.rename(f"{path}.1")
        server.usr1()
        wait_for(error, "Limits reached")
    wait_for(error, r"\[reload.completed\]")
    server.said("hello")
    wait_for(error, "^hello")
    wait_for(access, r"GET /say\?hello")


def test_worker_without_descriptors_reports_a_failed_reopen(start: Start, tmp_path: Path) -> None:
    """The kernel drops a passed descriptor silently when the limit is reached; the worker has to
    report it."""
    resource = pytest.importorskip("resource")
    error = tmp_path / "err.log"
    server = start("--error-logfile", error)
    wait_until(lambda: len(children(server.process.pid)) == 1, "one worker")
    (worker,) = children(server.process.pid)
    assert server.get("/").status == 200
    error.rename(f"{error}.1")
    limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    # Below the lowest free number.
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))
    server.usr1()
    wait_for(tmp_path / "err.log.1", rf"\[log.not_received\].* {worker} .*error log")
    resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
    server.usr1()
    wait_for(error, "Limits reached")
    server.said("hello")
    wait_for(error, "^hello")


@pytest.mark.parametrize("when", ["USR1", "HUP"])
def test_log_that_cannot_be_reopened_is_kept(start: Start, tmp_path: Path, when: str) -> None:
    """The server continues with the open files."""
    logs = tmp_path / "logs"
    logs.mkdir()
    error, access = logs / "err.log", logs / "acc.log"
    conf = tmp_path / "conf.py"
    conf.write_text("")
    options = ["-c", conf, "--error-logfile", error, "--access-logfile", access]
    server = start(*options)
    logs.rename(tmp_path / "old")
    old = tmp_path / "old" / "err.log"
    if when == "USR1":
        server.usr1()
        for which, path in {"error": error, "access": access}.items():
            wait_for(old, rf"\[log.not_reopened\].* {path}: .*{which} log")
    else:
        logs.mkdir()
        error.mkdir()
        server.process.send_signal(signal.SIGHUP)
        wait_for(old, rf"\[reload.rejected\].* --error-logfile: cannot open {error}; ")
    server.replace_worker()
    server.said("hello")
    wait_for(old, "^hello")
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir()
    server.usr1()
    wait_for(error, "Limits reached")
    server.said("again")
    wait_for(error, "^again")
    wait_for(access, r"GET /say\?again")


# ------------------------------------------------------------------------------------------ reload


@pytest.mark.parametrize("option", ["access_logfile", "error_logfile"])
def test_reload_to_a_log_that_cannot_be_opened_is_rolled_back(
    start: Start, tmp_path: Path, option: str
) -> None:
    """Regression: the log said that it stays, and afterwards nothing was logged to either file."""
    here, conf, loop = (tmp_path / name for name in ("here", "conf.toml", "loop"))
    loop.symlink_to(loop)
    before = "access_logfile = '-'\nerror_logfile = '-'\n"
    conf.write_text(before)
    with here.open("w") as stream:
        server = start("-c", conf, stdout=stream, stderr=stream)
    conf.write_text(before.replace(f"{option} = '-'", f"{option} = '{loop}'\numask = '077'"))
    server.process.send_signal(signal.SIGHUP)
    wait_for(here, rf"\[reload.rejected\].* --{option.replace('_', '-')}: cannot open {loop}; ")
    server.replace_worker()
    server.said("hello")
    wait_for(here, "^hello")
    wait_for(here, r"GET /say\?hello")
    conf.write_text(before)
    server.process.send_signal(signal.SIGHUP)
    wait_for(here, r"\[reload.completed\]")


@pytest.mark.parametrize("moved", [False, True])
def test_failed_reload_keeps_the_logs(start: Start, tmp_path: Path, moved: bool) -> None:
    """The old files are written again, also by new workers, even if they could not be opened
    again."""
    logs, here, conf = (tmp_path / name for name in ("logs", "here", "conf.py"))
    logs.mkdir()
    before = f"accesslog = '{logs}/acc.log'\nerrorlog = '{logs}/err.log'\n"
    conf.write_text(before)
    with here.open("w") as stream:
        server = start("-c", conf, stdout=stream, stderr=stream)
    conf.write_text("accesslog = '-'\ndef post_fork(server, worker): raise SystemError\n")
    old = logs
    if moved:
        old = logs.rename(tmp_path / "old")
    server.process.send_signal(signal.SIGHUP)
    wait_for(here if moved else old / "err.log", "not_reopened.*access" if moved else "Booting")
    if not moved:
        wait_for(here, r"\[reload.failed\]")
    server.replace_worker()
    server.said("hello")
    wait_for(old / "acc.log", r"GET /say\?hello")
    wait_for(here if moved else old / "err.log", "^hello")


def test_client_that_closes_after_its_whole_response_is_not_reported(
    start: Start, tmp_path: Path
) -> None:
    """Regression: if a client closed after the last byte and before the application's `close()` had
    returned, the log said that it disconnected before its response was complete."""
    log = tmp_path / "log"
    server = start("--error-logfile", log)
    assert server.get("/close?0.5").body == b"whole"
    wait_for(log, "^it is closed")
    server.process.terminate()
    assert server.process.wait(TIMEOUT) == 0
    assert "client_disconnected" not in lines(log)


# ------------------------------------------------------------------------------------- named pipes


def test_log_pipe_without_a_reader_does_not_block(start: Start, fifo: Path) -> None:
    """Regression: USR1 waited for a reader, and only KILL ended the server."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    server = start("--error-logfile", fifo)
    os.close(reader)
    server.usr1()
    server.usr1()
    server.replace_worker()
    server.process.terminate()
    assert server.process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("option", ["--error-logfile", "--access-logfile"])
def test_log_pipe_that_is_read_later_gets_lines(start: Start, fifo: Path, option: str) -> None:
    """The pipe keeps the first lines; the server does not wait."""
    server = start(option, fifo)
    server.said("hello")
    with fifo.open("rb", buffering=0) as reader:
        seen = b""
        while b"hello" not in seen:
            seen += reader.read(65536)


def test_lines_that_a_stopped_reader_does_not_take_are_kept_then_counted(
    start: Start, fifo: Path
) -> None:
    """Regression: they were dropped without a report, and each line after one that was taken in part
    waited for the reader: a slow one slowed the poller."""
    with fifo.open("r+b", buffering=0) as reader:
        server = start("--error-logfile", fifo)
        for number in range(150):
            server.said(f"{number:03}" + "x" * 4000)
        server.process.send_signal(signal.SIGTTOU)
        os.set_blocking(reader.fileno(), False)
        seen = ""

        def has_seen(pattern: str) -> re.Match[str] | None:
            nonlocal seen
            seen += (reader.read(1 << 20) or b"").decode()
            return re.search(pattern, seen, re.M)

        wait_until(lambda: has_seen(r"\[errorlog.recovered\]"), "it says how many are lost")
        wait_until(lambda: has_seen(r"\[signal.ignored\]"), "the master writes its line, too")
        kept = re.findall("([0-9]{3})x{4000}", seen)
        assert 60 < len(kept) < 150 and [int(number) for number in kept] == list(range(len(kept)))
        (lost,) = re.findall(r"\[errorlog.recovered\].*lost ([0-9]+) lines", seen)
        # `print` writes a line in two parts: of one line, the bound may have kept the first.
        assert len(kept) + int(lost) in {150, 151}
        server.said("again")
        wait_until(lambda: has_seen("^again"), "later lines are written")
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: has_seen(rf"log_lines={lost}\b"), "lost lines are counted")


def test_lines_that_the_master_has_lost_are_counted(
    door: str, start: Start, tmp_path: Path
) -> None:
    """Regression: the metrics had lost lines of workers only."""
    control = Control(tmp_path, door)
    server = start("--error-logfile", "/dev/full", *control.options)

    def lost() -> int:
        return control.json("status")["totals"]["limits"]["log_lines"]

    before = lost()
    # The master writes a line about it.
    server.process.send_signal(signal.SIGTTOU)
    wait_until(lambda: lost() > before, "the line of the master is counted")


def test_server_whose_log_reader_has_stopped_stops(start: Start, fifo: Path) -> None:
    with fifo.open("r+b", buffering=0):
        server = start("--error-logfile", fifo)
        for _ in range(30):
            server.said("x" * 4000)
        server.process.terminate()
        assert server.process.wait(TIMEOUT) == 0
