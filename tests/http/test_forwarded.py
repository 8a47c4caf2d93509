"""What a proxy says of the request's scheme: believed or not, as gunicorn has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from harness import ServerProcess, echoed

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
