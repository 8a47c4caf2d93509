"""USR2: another master takes the sockets over, and no request is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness import TIMEOUT, ServerProcess, wait_until
from harness.supervision import Load, children, end, serving_pid

APP = "supervised:app"


def _new_master(server: ServerProcess) -> int:
    return int(server.wait_for_event("upgrade.started", r"master (\d+)")[1])


def _begin_upgrade(server: ServerProcess) -> int:
    """Send USR2 once the start is complete; the pid of the new master."""
    server.wait_for_event("server.ready")
    server.send_signal(signal.SIGUSR2)
    return _new_master(server)


def test_usr2_under_load_loses_nothing(fresh_server, tmp_path: Path) -> None:
    """A new master on the same sockets; the old one gets TERM when the new one serves."""
    pidfile = tmp_path / "pid"
    server = fresh_server(APP, "--workers", "2", "--pid", str(pidfile))
    assert pidfile.read_text() == f"{server.pid}\n"
    second = tmp_path / "pid.2"
    new = 0
    try:
        with Load(server.connect) as load:
            load.more()
            new = _begin_upgrade(server)
            wait_until(lambda: len(children(new)) == 2, "the new master has its workers")
            wait_until(second.exists, "its pid file")
            assert second.read_text() == f"{new}\n"
            theirs = {str(pid).encode() for pid in children(new)}
            wait_until(lambda: load.bodies & theirs, "a new worker serves")
            load.more()
            server.send_signal(signal.SIGTERM)
            server.process.wait(TIMEOUT)
            load.more()
            wait_until(lambda: pidfile.read_text() == f"{new}\n", "the pid file is handed over")
            assert not second.exists()
            load.more()
        assert load.failures == []
        assert server.process.returncode == 0
    finally:
        if new:
            end(new, signal.SIGTERM)
    assert server.wait() == 0
    assert not pidfile.exists()


def test_usr2_after_a_pid_file_change_removes_the_old_file(door: str, tmp_path: Path) -> None:
    """The new master has another file, so neither master removed the old one."""
    config = tmp_path / "rustwsgi.toml"
    old, new = tmp_path / "old.pid", tmp_path / "new.pid"
    config.write_text(f"pid = '{old}'\n")
    pid = 0
    with ServerProcess(door, APP, "--config", str(config)) as server:
        try:
            serving_pid(server)
            assert old.exists()
            config.write_text(f"pid = '{new}'\n")
            pid = _begin_upgrade(server)
            wait_until((tmp_path / "new.pid.2").exists, "its pid file")
            wait_until(lambda: children(pid), "the new master has a worker")
            server.send_signal(signal.SIGTERM)
            server.process.wait(TIMEOUT)
            wait_until(new.exists, "the new one is the master")
            assert new.read_text() == f"{pid}\n"
            assert not old.exists()
        finally:
            end(pid, signal.SIGTERM)
        assert server.wait() == 0


def test_usr2_does_not_take_the_pid_file_of_another_server(fresh_server, tmp_path: Path) -> None:
    pidfile, second = tmp_path / "pid", tmp_path / "pid.2"
    server = fresh_server(APP, "--pid", str(pidfile))
    pid = _begin_upgrade(server)
    try:
        wait_until(second.exists, "its pid file")
        wait_until(lambda: children(pid), "the new master has a worker")
        other = f"{os.getpid()}\n"
        pidfile.write_text(other)
        server.send_signal(signal.SIGTERM)
        server.wait_for_event("pidfile.not_moved", f"{second}: .* process {os.getpid()}")
        assert pidfile.read_text() == other and second.read_text() == f"{pid}\n"
    finally:
        end(pid, signal.SIGTERM)
    assert server.wait() == 0
    assert not second.exists() and pidfile.read_text() == other


def test_usr2_can_be_rolled_back(fresh_server, tmp_path: Path) -> None:
    """The new master gets TERM, and the old one continues."""
    path = tmp_path / "s"
    server = fresh_server(APP, bind=f"unix:{path}")
    old = serving_pid(server)
    new = _begin_upgrade(server)
    wait_until(lambda: children(new), "the new master has a worker")
    server.send_signal(signal.SIGUSR2)
    server.wait_for_event("signal.ignored", str(new))
    end(new, signal.SIGTERM)
    server.wait_for_event("upgrade.ended", f"{new} exited with code 0")
    assert path.exists() and serving_pid(server) == old


def test_usr2_hands_a_unix_socket_over(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = fresh_server(APP, bind=f"unix:{path}")
    new = _begin_upgrade(server)
    try:
        wait_until(lambda: children(new), "the new master has a worker")
        server.send_signal(signal.SIGTERM)
        server.process.wait(TIMEOUT)
        assert path.exists(), "the new master's socket is the same file"
        server.wait_for_event("upgrade.completed")
        assert serving_pid(server) in children(new)
    finally:
        end(new, signal.SIGTERM)
    assert server.wait() == 0
    assert not path.exists(), "the last one removes it"


def _write_binds(config: Path, *sockets: Path) -> None:
    config.write_text(f"bind = {[f'unix:{path}' for path in sockets]}\n")


def _reload(server: ServerProcess) -> None:
    before = len(server.stderr())
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed", start=before)


def test_socket_of_a_reload_after_usr2_is_removed(door: str, tmp_path: Path) -> None:
    """Regression: the old master left all its sockets to the new one, which did not know this one."""
    config, passed, later = tmp_path / "rustwsgi.toml", tmp_path / "passed", tmp_path / "later"
    _write_binds(config, passed)
    new = 0
    with ServerProcess(door, APP, "--config", str(config), bind=None) as server:
        try:
            new = _begin_upgrade(server)
            wait_until(lambda: children(new), "the new master has a worker")
            _write_binds(config, passed, later)
            _reload(server)
            assert later.exists()
            server.send_signal(signal.SIGTERM)
            server.process.wait(TIMEOUT)
            assert passed.exists() and not later.exists()
            server.unix = str(passed)
            assert serving_pid(server) in children(new)
        finally:
            if new:
                end(new, signal.SIGTERM)
        assert server.wait() == 0
    assert not passed.exists()


def test_socket_that_a_reload_after_usr2_drops_stays_for_the_new_master(
    door: str, tmp_path: Path
) -> None:
    """Regression: the old master removed the file, and no client reached the new one there."""
    config, both, one = tmp_path / "rustwsgi.toml", tmp_path / "both", tmp_path / "one"
    _write_binds(config, both, one)
    with ServerProcess(door, APP, "--config", str(config), bind=None) as server:
        new = _begin_upgrade(server)
        try:
            wait_until(lambda: children(new), "the new master has a worker")
            theirs = children(new)
            _write_binds(config, both)
            _reload(server)
            server.unix = str(one)
            wait_until(lambda: serving_pid(server) in theirs, "the new master serves there")
            # The old master takes the socket up again.
            _write_binds(config, one)
            _reload(server)
            assert one.exists() and both.exists()
        finally:
            end(new, signal.SIGTERM)
        server.wait_for_event("upgrade.ended", f"{new} exited with code 0")
        assert one.exists() and not both.exists(), "only the new master had the other one"
        assert serving_pid(server) in children(server.pid)
        assert server.stop() == 0
    assert not one.exists()


def test_usr2_hands_over_a_socket_with_a_comma_in_its_name(fresh_server, tmp_path: Path) -> None:
    """Regression: the new master parsed another address and could not listen on the right one."""
    path = tmp_path / "a,7=b%2C"
    server = fresh_server(APP, "--uds", str(path), bind=None)
    new = _begin_upgrade(server)
    try:
        server.wait_for_log(r"Listening at: unix:.*/a,7=b%2C \(inherited\)")
        wait_until(lambda: children(new), "the new master has a worker")
    finally:
        end(new, signal.SIGTERM)
    server.wait_for_event("upgrade.ended", f"{new} exited with code 0")
    assert server.stop() == 0
