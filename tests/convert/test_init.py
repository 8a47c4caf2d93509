"""`rustwsgi init`: each kind of file is filled in for the project, and accepted by its own program."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import ROOT, run_cli
from harness.conversions import accept, call
from harness.proxies import NGINX, require

pytestmark = pytest.mark.second_door("no case")

KINDS = ["systemd", "nginx", "haproxy", "docker", "compose", "kubernetes", "procfile"]

#: Options in rustwsgi.toml, which the files must not repeat or contradict.
OPTIONS = """
app = "shop.wsgi:application"
bind = "127.0.0.1:8123"
keep_alive = 12
graceful_timeout = 60
boot_timeout = 90
timeout = 100
metrics = "127.0.0.1:9123"
workers = 3
access_logfile = "/var/log/shop/access.log"
env = ["SECRET=swordfish"]
"""


def init(directory: Path, *arguments: str) -> str:
    done = call("init", *arguments, cwd=directory)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    directory = tmp_path / "My Shop"
    directory.mkdir()
    (directory / "rustwsgi.toml").write_text(OPTIONS)
    (directory / "requirements.txt").write_text("flask\n")
    return directory


@pytest.mark.second_door("first case")
@pytest.mark.parametrize("kind", KINDS)
def test_file_is_complete_without_options(door: str, tmp_path: Path, kind: str) -> None:
    done = run_cli(door, "init", kind, "--name", "hello", "hello:app", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done
    text = done.stdout
    assert not re.search(r"@\w+@", text), "a placeholder is left"
    assert text.startswith("#") and f"rustwsgi init {kind} hello:app" in text
    assert "hello" in text and not re.search(r"[ \t]$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) < 180


def verify_unit(path: Path) -> None:
    said = accept(require("systemd-analyze"), "verify", "--man=no", str(path))
    ours = [line for line in said.splitlines() if path.name in line]
    assert not ours, said


@pytest.mark.parametrize("has_options", [False, True])
def test_service_is_accepted_by_systemd(shop: Path, has_options: bool) -> None:
    arguments = ["--name", "shop", "--user", "daemon"]
    if not has_options:
        (shop / "rustwsgi.toml").unlink()
        arguments.append("shop.wsgi")
    unit = shop.parent / "shop.service"
    unit.write_text(init(shop, "systemd", *arguments))
    verify_unit(unit)
    text = unit.read_text()
    assert f"WorkingDirectory={shop}\n" in text and "\nUser=daemon\n" in text
    assert "Type=notify\n" in text and "ExecReload=/bin/kill -HUP $MAINPID\n" in text
    command = re.search(r"(?m)^ExecStart=(.+)$", text)
    assert command
    words = shlex.split(command[1])
    assert os.access(words[0], os.X_OK)
    if has_options:
        assert words[1:] == [], "the file has all options"
        assert "TimeoutStopSec=70\n" in text and "TimeoutStartSec=100\n" in text
        assert "LogsDirectory=shop\n" in text and "swordfish" not in text
    else:
        assert words[-1] == "shop.wsgi" and "unix:/run/shop/shop.sock" in words


def test_name_of_the_service_does_not_begin_with_a_digit(tmp_path: Path) -> None:
    (tmp_path / "2027 Shop").mkdir()
    assert "name: app-2027-shop\n" in init(tmp_path / "2027 Shop", "kubernetes", "shop:app")


def test_factory_with_arguments_is_quoted_for_the_shell_and_systemd(tmp_path: Path) -> None:
    app = "shop:create_app('$HOME')"
    text = init(tmp_path, "systemd", app)
    copied = re.search(r"(?m)^#   (rustwsgi init .+) > ", text)
    assert copied and shlex.split(copied[1]) == ["rustwsgi", "init", "systemd", app]
    command = re.search(r"(?m)^ExecStart=(.+)$", text)
    assert command and shlex.split(command[1])[-1] == app.replace("$", "$$")


def test_socket_unit_is_accepted_by_systemd(shop: Path) -> None:
    (shop.parent / "shop.service").write_text(init(shop, "systemd", "--name", "shop"))
    socket = shop.parent / "shop.socket"
    socket.write_text(init(shop, "systemd", "--socket", "--name", "shop", "--user", "daemon"))
    verify_unit(socket)
    assert "ListenStream=127.0.0.1:8123\n" in socket.read_text()


def test_service_for_a_low_port_and_a_home_directory(shop: Path) -> None:
    """The hardening does not take away what the options need."""
    (shop / "rustwsgi.toml").write_text(
        "app = 'a:b'\nbind = ':80'\nuser = 'nobody'\ndaemon = true\nerror_logfile = 'log/x.log'\n"
        "acme_domain = 'www.example.org'\nredirect_bind = ':8080'\n"
    )
    text = init(shop, "systemd", "--name", "shop")
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in text
    assert f'ReadWritePaths="{shop}/log"\n' in text and "StateDirectory=shop\n" in text
    assert "# Remove daemon from the options" in text and "# Remove user from the options" in text


@pytest.mark.parametrize("has_options", [False, True])
def test_virtual_host_is_accepted_by_nginx(shop: Path, has_options: bool) -> None:
    nginx = require("nginx")
    text = init(shop, "nginx", "--name", "shop", *([] if has_options else ["shop.wsgi"]))
    if has_options:
        assert "server 127.0.0.1:8123;" in text and "keepalive_timeout 8s;" in text
        assert "proxy_read_timeout 105s;" in text
    file = shop.parent / "nginx.conf"
    log = shop.parent / "nginx.log"
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(NGINX.format(user=user, directory=shop.parent, log=log, snippet=text))
    said = accept(nginx, "-t", "-e", str(log), "-p", str(shop.parent), "-c", str(file))
    assert "[warn]" not in said, said


@pytest.mark.parametrize("has_options", [False, True])
def test_backend_is_accepted_by_haproxy(shop: Path, has_options: bool) -> None:
    haproxy = require("haproxy")
    if not has_options:
        (shop / "rustwsgi.toml").unlink()
    text = init(shop, "haproxy", "--name", "shop", *([] if has_options else ["shop.wsgi"]))
    assert ("check port 9123 addr 127.0.0.1" in text) == has_options
    file = shop.parent / "haproxy.cfg"
    file.write_text(text)
    said = accept(haproxy, "-c", "-f", str(file))
    assert "WARNING" not in said, said


def test_image_runs_a_valid_command(door: str, shop: Path) -> None:
    text = init(shop, "docker", "--name", "shop")
    (command,) = re.findall(r"(?m)^CMD (\[.+\])$", text)
    name, *arguments = json.loads(command)
    assert name == "rustwsgi" and arguments[:2] == ["--bind", ":8000"]
    # The file in the image names the application.
    done = run_cli(door, *arguments, "--print-config", cwd=shop)
    assert done.returncode == 0 and 'bind = ["0.0.0.0:8000"]' in done.stdout, done
    (check,) = re.findall(r"(?m)^    (\[\"python.+\])$", text)
    compile(json.loads(check)[2], "check", "exec")
    assert "USER 10001:10001" in text and "requirements.txt" in text


def test_compose_file_is_valid(door: str, shop: Path) -> None:
    data = yaml.safe_load(init(shop, "compose", "--name", "shop"))
    (service,) = data["services"].values()
    assert service["stop_grace_period"] == "70s", "longer than graceful_timeout"
    assert service["ports"] == ["127.0.0.1:8000:8000"] and service["read_only"] is True
    done = run_cli(door, "--print-config", cwd=shop, env=service["environment"])
    assert done.returncode == 0, done


def manifests(directory: Path, *arguments: str) -> dict[str, Any]:
    text = init(directory, "kubernetes", "--name", "shop", *arguments)
    found = list(yaml.safe_load_all(text))
    assert all(each["metadata"]["name"] == "shop" for each in found)
    return {each["kind"]: each for each in found}


def test_manifests_fit_together(shop: Path) -> None:
    found = manifests(shop)
    versions = {kind: each["apiVersion"] for kind, each in found.items()}
    assert versions == {
        "Deployment": "apps/v1",
        "Service": "v1",
        "HorizontalPodAutoscaler": "autoscaling/v2",
        "PodDisruptionBudget": "policy/v1",
        "NetworkPolicy": "networking.k8s.io/v1",
    }
    deployment = found["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "shop",
    }
    assert scaler["minReplicas"] == deployment["replicas"]
    metric = scaler["metrics"][0]["pods"]["metric"]["name"]
    assert f'"{metric}"' in (ROOT / "src/supervisor/admin/metrics.rs").read_text()
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "metrics": 9100}
    for probe, path in (("startup", "/ready"), ("readiness", "/ready"), ("liveness", "/live")):
        assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "metrics"}
    named = [rule["ports"][0]["port"] for rule in found["NetworkPolicy"]["spec"]["ingress"]]
    assert (
        sorted(named) == sorted(ports)
        and found["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    )
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert pod["terminationGracePeriodSeconds"] > 60 + 5, "graceful_timeout and preStop"


def test_arguments_of_the_pod_are_valid(door: str, tmp_path: Path) -> None:
    (container,) = manifests(tmp_path, "hello:app")["Deployment"]["spec"]["template"]["spec"][
        "containers"
    ]
    name, *arguments = container["args"]
    assert name == "rustwsgi" and all(isinstance(word, str) for word in arguments)
    done = run_cli(door, *arguments, "--print-config", cwd=tmp_path)
    assert done.returncode == 0 and 'metrics = "0.0.0.0:9100"' in done.stdout, done


#: A server with certificates: certbot's, one in the project, and one beside files of other programs.
TLS = """
app = "shop.wsgi:application"
bind = ":8443"
redirect_bind = ":8080"
insecure_bind = ["127.0.0.1:8000", ":8001"]
certfile = ["/etc/letsencrypt/live/shop/cert.pem", "certs/cert.pem"]
keyfile = ["/etc/letsencrypt/live/shop/key.pem", "certs/key.pem"]
ca_certs = "/etc/ssl/certs/clients.pem"
cert_reqs = "required"
"""
ACME = """
app = "shop.wsgi:application"
acme_domain = "shop.example"
"""


def published(door: str, directory: Path, arguments: list[str]) -> None:
    """The server in a container listens at the ports that clients use, as redirects name that of
    HTTPS."""
    done = run_cli(door, *arguments, "--print-config", cwd=directory)
    assert done.returncode == 0, done
    assert 'bind = ["0.0.0.0:443"]' in done.stdout, done
    assert 'redirect_bind = ["0.0.0.0:80"]' in done.stdout, done


def test_image_with_tls_is_run_with_its_ports_and_files(door: str, shop: Path) -> None:
    (shop / "rustwsgi.toml").write_text(TLS)
    text = init(shop, "docker", "--name", "shop")
    command = re.search(r"(?ms)^#   (docker run .+? shop)$", text)
    assert command
    words = shlex.split(re.sub(r"\\\n#", "", command[1]))
    assert [words[at + 1] for at, word in enumerate(words) if word == "-p"] == [
        "443:443",
        "80:80",
        "8001:8001",
    ]
    assert [words[at + 1] for at, word in enumerate(words) if word == "-v"] == [
        "/etc/letsencrypt:/etc/letsencrypt:ro",
        f"{shop}/certs:/srv/shop/certs:ro",
        "/etc/ssl/certs/clients.pem:/etc/ssl/certs/clients.pem:ro",
    ]
    assert "EXPOSE 443 80 8001\n" in text
    assert "# List certs/cert.pem, certs/key.pem in .dockerignore, too.\n" in text
    (arguments,) = re.findall(r"(?m)^CMD (\[.+\])$", text)
    published(door, shop, json.loads(arguments)[1:])


def test_image_keeps_what_acme_has_ordered(shop: Path) -> None:
    (shop / "rustwsgi.toml").write_text(ACME)
    text = init(shop, "docker", "--name", "shop")
    assert "-v shop-acme:/var/lib/shop/acme " in text
    assert "RUN install -d -m 0700 -o 10001 -g 10001 /var/lib/shop/acme\n" in text
    (arguments,) = re.findall(r"(?m)^CMD (\[.+\])$", text)
    words = json.loads(arguments)
    assert words[words.index("--acme-cache") + 1] == "/var/lib/shop/acme"


def test_services_with_tls_have_its_ports_and_files(shop: Path) -> None:
    (shop / "rustwsgi.toml").write_text(TLS)
    (service,) = yaml.safe_load(init(shop, "compose", "--name", "shop"))["services"].values()
    assert service["ports"] == ["443:443", "80:80", "8001:8001"]
    assert service["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": 0}
    assert [(each["source"], each["target"]) for each in service["volumes"]] == [
        ("/etc/letsencrypt", "/etc/letsencrypt"),
        (f"{shop}/certs", "/srv/shop/certs"),
        ("/etc/ssl/certs/clients.pem", "/etc/ssl/certs/clients.pem"),
    ]
    assert all(each["read_only"] for each in service["volumes"])


def test_services_with_acme_have_a_volume(shop: Path) -> None:
    (shop / "rustwsgi.toml").write_text(ACME + 'acme_cache = "/var/cache/acme"\n')
    data = yaml.safe_load(init(shop, "compose", "--name", "shop"))
    (service,) = data["services"].values()
    assert service["ports"] == ["443:443"] and list(data["volumes"]) == ["acme"]
    (volume,) = service["volumes"]
    assert volume == {"type": "volume", "source": "acme", "target": "/var/cache/acme"}


def test_pod_with_tls_has_its_files_from_a_secret(door: str, shop: Path) -> None:
    (shop / "rustwsgi.toml").write_text(TLS)
    text = init(shop, "kubernetes", "--name", "shop")
    command = re.search(r"(?ms)^#   (kubectl create .+?)\n#   kubectl apply", text)
    assert command
    words = shlex.split(re.sub(r"\\\n#", "", command[1]))
    given = [word.partition("=")[2] for word in words if word.startswith("--from-file=")]
    made = dict(word.split("=", 1) for word in given)
    found = manifests(shop)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    placed = {}
    for mount in container["volumeMounts"]:
        if mount["name"] == "tmp":
            continue
        assert mount["readOnly"] is True
        secret = volumes[mount["name"]]["secret"]
        assert secret["secretName"] == "shop-tls"
        paths = {item["path"]: item["key"] for item in secret["items"]}
        if "subPath" in mount:
            placed[mount["mountPath"]] = made[paths[mount["subPath"]]]
        else:
            placed |= {f"{mount['mountPath']}/{path}": made[key] for path, key in paths.items()}
    assert placed == {
        "/etc/letsencrypt/live/shop/cert.pem": "/etc/letsencrypt/live/shop/cert.pem",
        "/etc/letsencrypt/live/shop/key.pem": "/etc/letsencrypt/live/shop/key.pem",
        "/srv/shop/certs/cert.pem": f"{shop}/certs/cert.pem",
        "/srv/shop/certs/key.pem": f"{shop}/certs/key.pem",
        "/etc/ssl/certs/clients.pem": "/etc/ssl/certs/clients.pem",
    }
    assert pod["securityContext"]["sysctls"][0]["value"] == "0"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"https": 443, "redirect": 80, "http": 8001, "metrics": 9100}
    of_service = {port["targetPort"]: port["port"] for port in found["Service"]["spec"]["ports"]}
    assert of_service == {"https": 443, "redirect": 80, "http": 8001}
    allowed = found["NetworkPolicy"]["spec"]["ingress"][0]["ports"]
    assert [port["port"] for port in allowed] == ["https", "redirect", "http"]
    published(door, shop, container["args"][1:])


def test_file_beside_the_application_is_mounted_alone(shop: Path) -> None:
    """A mount of its directory would hide the application."""
    (shop / "rustwsgi.toml").write_text("app = 'a:b'\ncertfile = 'site.pem'\n")
    (service,) = yaml.safe_load(init(shop, "compose", "--name", "shop"))["services"].values()
    (mount,) = service["volumes"]
    assert (mount["source"], mount["target"]) == (f"{shop}/site.pem", "/srv/shop/site.pem")
    (container,) = manifests(shop)["Deployment"]["spec"]["template"]["spec"]["containers"]
    mount = container["volumeMounts"][1]
    assert (mount["mountPath"], mount["subPath"]) == ("/srv/shop/site.pem", "site.pem")


def mounted(directory: Path, certificate: str) -> dict[str, str]:
    """What the service of Compose mounts for a certificate, by the path in the container."""
    options = f"app = 'a:b'\ncertfile = {json.dumps(certificate)}\n"
    (directory / "rustwsgi.toml").write_text(options)
    (service,) = yaml.safe_load(init(directory, "compose", "--name", "shop"))["services"].values()
    return {each["target"]: each["source"] for each in service["volumes"]}


@pytest.mark.parametrize(
    "path",
    [
        "SHOP/cert.pem",
        "PARENT/cert.pem",
        "/home/me/cert.pem",
        "/root/cert.pem",
        "/etc/pki/tls/cert.pem",
        "/home/cert.pem",
        "/opt/cert.pem",
        "/srv/cert.pem",
        "/usr/cert.pem",
        "/var/cert.pem",
        "/var/lib/cert.pem",
    ],
)
def test_file_beside_files_of_others_is_mounted_alone(shop: Path, path: str) -> None:
    """The project, a home directory with keys of ssh, and the directories of the system."""
    certificate = path.replace("SHOP", str(shop)).replace("PARENT", str(shop.parent))
    assert mounted(shop, certificate) == {certificate: certificate}


@pytest.mark.parametrize("name", ["/home/me/certs/cert.pem", "/etc/shop/cert.pem"])
def test_directory_of_certificates_is_mounted(shop: Path, name: str) -> None:
    directory = os.path.dirname(name)
    assert mounted(shop, name) == {directory: directory}


def test_file_beside_code_is_mounted_alone_with_a_remark(shop: Path) -> None:
    """A volume of a Secret in place of the directory would hide the package."""
    (shop / "config").mkdir()
    (shop / "config/cert.pem").touch()
    remark = "# A file that is mounted by subPath keeps its content: restart the pods"
    assert mounted(shop, "config/cert.pem") == {"/srv/shop/config": f"{shop}/config"}
    assert remark not in init(shop, "kubernetes", "--name", "shop")
    (shop / "config/settings.py").touch()
    target = "/srv/shop/config/cert.pem"
    assert mounted(shop, "config/cert.pem") == {target: f"{shop}/config/cert.pem"}
    assert remark in init(shop, "kubernetes", "--name", "shop")
    (container,) = manifests(shop)["Deployment"]["spec"]["template"]["spec"]["containers"]
    mount = container["volumeMounts"][1]
    assert (mount["mountPath"], mount["subPath"]) == (target, "cert.pem")


def test_path_with_a_dollar_sign_or_an_emoji_is_quoted(shop: Path) -> None:
    """Compose replaces `$NAME` by a variable, and YAML has no surrogates."""
    (shop / "rustwsgi.toml").write_text("app = 'a:b'\ncertfile = '/etc/$HOME\U0001f512/a.pem'\n")
    text = init(shop, "compose", "--name", "shop")
    assert 'source: "/etc/$$HOME\U0001f512", target: "/etc/$$HOME\U0001f512",' in text
    text = init(shop, "kubernetes", "--name", "shop")
    assert 'mountPath: "/etc/$HOME\U0001f512",' in text


def test_volume_of_acme_with_a_dollar_sign_is_quoted(shop: Path) -> None:
    (shop / "rustwsgi.toml").write_text(ACME + "acme_cache = '/var/cache/$HOME'\n")
    assert 'target: "/var/cache/$$HOME"}' in init(shop, "compose", "--name", "shop")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            "redirect_bind = ':80'\ninsecure_bind = ':8000'\n",
            {"https": 443, "redirect": 80, "http": 8000},
        ),
        (
            "insecure_bind = ['0.0.0.0:8001', '[::]:8001', ':8002']\n",
            {"https": 443, "http": 8001, "http-8002": 8002},
        ),
        (
            "redirect_bind = ':8080'\ninsecure_bind = ':80'\n",
            {"https": 443, "redirect": 80},
        ),
    ],
)
def test_port_is_published_once(shop: Path, options: str, expected: dict[str, int]) -> None:
    (shop / "rustwsgi.toml").write_text(f"app = 'a:b'\ncertfile = '/etc/shop/a.pem'\n{options}")
    found = manifests(shop)
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = [(port["name"], port["containerPort"]) for port in container["ports"]]
    assert ports == [*expected.items(), ("metrics", 9100)]
    of_service = [(port["name"], port["port"]) for port in found["Service"]["spec"]["ports"]]
    assert of_service == list(expected.items())
    (service,) = yaml.safe_load(init(shop, "compose", "--name", "shop"))["services"].values()
    assert service["ports"] == [f"{port}:{port}" for port in expected.values()]
    text = init(shop, "docker", "--name", "shop")
    assert re.findall(r" -p (\d+:\d+)", text) == service["ports"]


@pytest.mark.parametrize("kind", ["docker", "compose", "kubernetes"])
def test_address_that_a_container_does_not_have_is_named(shop: Path, kind: str) -> None:
    """A server that cannot bind an address does not start."""
    usable = [":8001", "127.0.0.1:8002", "[::1]:8003", "localhost:8004", "unix:/tmp/shop.sock"]
    unusable = [
        "192.0.2.1:8005",
        "fd://3",
        "unix:/run/shop.sock",
        "unix:shop.sock",
        # The container has redirects and HTTPS there.
        "0.0.0.0:80",
        "127.0.0.1:443",
    ]
    (shop / "rustwsgi.toml").write_text(
        "app = 'a:b'\ncertfile = '/etc/shop/a.pem'\nredirect_bind = ':8080'\n"
        f"insecure_bind = {json.dumps(usable + unusable)}\n"
    )
    text = init(shop, kind, "--name", "shop")
    named = re.findall(r"(?m)^# The container cannot bind (\S+) of insecure_bind: remove it", text)
    assert named == unusable


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("kubernetes", ACME, "let cert-manager put the certificate into a Secret"),
        ("procfile", ACME, "remove acme_domain from the options"),
        (
            "procfile",
            TLS,
            "remove certfile, keyfile, ca_certs, cert_reqs, redirect_bind, insecure_bind from",
        ),
    ],
)
def test_tls_that_a_platform_cannot_serve_is_an_error(
    shop: Path, kind: str, options: str, said: str
) -> None:
    (shop / "rustwsgi.toml").write_text(options)
    done = call("init", kind, cwd=shop)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done


@pytest.mark.parametrize("has_options", [False, True])
def test_process_listens_at_the_port_of_the_platform(
    door: str, shop: Path, has_options: bool
) -> None:
    if not has_options:
        (shop / "rustwsgi.toml").unlink()
    text = init(shop, "procfile", *([] if has_options else ["shop.wsgi"]))
    (command,) = re.findall(r"(?m)^web: rustwsgi (.+)$", text)
    assert [line for line in text.splitlines() if re.match(r"[\w-]+:", line)] == [
        f"web: rustwsgi {command}"
    ]
    words = shlex.split(command.replace("$PORT", "8765"))
    done = run_cli(door, *words, "--print-config", cwd=shop, env={"PORT": "8765"})
    assert done.returncode == 0 and 'bind = ["0.0.0.0:8765"]' in done.stdout, done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the kind of file: systemd, nginx"),
        (["apache", "a:b"], "'apache' is not one of systemd"),
        (["nginx", "a:b", "c:d"], "unexpected argument 'c:d'"),
        (["nginx", "--socket", "a:b"], "--socket is an option of the kind systemd"),
        (["nginx", "--port", "80"], "unknown option --port"),
        (["systemd", "--name"], "--name needs a value"),
        (["systemd", "a.py"], "'a.py' is a path"),
    ],
)
def test_invalid_arguments_are_an_error(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = call("init", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and done.stdout == "", done
    assert "Traceback" not in done.stderr, done


def test_invalid_file_of_options_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rustwsgi.toml").write_text("workers = 'many'\n")
    done = call("init", "systemd", "a:b", cwd=tmp_path)
    assert done.returncode == 2 and "rustwsgi.toml: 'workers'" in done.stderr, done


def test_application_of_the_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    text = init(tmp_path, "systemd", "--name", "shop")
    assert re.search(r"(?m)^ExecStart=.* wsgi:application$", text), text


def test_directory_without_application_is_an_error(tmp_path: Path) -> None:
    done = call("init", "systemd", cwd=tmp_path)
    assert done.returncode == 2 and "rustwsgi" in done.stderr and done.stdout == "", done


# ------------------------------------------------------------------------- the documentation

#: Pages, the languages of their first blocks, and the kinds of files that those are.
EXAMPLES = [
    ("deployment.md", "ini", "systemd"),
    ("deployment.md", "nginx", "nginx"),
    ("deployment.md", "haproxy", "haproxy"),
    ("deployment.md", "dockerfile", "docker"),
    ("deployment.md", "yaml", "kubernetes"),
    ("production.md", "ini", "socket"),
]


def example(kind: str) -> str:
    """What is printed for hello:app in /srv/hello."""
    from rustwsgi.init import KINDS as renderers
    from rustwsgi.init.project import Project
    from rustwsgi.init.systemd import render_socket

    project = Project(
        app="hello:app",
        name="hello",
        directory="/srv/hello",
        program="/srv/hello/.venv/bin/rustwsgi",
        user="hello",
        group="www-data",
        workers="auto",
        python="3.11",
        requirements="requirements.txt",
    )
    render: Callable[[Project], str] = {**renderers, "socket": render_socket}[kind]
    text = render(project)
    # The page shows the Deployment, and names the other parts.
    return text.partition("---\n")[0] if kind == "kubernetes" else text


@pytest.mark.parametrize(("page", "language", "kind"), EXAMPLES)
def test_example_of_the_documentation_is_what_is_printed(
    page: str, language: str, kind: str
) -> None:
    """With UPDATE_DOCS=1 the pages are written anew."""
    path = ROOT / "docs" / page
    shown = path.read_text(encoding="utf-8")
    found = re.search(rf"(?ms)^```{language}\n(.*?)^```", shown)
    assert found, f"{page} has no {language}"
    text = example(kind)
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(shown[: found.start(1)] + text + shown[found.end(1) :], encoding="utf-8")
        return
    assert found[1] == text, f"run UPDATE_DOCS=1 pytest {__file__}"
