"""The error log as JSON: --log-format json."""

from __future__ import annotations

import json
import re
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness import ServerProcess, StartFailed, run_cli

APP = "logged:app"
JSON = ("--log-format", "json")


def entries(text: str) -> list[dict[str, Any]]:
    """The objects of the log; each line is one."""
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def with_event(text: str, event: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(text) if entry["event"] == event]


def logged(fresh_server, path: str, event: str) -> list[dict[str, Any]]:
    """What a request has logged with this event."""
    server = fresh_server(APP, *JSON)
    server.get(path)
    assert server.stop() == 0
    return with_event(server.stderr(), event)


def test_every_line_of_master_and_workers_is_an_object(fresh_server) -> None:
    server = fresh_server(APP, *JSON, "--workers", "2")
    server.wait_for_log('"event":"server.ready"')
    assert server.get("/").status == 200
    server.send_signal(signal.SIGHUP)
    server.wait_for_log('"event":"reload.completed"')
    assert server.stop() == 0
    found = entries(server.stderr())
    for entry in found:
        assert set(entry) == {"time", "level", "pid", "event", "message"}, entry
        assert datetime.fromisoformat(entry["time"]).tzinfo is not None
        assert entry["level"] in ("DEBUG", "INFO", "WARNING", "ERROR")
        assert isinstance(entry["pid"], int) and entry["message"]
    assert len({entry["pid"] for entry in found}) == 5
    events = [entry["event"] for entry in found]
    assert {"server.starting", "server.listening", "worker.booting", "server.stopped"} <= {*events}


def test_failed_request_is_one_object_with_its_traceback(fresh_server) -> None:
    (entry,) = logged(fresh_server, "/raise", "request.failed")
    assert entry["level"] == "ERROR" and "/raise" in entry["message"]
    assert entry["traceback"].startswith("Traceback (most recent call last):\n")
    assert "in boom\n" in entry["traceback"] and "forged" in entry["traceback"]


def test_text_of_wsgi_errors_is_one_object_for_each_line(fresh_server) -> None:
    found = logged(fresh_server, "/pieces", "app.errors")
    assert [entry["wsgi.errors"] for entry in found] == ["one line", "another", "unfinished"]
    assert [entry["message"] for entry in found] == ["one line", "another", "unfinished"]
    assert {entry["level"] for entry in found} == {"ERROR"}


def test_traceback_in_wsgi_errors_is_one_object(fresh_server) -> None:
    trace, after = logged(fresh_server, "/print_exc", "app.errors")
    assert trace["message"] == "Traceback (most recent call last):"
    assert "in boom\n" in trace["wsgi.errors"] and "ValueError: boom" in trace["wsgi.errors"]
    # The second line of its message is not indented.
    assert "forged" in trace["wsgi.errors"] or "forged" in after["wsgi.errors"]


def test_flush_ends_an_object(fresh_server) -> None:
    found = logged(fresh_server, "/flush", "app.errors")
    assert [entry["wsgi.errors"] for entry in found] == ["flushed", "rest"]


def test_control_characters_and_surrogates_are_escaped(fresh_server) -> None:
    server = fresh_server(APP, *JSON)
    server.get("/bytes")
    assert server.stop() == 0
    text = server.stderr()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u2028]", text)
    (entry,) = with_event(text, "app.errors")
    assert entry["wsgi.errors"] == "\x00\x1b\x7f\u2028\\udcff\U0001f600\r"


def test_long_text_is_one_bounded_line(fresh_server) -> None:
    (entry,) = logged(fresh_server, "/long", "app.errors")
    for name in ("message", "wsgi.errors"):
        assert 60_000 < len(entry[name]) < 70_000
        assert "bytes left out" in entry[name] and entry[name].endswith("é")


def test_exception_of_a_logger_is_one_object(fresh_server) -> None:
    failed, warned = logged(fresh_server, "/logger", "app.message")
    assert (failed["level"], failed["message"]) == ("ERROR", "logged")
    assert failed["traceback"].startswith("Traceback") and "boom" in failed["traceback"]
    assert (warned["level"], warned["message"]) == ("WARNING", "a warning")
    assert "traceback" not in warned


def test_forked_process_writes_objects_of_its_own(fresh_server) -> None:
    (entry,) = logged(fresh_server, "/fork", "app.errors")
    assert entry["wsgi.errors"] == "of the child"


def test_lines_of_several_workers_do_not_mix(fresh_server) -> None:
    """Tracebacks are longer than a pipe takes at once from processes that write with write(2)."""
    server = fresh_server(APP, *JSON, "--workers", "2")
    clients = [server.connect() for _ in range(8)]
    for _ in range(10):
        for client in clients:
            client.send(b"GET /raise HTTP/1.1\r\nHost: a\r\n\r\n")
        for client in clients:
            assert client.response().status == 500
    for client in clients:
        client.close()
    assert server.stop() == 0
    assert len(with_event(server.stderr(), "request.failed")) == 80


def test_failed_import_is_one_object(door: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f():\n    1 / 0\nf()\n")
    done = run_cli(door, *JSON, "--bind", "127.0.0.1:0", "--app-dir", str(tmp_path), "broken:app")
    assert done.returncode == 3, done
    (entry,) = with_event(done.stderr, "app.load_failed")
    assert "ZeroDivisionError" in entry["traceback"]


def test_failed_start_is_an_object(door: str, tmp_path: Path) -> None:
    done = run_cli(door, *JSON, "--bind", "unix:/nonexistent-dir/s", APP)
    assert done.returncode == 1, done
    assert entries(done.stderr)[-1]["level"] == "ERROR"
    done = run_cli(door, *JSON, "--error-logfile", "/nonexistent-dir/log", APP)
    assert done.returncode == 1, done
    (entry,) = with_event(done.stderr, "server.not_started")
    assert "--error-logfile" in entry["message"]


def test_reload_changes_the_form(fresh_server, tmp_path: Path) -> None:
    config = tmp_path / "rustwsgi.toml"
    config.write_text('log_format = "text"\n')
    server: ServerProcess = fresh_server(APP, "-c", str(config))
    server.wait_for_event("server.ready")
    config.write_text('log_format = "json"\n')
    mark = len(server.stderr())
    server.send_signal(signal.SIGHUP)
    # The old worker keeps its form.
    server.wait_for_event("worker.exiting")
    start = len(server.stderr())
    server.get("/raise")
    assert server.stop() == 0
    assert with_event(server.stderr()[start:], "request.failed")[0]["traceback"]
    assert '"event":"reload.started"' in server.stderr()[mark:]


def test_text_form_is_unchanged(fresh_server) -> None:
    server = fresh_server(APP, "--log-format", "text")
    server.wait_for_event("server.ready")  # the last line of the master, before the stop
    server.get("/pieces")
    server.get("/raise")
    assert server.stop() == 0
    assert "one line\nanother\nunfinished" in server.stderr()
    assert re.search(r"\[request\.failed\] \[ERROR\] .*\nTraceback \(most", server.stderr())


def test_unknown_form_is_refused(door: str) -> None:
    done = run_cli(door, "--log-format", "xml", APP)
    assert done.returncode == 2 and "'xml' is neither text nor json" in done.stderr


def test_start_fails_in_this_form_only_with_objects(door: str) -> None:
    with pytest.raises(StartFailed) as failed, ServerProcess(door, "no_such_module:app", *JSON):
        pass
    text = str(failed.value).partition(":\n")[2]
    assert all(
        json.loads(line)["level"] in ("ERROR", "INFO", "WARNING")
        for line in text.split("\n")
        if line
    )


def test_lines_of_a_request_have_its_id(fresh_server) -> None:
    server = fresh_server(APP, *JSON, "--request-id-header", "X-Request-Id", "--log-python")
    server.get("/raise", fields=[("X-Request-Id", "abc")])
    server.get("/pieces", fields=[("X-Request-Id", "def")])
    assert server.stop() == 0
    (failed,) = with_event(server.stderr(), "request.failed")
    assert failed["request_id"] == "abc" and "boom" in failed["traceback"]
    assert {entry["request_id"] for entry in with_event(server.stderr(), "app.errors")} == {"def"}
