"""What gunicorn's users bring along: every flag of its command line and every setting of its files.

Each is an option here, or is accepted with a line that says why it has no effect, or ends the start with
what to use instead. `gunicorn_settings.py` has the tables; a test compares them with the list of
`gunicorn.config.KNOWN_SETTINGS`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import APPS, ROOT, run_cli
from harness.gunicorn_settings import (
    ALONE,
    ALWAYS,
    APP,
    HONOURED,
    HOOKS,
    IGNORED,
    KNOWN_SETTINGS,
    NO_HOOKS,
    REFUSED,
    line,
    write,
)


def test_every_gunicorn_setting_is_classified() -> None:
    tables = [HONOURED, ALONE - {"config"}, IGNORED, ALWAYS, REFUSED, HOOKS, NO_HOOKS]
    assert sorted(name for table in tables for name in table) == sorted(KNOWN_SETTINGS)


def test_tables_name_only_gunicorn_settings() -> None:
    """Where gunicorn 27.0 is installed, the list is compared with its own."""
    gunicorn = pytest.importorskip("gunicorn")
    if gunicorn.version_info[:2] == (27, 0):
        from gunicorn.config import KNOWN_SETTINGS as known

        assert [setting.name for setting in known] == KNOWN_SETTINGS


def test_migration_page_names_every_setting() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    table = page.partition("\n## gunicorn's settings\n")[2].partition("\n## ")[0]
    for name in set(KNOWN_SETTINGS) - HOOKS - {"pre_exec"}:
        # At the beginning of a cell, or in a list of those that share what is said of them.
        assert len(re.findall(rf"(?m)^\|(?: `[^|]*,)? `{name}`", table)) == 1, name


def test_honoured_setting_on_the_command_line_is_applied(door: str) -> None:
    arguments = [argument for row in HONOURED.values() for argument in row[0]]
    done = run_cli(door, *arguments, APP)
    assert done.returncode == 0 and "no effect" not in done.stderr, done
    for name, (_, _, shown) in HONOURED.items():
        assert shown in done.stdout.splitlines(), name
    done = run_cli(door, "--threads", "7", "--check-config", APP)
    assert done.returncode == 0, done


def test_honoured_setting_in_a_file_is_applied(door: str, tmp_path: Path) -> None:
    path = write(tmp_path, "".join(line(name, row[1]) for name, row in HONOURED.items()))
    done = run_cli(door, "-c", str(path))
    assert done.returncode == 0 and "no effect" not in done.stderr, done
    for name, (_, _, shown) in HONOURED.items():
        assert shown in done.stdout.splitlines(), name
    path = write(tmp_path, "threads = 7\ncheck_config = True\n")
    done = run_cli(door, "-c", str(path), "--print-config", APP)
    assert done.returncode == 0 and "threads = 7" in done.stdout, done


def test_ignored_setting_on_the_command_line_is_reported(door: str) -> None:
    arguments = [argument for row in IGNORED.values() for argument in row[0]]
    done = run_cli(door, *arguments, "--print-config", APP)
    assert done.returncode == 0, done
    warnings = [text for text in done.stderr.splitlines() if "[WARNING]" in text]
    for name, (given, _) in IGNORED.items():
        flag = "--enable-stdio-inheritance" if given == ["-R"] else (given or [None])[0]
        mine = [text for text in warnings if f"] {flag} has no effect: " in text]
        assert len(mine) == (flag is not None), (name, done.stderr)
    assert len(warnings) == sum(bool(given) for given, _ in IGNORED.values())


def test_ignored_setting_in_a_file_is_reported(door: str, tmp_path: Path) -> None:
    path = write(tmp_path, "".join(line(name, row[1]) for name, row in IGNORED.items()))
    done = run_cli(door, "-c", str(path), "--print-config", APP)
    assert done.returncode == 0, done
    warnings = [text for text in done.stderr.splitlines() if "[WARNING]" in text]
    for name in IGNORED:
        said = f"{path}: setting '{name}' has no effect: "
        assert sum(said in text for text in warnings) == 1, (name, done.stderr)
    assert len(warnings) == len(IGNORED)


def test_setting_that_always_holds_is_not_reported(door: str, tmp_path: Path) -> None:
    path = write(tmp_path, "".join(line(name, row[1]) for name, row in ALWAYS.items()))
    arguments = [argument for row in ALWAYS.values() for argument in row[0]]
    done = run_cli(door, "-c", str(path), *arguments, "--print-config", APP)
    assert done.returncode == 0 and done.stderr == "", done


@pytest.mark.parametrize("name", REFUSED)
def test_refused_setting_is_an_error(door: str, tmp_path: Path, name: str) -> None:
    given, value, said = REFUSED[name]
    path = write(tmp_path, line(name, value))
    done = run_cli(door, "-c", str(path), APP)
    assert done.returncode == 2 and said in done.stderr, done
    assert done.stderr.startswith(f"error: {path}: setting '{name}' is not supported: "), done
    if given:
        done = run_cli(door, *given, APP)
        assert done.returncode == 2 and said in done.stderr, done
        assert done.stderr.startswith(f"error: {given[0]} is not supported: "), done


def test_default_values_are_not_reported(door: str, tmp_path: Path) -> None:
    """The file sets what is the default of gunicorn, too."""
    defaults = """
    sendfile = None; spew = False; certfile = None; protocol = "http"; proxy_protocol = False
    accesslog = ""; pidfile = ""; user = ""; raw_env = []; bind = None; forwarded_allow_ips = ""
    dirty_workers = 0; dirty_apps = []; logconfig_dict = {}; http_protocols = "h1"; paste = None
    logger_class = "gunicorn.glogging.Logger"; control_socket_mode = 0o600; reload_engine = "auto"
    secure_scheme_headers = {
        "X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}
    """
    path = write(tmp_path, "\n".join(text.strip() for text in defaults.splitlines()))
    given = ["--protocol", "http", "--proxy-protocol=off", "--dirty-workers", "0"]
    done = run_cli(door, "-c", str(path), *given, "--print-config", APP)
    assert done.returncode == 0 and done.stderr == "", done
    assert "forwarded_allow_ips = []" in done.stdout or 'forwarded_allow_ips = [""]' in done.stdout


@pytest.mark.parametrize("name", sorted(NO_HOOKS | HOOKS))
def test_hook_is_called_or_reported(door: str, tmp_path: Path, name: str) -> None:
    from rustwsgi._gunicorn import HOOKS as called

    assert not NO_HOOKS & set(called)
    path = write(tmp_path, f"def {name}(*args): ...\n")
    done = run_cli(door, "-c", str(path), "--print-config", APP)
    reported = f"setting '{name}' has no effect: " in done.stderr
    assert done.returncode == 0 and reported is (name not in called), done


@pytest.mark.parametrize("line", ["import gunicorn", "from gunicorn.glogging import Logger"])
def test_import_of_gunicorn_that_is_not_installed_gets_a_hint(
    door: str, tmp_path: Path, line: str
) -> None:
    # Hides gunicorn where it is installed.
    hide = "import sys; sys.modules.pop('gunicorn', None); sys.path[:] = [p for p in sys.path if "
    hide += "'site-packages' not in p]\n"
    path = write(tmp_path, f"{hide}{line}\nworkers = 2\n")
    done = run_cli(door, "-c", str(path), APP)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert f"{path} imports gunicorn, which is not installed" in done.stderr
    assert "pip install gunicorn" in done.stderr


def test_import_that_fails_in_a_configuration_has_its_traceback(door: str, tmp_path: Path) -> None:
    path = write(tmp_path, "import no_such_module\n")
    done = run_cli(door, "-c", str(path), APP)
    assert done.returncode == 2 and "Traceback" in done.stderr, done


# ---------------------------------------------------------------- ./gunicorn.conf.py


def test_gunicorn_configuration_is_found_by_its_default_name(fresh_server, tmp_path: Path) -> None:
    write(
        tmp_path, f"bind = '127.0.0.1:0'\nwsgi_app = '{APP}'\npythonpath = '{APPS}'\nworkers = 2\n"
    )
    server = fresh_server(None, bind=None, cwd=tmp_path)
    server.wait_for_event("server.starting", r"\(workers: 2, threads: 4\)")
    server.wait_for_event("config.files", r" gunicorn\.conf\.py$")
    assert server.get("/").status == 200


def test_rustwsgi_file_replaces_the_gunicorn_configuration(door: str, tmp_path: Path) -> None:
    write(tmp_path, "workers = 2\nthreads = 9\n")
    (tmp_path / "rustwsgi.toml").write_text("workers = 3\n")
    done = run_cli(door, "--print-config", cwd=tmp_path)
    assert "workers = 3\n" in done.stdout and "threads = 4\n" in done.stdout, done
    assert "gunicorn.conf.py is not read, as there is rustwsgi.toml" in done.stderr
    done = run_cli(door, "-c", "gunicorn.conf.py", "--print-config", cwd=tmp_path)
    assert "workers = 2\n" in done.stdout and "threads = 9\n" in done.stdout, done


def test_named_file_replaces_the_gunicorn_configuration(door: str, tmp_path: Path) -> None:
    write(tmp_path, "1 / 0\n")
    (tmp_path / "other.py").write_text("workers = 3\n")
    done = run_cli(door, "-c", "other.py", "--print-config", cwd=tmp_path)
    assert done.returncode == 0 and "workers = 3\n" in done.stdout, done
    done = run_cli(door, "--print-config", cwd=tmp_path)
    assert done.returncode == 2 and "ZeroDivisionError" in done.stderr, done


@pytest.mark.parametrize(
    ("value", "scheme"), [("'127.0.0.1,10.0.0.1'", "https"), ("'10.0.0.1'", "http")]
)
def test_forwarded_allow_ips_is_passed_on(
    fresh_server, tmp_path: Path, value: str, scheme: str
) -> None:
    path = write(tmp_path, f"forwarded_allow_ips = {value}\n")
    server = fresh_server("echo:app", "-c", str(path))
    state = server.get("/", fields=[("X-Forwarded-Proto", "https")]).json()
    assert state["environ"]["wsgi.url_scheme"] == scheme


def test_forwarded_allow_ips_of_the_environment_is_a_default(
    fresh_server, door: str, tmp_path: Path
) -> None:
    """A file that names the proxies says which ones to trust; the variable must not add to it."""
    env = {"FORWARDED_ALLOW_IPS": "*"}
    path = write(tmp_path, "forwarded_allow_ips = '10.0.0.1'\n")
    server = fresh_server("echo:app", "-c", str(path), env=env)
    state = server.get("/", fields=[("X-Forwarded-Proto", "https")]).json()
    assert state["environ"]["wsgi.url_scheme"] == "http"
    env["GUNICORN_CMD_ARGS"] = "--forwarded-allow-ips 10.0.0.2"
    done = run_cli(door, "--print-config", APP, env=env)
    assert 'forwarded_allow_ips = ["10.0.0.2"]' in done.stdout.splitlines(), done


# ---------------------------------------------------------------- -c, as gunicorn takes it


@pytest.mark.parametrize("named", ["gunicorn.conf.py", "gunicorn_config", "python:conf.server"])
def test_configuration_imports_modules_beside_it(door: str, tmp_path: Path, named: str) -> None:
    """Whatever the file is called, except *.toml; it is the module __config__, or the one that is
    named."""
    (tmp_path / "shared.py").write_text("WORKERS = 3\n")
    (tmp_path / "conf").mkdir()
    path = tmp_path / named.replace("python:conf.server", "conf/server.py")
    path.write_text(
        "import sys, shared\nassert sys.modules[__name__].shared is shared\n"
        "workers = shared.WORKERS\nproc_name = __name__\n"
    )
    done = run_cli(door, "-c", named, "--print-config", cwd=tmp_path)
    assert done.returncode == 0 and "workers = 3" in done.stdout.splitlines(), done
    name = "conf.server" if ":" in named else "__config__"
    assert f'name = "{name}"' in done.stdout.splitlines(), done


def test_toml_file_under_another_name_is_an_error(door: str, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("[a]\nworkers = 3\n")
    done = run_cli(door, "-c", "app.conf", APP, cwd=tmp_path)
    assert done.returncode == 2, done
    assert "app.conf was read as Python, as its name does not end in .toml" in done.stderr


def test_out_of_range_value_is_clamped_as_by_gunicorn(door: str) -> None:
    given = ["--limit-request-fields", "40000", "--threads", "0"]
    done = run_cli(door, *given, "--print-config", APP)
    shown = done.stdout.splitlines()
    assert "limit_request_fields = 32768" in shown and "threads = 1" in shown, done


def test_gunicorn_cmd_args_has_no_comments(door: str) -> None:
    """As Python's shlex.split() has it."""
    env = {"GUNICORN_CMD_ARGS": "--name #1 --workers 3"}
    done = run_cli(door, "--print-config", APP, env=env)
    shown = done.stdout.splitlines()
    assert 'name = "#1"' in shown and "workers = 3" in shown, done


def test_unknown_access_log_atoms_are_dashes(fresh_server) -> None:
    options = ["--access-logfile", "-", "--access-logformat", "%(m)s [%(x)s] [%({a}z)s]"]
    server = fresh_server("echo:app", *options)
    server.wait_for_event("config.warning", r"%\(x\)s, %\({a}z\)s")
    assert server.get("/").status == 200
    server.wait_for_stdout(r"GET \[-\] \[-\]")


def test_gunicorn_cmd_args_is_read(door: str, tmp_path: Path) -> None:
    """It overrides files, and the command line and RUSTWSGI_* override it."""
    write(tmp_path, "workers = 5\nthreads = 5\nbacklog = 5\ntimeout = 5\n")
    env = {"GUNICORN_CMD_ARGS": "--workers 2 --threads=2 --timeout 2 --name 'a b' --spew"}
    env["RUSTWSGI_THREADS"] = "3"
    done = run_cli(door, "-t", "4", "--print-config", APP, cwd=tmp_path, env=env)
    for shown in ("workers = 2", "threads = 3", "timeout = 4", "backlog = 5", 'name = "a b"'):
        assert shown in done.stdout.splitlines(), done
    assert "--spew has no effect" in done.stderr


def test_mistake_in_gunicorn_cmd_args_is_reported(door: str) -> None:
    env = {"GUNICORN_CMD_ARGS": "--workers many"}
    done = run_cli(door, APP, env=env)
    assert done.returncode == 2 and "variable GUNICORN_CMD_ARGS: invalid value" in done.stderr, done


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("accesslog", "the option is called 'access_logfile' here"),
        ("wsgi_app", "the option is called 'app' here"),
        ("spew", "tracing is not supported"),
        ("ciphers", "the cipher suites are those"),
    ],
)
def test_gunicorn_name_in_a_rustwsgi_file_is_corrected(
    door: str, tmp_path: Path, option: str, said: str
) -> None:
    (tmp_path / "rustwsgi.toml").write_text(f"{option} = 'x'\n")
    done = run_cli(door, APP, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr, done


def test_version_short_flag_is_accepted(door: str) -> None:
    assert run_cli(door, "-v").stdout == run_cli(door, "--version").stdout != ""


def test_header_map_dangerous_is_refused(door: str) -> None:
    done = run_cli(door, "--header-map", "dangerous", APP)
    assert done.returncode == 2 and "use drop or refuse" in done.stderr, done
