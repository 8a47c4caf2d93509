"""`rustwsgi init`: the addresses in the files of proxies and of systemd, for each kind of `--bind`."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from harness import ServerProcess, build_request, echoed
from harness.conversions import accept, call
from harness.proxies import NGINX, Proxy, require
from harness.tls import Authority

pytestmark = pytest.mark.second_door("no case")

#: Options, and what stands in the files: the servers of nginx and HAProxy, the socket of systemd.
#: DIR is the directory of the project, LOCALHOST the first address of that name on this machine.
ADDRESSES = {
    "inherited": (
        'bind = "fd://3"',
        ["unix:/run/shop/shop.sock"],
        ["unix@/run/shop/shop.sock"],
        ["/run/shop/shop.sock"],
    ),
    "inherited-and-another": (
        'bind = ["fd://3", "localhost:8000"]',
        ["localhost:8000"],
        ["localhost:8000"],
        ["/run/shop/shop.sock", "LOCALHOST:8000"],
    ),
    "relative-path": (
        'bind = "unix:run/x.sock"',
        ['"unix:DIR/run/x.sock"'],
        ["unix@DIR/run/x.sock"],
        ["DIR/run/x.sock"],
    ),
    "all-interfaces": (
        'bind = [":8000", "[::]:8001", "[::1]:8002"]',
        ["127.0.0.1:8000", "127.0.0.1:8001", "[::1]:8002"],
        ["127.0.0.1:8000", "127.0.0.1:8001", "[::1]:8002"],
        ["8000", "8001", "[::1]:8002"],
    ),
    "https": (
        'bind = ":8443"\ncertfile = "a.pem"',
        ["127.0.0.1:8443"],
        ["127.0.0.1:8443 ssl verify none sni req.hdr(host),field(1,:)"],
        ["8443"],
    ),
    "https-by-acme": (
        'bind = ":8443"\nacme_domain = "www.example.org"',
        ["127.0.0.1:8443"],
        ["127.0.0.1:8443 ssl verify none sni str(www.example.org)"],
        ["8443"],
    ),
    "https-beside-a-unix-socket": (
        'bind = [":8443", "unix:/run/x.sock"]\ncertfile = "a.pem"',
        ["unix:/run/x.sock"],
        ["unix@/run/x.sock"],
        ["8443", "/run/x.sock"],
    ),
    "https-beside-plain-http": (
        'bind = ":8443"\ninsecure_bind = "127.0.0.1:8000"\ncertfile = "a.pem"',
        ["127.0.0.1:8000"],
        ["127.0.0.1:8000"],
        ["8443"],
    ),
    "https-without-an-address": (
        'certfile = "a.pem"',
        ["127.0.0.1:8000"],
        ["127.0.0.1:8000 ssl verify none sni req.hdr(host),field(1,:)"],
        ["127.0.0.1:8000"],
    ),
    "https-with-certificates-of-clients": (
        'bind = ":8443"\ncertfile = "a.pem"\ncert_reqs = "required"\nca_certs = "c.pem"',
        ["127.0.0.1:8443"],
        ["127.0.0.1:8443 ssl verify none sni req.hdr(host),field(1,:)"],
        ["8443"],
    ),
    "health-checks-over-ipv6": (
        'bind = ":8000"\nmetrics = "[::1]:9100"',
        ["127.0.0.1:8000"],
        ["127.0.0.1:8000 check port 9100 addr [::1]"],
        ["8000"],
    ),
}


def project(directory: Path, options: str) -> Path:
    directory = directory / "My Shop"
    directory.mkdir()
    (directory / "rustwsgi.toml").write_text(f'app = "shop.wsgi:application"\n{options}\n')
    return directory


def init(directory: Path, kind: str, *arguments: str) -> str:
    done = call("init", kind, "--name", "shop", *arguments, cwd=directory)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


@pytest.mark.parametrize(
    ("options", "servers"), [row[:2] for row in ADDRESSES.values()], ids=ADDRESSES
)
def test_nginx_reaches_the_server(tmp_path: Path, options: str, servers: list[str]) -> None:
    nginx = require("nginx")
    directory = project(tmp_path, options)
    text = init(directory, "nginx")
    found = re.findall(r"(?m)^    server (.+);$", text.partition("\nserver {")[0])
    assert found == [server.replace("DIR", str(directory)) for server in servers]
    is_https = "8443" in servers[0] or options == 'certfile = "a.pem"'
    assert ("proxy_pass https://shop;" in text) == ("proxy_ssl_server_name on;" in text) == is_https
    file, log = tmp_path / "nginx.conf", tmp_path / "nginx.log"
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(NGINX.format(user=user, directory=tmp_path, log=log, snippet=text))
    said = accept(nginx, "-t", "-e", str(log), "-p", str(tmp_path), "-c", str(file))
    assert "[warn]" not in said, said


@pytest.mark.parametrize(
    ("options", "servers"), [(row[0], row[2]) for row in ADDRESSES.values()], ids=ADDRESSES
)
def test_haproxy_reaches_the_server(tmp_path: Path, options: str, servers: list[str]) -> None:
    haproxy = require("haproxy")
    directory = project(tmp_path, options)
    text = init(directory, "haproxy")
    found = re.findall(r"(?m)^    server shop\d* (.+)$", text)
    escaped = str(directory).replace(" ", r"\ ")
    assert found == [server.replace("DIR", escaped) for server in servers]
    file = tmp_path / "haproxy.cfg"
    file.write_text(text)
    said = accept(haproxy, "-c", "-f", str(file))
    assert "WARNING" not in said, said


@pytest.mark.parametrize(
    ("options", "expected"), [(row[0], row[3]) for row in ADDRESSES.values()], ids=ADDRESSES
)
def test_systemd_listens_at_the_addresses(
    tmp_path: Path, options: str, expected: list[str]
) -> None:
    analyze = require("systemd-analyze")
    directory = project(tmp_path, options)
    (tmp_path / "shop.service").write_text(init(directory, "systemd", "--user", "daemon"))
    unit = tmp_path / "shop.socket"
    unit.write_text(init(directory, "systemd", "--socket", "--user", "daemon"))
    found = re.findall(r"(?m)^ListenStream=(.+)$", unit.read_text())
    address = str(socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)[0][4][0])
    localhost = f"[{address}]" if ":" in address else address
    placed = [stream.replace("DIR", str(directory)) for stream in expected]
    assert found == [stream.replace("LOCALHOST", localhost) for stream in placed]
    said = accept(analyze, "verify", "--man=no", str(unit))
    # It warns of an address that it cannot parse, and exits with 0.
    assert not [line for line in said.splitlines() if "shop." in line], said


def test_service_with_inherited_sockets_requires_their_unit(tmp_path: Path) -> None:
    directory = project(tmp_path, 'bind = "fd://3"')
    service = init(directory, "systemd", "--user", "daemon")
    assert "\nRequires=shop.socket\nAfter=shop.socket\n" in service
    command = re.search(r"(?m)^ExecStart=(.+)$", service)
    assert command and "--forwarded-headers for,proto" in command[1]
    assert "--bind" not in command[1]
    assert "fd://3 of the options becomes" in init(directory, "systemd", "--socket")


#: Labels that are too long and empty, so that no name server is asked.
@pytest.mark.parametrize("host", [f"{'a' * 70}.invalid", "host..invalid"])
def test_name_that_systemd_cannot_listen_at_is_an_error(tmp_path: Path, host: str) -> None:
    """Regression: Python raises UnicodeError for such names, which ended the command with a traceback."""
    directory = project(tmp_path, f'bind = "{host}:8000"')
    done = call("init", "systemd", "--socket", cwd=directory)
    assert done.returncode == 2 and f"cannot resolve the host name '{host}'" in done.stderr, done
    assert done.stdout == ""


def test_nginx_cannot_send_the_proxy_protocol(tmp_path: Path) -> None:
    directory = project(tmp_path, 'bind = ":8000"\nproxy_protocol = "v2"')
    done = call("init", "nginx", cwd=directory)
    assert done.returncode == 2 and "only from its stream module" in done.stderr, done


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_server_with_tls_is_served_behind_the_proxy(
    fresh_server, tmp_path: Path, name: str
) -> None:
    """Regression: the proxy spoke plain HTTP to the port of HTTPS, and every request got 502."""
    require(name)
    pair = Authority(tmp_path).issue("shop.example", "shop.example")
    server: ServerProcess = fresh_server("echo:app", *pair.options())
    options = f'bind = "127.0.0.1:{server.port}"\ncertfile = "{pair.certfile}"'
    text = init(project(tmp_path, options), name)
    with Proxy(name, None, tmp_path, text) as proxy, proxy.connect() as client:
        for _ in range(3):
            response = client.request(build_request(fields=[("Host", "shop.example:80")]))
            environ = echoed(response)["environ"]
            assert environ["SSL_TLS_SNI"] == "shop.example"
            # That of the browser.
            assert environ["wsgi.url_scheme"] == "http"


def test_proxy_protocol_of_haproxy_names_each_client(fresh_server, tmp_path: Path) -> None:
    """Although clients share connections otherwise."""
    require("haproxy")
    server: ServerProcess = fresh_server("echo:app", "--proxy-protocol", "v2")
    options = f'bind = "127.0.0.1:{server.port}"\nproxy_protocol = "v2"'
    text = init(project(tmp_path, options), "haproxy")
    with (
        Proxy("haproxy", None, tmp_path, text) as proxy,
        proxy.connect("127.0.0.5") as one,
        proxy.connect("127.0.0.6") as other,
    ):
        for _ in range(3):
            for client, address in ((one, "127.0.0.5"), (other, "127.0.0.6")):
                environ = echoed(client.request(build_request()))["environ"]
                assert environ["REMOTE_ADDR"] == address
