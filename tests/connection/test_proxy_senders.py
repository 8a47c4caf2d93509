"""nginx, HAProxy and Caddy as senders of forwarded fields and PROXY headers, as docs/proxies.md sets them up."""

from __future__ import annotations

import re
import shlex
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from harness import ROOT, Client, ServerProcess, build_request, echoed
from harness.proxies import Proxy, find, snippet

pytestmark = pytest.mark.second_door("no case")

Behind = Callable[..., Proxy]

PAGE = ROOT / "docs" / "proxies.md"
#: The clients of these tests; the proxies are at 127.0.0.1.
CLIENT = "127.0.0.5"

TCP = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 60s

frontend web
    bind :80
    default_backend hello

backend hello
    server hello unix@/run/hello/hello.sock {option}
"""


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    """`behind(name, server)`: this proxy in front of the server, or of another proxy."""
    with ExitStack() as stack:

        def start(
            name: str, server: ServerProcess | Proxy, text: str | None = None, **changes: str
        ) -> Proxy:
            if find(name) is None:
                pytest.skip(f"{name} is not installed")
            if isinstance(server, Proxy):
                where = f"127.0.0.1:{server.port}"
            else:
                where = f"unix:{server.unix}" if server.unix else f"{server.host}:{server.port}"
            text = text or snippet(name, PAGE)
            return stack.enter_context(Proxy(name, where, tmp_path, text, **changes))

        yield start


def seen(client: Client, *fields: tuple[str, str], path: str = "/") -> dict[str, str]:
    return echoed(client.request(build_request(target=path, fields=fields)))["environ"]


def remote(environ: dict[str, str]) -> tuple[str, str | None]:
    return environ["REMOTE_ADDR"], environ.get("REMOTE_PORT")


@pytest.mark.parametrize("bind", ["tcp", "unix"])
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_fields_of_a_proxy_name_the_client(
    fresh_server, behind: Behind, tmp_path: Path, name: str, bind: str
) -> None:
    """Also for a client that sends fields of its own, and for a kept-alive connection."""
    where = "127.0.0.1:0" if bind == "tcp" else f"unix:{tmp_path / 's'}"
    names = "for,proto,prefix" if name == "nginx" else "for,proto"
    server = fresh_server("echo:app", "--forwarded-headers", names, bind=where)
    proxy = behind(name, server)
    path = "/shop/a" if name == "nginx" else "/a"
    lies = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")]
    with proxy.connect(CLIENT) as client, proxy.connect("127.0.0.6") as other:
        for fields in [[], lies, lies, lies]:
            environ = seen(client, *fields, path=path)
            assert remote(environ) == (CLIENT, None)
            assert (environ["wsgi.url_scheme"], environ["PATH_INFO"]) == ("http", "/a")
            assert environ["SCRIPT_NAME"] == ("/shop" if name == "nginx" else "")
            assert remote(seen(other, *fields, path=path)) == ("127.0.0.6", None)
        # A client cannot hide behind garbage.
        garbage = build_request(target=path, fields=[("X-Forwarded-For", "garbage")])
        assert client.request(garbage).status == 400


@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_fields_of_caddy_name_the_client(
    fresh_server, behind: Behind, tmp_path: Path, bind: str
) -> None:
    """It drops those of its clients."""
    where = "127.0.0.1:0" if bind == "tcp" else f"unix:{tmp_path / 's'}"
    options = ["--keep-alive", "75", "--forwarded-headers", "for,proto"]
    server = fresh_server("echo:app", *options, bind=where)
    proxy = behind("caddy", server)
    lies = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")]
    with proxy.connect(CLIENT) as client, proxy.connect("127.0.0.6") as other:
        for fields in [[], lies, lies]:
            environ = seen(client, *fields, path="/a")
            assert remote(environ) == (CLIENT, None)
            assert (environ["wsgi.url_scheme"], environ["PATH_INFO"]) == ("http", "/a")
            assert environ["HTTP_HOST"] == "localhost"
            assert remote(seen(other, *fields)) == ("127.0.0.6", None)


def test_chain_of_two_proxies_is_read_to_its_client(fresh_server, behind: Behind) -> None:
    server = fresh_server("echo:app", "--forwarded-headers", "for,proto")
    inner = behind("nginx", server, **{"location /shop/": "location /"})
    outer = behind("haproxy", inner)
    with outer.connect(CLIENT) as client:
        environ = seen(client, ("X-Forwarded-For", "192.0.2.1, 127.0.0.1"))
    assert environ["HTTP_X_FORWARDED_FOR"] == f"192.0.2.1, 127.0.0.1, {CLIENT}, 127.0.0.1"
    assert remote(environ) == (CLIENT, None)


@pytest.mark.parametrize("mode", ["v1", "v2", "auto"])
@pytest.mark.parametrize("bind", ["tcp", "unix"])
def test_proxy_headers_of_haproxy_name_the_client(
    fresh_server, behind: Behind, tmp_path: Path, mode: str, bind: str
) -> None:
    where = "127.0.0.1:0" if bind == "tcp" else f"unix:{tmp_path / 's'}"
    server = fresh_server("echo:app", "--proxy-protocol", mode, bind=where)
    option = "send-proxy" if mode == "v1" else "send-proxy-v2"
    proxy = behind("haproxy", server, TCP.format(option=option))
    with proxy.connect(CLIENT) as client:
        for _ in range(3):
            environ = seen(client, ("X-Forwarded-Proto", "https"))
            assert remote(environ) == (CLIENT, str(client.port))
            # The address after PROXY is not trusted.
            assert environ["wsgi.url_scheme"] == "http"


def test_health_checks_of_haproxy_are_answered(fresh_server, behind: Behind) -> None:
    """They send LOCAL with `check-send-proxy`."""
    server = fresh_server("echo:app", "--proxy-protocol", "v2", "--access-logfile", "-")
    check = (
        "    option httpchk\n    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host a\n"
    )
    text = TCP.format(option="send-proxy-v2 check inter 50ms check-send-proxy")
    behind("haproxy", server, text.replace("backend hello\n", "backend hello\n" + check))
    server.wait_for_stdout(r'^127\.0\.0\.1 .*"GET /healthz HTTP/1.1" 200')
    assert "proxy_malformed" not in server.counters()


def test_ssl_of_haproxy_sets_the_scheme(fresh_server, behind: Behind, tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=a"
    done = subprocess.run(
        [*command.split(), "-keyout", "-", "-out", "-"], capture_output=True, check=True
    )
    pem.write_bytes(done.stdout)
    server = fresh_server("echo:app", "--proxy-protocol", "v2")
    text = TCP.format(option="send-proxy-v2-ssl-cn").replace("bind :80", f"bind :80 ssl crt {pem}")
    proxy = behind("haproxy", server, text)
    context = ssl.create_default_context(cafile=str(pem))
    context.check_hostname = False
    plain = proxy.connect(CLIENT)
    with Client(context.wrap_socket(plain.sock)) as client:
        environ = seen(client)
        assert environ["wsgi.url_scheme"] == "https"
        assert remote(environ) == (CLIENT, str(client.port))


# ------------------------------------------------------------------- senders that cannot run here

#: The client sends these; the proxies append to the first and replace the others.
LIE = "192.0.2.66"
NLB = (
    b"\r\n\r\n\0\r\nQUIT\n"
    + bytes.fromhex("2111 0024 cb007107 0a000001 c350 01bb")
    + bytes.fromhex("03 0004 00000000")  # CRC32C, which is not verified
    + bytes.fromhex("ea 000e 01")  # PP2_TYPE_AWS, subtype VPC endpoint
    + b"vpce-08d2bf15"
)


def forwarded(*chain: str, **others: str) -> bytes:
    fields = [("X-Forwarded-For", ", ".join([LIE, *chain]))]
    fields += [(f"X-Forwarded-{name.title()}", value) for name, value in others.items()]
    return build_request(fields=fields)


#: The comment above the command line on the page: what the proxy sends, and what must follow.
SENT: dict[str, tuple[bytes, dict[str, str]]] = {
    "AWS Application Load Balancer": (
        forwarded("203.0.113.7", proto="https", port="443"),
        {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost"},
    ),
    "AWS Network Load Balancer": (NLB + build_request(), {"REMOTE_PORT": "50000"}),
    "Cloudflare": (
        forwarded("203.0.113.7", proto="https"),
        {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost"},
    ),
    "Traefik": (
        forwarded("203.0.113.7", proto="https", host="a.example", port="443", server="t"),
        {"wsgi.url_scheme": "https", "HTTP_HOST": "a.example", "SERVER_PORT": "443"},
    ),
    "Kubernetes": (
        forwarded("203.0.113.7", proto="https", host="a.example", port="443", scheme="https"),
        {"wsgi.url_scheme": "https", "SERVER_NAME": "a.example", "SERVER_PORT": "443"},
    ),
}


def test_configuration_of_traefik_checks_the_health_of_the_master() -> None:
    """Traefik is no package of Debian: it cannot run here."""
    routes = yaml.safe_load(snippet("yaml", PAGE))["http"]
    (service,) = routes["services"].values()
    (router,) = routes["routers"].values()
    assert router["service"] in routes["services"] and "hello.example" in router["rule"]
    assert service["loadBalancer"]["servers"] == [{"url": "http://hello:8000"}]
    assert service["loadBalancer"]["healthCheck"]["path"] == "/ready"


@pytest.mark.parametrize("name", SENT)
def test_command_line_of_the_page_reads_what_the_sender_sends(serve, name: str) -> None:
    """In the senders' documented formats; this machine stands in for their networks."""
    lines = re.findall(rf"(?m)^# {name}.*\n(rustwsgi .*)$", PAGE.read_text(encoding="utf-8"))
    assert len(lines) == 1, "the page begins with it"
    _, _, _, *options, _ = shlex.split(lines[0])
    for index, option in enumerate(options):
        if option in ("--forwarded-allow-ips", "--proxy-allow-from"):
            options[index + 1] = "127.0.0.1"
    data, expected = SENT[name]
    with serve("echo:app", *options).connect() as client:
        environ = echoed(client.request(data, method="GET"))["environ"]
    expected = {"REMOTE_ADDR": "203.0.113.7", **expected}
    assert {key: environ.get(key) for key in expected} == expected
