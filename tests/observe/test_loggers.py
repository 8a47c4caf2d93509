"""gunicorn's loggers, `gunicorn.error` and `gunicorn.access`, as applications use them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\]"


def app(kind: str) -> str:
    return f"loggers:make({kind!r})"


def error_lines(server) -> list[str]:
    """The lines of the application, without the time and the pid."""
    pattern = rf"^{STAMP} \[\d+\] \[app\.message\] (.*)"
    return re.findall(pattern, server.stderr(), re.MULTILINE)


def access_lines(fresh_server, tmp_path: Path, kind: str, *args: str) -> tuple[list[str], str]:
    """The lines of the access log after four requests, and the error log. With one thread, as a
    client gets its response before a slow filter or handler returns."""
    path = tmp_path / "access.log"
    args = ("--access-logformat", "%(r)s %(s)s", "--threads", "1", *args)
    server = fresh_server(app(kind), "--access-logfile", str(path), *args)
    for target in ("/healthz", "/a?secret", "/healthz/broken", "/b"):
        server.get(target, fields=[("X-Id", "7"), ("Referer", 'a"\\\xff')])
    assert server.stop() == 0
    return path.read_text(encoding="utf-8").splitlines(), server.stderr()


ALL = [
    "GET /healthz HTTP/1.1 200",
    "GET /a?secret HTTP/1.1 200",
    "GET /healthz/broken HTTP/1.1 503",
    "GET /b HTTP/1.1 200",
]


def test_server_imports_no_logging_for_an_application_that_does_not(fresh_server) -> None:
    """`logging`, and what it imports, takes a MiB and half of a worker's start."""
    listed = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    always = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    names = fresh_server("modules:app").get("/").body.decode().split()
    assert "rustwsgi._logger_hook" in names
    needless = {"logging", "traceback", "typing", "re", "enum", "inspect", "signal"}
    assert not (needless & set(names)) - set(always)


def test_loggers_are_set_up_beside_a_finder_that_has_no_find_spec(
    fresh_server, tmp_path: Path
) -> None:
    """The import system accepts such a finder: before PEP 451 it was asked with `find_module`."""
    (tmp_path / "old_finder.py").write_text(
        "import sys\n"
        "class OldFinder:\n"
        "    def find_module(self, name, path=None):\n"
        "        return None\n"
        "sys.meta_path.insert(1, OldFinder())\n"
        "import logging\n"
        "logging.getLogger('gunicorn.error').warning('set up')\n"
        "def app(environ, start_response):\n"
        "    start_response('204 No Content', [])\n"
        "    return []\n"
    )
    server = fresh_server("old_finder:app", "--app-dir", str(tmp_path))
    assert server.get("/").status == 204
    assert error_lines(server) == ["[WARNING] set up"]


# ---------------------------------------------------------------- gunicorn.error


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_application_with_the_handlers_of_gunicorn_error_logs_to_the_error_log(
    fresh_server, preload: list[str]
) -> None:
    """The recipe `app.logger.handlers = logging.getLogger("gunicorn.error").handlers`, which left an
    application without a log."""
    server = fresh_server(app("recipe"), *preload)
    # Until then the master holds the INFO lines of its start back, and a worker may serve already.
    server.wait_for_event("server.ready")
    server.get("/log")
    server.wait_for_event("app.message", "critical line")
    assert error_lines(server) == [
        "[INFO] imported at level 20",
        "[INFO] info line",
        "[WARNING] warning line",
        "[CRITICAL] critical line",
    ]
    # The rest of a message cannot pass for a line of the server.
    assert "\n [2026-01-01 00:00:00 +0000] [1] [CRITICAL] forged\n" in server.stderr()


def test_level_of_gunicorn_error_is_log_level(fresh_server) -> None:
    server = fresh_server(app("recipe"), "--log-level", "debug")
    server.get("/log")
    server.wait_for_event("app.message", "critical line")
    assert error_lines(server)[:2] == ["[INFO] imported at level 10", "[DEBUG] debug line"]


def test_level_of_the_application_decides_about_its_lines(fresh_server) -> None:
    """As with gunicorn, whose handlers have no level."""
    server = fresh_server(app("own_level"))
    server.get("/log")
    server.wait_for_event("app.message", "critical line")
    assert "[DEBUG] debug line" in error_lines(server)


def test_level_of_any_name_cannot_end_its_bracket(fresh_server) -> None:
    server = fresh_server(app("recipe"))
    server.get("/level")
    server.wait_for_event("app.message", "forged")
    assert error_lines(server)[1:] == ["[Level 35] between the levels", "[INFO] forged"]


def test_exception_is_logged_with_its_traceback(fresh_server) -> None:
    server = fresh_server(app("recipe"))
    server.get("/exception")
    server.wait_for_log(r"^ValueError: in the application$")
    assert r"[ERROR] failed \udcff" in error_lines(server)


def test_formatter_of_the_application_makes_the_whole_line(fresh_server) -> None:
    server = fresh_server(app("own_formatter"))
    server.get("/log")
    server.wait_for_log(r"^shop: info line$")


# ---------------------------------------------------------------- gunicorn.access


@pytest.mark.parametrize("kind", ["quiet", "handler_filter"])
def test_filter_leaves_out_lines(fresh_server, tmp_path: Path, kind: str) -> None:
    lines, log = access_lines(fresh_server, tmp_path, kind)
    assert lines == [ALL[1], ALL[3]]
    assert "[ERROR]" not in log


def test_filter_can_change_the_atoms(fresh_server, tmp_path: Path) -> None:
    lines, _ = access_lines(fresh_server, tmp_path, "redact")
    assert lines == ["GET /healthz HTTP/1.1 200", "GET /a 200", *ALL[2:]]


def test_filter_gets_gunicorns_atoms(fresh_server, tmp_path: Path) -> None:
    lines, _ = access_lines(fresh_server, tmp_path, "show_atoms")
    assert lines[1] == (
        "h='127.0.0.1' l='-' u='-' r='GET /a?secret HTTP/1.1' s='200' m='GET' U='/a' q='secret' "
        r"H='HTTP/1.1' b='2' B=2 f='a\\x22\\x5C\\xFF' a='-' "
        "{X-Id}i='7' {content-type}o='text/plain' {X-No}i='-' nothing='-' "
        "['str', 'int', 'int', 'int', 'str', 'str'] INFO gunicorn.access"
    )


def test_filter_sees_the_lines_of_the_json_format(fresh_server, tmp_path: Path) -> None:
    lines, _ = access_lines(fresh_server, tmp_path, "quiet", "--access-logformat", "json")
    assert len(lines) == 2 and '"target":"/b"' in lines[1], lines


def test_line_is_logged_if_a_filter_raises(fresh_server, tmp_path: Path) -> None:
    """The failure is reported once."""
    lines, log = access_lines(fresh_server, tmp_path, "failing")
    assert lines == ALL
    assert log.count("[accesslog.filter_failed]") == log.count("ValueError: no such filter") == 1


def test_filter_sees_the_context_of_its_request(fresh_server, tmp_path: Path) -> None:
    """Filters add a request id from a context variable, which they found unset."""
    lines, _ = access_lines(fresh_server, tmp_path, "by_context")
    assert [line.removesuffix(" 200") for line in lines] == [
        "/healthz id of /healthz",
        "/a id of /a",
        "/healthz/broken id of /healthz/broken 503",
        "/b -",
    ]


def test_line_is_logged_once_if_a_second_handler_raises(fresh_server, tmp_path: Path) -> None:
    """The line came a second time, for each request."""
    lines, log = access_lines(fresh_server, tmp_path, "failing_handler")
    assert lines == ALL
    assert log.count("[accesslog.filter_failed]") == 1


def test_filter_that_waits_is_interrupted_at_the_timeout(fresh_server, tmp_path: Path) -> None:
    """It held its thread for good, and the heartbeat did not see that."""
    lines, log = access_lines(fresh_server, tmp_path, "stuck", "--timeout", "2")
    assert lines == ALL
    assert "[request.interrupted]" in log and "RequestTimeout" in log


def test_client_does_not_wait_for_a_filter(fresh_server) -> None:
    """The response was sent after the filter had returned."""
    server = fresh_server(app("waiting"), "--access-logfile", "-", "--threads", "2")
    assert server.get("/a").body == b"ok"
    assert server.get("/release").body == b"ok"
    server.wait_for_stdout("GET /release")
    server.wait_for_stdout("GET /a")


def test_filter_that_a_request_sets_applies_to_its_own_line(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    server = fresh_server(
        app("recipe"), "--access-logfile", str(path), "--access-logformat", "%(U)s"
    )
    for target in ("/a", "/quiet", "/b"):
        server.get(target)
    assert server.stop() == 0
    assert path.read_text().splitlines() == ["/a", "/b"]


def test_handler_of_the_application_gets_the_lines_as_well(fresh_server, tmp_path: Path) -> None:
    lines, log = access_lines(fresh_server, tmp_path, "second_handler")
    assert lines == ALL
    assert all(f"[WARNING] seen: {line}\n" in log for line in ALL)


def test_handler_of_the_application_replaces_that_of_the_server(
    fresh_server, tmp_path: Path
) -> None:
    lines, log = access_lines(fresh_server, tmp_path, "other_handler")
    assert lines == [] and f"[WARNING] seen: {ALL[0]}\n" in log


def test_level_above_info_turns_the_access_log_off(fresh_server, tmp_path: Path) -> None:
    lines, log = access_lines(fresh_server, tmp_path, "by_level")
    assert lines == [] and "[accesslog.disabled]" not in log


def test_disabled_logger_turns_the_access_log_off_with_a_warning(
    fresh_server, tmp_path: Path
) -> None:
    """`logging.config` disables existing loggers by default, with gunicorn's as well."""
    lines, log = access_lines(fresh_server, tmp_path, "disabled")
    assert lines == [] and log.count("[accesslog.disabled]") == 1


def test_lines_of_the_application_go_to_the_access_log(fresh_server) -> None:
    server = fresh_server(app("early"), "--access-logfile", "-", "--access-logformat", "%(U)s")
    server.get("/access")
    server.wait_for_stdout("^/access$")
    assert server.stdout().splitlines() == [
        r"early\nline",
        r"a line of the application\nforged",
        "/access",
    ]


@pytest.mark.parametrize("hook", ["on_starting(server)", "post_fork(server, worker)"])
@pytest.mark.parametrize(
    "logger", ["logging.getLogger('gunicorn.access')", "server.log.access_log"]
)
def test_filter_that_a_hook_sets_is_honoured(
    fresh_server, tmp_path: Path, hook: str, logger: str
) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "import logging\n"
        f"def {hook}:\n"
        "    assert server.log.error_log.handlers\n"
        f"    {logger}.addFilter(lambda record: record.args['U'] != '/healthz')\n"
    )
    lines, _ = access_lines(fresh_server, tmp_path, "recipe", "-c", str(config))
    assert lines == ALL[1:]


def test_server_log_of_hooks_has_gunicorns_log_method(fresh_server, tmp_path: Path) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "def on_starting(server):\n"
        "    for level in ('critical', 'warning', 10, 25, 'unknown'):\n"
        "        server.log.log(level, 'at %s', level)\n"
    )
    server = fresh_server(app("recipe"), "-c", str(config))
    server.wait_for_event("hook.message", "at unknown")
    lines = re.findall(r"\[hook\.message\] (.*)", server.stderr())
    assert lines == [
        "[ERROR] at critical",
        "[WARNING] at warning",
        "[INFO] at 25",
        "[INFO] at unknown",
    ]


def test_server_log_of_hooks_takes_what_logging_takes(fresh_server, tmp_path: Path) -> None:
    """A mapping, a name of a file that is no UTF-8 and a malformed call raised an exception, which
    ended the start; `exc_info` was ignored."""
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(
        "def on_starting(server):\n"
        "    server.log.info('%(a)s', {'a': 'mapped'})\n"
        "    server.log.info('%s', '\\udcff')\n"
        "    server.log.info('%d', 'text')\n"
        "    try:\n"
        "        1 / 0\n"
        "    except ZeroDivisionError:\n"
        "        server.log.warning('failed', exc_info=True)\n"
    )
    server = fresh_server(app("recipe"), "-c", str(config))
    server.wait_for_log("ZeroDivisionError")
    lines = re.findall(r"\[hook\.message\] (.*)", server.stderr())
    assert lines[:3] == ["[INFO] mapped", r"[INFO] \udcff", "[WARNING] failed"]
    assert "Logging error" in server.stderr()


# ---------------------------------------------------------------- --access-log-exclude


def test_excluded_paths_are_not_logged_unless_the_status_is_an_error(
    fresh_server, tmp_path: Path
) -> None:
    exclude = ["--access-log-exclude", "^/healthz", "--access-log-exclude", "secret|/b$"]
    lines, _ = access_lines(fresh_server, tmp_path, "recipe", *exclude)
    # The query is no part of the path.
    assert lines == [ALL[1], ALL[2]]


def test_excluded_paths_do_not_reach_the_logger(fresh_server, tmp_path: Path) -> None:
    exclude = ["--access-log-exclude", "^/healthz$"]
    lines, log = access_lines(fresh_server, tmp_path, "second_handler", *exclude)
    assert lines == ALL[1:] and "seen: GET /healthz HTTP" not in log
