"""A request that finds all threads of its worker busy runs in another worker with a free thread.

The only thread of a worker is held by a request that ends when the test says so. So what another
request of that worker does meanwhile does not depend on time.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness import (
    TIMEOUT,
    WITHOUT_GIL,
    Client,
    NoResponse,
    Response,
    ServerProcess,
    build_request,
    chunked,
    wait_until,
)
from harness.proxies import Proxy, find
from harness.supervision import Load, children, end, freeze, holds, is_asleep, reloads, workers

APP = "handed_over:app"
GET = build_request("GET", "/")


class Held:
    """A worker whose only thread is held, and another connection to it."""

    def __init__(self, server: ServerProcess, fifo: Path, pid: int | None = None) -> None:
        self.fifo = fifo
        os.mkfifo(fifo)
        self._holder, self.pid = connect_to_worker(server, pid)
        self.client, _ = connect_to_worker(server, self.pid)
        start = len(server.stderr())
        self._holder.send(build_request("GET", f"/hold?{fifo}"))
        server.wait_for_log("^held", start=start)

    def release(self) -> dict[str, Any]:
        with self.fifo.open("w"):
            pass
        return reply(self._holder.response())

    def abandon(self) -> None:
        """Release the thread for a client that has left, so that its connection closes at once."""
        self._holder.close()
        with self.fifo.open("w"):
            pass

    def close(self) -> None:
        try:
            os.close(os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass  # it was released
        self._holder.close()
        self.client.close()


def reply(response: Response) -> dict[str, Any]:
    assert response.status == 200 and response.complete, response
    found: dict[str, Any] = json.loads(response.body)
    return found


def connect_to_worker(server: ServerProcess, pid: int | None) -> tuple[Client, int]:
    """A kept-alive connection of this worker, or of any one."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        client = server.connect()
        found = reply(client.request(GET))["pid"]
        # Its request may have been handed over: the thread of its own worker may not have ended
        # the request before.
        if pid in (None, found) and holds(found, client):
            return client, found
        client.close()
    raise AssertionError(f"worker {pid} accepts no connection")


def freeze_ready(server: ServerProcess, pid: int) -> None:
    """Suspends a worker that shows a free thread: one that still boots shows none."""
    client, _ = connect_to_worker(server, pid)
    client.close()
    wait_until(lambda: is_asleep(pid), "the worker waits for events")
    freeze(pid)


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Any]:
    """`hold(server)`: a worker without a free thread. It is released after a failed test, too."""
    with ExitStack() as stack:
        numbers = iter(range(100))

        def start(server: ServerProcess, pid: int | None = None) -> Held:
            held = Held(server, tmp_path / f"fifo{next(numbers)}", pid)
            stack.callback(held.close)
            return held

        yield start


def counters(server: ServerProcess, pid: int) -> dict[str, int]:
    """What one worker has counted."""
    start = len(server.stderr())
    os.kill(pid, signal.SIGUSR1)
    said = server.wait_for_event("server.counters", r": (.*)\n", start=start)[1]
    items = [item.partition("=") for item in said.split()]
    return {name: int(count) for name, _, count in items if count}


def handed_over(server: ServerProcess, pid: int) -> int:
    """How many requests this worker has handed over so far."""
    return counters(server, pid).get("handed_over", 0)


def taken_over(server: ServerProcess, pid: int) -> int:
    """How many requests this worker has taken over so far."""
    return counters(server, pid).get("taken_over", 0)


TWO_WORKERS = ("--workers", "2", "--threads", "1", "--keep-alive", "75")


@pytest.fixture
def server(fresh_server) -> ServerProcess:
    server: ServerProcess = fresh_server(APP, *TWO_WORKERS)
    server.wait_for_event("server.ready")
    return server


def test_request_runs_in_another_worker_while_its_own_is_busy(server, hold) -> None:
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    sent, taken = handed_over(server, held.pid), taken_over(server, other)
    for _ in range(3):
        assert reply(held.client.request(GET))["pid"] == other
    assert held.release()["pid"] == held.pid
    # The connection stays where it is.
    assert reply(held.client.request(GET))["pid"] == other
    assert handed_over(server, held.pid) == sent + 1
    assert taken_over(server, other) == taken + 1


def test_request_arrives_whole(fresh_server, hold) -> None:
    server = fresh_server(APP, *TWO_WORKERS, "--access-logfile", "-")
    workers(server, 2)
    fields = [("X-Field", "value"), ("Content-Length", "5")]
    held = hold(server)
    environ = {"SERVER_NAME": server.host, "SERVER_PORT": str(server.port)}
    environ |= {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": str(held.client.port)}
    held.client.send(build_request("POST", "/first", fields=fields) + b"hello" + GET)
    first, second = reply(held.client.response("POST")), reply(held.client.response())
    assert first | environ == first and second | environ == second
    assert (first["body"], first["HTTP_X_FIELD"]) == ("hello", "value")
    assert (second["body"], second["HTTP_X_FIELD"]) == ("", None)
    assert held.pid not in (first["pid"], second["pid"])
    server.wait_for_stdout(r'^127\.0\.0\.1 - - \[[^]]+\] "POST /first HTTP/1\.1" 200 ')
    held.release()


def test_chunked_body_arrives_whole(server, hold) -> None:
    held = hold(server)
    raw = build_request("POST", "/", fields=[("Transfer-Encoding", "chunked")])
    response = held.client.request(raw + chunked(b"one", b"two"), method="POST")
    assert reply(response)["body"] == "onetwo" and reply(response)["pid"] != held.pid
    held.release()


def test_large_body_stays_with_its_worker(server, hold) -> None:
    held = hold(server)
    held.client.send(build_request("POST", "/", body=b"x" * 100_000))
    wait_until(lambda: server.has_read(held.client), "the request was read")
    # This one is handed over, while the large one is not.
    other, _ = connect_to_worker(server, None)
    assert held.release()["pid"] == held.pid
    found = reply(held.client.response("POST"))
    assert (found["pid"], len(found["body"])) == (held.pid, 100_000)
    other.close()


def test_request_waits_while_no_worker_has_a_free_thread(server, hold) -> None:
    first = hold(server)
    [other] = workers(server, 2) - {first.pid}
    second = hold(server, other)
    first.client.send(GET)
    second.client.send(GET)
    # Both clients wait for the thread that is free first.
    second.release()
    answers = [reply(held.client.response())["pid"] for held in (first, second)]
    assert answers == [other, other]
    first.release()


def test_request_for_a_suspended_worker_is_taken_back(server, hold) -> None:
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    # It shows a free thread, and cannot use it.
    freeze_ready(server, other)
    try:
        held.client.send(GET)
        wait_until(lambda: server.has_read(held.client), "the request was read")
        held.release()
        assert reply(held.client.response())["pid"] == held.pid
    finally:
        os.kill(other, signal.SIGCONT)


@pytest.mark.skipif(WITHOUT_GIL, reason="no thread can keep the interpreter")
def test_request_runs_in_another_worker_while_a_c_function_keeps_the_interpreter(
    fresh_server, fifo: Path
) -> None:
    server = fresh_server(APP, "--workers", "2", "--threads", "4", "--keep-alive", "75")
    workers(server, 2)
    holder, pid = connect_to_worker(server, None)
    client, _ = connect_to_worker(server, pid)
    sent = handed_over(server, pid)
    start = len(server.stderr())
    holder.send(build_request("GET", f"/seize?{fifo}"))
    server.wait_for_log("^seized", start=start)
    for _ in range(3):
        assert reply(client.request(GET))["pid"] != pid
    # The interpreter was kept meanwhile.
    assert select.select([holder.sock], [], [], 0)[0] == []
    fifo.write_text("")
    assert reply(holder.response())["pid"] == pid
    assert handed_over(server, pid) == sent + 1
    holder.close()
    client.close()


@pytest.mark.parametrize("sig", ["TERM", "KILL", "HUP"])
def test_request_in_the_queue_survives_its_sender(server, hold, sig: str) -> None:
    """Its sender ends while the only other worker is suspended: the request is in no process."""
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    freeze_ready(server, other)
    try:
        held.client.send(GET)
        # The sender closes its copy of the socket when it has sent it.
        wait_until(lambda: not holds(held.pid, held.client), "it was handed over")
        if sig == "HUP":
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: reloads(server) == 1, server.stderr())
        else:
            os.kill(held.pid, getattr(signal, f"SIG{sig}"))
            if sig == "TERM":
                held.release()
        pid = reply(held.client.response())["pid"]
        # KILL: the successor. HUP: a new worker. TERM: the sender itself, or the successor.
        assert pid != other and (sig == "TERM" or pid != held.pid)
    finally:
        end(other, signal.SIGCONT)
        held.close()


def test_access_log_counts_the_time_before_its_worker_was_started(fresh_server, hold) -> None:
    log = ("--access-logfile", "-", "--access-logformat", "%(U)s %(D)s")
    server = fresh_server(APP, *TWO_WORKERS, *log)
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    freeze_ready(server, other)
    try:
        held.client.send(build_request("GET", "/late"))
        wait_until(lambda: not holds(held.pid, held.client), "it was handed over")
        until = time.monotonic() + 0.5
        wait_until(lambda: time.monotonic() >= until, "half a second has passed")
        os.kill(held.pid, signal.SIGKILL)
        assert reply(held.client.response())["pid"] not in (held.pid, other)
        assert int(server.wait_for_stdout(r"^/late (\d+)$")[1]) >= 500_000
    finally:
        end(other, signal.SIGCONT)


def test_stop_answers_the_requests_in_the_queue(fresh_server, hold) -> None:
    server = fresh_server(APP, *TWO_WORKERS)
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    freeze_ready(server, other)
    held.client.send(GET)
    wait_until(lambda: not holds(held.pid, held.client), "it was handed over")
    server.send_signal(signal.SIGTERM)
    server.wait_for_event("server.stopping")
    os.kill(other, signal.SIGCONT)
    assert reply(held.client.response())["pid"] == other
    held.release()
    assert server.wait() == 0


def test_request_in_the_queue_runs_while_no_worker_has_a_free_thread(server, hold) -> None:
    """Both workers have more requests than threads, all the time."""
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    busy = [connect_to_worker(server, other)[0] for _ in range(4)]
    freeze_ready(server, other)
    try:
        for client in busy:
            client.send(build_request("GET", "/run?0,0.05"))
        held.client.send(GET)
        wait_until(lambda: not holds(held.pid, held.client), "it was handed over")
    finally:
        os.kill(other, signal.SIGCONT)
    for _ in range(20):
        for client in busy:
            reply(client.response())
            client.send(build_request("GET", "/run?0,0.05"))
    assert select.select([held.client.sock], [], [], 0)[0], "it was answered meanwhile"
    assert reply(held.client.response())["pid"] == other
    held.release()
    for client in busy:
        reply(client.response())
        client.close()


def test_stop_answers_a_request_that_only_its_sender_is_left_to_run(fresh_server, hold) -> None:
    """No worker starts while the server stops. So the sender looks at the queue before it ends."""
    server = fresh_server(APP, *TWO_WORKERS)
    held = hold(server)
    [other] = workers(server, 2) - {held.pid}
    freeze_ready(server, other)
    held.client.send(GET)
    wait_until(lambda: not holds(held.pid, held.client), "it was handed over")
    server.send_signal(signal.SIGTERM)
    server.wait_for_event("server.stopping")
    end(other, signal.SIGKILL)
    held.abandon()
    assert reply(held.client.response())["pid"] == held.pid
    server.wait()


def test_single_worker_keeps_its_requests(fresh_server, hold) -> None:
    server = fresh_server(APP, "--threads", "1")
    held = hold(server)
    held.client.send(GET)
    wait_until(lambda: server.has_read(held.client), "the request was read")
    held.release()
    assert reply(held.client.response())["pid"] == held.pid
    assert handed_over(server, held.pid) == 0


def test_malformed_message_is_logged_and_ignored(server) -> None:
    """Code of the application has sent it: a worker does not trust the others."""
    pids = workers(server, 2)
    assert server.get("/garble").status == 200
    server.wait_for_event("worker.handover_malformed")
    assert server.get("/").status == 200
    assert any("hand_over_failed" in counters(server, pid) for pid in pids)
    assert workers(server, 2) == pids


def test_forked_children_do_not_keep_the_queue(server) -> None:
    found = reply(server.get("/ends"))
    assert (found["worker"], found["child"]) == (2, 0)


# ------------------------------------------------------------------------- workers that are killed


class Numbered:
    """Clients on kept-alive connections. Each of their requests has a number of its own."""

    def __init__(self, server: ServerProcess, clients: int) -> None:
        self._server = server
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self.answered: dict[str, int] = {}
        #: Numbers of requests without a response, with the pid of the connection's last response,
        #: and whether a worker was killed meanwhile.
        self.lost: dict[str, tuple[int | None, bool]] = {}
        #: The workers that were killed.
        self.killed: set[int] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(seed,), daemon=True) for seed in range(clients)
        ]

    def _run(self, seed: int) -> None:
        random = Random(seed)
        while not self._end.is_set():
            last = None
            try:
                client = self._server.connect()
            except OSError:
                continue
            with client:
                while not self._end.is_set():
                    with self._lock:
                        self._next += 1
                        number = str(self._next)
                    seconds = 0.2 if random.random() < 0.1 else 0
                    before = len(self.killed)
                    try:
                        response = client.request(build_request("GET", f"/run?{number},{seconds}"))
                        last = reply(response)["pid"]
                    except (OSError, NoResponse):
                        with self._lock:
                            self.lost[number] = last, len(self.killed) > before
                        break
                    with self._lock:
                        self.answered[number] = last
                    if "close" in response.connection:
                        break

    def __enter__(self) -> Numbered:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(TIMEOUT)


def test_killed_workers_lose_only_what_they_run_and_nothing_runs_twice(
    fresh_server, tmp_path: Path
) -> None:
    records = tmp_path / "records"
    server = fresh_server(APP, "--workers", "2", "--threads", "3", env={"RECORDS": str(records)})
    workers(server, 2)
    random = Random(7)
    with Numbered(server, clients=24) as load:
        for _ in range(8):
            goal = len(load.answered) + 150
            wait_until(lambda: len(load.answered) >= goal, "more responses")  # noqa: B023
            victim = random.choice(sorted(children(server.pid)))
            load.killed.add(victim)
            end(victim, signal.SIGKILL)
            workers(server, 2, without={victim})
    begun: dict[str, int] = {}
    for line in records.read_text().splitlines():
        event, number, pid = line.split()
        if event == "begin":
            assert number not in begun, f"request {number} was run twice"
            begun[number] = int(pid)
    assert {number: begun[number] for number in load.answered} == load.answered
    # A worker that has taken a request over may be killed before it runs it.
    excused = {
        number
        for number, (_, is_during_kill) in load.lost.items()
        if is_during_kill and number not in begun
    }
    for number, (last, _) in load.lost.items():
        assert number in excused or begun.get(number, last) in load.killed | {None}, (
            f"request {number} was lost by a worker that was not killed: {load.lost}"
        )
    assert server.stop() == 0


def test_reloads_and_changes_of_the_number_of_workers_lose_nothing(fresh_server) -> None:
    """Under a load that is handed over all the time."""
    server = fresh_server(APP, "--workers", "3", "--threads", "2", "--keep-alive", "75")
    workers(server, 3)
    slow, quick = (build_request("GET", f"/run?0,{seconds}") for seconds in (0.1, 0))
    with (
        Load(server.connect, kept=4, fresh=1, request=slow) as blocked,
        Load(server.connect, kept=8, fresh=1, request=quick) as load,
    ):
        for sig in ["HUP", "TTOU", "HUP", "TTIN", "TTOU", "TTOU", "HUP", "TTIN"]:
            count = reloads(server)
            server.send_signal(getattr(signal, f"SIG{sig}"))
            if sig == "HUP":
                wait_until(lambda: reloads(server) == count + 1, server.stderr())  # noqa: B023
            load.more(100)
            blocked.more(4)
        assert load.failures == [] and blocked.failures == []
    assert server.stop() == 0
    found = re.findall(r"handed_over=(\d+)", server.stderr())
    assert found, "nothing was handed over"


@pytest.mark.second_door("no case")
def test_busy_workers_behind_nginx_lose_nothing(fresh_server, tmp_path: Path) -> None:
    """As docs/deployment.md configures it."""
    if find("nginx") is None:
        pytest.skip("nginx is not installed")
    server = fresh_server(APP, "--workers", "2", "--threads", "1", "--keep-alive", "75")
    workers(server, 2)
    slow, quick = (build_request("GET", f"/run?0,{seconds}") for seconds in (0.1, 0))
    with (
        Proxy("nginx", f"{server.host}:{server.port}", tmp_path) as proxy,
        Load(proxy.connect, kept=1, fresh=0, request=slow) as blocked,
        Load(proxy.connect, kept=8, fresh=1, request=quick) as load,
    ):
        load.more(500)
        assert load.failures == [] and blocked.failures == []
    assert server.stop() == 0
