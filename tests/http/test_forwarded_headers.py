"""`--forwarded-headers`: address, scheme, host, port and prefix of the URL from trusted proxies.

The tables of src/proxies/tests/ have the cases of each field; here are a few of each kind.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, echoed

Factory = Callable[..., ServerProcess]
Fields = list[tuple[str, str]]

ALL = "for,proto,host,port,prefix"
TRUSTED = "127.0.0.1,10.0.0.0/8"


def all_fields(serve: Factory, names: str = ALL, *more: str) -> ServerProcess:
    options = ["--threads", "1", "--forwarded-allow-ips", TRUSTED]
    return serve("echo:app", *options, "--forwarded-headers", names, *more)


def environ(server: ServerProcess, *fields: tuple[str, str], path: str = "/") -> dict[str, str]:
    return echoed(server.get(path, fields=fields))["environ"]


def connect_from(server: ServerProcess, address: str) -> Client:
    """A connection from another address of this machine."""
    where = (server.host, server.port)
    return Client(socket.create_connection(where, TIMEOUT, source_address=(address, 0)))


# ------------------------------------------------------------------------------------------ for


@pytest.mark.parametrize(
    ("chain", "address", "port"),
    [
        ("203.0.113.1", "203.0.113.1", None),
        ("192.0.2.9, 203.0.113.1, 10.0.0.1, 10.0.0.2", "203.0.113.1", None),
        ("203.0.113.1:4711", "203.0.113.1", "4711"),
        ("[2001:db8::1]:4711, 10.0.0.1", "2001:db8::1", "4711"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3", None),
    ],
)
def test_client_is_the_first_untrusted_address_from_the_right(
    serve: Factory, chain: str, address: str, port: str | None
) -> None:
    server = all_fields(serve)
    with server.connect() as client:
        request = build_request(fields=[("X-Forwarded-For", chain)])
        for _ in range(4):  # also when the environ is a remembered one
            seen = echoed(client.request(request))["environ"]
            assert (seen["REMOTE_ADDR"], seen.get("REMOTE_PORT")) == (address, port)
            assert seen["HTTP_X_FORWARDED_FOR"] == chain
        seen = echoed(client.request(build_request()))["environ"]
        assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == ("127.0.0.1", str(client.port))


@pytest.mark.parametrize("chain", ["unknown", "203.0.113.1, _hidden, 10.0.0.1"])
def test_hidden_client_leaves_the_address_of_the_peer(serve: Factory, chain: str) -> None:
    with all_fields(serve).connect() as client:
        request = build_request(fields=[("X-Forwarded-For", chain)])
        seen = echoed(client.request(request))["environ"]
        assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == ("127.0.0.1", str(client.port))


def test_clients_of_one_kept_alive_connection_differ(serve: Factory) -> None:
    with all_fields(serve).connect() as client:
        for number in [1, 1, 1, 2, 2, 2, 1, 3]:
            request = build_request(fields=[("X-Forwarded-For", f"203.0.113.{number}")])
            seen = echoed(client.request(request))["environ"]
            assert seen["REMOTE_ADDR"] == f"203.0.113.{number}"


def test_equal_heads_of_a_proxy_and_of_others_have_different_clients(serve: Factory) -> None:
    """Environs are remembered by their heads."""
    server = all_fields(serve)
    request = build_request(
        target="/shop/a",
        fields=[("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-Prefix", "/shop")],
    )
    expected = {"127.0.0.1": ("203.0.113.1", "/a"), "127.0.0.2": ("127.0.0.2", "/shop/a")}
    for address in ["127.0.0.1", "127.0.0.2"] * 4 + ["127.0.0.1"] * 3 + ["127.0.0.2"] * 3:
        with connect_from(server, address) as client:
            seen = echoed(client.request(request))["environ"]
            assert (seen["REMOTE_ADDR"], seen["PATH_INFO"]) == expected[address]


def test_field_over_a_unix_socket_is_trusted(fresh_server: Factory, tmp_path: Path) -> None:
    bind = f"unix:{tmp_path / 'a.sock'}"
    server = fresh_server(
        "echo:app", "--forwarded-allow-ips=", "--forwarded-headers=for", bind=bind
    )
    seen = environ(server, ("X-Forwarded-For", "203.0.113.1"))
    assert seen["REMOTE_ADDR"] == "203.0.113.1" and "REMOTE_PORT" not in seen
    assert environ(server)["REMOTE_ADDR"] == ""


# -------------------------------------------------------------------------------- refused fields

MALFORMED = [
    ("X-Forwarded-For", "garbage"),
    ("X-Forwarded-For", "garbage, 203.0.113.1"),
    ("X-Forwarded-For", "203.0.113.1,"),
    ("X-Forwarded-For", "203.0.113.1:99999"),
    ("X-Forwarded-For", ""),
    ("X-Forwarded-Proto", "https, http"),
    ("X-Forwarded-Proto", "ftp"),
    ("X-Forwarded-Host", "a.example, b.example"),
    ("X-Forwarded-Host", "u@a.example"),
    ("X-Forwarded-Host", "a.example/x"),
    ("X-Forwarded-Port", "0"),
    ("X-Forwarded-Port", "80, 443"),
    ("X-Forwarded-Prefix", "shop"),
    ("X-Forwarded-Prefix", "//evil.example"),
    ("X-Forwarded-Prefix", "/a/../b"),
    ("X-Forwarded-Prefix", "/a/%2e%2e"),
    ("X-Forwarded-Prefix", "/a?b"),
    ("X-Forwarded-Prefix", "/a#b"),
]


@pytest.mark.parametrize("field", MALFORMED, ids=str)
def test_malformed_field_of_a_proxy_is_refused(serve: Factory, field: tuple[str, str]) -> None:
    server = all_fields(serve)
    response = server.get("/", fields=[field])
    assert response.status == 400 and field[0] in response.text
    server.wait_for_event(
        "request.rejected", f"400: {field[0]} is malformed", start=server.log_mark
    )
    # Of others it is a field like any other.
    with connect_from(server, "127.0.0.2") as client:
        seen = echoed(client.request(build_request(fields=[field])))["environ"]
        assert seen["HTTP_" + field[0].upper().replace("-", "_")] == field[1]
        assert seen["REMOTE_ADDR"] == "127.0.0.2"


@pytest.mark.parametrize("name", ["Host", "Port", "Prefix"])
def test_repeated_field_of_a_proxy_is_refused(serve: Factory, name: str) -> None:
    value = {"Host": "a.example", "Port": "80", "Prefix": "/a"}[name]
    field = (f"X-Forwarded-{name}", value)
    assert all_fields(serve).get("/", fields=[field, field]).status == 400


def test_refused_field_is_counted(fresh_server: Factory) -> None:
    server = fresh_server("echo:app", "--forwarded-headers", "for")
    for _ in range(3):
        assert server.get("/", fields=[("X-Forwarded-For", "x")]).status == 400
    assert server.counters()["malformed"] == 3


# ------------------------------------------------------------------ scheme, host, port and prefix


@pytest.mark.parametrize(
    ("fields", "scheme", "host", "name", "port"),
    [
        ([("Proto", "https")], "https", "own.example:81", None, None),
        ([("Proto", "https"), ("Host", "a.example")], "https", "a.example", "a.example", "443"),
        ([("Host", "a.example")], "http", "a.example", "a.example", "80"),
        ([("Host", "a.example:8443")], "http", "a.example:8443", "a.example", "8443"),
        ([("Host", "[::1]:82")], "http", "[::1]:82", "[::1]", "82"),
        ([("Port", "8443")], "http", "own.example:8443", None, "8443"),
        ([("Proto", "https"), ("Port", "443")], "https", "own.example", None, "443"),
        (
            [("Host", "a.example:1"), ("Port", "8443")],
            "http",
            "a.example:8443",
            "a.example",
            "8443",
        ),
    ],
)
def test_url_is_that_of_the_client(
    serve: Factory, fields: Fields, scheme: str, host: str, name: str | None, port: str | None
) -> None:
    server = all_fields(serve)
    given = [("Host", "own.example:81")]
    given += [(f"X-Forwarded-{short}", value) for short, value in fields]
    with server.connect() as client:
        for _ in range(4):  # also when the environ is a remembered one
            seen = echoed(client.request(build_request(fields=given)))["environ"]
            assert (seen["wsgi.url_scheme"], seen["HTTP_HOST"]) == (scheme, host)
            assert seen["SERVER_NAME"] == (name or server.host)
            assert seen["SERVER_PORT"] == (port or str(server.port))


def test_host_without_a_host_field_is_set(serve: Factory) -> None:
    server = all_fields(serve)
    raw = b"GET / HTTP/1.0\r\nX-Forwarded-Port: 8443\r\n\r\n"
    with server.connect() as client:
        seen = echoed(client.request(raw))["environ"]
        assert "HTTP_HOST" not in seen and seen["SERVER_PORT"] == "8443"


@pytest.mark.parametrize(
    ("prefix", "path", "script_name", "path_info"),
    [
        ("/shop", "/shop/a%20b", "/shop", "/a b"),
        ("/shop/", "/shop/a", "/shop", "/a"),
        ("/shop", "/shop", "/shop", ""),
        ("/shop", "/a", "/shop", "/a"),
        ("/shop", "/shopping", "/shop", "/shopping"),
        ("/a%20b", "/a%20b/c", "/a b", "/c"),
        ("", "/a", "", "/a"),
        ("/", "/a", "", "/a"),
    ],
)
def test_prefix_is_script_name(
    serve: Factory, prefix: str, path: str, script_name: str, path_info: str
) -> None:
    server = all_fields(serve)
    for _ in range(4):  # also when the environ is a remembered one
        seen = environ(server, ("X-Forwarded-Prefix", prefix), path=path)
        assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == (script_name, path_info)
    assert environ(server, path=path)["SCRIPT_NAME"] == ""


def test_prefix_replaces_other_script_names(serve: Factory) -> None:
    server = serve("echo:app", "--forwarded-headers", "prefix", env={"SCRIPT_NAME": "/outer"})
    seen = environ(server, ("X-Forwarded-Prefix", "/shop"), ("SCRIPT_NAME", "/x"), path="/shop/a")
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/shop", "/a")
    assert environ(server, path="/outer/c")["PATH_INFO"] == "/c"


# -------------------------------------------------------------------------------------- RFC 7239


def test_forwarded_replaces_the_other_fields(serve: Factory) -> None:
    server = all_fields(serve, "forwarded")
    value = (
        'for=192.0.2.9;host=evil, for="[2001:db8::1]:4711";proto=https;host="a.example:8443", '
        "for=10.0.0.1;proto=http;host=inner"
    )
    others = [("X-Forwarded-For", "!"), ("X-Forwarded-Host", "x y"), ("X-Forwarded-Proto", "ftp")]
    for _ in range(4):
        seen = environ(server, ("Forwarded", value), *others)
        assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == ("2001:db8::1", "4711")
        assert (seen["wsgi.url_scheme"], seen["HTTP_HOST"]) == ("https", "a.example:8443")
        assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("a.example", "8443")
    assert environ(server, ("Forwarded", "for=unknown"))["REMOTE_ADDR"] == "127.0.0.1"
    assert environ(server, ("X-Forwarded-Proto", "https"))["wsgi.url_scheme"] == "http"
    for bad in ["for=garbage", "for=1.1.1.1;for=2.2.2.2", 'for="1.1.1.1', "for=::1", ""]:
        assert server.get("/", fields=[("Forwarded", bad)]).status == 400, bad


# --------------------------------------------------------------------- what reaches the application

FAMILY = [
    ("X-Forwarded-For", "203.0.113.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Anything", "1"),
    ("Forwarded", "for=203.0.113.1"),
    ("X_Forwarded_Host", "evil.example"),
    ("X-Other", "1"),
]


def forwarded_keys(client: Client) -> set[str]:
    seen = echoed(client.request(build_request(fields=FAMILY)))["environ"]
    return {key for key in seen if "FORWARDED" in key or key == "HTTP_X_OTHER"}


@pytest.mark.parametrize("names", ["for", "proto", "forwarded", ALL])
def test_fields_of_others_are_stripped(serve: Factory, names: str) -> None:
    server = all_fields(serve, names, "--forwarded-untrusted", "strip")
    all_keys = {f"HTTP_{name.upper().replace('-', '_')}" for name, _ in FAMILY if "-" in name}
    all_keys.add("HTTP_FORWARDED")
    for _ in range(4):  # also when the environ is a remembered one
        with connect_from(server, "127.0.0.2") as client:
            assert forwarded_keys(client) == {"HTTP_X_OTHER"}
        with server.connect() as client:
            assert forwarded_keys(client) == all_keys


def test_fields_of_others_are_kept_by_default(serve: Factory) -> None:
    with connect_from(all_fields(serve), "127.0.0.2") as client:
        assert {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"} <= forwarded_keys(client)


def test_names_with_underscores_are_not_applied(serve: Factory) -> None:
    server = all_fields(serve)
    spoofed = [("X_Forwarded_For", "203.0.113.1"), ("X_FORWARDED_HOST", "evil.example")]
    spoofed += [("X-Forwarded_Proto", "https"), ("X_Forwarded_Prefix", "/x")]
    seen = environ(server, *spoofed)
    assert (seen["REMOTE_ADDR"], seen["HTTP_HOST"]) == ("127.0.0.1", "localhost")
    assert (seen["wsgi.url_scheme"], seen["SCRIPT_NAME"]) == ("http", "")
    assert not any("FORWARDED" in key for key in seen)


def test_no_fields_at_all(serve: Factory) -> None:
    server = serve("echo:app", "--forwarded-headers=")
    seen = environ(server, ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "!"))
    assert (seen["wsgi.url_scheme"], seen["REMOTE_ADDR"]) == ("http", "127.0.0.1")


# ------------------------------------------------------------------------------------------- logs


@pytest.fixture
def logged(fresh_server: Factory, tmp_path: Path) -> Iterator[tuple[ServerProcess, Path]]:
    path = tmp_path / "access.log"
    options = ["--access-logfile", str(path), "--access-logformat", "%(h)s %(s)s %(U)s"]
    options += ["--limit-request-body", "10", "--forwarded-headers", "for"]
    yield fresh_server("echo:app", *options), path


def test_logs_name_the_client_of_each_request(logged: tuple[ServerProcess, Path]) -> None:
    server, path = logged
    with server.connect() as client:
        for number in [1, 1, 2]:
            field = ("X-Forwarded-For", f"203.0.113.{number}")
            assert client.request(build_request(fields=[field])).status == 200
        assert client.request(build_request(target="/own")).status == 200
        field = ("X-Forwarded-For", "203.0.113.7")
        large = build_request("POST", "/large", fields=[field], body=b"x" * 11)
        assert client.request(large).status == 413
    server.wait_for_event("request.rejected", "POST /large from 203.0.113.7 with 413")
    with server.connect() as client:
        field = ("X-Forwarded-For", "203.0.113.8")
        assert client.request(build_request(fields=[field])).status == 200
        # Nothing of the last request is left.
        assert client.request(b"GET /bad\r\n\r\n").status == 400
    server.wait_for_event("request.rejected", "from 127.0.0.1 with 400")
    assert server.stop() == 0
    assert path.read_text().splitlines() == [
        "203.0.113.1 200 /",
        "203.0.113.1 200 /",
        "203.0.113.2 200 /",
        "127.0.0.1 200 /own",
        "203.0.113.7 413 /large",
        "203.0.113.8 200 /",
        "127.0.0.1 400 ",
    ]


def test_json_log_names_the_client(fresh_server: Factory) -> None:
    options = ["--access-logfile", "-", "--access-logformat", "json", "--forwarded-headers=for"]
    server = fresh_server("echo:app", *options)
    assert server.get("/", fields=[("X-Forwarded-For", "2001:db8::1")]).status == 200
    line = server.wait_for_stdout(r"^\{.*\}$")[0]
    assert "2001:db8::1" in json.loads(line).values()
