"""`rustwsgi.serve` and `rustwsgi.Server` in a program: starts, stops, ends and mistakes.

The wheel's door runs the program with Python. The binary has no such use, but an application may
start a server as it is imported, which is how it runs the same programs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from harness import APPS, child_environment, door_command
from harness.ports import free_port


def run(door: str, program: str) -> tuple[int, Any, str]:
    """The program's exit code, its output, and its standard error."""
    command = [sys.executable, "server_programs.py"]
    if door == "binary":
        command = [*door_command(door), "--check-config", "server_programs:app"]
    done = subprocess.run(
        command,
        cwd=APPS,
        env=child_environment({"PROGRAM": program, "FREE_PORT": str(free_port())}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done
    return done.returncode, json.loads(done.stdout), done.stderr


def finished(door: str, program: str) -> Any:
    code, printed, stderr = run(door, program)
    assert code == 0, stderr
    return printed


# ------------------------------------------------------------------------ the program's end


@pytest.mark.parametrize(
    ("program", "printed"),
    [
        ("never_stopped", None),
        ("stop_in_vain", False),
        (
            "serve_in_vain",
            ["RuntimeError", "the server was stopped while requests were still running"],
        ),
    ],
)
def test_program_that_ends_while_a_request_runs_does_not_abort(
    door: str, program: str, printed: Any
) -> None:
    """Regression: the interpreter was finalized while a thread ran the request, and the process
    aborted."""
    code, seen, stderr = run(door, program)
    assert code == 1, (code, stderr)
    assert seen == printed
    assert "[server.exit]" in stderr
    assert "panicked" not in stderr and "Fatal" not in stderr, stderr


# --------------------------------------------------------------- programs that get a signal twice


def test_repeated_term_stays_graceful(door: str) -> None:
    """`timeout` sends TERM twice. Regression: the request in flight was cut off."""
    assert finished(door, "told_term_again") is None


def test_int_after_term_ends_at_once(door: str) -> None:
    """Regression: `serve()` had returned, but at its exit the program still waited ten minutes for
    the request."""
    code, (kind, message), stderr = run(door, "told_int")
    assert kind == "RuntimeError" and "still running" in message
    assert code == 1, (code, stderr)
    assert "Shut down at once" in stderr and "[server.exit]" in stderr


# ----------------------------------------------------------------- handlers of the program


def test_handler_of_the_program_is_called(door: str) -> None:
    """Regression: `serve()` replaced it while it served."""
    outcome, seen = finished(door, "own_handler")
    assert outcome is None and seen == [15, 15]


def test_exception_of_a_handler_ends_the_call(door: str) -> None:
    assert finished(door, "own_handler_raises") == ["LookupError", "enough"]


def test_call_of_the_servers_handler_ends_the_call(door: str) -> None:
    """A handler of the program may have replaced it."""
    outcome, is_restored = finished(door, "handler_of_the_server_is_called")
    assert outcome is None and is_restored


def test_single_int_is_graceful(door: str) -> None:
    outcome, bodies = finished(door, "one_int")
    assert outcome is None and bodies == ["here"]


# ----------------------------------------------------------------- children and their signals


@pytest.mark.parametrize("program", ["children_of_serve", "children_of_a_thread"])
def test_signal_to_a_child_does_not_reach_the_server(door: str, program: str) -> None:
    """Regression: a child of `serve()` had the server's handlers: TERM woke the server and did not
    end the child. The child must handle signals as one that was forked without a server."""
    children, without = finished(door, program)
    assert children == [without] * 5
    if door == "wheel":
        assert without == ["['default_int_handler', 'SIG_DFL'] -1 set()", -15]


def test_program_may_end_while_a_daemon_thread_serves(door: str) -> None:
    """Regression: CPython ended the thread inside `serve()` by unwinding its stack, which aborted the
    process: "FATAL: exception not rethrown"."""
    code, body, stderr = run(door, "ends_beside_serve")
    assert (code, body) == (0, "here"), stderr
    if door == "wheel":  # the binary checks an application without this end
        assert "[server.stopped]" in stderr, stderr


# --------------------------------------------------------------------------- start and stop


def test_start_that_fails_half_way_is_undone(door: str) -> None:
    """Two threads kept serving an address, and no call could stop them."""
    failure, threads, body = finished(door, "start_fails_half_way")
    assert failure == ["RuntimeError", "can't start new thread"]
    assert threads == [] and body == "here"


def test_concurrent_starts_start_one_server(door: str) -> None:
    """Regression: each of eight threads bound an address, and seven servers could not be
    stopped."""
    outcomes, body, stopped, threads = finished(door, "start_at_once")
    assert outcomes == ["None"] + ["RuntimeError"] * 7
    assert body == "here" and stopped is True and threads == []


def test_stop_inside_a_request_raises(door: str) -> None:
    """A thread cannot wait for itself. Regression: the server then neither served nor could be
    stopped."""
    kind, body, first, second, threads = finished(door, "stop_inside")
    assert kind == "RuntimeError" and body == "here"
    assert first is True and second is True and threads == []


def test_failed_stop_can_be_repeated(door: str) -> None:
    """Regression: after a first False, every further stop() returned True although the server still
    ran."""
    early, late, threads = finished(door, "stop_again")
    assert early == [False, False] and late is True and threads == []


# -------------------------------------------------------------------------- a forked process


def test_forked_process_does_not_stop_the_server(door: str) -> None:
    """Regression: the child waited for a thread that exists only in the parent, and panicked
    instead of raising SystemExit."""
    code, printed, stderr = run(door, "fork_inside")
    assert (code, printed) == (0, [7, "here", True]), stderr
    assert "panicked" not in stderr


# ---------------------------------------------------------------------- gunicorn's loggers


def test_loggers_of_gunicorn_are_set_up_once(door: str) -> None:
    assert finished(door, "loggers") == [["/a"], ["/c"], [1, 1]]


def test_loggers_that_the_program_has_set_up_are_left_alone(door: str) -> None:
    assert finished(door, "loggers_of_the_program") == [["/a"], True, []]


# --------------------------------------------------------------------------------- mistakes


def test_invalid_arguments_raise_the_right_exception(door: str) -> None:
    """Regression: options of the command line only, and later those of the master, were ignored;
    the address before the start raised an unrelated error."""
    found = finished(door, "mistakes")
    assert found.pop("not callable")[0] == "TypeError"
    kind, message = found.pop("async")
    assert kind == "TypeError" and "it is an ASGI application" in message
    for log in ("access", "error"):
        kind, message = found.pop(f"{log} log")
        assert kind in {"OSError", "FileNotFoundError"} and f"/nowhere/{log}.log" in message
    for name in ("url", "urls", "host", "port"):
        assert found.pop(name)[0] == "RuntimeError", name
    for name, (kind, message) in found.items():
        assert kind == "ValueError" and name in message, (name, kind, message)
    assert len(found) == 12


def test_factory_in_place_of_an_application_is_a_warning(door: str) -> None:
    """Regression: only the command line said so, and each request was a 500."""
    _, _, stderr = run(door, "factory")
    assert stderr.count("[WARNING] app cannot be called with two arguments") == 1, stderr
    assert "if it is a factory, write app()" in stderr
