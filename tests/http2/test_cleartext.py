"""How HTTP/2 begins without TLS: by its preface, and by an upgrade."""

from __future__ import annotations

import base64
import shutil
import subprocess

import pytest

from harness import build_request
from harness.http2 import Http2Client, http2

#: SETTINGS with an initial window of 65535 bytes.
SETTINGS = base64.urlsafe_b64encode(b"\0\x04\0\0\xff\xff").rstrip(b"=").decode()
ASKING = [
    ("Connection", "Upgrade, HTTP2-Settings"),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", SETTINGS),
]


def test_upgraded_request_is_the_first_stream(plain) -> None:
    server = plain("echo:app")
    with server.connect() as client:
        client.send(build_request("GET", "/first?x=1", fields=[*ASKING, ("X-A", "b")]))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = client.sock.recv(1)
            assert byte
            head += byte
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: h2c" in head.lower()
        second = Http2Client(client, upgraded=True)
        seen = second.wait(1).json()
        assert "rustwsgi.socket" not in seen["types"]
        environ = seen["environ"]
        assert environ["SERVER_PROTOCOL"] == "HTTP/2"
        assert environ["RAW_URI"] == "/first?x=1"
        assert environ["HTTP_X_A"] == "b"
        assert not {"HTTP_UPGRADE", "HTTP_CONNECTION", "HTTP_HTTP2_SETTINGS"} & environ.keys()
        assert second.request("/second").json()["environ"]["PATH_INFO"] == "/second"


@pytest.mark.parametrize(
    "fields",
    [
        ASKING[1:],
        ASKING[:2],
        [ASKING[0], ("Upgrade", "websocket"), ASKING[2]],
        [*ASKING, ASKING[2]],
        [*ASKING[:2], ("HTTP2-Settings", "!")],
    ],
)
def test_incomplete_upgrade_is_ignored(plain, fields) -> None:
    response = plain("echo:app").get(fields=fields)
    assert response.json()["environ"]["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_upgrade_with_content_is_ignored(plain) -> None:
    response = plain("echo:app").get(method="POST", fields=ASKING, body=b"x")
    assert response.json()["environ"]["SERVER_PROTOCOL"] == "HTTP/1.1"


@pytest.mark.parametrize(
    "options",
    [
        ["--http2-cleartext", "off"],
        ["--http2-cleartext", "prior-knowledge"],
        ["--http2-cleartext", "both", "--forwarded-allow-ips", "10.0.0.1"],
        ["--http2-cleartext", "both", "--http-protocols", "h1"],
        ["--http2-cleartext", "both", "--http-protocols", "h2"],
    ],
)
def test_upgrade_is_ignored_unless_allowed(serve, options: list[str]) -> None:
    response = serve("echo:app", *options).get(fields=ASKING)
    assert response.json()["environ"]["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_prior_knowledge_is_left_by_http2_alone(plain) -> None:
    with http2(plain("echo:app", "--http-protocols", "h2")) as client:
        assert client.request().json()["environ"]["SERVER_PROTOCOL"] == "HTTP/2"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("option", ["--http2", "--http2-prior-knowledge"])
def test_curl_gets_a_response(plain, option: str) -> None:
    server = plain("echo:app")
    url = f"http://127.0.0.1:{server.port}/"
    features = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)
    if "HTTP2" not in features.stdout:
        pytest.skip("this curl has no HTTP/2")
    result = subprocess.run(
        ["curl", "-s", "-m", "20", option, url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"SERVER_PROTOCOL": "HTTP/2"' in result.stdout
