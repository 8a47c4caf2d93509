"""The corpus of configurations of other servers: converted, and the applications that they name.

`tests/convert/corpus` has the files, with paths below `/srv`, which become those of a directory of the
test.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness import (
    ROOT,
    TESTS,
    TIMEOUT,
    Response,
    ServerProcess,
    build_request,
    run_cli,
    wait_until,
)
from harness.ports import free_port

CORPUS = TESTS / "convert" / "corpus"
#: What a file of the corpus includes is no configuration of its own.
PARTS = "parts"
FILES = sorted(
    str(path.relative_to(CORPUS))
    for path in CORPUS.rglob("*")
    if path.is_file() and PARTS not in path.parts
)

#: A module that has an application under all names that the corpus uses.
MODULE = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]

application = web_app = handler = app

def create_app():
    return app

Handler = create_app
"""


def prepare(directory: Path) -> Path:
    """A copy of the corpus in `directory`, with the paths of that directory."""
    site = directory / "corpus"
    shutil.copytree(CORPUS, site)
    for path in site.rglob("*"):
        if path.is_file():
            path.write_text(re.sub(r"(?<!\w)/srv\b", f"{directory}/srv", path.read_text()))
    for name in ("run", "log", "certs", "spool"):
        (directory / "srv" / name).mkdir(parents=True)
    shutil.copy(ROOT / "fuzz" / "tls" / "cert.pem", directory / "srv" / "certs" / "site.pem")
    shutil.copy(ROOT / "fuzz" / "tls" / "key.pem", directory / "srv" / "certs" / "site.key")
    return site


def convert_in(path: Path) -> str:
    """The `rustwsgi.toml` for a file, converted in its directory by the wheel's module."""
    from rustwsgi import convert

    before = os.getcwd()
    os.chdir(path.parent)
    try:
        return convert.run([path.name])
    finally:
        os.chdir(before)


def call(
    command: str, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `rustwsgi COMMAND ARGUMENTS` by the wheel's module in this process, which takes a tenth of
    the time of a process of its own."""
    module = importlib.import_module(f"rustwsgi.{command}")
    out, err = io.StringIO(), io.StringIO()
    before, variables = os.getcwd(), dict(os.environ)
    os.chdir(cwd)
    os.environ.update(env or {})
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = module.main(list(arguments))
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)
    return subprocess.CompletedProcess([command, *arguments], code, out.getvalue(), err.getvalue())


def accept(*command: str) -> str:
    """Run a program that must accept a file. Returns what it says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def value(text: str, name: str) -> str | None:
    """The value of an option with quotation marks, or of the first item of a list."""
    found = re.search(rf'(?m)^{name} = \[?\s*"((?:[^"\\]|\\.)*)"', text)
    return found[1] if found else None


def values(text: str, name: str) -> list[str]:
    """The items of a list."""
    found = re.search(rf"(?ms)^{name} = \[(.*?)\]$", text)
    return re.findall(r'"((?:[^"\\]|\\.)*)"', found[1]) if found else []


def make_site(text: str, directory: Path) -> None:
    """Make the module and the directories of static files that a converted file names."""
    home = directory / (value(text, "chdir") or "")
    for source in values(text, "static"):
        (home / source.partition("=")[2]).mkdir(parents=True, exist_ok=True)
    app = value(text, "app")
    assert app is not None, text
    module = home / f"{app.partition(':')[0].replace('.', '/')}.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(MODULE)


#: What stands for the machine of the configuration: its addresses, users and collectors of
#: statistics. The command line overrides them.
REDIRECTED = {
    "metrics": "127.0.0.1:0",
    "redirect_bind": "127.0.0.1:0",
    "insecure_bind": "127.0.0.1:0",
    "statsd_host": "127.0.0.1:9",
    "log_syslog_to": "udp://127.0.0.1:9",
    # Tests wait for lines of this level.
    "log_level": "info",
    # In a container, they may have no names.
    "user": str(os.geteuid()),
    "group": str(os.getegid()),
}
#: Further workers load the same application, and take time.
MAX_WORKERS = 2
#: The header of a proxy, for a server that requires one.
PROXY_HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n"


def redirected(text: str) -> list[str]:
    """The options that let a converted file start on this machine."""
    options = ["--error-logfile", "-"]
    for name, substitute in REDIRECTED.items():
        if re.search(rf"(?m)^{name} = ", text):
            options += [f"--{name.replace('_', '-')}", substitute]
    workers = re.search(r"(?m)^workers = (\d+)$", text)
    if workers and int(workers[1]) > MAX_WORKERS:
        options += ["--workers", str(MAX_WORKERS)]
    return options


def serve_converted(door: str, text: str, path: Path, directory: Path) -> tuple[Response, str]:
    """Start the server in `directory` with a converted file, stored at `path`, and stop it. Returns the
    response to one request, and the log."""
    path.write_text(text)
    options = ["-c", str(path), *redirected(text)]
    if re.search(r"(?m)^daemon = true$", text):
        return serve_daemon(door, text, options, directory)
    server = ServerProcess(door, None, *options, cwd=directory)
    with server:
        response = ask(server, text)
    assert server.process.returncode == 0, server.stderr()
    return response, server.stderr()


def serve_daemon(door: str, text: str, options: list[str], directory: Path) -> tuple[Response, str]:
    """The same for a server that detaches itself: its command ends once it serves."""
    pid_file = directory / f"{os.urandom(4).hex()}.pid"
    server = ServerProcess(door, None)
    server.host, server.port = "127.0.0.1", free_port()
    bind = ["--bind", f"127.0.0.1:{server.port}", "--pid", str(pid_file)]
    done = run_cli(door, *options, *bind, cwd=directory)
    assert done.returncode == 0, done.stderr
    pid = int(pid_file.read_text())
    try:
        return ask(server, text), done.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not pid_file.exists(), "the daemon ends")


def ask(server: ServerProcess, text: str) -> Response:
    """Send the request that the configuration expects: over TLS, behind a proxy, with a prefix."""
    if re.search(r"(?m)^certfile = ", text):
        server.tls = ssl.create_default_context()
        server.tls.check_hostname, server.tls.verify_mode = False, ssl.CERT_NONE
    prefix = re.search(r"SCRIPT_NAME=([\w/]+)", text)
    is_proxied = value(text, "proxy_protocol") not in (None, "off", "false")
    is_proxied &= value(text, "proxy_allow_from") is None
    request = build_request(target=f"{prefix[1]}/" if prefix else "/")
    with server.connect() as client:
        return client.request((PROXY_HEADER if is_proxied else b"") + request)
