"""Requests of HTTP/2, as the application sees them."""

from __future__ import annotations

import hashlib

import pytest

from harness.http2 import http2


def test_request_reaches_the_application(plain) -> None:
    server = plain("echo:app")
    with http2(server) as client:
        fields = [
            ("accept", "text/html"),
            ("cookie", "a=1"),
            ("x-twice", "1"),
            ("cookie", "b=2"),
            ("x-twice", "2"),
        ]
        response = client.request("/p%20q?x=%20", authority="example.org:81", fields=fields)
        assert response.status == 200
        environ = response.json()["environ"]
    expected = {
        "SERVER_PROTOCOL": "HTTP/2",
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/p%20q?x=%20",
        "PATH_INFO": "/p q",
        "QUERY_STRING": "x=%20",
        "HTTP_HOST": "example.org:81",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_TWICE": "1,2",
        "wsgi.url_scheme": "http",
    }
    assert {key: environ.get(key) for key in expected} == expected


def test_request_hooks_get_the_version(fresh_plain, tmp_path) -> None:
    """Regression: a `pre_request` hook made every request over HTTP/2 a 500."""
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(
        "def pre_request(worker, req):\n"
        "    worker.log.info('version %s', req.version)\n"
        "    req.version = (2, 0)\n"
    )
    server = fresh_plain("echo:app", "-c", str(path))
    with http2(server) as client:
        assert client.request().json()["environ"]["SERVER_PROTOCOL"] == "HTTP/2"
    server.wait_for_log(r"version \(2, 0\)")


def test_scheme_is_that_of_the_connection(plain) -> None:
    with http2(plain("echo:app")) as client:
        assert client.request(scheme="https").json()["environ"]["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
@pytest.mark.parametrize("declared", [True, False])
def test_content_arrives_whole(plain, size: int, declared: bool) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    fields = [("content-length", str(size))] if declared else []
    with http2(plain("echo:app")) as client:
        seen = client.request(body=body, fields=fields).json()
    assert seen["length"] == size
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()
    if size:
        assert seen["environ"]["CONTENT_LENGTH"] == str(size)


def test_streams_run_at_the_same_time(plain) -> None:
    """The second response does not wait for the first one."""
    with http2(plain("http_steps:app", "--threads", "4")) as client:
        first = client.start("/start?id=same-time")
        assert client.request("/wait?id=same-time&for=one").json() is True
        assert not client.streams[first].done
        for _ in range(2):
            assert client.request("/go?id=same-time").status == 200
        assert client.wait(first).body == b"onetwothree"


def test_http1_works_on_the_same_port(plain) -> None:
    server = plain("echo:app")
    assert server.get().json()["environ"]["SERVER_PROTOCOL"] == "HTTP/1.1"
    with http2(server) as client:
        assert client.request().json()["environ"]["SERVER_PROTOCOL"] == "HTTP/2"


@pytest.mark.parametrize(
    ("path", "fields", "authority"),
    [
        ("/", [("host", "other")], "localhost"),
        ("/", [], "user@localhost"),
        ("/", [], "user:password@localhost"),
        ("/", [], None),
        ("/", [], "a b"),
        ("/", [("connection", "close")], "localhost"),
        ("/", [("transfer-encoding", "chunked")], "localhost"),
        ("/", [("te", "gzip")], "localhost"),
        ("/", [("content-length", "5")], "localhost"),
        ("nothing", [], "localhost"),
        ("", [], "localhost"),
        ("http://localhost/", [], "localhost"),
        ("*", [], "localhost"),
        ("/a#b", [], "localhost"),
        ("#b", [], "localhost"),
        ("/?a=1#b", [], "localhost"),
        ("?a=1", [], "localhost"),
        ("/a b", [], "localhost"),
        ("/%00", [], "localhost"),
        ("/\u00e4", [], "localhost"),
        ("/", [("x-a", " b")], "localhost"),
        ("/", [("x-a", "b\t")], "localhost"),
    ],
)
def test_bad_request_is_refused(plain, path: str, fields, authority: str | None) -> None:
    server = plain("echo:app")
    server.calls_since_last_asked()
    with http2(server) as client:
        response = client.wait(client.start(path, fields=fields, authority=authority))
        assert response.status == 400 or response.reset is not None
        assert client.request("/good").status == 200, "the connection goes on"
    assert [call["path"] for call in server.calls_since_last_asked()] == ["/good"]


def test_path_with_a_fragment_gets_400(plain) -> None:
    """Regression: the fragment was cut off, and the rest served. Compressed or not, and also if the
    path comes from the table of the connection."""
    with http2(plain("echo:app")) as client:
        for _ in range(2):
            for path in ("/page#part", "/other"):
                status = client.request(path).status
                assert status == (400 if "#" in path else 200)


def test_missing_path_is_refused(plain) -> None:
    """Regression: without an authority it was taken as `/`."""
    with http2(plain("echo:app")) as client:
        head = [(":method", "GET"), (":scheme", "http"), ("host", "localhost")]
        client.h2.send_headers(1, head, end_stream=True)
        client.flush()
        assert client.wait(1).status == 400
        assert client.request().status == 200


def test_host_equal_to_the_authority_is_no_second_host(plain) -> None:
    with http2(plain("echo:app")) as client:
        environ = client.request(fields=[("host", "LOCALHOST")]).json()["environ"]
        assert environ["HTTP_HOST"] == "localhost"
        response = client.request(authority=None, fields=[("host", "alone")])
        assert response.json()["environ"]["HTTP_HOST"] == "alone"


def test_trailers_are_dropped(plain) -> None:
    with http2(plain("echo:app")) as client:
        stream = client.start(method="POST", end=False, fields=[("trailer", "x-sum")])
        client.send_body(stream, b"hello", end=False)
        client.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
        client.flush()
        seen = client.wait(stream).json()
    assert seen["body"] == "hello"
    assert "HTTP_X_SUM" not in seen["http"]


def test_expectation_is_met_with_100(plain) -> None:
    with http2(plain("echo:app")) as client:
        stream = client.start(method="POST", end=False, fields=[("expect", "100-continue")])
        while not client.streams[stream].interim:
            assert client.receive()
        client.send_body(stream, b"hello")
        response = client.wait(stream)
        assert [status for status, _ in response.interim] == [100]
        assert response.json()["body"] == "hello"
        assert client.request(fields=[("expect", "other")]).status == 417


@pytest.mark.parametrize("declared", [True, False])
def test_content_over_the_limit_is_refused(plain, declared: bool) -> None:
    server = plain("echo:app", "--limit-request-body", "1000")
    with http2(server) as client:
        fields = [("content-length", "5000")] if declared else []
        stream = client.start(method="POST", end=False, fields=fields)
        client.send_body(stream, b"x" * 5000)
        assert client.wait(stream).status == 413
        assert client.request().status == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(f"x-{number}", "v") for number in range(101)], 431),
        ([("x-long", "v" * 9000)], 431),
    ],
)
def test_head_over_a_limit_is_refused(plain, fields, status: int) -> None:
    with http2(plain("echo:app")) as client:
        assert client.request(fields=fields).status == status
        assert client.request().status == 200


@pytest.mark.parametrize("extra", [0, 1])
def test_request_line_and_head_count_as_http1_would_write_them(plain, extra: int) -> None:
    with http2(plain("echo:app", "--limit-request-line", "300")) as client:
        path = "/".ljust(300 + extra - len("GET  HTTP/2"), "a")
        assert client.request(path).status == (414 if extra else 200)
    with http2(plain("echo:app", "--limit-request-head", "1500")) as client:
        head = "GET / HTTP/2\r\nHost: localhost\r\nX-A: \r\n\r\n"
        fields = [("x-a", "b" * (1500 + extra - len(head)))]
        assert client.request(fields=fields).status == (431 if extra else 200)


def test_head_over_the_list_size_is_refused(plain) -> None:
    server = plain("echo:app", "--http2-max-header-list-size", "2000")
    with http2(server) as client:
        fields = [(f"x-{number}", "v" * 100) for number in range(30)]
        response = client.wait(client.start(fields=fields))
        assert response.status == 431 or response.reset is not None
        assert client.request().status == 200


@pytest.mark.parametrize(("limit", "size"), [(4096, 9000), (4096, 100_000), (65536, 140_000)])
def test_head_far_over_the_list_size_is_refused_alone(plain, limit: int, size: int) -> None:
    """The other streams of the connection go on."""
    server = plain("http_steps:app", "--http2-max-header-list-size", str(limit))
    with http2(server) as client:
        waiting = client.start(f"/block?id=list-{limit}-{size}")
        fields = [(f"x-{number}", "v" * 968) for number in range(size // 1000)]
        response = client.wait(client.start(fields=fields))
        assert response.status == 431 or response.reset is not None
        client.request(f"/go?id=list-{limit}-{size}")
        assert client.wait(waiting).status == 200


@pytest.mark.parametrize("hosts", [["localhost"] * 2, ["localhost", "other"]])
def test_second_host_is_refused(plain, hosts: list[str]) -> None:
    """As over HTTP/1.1. [RFC 9112 section 3.2]"""
    with http2(plain("echo:app")) as client:
        assert client.request(fields=[("host", host) for host in hosts]).status == 400
        assert client.request(fields=[("host", "localhost")]).status == 200


def test_settings_are_announced(plain) -> None:
    server = plain(
        "echo:app",
        *("--http2-max-concurrent-streams", "123", "--http2-initial-window-size", "70000"),
        *("--http2-max-frame-size", "20000", "--http2-max-header-list-size", "30000"),
    )
    with http2(server) as client:
        client.request()
        settings = client.h2.remote_settings
        assert settings.max_concurrent_streams == 123
        assert settings.initial_window_size == 70000
        assert settings.max_frame_size == 20000
        assert settings.max_header_list_size == 30000


def test_protocol_is_off_without_the_option(serve) -> None:
    with serve("echo:app").connect() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert client.response().status == 505


def test_untrusted_peer_gets_http1(plain) -> None:
    server = plain("echo:app", "--forwarded-allow-ips", "10.0.0.1")
    with server.connect() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert client.response().status == 505


def test_preface_may_arrive_in_pieces(plain) -> None:
    with http2(plain("echo:app")) as first:
        first.h2.send_headers(
            1,
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")],
            end_stream=True,
        )
        bytes_of_request = first.h2.data_to_send()
        for byte in bytes_of_request:
            first.send_raw(bytes([byte]))
        assert first.wait(1).status == 200
    server = plain("echo:app")
    with server.connect() as client:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0":
            client.send(bytes([byte]))
        assert client.read(9)[3] == 4, "SETTINGS"
