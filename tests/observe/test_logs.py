"""The access log and the error log."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import ServerProcess, StartFailed, run_cli

PLAIN = "http_cli:app"


def _access_lines(fresh_server, tmp_path: Path, *args: str) -> list[str]:
    """The access log's lines after three requests and the end of the server."""
    path = tmp_path / "access.log"
    server = fresh_server(PLAIN, "--access-logfile", str(path), *args)
    fields = [("Referer", "http://r/"), ("User-Agent", 'a"b\\c\u00e9'), ("X-Id", "7")]
    server.get("/sized?10", fields=fields)
    server.get("/sized?20", method="HEAD")
    server.get("/sized?30", method="POST", body=b"abc", version="HTTP/1.0")
    assert server.stop() == 0
    return path.read_text(encoding="utf-8").splitlines()


COMMON = r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "


def test_access_log_common(fresh_server, tmp_path: Path) -> None:
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", "common")
    assert len(lines) == 3, lines
    assert re.fullmatch(COMMON + r'"GET /sized\?10 HTTP/1\.1" 200 10', lines[0])
    assert re.fullmatch(COMMON + r'"HEAD /sized\?20 HTTP/1\.1" 200 (0|-)', lines[1])
    assert re.fullmatch(COMMON + r'"POST /sized\?30 HTTP/1\.0" 200 30', lines[2])


def test_access_log_combined(fresh_server, tmp_path: Path) -> None:
    """Text from the client is escaped: it can end neither its quotes nor the line."""
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", "combined")
    assert len(lines) == 3, lines
    start = COMMON + r'"GET /sized\?10 HTTP/1\.1" 200 10 "http://r/" "a'
    assert re.match(start, lines[0])
    assert '"a"b' not in lines[0] and lines[0].endswith('"')
    assert re.fullmatch(COMMON + r'"HEAD \S+ HTTP/1\.1" 200 (0|-) "-" "-"', lines[1])


def test_access_log_json(fresh_server, tmp_path: Path) -> None:
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", "json")
    entries = [json.loads(line) for line in lines]
    assert len(entries) == 3
    text = [json.dumps(entry) for entry in entries]
    assert '"GET"' in text[0] and '"HEAD"' in text[1] and '"POST"' in text[2]
    assert all(200 in entry.values() or "200" in entry.values() for entry in entries)
    assert any("/sized" in str(value) for value in entries[0].values())


def test_access_log_atoms(fresh_server, tmp_path: Path) -> None:
    """gunicorn's atoms."""
    pattern = (
        "h=%(h)s l=%(l)s u=%(u)s r=%(r)s m=%(m)s U=%(U)s q=%(q)s H=%(H)s s=%(s)s B=%(B)s b=%(b)s "
        "f=%(f)s i=%({x-id}i)s no=%({x-no}i)s o=%({content-type}o)s e=%({REQUEST_METHOD}e)s "
        "L=%(L)s D=%(D)s T=%(T)s p=%(p)s %%"
    )
    lines = _access_lines(fresh_server, tmp_path, "--access-logformat", pattern)
    assert len(lines) == 3, lines
    assert re.fullmatch(
        r"h=127\.0\.0\.1 l=- u=- r=GET /sized\?10 HTTP/1\.1 m=GET U=/sized q=10 H=HTTP/1\.1 s=200 "
        r"B=10 b=10 f=http://r/ i=7 no=- o=text/plain e=GET L=\d+\.\d{6} D=\d+ T=\d+ p=<?\d+>? %",
        lines[0],
    ), lines[0]


def test_access_log_on_stdout(fresh_server) -> None:
    server = fresh_server(PLAIN, "--access-logfile", "-")
    server.get("/sized?10")
    server.wait_for_stdout(r'"GET /sized\?10 HTTP/1\.1" 200 10')
    assert "/sized" not in server.stderr()


def test_access_log_is_off_by_default(fresh_server) -> None:
    server = fresh_server(PLAIN)
    server.get("/sized?10")
    assert server.stop() == 0
    assert "/sized" not in server.stdout() + server.stderr()


def test_access_log_has_the_time_of_a_rejected_request(fresh_server) -> None:
    """Also for a request with an incomplete head."""
    server = fresh_server(PLAIN, "--access-logfile", "-", "--access-logformat", "%(t)s %(s)s")
    with server.connect() as client:
        assert client.request(b"BAD\r\n\r\n").status == 400
    line = server.wait_for_stdout(r"^.* 400$")[0]
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/2\d{3}:.* 400", line), line


def test_access_log_file_that_cannot_be_opened_is_an_error(door: str, tmp_path: Path) -> None:
    path = tmp_path / "no" / "access.log"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--access-logfile", str(path), PLAIN)
    assert done.returncode in {1, 2} and str(path) in done.stderr, done


def test_error_log_file_that_cannot_be_opened_is_an_error(door: str, tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "no" / "error.log"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--error-logfile", str(path), PLAIN)
    assert done.returncode in {1, 2} and str(path) in done.stderr, done
    assert "Traceback" not in done.stderr


def test_log_lines(fresh_server) -> None:
    server = fresh_server(PLAIN, env={"RUSTWSGI_LOG_EVENTS": "0"})
    server.get("/")
    assert server.stop() == 0
    time = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\]"
    line = time + r" \[\d+\] (\[[a-z]+\.[a-z_]+\] )?\[(DEBUG|INFO|WARNING|ERROR)\] .+"
    lines = server.stderr().splitlines()
    assert lines and all(re.fullmatch(line, text) for text in lines), lines


def test_log_level(door: str) -> None:
    """Lower levels are not logged; here not even the listening line."""
    with pytest.raises(StartFailed) as failure:
        server = ServerProcess(door, PLAIN, "--log-level", "error", "--bind", "127.0.0.1:99999")
        server.start()
    assert "[INFO]" not in str(failure.value)


def test_error_log_file(door: str, tmp_path: Path) -> None:
    path = tmp_path / "error.log"
    done = run_cli(door, "--bind", "127.0.0.1:0", "--error-logfile", str(path), "http_broken:app")
    assert done.returncode == 3
    assert "no database today" in path.read_text() + done.stderr
