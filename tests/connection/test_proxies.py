"""Behind nginx and HAProxy: no 502 during reloads and upgrades, and no message that both read
differently."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import Client, NoResponse, ServerProcess, build_request, chunked, echoed, wait_until
from harness.mix import POLITE, Crowd, Kind, Session, filed, generated, head, hello, nothing
from harness.proxies import Proxy, find
from harness.supervision import children, end, reloads

pytestmark = pytest.mark.second_door("no case")

Behind = Callable[..., Proxy]


@pytest.fixture(params=["nginx", "haproxy"])
def name(request: pytest.FixtureRequest) -> str:
    if find(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def behind(name: str, tmp_path: Path) -> Iterator[Behind]:
    """`behind(server)`: a proxy of each kind in front of the server."""
    with ExitStack() as stack:

        def start(server: ServerProcess, **changes: str) -> Proxy:
            where = f"unix:{server.unix}" if server.unix else f"{server.host}:{server.port}"
            return stack.enter_context(Proxy(name, where, tmp_path, **changes))

        yield start


# -------------------------------------------------------------------------------------- no 502


@pytest.mark.parametrize("socket", ["tcp", "unix"])
def test_reload_and_upgrade_behind_a_proxy_lose_nothing(
    fresh_server, behind: Behind, tmp_path: Path, socket: str
) -> None:
    """Reloads, more and fewer workers and an upgrade, under requests of all kinds."""
    bind = "127.0.0.1:0" if socket == "tcp" else f"unix:{tmp_path / 's'}"
    server = fresh_server("mixed:app", "--workers", "2", "--keep-alive", "75", bind=bind)
    proxy, new = behind(server), 0
    server.wait_for_event("server.ready")
    try:
        with Crowd(proxy.connect, POLITE, clients=6) as crowd:
            crowd.more(300)
            for number in range(3):
                server.send_signal(signal.SIGHUP)
                wait_until(lambda: reloads(server) == number + 1, server.stderr())  # noqa: B023
                crowd.more(200)
            server.send_signal(signal.SIGTTIN)
            wait_until(lambda: server.stderr().count("Booting") == 9, "one worker more")
            crowd.more(200)
            server.send_signal(signal.SIGTTOU)
            server.send_signal(signal.SIGTTOU)
            crowd.more(200)
            start = len(server.stderr())
            server.send_signal(signal.SIGUSR2)
            new = int(server.wait_for_event("upgrade.started", r"master (\d+)")[1])
            server.wait_for_event("server.ready", start=start)
            assert len(children(new)) == 2
            crowd.more(200)
            server.send_signal(signal.SIGTERM)
            server.wait_for_event("upgrade.completed", timeout=60)
            crowd.more(300)
        assert crowd.failures == [], proxy.log.read_text()
        assert set(crowd.answers) == {200, 204, 304} and crowd.answers.total() > 1800
    finally:
        if new:
            end(new, signal.SIGTERM)
    assert server.wait(60) == 0


def put(session: Session) -> None:
    """An idempotent request, small enough for HAProxy to keep until the response."""
    assert session.ask(build_request("PUT", "/sum", body=b"abc")).body.startswith(b"3 a9993e36")


def after_a_pause(kind: Kind) -> Kind:
    def paused(session: Session) -> None:
        threading.Event().wait(session.random.uniform(0.045, 0.056))
        kind(session)

    return paused


def test_idle_close_behind_a_proxy_loses_nothing(fresh_server, behind: Behind) -> None:
    """Idle for just about --keep-alive: the proxy repeats idempotent requests, and no client notices."""
    server = fresh_server("mixed:app", "--workers", "2", "--keep-alive", "0.05")
    proxy = behind(server)
    kinds = {after_a_pause(kind): 1 for kind in (hello, head, nothing, generated, filed, put)}
    with Crowd(proxy.connect, kinds, clients=16, share=100) as crowd:
        crowd.join()
    assert crowd.failures == [], proxy.log.read_text()
    assert crowd.answers.total() >= 1600


# ------------------------------------------------------------------------- who the client is


def test_forwarded_fields_of_a_client_are_replaced_by_the_proxy(
    fresh_server, behind: Behind
) -> None:
    """The proxy overwrites the forwarded fields that a client sends."""
    server = fresh_server("echo:app")
    proxy = behind(server)
    claims = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Host", "hello.example:81"),
    ]
    with proxy.connect("127.0.0.5") as client:
        seen = echoed(client.request(build_request("GET", "/a%20b?c", fields=claims)))["environ"]
    assert seen["wsgi.url_scheme"] == "http" and seen["HTTP_HOST"] == "hello.example:81"
    assert seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.5" and seen["REMOTE_ADDR"] == "127.0.0.1"
    assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/a b", "c")


@pytest.mark.parametrize(("trusted", "scheme"), [("127.0.0.1", "https"), ("192.0.2.1", "http")])
def test_forwarded_scheme_of_a_trusted_proxy_is_https(
    fresh_server, behind: Behind, name: str, trusted: str, scheme: str
) -> None:
    changes = {
        "nginx": {"X-Forwarded-Proto $scheme": "X-Forwarded-Proto https"},
        "haproxy": {"X-Forwarded-Proto http unless": "X-Forwarded-Proto https unless"},
    }
    server = fresh_server("echo:app", "--forwarded-allow-ips", trusted)
    proxy = behind(server, **changes[name])
    assert echoed(proxy.get("/"))["environ"]["wsgi.url_scheme"] == scheme


# ------------------------------------------------------------------------------- one verdict

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"


def message(fields: str, body: bytes = b"", method: str = "POST", version: str = "1.1") -> bytes:
    head = f"{method} /first HTTP/{version}\r\nHost: a\r\n{fields}\r\n"
    return head.encode("latin-1") + body


def sized(field: str, body: bytes) -> bytes:
    return message(field.format(len(body)), body)


#: Each has the head of /smuggled where one reading sees content and another the next request.
AMBIGUOUS = {
    "length and chunked": sized(
        "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "chunked and length": message(
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked(SMUGGLED)
    ),
    "two lengths": message(f"Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n", SMUGGLED),
    "list of lengths": message(f"Content-Length: 0, {len(SMUGGLED)}\r\n", SMUGGLED),
    "signed length": sized("Content-Length: +{}\r\n", SMUGGLED),
    "length with underscore": sized("Content_Length: {}\r\n", SMUGGLED),
    "chunked with underscore": message("Transfer_Encoding: chunked\r\n", chunked(SMUGGLED)),
    "chunked twice": message(
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n",
        b"0\r\n\r\n" + SMUGGLED,
    ),
    "unknown coding": sized(
        "Transfer-Encoding: xchunked\r\nContent-Length: {}\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "vertical tab": sized(
        "Transfer-Encoding: \x0bchunked\r\nContent-Length: {}\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "space before the colon": sized(
        "Transfer-Encoding : chunked\r\nContent-Length: {}\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "folded": sized(
        "X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "bare CR": sized(
        "X: y\rTransfer-Encoding: chunked\r\nContent-Length: {}\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "bare LF": message("X: y\n\nGET /smuggled HTTP/1.1\nHost: a\n\n", method="GET"),
    "HTTP/1.0 and chunked": message(
        "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", chunked(SMUGGLED), version="1.0"
    ),
    "chunk size 0x": message("Transfer-Encoding: chunked\r\n", b"0x1\r\na\r\n0\r\n\r\n" + SMUGGLED),
    "chunk size overflow": message(
        "Transfer-Encoding: chunked\r\n", b"10000000000000000\r\n" + SMUGGLED
    ),
    "LF in a chunk extension": message(
        "Transfer-Encoding: chunked\r\n", b"2;\nxx\r\n%x\r\n0\r\n\r\n" % len(SMUGGLED) + SMUGGLED
    ),
    "LF for CRLF of chunks": message("Transfer-Encoding: chunked\r\n", b"1\na\n0\n\n" + SMUGGLED),
    "trailing length": message(
        "Transfer-Encoding: chunked\r\n",
        b"1\r\na\r\n0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    ),
    "length of a GET": message(f"Content-Length: {len(SMUGGLED)}\r\n", SMUGGLED, method="GET"),
    "connection names the length": sized(
        "Connection: keep-alive, Content-Length\r\nContent-Length: {}\r\n", SMUGGLED
    ),
    "expectation": sized("Expect: 100-continue\r\nContent-Length: {}\r\n", SMUGGLED),
    "other expectation": sized("Expect: y\r\nContent-Length: {}\r\n", SMUGGLED),
    "upgrade": sized(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
        "Content-Length: {}\r\n",
        SMUGGLED,
    ),
    "answer before the content": b"POST /first?read=no HTTP/1.1\r\nHost: a\r\nContent-Length: %d"
    b"\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
}


def answers(client: Client) -> list[tuple[int, str | None]]:
    """The status of each, and the path if the application answered; until /second is answered or no more follow."""
    found: list[tuple[int, str | None]] = []
    try:
        while True:
            response = client.response()
            if response.status >= 200:
                path = echoed(response)["environ"]["PATH_INFO"] if response.status == 200 else None
                found.append((response.status, path))
                if path == "/second":
                    break
    except (NoResponse, ConnectionResetError):
        pass
    return found


def test_ambiguous_message_is_read_alike_by_proxy_and_server(fresh_server, behind: Behind) -> None:
    """Both see the same requests in the same bytes, or one of them refuses.

    A proxy may do what the client asked for in its own reading, so /smuggled itself is allowed
    where the proxy sees it as a request: then it answers it as one, in its place.
    """
    server = fresh_server("echo:app", "--threads", "1", "--keep-alive", "75")
    proxy = behind(server)
    for what, raw in AMBIGUOUS.items():
        with proxy.connect() as client:
            client.send(raw + SECOND)
            found = answers(client)
        calls = [call["path"] for call in server.calls_since_last_asked()]
        answered = [path for _, path in found if path is not None]
        # What the application was called for is what the client was answered, in that order.
        assert calls == answered, f"{what}: called for {calls}, answered {found}"
        assert found, f"{what}: no answer at all"
        for number in range(3):  # on the connections that are left
            path = f"/after/{number}"
            assert echoed(proxy.get(path))["environ"]["PATH_INFO"] == path, what
        server.calls_since_last_asked()
