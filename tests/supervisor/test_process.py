"""The server as a daemon: users, files, process names, the background."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import (
    APPS,
    TIMEOUT,
    Client,
    build_request,
    child_environment,
    door_command,
    run_cli,
    wait_until,
)
from harness.supervision import children, is_alive, serving_pid, workers

APP = "supervised:app"
StartDaemon = Callable[..., subprocess.CompletedProcess[str]]
# These import the application beforehand, as root: its interpreter may be in a home directory.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def status(pid: int, key: str) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{key}:")).split()[1:]


@as_root
def test_user_and_group_are_set(fresh_server) -> None:
    """Workers keep no trace of root; the master stays root."""
    server = fresh_server(APP, "--preload", "--user", "nobody", "--group", "nogroup")
    pid = serving_pid(server)
    nobody = 65534
    assert status(pid, "Uid") == [str(nobody)] * 4
    assert status(pid, "Gid") == [str(nobody)] * 4
    assert "0" not in status(pid, "Groups")
    assert status(server.pid, "Uid")[0] == "0"


@as_root
def test_user_by_number_is_set(fresh_server) -> None:
    pid = serving_pid(fresh_server(APP, "--preload", "-u", "12345", "-g", "23456"))
    assert status(pid, "Uid") == ["12345"] * 4 and status(pid, "Gid") == ["23456"] * 4
    assert status(pid, "Groups") == ["23456"]


@as_root
def test_only_unix_sockets_change_their_owner(fresh_server, tmp_path: Path) -> None:
    """A user with write permission for the directory could put a file of root there."""
    path = tmp_path / "s"
    server = fresh_server(APP, "--preload", "-u", "nobody", bind=f"unix:{path}")
    assert server.get("/").status == 200
    assert path.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    path.unlink()
    path.write_text("not a socket")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed")
    assert path.stat().st_uid == 0


@as_root
def test_failed_reload_restores_the_socket_owner(fresh_server, public: Path) -> None:
    path, file = public / "s", public / "conf.py"
    file.write_text("user = 'nobody'\n")
    server = fresh_server(APP, "--preload", "-c", str(file), bind=f"unix:{path}")
    assert server.get("/").status == 200
    before = path.stat().st_uid
    assert before == pwd.getpwnam("nobody").pw_uid
    file.write_text("user = 'daemon'\ndef post_fork(server, worker):\n    assert False\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.failed")
    wait_until(lambda: path.stat().st_uid == before, "the socket is given back")


@as_root
def test_log_that_cannot_be_opened_is_named_in_the_error(door: str, tmp_path: Path) -> None:
    path = tmp_path / "made" / "access.log"
    path.parent.mkdir()
    (tmp_path / "conf.py").write_text(
        f"def on_starting(server):\n    import shutil\n    shutil.rmtree({str(path.parent)!r})\n"
    )
    options = ["-c", str(tmp_path / "conf.py"), "--access-logfile", str(path)]
    done = run_cli(door, "--bind", "127.0.0.1:0", "-u", "nobody", *options, APP)
    # As the user of the workers, who may or may not see that there is no such directory.
    said = f"--access-logfile: cannot open {path}; "
    assert done.returncode == 1 and said in done.stderr, done
    assert "Traceback" not in done.stderr


@as_root
def test_user_without_a_group_of_its_own_is_set(fresh_server) -> None:
    server = fresh_server(APP, "--preload", "--user", "12345")
    serving_pid(server)
    server.wait_for_event("config.root_group", "--user 12345 .*--group")


@pytest.mark.parametrize("option", ["--user", "--group"])
def test_unknown_user_or_group_is_an_error(door: str, option: str) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", option, "no-such-name", APP)
    assert done.returncode == 1 and "no-such-name" in done.stderr, done
    assert "Listening" not in done.stderr


def test_umask_applies_to_the_unix_socket(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    fresh_server(APP, "--umask", "077", bind=f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_unix_socket_mode_is_set(fresh_server, tmp_path: Path) -> None:
    """A user who may enter the directory may connect, whatever the umask of the shell: gunicorn's users
    rely on that."""
    path = tmp_path / "s"
    before = os.umask(0o077)
    try:
        fresh_server(APP, bind=f"unix:{path}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_bad_umask_is_an_error(door: str) -> None:
    done = run_cli(door, "--umask", "999", APP)
    assert done.returncode == 2 and "octal" in done.stderr


def test_process_names_are_set(fresh_server) -> None:
    server = fresh_server(APP, "--name", "shop")
    pid = serving_pid(server)

    def comm(pid: int) -> str:
        return Path(f"/proc/{pid}/comm").read_text().strip()

    assert (comm(server.pid), comm(pid)) == ("shop-master", "shop-worker")


def test_pid_file_of_a_running_server_is_refused(door: str, fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = fresh_server(APP, "--pid", str(path))
    assert path.read_text() == f"{server.pid}\n"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--pid", str(path), APP)
    assert done.returncode == 1 and str(server.pid) in done.stderr, done
    assert path.read_text() == f"{server.pid}\n"
    assert server.stop() == 0
    assert not path.exists()


@as_root
def test_failed_start_leaves_no_pid_file(door: str, tmp_path: Path) -> None:
    """The start fails because the log file cannot be created."""
    path = tmp_path / "pid"
    options = ["--user", "65534", "--access-logfile", "/proc/nowhere"]
    done = run_cli(door, "--bind", "127.0.0.1:0", "--pid", str(path), *options, APP)
    assert done.returncode != 0 and not path.exists(), done


# ------------------------------------------------------------------------------- --daemon


@pytest.fixture
def start_daemon(door: str, tmp_path: Path) -> Iterator[StartDaemon]:
    """`start_daemon(app, *options)`: the finished command. The daemon is ended after the test."""
    pidfile = tmp_path / "pid"

    def start(app: str, *options: str) -> subprocess.CompletedProcess[str]:
        where = ["--bind", f"unix:{tmp_path / 's'}", "--pid", str(pidfile)]
        return run_cli(door, "--daemon", *where, *options, app, timeout=60)

    yield start
    if pidfile.exists():
        pid = int(pidfile.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "it ends")
        assert not pidfile.exists()


def ask_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(path))
        return Client(sock).request(build_request()).body


def test_daemon_serves_and_stops(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """When the command has ended, the server serves, detached from the terminal."""
    log = tmp_path / "log"
    done = start_daemon(APP, "--workers", "2", "--error-logfile", str(log))
    assert done.returncode == 0 and done.stderr == "", done
    master = int((tmp_path / "pid").read_text())
    both = children(master)
    assert len(both) == 2 and int(ask_unix(tmp_path / "s")) in both
    assert log.read_text().count("Booting") == 2
    assert status(master, "PPid") != [str(os.getpid())]
    assert os.getsid(master) != os.getsid(0)
    for pid in {master} | both:
        for stream in range(3):
            assert os.readlink(f"/proc/{pid}/fd/{stream}") == "/dev/null"


def test_daemon_started_without_stdin_reads_dev_null(
    door: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Regression: descriptor 0 stayed closed, and a socket of the server took its number."""
    where = ["--bind", f"unix:{tmp_path / 's'}", "--pid", str(tmp_path / "pid")]
    command = [*door_command(door), "--daemon", *where, APP]
    closed = ["sh", "-c", 'exec "$@" <&-', "sh", *command]
    done = subprocess.run(
        closed, cwd=APPS, env=child_environment(), capture_output=True, timeout=60
    )
    assert done.returncode == 0, done
    master = int((tmp_path / "pid").read_text())
    for pid in {master} | children(master):
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_daemon_logs_to_the_terminal_until_it_serves(start_daemon: StartDaemon) -> None:
    """Without a log file the log is the terminal until the server serves, and then /dev/null."""
    done = start_daemon(APP)
    assert done.returncode == 0, done
    assert "Listening at" in done.stderr and "Booting worker" in done.stderr


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_daemon_that_cannot_start_fails_the_command(
    start_daemon: StartDaemon, preload: list[str]
) -> None:
    done = start_daemon("http_broken:app", "--workers", "2", *preload)
    assert done.returncode == 3, done
    assert "RuntimeError: no database today" in done.stderr


def test_daemon_that_cannot_start_names_its_log(start_daemon: StartDaemon, tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = start_daemon("http_broken:app", "--error-logfile", str(log))
    assert done.returncode == 3 and str(log) in done.stderr, done
    assert "RuntimeError: no database today" in log.read_text()


def test_daemon_that_cannot_open_its_log_fails_the_command(start_daemon: StartDaemon) -> None:
    """The error goes to the terminal."""
    done = start_daemon(APP, "--access-logfile", "/proc/nowhere")
    assert done.returncode == 1 and "cannot open /proc/nowhere" in done.stderr, done


def test_daemon_without_an_address_fails_the_command(start_daemon: StartDaemon) -> None:
    done = start_daemon(APP, "--bind", "192.0.2.1:0")
    assert done.returncode == 1 and "192.0.2.1" in done.stderr, done


def test_daemon_whose_master_dies_fails_the_command(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """It dies without a message; the command must not wait for one."""
    (tmp_path / "deadly.py").write_text(
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"
    )
    done = start_daemon("deadly:app", "--pythonpath", str(tmp_path))
    assert done.returncode == 1, done
    (tmp_path / "pid").unlink()


def test_exiting_child_of_a_preload_removes_no_files(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Regression: the child ran the master's cleanup. The socket file was removed, and the command
    reported a failed start."""
    (tmp_path / "forking.py").write_text(
        "import os, sys\nif not os.fork():\n    sys.exit(5)\nos.wait()\nfrom supervised import app\n"
    )
    done = start_daemon("forking:app", "--preload", "--pythonpath", str(tmp_path))
    assert done.returncode == 0 and "has not started" not in done.stderr, done
    assert int(ask_unix(tmp_path / "s")) in children(int((tmp_path / "pid").read_text()))


def test_master_memory_stays_small(fresh_server) -> None:
    """Memory that it shares neither with its workers nor with any other Python process."""
    server = fresh_server(APP)
    serving_pid(server)
    workers(server, 1)
    rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private"))
    assert private < 15 * 1024, f"{private} kB"


# ---------------------------------------------------------------------------------- descriptors


def test_soft_limit_of_descriptors_is_raised_to_the_hard_one(fresh_server) -> None:
    """Regression: 1024 connections, or fewer with files, kept all other clients out."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = limits[1] if limits[1] != resource.RLIM_INFINITY else 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    try:
        server = fresh_server("supervised:app")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert server.get("/").status == 200
    for pid in (server.pid, *children(server.pid)):
        raised = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert raised == (min(hard, 1 << 20), limits[1])
