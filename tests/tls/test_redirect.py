"""`--redirect-bind`: every request is redirected to HTTPS, without Python."""

from __future__ import annotations

import re

import pytest

from harness import Client, build_request, wait_until


@pytest.fixture
def redirecting(fresh_secure):
    server = fresh_secure("echo:app", "--redirect-bind", "127.0.0.1:0", "--access-logfile", "-")
    port = int(server.wait_for_event("server.listening", r"http://127.0.0.1:(\d+)")[1])
    return server, port


def connect(server, port: int) -> Client:
    return server.connect(port=port)


def test_request_is_redirected_to_the_same_host_and_target(redirecting) -> None:
    server, port = redirecting
    for raw, host, target in [
        (build_request("GET", "/"), "localhost", "/"),
        (build_request("GET", "/a%20b?c=d&e"), "localhost", "/a%20b?c=d&e"),
        (build_request("GET", "/x", fields=[("Host", "example.org:8080")]), "example.org", "/x"),
        (build_request("GET", "/x", fields=[("Host", "[::1]:80")]), "[::1]", "/x"),
        (build_request("GET", "//evil.example/"), "localhost", "//evil.example/"),
        (build_request("GET", "/?"), "localhost", "/?"),
        (
            build_request("GET", "http://a.example/b?c", fields=[("Host", "a.example")]),
            "a.example",
            "/b?c",
        ),
        (build_request("POST", "/form", body=b"x" * 1000), "localhost", "/form"),
        (
            build_request("PUT", "/", fields=[("Expect", "100-continue"), ("Content-Length", "9")]),
            "localhost",
            "/",
        ),
        (build_request("OPTIONS", "*"), "localhost", "/"),
    ]:
        with connect(server, port) as client:
            response = client.request(raw)
            assert response.status == 308, raw
            assert response.get("Location") == f"https://{host}:{server.port}{target}"
    assert not server.calls_since_last_asked()
    server.wait_for_stdout(r'"POST /form HTTP/1.1" 308')


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: user@host\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
    ],
)
def test_request_without_a_valid_host_is_refused(redirecting, raw: bytes) -> None:
    server, port = redirecting
    with connect(server, port) as client:
        response = client.request(raw)
        assert response.status == 400
        assert response.get("Location") is None


def test_port_is_that_of_the_first_https_address(fresh_secure) -> None:
    """Behind a plain one, and in front of another one with TLS."""
    options = ["--bind", "127.0.0.1:0", "--redirect-bind", "127.0.0.1:0"]
    server = fresh_secure("echo:app", "--insecure-bind", "127.0.0.1:0", *options)
    pattern = r"Listening at: http://127.0.0.1:(\d+)"
    wait_until(lambda: len(re.findall(pattern, server.stderr())) == 2, "all listen")
    responses = []
    for port in re.findall(pattern, server.stderr()):
        with connect(server, int(port)) as client:
            responses.append(client.request(build_request()))
    [location] = [response.get("Location") for response in responses if response.status == 308]
    assert location == f"https://localhost:{server.port}/"


def test_head_request_is_redirected_without_content(redirecting) -> None:
    server, port = redirecting
    with connect(server, port) as client:
        response = client.request(build_request("HEAD", "/x"))
        assert (response.status, response.body) == (308, b"")
