"""Errors that only the system detects: one line each, with the option, the value, the cause and a remedy."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from harness import APPS, TIMEOUT, child_environment, door_command, run_cli

APP = "supervised:app"
NOT_THERE = "No such file or directory"

#: arguments, exit code, and what the one line says besides the value
MISTAKES = {
    "user": (
        ["--user", "nosuchuser"],
        1,
        ["--user", "nosuchuser", "there is no user", "create it"],
    ),
    "group": (["--group", "nosuchgroup"], 1, ["--group", "nosuchgroup", "there is no group"]),
    "pid": (["--pid", "{dir}/no/p"], 1, ["--pid", "{dir}/no/p", NOT_THERE, "make its directory"]),
    # A label is too long for a name, so that no name server is asked, which may take long.
    "resolve": (
        ["--bind", f"{'a' * 70}.invalid:0"],
        1,
        ["--bind", f"{'a' * 70}.invalid", "correct"],
    ),
    "in-use": (["--bind", "127.0.0.1:{port}"], 1, ["{port}", "in use", "choose another --bind"]),
    "not-ours": (["--bind", "192.0.2.1:0"], 1, ["192.0.2.1", "this machine has no such address"]),
    "no-socket-dir": (
        ["--bind", "unix:{dir}/no/s"],
        1,
        ["unix:{dir}/no/s", "create it", NOT_THERE],
    ),
    "chdir": (["--chdir", "{dir}/no"], 2, ["--chdir", "{dir}/no", NOT_THERE, "make it"]),
    "chdir-file": (["--chdir", "{dir}/file"], 2, ["--chdir", "{dir}/file", "Not a directory"]),
    "reload-file": (
        ["--reload", "--reload-extra-file", "{dir}/no"],
        2,
        ["--reload-extra-file", "{dir}/no", "matches no file", "name a file"],
    ),
    "reload-pattern": (
        ["--reload", "--reload-extra-file", "{dir}/*.html"],
        2,
        ["--reload-extra-file", "{dir}/*.html", "matches no file"],
    ),
    "config": (["-c", "{dir}/no.toml"], 2, ["--config", "{dir}/no.toml", NOT_THERE]),
    "config-py": (["-c", "{dir}/no.py"], 2, ["--config", "{dir}/no.py", NOT_THERE]),
    "config-dir": (["-c", "{dir}"], 2, ["--config", "{dir}", "Is a directory"]),
    "access-log": (
        ["--access-logfile", "{dir}/no/a"],
        1,
        ["--access-logfile", "{dir}/no/a", NOT_THERE, "make its directory"],
    ),
    "access-log-dir": (
        ["--access-logfile", "{dir}"],
        1,
        ["--access-logfile", "{dir}", "directory"],
    ),
    "error-log": (
        ["--error-logfile", "{dir}/no/e"],
        1,
        ["--error-logfile", "{dir}/no/e", NOT_THERE, "make its directory"],
    ),
    "error-log-dir": (
        ["--error-logfile", "{dir}"],
        1,
        ["--error-logfile", "{dir}", "Is a directory"],
    ),
}


#: arguments, and what is said of a name or an option that is not quite right
SLIPS = {
    "package": (["pkg/wsgi.py"], "write pkg.wsgi:application"),
    "package-attribute": (["pkg/sub/wsgi.py:main"], "write pkg.sub.wsgi:main"),
    "package-elsewhere": (["{dir}/pkg/wsgi.py"], "write pkg.wsgi:application with --chdir {dir}"),
    "no-package": (["plain/shop.py"], "write shop:app with --chdir plain"),
    "slash": (
        ["wsgi/application"],
        "'wsgi/application' is not a module name, .* write wsgi:application",
    ),
    "app-option": (["--app", "hello:app"], "'--app' found: name the application without"),
    "twice": (["-b", "127.0.0.1:1", "-b", "127.0.0.1:1", APP], "127.0.0.1:1 is given twice"),
    "twice-unix": (["-b", "unix:s", "-b", "unix:./x", "-b", "unix:s", APP], "unix:s is given"),
    "negative": (["--keep-alive", "-1", APP], "'-1' for '--keep-alive <S>': not between 0 and"),
    "negative-number": (["--threads", "-1", APP], "'-1' for '--threads <N>': not a whole number"),
    "interfaces": (["-b", "*:80", APP], "write :80 for all interfaces"),
    "tool-table": (["-c", "tool.toml", APP], r"remove the line \[tool\.rustwsgi\]"),
    "table": (
        ["-c", "table.toml", APP],
        r"options are top-level keys .* remove the line \[rustwsgi\]",
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_misspelt_value_is_corrected(door: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "pkg" / "sub").mkdir(parents=True)
    (tmp_path / "plain").mkdir()
    for file in ("pkg/__init__", "pkg/wsgi", "pkg/sub/__init__", "pkg/sub/wsgi", "plain/shop"):
        (tmp_path / f"{file}.py").touch()
    (tmp_path / "table.toml").write_text("[rustwsgi]\nworkers = 2\n")
    (tmp_path / "tool.toml").write_text("[tool.rustwsgi]\nworkers = 2\n")
    given, said = SLIPS[name]
    done = run_cli(door, *[text.format(dir=tmp_path) for text in given], cwd=tmp_path)
    assert done.returncode == 2, done
    assert re.search(said.format(dir=re.escape(str(tmp_path))) + r"(\W|$)", done.stderr), done
    assert "tip:" not in done.stderr, done


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--access-logfile", "-", "--access-logformat", "jsn"], 'every line will be "jsn"'),
        (["--access-logfile", "-", "--access-logformat", "json"], None),
        (["--access-logfile", "-", "--access-logformat", "%(x)s"], "unknown atom %(x)s"),
        (["--access-logformat", "jsn"], None),
        (["--preload", "--reload"], "--reload does not load new code with --preload"),
        (["--preload"], None),
        (["--reload"], None),
    ],
)
def test_suspicious_value_is_a_warning(door: str, options: list[str], said: str | None) -> None:
    done = run_cli(door, "--check-config", *options, APP)
    assert done.returncode == 0, done
    assert ("[WARNING]" in done.stderr) is (said is not None), done
    assert said is None or said in done.stderr, done


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--pid", "{dir}/p", "--pid: cannot write {dir}/p; this user may not write there"),
        ("--access-logfile", "{dir}/a", "--access-logfile: cannot open {dir}/a; this user may not"),
        ("--error-logfile", "{dir}/e", "--error-logfile: cannot open {dir}/e; this user may not"),
        ("--bind", "unix:{dir}/s", "unix:{dir}/s: no permission to create files in that directory"),
    ],
)
def test_path_without_write_permission_is_an_error(
    door: str, tmp_path: Path, option: str, value: str, said: str
) -> None:
    """Regression: the message advised to create a directory that exists, and named a temporary
    file."""
    tmp_path.chmod(0o555)
    bind = [] if option == "--bind" else ["--bind", "127.0.0.1:0"]
    done = subprocess.run(
        [*door_command(door), *bind, option, value.format(dir=tmp_path), APP],
        cwd=APPS,
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=lose_power_over_files,
    )
    assert done.returncode == 1, done
    (line,) = complaints(done.stderr)
    assert said.format(dir=tmp_path) in line and "Permission denied" in line, line
    assert "Booting" not in done.stderr


def lose_power_over_files() -> None:
    """Drop CAP_DAC_OVERRIDE, without which root has no more permissions than other users."""
    if os.geteuid() == 0:
        pr_capbset_drop, cap_dac_override = 24, 1
        assert ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override, 0, 0, 0) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user_without_read_permission_for_a_module_is_an_error(door: str, public: Path) -> None:
    """It was reported as a package that is not installed."""
    hidden = public / "hidden"
    hidden.mkdir()
    (hidden / "secret.py").touch()
    (public / "open.py").write_text("import secret\ndef app(environ, start_response): ...\n")
    hidden.chmod(0o700)
    args = ["--bind", "127.0.0.1:0", "--user", "nobody", "--pythonpath", str(hidden), "open:app"]
    done = run_cli(door, *args, cwd=public)
    assert done.returncode == 3, done
    assert 'or the user "nobody" (--user) may not read its file' in done.stderr, done
    assert "ModuleNotFoundError: No module named" in done.stderr, done


@pytest.fixture
def places(tmp_path: Path):
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"dir": str(tmp_path), "port": str(listener.getsockname()[1])}


def complaints(stderr: str) -> list[str]:
    """The log lines above level info."""
    return [line for line in stderr.splitlines() if line and "[INFO]" not in line]


@pytest.mark.parametrize("name", MISTAKES)
def test_start_failure_is_one_line(door: str, places: dict[str, str], name: str) -> None:
    given, code, said = MISTAKES[name]
    given = [text.format(**places) for text in given]
    bind = [] if "--bind" in given else ["--bind", "127.0.0.1:0"]
    done = run_cli(door, *bind, *given, APP)
    assert done.returncode == code, done
    lines = complaints(done.stderr)
    assert len(lines) == 1, done.stderr
    for text in said:
        assert re.search(re.escape(text.format(**places)), lines[0], re.IGNORECASE), lines[0]
    assert "Booting" not in done.stderr


def test_relative_log_file_is_below_chdir(fresh_server, tmp_path: Path) -> None:
    """The start checks the file that the worker will open."""
    (tmp_path / "logs").mkdir()
    args = ["--chdir", str(tmp_path), "--access-logfile", "logs/a", "--pythonpath", str(APPS)]
    fresh_server(APP, *args).get("/")
    assert (tmp_path / "logs" / "a").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_user_option_without_root_is_an_error(door: str) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", "--user", "0", APP)
    assert done.returncode == 1 and "only root can become another user" in done.stderr, done


def test_daemon_reports_a_failed_start_before_it_detaches(door: str) -> None:
    """After it has detached, the terminal no longer shows its messages."""
    done = run_cli(door, "--daemon", "--bind", "127.0.0.1:0", "--user", "nosuchuser", APP)
    assert done.returncode == 1 and "nosuchuser" in done.stderr, done
