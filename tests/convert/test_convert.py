"""`rustwsgi convert`: its formats, its errors, and sources that are not what they seem."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import ROOT, run_cli
from harness.conversions import call, value, values

pytestmark = pytest.mark.second_door("no case")


def convert(directory: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = call("convert", *arguments, cwd=directory, env=env)
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.second_door("every case")
def test_result_is_read_by_the_server(door: str, tmp_path: Path) -> None:
    """The whole way: convert, save, and print the settings."""
    (tmp_path / "uwsgi.ini").write_text(
        "[uwsgi]\nmodule = hello:app\nhttp = :8000\nprocesses = 3\n"
    )
    done = run_cli(door, "convert", "uwsgi.ini", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done
    (tmp_path / "rustwsgi.toml").write_text(done.stdout)
    done = run_cli(door, "--print-config", cwd=tmp_path)
    assert done.returncode == 0 and "workers = 3\n" in done.stdout, done
    assert 'bind = ["0.0.0.0:8000"]' in done.stdout


@pytest.mark.second_door("every case")
def test_gunicorn_file_is_executed_and_its_output_kept_apart(door: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "print('noise')\nworkers = 1 + 1\nwsgi_app = 'a:b'\n"
    )
    done = run_cli(door, "convert", "gunicorn.conf.py", cwd=tmp_path)
    assert done.returncode == 0 and "noise" not in done.stdout and "noise" in done.stderr, done
    assert "workers = 2\n" in done.stdout


#: Commands, and lines of their results.
COMMANDS = [
    ("gunicorn -w 4 app:app", ["workers = 4", 'app = "app:app"', "threads = 1"]),
    (
        "gunicorn --backl 64 -b unix:/run/a.sock -b :80 a:b",
        ["backlog = 64", 'bind = ["unix:/run/a.sock", ":80"]'],
    ),
    ("gunicorn -k egg:meinheld#gunicorn_worker a", ["threads = 100"]),
    ("gunicorn --umask 18 --no-such 3 a", ['umask = "022"', "# --no-such"]),
    ("python3 -m gunicorn -m 022 a", ['umask = "022"']),
    ("poetry run gunicorn -e A=1 -e B=2 a:c", ['env = ["A=1", "B=2"]']),
    ("A=1 exec /opt/venv/bin/gunicorn a:c > log 2>&1", ['env = ["A=1"]', 'app = "a:c"']),
    ("gunicorn --paste p.ini", ["p.ini"]),
    ("waitress-serve --listen=*:8080 --threads=6 hello:app", ['bind = [":8080"]', "threads = 6"]),
    ("waitress-serve --call hello:create_app", ['app = "hello:create_app()"', 'bind = [":8080"]']),
    ("waitress-serve --host ::1 --port 90 a:b", ['bind = ["[::1]:90"]']),
    (
        "waitress-serve --unix-socket=/run/w.sock --unix-socket-perms=660 a:b",
        ['bind = ["unix:/run/w.sock"]', 'umask = "007"'],
    ),
    (
        "waitress-serve --url-prefix=/shop --trusted-proxy=10.0.0.1 "
        "--trusted-proxy-headers='x-forwarded-for x-forwarded-proto' --ident=x a:b",
        [
            'env = ["SCRIPT_NAME=/shop"]',
            'forwarded_headers = ["for", "proto"]',
            'forwarded_allow_ips = ["10.0.0.1"]',
            "# --ident x",
        ],
    ),
    ("waitress-serve --no-expose-tracebacks --what a:b", ["# --what", 'app = "a:b"']),
    (
        "mod_wsgi-express start-server site/wsgi.py --port 8001 --processes 2 --threads 9 "
        "--user nobody --url-alias /static assets --setenv MODE live --log-to-terminal "
        "--access-log --reload-on-changes --enable-debugger",
        [
            'app = "site.wsgi:application"',
            'bind = [":8001"]',
            "workers = 2",
            "threads = 9",
            'static = ["/static=assets"]',
            'env = ["MODE=live"]',
            'access_logfile = "-"',
            "reload = true",
            "# --enable-debugger",
        ],
    ),
    (
        "mod_wsgi-express start-server --application-type module shop.wsgi --https-port 8443 "
        "--https-only --ssl-certificate certs/site --mount-point /shop --log-level warn",
        [
            'app = "shop.wsgi:application"',
            'redirect_bind = [":8000"]',
            'certfile = ["certs/site.crt"]',
            'log_level = "warning"',
            'env = ["SCRIPT_NAME=/shop"]',
            "threads = 5",
        ],
    ),
    (
        "uwsgi --http-socket :9000 --wsgi-file foo.py --callable app -M -p 4 --chmod-socket "
        "--need-app --static-map /s=/tmp",
        ['bind = [":9000"]', 'app = "foo:app"', "workers = 4", 'static = ["/s=/tmp"]'],
    ),
]


@pytest.mark.parametrize(("command", "lines"), COMMANDS)
def test_command_is_converted(tmp_path: Path, command: str, lines: list[str]) -> None:
    text = convert(tmp_path, "--", command)
    for line in lines:
        assert line in text, text


def test_command_includes_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("workers = 2\nthreads = 3\ntimeout = 9\n")
    text = convert(tmp_path, "--", "gunicorn", "-c", "conf.py", "-w", "7", "a:b")
    assert "workers = 7" in text and "threads = 3" in text and "timeout = 9" in text


def test_format_is_found_by_content(tmp_path: Path) -> None:
    """And `--from` overrides it."""
    (tmp_path / "site.conf").write_text("[uwsgi]\nmodule = a:b\n")
    assert value(convert(tmp_path, "site.conf"), "app") == "a:b"
    (tmp_path / "run").write_text("#!/bin/sh\nexec gunicorn --bind :1 a:b\n")
    assert values(convert(tmp_path, "run"), "bind") == [":1"]
    (tmp_path / "odd").write_text("workers = 2\nwsgi_app = 'x:y'\n")
    assert value(convert(tmp_path, "--from", "gunicorn", "odd"), "app") == "x:y"
    assert value(convert(tmp_path, "odd", "--from=gunicorn"), "app") == "x:y"


def test_variable_of_the_environment_is_inserted(tmp_path: Path) -> None:
    """But not PORT, which the server reads itself at each start."""
    (tmp_path / "u.ini").write_text("[uwsgi]\nhttp = :$(PORT)\nprocesses = $(N)\nmodule = a\n")
    text = convert(tmp_path, "u.ini", env={"N": "5", "PORT": "80"})
    assert "workers = 5" in text and "\nbind" not in text and "$(N) was replaced" in text


def test_formula_of_placeholders_is_calculated(tmp_path: Path) -> None:
    """From left to right, with joined texts, as uWSGI does."""
    (tmp_path / "u.ini").write_text(
        "[uwsgi]\nmodule = a:b\nbase = 3\nprocesses = %(base + 2 * 4)\nthreads = %(base 0 ++)\n"
        "listen = %(%k - %k / 5 + 64)\nmax-requests = %(2 - 9 / 2 + 10)\nharakiri = %(base / 0)\nlog-format = %(addr) %(no such)\n"
    )
    text = convert(tmp_path, "u.ini")
    for line in ("workers = 20", "threads = 31", "backlog = 64", "max_requests = 7"):
        assert f"\n{line}\n" in text, text
    assert "# harakiri = %(base / 0)" in text and "%(no such)" in text
    assert "# base = 3" not in text


@pytest.mark.parametrize("lines", ["a = %(a + 1)", "a = %(b + 1)\nb = %(a + 1)"])
def test_formula_that_needs_itself_stays_text(tmp_path: Path, lines: str) -> None:
    (tmp_path / "u.ini").write_text(f"[uwsgi]\nmodule = a:b\n{lines}\nharakiri = %(a + 1)\n")
    text = convert(tmp_path, "u.ini")
    assert value(text, "app") == "a:b" and "# harakiri = " in text


XML = """<?xml version="1.0"?>
<all><uwsgi id="one"><module>a:b</module></uwsgi><uwsgi id="two"><module>c:d</module></uwsgi></all>
"""


def test_element_of_xml_is_chosen_as_by_uwsgi(tmp_path: Path) -> None:
    (tmp_path / "root.xml").write_text('<uwsgi id="site"><module>a:b</module></uwsgi>')
    (tmp_path / "all.xml").write_text(XML)
    for name, app in [("root.xml", "a:b"), ("all.xml", "a:b"), ("all.xml:two", "c:d")]:
        assert value(convert(tmp_path, "--", "uwsgi", "--xml", name), "app") == app


def test_default_of_a_variable_that_the_server_reads_is_remarked(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("web: gunicorn -w ${WEB_CONCURRENCY:-7} -b :$PORT a:b\n")
    text = convert(tmp_path, "Procfile")
    assert "Set $WEB_CONCURRENCY: without it the command used 7" in text
    assert "Set $PORT" not in text


def test_values_with_special_characters_stay_values(door: str, tmp_path: Path) -> None:
    """Neither a string nor a comment of the result can be left by a value of the source."""
    (tmp_path / "u.ini").write_bytes(
        b'[uwsgi]\nmodule = a:b\nenv = A=quote" back\\slash\nenv = B=tab\there\x1b[0m\n'
        b"route = x\x0by\xc2\x85workers = 99\nprocname = \xc3\xa9\n"
    )
    text = convert(tmp_path, "u.ini")
    (tmp_path / "rustwsgi.toml").write_text(text)
    done = run_cli(door, "--print-config", cwd=tmp_path)
    assert done.returncode == 0 and "workers = 1\n" in done.stdout, (text, done)
    assert 'name = "é"' in done.stdout and "\x1b" not in text


def test_value_that_the_server_rejects_becomes_a_comment(door: str, tmp_path: Path) -> None:
    (tmp_path / "u.ini").write_text(
        "[uwsgi]\nmodule = a:b\nprocesses = many\nharakiri = -1\nhttp = nowhere:http\numask = 999\n"
    )
    text = convert(tmp_path, "u.ini")
    for line in ("# processes = many", "# harakiri = -1", "# http = nowhere:http", "# umask = 999"):
        assert line in text, text
    (tmp_path / "rustwsgi.toml").write_text(text)
    assert run_cli(door, "--print-config", cwd=tmp_path).returncode == 0


#: Files that cannot be converted, and what is said about them.
INVALID = [
    ("empty.ini", "", "cannot find out the format of empty.ini: name it with --from"),
    ("uwsgi.ini", "[other]\nmodule = a\n", "cannot find out the format"),
    ("loop.ini", "[uwsgi]\nini = loop.ini\n", "include each other"),
    ("gone.ini", "[uwsgi]\nini = gone/x.ini\n", "does not exist"),
    ("bad.xml", "<uwsgi><module>a</uwsgi>", "bad.xml is not XML"),
    ("bad.json", '{"uwsgi": {"module": }', "bad.json is not JSON"),
    ("bad.yaml", "uwsgi:\n  module: a\n  ? b\n", "bad.yaml: line 3 is not"),
    ("bad.py", "workers = \n", "cannot execute bad.py: line 1: SyntaxError"),
    ("raises.py", "import os\n1 / 0\n", "cannot execute raises.py: line 2: ZeroDivisionError"),
    ("exits.py", "raise SystemExit(0)\n", "cannot execute exits.py: it exits"),
    (
        "missing.py",
        "import gunicorn_x_y\n",
        "cannot execute missing.py: line 1: ModuleNotFoundError",
    ),
    ("Procfile", "web: node server.js\n", "Procfile has no command of a known server"),
    ("x.service", "[Service]\nExecStart=/bin/true\n", "x.service has no command"),
    ("rustwsgi.toml", "app = 'a'\n", "is a TOML file"),
    ("paste.ini", "[server:main]\nuse = egg:waitress\n", "paste.ini is a file of PasteDeploy"),
]


@pytest.mark.parametrize(("name", "text", "said"), INVALID)
def test_invalid_file_is_an_error(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    done = call("convert", name, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "", done
    assert done.stderr.startswith("error: ") and said in done.stderr, done
    assert "Traceback" not in done.stderr, done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name the file to convert"),
        (["--from"], "is not one of uwsgi, gunicorn"),
        (["--from", "apache", "x"], "'apache' is not one of"),
        (["--form", "uwsgi"], "unknown option --form"),
        (["no-such-file"], "no-such-file does not exist"),
        (["."], ". is not a file"),
        (["--"], "name the file to convert"),
        (["--", "nginx", "-t"], "'nginx -t' is not the command of a known server"),
        (["--from", "waitress", "x.py"], "x.py does not exist"),
        (["binary"], "binary is not text"),
    ],
)
def test_invalid_arguments_are_an_error(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    done = call("convert", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done


@pytest.mark.second_door("every case")
@pytest.mark.parametrize("command", ["convert", "init"])
def test_help_is_printed(door: str, command: str) -> None:
    done = run_cli(door, command, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"Usage: rustwsgi {command} "), done
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_module_of_the_name_is_served_with_its_attribute(door: str, tmp_path: Path) -> None:
    (tmp_path / "convert.py").write_text("def app(environ, start_response): ...\n")
    done = run_cli(door, "convert:app", "--check-config", cwd=tmp_path)
    assert done.returncode == 0, done


def test_binary_contains_every_module() -> None:
    """The standalone binary imports them without an installed wheel."""
    source = (ROOT / "src" / "bin" / "rustwsgi.rs").read_text(encoding="utf-8")
    for package in ("convert", "init"):
        for path in (ROOT / "python" / "rustwsgi" / package).glob("*.py"):
            assert f"python/rustwsgi/{package}/{path.name}" in source, path


def test_every_option_that_replaces_one_of_uwsgi_is_converted() -> None:
    """The table of options names them for the error messages; `convert` knows how values change."""
    from rustwsgi._options import options
    from rustwsgi.convert.uwsgi_rules import ORDERED, RENAMED, RULES

    known = {*ORDERED.split(), *RENAMED, *RULES}
    named = {name.replace("_", "-") for option in options().values() for name in option.uwsgi}
    assert named <= known, named - known


def test_targets_of_all_tables_are_options() -> None:
    from rustwsgi._options import options
    from rustwsgi.convert import mod_wsgi, waitress
    from rustwsgi.convert.uwsgi_rules import RENAMED

    targets = {*RENAMED.values()}
    for table in (waitress.TABLE, mod_wsgi.TABLE):
        targets |= {row.name for row in table.values() if row.name}
    assert targets <= set(options()), targets - set(options())
