"""The recipes of docs/production.md, as the page has them, for a service in a temporary directory."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness import (
    ROOT,
    TIMEOUT,
    ServerProcess,
    build_request,
    child_environment,
    door_command,
    wait_until,
)
from harness.debugger import launching
from harness.ports import free_port
from harness.projects import PYTHON, write
from harness.proxies import require, snippet

PAGE = ROOT / "docs" / "production.md"

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"RELEASE"]
"""


def section(title: str) -> str:
    """The text below a heading."""
    found = re.search(
        rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8")
    )
    assert found, f"the page has no section {title}"
    return found[1]


# --------------------------------------------------------------------------------- releases


def test_release_by_a_symbolic_link_is_served_after_hup(door: str, tmp_path: Path) -> None:
    """The commands of the page. A release that cannot be imported changes nothing."""
    serve, change = re.findall(
        r"(?ms)^```sh\n(.*?)^```", section("A new release by a symbolic link")
    )
    for number in ("2026-11-01", "2026-12-01"):
        release = tmp_path / "srv/hello/releases" / number
        write(release, {"hello.py": APP.replace("RELEASE", number)})
    broken = write(tmp_path / "srv/hello/releases/2027-01-01", {"hello.py": "import no_such\n"})
    (tmp_path / "srv/hello/current").symlink_to("releases/2026-11-01")
    (tmp_path / "run/hello").mkdir(parents=True)

    def below(text: str) -> str:
        return re.sub(r"(?<![\w/])/(srv|run)/", rf"{tmp_path}/\1/", text)

    _, *options, app = shlex.split(below(serve))
    with ServerProcess(door, app, *options) as server:
        server.wait_for_event("server.ready")
        assert server.get().text == "2026-11-01"
        subprocess.run(["sh", "-ec", below(change)], check=True, timeout=TIMEOUT)
        server.wait_for_event("reload.completed")
        # The old worker may take one more.
        wait_until(lambda: server.get().text == "2026-12-01", "the new release is served")
        start = len(server.stderr())
        failing = below(change).replace("2026-12-01", broken.name)
        subprocess.run(["sh", "-ec", failing], check=True, timeout=TIMEOUT)
        server.wait_for_event("reload.failed", start=start)
        assert server.get().text == "2026-12-01"


# ------------------------------------------------------------------------------------- logs


def test_logrotate_moves_the_files_and_the_server_opens_new_ones(door: str, tmp_path: Path) -> None:
    logrotate = require("logrotate")
    write(tmp_path, {"hello.py": APP})
    pid, log = tmp_path / "hello.pid", tmp_path / "log"
    log.mkdir(mode=0o755)
    (stanza,) = re.findall(r"(?ms)^```\n(.*?)^```", section("logrotate"))
    stanza = stanza.replace("/var/log/hello", str(log)).replace("/run/hello/hello.pid", str(pid))
    # Not at midnight.
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(stanza)
    configuration.chmod(0o644)
    options = ["--pid", str(pid), "--access-logfile", str(log / "access.log")]
    with ServerProcess(door, "hello:app", *options, cwd=tmp_path) as server:
        server.wait_for_event("server.ready")
        server.get("/before")
        wait_until(lambda: "/before" in (log / "access.log").read_text(), "the line is written")
        command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(configuration)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 0 and not done.stderr, done

        def has_reopened() -> bool:
            server.get("/during")
            return (log / "access.log").exists() and "/during" in (log / "access.log").read_text()

        wait_until(has_reopened, "the worker writes to the new file")
        server.get("/after")
    old, new = (log / "access.log.1").read_text(), (log / "access.log").read_text()
    assert "/before" in old and "/after" not in old
    assert "/after" in new and "/before" not in new


ZONED = """
import os, time
os.environ["TZ"] = "LINT-14"
time.tzset()
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [time.strftime("%z").encode()]
"""


#: Zones as POSIX writes them: a machine may lack the database of names. The sign is reversed.
@pytest.mark.parametrize(("zone", "offset"), [("UTC0", "+0000"), ("NPT-5:45", "+0545")])
def test_log_lines_have_the_zone_of_the_server(
    door: str, tmp_path: Path, zone: str, offset: str
) -> None:
    """Also in a worker whose application sets another one, as Django does by TIME_ZONE."""
    write(tmp_path, {"zoned.py": ZONED})
    options = ["--access-logfile", "-", "--log-level", "debug"]
    with ServerProcess(door, "zoned:app", *options, cwd=tmp_path, env={"TZ": zone}) as server:
        server.wait_for_event("server.ready")
        assert server.get("/zone").text == "+1400"
        line = server.wait_for_stdout(r"\[([^]]+)\] \"GET /zone")
        assert line[1].endswith(offset), line
    offsets = set(re.findall(r"(?m)^\[[\d-]+ [\d:]+ ([+-]\d{4})\]", server.stderr()))
    assert offsets == {offset}, server.stderr()


# ------------------------------------------------------------------------------ environments


def test_socket_of_systemd_is_taken_over(door: str, tmp_path: Path) -> None:
    """By the program with which systemd tries socket units. It replaces the address of the options."""
    activate = require("systemd-socket-activate")
    write(tmp_path, {"hello.py": APP})
    path = tmp_path / "hello.sock"
    command = [*door_command(door), "--bind", "127.0.0.1:1", "--workers", "2", "hello:app"]
    variables = [f"--setenv={name}" for name in child_environment() if name.startswith("RUSTWSGI")]
    with subprocess.Popen(
        [activate, f"--listen={path}", *variables, *command],
        cwd=tmp_path,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        try:
            # It starts the server when the first client connects, who waits meanwhile.
            process.stderr.readline()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(TIMEOUT)
                client.connect(str(path))
                client.sendall(build_request(fields=[("Connection", "close")]))
                received = b"".join(iter(lambda: client.recv(4096), b""))
            assert received.startswith(b"HTTP/1.1 200 ") and received.endswith(b"RELEASE"), received
        finally:
            # Or a failure would be a hang.
            process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 0


def test_command_of_a_platform_listens_at_its_port(door: str, tmp_path: Path) -> None:
    (line,) = re.findall(r"(?m)^web: rustwsgi (.+)$", section("Platforms that run a command"))
    write(tmp_path, {"mysite/wsgi.py": APP.replace("def app", "def application")})
    port = free_port()
    environment = {"PORT": str(port)}
    with ServerProcess(
        door, None, *shlex.split(line), bind=None, cwd=tmp_path, env=environment
    ) as server:
        assert (server.host, server.port) == ("0.0.0.0", port)
        assert server.get().text == "RELEASE"


# --------------------------------------------------------------------------------- databases

MODELS = """
import threading
from django.db import connection
from django.http import HttpResponse
from django.urls import path
def page(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse(f"{threading.get_ident()} {id(connection.connection)}")
urlpatterns = [path("", page)]
"""
SETTINGS = """
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3",
    "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
"""
DJANGO = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
"""


def test_connection_of_a_thread_lives_as_long_as_it(door: str, tmp_path: Path) -> None:
    pytest.importorskip("django")
    write(tmp_path, {"urls.py": MODELS, "settings.py": SETTINGS, "wsgi.py": DJANGO})
    with ServerProcess(door, "wsgi", "--threads", "2", cwd=tmp_path) as server:
        pairs = {server.get().text for _ in range(12)}
    threads = {pair.split()[0] for pair in pairs}
    assert len(pairs) == len(threads) <= 2, pairs


ENGINE = """
import os
class Engine:
    connections = [os.getpid()]
    def dispose(self, close):
        assert not close
        self.connections.clear()
engine = Engine()
HOOK
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(engine.connections)).encode()]
"""


def test_connection_of_the_master_is_disposed_of_after_the_fork(door: str, tmp_path: Path) -> None:
    (hook,) = re.findall(r"(?m)^ +(os\.register_at_fork\(.*\))$", section("Database connections"))
    write(tmp_path, {"shop.py": ENGINE.replace("HOOK", hook)})
    with ServerProcess(door, "shop:app", "--preload", cwd=tmp_path) as server:
        assert server.get().text == "0"


# ------------------------------------------------------------------------------- an IDE

STOPPED = """
def app(environ, start_response):
    text = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


def test_program_that_an_ide_launches_stops_at_a_breakpoint(tmp_path: Path) -> None:
    pytest.importorskip("debugpy")
    pytest.importorskip("rustwsgi")
    port = free_port()
    program = snippet("python", PAGE, "# debug.py").replace("8000", str(port))
    write(tmp_path, {"hello.py": STOPPED, "debug.py": program})
    configuration = json.loads(snippet("json", PAGE))
    configuration["program"] = configuration["program"].replace("${workspaceFolder}", str(tmp_path))
    configuration |= {"python": [PYTHON], "cwd": str(tmp_path), "console": "internalConsole"}
    server = ServerProcess("wheel", None)
    server.host, server.port = "127.0.0.1", port
    line = STOPPED.splitlines().index('    text = environ["PATH_INFO"]') + 1
    with launching() as debugger:
        debugger.begin("launch", configuration, tmp_path / "hello.py", line)
        wait_until(lambda: is_open(port), "the server listens")
        with server.connect() as browser:
            browser.send(build_request(target="/stopped"))
            debugger.send("continue", threadId=debugger.wait_for_breakpoint())
            assert browser.response("GET").text == "/stopped"


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_page_is_about_this_version() -> None:
    version = re.search(r'(?m)^version = "(.+)"$', (ROOT / "Cargo.toml").read_text())
    text = " ".join(section("Is this version fit for production?").split())
    assert version and f"this is {version[1]}" in text
