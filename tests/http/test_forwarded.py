"""Scheme and prefix of a request that a proxy sets: trusted or ignored, as by gunicorn."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from harness import TIMEOUT, Client, ServerProcess, build_request, echoed

Factory = Callable[..., ServerProcess]


def scheme(server: ServerProcess, *fields: tuple[str, str]) -> str:
    return echoed(server.get("/", fields=fields))["environ"]["wsgi.url_scheme"]


class TestForwardedScheme:
    """As gunicorn has it: believed if the peer is a trusted proxy, never otherwise."""

    CLAIMS: ClassVar[list[tuple[str, str]]] = [
        ("X-Forwarded-Proto", "https"),
        ("x-forwarded-ssl", "on"),
        ("X-Forwarded-Protocol", "SSL"),
    ]

    @pytest.mark.parametrize("claim", CLAIMS, ids=str)
    def test_forwarded_proto_from_this_machine_is_trusted(
        self, echo: ServerProcess, claim: tuple[str, str]
    ) -> None:
        for _ in range(3):  # also when the environ is a remembered one
            assert scheme(echo, claim) == "https"
        assert scheme(echo) == "http"

    def test_scheme_without_forwarded_proto_is_http(self, echo: ServerProcess) -> None:
        assert scheme(echo, ("X-Forwarded-Proto", "http")) == "http"
        assert scheme(echo, ("X-Forwarded-Proto", "https, http")) == "http"

    def test_contradictory_forwarded_proto_is_ignored(self, echo: ServerProcess) -> None:
        assert scheme(echo, ("X-Forwarded-Proto", "https"), ("X-Forwarded-SSL", "off")) == "http"

    @pytest.mark.parametrize("trusted", ["", "10.0.0.0/8,192.0.2.1"])
    def test_forwarded_proto_from_others_is_ignored(self, serve: Factory, trusted: str) -> None:
        server = serve("echo:app", "--threads", "1", f"--forwarded-allow-ips={trusted}")
        for claim in self.CLAIMS:
            assert scheme(server, claim) == "http"

    @pytest.mark.parametrize("trusted", ["*", "127.0.0.0/8"])
    def test_forwarded_proto_from_an_allowed_address_is_trusted(
        self, serve: Factory, trusted: str
    ) -> None:
        env = {"FORWARDED_ALLOW_IPS": trusted}
        server = serve("echo:app", "--threads", "1", env=env)
        assert scheme(server, self.CLAIMS[0]) == "https"

    def test_forwarded_proto_over_a_unix_socket_is_trusted(
        self, fresh_server: Factory, tmp_path: Path
    ) -> None:
        bind = f"unix:{tmp_path / 'a.sock'}"
        server = fresh_server("echo:app", "--forwarded-allow-ips=", bind=bind)
        assert scheme(server, self.CLAIMS[0]) == "https"


def seen(
    server: ServerProcess, *fields: tuple[str, str], path: str = "/shop/a%20b"
) -> dict[str, str]:
    return echoed(server.get(path, fields=fields))["environ"]


class TestForwarderHeaders:
    """Fields with an underscore, which gunicorn takes from trusted proxies: `forwarder_headers`.

    Before, they were dropped without a word, so that an application behind a proxy that sets
    SCRIPT_NAME got 404 for every path.
    """

    PREFIX = ("SCRIPT_NAME", "/shop")

    @pytest.mark.parametrize("name", ["SCRIPT_NAME", "script_name", "Script_Name"])
    @pytest.mark.parametrize("value", ["/shop", "/shop/", "/sh%6Fp"])
    def test_script_name_is_stripped_from_the_path(
        self, echo: ServerProcess, name: str, value: str
    ) -> None:
        for _ in range(3):  # also when the environ is a remembered one
            environ = seen(echo, (name, value))
            assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/a b")
            assert environ["HTTP_SCRIPT_NAME"] == value
        environ = seen(echo)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/shop/a b")

    def test_script_name_replaces_that_of_the_environment(self, serve: Factory) -> None:
        server = serve("echo:app", env={"SCRIPT_NAME": "/outer"})
        assert seen(server, self.PREFIX)["PATH_INFO"] == "/a b"
        assert seen(server, ("SCRIPT_NAME", ""))["PATH_INFO"] == "/shop/a b"
        assert seen(server, path="/outer/c")["PATH_INFO"] == "/c"

    def test_path_outside_script_name_is_an_error(self, fresh_server: Factory) -> None:
        server = fresh_server("echo:app")
        assert server.get("/shopping", fields=[self.PREFIX]).status == 500
        server.wait_for_log('the path "/shopping" is not below SCRIPT_NAME, which is "/shop"')

    def test_path_info_becomes_a_variable_only(self, echo: ServerProcess) -> None:
        """As in gunicorn: the path is that of the request line."""
        environ = seen(echo, ("PATH_INFO", "/x"), path="/y")
        assert (environ["PATH_INFO"], environ["HTTP_PATH_INFO"]) == ("/y", "/x")

    def test_last_script_name_counts(self, echo: ServerProcess) -> None:
        """A proxy that adds its field to the client's appends it."""
        assert seen(echo, ("SCRIPT_NAME", "/forged"), self.PREFIX)["SCRIPT_NAME"] == "/shop"

    def test_field_replaces_its_twin_with_hyphens(self, serve: Factory) -> None:
        """A client may have sent that."""
        server = serve("echo:app", "--forwarder-headers", "REMOTE_USER")
        fields = [("Remote-User", "forged"), ("REMOTE_USER", "ann")]
        for order in (fields, fields[::-1]):
            assert seen(server, *order)["HTTP_REMOTE_USER"] == "ann"

    @pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
    def test_fields_of_others_are_dropped(self, serve: Factory, trusted: str) -> None:
        server = serve("echo:app", "--threads", "1", f"--forwarded-allow-ips={trusted}")
        environ = seen(server, self.PREFIX)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/shop/a b")
        assert "HTTP_SCRIPT_NAME" not in environ

    def test_equal_heads_of_a_proxy_and_of_others_differ(self, fresh_server: Factory) -> None:
        """Environs are remembered by their heads."""
        server = fresh_server("echo:app", "--threads", "1", "--forwarded-allow-ips=127.0.0.1")
        raw = build_request("GET", "/shop/a", fields=[self.PREFIX])
        for address, expected in [("127.0.0.1", "/a"), ("127.0.0.2", "/shop/a")] * 4:
            with socket.create_connection(
                (server.host, server.port), TIMEOUT, source_address=(address, 0)
            ) as connection:
                environ = echoed(Client(connection).request(raw))["environ"]
                assert environ["PATH_INFO"] == expected, address

    def test_fields_over_a_unix_socket_are_trusted(
        self, fresh_server: Factory, tmp_path: Path
    ) -> None:
        bind = f"unix:{tmp_path / 'a.sock'}"
        server = fresh_server("echo:app", "--forwarded-allow-ips=", bind=bind)
        assert seen(server, self.PREFIX)["SCRIPT_NAME"] == "/shop"

    @pytest.mark.parametrize("headers", ["", "X_OTHER"])
    def test_dropped_field_of_a_proxy_is_reported_once(
        self, fresh_server: Factory, headers: str
    ) -> None:
        server = fresh_server("echo:app", f"--forwarder-headers={headers}")
        for _ in range(3):
            assert seen(server, self.PREFIX)["PATH_INFO"] == "/shop/a b"
        seen(server, *((f"X_{number}", "") for number in range(40)))
        server.wait_for_event("request.field_dropped", "SCRIPT_NAME .*--forwarder-headers")
        assert server.stop() == 0
        assert server.stderr().count(" SCRIPT_NAME ") == 1
        # A client may send any number of names.
        assert server.stderr().count("[request.field_dropped]") == 16

    def test_header_map_refuse_concerns_other_fields(self, serve: Factory) -> None:
        server = serve("echo:app", "--header-map", "refuse", "--forwarder-headers", "x_a,x_b")
        assert seen(server, ("X_A", "1"), ("x_b", "2"))["HTTP_X_B"] == "2"
        assert server.get("/", fields=[("X_A", "1"), ("X_C", "2")]).status == 400
        server = serve("echo:app", "--header-map", "refuse", "--forwarded-allow-ips=")
        assert server.get("/", fields=[self.PREFIX]).status == 400

    def test_star_passes_all_fields(self, serve: Factory) -> None:
        server = serve("echo:app", "--forwarder-headers", "*")
        assert seen(server, ("X_A", "1"))["HTTP_X_A"] == "1"
