"""The shutdown: which requests finish, and how long the server waits."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import build_request, wait_until
from harness.supervision import refuses

PLAIN = "http_cli:app"


def test_request_in_flight_is_finished(fresh_server, fifo: Path) -> None:
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "60")
    with server.connect() as client, server.connect() as idle:
        assert idle.request(build_request()).status == 200
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        assert idle.at_eof(), "idle connections are closed"
        wait_until(lambda: refuses(server), "the listening socket is closed")
        assert server.is_alive()
        fifo.write_text("finished")
        response = client.response()
        assert (response.status, response.body) == (200, b"finished")
        assert client.at_eof()
    assert server.wait() == 0


def test_repeated_term_stays_graceful(fresh_server, fifo: Path) -> None:
    """`timeout` signals its command and then the process group. Regression: the request in flight
    was lost."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "600")
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        for count in range(1, 4):
            server.send_signal(signal.SIGTERM)
            server.wait_for_log(r"(.|\n)*".join([r"\[signal.received\] .* term"] * count))
        fifo.write_text("finished")
        assert client.response().body == b"finished"
    assert server.wait() == 0
    assert "at once" not in server.stderr().replace("INT or QUIT stops at once", "")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_second_signal_ends_at_once(fresh_server, fifo: Path, sig: int) -> None:
    """The request is never released, and the graceful timeout is far away."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "600")
    with server.connect() as client, server.connect() as idle:
        assert idle.request(build_request()).status == 200
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        assert idle.at_eof()
        server.send_signal(sig)
        assert server.wait() == 0


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT], ids=["INT", "QUIT"])
def test_quick_signal_ends_at_once(fresh_server, fifo: Path, sig: int) -> None:
    """As gunicorn: INT and QUIT do not wait for running requests."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "600")
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(sig)
        assert server.wait() == 0


def test_graceful_timeout_ends_running_requests(fresh_server, fifo: Path) -> None:
    """A request that does not end in time does not delay the exit further."""
    server = fresh_server(PLAIN, "--threads", "2", "--graceful-timeout", "1")
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        server.send_signal(signal.SIGTERM)
        server.wait()
    assert f"graceful timeout: still running: GET /hold?{fifo}\n" in server.stderr()


def test_graceful_timeout_names_unread_responses(fresh_server, fifo: Path) -> None:
    """Regression: a response that waited for its client was not named in the log."""
    server = fresh_server("supervised:app", "--threads", "2", "--graceful-timeout", "1")
    with server.connect() as holding, server.connect(receive_buffer=4096) as unread:
        holding.send(build_request("GET", f"/hold?{fifo}"))
        unread.send(build_request("GET", "/flood"))
        server.wait_for_log("request started")
        assert unread.head().status == 200
        server.send_signal(signal.SIGTERM)
        server.wait()
    said = re.search("graceful timeout: still running: (.*)\n", server.stderr())
    assert said, server.stderr()
    names = [f"GET /hold?{fifo}", "GET /flood (waiting for its client to read)"]
    assert sorted(said[1].split(", ")) == sorted(names)


def test_graceful_timeout_ends_an_unread_response(fresh_server) -> None:
    """The application has returned, and no request is running."""
    server = fresh_server(PLAIN, "--graceful-timeout", "1")
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/sized?20000000"))
        assert client.head().status == 200
        server.send_signal(signal.SIGTERM)
        server.wait()
    said = "graceful timeout: 1 response had not been read completely\n"
    assert said in server.stderr()


def test_graceful_timeout_counts_what_it_ends(fresh_server, fifo: Path) -> None:
    """Idle connections are not among it."""
    server = fresh_server(PLAIN, "--threads", "1", "--graceful-timeout", "1")
    with ExitStack() as stack:
        running, queued, partial, body = (stack.enter_context(server.connect()) for _ in range(4))
        partial.send(b"GET / HT")
        body.send(build_request("POST", "/", body=b"abc")[:-1])
        running.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("request started")
        queued.send(build_request())
        for client in (partial, body, queued):
            wait_until(lambda client=client: server.has_read(client), "read")
        server.send_signal(signal.SIGTERM)
        server.wait()
    said = (
        f"graceful timeout: still running: GET /hold?{fifo}; 1 request waited for a thread; "
        "2 requests had not arrived completely\n"
    )
    assert said in server.stderr()


def test_idle_connections_after_a_reload_are_no_reason_for_a_warning(fresh_server) -> None:
    """Regression: with --keep-alive 75 behind a proxy, each reload ended in a warning about clients that
    were "still sending or reading"."""
    server = fresh_server(PLAIN, "--keep-alive", "600", "--graceful-timeout", "1")
    with server.connect() as idle, server.connect() as unused:
        assert idle.request(build_request()).status == 200
        wait_until(lambda: server.has_read(unused), "accepted")
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        server.wait_for_event("worker.exiting")
        assert idle.at_eof()
        assert server.get("/").status == 200
    assert "[server.aborted]" not in server.stderr()


THREAD = """
import threading
def pump():
    open({fifo!r}).read()
threading.Thread(target=pump, name="pump", daemon={daemon}).start()
def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""


@pytest.mark.parametrize("daemon", [False, True])
def test_thread_that_delays_the_exit_is_logged(
    fresh_server, tmp_path: Path, fifo: Path, daemon: bool
) -> None:
    """Python waits for it at exit; the log said only that the worker is killed."""
    (tmp_path / "stays.py").write_text(THREAD.format(fifo=str(fifo), daemon=daemon))
    server = fresh_server("stays:app", cwd=tmp_path)
    assert server.get("/").status == 200
    server.send_signal(signal.SIGTERM)
    if not daemon:
        server.wait_for_event("worker.lingering_threads", r"\d+ .*'pump'")
        fifo.write_text("go on")
    assert server.wait() == 0
    assert ("'pump'" in server.stderr()) is not daemon, server.stderr()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_shutdown_closes_idle_and_partial_connections(fresh_server, sig: int) -> None:
    server = fresh_server(PLAIN, "--keep-alive", "600", "--header-timeout", "600")
    with server.connect() as idle, server.connect() as silent:
        assert idle.request(build_request()).status == 200
        assert server.get("/").status == 200
        server.send_signal(sig)
        assert idle.at_eof() and silent.at_eof()
        assert server.wait() == 0


def test_response_being_sent_is_finished(fresh_server) -> None:
    """The server has all of it; a slow reader still gets the rest."""
    size = 20_000_000
    server = fresh_server(PLAIN, "--graceful-timeout", "60")
    with server.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/sized?{size}"))
        assert client.head().status == 200
        server.send_signal(signal.SIGTERM)
        assert len(client.read(size)) == size
        assert client.at_eof()
    assert server.wait() == 0


def test_request_behind_a_kept_alive_response_is_served(fresh_server) -> None:
    """The head was sent before the shutdown, so the client may send another request. Regression: it
    was discarded, or reset the connection, which destroyed the rest of the response."""
    size = 20_000_000
    server = fresh_server(PLAIN, "--graceful-timeout", "60")
    with server.connect(receive_buffer=4096) as client, server.connect() as idle:
        assert idle.request(build_request()).status == 200
        client.send(build_request("GET", f"/sized?{size}"))
        assert client.head().status == 200
        client.send(build_request("POST", "/", body=b"x" * 100_000))
        server.send_signal(signal.SIGTERM)
        assert idle.at_eof(), "draining"
        assert len(client.read(size)) == size
        response = client.response()
        assert response.status == 200 and "close" in response.connection
        assert client.at_eof()
    assert server.wait() == 0


def test_signal_right_after_the_start_ends_the_server(fresh_server) -> None:
    """Right after the listening line, before the first request."""
    for sig in (signal.SIGTERM, signal.SIGINT):
        assert fresh_server(PLAIN).stop(sig) == 0
