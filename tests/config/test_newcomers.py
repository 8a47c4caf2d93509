"""The first minutes of a new user: mistakes in the command, the name, the code; the terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import TIMEOUT, ServerProcess, child_environment, door_command, run_cli

HELLO = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

def create_app():
    return app

database = "not callable"
"""

FILES = {
    "hello.py": HELLO,
    "other.py": "web = __import__('hello').app\n",
    "src/inner.py": HELLO,
    "src/models.py": "",
    "src/uses.py": "import models\nfrom inner import app\n",
    "package/__init__.py": "",
    "package/pages.py": HELLO,
    "package/views.py": "raise SystemExit('executed')\n",
    "with space/nested.py": HELLO,
    "lazy.py": """
class Lazy:
    def __getattr__(self, name): raise RuntimeError("outside of a request")
    __class__ = property(lambda self: self.no_class)
    def __call__(self): ...
class Framework:
    def wsgi_app(self, environ, start_response): ...
    __call__ = wsgi_app
request = Lazy()
site = Framework()
""",
    "missing.py": "import package_that_is_not_installed\n",
    "raising.py": "def configure():\n    raise RuntimeError('no database')\n\nconfigure()\n",
    "indirect.py": "import importlib\nimportlib.import_module('raising')\n",
    "syntax.py": "def app(:\n",
    "silent.py": "import os\nos._exit(3)\n",
    "coroutine.py": """
import functools
async def app(scope, receive, send): ...
async def generator(environ, start_response):
    yield b""
def plain(scope, receive, send): ...
partial = functools.partial(app)
class Framework:
    async def __call__(self, scope, receive, send): ...
class Middleware:
    def __init__(self, app): ...
    def __call__(self, scope, receive, send): ...
framework, middleware = Framework(), Middleware(app)
bound = framework.__call__
""",
    "sync.py": """
import functools
from unittest.mock import MagicMock
class WithAsyncViews:
    async def view(self): ...
    def __call__(self, environ, start_response): ...
class Either:
    def __call__(self, *args): ...
def wrapped(environ, start_response): ...
@functools.wraps(WithAsyncViews.view)
def other(environ, start_response): ...
views, either, mock = WithAsyncViews(), Either(), MagicMock()
method, partial = views.__call__, functools.partial(wrapped)
""",
    "manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n',
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    return directory


# ------------------------------------------------------- an application that cannot be loaded


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("hello:ap", "did you mean hello:app?"),
        ("hello:create", "did you mean hello:create_app()?"),
        ("other", "did you mean other:web?"),
        ("hellos:app", "did you mean hello:app?"),
        ("Hello:app", "did you mean hello:app?"),
        ("hellos:wrong", "did you mean hello:app?"),
        ("inner:app", "write --chdir src inner:app"),
        ("pages:app", "did you mean package.pages:app?"),
        ("src.uses:app", "write --chdir src uses:app"),
        ("missing:app", '"package_that_is_not_installed", which is not installed in /'),
        ("raising:app", "RuntimeError: no database"),
        ("indirect:app", "RuntimeError: no database"),
        ("syntax:app", "SyntaxError: invalid syntax"),
        ("run", "no command of rustwsgi"),
        ("serve:app", "run rustwsgi in the directory that has it"),
        ("lazy:sit", "did you mean lazy:site?"),
        ("lazy", "did you mean lazy:site?"),
        ("package:views.app", "did you mean package.views:app?"),
        ("nested:app", "write --chdir 'with space' nested:app"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "4"])
def test_import_error_comes_last_and_alone(
    door: str, project: Path, workers: str, app: str, said: str
) -> None:
    """Regression: "Listening at" came before it, "Shut down" behind it, and with four workers each
    printed its own."""
    done = run_cli(door, "-b", "127.0.0.1:0", "-w", workers, app, cwd=project)
    assert done.returncode == 3, done
    assert done.stderr.count("[app.load_failed]") == done.stderr.count("[ERROR]") == 1, done.stderr
    assert not re.search(r"\[(server.listening|worker.booting|server.stopped)\]", done.stderr), done
    assert "importlib/" not in done.stderr, done.stderr
    assert "<frozen importlib" not in done.stderr, done.stderr
    assert done.stderr.count("Traceback") <= 1, done.stderr
    assert said in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.parametrize("option", [["--preload"], ["--check-config"], ["-e", "A=b"]])
def test_traceback_has_only_the_frames_of_the_application(
    door: str, project: Path, option: list[str]
) -> None:
    done = run_cli(door, "-b", "127.0.0.1:0", *option, "indirect:app", cwd=project)
    files = re.findall(r'File "([^"]+)", line \d+', done.stderr)
    assert [Path(file).name for file in files] == ["indirect.py", "raising.py", "raising.py"], done


def test_worker_that_exits_without_a_reason_is_reported(door: str, project: Path) -> None:
    done = run_cli(door, "-b", "127.0.0.1:0", "silent:app", cwd=project)
    assert done.returncode == 3 and "[worker.boot_failed] [ERROR]" in done.stderr, done


def test_debug_level_shows_the_whole_start(door: str, project: Path) -> None:
    done = run_cli(door, "-b", "127.0.0.1:0", "--log-level", "debug", "hello:ap", cwd=project)
    events = ["server.listening", "worker.booting", "app.load_failed", "worker.boot_failed"]
    found = [event for event in re.findall(r"\[(\w+\.\w+)\]", done.stderr) if event in events]
    assert found == events, done.stderr


def test_lines_of_a_start_are_in_order(door: str, project: Path) -> None:
    with ServerProcess(door, "hello:app", "--workers", "2", cwd=project) as server:
        server.wait_for_event("server.ready")
        events = re.findall(r"\[(\w+\.\w+)\]", server.stderr())
        booting = re.findall(r"\[(\d+)\] \[worker.booting\] .*pid: (\d+)", server.stderr())
    assert events == [
        "server.starting",
        "server.listening",
        *["worker.booting"] * 2,
        "server.ready",
    ]
    assert all(pid == named for pid, named in booting), booting
    assert len(set(booting)) == 2, booting


def test_start_that_takes_long_is_shown(door: str, tmp_path: Path) -> None:
    """The import waits until the line is there."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    (tmp_path / "slow.py").write_text(f"open({str(fifo)!r}).read()\n{HELLO}")
    command = [*door_command(door), "-b", "127.0.0.1:0", "slow:app"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=child_environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "[server.starting]" in process.stderr.readline()
        fifo.write_text("go on")
        assert "[server.listening]" in process.stderr.readline()
        assert "[worker.booting]" in process.stderr.readline()
        assert "[server.ready]" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0


# ------------------------------------------------------------------ asynchronous applications


@pytest.mark.parametrize("name", ["app", "generator", "plain", "partial", "framework", "bound"])
def test_asynchronous_application_is_refused(door: str, project: Path, name: str) -> None:
    """Regression: it was served, and each request failed."""
    done = run_cli(door, "-b", "127.0.0.1:0", f"coroutine:{name}", cwd=project)
    assert done.returncode == 3, done
    # A start that takes 2 s, as on a loaded machine, is shown meanwhile.
    (line,) = (line for line in done.stderr.splitlines() if "[server.starting]" not in line)
    assert "ASGI application" in line and "a2wsgi.ASGIMiddleware" in line, line


@pytest.mark.parametrize("name", ["views", "either", "mock", "method", "partial", "wrapped"])
def test_synchronous_application_is_not_refused(door: str, project: Path, name: str) -> None:
    done = run_cli(door, "--check-config", f"sync:{name}", cwd=project)
    assert done.returncode == 0, done


def test_asynchronous_application_that_a_hook_replaces_is_served(
    door: str, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "conf.py").write_text(
        "def post_worker_init(worker):\n    import hello\n    worker.wsgi = hello.app\n"
    )
    config = ["-c", str(tmp_path / "conf.py")]
    with ServerProcess(door, "coroutine:app", *config, cwd=project) as server:
        assert server.get("/").body == b"hello"


# ------------------------------------------------------------------- habits from other servers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run hello:app", "no command 'run'; write: rustwsgi hello:app"),
        ("serve hello:app", "no command 'serve'; write: rustwsgi hello:app"),
        ("serve src/inner.py", "write: rustwsgi --chdir src inner:app"),
        ("manage.py runserver", "write: rustwsgi shop.wsgi:application"),
        ("manage.py runserver 0.0.0.0:80", "write: rustwsgi -b 0.0.0.0:80 shop.wsgi:application"),
        ("hello:app 8000", "an address is an option; write: rustwsgi -b :8000 hello:app"),
        ("manage.py", "write shop.wsgi:application"),
        ("hello.py", "write hello:app"),
        ("--app hello", "rustwsgi hello"),
        ("--app hello run --debug", "rustwsgi hello"),
        ("-m hello:app", "rustwsgi hello:app"),
        ("hello app", "rustwsgi hello:app"),
        ("hello:app other:app", "one application; write: rustwsgi hello:app"),
        ("-p 5000 hello:app", "write --bind :5000"),
        ("hello:app --interface wsgi", "only WSGI applications are supported"),
        ("hello:app --url-prefix /x", "write --env SCRIPT_NAME=/PATH"),
        ("hello:app --call", "name the factory"),
        ("hello:app --reload-dir src", "write --reload-extra-file"),
        ("hello:app --proxy-headers", "write --forwarded-allow-ips"),
    ],
)
def test_command_of_another_program_is_answered(
    door: str, project: Path, arguments: str, said: str
) -> None:
    done = run_cli(door, *arguments.split(), cwd=project)
    assert done.returncode == 2, done
    assert re.search(re.escape(said) + r"(\W|$)", done.stderr.splitlines()[0]), done.stderr


# --------------------------------------------------------------------------------------- help


def lines(door: str, flag: str, columns: str | None) -> list[str]:
    env = {} if columns is None else {"COLUMNS": columns}
    environment = child_environment(env)
    if columns is None:
        environment.pop("COLUMNS", None)
    done = subprocess.run(
        [*door_command(door), flag],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout.splitlines()


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("72", 72), (None, 80), ("500", 100)])
def test_help_is_wrapped_to_the_terminal(door: str, columns: str | None, width: int) -> None:
    for flag in ("-h", "--help"):
        longest = max(len(line) for line in lines(door, flag, columns))
        assert width - 16 < longest <= width, flag


def test_short_help_has_the_options_most_used(door: str) -> None:
    short, complete = lines(door, "-h", "80"), lines(door, "--help", "80")
    assert len(short) < 52 < 150 < len(complete)
    for option in ("--bind", "--workers", "--threads", "--reload", "--help"):
        assert any(option in line for line in short), option
    assert not any("--limit-trailers" in line for line in short)
    assert any("--limit-trailers" in line for line in complete)


# --------------------------------------------------------------------------------- a terminal


class Terminal:
    """A server whose standard output and error are a terminal."""

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str]) -> None:
        self.master, terminal = pty.openpty()
        environment = child_environment({"TERM": "xterm", "RUSTWSGI_LOG_EVENTS": "0", **env})
        for name in {"NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"} - set(env):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        self.text = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + TIMEOUT
        while not (found := re.search(pattern, self.text)):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], self.text
            self.text += self._read()
        return found

    def _read(self) -> str:
        try:
            return os.read(self.master, 65536).decode()
        except OSError:  # EIO: the last process has closed the terminal
            raise AssertionError(self.text) from None

    def close(self) -> None:
        self.process.terminate()
        try:
            while True:
                self._read()
        except AssertionError:
            pass
        self.process.wait(TIMEOUT)
        os.close(self.master)


@pytest.fixture
def terminal(door: str, project: Path) -> Iterator[object]:
    opened: list[Terminal] = []

    def start(*arguments: str, **env: str) -> Terminal:
        command = [*door_command(door), "-b", "127.0.0.1:0", *arguments]
        opened.append(Terminal(command, project, env))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def request(url: str, path: str) -> None:
    host, port = re.findall(r"http://([\d.]+):(\d+)", url)[0]
    server = ServerProcess.__new__(ServerProcess)
    server.host, server.port, server.unix = host, int(port), None
    assert server.get(path).status == 200


def test_terminal_shows_colours_the_url_and_how_to_stop(terminal) -> None:
    shown = terminal("hello:app")
    shown.wait_for(r"\x1b\[32m\[INFO\]\x1b\[0m Ready, press Ctrl-C to stop: .*http://127.0.0.1:\d+")
    assert "Traceback" not in shown.text


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_without_colours_is_respected(terminal, env: dict[str, str]) -> None:
    shown = terminal("hello:app", **env)
    shown.wait_for(r"\[INFO\] Ready, press Ctrl-C to stop: .*http://127.0.0.1:\d+")
    assert "\x1b" not in shown.text


def test_reload_shows_requests_on_a_terminal(terminal) -> None:
    shown = terminal("--reload", "hello:app", NO_COLOR="1")
    request(shown.wait_for(r"Ready.*(http://127.0.0.1:\d+)")[1], "/shown?a=b")
    shown.wait_for(r'"GET /shown\?a=b HTTP/1.1" 200 \d+ ms')


def test_requests_are_not_shown_without_reload(terminal) -> None:
    shown = terminal("hello:app", NO_COLOR="1")
    request(shown.wait_for(r"Ready.*(http://127.0.0.1:\d+)")[1], "/hidden")
    shown.process.terminate()
    shown.wait_for("Shut down")
    assert "/hidden" not in shown.text


def test_pipe_gets_neither_colours_nor_requests(door: str, project: Path) -> None:
    with ServerProcess(door, "hello:app", "--reload", cwd=project) as server:
        server.get("/quiet")
        server.stop()
        assert "\x1b" not in server.stderr() and "Ctrl-C" not in server.stderr()
        assert "/quiet" not in server.stderr() + server.stdout()


def test_colours_are_forced_on_a_stream_but_not_in_a_file(
    door: str, project: Path, tmp_path: Path
) -> None:
    env = {"FORCE_COLOR": "1"}
    done = run_cli(door, "hello:ap", "-b", "127.0.0.1:0", cwd=project, env=env)
    assert "\x1b[1;31m[ERROR]" in done.stderr, done
    log = tmp_path / "log"
    options = ["-b", "127.0.0.1:0", "--error-logfile", str(log)]
    run_cli(door, "hello:ap", *options, cwd=project, env=env)
    assert "[ERROR]" in log.read_text() and "\x1b" not in log.read_text()
