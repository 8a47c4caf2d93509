"""With one thread the application runs on the main thread, which has imported it, as under gunicorn's
sync worker."""

from __future__ import annotations

import os
import signal

import pytest

from harness import ServerProcess, wait_until
from harness.wsgi import THREADS, assert_error_500, get_json

APP = "wsgi_main_thread:app"


@pytest.fixture
def single(serve) -> ServerProcess:
    return serve(APP, "--threads", "1")


@pytest.mark.parametrize("options", [("--threads", "1"), ("-k", "sync")])
def test_single_thread_is_the_main_thread(serve, options: tuple[str, str]) -> None:
    """Regression: the application was imported on the main thread and called on another one."""
    server = serve(APP, *options)
    for _ in range(3):
        assert get_json(server, "/thread") == [True, "MainThread", "set at import"]


def test_several_threads_are_not_the_main_thread(serve) -> None:
    is_main, name, value = get_json(serve(APP, *THREADS), "/thread")
    assert (is_main, value) == (False, None) and name.startswith("rustwsgi-")


def test_objects_of_the_import_can_be_used(single) -> None:
    assert get_json(single, "/database") == [1]
    assert [get_json(single, "/loop") for _ in range(2)] == ["answered"] * 2


def test_alarm_interrupts_a_request(single) -> None:
    assert [get_json(single, "/alarm") for _ in range(2)] == ["interrupted"] * 2


def test_exception_of_a_handler_ends_its_request(single) -> None:
    assert_error_500(single.get("/unhandled-alarm"))
    assert get_json(single, "/database") == [1]


def test_handler_runs_while_the_server_is_idle(fresh_server) -> None:
    """The main thread is in the poll, which the signal ends."""
    server = fresh_server(APP, "--threads", "1")
    pid = get_json(server, "/later")
    for _ in range(3):
        start = len(server.stderr())
        os.kill(pid, signal.SIGUSR2)
        server.wait_for_log("the handler has run", start=start)
    assert get_json(server, "/later") == pid


def test_event_loop_with_signal_handlers_leaves_the_server_its_own(fresh_server) -> None:
    """asyncio replaces the wakeup descriptor and the handlers, and restores neither: TERM would have
    killed the worker."""
    server = fresh_server(APP, "--threads", "1")
    for _ in range(5):
        assert get_json(server, "/loop-with-signals") == "come"
        # Regression: for up to a second the handler was not set again.
        assert not get_json(server, "/is-default")
    pid = get_json(server, "/later")
    os.kill(pid, signal.SIGTERM)
    server.wait_for_event("worker.exiting", rf"\(pid: {pid}\)")
    wait_until(lambda: get_json(server, "/later") != pid, "its replacement serves")


def test_request_is_finished_after_term(fresh_server) -> None:
    server = fresh_server(APP, "--threads", "1")
    pid = get_json(server, "/term")
    server.wait_for_event("worker.exiting", rf"\(pid: {pid}\)")
    wait_until(lambda: get_json(server, "/later") != pid, "its replacement serves")


def test_system_exit_in_a_request_is_an_error_of_that_request(fresh_server) -> None:
    server = fresh_server(APP, "--threads", "1")
    pid = get_json(server, "/later")
    assert_error_500(server.get("/leave"))
    assert get_json(server, "/later") == pid


def test_request_on_the_main_thread_is_interrupted(fresh_server) -> None:
    server = fresh_server("supervised:app", "--threads", "1", "--timeout", "2")
    pid = server.get("/").body
    assert server.get("/spin").status == 504
    server.wait_for_event("request.timeout", "(.|\n)*in thread MainThread")
    assert server.get("/").body == pid
