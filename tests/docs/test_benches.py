"""The comparison must reject wrong responses: its probe, its sums and its ranking.

The probe runs against a server that sends canned bytes; no real server takes part.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ROOT, TIMEOUT

sys.path.insert(0, str(ROOT / "benches"))
import chart
import instructions
import load
import probe
import process
import report
from load import Outcome
from results import Cell, Results
from workloads import BY_NAME

RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!"
CLOSE = RIGHT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class Canned:
    """Sends `answer` to each request; after `limit` of them it closes the connection."""

    def __init__(self, answer: bytes, limit: int = 1000) -> None:
        self._answer, self._limit = answer, limit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    for _ in range(self._limit):
                        if not connection.recv(4096):
                            break
                        connection.sendall(self._answer)
        except OSError:
            pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def canned() -> Iterator[type[Canned]]:
    made: list[Canned] = []

    class Kept(Canned):
        def __init__(self, answer: bytes, limit: int = 1000) -> None:
            super().__init__(answer, limit)
            made.append(self)

    yield Kept
    for server in made:
        server.close()


def test_probe_accepts_correct_responses(
    canned: type[Canned], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The thread that closes the connection may run late.
    monkeypatch.setattr(probe, "CLOSE_SECONDS", TIMEOUT)
    probe.check(canned(RIGHT).port, BY_NAME["hello"])
    probe.check(canned(CLOSE, limit=1).port, BY_NAME["newconn"])


@pytest.mark.parametrize(
    ("answer", "limit", "complaint"),
    [
        (RIGHT.replace(b"Hello", b"Jello"), 9, "wrong body"),
        (RIGHT.replace(b"200 OK", b"500 No"), 9, "status line"),
        (
            RIGHT.replace(b"13\r\n", b"13\r\nTransfer-Encoding: chunked\r\n"),
            9,
            "more than one length",
        ),
        (RIGHT.replace(b"13", b"12"), 9, "wrong body"),
        (RIGHT + b"0\r\n\r\n", 9, "second request"),
        (RIGHT, 1, "second request"),
        (RIGHT, 2, "third request"),
        (CLOSE, 9, "closes the connection"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n\r\n",
            9,
            "Content-Length is lost",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\nHello, World!\r\n0\r\n\r\n",
            9,
            "longer than its size",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHello!\r\n", 9, "chunk size"),
        (RIGHT.replace(b"13", b"+13"), 9, "Content-Length"),
        (b"Hello, World!\r\n\r\n", 9, "status line"),
    ],
)
def test_wrong_answers_are_found(
    canned: type[Canned], answer: bytes, limit: int, complaint: str
) -> None:
    with pytest.raises(probe.ProbeError, match=complaint):
        probe.check(canned(answer, limit).port, BY_NAME["hello"])


def test_file_in_chunks_is_accepted_with_a_remark(canned: type[Canned]) -> None:
    """granian sends files so. Only an application's Content-Length must not be lost."""
    workload = BY_NAME["static1k"]
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n%s\r\n0\r\n\r\n"
    whole = workload.expected_body
    assert probe.check(canned(chunked % whole).port, workload) == "sends files chunked"
    with pytest.raises(probe.ProbeError, match="wrong body"):
        probe.check(canned(chunked % whole[::-1]).port, workload)
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n"
    assert probe.check(canned(sized + whole).port, workload) == ""


def test_downloads_count_the_bytes_of_responses_that_have_not_ended() -> None:
    def usage(seconds: float) -> process.Usage:
        return process.Usage(seconds, seconds / 2, 1024, 1024, 0)

    kinds = ("connect", "read", "write", "status", "timeout", "requests")
    figures = {**dict.fromkeys(kinds, 0), "bytes": 100 << 20, "duration_us": 2_000_000}
    outcome = Outcome()
    load._per_mebibyte(figures, usage(0), usage(1), outcome)
    assert not outcome.wrong
    assert outcome.metrics["mib_per_second"] == 50 and outcome.metrics["user_us"] == 10_000


def test_a_connection_that_stays_open_is_found(canned: type[Canned]) -> None:
    with pytest.raises(probe.ProbeError, match="stays open"):
        probe.check(canned(CLOSE).port, BY_NAME["newconn"])


def _results() -> Results:
    def cell(*rps: float, wrong: str = "") -> Cell:
        made = Cell()
        for value in rps:
            made.add(Outcome({"rps": value}, wrong))
        return made

    row = {
        "rustwsgi": cell(150, 900, 100),
        "granian": cell(50, 75, 100),
        "bjoern": cell(5000, wrong="wrong body: <b>"),
        "nginx": cell(9000),
    }
    about = {"date": "2026-01-01", "machine": "a & b", "python": "3", "rounds": 3}
    return Results(about, {"hello": row})


def test_ratios_are_of_rounds_and_wrong_peers_do_not_count() -> None:
    results = _results()
    assert results.best_peer("hello", "rps", least=False) == ("granian", 75)
    assert results.ratio("hello", "rustwsgi", "rps", least=False) == 3.0, "of 3, 12 and 1"
    assert results.spread("hello", "rps", least=False) == (1.0, 12.0)
    assert results.value("hello", "bjoern", "rps") is None


def test_peer_that_serves_few_requests_is_not_the_best_by_latency() -> None:
    def cell(rps: float, p99: float) -> Cell:
        made = Cell()
        made.add(Outcome({"rps": rps, "p99_ms": p99}, ""))
        return made

    row = {"rustwsgi": cell(2900, 2.0), "granian": cell(2800, 25.0), "uwsgi": cell(370, 0.5)}
    results = Results({}, {"beside": row})
    assert results.best_peer("beside", "p99_ms", least=True) == ("granian", 25.0)
    assert results.ratio("beside", "rustwsgi", "p99_ms", least=True) == 0.08


def test_results_survive_their_file(tmp_path: Path) -> None:
    results = _results()
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results


def test_the_chart_is_well_formed() -> None:
    document = xml.etree.ElementTree.fromstring(chart.draw(_results()))
    texts = [element.text for element in document.iter("{http://www.w3.org/2000/svg}text")]
    assert "not counted: wrong body: <b>" in texts
    assert "5,000" not in texts


def test_the_chart_of_the_readme_is_a_part_of_the_whole_one() -> None:
    """Both are written by one run."""
    panel = re.compile(r'<g transform="translate\([^"]+\)">(.*?)</g>', re.DOTALL)
    whole = (ROOT / "docs" / "benchmarks.svg").read_text()
    summary = (ROOT / "docs" / report.SUMMARY).read_text()
    panels = panel.findall(summary)
    assert len(panels) == len(chart.SUMMARY) and set(panels) <= set(panel.findall(whole))
    results = _results()
    results.rows["flask8"] = results.rows["hello"]
    assert len(panel.findall(chart.draw(results))) == 2
    assert len(panel.findall(chart.draw(results, chart.SUMMARY))) == 1


def test_the_page_keeps_what_stands_around_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "CHART", page.with_suffix(".svg"))
    results = _results()
    results.about |= {"versions": {"flask": "3", "django": "5", "wrk": "4"}, "load_average": 0}
    results.about |= {"seconds": 3, "idle": 10, "commands": {"rustwsgi": "rustwsgi app"}}
    report.write_docs(results)
    page.write_text("Before.\n" + page.read_text() + "After.\n")
    results.rows["hello"]["rustwsgi"].rounds = [{"rps": 123_456.0}]
    report.write_docs(results)
    text = page.read_text()
    assert text.startswith("Before.\n# Benchmarks") and text.endswith(f"{report.END}\nAfter.\n")
    assert "NOT COUNTED: wrong body: <b>" in text and "123,456" in text
    assert text.count("## Overview") == 1


def test_instructions_are_summed_by_object_without_the_callees(tmp_path: Path) -> None:
    file = tmp_path / "out.1"
    file.write_text(
        "version: 1\nsummary: 999\n\n"
        "ob=(1) /lib/libc.so.6\nfn=(1) memcpy\n10 5\n+1 7\n\n"
        "ob=(2) /x/_rustwsgi.cpython-311-x86_64-linux-gnu.so\nfn=(2) poll\n3 100\n"
        "cob=(3) /lib/libpython3.11.so.1.0\ncfn=(3) PyEval\ncalls=2 9\n* 4000\n-1 20\n\n"
        "ob=(3)\nfn=(3)\n9 4000\n"
    )
    assert instructions.self_costs(file) == {"libraries": 12, "rustwsgi": 120, "cpython": 4000}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_held_memory_counts_a_shared_page_once() -> None:
    code = (
        "import os, sys; block = bytearray(8 << 20); block[::512] = bytes(1 << 14)\n"
        "os.fork(); os.write(1, b'up\\n'); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as root:
        assert root.stdin and root.stdout
        assert [root.stdout.readline() for _ in range(2)] == [b"up\n"] * 2
        resident = process.usage(root.pid).rss_kib
        held = process.held_kib(root.pid)
    assert held > 12 << 10, "the block, and what Python holds"
    assert held < 0.7 * resident
