"""The command line: its parser, the application it names, and the import."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import APPS, TIMEOUT, child_environment, door_command, run_cli

PLAIN = "http_cli:app"


# ---------------------------------------------------------------------------- the parser


def test_help_is_printed(door: str) -> None:
    done = run_cli(door, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for option in ("--bind", "--threads", "--keep-alive", "--access-logfile", "--chdir"):
        assert option in done.stdout


def test_version_is_printed(door: str) -> None:
    done = run_cli(door, "--version")
    assert done.returncode == 0 and re.fullmatch(r"rustwsgi \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(["--no-such-option", PLAIN], id="unknown-option"),
        pytest.param(["--threads", "many", PLAIN], id="not-a-number"),
        pytest.param(["--threads", "-1", PLAIN], id="no-threads"),
        pytest.param(["--keep-alive", "-1", PLAIN], id="negative"),
        pytest.param([PLAIN, "--bind"], id="missing-value"),
        pytest.param(["--bind", "127.0.0.1:99999", PLAIN], id="port-too-large"),
        pytest.param(["--bind", "127.0.0.1:http", PLAIN], id="port-not-a-number"),
        pytest.param(["--log-level", "loud", PLAIN], id="unknown-level"),
        pytest.param([], id="no-application"),
        pytest.param(["--bind", "127.0.0.1:0", PLAIN, PLAIN], id="two-applications"),
    ],
)
def test_bad_usage_is_an_error(door: str, args: list[str]) -> None:
    done = run_cli(door, *args)
    assert done.returncode == 2, done
    assert done.stderr.strip() and "Traceback" not in done.stderr and "panicked" not in done.stderr


def test_misspelt_option_is_corrected(door: str) -> None:
    done = run_cli(door, "--thread", "2", PLAIN)
    assert done.returncode == 2 and "--threads" in done.stderr


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--http", "write --bind"),
        ("--http-socket=:80", "write --bind"),
        ("--socket", "proxy_pass"),
        ("--processes", "write --workers"),
        ("--module", "MODULE:NAME"),
        ("--wsgi-file", "MODULE:NAME"),
        ("--callable", "MODULE:NAME"),
        ("--master", "always behaves so"),
        ("--enable-threads", "always behaves so"),
        ("--harakiri", "write --timeout"),
        ("--uid", "write --user"),
        ("--gid", "write --group"),
        ("--pidfile", "'pid'"),
        ("--daemonize", "write --daemon --error-logfile"),
        ("--stats", "--metrics ADDRESS"),
        ("--limit_post", "write --limit-request-body"),
    ],
)
def test_uwsgi_option_is_answered_with_a_hint(door: str, option: str, instead: str) -> None:
    done = run_cli(door, option, PLAIN)
    name = option.partition("=")[0].replace("_", "-")
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"error: unexpected argument '{name}' found: "), done
    assert instead in done.stderr.splitlines()[0] and "similar" not in done.stderr, done


# ----------------------------------------------------------------------- the application


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("http_factory", b"application"),
        ("http_factory:app", b"app"),
        ("http_application", b"application"),
        ("http_factory:application", b"application"),
        ("http_factory:holder.app", b"held"),
        ("http_factory:make()", b"made"),
    ],
)
def test_application_is_found_in_every_form(fresh_server, app: str, body: bytes) -> None:
    assert fresh_server(app).get("/").body == body


@pytest.mark.parametrize(
    ("app", "texts"),
    [
        pytest.param("no_such_module:app", ["no_such_module", "ModuleNotFoundError"], id="module"),
        pytest.param("no.such.package:app", ["ModuleNotFoundError"], id="package"),
        pytest.param("http_factory:nothing", ["nothing", "http_factory"], id="attribute"),
        pytest.param("http_factory:holder.nothing", ["nothing"], id="attribute-of-attribute"),
        pytest.param("http_factory:not_callable", ["not_callable", "callable"], id="not-callable"),
        pytest.param("http_broken:app", ["no database today", "configure()"], id="import-fails"),
        pytest.param("http_factory:broken()", ["the factory's own failure"], id="factory-fails"),
        pytest.param("http_factory:nothing()", ["nothing"], id="factory-missing"),
        pytest.param("http_cli_none", ["http_cli_none"], id="module-alone"),
    ],
)
def test_application_that_cannot_be_loaded_is_an_error(
    door: str, app: str, texts: list[str]
) -> None:
    done = run_cli(door, "--bind", "127.0.0.1:0", app)
    assert done.returncode == 3, done
    assert all(text in done.stderr for text in texts), done.stderr
    assert "panicked" not in done.stderr


def test_failing_import_shows_only_the_traceback_of_the_application(door: str) -> None:
    """It shows the file and line of the application, and no frames of the server or of
    importlib."""
    done = run_cli(door, "--bind", "127.0.0.1:0", "http_broken:app")
    assert re.search(r'File ".*http_broken\.py", line \d+, in configure', done.stderr)
    assert "RuntimeError: no database today" in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1


def test_missing_module_has_a_hint(door: str) -> None:
    """The usual cause is the working directory, so it is named."""
    done = run_cli(door, "--bind", "127.0.0.1:0", "no_such_module:app")
    assert str(APPS) in done.stderr or "--chdir" in done.stderr or "--pythonpath" in done.stderr


@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["master", "terminal"])
def test_interrupt_during_the_import_ends_the_server(
    door: str, whom: Callable[[int, int], None]
) -> None:
    """Ctrl-C is no error: it was reported as a failed import, with exit code 3."""
    process = subprocess.Popen(
        [*door_command(door), "--bind", "127.0.0.1:0", "http_slow_import:app"],
        cwd=APPS,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    whom(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0 and "Traceback" not in errors, errors


def test_application_with_many_open_files_is_served(fresh_server) -> None:
    """Regression: select(2) cannot handle a descriptor over 1023, so the wait for signals
    failed."""
    server = fresh_server("http_many_files:app")
    assert server.get("/").body == b"1100 files"
    assert server.stop() == 0


PROJECT = """
def application(environ, start_response): ...
def create_app(): return application
def with_default(env="dev"): return application
def with_argument(env): return application
def with_keyword(*, env): return application
def optional(a=1, b=2, c=3, *, d=4): return application
def like_asgi(scope, receive, send): ...
async def asgi(scope, receive, send): ...
class Star:
    async def __call__(self, scope, receive, send): ...
star = Star()
class Static:
    @staticmethod
    def __call__(environ, start_response): ...
static, inherited = Static(), type("Sub", (Static,), {})()
class Alone:
    @staticmethod
    def __call__(environ): ...
alone = Alone()
class OfClass:
    @classmethod
    def __call__(cls, environ, start_response): ...
of_class = OfClass()
class Borrowed:
    __call__ = staticmethod(of_class.__call__)
borrowed = Borrowed()
class Proxy:
    def __call__(self, environ, start_response): ...
    def __getattr__(self, name): return getattr(asgi, name)
proxy = Proxy()
def middleware(*args): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package as Django creates it, and a module."""
    package = tmp_path / "mysite"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wsgi.py").write_text(PROJECT)
    (tmp_path / "single.py").write_text(PROJECT)
    return tmp_path


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        ("mysite", "did you mean mysite.wsgi:application?"),
        ("mysite:wsgi", "did you mean mysite.wsgi:application?"),
        ("mysite:application", "did you mean mysite.wsgi:application?"),
        ("single.application", "did you mean single:application?"),
        ("single.nothing", "--chdir"),
        ("mysite.nothing:application", 'the package "mysite" has no module "nothing"'),
    ],
)
def test_misspelt_application_name_is_corrected(
    door: str, project: Path, app: str, hint: str
) -> None:
    done = run_cli(door, "--check-config", "--chdir", str(project), app)
    assert done.returncode == 3 and hint in done.stderr, done


@pytest.mark.parametrize(
    ("app", "doubt"),
    [
        ("create_app", "write single:create_app()"),
        ("with_default", "write single:with_default()"),
        ("with_argument", "write single:with_argument(ARGUMENTS)"),
        ("with_keyword", "write single:with_keyword(ARGUMENTS)"),
        ("like_asgi", "cannot be called with two arguments"),
        ("asgi", "async function"),
        ("star", "async function"),
        ("create_app()", None),
        ("with_default('prod')", None),
        ("optional", None),
        ("middleware", None),
        ("Star", None),
        ("static", None),
        ("inherited", None),
        ("alone", "cannot be called with two arguments"),
        ("of_class", None),
        ("borrowed", None),
        ("proxy", None),
    ],
)
def test_object_that_is_no_wsgi_application_is_refused(
    door: str, project: Path, app: str, doubt: str | None
) -> None:
    """--check-config reports it as an error."""
    done = run_cli(door, "--check-config", "--chdir", str(project), f"single:{app}")
    assert done.returncode == (0 if doubt is None else 3), done
    assert ("[config.checked]" in done.stderr) == (doubt is None), done
    assert doubt is None or doubt in done.stderr, done


def test_doubtful_application_that_a_hook_may_replace_is_a_warning(
    door: str, project: Path
) -> None:
    """Regression: --check-config refused a configuration that works."""
    conf = project / "conf.py"
    arguments = ["--check-config", "--chdir", str(project), "-c", str(conf), "single:create_app"]
    for hook, code in (("post_worker_init(worker)", 0), ("when_ready(server)", 3)):
        conf.write_text(f"def {hook}: ...\n")
        done = run_cli(door, *arguments)
        assert done.returncode == code, done
        assert "write single:create_app()" in done.stderr, done
        assert ("[config.checked]" in done.stderr) == (code == 0), done


def test_object_that_is_no_wsgi_application_is_reported_at_the_start(fresh_server, project) -> None:
    server = fresh_server("single:alone", cwd=project)
    server.wait_for_event("app.doubtful", "single:alone cannot be called with two arguments")


@pytest.mark.parametrize(
    ("app", "body"),
    [
        ("http_factory:echo('a:b', [1, -2], deep={'k': (True, None)})",
         b"(('a:b', [1, -2]), {'deep': {'k': (True, None)}})"),
        ("http_factory:echo( )", b"((), {})"),
    ],
)  # fmt: skip
def test_factory_is_called_with_its_arguments(fresh_server, app: str, body: bytes) -> None:
    """Literals, as gunicorn takes them."""
    assert fresh_server(app).get("/").body == body


@pytest.mark.parametrize(
    "arguments",
    ["__import__('os').getcwd()", "name", "*[1]", "**{'a': 1}", "1)(2", "1) + (2", "1, ,", "'"],
)
def test_factory_arguments_that_are_no_literals_are_refused(door: str, arguments: str) -> None:
    done = run_cli(door, "--check-config", f"http_factory:echo({arguments})")
    assert done.returncode == 3 and "they must be literals, as in" in done.stderr, done
    assert "Traceback" not in done.stderr, done


def test_misspelt_environment_variable_is_reported(door: str) -> None:
    env = {"RUSTWSGI_TREADS": "8"}
    done = run_cli(door, "--check-config", PLAIN, env=env)
    assert done.returncode == 0, done
    assert "did you mean RUSTWSGI_THREADS?" in done.stderr


def test_printed_settings_hide_secrets(door: str) -> None:
    done = run_cli(door, "--print-config", "-e", "KEY=s3cret", PLAIN)
    assert 'env = ["KEY=***"]' in done.stdout and "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize("value", ["s3cret", "=s3cret"])
@pytest.mark.parametrize("where", ["option", "short option", "variable", "file", "other variable"])
def test_error_messages_hide_secrets(door: str, tmp_path: Path, where: str, value: str) -> None:
    """Regression: a value without a name was printed."""
    options, env = [], {}
    if where == "option":
        options = ["--env", value]
    elif where == "short option":
        options = [f"-e{value}"]
    elif where == "variable":
        env = {"RUSTWSGI_ENV": value}
    elif where == "other variable":
        env = {"GUNICORN_CMD_ARGS": f"-e {value}"}
    else:
        (tmp_path / "secret.toml").write_text(f'env = ["{value}"]\n')
        options = ["-c", str(tmp_path / "secret.toml")]
    done = run_cli(door, *options, PLAIN, env=env)
    assert done.returncode == 2, done
    named = "" if where in ("variable", "file") else " for '--env <KEY=VALUE>'"
    assert f"'***'{named}: not of the form KEY=VALUE" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_start_is_logged(fresh_server) -> None:
    fresh_server(PLAIN, "--threads", "3").wait_for_log(
        r"Starting rustwsgi \d+\.\d+\.\d+\S* \(workers: 1, threads: 3\)"
    )


# --------------------------------------------------------------------------- environment


def test_app_directory_is_importable_and_current(fresh_server) -> None:
    state = fresh_server(PLAIN).get("/").json()
    assert Path(state["cwd"]) == APPS
    assert {"", str(APPS)} & set(state["path"])


def _write_app(directory: Path, name: str, body: str) -> None:
    directory.mkdir(exist_ok=True)
    source = f"""
import os

def app(environ, start_response):
    body = ({body}).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""
    (directory / f"{name}.py").write_text(source)


BOTH = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"app"]

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"application"]
"""


def test_module_alone_serves_application_before_app(fresh_server, tmp_path: Path) -> None:
    """As in gunicorn: `app` may lack the middleware that checks who may see it."""
    (tmp_path / "wsgi.py").write_text(BOTH)
    server = fresh_server("wsgi", cwd=tmp_path)
    assert server.get("/").body == b"application"
    server.wait_for_event("app.ambiguous", "'?\"?wsgi.*application.*app")


@pytest.mark.parametrize(
    ("source", "served"),
    [
        (BOTH + "app = application", b"application"),
        (BOTH + "application = app", b"app"),
        (BOTH + "del application", b"app"),
        (BOTH + "del app", b"application"),
    ],
    ids=["same", "same-app", "app", "application"],
)
def test_module_with_one_application_is_served_without_warning(
    fresh_server, tmp_path: Path, source: str, served: bytes
) -> None:
    (tmp_path / "wsgi.py").write_text(source)
    server = fresh_server("wsgi", cwd=tmp_path)
    assert server.get("/").body == served
    assert "[WARNING]" not in server.stderr()


def test_chdir_changes_the_working_directory(fresh_server, tmp_path: Path) -> None:
    _write_app(tmp_path, "elsewhere", "os.getcwd()")
    server = fresh_server("elsewhere:app", "--chdir", str(tmp_path))
    assert Path(server.get("/").text) == tmp_path.resolve()


def test_chdir_to_a_missing_directory_is_an_error(door: str, tmp_path: Path) -> None:
    """An error of the command line is one sentence: it was a traceback."""
    path = tmp_path / "no"
    done = run_cli(door, "--chdir", str(path), "--bind", "127.0.0.1:0", PLAIN)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert "--chdir" in done.stderr and str(path) in done.stderr, done


def test_pythonpath_is_importable(fresh_server, tmp_path: Path) -> None:
    _write_app(tmp_path / "a", "module_a", "__import__('module_b').app.__module__")
    _write_app(tmp_path / "b", "module_b", "''")
    paths = f"{tmp_path / 'a'},{tmp_path / 'b'}"
    server = fresh_server("module_a:app", "--pythonpath", paths)
    assert server.get("/").body == b"module_b"


@pytest.mark.parametrize("option", ["-e", "--env"])
def test_env_sets_variables(fresh_server, option: str) -> None:
    server = fresh_server(PLAIN, option, "RW_TEST=a=b c", option, "RW_EMPTY=")
    environ = server.get("/").json()["environ"]
    assert environ["RW_TEST"] == "a=b c" and environ["RW_EMPTY"] == ""


def test_env_is_set_before_the_import(fresh_server, tmp_path: Path) -> None:
    _write_app(tmp_path, "early", "SEEN")
    with (tmp_path / "early.py").open("a") as file:
        file.write("SEEN = os.environ['RW_EARLY']\n")
    server = fresh_server("early:app", "--chdir", str(tmp_path), "-e", "RW_EARLY=yes")
    assert server.get("/").body == b"yes"


@pytest.mark.parametrize(("threads", "multithread"), [("1", False), ("4", True)])
def test_threads_option_sets_the_number_of_threads(serve, threads: str, multithread: bool) -> None:
    assert serve(PLAIN, "--threads", threads).get("/").json()["multithread"] is multithread


@pytest.mark.parametrize("options, frozen", [([], True), (["--no-gc-freeze"], False)])
def test_imported_objects_are_frozen(fresh_server, options: list[str], frozen: bool) -> None:
    """The garbage collector need not scan objects that live until the exit."""
    server = fresh_server("http_cli:frozen", *options)
    assert (int(server.get("/").body) > 0) is frozen


@pytest.mark.parametrize("pattern", ["", "(", r"\y"])
def test_access_log_exclude_that_is_no_regular_expression_is_an_error(
    door: str, pattern: str
) -> None:
    done = run_cli(door, "--access-log-exclude", pattern, "http_cli:app")
    assert done.returncode == 2 and "--access-log-exclude" in done.stderr, done
    assert len(done.stderr.splitlines()) <= 3, done
