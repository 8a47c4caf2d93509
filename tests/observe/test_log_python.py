"""The server's lines in Python's logging: --log-python, --log-config, logconfig_dict."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from harness import TIMEOUT, ServerProcess, build_request, run_cli
from harness.metrics import OPTIONS, Metrics

ROUTED = ("--log-python", "--threads", "2")


class Records:
    """The records that a handler of the application has written to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def all(self) -> list[dict[str, Any]]:
        """Those that are written whole."""
        return [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]

    def wait_for(self, **values: str) -> dict[str, Any]:
        """Wait for a record whose values match these patterns."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            for record in self.all():
                if all(re.search(text, str(record[key])) for key, text in values.items()):
                    return record
            assert time.monotonic() < deadline, f"no {values} in {self.all()}"
            time.sleep(0.02)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


def start(fresh_server, records: Records, handler: str, *args: str) -> ServerProcess:
    env = {"ROUTED_LOG": str(records.path)}
    return fresh_server(f"routed:make({handler!r})", *ROUTED, *args, env=env)


def test_lines_of_a_worker_go_through_their_loggers(fresh_server, records: Records) -> None:
    server = start(fresh_server, records, "ToFile")
    server.get("/raise")
    record = records.wait_for(event=r"^request\.failed$")
    assert (record["name"], record["level"]) == ("gunicorn.error", "ERROR")
    assert record["message"].startswith("Error handling request")
    # The traceback belongs to the record, as that of an exception.
    assert re.search(r"\nTraceback \(most recent.*\n(.*\n)+ValueError: boom$", record["formatted"])
    assert record["pid"] != server.pid and 0 <= record["age"] < TIMEOUT
    assert record["thread"] == "rustwsgi-log"
    # The server's own handler writes it as ever, with its event.
    server.wait_for_event("request.failed")
    server.wait_for_log(r"^ValueError: boom")
    access = records.wait_for(name="access", message='"GET /raise HTTP/1.1" 500')
    assert access["level"] == "INFO"
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.response().status == 400
    records.wait_for(name="access", message='"GET / HTTP/1.1" 400')
    records.wait_for(name="error", event="request.rejected")
    assert server.stop() == 0
    # The master's lines are written without Python.
    assert all(record["pid"] != server.pid for record in records.all())
    server.wait_for_event("server.stopped")


def test_records_have_the_id_of_their_request(fresh_server, records: Records) -> None:
    server = start(fresh_server, records, "ToFile", "--request-id-header", "X-Request-ID")
    with server.connect() as client:
        client.send(build_request("GET", "/raise", fields=[("X-Request-ID", "mine")]))
        assert client.response().status == 500
    records.wait_for(event=r"^request\.failed$", request_id="^mine$")
    # Logged by the thread of the request.
    records.wait_for(name="access", message='"GET /raise HTTP/1.1" 500', request_id="^mine$")
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.response().status == 400
    # Without a thread of the application.
    records.wait_for(name="access", message='" 400', request_id="^[0-9a-f]{32}$")


def test_access_log_is_written_once(fresh_server, records: Records, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    form = ("--access-logfile", str(log), "--access-logformat", "%(r)s %(s)s")
    server = start(fresh_server, records, "ToFile", *form)
    server.get("/1")
    server.get("/2")
    assert server.stop() == 0
    # The server sends a response before it passes the line on, so the lines may change places.
    lines = sorted(log.read_text().splitlines())
    assert lines == ["GET /1 HTTP/1.1 200", "GET /2 HTTP/1.1 200"]


def test_handler_that_logs_ends_in_no_loop(fresh_server, records: Records) -> None:
    server = start(fresh_server, records, "Logging")
    server.get("/raise")
    records.wait_for(message="^a handler got: Error handling request")
    assert server.get("/").status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("handler", ["Raising", "Exiting"])
def test_handler_that_raises_loses_no_line(fresh_server, records: Records, handler: str) -> None:
    server = start(fresh_server, records, handler)
    for _ in range(2):
        assert server.get("/raise").status == 500
    assert server.stop() == 0
    log = server.stderr()
    assert len(re.findall(r"\[request\.failed\]", log)) >= 2
    assert len(re.findall(r"\[log\.handler_failed\] \[ERROR\]", log)) == 1
    assert "a handler fails" in log


def test_handler_that_is_stuck_stops_no_request_and_loses_no_error(
    fresh_server, records: Records
) -> None:
    config = records.path.parent / "gunicorn.conf.py"
    config.write_text(
        "def post_worker_init(worker):\n"
        "    import routed\n"
        "    routed.ERROR.handlers = [routed.Stuck()]\n"
    )
    server = start(fresh_server, records, "none", "-c", str(config))
    # Beyond the bound, lines are written at once.
    for _ in range(1100):
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n")
            assert client.response().status == 400
    server.wait_for_event("request.rejected")
    assert server.stop() == 0
    server.wait_for_event("log.handler_stuck")
    # All but those that the handler was given.
    assert len(re.findall(r"\[request\.rejected\]", server.stderr())) > 1000


def test_access_lines_behind_a_stuck_handler_are_counted(fresh_server, records: Records) -> None:
    """Regression: without a file that takes them they disappeared, those beyond the bound and those
    that were left at the end."""
    server = start(fresh_server, records, "Stuck", *OPTIONS)
    metrics = Metrics(server)
    sent = 1100
    for _ in range(sent):
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n")
            assert client.response().status == 400
    server.wait_for_event("accesslog.lines_lost")
    name = 'limits_reached_total{limit="routed_lines"}'
    assert 0 < metrics.samples()[name] < sent
    assert server.stop() == 0
    lost = re.findall(r"\[accesslog\.lines_lost\] \[WARNING\] Lost (\d+) lines?", server.stderr())
    # The server reports the first loss, further ones every ten seconds, and the rest at the end. The
    # handler may have been given one line.
    assert len(lost) >= 2 and sum(map(int, lost)) in (sent - 1, sent)


def test_application_may_fork_while_lines_are_routed(fresh_server, records: Records) -> None:
    server = start(fresh_server, records, "ToFile")
    clients = [server.connect() for _ in range(4)]
    for _ in range(5):
        for client, target in zip(clients, (b"/fork", b"/raise", b"/fork", b"/log"), strict=False):
            client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target)
        for client in clients:
            assert client.response().status in (200, 500)
    for client in clients:
        client.close()
    assert server.stop() == 0
    assert sum(record["message"] == "of a child" for record in records.all()) == 50


DICT = """{
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"mine": {"format": "mine|%(levelname)s|%(process)d|%(message)s"}},
    "handlers": {
        "file": {"class": "logging.FileHandler", "filename": FILE, "formatter": "mine"},
    },
    "root": {"level": "WARNING", "handlers": []},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["file"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["file"], "propagate": False},
    },
}"""


def configured(tmp_path: Path, kind: str) -> list[str]:
    """The options that configure logging with the same handler, in three notations."""
    file = tmp_path / "mine.log"
    if kind == "dict":
        config = tmp_path / "gunicorn.conf.py"
        config.write_text(f"FILE = {str(file)!r}\nlogconfig_dict = {DICT}\n")
        return ["-c", str(config)]
    if kind == "json":
        config = tmp_path / "logging.json"
        config.write_text(json.dumps(eval(DICT, {"FILE": str(file)})))
        return ["--log-config-json", str(config)]
    config = tmp_path / "100% logging.ini"
    config.write_text(
        "[loggers]\nkeys=root,error,access\n[handlers]\nkeys=file\n[formatters]\nkeys=mine\n"
        "[logger_root]\nlevel=WARNING\nhandlers=\n"
        "[logger_error]\nlevel=INFO\nhandlers=file\nqualname=gunicorn.error\npropagate=0\n"
        "[logger_access]\nlevel=INFO\nhandlers=file\nqualname=gunicorn.access\npropagate=0\n"
        "[handler_file]\nclass=FileHandler\nformatter=mine\nargs=('%(here)s/mine.log',)\n"
        "[formatter_mine]\nformat=mine|%(levelname)s|%(process)d|%(message)s\n"
    )
    return ["--log-config", str(config)]


@pytest.mark.parametrize("kind", ["dict", "json", "file"])
def test_configuration_of_logging_is_applied_as_by_gunicorn(
    fresh_server, tmp_path: Path, kind: str
) -> None:
    server = fresh_server("logged:app", *configured(tmp_path, kind))
    server.get("/raise")
    assert server.stop() == 0
    text = (tmp_path / "mine.log").read_text()
    assert re.search(r"^mine\|ERROR\|\d+\|Error handling request .*\nTraceback", text, re.M), text
    # Without --access-logfile, too.
    assert re.search(r'^mine\|INFO\|\d+\|127\.0\.0\.1 .*"GET /raise HTTP/1.1" 500', text, re.M)
    # The handlers replace the server's.
    assert "Error handling" not in server.stderr() and "has no effect" not in server.stderr()


def test_default_handlers_of_gunicorn_are_those_of_a_partial_configuration(
    fresh_server, tmp_path: Path
) -> None:
    config = tmp_path / "gunicorn.conf.py"
    formatters = {"generic": {"format": "generic|%(name)s|%(message)s"}}
    config.write_text(f"logconfig_dict = {{'formatters': {formatters}}}\n")
    server = fresh_server("logged:app", "-c", str(config))
    server.get("/logger")
    server.wait_for_log(r"^generic\|gunicorn\.error\|a warning$")
    server.wait_for_stdout(r"^generic\|gunicorn\.access\|127\.0\.0\.1 ")


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--log-config", None, "--log-config: cannot open"),
        ("--log-config-json", None, "--log-config-json: cannot open"),
        ("--log-config", "not a configuration", "cannot configure Python's logging"),
        ("--log-config-json", "{", "cannot configure Python's logging"),
        ("--log-config-json", "[]", "it is not a JSON object"),
        ("--log-config-json", '{"handlers": {"x": {"class": "no.such.Class"}}}', "no.such"),
        ("-c", "logconfig_dict = {'version': 7}", "logconfig_dict: cannot configure"),
    ],
)
def test_mistake_in_a_configuration_of_logging_ends_the_start(
    door: str, tmp_path: Path, option: str, text: str | None, said: str
) -> None:
    path = tmp_path / ("gunicorn.conf.py" if option == "-c" else "logging")
    if text is not None:
        path.write_text(text)
    done = run_cli(door, option, str(path), "--bind", "127.0.0.1:0", "logged:app")
    assert done.returncode == 1 and said in done.stderr, done
    assert "Traceback" not in done.stderr


def test_program_that_calls_the_server_can_route_its_lines(fresh_server, tmp_path: Path) -> None:
    """`rustwsgi.Server` starts and stops the router with each start."""
    import subprocess
    import sys

    program = tmp_path / "program.py"
    program.write_text(
        "import logging, urllib.request, rustwsgi, sys\n"
        "seen = []\n"
        "class Seen(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        seen.append(record.getMessage())\n"
        "def app(environ, start_response):\n"
        "    raise ValueError('boom')\n"
        "for turn in range(2):\n"
        "    with rustwsgi.Server(app, bind='127.0.0.1:0', log_python=True) as server:\n"
        "        logging.getLogger('gunicorn.error').handlers = [Seen()]\n"
        "        try:\n"
        "            urllib.request.urlopen(server.url)\n"
        "        except Exception:\n"
        "            pass\n"
        "    print(sum('Error handling' in text for text in seen))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2"]), done
