"""HUP and the options of the master: which are applied, which are reported to need a restart."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from harness import TIMEOUT, wait_until
from harness.supervision import children, reloads, serving_pid, workers

pytestmark = pytest.mark.second_door("no case")

APP = "supervised:app"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def hup(server, times: int = 1) -> None:
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: reloads(server) == times, f"reload {times}\n{server.stderr()}")


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def uid(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("Uid:")).split()[1]


@pytest.fixture
def conf(tmp_path: Path):
    """Write the configuration from lines of TOML."""
    path = tmp_path / "conf.toml"

    def write(*lines: str) -> str:
        path.write_text("\n".join(lines))
        return str(path)

    return write


def test_reload_moves_the_pid_file(fresh_server, conf, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    server = fresh_server(APP, "-c", conf(f"pid = '{one}'"))
    assert one.read_text() == f"{server.pid}\n"
    conf(f"pid = '{two}'")
    hup(server)
    assert two.read_text() == f"{server.pid}\n" and not one.exists()
    conf("")
    hup(server, 2)
    assert not two.exists()
    conf(f"pid = '{tmp_path}/no/dir/p'")
    hup(server, 3)
    server.wait_for_event("pidfile.not_moved", "--pid: cannot write .*/no/dir/p")
    conf(f"pid = '{one}'")
    hup(server, 4)
    assert server.stop() == 0 and not one.exists()


def test_reload_applies_the_umask(fresh_server, conf, tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    server = fresh_server(APP, "-c", conf("umask = '077'", f"access_logfile = '{one}'"))

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    serving_pid(server)
    assert mode(one) == 0o600
    conf("umask = '027'", f"access_logfile = '{two}'")
    hup(server)
    serving_pid(server)
    assert mode(two) == 0o640
    own = os.umask(0)
    os.umask(own)
    conf(f"access_logfile = '{three}'")
    hup(server, 2)
    serving_pid(server)
    assert mode(three) == 0o666 & ~own


def test_reload_applies_the_process_name(fresh_server, conf) -> None:
    server = fresh_server(APP, "-c", conf("name = 'one'"))
    old = serving_pid(server)
    assert comm(server.pid) == "one-master"
    conf("name = 'two'")
    hup(server)
    # The old worker may still accept a connection until it handles its signal.
    (new,) = workers(server, 1, {old})
    assert comm(server.pid) == "two-master" and comm(new) == "two-worker"


@as_root
def test_reload_applies_the_user(fresh_server, conf) -> None:
    """The application is imported before, as root: its interpreter may be in a home directory."""
    server = fresh_server(APP, "--preload", "-c", conf("user = '12345'"))
    old = serving_pid(server)
    assert uid(old) == "12345"
    conf("user = 23456")
    hup(server)
    # The old worker may still accept a connection until it handles its signal.
    workers(server, 1, {old})
    assert uid(serving_pid(server)) == "23456" and uid(server.pid) == "0"
    conf("user = 'no-such-user'")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.rejected", 'there is no user "no-such-user"')
    assert uid(serving_pid(server)) == "23456"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("", "daemon = true", "daemon has changed .* needs a restart$"),
        ("", "preload = true", "preload has changed .* needs USR2 or a restart$"),
        (
            "preload = true",
            "preload = true\napp = 'echo:app'",
            "app has changed .* needs USR2 or a restart with --preload$",
        ),
    ],
)
def test_setting_that_needs_a_restart_is_reported(
    fresh_server, conf, before: str, after: str, said: str
) -> None:
    """Reported at each reload, until the server is restarted."""
    app = f"app = '{APP}'\n" if "app =" not in after else ""
    server = fresh_server(None, "-c", conf(before, f"app = '{APP}'"))
    conf(after, app)
    for times in (1, 2):
        start = len(server.stderr())
        hup(server, times)
        server.wait_for_event("reload.needs_restart", said, start=start)
    conf(before, f"app = '{APP}'")
    start = len(server.stderr())
    hup(server, 3)
    assert "reload.needs_restart" not in server.stderr()[start:]


def test_reload_with_bad_directories_changes_nothing(fresh_server, conf, tmp_path: Path) -> None:
    server = fresh_server(APP, "-c", conf(""))
    pid = serving_pid(server)
    for line in (f"chdir = '{tmp_path}/no'", f"access_logfile = '{tmp_path}/no/a'"):
        conf(line)
        start = len(server.stderr())
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.rejected", f"{tmp_path}/no", start=start)
    assert children(server.pid) == {pid} == {serving_pid(server)}


@pytest.mark.skipif(shutil.which("ss") is None, reason="no ss here")
def test_reload_applies_the_backlog(fresh_server, conf) -> None:
    """listen(2) is called at once, although the socket stays."""
    server = fresh_server(APP, "-c", conf("backlog = 7"))

    def backlog() -> str:
        command = ["ss", "-Hltn", f"src {server.host}:{server.port}"]
        return subprocess.check_output(command, text=True, timeout=TIMEOUT).split()[2]

    assert backlog() == "7"
    conf("backlog = 9")
    hup(server)
    assert backlog() == "9"


HOOKS = """
bind = "127.0.0.1:0"
workers = {}


def nworkers_changed(server, new_value, old_value):
    server.log.info("hook %s %s %s", new_value, old_value, server.num_workers)
"""


def test_nworkers_changed_is_called(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(HOOKS.format(1))
    server = fresh_server(APP, "-c", str(path), bind=None)
    server.wait_for_log("hook 1 None 1")
    path.write_text(HOOKS.format(2))
    hup(server)
    server.wait_for_log("hook 2 1 2")
    hup(server, 2)
    assert server.stderr().count("hook ") == 2


def test_warnings_about_gunicorn_settings_are_logged_once(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("capture_output = True\n")
    server = fresh_server(APP, "-c", str(path))
    path.write_text("capture_output = True\nspew = True\n")
    hup(server)
    assert server.stderr().count("'capture_output' has no effect") == 1
    assert server.stderr().count("'spew' has no effect") == 1


def test_reload_under_preload_warns_of_old_code(fresh_server, conf) -> None:
    server = fresh_server(APP, "--preload", "-c", conf("preload = true"))
    assert "reload.code_kept" not in server.stderr()
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.code_kept")


def test_failed_reload_is_rolled_back(fresh_server, conf, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    server = fresh_server(None, "-c", conf(f"app = '{APP}'", f"pid = '{one}'", "name = 'one'"))
    pid = serving_pid(server)
    conf("app = 'http_broken:app'", f"pid = '{two}'", "name = 'two'")
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.failed")
    wait_until(lambda: children(server.pid) == {pid}, "the old worker alone")
    wait_until(lambda: one.exists() and not two.exists(), "the pid file is back")
    assert comm(server.pid) == "one-master" and serving_pid(server) == pid
