"""Several hosts on one machine: network namespaces joined by a bridge, a balancer in front of them.

The balancer and its clients are in a namespace of their own, which has the bridge. Each host has a
namespace with one address, and runs a server with its own copy of the application. Needs root.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import pytest

from .checks import wait_until
from .client import TIMEOUT
from .doors import ROOT, child_environment, door_command
from .proxies import NGINX, find, snippet

#: The balancer's address and port; hosts have .11, .12 and so on.
FRONT = ("10.77.0.1", 8080)
SERVER_PORT = 8000
METRICS_PORT = 9000

#: Answers its version, which it reads when it is imported.
RELEASE = """\
import pathlib, time

here = pathlib.Path(__file__).parent
VERSION = (here / "version").read_text()
HOST = here.name
{extra}

def app(environ, start_response):
    slow = here / "slow"
    time.sleep(float(slow.read_text()) if slow.exists() else 0.005)
    body = f"{{HOST}} {{VERSION}}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

#: The page with the configurations of the balancers.
PAGE = ROOT / "docs" / "scaling.md"
#: A line for a host in them.
HOST = re.compile(r"(?m)^( +)server .*10\.0\.0\.\d+:8000(.*)\n")


def ip(*arguments: str) -> None:
    """Run `ip` with these arguments."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def with_servers(text: str, servers: str) -> str:
    """A configuration with other hosts."""
    first = HOST.search(text)
    assert first, f"{PAGE} has no hosts"
    return text[: first.start()] + servers + HOST.sub("", text[first.start() :])


def changed(text: str, old: str, new: str) -> str:
    """A configuration with another value."""
    assert old in text, f"{old!r} is no longer in {PAGE}"
    return text.replace(old, new)


def skip_unless_possible(*programs: str) -> None:
    """Skip the test where there are no namespaces, or a program is missing."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and `ip`, for network namespaces")
    if problem := obstacle():
        pytest.skip(f"the system allows no network namespaces with bridges: {problem}")
    for program in programs:
        if find(program) is None:
            pytest.skip(f"{program} is not installed")


@functools.cache
def obstacle() -> str:
    """Why the system refuses what a cluster needs, as in a container without privileges; or ""."""
    name = f"rw{os.getpid() % 100000}-try"
    try:
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "br0", "type", "bridge")
            ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
            ip("netns", "exec", name, "true")
        finally:
            ip("netns", "del", name)
    except subprocess.CalledProcessError as failure:
        return failure.stderr.decode(errors="replace").strip()
    return ""


@dataclass
class Counts:
    """What clients of the balancer got while something happened."""

    #: Answers by what they say: host and version.
    answers: dict[str, int] = field(default_factory=dict)
    #: Requests without a good answer, by the reason.
    failed: dict[str, int] = field(default_factory=dict)
    #: The slowest answer in seconds.
    slowest: float = 0.0

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.answers.values()) + sum(self.failed.values())

    def of(self, text: str) -> int:
        """Answers that say this."""
        return sum(count for answer, count in self.answers.items() if text in answer)


class Host:
    """A host: a namespace, a copy of the application, a server."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.name = f"h{number}"
        self.address = f"10.77.0.{10 + number}"
        self.link = f"{cluster.prefix}{number}"
        self.namespace = f"{cluster.prefix}-{self.name}"
        self.directory = cluster.directory / self.name
        self.directory.mkdir()
        self._cluster = cluster
        self._server: subprocess.Popen[bytes] | None = None
        ip("netns", "add", self.namespace)
        ip("link", "add", self.link, "netns", cluster.namespace, "type", "veth",
           "peer", "name", "eth0", "netns", self.namespace)  # fmt: skip
        ip("-n", cluster.namespace, "link", "set", self.link, "master", "br0", "up")
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def release(self, version: str, extra: str = "") -> None:
        """Put a version of the application there; a running server does not load it yet."""
        (self.directory / "version").write_text(version)
        (self.directory / "release.py").write_text(RELEASE.format(extra=extra))

    def start(self) -> None:
        """Start the server, and wait until it is ready."""
        command = ["ip", "netns", "exec", self.namespace, *door_command(self._cluster.door)]
        command += ["--bind", f"{self.address}:{SERVER_PORT}", "--workers", "2", "--threads", "4"]
        command += ["--metrics", f"{self.address}:{METRICS_PORT}", "--keep-alive", "30"]
        log = (self.directory / "log").open("ab")
        self._server = subprocess.Popen(
            [*command, "release:app"],
            cwd=self.directory,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        wait_until(self.is_ready, f"{self.name} is ready: {self.log()}")

    def log(self) -> str:
        """What the server has logged."""
        return (self.directory / "log").read_text()

    def is_ready(self) -> bool:
        """Whether `/ready` answers 200 in the host's namespace."""
        assert self._server and self._server.poll() is None, self.log()
        return self._cluster.ask(self.address, METRICS_PORT, "/ready")[0] == 200

    def version(self) -> str:
        """The version that the server answers."""
        status, body = self._cluster.ask(self.address, SERVER_PORT, "/")
        return body.split()[-1] if status == 200 else ""

    def reload(self) -> None:
        """Load the application again."""
        assert self._server
        self._server.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop in good order, and wait for the end."""
        assert self._server
        self._server.send_signal(signal.SIGTERM)
        assert self._server.wait(TIMEOUT) == 0, self.log()
        self._server = None

    def die(self) -> None:
        """End all processes of the host at once, as when it loses power."""
        if self._server:
            pids = subprocess.run(
                ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=True
            )
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self._server.wait(TIMEOUT)
            self._server = None

    def set_link(self, state: str) -> None:
        """Take the host off the network ("down"), or back ("up")."""
        ip("-n", self._cluster.namespace, "link", "set", self.link, state)

    def remove(self) -> None:
        """End everything."""
        self.die()
        ip("netns", "del", self.namespace)


class Cluster:
    """Hosts, and a balancer in front of them."""

    _numbers = itertools.count()

    def __init__(self, door: str, directory: Path) -> None:
        self.door = door
        self.directory = directory
        # Names of interfaces have 15 characters at most.
        self.prefix = f"rw{os.getpid() % 100000}{next(self._numbers)}"
        self.namespace = f"{self.prefix}-front"
        self.hosts: list[Host] = []
        self._balancer: subprocess.Popen[bytes] | None = None
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "add", "br0", "type", "bridge")
        ip("-n", self.namespace, "addr", "add", f"{FRONT[0]}/24", "dev", "br0")
        ip("-n", self.namespace, "link", "set", "br0", "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def add_host(self, version: str = "v1") -> Host:
        """Add a host with a running server."""
        host = Host(self, len(self.hosts) + 1)
        self.hosts.append(host)
        host.release(version)
        host.start()
        return host

    def balance(self, name: str, spare: int = 0) -> None:
        """Start HAProxy or nginx in front of the hosts. `spare` more hosts may be added later."""
        numbers = range(1, len(self.hosts) + spare + 1)
        addresses = [(f"h{n}", f"10.77.0.{10 + n}:{SERVER_PORT}") for n in numbers]
        text = {"haproxy": self._haproxy, "nginx": self._nginx}[name](addresses)
        file = self.directory / f"{name}.conf"
        file.write_text(text)
        program = find(name)
        assert program
        options = {"haproxy": ["-db", "-f"], "nginx": ["-e", "stderr", "-c"]}[name]
        with (self.directory / f"{name}.out").open("wb") as log:
            self._balancer = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, program, *options, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self.ask(*FRONT, "/")[0] == 200, f"{name} answers")

    def _haproxy(self, addresses: list[tuple[str, str]]) -> str:
        """The page's configuration with these hosts, quicker checks and timeouts."""
        servers = "".join(f"    server {host} {address}\n" for host, address in addresses)
        text = with_servers(snippet("haproxy", PAGE), servers)
        text = changed(text, "bind :80", "bind " + ":".join(map(str, FRONT)))
        text = changed(text, "inter 1s", "inter 100ms")
        text = changed(text, "port 9000", f"port {METRICS_PORT}")
        text = changed(text, "timeout server 60s", "timeout server 5s")
        # Otherwise a check may take no longer than their interval, and on a loaded machine all
        # hosts would be down.
        text = changed(text, "timeout connect 500ms", "timeout connect 500ms\n    timeout check 2s")
        return f"global\n    stats socket {self.directory}/haproxy.sock mode 600\n{text}"

    def _nginx(self, addresses: list[tuple[str, str]]) -> str:
        """The same for nginx."""
        options = " max_fails=1 fail_timeout=1s;"
        servers = "".join(f"    server {address}{options}\n" for _, address in addresses)
        text = with_servers(snippet("nginx", PAGE), servers)
        text = changed(text, "listen 80;", "listen " + ":".join(map(str, FRONT)) + ";")
        text = changed(text, "proxy_read_timeout 60s", "proxy_read_timeout 5s")
        log = self.directory / "nginx.log"
        return NGINX.format(user="user root;", directory=self.directory, log=log, snippet=text)

    def states(self) -> dict[str, str]:
        """The hosts by HAProxy's view of them, such as UP or DOWN."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.directory / "haproxy.sock"))
            sock.sendall(b"show stat\n")
            lines = b"".join(iter(lambda: sock.recv(65536), b"")).decode().splitlines()
        names = lines[0].lstrip("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return {row["svname"]: row["status"] for row in rows if row["svname"].startswith("h")}

    def wait_for_state(self, host: Host, state: str) -> None:
        """Wait until HAProxy sees a host so."""
        wait_until(
            lambda: self.states()[host.name].startswith(state),
            f"{host.name} is {state}: {self.states()}",
        )

    def ask(self, address: str, port: int, path: str) -> tuple[int, str]:
        """Status and body of a request from the balancer's namespace; 0 without an answer."""
        url = f"http://{address}:{port}{path}"
        command = ["curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}", url]
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    @contextlib.contextmanager
    def load(self) -> Iterator[Counts]:
        """Send requests all the time in this block; its value has the counts afterwards."""
        counts = Counts()
        script = [sys.executable, "-m", "harness.cluster_load", *map(str, FRONT)]
        load = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *script],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert load.stdin and load.stdout
        try:
            # All clients have had an answer.
            assert load.stdout.readline() == "running\n"
            yield counts
        finally:
            output, _ = load.communicate("", timeout=2 * TIMEOUT)
        figures = json.loads(output)
        counts.answers, counts.failed = figures["answers"], figures["failed"]
        counts.slowest = figures["slowest"]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._balancer:
            self._balancer.terminate()
            self._balancer.wait(TIMEOUT)
        for host in self.hosts:
            host.remove()
        ip("netns", "del", self.namespace)


def measured(counts: Counts, scenario: str) -> Counts:
    """Print the figures, for docs/scaling.md; show them with `pytest -s`."""
    answers = {re.sub(r"^h", "host ", text): n for text, n in sorted(counts.answers.items())}
    print(f"{scenario}: {counts.total} requests, failed {counts.failed}, "
          f"slowest {counts.slowest:.2f} s, {answers}, {time.strftime('%H:%M:%S')}")  # fmt: skip
    return counts
