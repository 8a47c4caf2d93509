"""What most tests do: deliver a request and check that it is answered or rejected."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from .bridge import is_bridged
from .client import TIMEOUT, Client, NoResponse, Response
from .server import ServerProcess

#: What `assert_rejected` pipelines after a bad request: the application must never see it.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

#: Seconds for which the server reads on after a response that ends the connection. What a client
#: sends later is reset. [LINGER_TIMEOUT in src/net/tuning.rs]
LINGER_TIMEOUT = 2.0


def deliver(client: Client, raw: bytes, how: str = "whole") -> None:
    """Send `raw` in one call ("whole") or one byte at a time ("bytes")."""
    if how == "bytes":
        client.send_slowly(raw)
    else:
        client.send(raw)


@contextlib.contextmanager
def within_linger(since: float | None = None) -> Iterator[None]:
    """Send behind a request that the server rejects. A client that the machine has delayed for
    longer than LINGER_TIMEOUT meets the end of the connection; the response has arrived before.
    `since` is a time before the response."""
    since = time.monotonic() if since is None else since
    try:
        yield
    except (BrokenPipeError, ConnectionResetError):
        if time.monotonic() - since < LINGER_TIMEOUT:
            raise


def has_status(response: Response, line: str) -> bool:
    """Whether it has this status and reason phrase. HTTP/2 has no reason phrases."""
    if is_bridged():
        return str(response.status) == line[:3]
    return f"{response.status} {response.reason}" == line


def assert_error_response(response: Response, status: int | set[int]) -> None:
    """A well-formed rejection: the status, a text that explains it, and `Connection: close`, which
    HTTP/2 does not have."""
    wanted = {status} if isinstance(status, int) else status
    assert response.status in wanted, response
    assert is_bridged() or "close" in response.connection, response
    assert response.framing == "length" and response.complete, response
    assert (response.get("Content-Type") or "").startswith("text/"), response
    assert response.body.strip(), "an error response should say what was wrong"
    assert response.get("Date"), response


def assert_unavailable(response: Response) -> None:
    """An overloaded server's 503, which says when to try again."""
    assert_error_response(response, 503)
    assert response.get("Retry-After") == "5"


def assert_rejected(
    server: ServerProcess,
    raw: bytes,
    status: int | set[int],
    *,
    reason_contains: str | None = None,
    how: str = "whole",
) -> None:
    """`raw`, with a good request pipelined after it, gets one rejection, then a clean end of file.

    The application (which must be `recorded`, see apps/echo.py) is not called for any of it.
    Calls differ in the client's port. The list of calls is requested on a new
    connection after the end of file, so a server with `--threads 1` answers it after everything
    that it might have started before. Over HTTP/2 a rejection ends its stream only, and may be a
    reset or the end of the connection.
    """
    with server.connect() as client:
        port = client.port
        if is_bridged():
            response = rejection_of_a_stream(client, raw, status)
        else:
            response = rejection_of_a_connection(client, raw, status, how)
    if reason_contains is not None and response is not None:
        assert reason_contains.lower() in (response.text + response.reason).lower(), response
    calls = server.calls_since_last_asked()
    mine = [call for call in calls if call["port"] in (str(port), None)]
    assert not mine, f"the application was called: {mine}"


def rejection_of_a_connection(
    client: Client, raw: bytes, status: int | set[int], how: str
) -> Response:
    with within_linger():
        if how == "whole":
            client.send(raw + SMUGGLED)
        else:
            client.send_slowly(raw)
            client.send(SMUGGLED)
    response = client.response()
    assert_error_response(response, status)
    assert client.at_eof(), f"more after the rejection: {client.rest()!r}"
    return response


def rejection_of_a_stream(client: Client, raw: bytes, status: int | set[int]) -> Response | None:
    """None for a reset, or the end of the connection."""
    client.send(raw)
    try:
        response = client.response()
    except NoResponse:
        return None
    assert_error_response(response, status)
    return response


def exchange(
    server: ServerProcess, raw: bytes, delivery: str, method: str | None = None
) -> Response:
    """The response to one valid request, delivered in one of three ways: "whole", "bytes" (one byte
    at a time), or "pipelined" (in one segment with a second request, which shows that the first
    took exactly its own bytes)."""
    method = method or raw.lstrip().split(b" ", 1)[0].decode("latin-1")
    with server.connect() as client:
        if delivery == "pipelined":
            client.send(raw + b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
        else:
            deliver(client, raw, delivery)
        response = client.response(method)
        while response.status < 200:
            response = client.response(method)
        if "close" in response.connection or response.framing == "close":
            assert client.at_eof(), client.rest()
        elif delivery == "pipelined":
            after = echoed(client.response())
            assert after["environ"]["PATH_INFO"] == "/after" and after["length"] == 0, after
        return response


def wait_until(condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
    """For a state without an event: poll until it holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not reached in time: {what}"
        time.sleep(0.01)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 address for itself."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def readable(raw: bytes) -> str:
    """For test ids."""
    return raw.decode("latin-1").encode("unicode_escape").decode()


def echoed(response: Response) -> dict[str, Any]:
    """What echo.py saw, from a complete 200."""
    assert response.status == 200 and response.complete, response
    return response.json()
