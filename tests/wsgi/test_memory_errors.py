"""Memory runs out in a request: it fails, and nothing else does.

CPython's own test hook lets each allocation of a request fail in turn, and with it everything that
PyO3 turns into a panic.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from harness import NoResponse, ServerProcess, build_request
from harness.supervision import workers

pytestmark = pytest.mark.second_door("no case")

pytest.importorskip("_testcapi", reason="this Python has no test hooks")

#: More allocations than each request makes after it has lost its memory. Most of `raise` are those of
#: the traceback.
ALLOCATIONS = {"list": 100, "early": 100, "generate": 100, "start": 100, "raise": 400}


@pytest.fixture
def server(fresh_server, tmp_path: Path) -> ServerProcess:
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text(
        "def pre_request(worker, req):\n    pass\n"
        "def post_request(worker, req, environ, resp):\n    str(environ['test.value'])\n"
    )
    log = ["--access-logfile", str(tmp_path / "access"), "--access-logformat"]
    log.append("%(s)s %(U)s %({test.value}e)s")
    options = ["-c", str(conf), "--threads", "1", "--body-buffer-size", "50000"]
    return fresh_server("wsgi_memory:app", *options, *log)


def _serves_again(server: ServerProcess, pid: int) -> int:
    """How many requests the fault of an earlier one has cost."""
    for failed in range(4):
        with contextlib.suppress(NoResponse, ConnectionResetError):
            response = server.get("/")
            if response.status == 200:
                assert int(response.body) == pid
                return failed
            assert response.status == 500, response
    raise AssertionError("the server does not recover")


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("path", ["list", "early", "generate", "start", "raise"])
def test_request_without_memory_costs_only_itself(
    server: ServerProcess, path: str, count: int
) -> None:
    """Regression: steps outside of the guarded part ended the thread for good. A worker with one
    thread served nobody from then on."""
    (pid,) = workers(server, 1)
    response = None
    for start in range(ALLOCATIONS[path]):
        response = None
        with contextlib.suppress(NoResponse, ConnectionResetError), server.connect() as client:
            client.send(build_request("GET", f"/{path}?{start},{count}"))
            response = client.response()
            assert response.status in (200, 500)
        cost = _serves_again(server, pid)
    # The last fault came too late for the request.
    assert cost == 0 and response and response.status == (500 if path == "raise" else 200)
    if path == "raise":
        server.wait_for_log("ValueError: in a request without memory")
    log = server.stderr()
    assert "[worker.thread_lost]" not in log and "Fatal Python error" not in log


@pytest.mark.parametrize("size", [100, 2000, 100_000], ids=["small", "memory", "file"])
def test_content_that_finds_no_memory_raises_memory_error_and_can_be_read_again(
    server: ServerProcess, size: int
) -> None:
    """Regression: PyO3 panicked, which ended the request with 500."""
    content = bytes(range(1, 101)) * (size // 100)
    fields = [("Content-Length", str(size))]
    statuses = []
    for start in range(10):
        with server.connect() as client:
            request = build_request("POST", f"/read?{start},1", fields=fields, body=content)
            response = client.request(request)
        assert response.body == content
        statuses.append(response.status)
    assert set(statuses) == {200, 507} and statuses[-1] == 200
    assert "panicked" not in server.stderr()


@pytest.mark.parametrize("count", [1, 5])
def test_access_logger_without_memory_costs_only_its_request(
    server: ServerProcess, tmp_path: Path, count: int
) -> None:
    """The application has set a filter, so that each line is a record of Python."""
    assert server.get("/filter").status == 200
    (pid,) = workers(server, 1)
    for start in range(0, 500, 3):
        with contextlib.suppress(NoResponse, ConnectionResetError), server.connect() as client:
            client.send(build_request("GET", f"/early?{start},{count}"))
            assert client.response().status in (200, 500)
        cost = _serves_again(server, pid)
    assert cost == 0
    log = server.stderr()
    assert "[worker.thread_lost]" not in log and "Fatal Python error" not in log
    assert server.stop() == 0
    assert (tmp_path / "access").read_text().count(" /early ") >= 167 - 20


@pytest.mark.parametrize("name", ["memory", "exit", "interrupt", "value"])
def test_value_for_the_access_log_that_raises_costs_only_its_text(
    server: ServerProcess, tmp_path: Path, name: str
) -> None:
    (pid,) = workers(server, 1)
    with server.connect() as client:
        for _ in range(2):
            response = client.request(build_request("GET", f"/str/{name}"))
            assert response.status == 200 and int(response.body) == pid
    server.stop()
    lines = (tmp_path / "access").read_text().splitlines()
    assert lines == [f"200 /str/{name} -"] * 2
