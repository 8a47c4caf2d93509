"""flask-sock and Flask-SocketIO run unchanged, with real clients."""

from __future__ import annotations

import queue
import ssl

import pytest
import requests
import simple_websocket
import socketio
import websocket

from harness import ROOT, TIMEOUT
from harness.proxies import Proxy, find, snippet

pytestmark = pytest.mark.second_door("no case")


def url(server, path: str, scheme: str = "ws") -> str:
    name = "localhost" if server.tls else server.host
    return f"{scheme}{'s' if server.tls else ''}://{name}:{server.port}{path}"


def connect(server, path: str = "/echo", **options) -> websocket.WebSocket:
    if server.tls:
        options["sslopt"] = {"context": server.tls}
    return websocket.create_connection(url(server, path), timeout=TIMEOUT, **options)


@pytest.fixture
def flask_sock(start):
    return start("--threads", "2", app="websockets:app").server


def test_flask_sock_echoes(flask_sock) -> None:
    client = connect(flask_sock)
    for message in ("text", "ü" * 1000, "x" * 1_000_000):
        client.send(message)
        assert client.recv() == message
    client.send_binary(bytes(range(256)) * 300)
    assert client.recv() == bytes(range(256)) * 300
    client.ping("are you there")
    client.send("after the ping")
    while (received := client.recv()) == "are you there":
        pass
    assert received == "after the ping"
    client.close(status=1000)
    assert flask_sock.get("/").text == "index"
    assert "ERROR" not in flask_sock.stderr()


def test_flask_sock_joins_fragments(flask_sock) -> None:
    client = connect(flask_sock)
    parts = ["one", "two", "three"]
    for i, part in enumerate(parts):
        opcode = websocket.ABNF.OPCODE_TEXT if i == 0 else websocket.ABNF.OPCODE_CONT
        frame = websocket.ABNF.create_frame(part, opcode, int(i == len(parts) - 1))
        client.send_frame(frame)
    assert client.recv() == "onetwothree"
    client.close()


def test_flask_sock_closes_when_the_handler_returns(flask_sock) -> None:
    client = connect(flask_sock, "/bye")
    assert client.recv() == "bye"
    opcode, data = client.recv_data()
    assert (opcode, data[:2]) == (websocket.ABNF.OPCODE_CLOSE, (1000).to_bytes(2, "big"))
    client.close()
    assert "ERROR" not in flask_sock.stderr()


def test_flask_sock_survives_clients_that_vanish(flask_sock) -> None:
    for _ in range(5):
        client = connect(flask_sock)
        client.send("x" * 100_000)
        client.sock.close()
    assert flask_sock.get("/").text == "index"
    assert "socket.failed" not in flask_sock.stderr()


def test_flask_sock_handler_that_raises_ends_the_connection(flask_sock) -> None:
    client = connect(flask_sock, "/fails")
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        client.recv()
    client.close()
    assert flask_sock.get("/").text == "index"


def test_selector_of_the_library_finds_the_descriptor(start) -> None:
    """With pings, simple-websocket waits with a selector before it reads."""
    server = start("--threads", "1", app="websockets:pinged").server
    client = connect(server)
    client.send("with a selector")
    assert client.recv() == "with a selector"
    opcode, _ = client.recv_data(control_frame=True)
    assert opcode == websocket.ABNF.OPCODE_PING
    client.close()


def test_client_of_simple_websocket_is_served(flask_sock) -> None:
    context = flask_sock.tls or ssl.create_default_context()
    client = simple_websocket.Client(url(flask_sock, "/echo"), ssl_context=context)
    client.send("hello")
    assert client.receive(timeout=TIMEOUT) == "hello"
    client.close()


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"], ["polling"]])
def test_flask_socketio_exchanges_events(start, transports) -> None:
    upgrades = start("--threads", "2", app="websockets:socketio_app")
    server = upgrades.server
    said: queue.Queue[object] = queue.Queue()
    session = requests.Session()
    if upgrades.authority:
        session.verify = str(upgrades.authority)
        session.trust_env = False  # a bundle of the environment comes first
    client = socketio.Client(http_session=session)
    client.on("said", said.put)
    client.connect(url(server, "", "http"), transports=transports, wait_timeout=TIMEOUT)
    for message in ("one", {"two": [2]}, "x" * 100_000):
        client.emit("say", message)
        assert said.get(timeout=TIMEOUT) == message
    assert client.transport() == transports[-1]
    client.disconnect()
    assert server.get("/").text == "index"
    assert "ERROR" not in server.stderr()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.skipif(not find(n), reason=n))
        for n in ("nginx", "haproxy")
    ],
)
def test_websockets_pass_the_proxies_of_the_documentation(fresh_server, tmp_path, name) -> None:
    path = tmp_path / "socket"
    fresh_server("websockets:app", "--threads", "2", bind=f"unix:{path}")
    text = snippet(name, ROOT / "docs" / "websockets.md")
    with Proxy(name, f"unix:{path}", tmp_path, text) as proxy:
        client = websocket.create_connection(f"ws://127.0.0.1:{proxy.port}/echo", timeout=TIMEOUT)
        for message in ("through the proxy", "x" * 100_000):
            client.send(message)
            assert client.recv() == message
        client.close()
