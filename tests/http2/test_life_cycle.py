"""How streams and connections of HTTP/2 end: resets, idle connections, shutdown and reload."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from harness import wait_until
from harness.http2 import Http2Client, frame, http2
from harness.supervision import freeze, workers
from harness.wsgi import events

REFUSED_STREAM, CANCEL = 7, 8


def test_reset_closes_the_iterable(plain) -> None:
    server = plain("http_steps:app", "--threads", "4")
    with http2(server) as client:
        stream = client.start("/endless?id=reset")
        client.request("/wait?id=reset&for=begin")
        client.h2.reset_stream(stream, CANCEL)
        client.flush()
        assert client.request("/wait?id=reset&for=close").json() is True
        assert "end" not in client.request("/state?id=reset").json()


def test_lost_connection_closes_the_iterables(plain) -> None:
    server = plain("http_steps:app", "--threads", "4")
    with http2(server) as client:
        client.start("/endless?id=lost")
        client.request("/wait?id=lost&for=begin")
    with http2(server) as client:
        assert client.request("/wait?id=lost&for=close").json() is True


def test_application_learns_of_a_reset(plain) -> None:
    server = plain("wsgi_close:app", "--threads", "4")
    with http2(server) as client:
        stream = client.start("/watching?key=reset")
        while not client.streams[stream].body:
            assert client.receive()
        client.h2.reset_stream(stream, CANCEL)
        client.flush()
        expected = ["at first False", "gone True", "freed"]
        assert events(server, "reset", want="freed") == expected


def test_stream_that_is_reset_while_queued_does_not_run(fresh_plain, tmp_path) -> None:
    server = fresh_plain("overload:app", "--threads", "1")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with http2(server) as client:
        held = client.start(f"/hold?{pipe}")
        server.wait_for_log("held")
        queued = client.start("/queued")
        client.synchronize()
        client.h2.reset_stream(queued, CANCEL)
        client.flush()
        client.synchronize()
        pipe.write_bytes(b"")
        assert client.wait(held).body == b"served"
    assert [call["path"] for call in server.calls_since_last_asked()] == ["/hold"]


def test_idle_connection_ends_with_goaway(fresh_plain) -> None:
    server = fresh_plain("echo:app", "--keep-alive", "1")
    with http2(server) as client:
        client.request()
        assert client.wait_for_goaway() == 0
        client.wait_for_end()
        assert client.goaway == (0, 1)
    assert server.counters()["keep_alive"] == 1


def test_connection_that_is_closed_for_a_new_one_gets_goaway(fresh_plain) -> None:
    """Regression: it was closed without a word, so that its client could not repeat a request."""
    server = fresh_plain("echo:app", "--worker-connections", "1")
    with http2(server) as client:
        client.request()
        assert server.get().status == 200
        assert client.wait_for_goaway() == 0
        client.wait_for_end()


def test_stop_lets_streams_finish(fresh_plain, tmp_path) -> None:
    server = fresh_plain("overload:app", "--threads", "4")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with http2(server) as client, http2(server) as idle:
        idle.request("/idle")
        held = client.start(f"/hold?{pipe}")
        server.wait_for_log("held")
        server.send_signal(signal.SIGTERM)
        assert client.wait_for_goaway() == 0
        assert idle.wait_for_goaway() == 0
        idle.wait_for_end()
        assert not client.streams[held].done
        pipe.write_bytes(b"")
        assert client.wait(held).body == b"served"
        client.wait_for_end()
        assert client.goaway == (0, held)
    assert server.wait() == 0


def test_connection_ends_at_the_limit_of_requests(fresh_plain, tmp_path) -> None:
    """Regression: the limit was checked once a second, and one connection went on until the worker
    was replaced: 1,020 requests under `--max-requests 200`."""
    server = fresh_plain("overload:app", "--threads", "4", "--max-requests", "20")
    (worker,) = workers(server, 1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with http2(server) as client:
        held = client.start(f"/hold?{pipe}")
        server.wait_for_log("held")
        served = 0
        while client.goaway is None:
            assert client.request("/").body == b"served"
            served += 1
        # Without a GIL the thread sends the last response itself, perhaps before GOAWAY.
        assert 20 <= served <= 21
        assert not client.streams[held].done
        pipe.write_bytes(b"")
        assert client.wait(held).body == b"served"
        client.wait_for_end()
        last = max(client.streams)
        assert client.goaway == (0, last)
    workers(server, 1, without={worker})
    assert server.get("/").status == 200


def serves(client: Http2Client) -> bool:
    """Whether a request is served. False if the server says that it was not processed: the client
    may send it again. [RFC 9113 sections 6.8 and 8.7]"""
    number = client.h2.get_next_available_stream_id()
    # The server waits for a second for requests that cross its GOAWAY.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.start()
    stream = client.streams[number]
    while not stream.done:
        if client.goaway is not None and number > client.goaway[1]:
            return False
        assert client.receive(), f"the connection ended: {client.goaway}"
    if stream.reset == REFUSED_STREAM and not stream.status:
        return False
    assert stream.status == 200 and stream.ended, stream
    return True


def test_reload_loses_no_request(fresh_plain) -> None:
    server = fresh_plain("echo:app", "--threads", "2")
    failures: list[object] = []
    served = 0
    stopping = threading.Event()

    def load() -> None:
        nonlocal served
        while not stopping.is_set():
            try:
                with http2(server) as client:
                    for _ in range(50):
                        if client.goaway is not None or not serves(client):
                            break
                        served += 1
            except Exception as problem:
                failures.append(problem)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            start = len(server.stderr())
            server.send_signal(signal.SIGHUP)
            server.wait_for_event("reload.completed", start=start)
        wait_until(lambda: served > 20 or failures, "requests are served")
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]


def test_end_right_behind_the_preface_is_noticed(fresh_plain) -> None:
    """Regression: if both were there at once, the end was read at the next event only, and there is
    none behind it."""
    server = fresh_plain("echo:app")
    (worker,) = workers(server, 1)
    with server.connect() as client:
        wait_until(lambda: server.holds(client), "the connection is accepted")
        freeze(worker)
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        client.shutdown_write()
        os.kill(worker, signal.SIGCONT)
        assert client.rest()[3] == 4, "SETTINGS, then the end"
