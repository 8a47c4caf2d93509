"""Configuration files: which are read, which one wins, and what a reload does with a change."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from harness import APPS, run_cli, wait_until
from harness.supervision import children, reloads, serving_pid, workers

APP = "supervised:app"


def test_configuration_file_next_to_the_application_is_read(fresh_server, tmp_path: Path) -> None:
    (tmp_path / "rustwsgi.toml").write_text(
        f'app = "{APP}"\nworkers = 2\npythonpath = ["{APPS}"]\nenv = {{ RW_FILE = "yes" }}\n'
    )
    server = fresh_server(None, cwd=tmp_path)
    assert server.get("/environ?RW_FILE").body == b"yes"
    workers(server, 2)


def test_pyproject_section_is_read(door: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.rustwsgi]\nthreads = 7\napp = "a:b"\n')
    done = run_cli(door, "--print-config", cwd=tmp_path)
    assert done.returncode == 0 and "threads = 7\n" in done.stdout, done
    assert 'app = "a:b"\n' in done.stdout


def test_command_line_wins_over_environment_over_file(door: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("threads = 2\nworkers = 2\nbacklog = 2\n")
    (tmp_path / "rustwsgi.toml").write_text("backlog = 1\nlog_level = 'debug'\n")
    env = {"RUSTWSGI_WORKERS": "3", "RUSTWSGI_THREADS": "3"}
    done = run_cli(door, "-c", str(path), "--threads", "4", "--print-config", cwd=tmp_path, env=env)
    for line in ("threads = 4", "workers = 3", "backlog = 2", 'log_level = "debug"'):
        assert line in done.stdout.splitlines(), done


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thraeds = 2", "'thraeds'; did you mean 'threads'?"),
        ("threads = 'x'", "'threads'"),
        ("threads", "line 1"),
    ],
)
def test_mistake_in_the_file_is_reported(door: str, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rustwsgi.toml").write_text(text)
    done = run_cli(door, APP, cwd=tmp_path)
    assert done.returncode == 2 and "rustwsgi.toml" in done.stderr and said in done.stderr, done


@pytest.mark.parametrize("line", ['env = ["A=hunter2"', 'env = { A = "hunter2', "env = 'A=hunter2"])
def test_mistake_in_a_line_with_a_password_hides_it(door: str, tmp_path: Path, line: str) -> None:
    """Regression: the whole line was shown on standard error."""
    (tmp_path / "rustwsgi.toml").write_text(f"threads = 2\n{line}\n")
    done = run_cli(door, APP, cwd=tmp_path)
    assert done.returncode == 2 and "hunter2" not in done.stderr, done
    assert re.search(r"rustwsgi\.toml: line [23], column \d+: \w+", done.stderr), done


def test_missing_file_is_an_error(door: str) -> None:
    done = run_cli(door, "--config", "/nonexistent/x.toml", APP)
    assert done.returncode == 2 and "/nonexistent/x.toml" in done.stderr


def test_reload_reads_the_file_again(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('workers = 1\nenv = ["RW_FILE=one"]\n')
    server = fresh_server(APP, "--config", str(path))
    assert server.get("/environ?RW_FILE").body == b"one"
    old = workers(server, 1)
    path.write_text('workers = 2\nenv = ["RW_FILE=two"]\n')
    server.send_signal(signal.SIGHUP)
    workers(server, 2, old)
    assert server.get("/environ?RW_FILE").body == b"two"


def test_reload_moves_to_another_address(fresh_server, tmp_path: Path) -> None:
    """The socket that stays is never closed; the old one is closed when no worker uses it."""
    path, one, two = tmp_path / "mine.toml", tmp_path / "one", tmp_path / "two"
    path.write_text(f'bind = ["127.0.0.1:0", "unix:{one}"]\n')
    server = fresh_server(APP, "--config", str(path), bind=None)
    server.wait_for_event("server.ready")
    port = server.port
    path.write_text(f'bind = ["127.0.0.1:0", "unix:{two}"]\n')
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: reloads(server) == 1, "the reload")
    wait_until(lambda: not one.exists(), "the old socket is gone")
    assert two.exists() and server.port == port
    assert serving_pid(server) in children(server.pid)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thraeds = 2\n", "thraeds"),
        ("bind = ['127.0.0.1:0', '192.0.2.1:1']\n", "192.0.2.1"),
    ],
)
def test_bad_configuration_on_reload_changes_nothing(
    fresh_server, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("bind = '127.0.0.1:0'\n")
    server = fresh_server(APP, "--config", str(path), bind=None)
    pid = serving_pid(server)
    path.write_text(text)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.rejected", f"(.*\n)?.*{said}")
    assert workers(server, 1) == {pid} == {serving_pid(server)}


# ---------------------------------------------------------------------------- gunicorn.conf.py

CONF = """
import multiprocessing

bind = "127.0.0.1:0"
workers = min(2, multiprocessing.cpu_count() + 1)
worker_class = "gthread"
threads = 3
keepalive = 7
raw_env = ["RW_CONF=yes"]
umask = 0o027
proc_name = "shop"
accesslog = None
capture_output = True
_helper = 1


def on_starting(server):
    server.log.info("hook on_starting %d", 1)


def when_ready(server):
    server.log.info("hook when_ready")


def pre_fork(server, worker):
    server.log.info("hook pre_fork %s", worker.age)


def post_fork(server, worker):
    import os

    assert worker.pid == os.getpid()
    server.log.info("hook post_fork (pid: %s)", worker.pid)


def post_worker_init(worker):
    worker.log.info("hook post_worker_init %s", worker.pid)


def worker_exit(server, worker):
    server.log.info("hook worker_exit %s", worker.pid)


def child_exit(server, worker):
    server.log.info("hook child_exit %s", worker.pid)


def on_reload(server):
    server.log.info("hook on_reload")


def nworkers_changed(server, new_value, old_value):
    server.log.info("hook nworkers_changed %s %s", new_value, old_value)


def on_exit(server):
    server.log.info("hook on_exit")
"""


def test_gunicorn_configuration_is_read(door: str, tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(CONF)
    done = run_cli(door, "-c", str(path), "--print-config", APP)
    for line in ("workers = 2", "threads = 3", "keep_alive = 7", 'umask = "027"', 'name = "shop"'):
        assert line in done.stdout.splitlines(), done
    assert "capture_output" in done.stderr and "_helper" not in done.stderr


SLIPS = """
import multiprocessing
from os import path as log_file
workers = 2
worker = "of a loop, say: what it could be is there"
timeouts = 3
log_level = "debug"
preload = True
boot_timeout = 9
pid = pidfile = "p"
pre_froke = def_ = port = root = 1
def post_froke(server, worker): ...
class OnExit: ...
"""


def test_misspelt_setting_is_corrected(door: str, tmp_path: Path) -> None:
    """gunicorn ignores such a setting silently."""
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(SLIPS)
    done = run_cli(door, "-c", str(path), "--check-config", APP)
    assert done.returncode == 0, done
    assert "gunicorn.conf.py: 'log_level' is called 'loglevel' in a gunicorn" in done.stderr
    assert "gunicorn.conf.py: 'preload' is called 'preload_app' in a gunicorn" in done.stderr
    assert "'boot_timeout' has no effect in a gunicorn configuration" in done.stderr
    assert "'pid'" not in done.stderr, "the file has pidfile, too"
    found = re.findall(r"unknown setting '(\w+)'; did you mean '(\w+)'\?", done.stderr)
    assert dict(found) == {
        "timeouts": "timeout",
        "pre_froke": "pre_fork",
        "post_froke": "post_fork",
    }


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (["-c", "c3.py"], "c3.py"),
        (["-c", "file:c3.py"], "c3.py"),
        (["-c", "python:c3"], "python:c3"),
        ([], "./gunicorn.conf.py"),
    ],
)
def test_configuration_sees_its_own_file_name(
    fresh_server, tmp_path: Path, given: list[str], seen: str
) -> None:
    """Regression: `cfg.config` always had the default name."""
    text = "def on_starting(server): server.log.info('read %s', server.cfg.config)\n"
    (tmp_path / ("c3.py" if given else "gunicorn.conf.py")).write_text(text)
    server = fresh_server(APP, *given, "--pythonpath", str(APPS), cwd=tmp_path)
    server.wait_for_log(f"read {re.escape(seen)}$")


def test_gunicorn_hooks_are_called(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(CONF)
    server = fresh_server(APP, "-c", str(path), bind=None)
    both = workers(server, 2)
    pid = serving_pid(server)
    server.wait_for_log("hook when_ready")
    assert server.get("/environ?RW_CONF").body == b"yes"
    server.send_signal(signal.SIGTTIN)
    server.wait_for_log("hook nworkers_changed 3 2")
    workers(server, 3)
    server.send_signal(signal.SIGHUP)
    server.wait_for_event("reload.completed", "2")
    workers(server, 2, both)
    assert server.stop() == 0
    log = server.stderr()
    for said in ("hook on_starting 1", "hook pre_fork 1", "hook pre_fork 2", "hook on_reload"):
        assert said in log
    for event in ("post_fork (pid:", "post_worker_init", "worker_exit", "child_exit"):
        end = f"{pid})" if "(" in event else str(pid)
        assert f"hook {event} {end}" in log, event
    assert log.index("hook on_exit") > log.index(f"hook child_exit {pid}")


@pytest.mark.parametrize(
    ("text", "said"),
    [("1/0\n", "ZeroDivisionError"), ("worker_class = 'gevent'\n", "green threads")],
)
def test_mistake_in_a_gunicorn_configuration_is_reported(
    door: str, tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    done = run_cli(door, "-c", str(path), APP)
    assert done.returncode == 2 and said in done.stderr and str(path) in done.stderr, done


def test_failing_hook_ends_the_worker(door: str, tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("bind = '127.0.0.1:0'\ndef post_fork(server, worker):\n    1 / 0\n")
    done = run_cli(door, "-c", str(path), APP)
    assert done.returncode == 3 and "post_fork" in done.stderr, done
