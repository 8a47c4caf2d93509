"""PEP 3333 "Thread Support": what wsgi.multithread promises, and what it must not cost."""

from __future__ import annotations

import os

import pytest

from harness import WITHOUT_GIL, Client, ServerProcess, build_request, wait_until
from harness.wsgi import THREADS, ask, events, get_json, json_of, new_key, noted, open_gate

from wsgi_threads import PIECE, PIECES  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_threads:app", *THREADS)


@pytest.fixture
def single(serve) -> ServerProcess:
    return serve("wsgi_threads:app", "--threads", "1")


def at_once(server: ServerProcess, target: str, count: int, rounds: int = 1) -> list[Client]:
    """`count` connections, each with `rounds` requests sent."""
    clients = [server.connect() for _ in range(count)]
    for client in clients:
        client.send(build_request("GET", target) * rounds)
    return clients


def test_four_threads_run_four_requests_at_once(server):
    """Each of the four waits in the application for the others."""
    clients = at_once(server, "/barrier", 4)
    assert [client.response().body for client in clients] == [b"together"] * 4
    for client in clients:
        client.close()


def test_requests_on_four_threads(server):
    """Never more than four at once; each thread keeps its own thread-locals."""
    clients = at_once(server, "/serial", 8, rounds=20)
    seen = [json_of(client.response()) for client in clients for _ in range(20)]
    for client in clients:
        client.close()
    assert max(s["most"] for s in seen) <= 4
    assert len({s["ident"] for s in seen}) <= 4
    assert all(s["same_object"] for s in seen), "threading.current_thread() changed"
    for ident in {s["ident"] for s in seen}:
        counts = [s["count"] for s in seen if s["ident"] == ident]
        assert len(set(counts)) == len(counts), "thread-locals were lost between requests"


def test_one_thread_is_strictly_serial(single):
    """One request at a time, always on the same thread, whichever thread polls."""
    clients = at_once(single, "/serial", 8, rounds=20)
    seen = [json_of(client.response()) for client in clients for _ in range(20)]
    for client in clients:
        client.close()
    seen += [get_json(single, "/serial") for _ in range(5)]
    assert {s["most"] for s in seen} == {1}
    assert len({s["ident"] for s in seen}) == 1
    assert all(s["same_object"] for s in seen)
    counts = sorted(s["count"] for s in seen)
    assert counts == list(range(counts[0], counts[0] + len(seen)))


def test_blocked_requests_do_not_delay_others(server):
    """Three threads wait in the application; the fourth serves on."""
    keys = [new_key() for _ in range(3)]
    clients = []
    for key in keys:
        client = server.connect()
        client.send(build_request("GET", f"/hold?key={key}"))
        clients.append(client)
    for key in keys:
        events(server, key, want="begin")
    with server.connect() as client:
        for _ in range(50):
            assert ask(client, "/loop").status == 200
    for key in keys:
        open_gate(server, key)
    idents = [json_of(client.response()) for client in clients]
    assert len(set(idents)) == 3
    for client in clients:
        client.close()


def test_pipelined_requests_never_overlap(server):
    """The second request starts after the first response is complete, although threads are free."""
    first, second = new_key(), new_key()
    with server.connect() as client:
        client.send(build_request("GET", f"/hold?key={first}"))
        client.send(build_request("GET", f"/hold?key={second}"))
        events(server, first, want="begin")
        open_gate(server, second)  # it could run to its end at once
        assert events(server, second) == []
        open_gate(server, first)
        json_of(client.response())
        json_of(client.response())
    assert [n["event"] for n in noted(server, second)] == ["begin", "end"]


def test_thread_may_write_while_the_response_is_iterated(server):
    """Regression: a thread that found the other one sending got the error that the response had
    ended."""
    key = new_key()
    with server.connect(receive_buffer=4096) as client:
        response = ask(client, f"/write-beside?key={key}")
    assert response.complete
    assert response.body.count(b"w") == response.body.count(b"i") == PIECE * PIECES
    assert sorted(events(server, key)) == ["iterated", "written"]


@pytest.mark.skipif(WITHOUT_GIL, reason="there is no GIL to let go of")
def test_long_line_lets_other_threads_run(fresh_server):
    """Regression: the search for a line in a spooled body held the interpreter and stopped all
    threads. On a loaded machine another thread may miss its chance in many lines."""
    server, lines = fresh_server("wsgi_threads:app", "--threads", "1"), 6
    body = (b"x" * 5_000_000 + b"\n") * lines

    def another_thread_runs() -> bool:
        seen = json_of(server.get("/long-lines", method="POST", body=body))
        assert [size for size, _ in seen] == [5_000_001] * lines
        return any(ran for _, ran in seen)

    wait_until(another_thread_runs, "another thread runs while a line is read")


def test_ready_response_does_not_wait_for_a_blocking_request(fresh_server, tmp_path):
    """Regression: requests that arrived together were run in turn and their responses sent
    together, so one that blocked delayed those that were ready."""
    server = fresh_server("http_cli:app", "--threads", "1")
    fifos = [tmp_path / name for name in ("first", "last")]
    for fifo in fifos:
        os.mkfifo(fifo)
    first, last, *quick = (server.connect() for _ in range(6))
    try:
        first.send(build_request("GET", f"/hold?{fifos[0]}"))
        server.wait_for_log("request started")
        for client in quick:  # a batch in the making, in this order
            client.send(build_request("GET", "/sized?5"))
            wait_until(lambda client=client: server.has_read(client), "the request was read")
        last.send(build_request("GET", f"/hold?{fifos[1]}"))
        wait_until(lambda: server.has_read(last), "the last request was read")
        start = len(server.stderr())
        fifos[0].write_text("first")
        server.wait_for_log("request started", start=start)
        for client in quick:
            assert client.response().body == b"xxxxx"
        assert first.response().body == b"first"
        fifos[1].write_text("last")
        assert last.response().body == b"last"
    finally:
        for client in (first, last, *quick):
            client.close()


@pytest.mark.parametrize("threads", ["1", "4"])
def test_application_threads_run_while_the_server_is_idle(serve, threads):
    """The server releases the GIL while it has nothing to do."""
    server = serve("wsgi_threads:app", "--threads", threads)
    key = new_key()
    assert get_json(server, f"/background?key={key}") == "started"
    server.wait_for_log(f"background {key} went on")


@pytest.mark.parametrize("threads", ["1", "4"])
def test_asyncio_runs_on_the_server_threads(serve, threads):
    server = serve("wsgi_threads:app", "--threads", threads)
    with server.connect() as client:
        for _ in range(10):
            assert json_of(ask(client, "/loop")) == "answered"
