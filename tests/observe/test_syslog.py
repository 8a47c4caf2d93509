"""--log-syslog and its options, with gunicorn's form of messages."""

from __future__ import annotations

import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from harness import run_cli
from harness.collectors import Collector
from harness.ports import free_port

APP = "logged:app"


def options(address: str, *more: str) -> list[str]:
    return ["--log-syslog", "--log-syslog-to", address, "--threads", "1", *more]


def test_both_logs_are_sent_as_gunicorn_sends_them(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Collector.unix(path) as syslog:
        server = fresh_server(APP, *options(f"unix://{path}"))
        server.get("/a%20b?c")
        server.get("/raise")
        access = r"^<14>gunicorn\.logged\.app\.access: \[(\d+)\] 127\.0\.0\.1 - - \[.*"
        (first,) = syslog.wait_for(access + r'"GET /a%20b\?c HTTP/1\.1" 200 2 "-" "[^"]*"\0\Z')
        (failed,) = syslog.wait_for(
            r"^<11>gunicorn\.logged\.app\.error: \[(\d+)\] Error handling .*\0\Z"
        )
        assert first[1] == failed[1] != str(server.pid)
        assert "#012Traceback (most recent call last):#012" in failed[0]
        syslog.wait_for(rf"^<14>gunicorn\.logged\.app\.error: \[{server.pid}\] Listening at: ")
        assert server.stop() == 0
        syslog.wait_for(rf"\[{server.pid}\] Shut down")
        assert all("\n" not in message for message in syslog.messages())
    # The logs themselves are as without it: there is no access log.
    assert "Traceback" in server.stderr() and "GET" not in server.stdout()


def test_name_facility_and_access_log_can_be_chosen(fresh_server, tmp_path: Path) -> None:
    with Collector.udp() as syslog:
        more = ["--log-syslog-prefix", "shop", "--log-syslog-facility", "local3"]
        more += ["--disable-redirect-access-to-syslog", "--log-level", "debug"]
        server = fresh_server(APP, *options(f"udp://localhost:{syslog.port}", *more))
        server.get("/pieces")
        server.get("/logger")
        # local3 is 19: the error of an application, and a warning.
        syslog.wait_for(r"^<155>gunicorn\.shop\.error: \[\d+\] one line\0")
        syslog.wait_for(r"^<155>gunicorn\.shop\.error: \[\d+\] unfinished\0")
        syslog.wait_for(r"^<156>gunicorn\.shop\.error: \[\d+\] a warning\0")
        assert server.stop() == 0
        assert not any(".access: " in message for message in syslog.messages())


def test_proc_name_is_the_name_of_the_program(fresh_server) -> None:
    with Collector.udp() as syslog:
        fresh_server(APP, *options(f"udp://127.0.0.1:{syslog.port}", "--name", "my:shop"))
        syslog.wait_for(r"^<14>gunicorn\.my\.shop\.error: ")


def test_settings_of_a_gunicorn_configuration_are_used(fresh_server, tmp_path: Path) -> None:
    with Collector.udp() as syslog:
        config = tmp_path / "gunicorn.conf.py"
        config.write_text(
            f"syslog = True\nsyslog_addr = 'udp://127.0.0.1:{syslog.port}'\n"
            "syslog_prefix = 'conf'\nsyslog_facility = 'DAEMON'\n"
            "def post_fork(server, worker):\n    server.log.warning('of a hook')\n"
        )
        server = fresh_server(APP, "-c", str(config))
        syslog.wait_for(r"^<28>gunicorn\.conf\.error: \[\d+\] of a hook")
        assert "has no effect" not in server.stderr()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_stream_gets_whole_messages_of_each_process(
    fresh_server, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "log"
    stream = socket.SOCK_STREAM
    with Collector.tcp() if kind == "tcp" else Collector.unix(path, stream) as syslog:
        address = f"tcp://127.0.0.1:{syslog.port}" if kind == "tcp" else f"unix://{path}#stream"
        server = fresh_server(APP, *options(address), "--workers", "2")
        server.wait_for_event("server.ready")
        server.get("/raise")
        server.get("/fork")
        end = "\n" if kind == "tcp" else "\0"
        for pattern in (r"Listening at: .*", r"Error handling .*#012Traceback.*", "of the child"):
            syslog.wait_for(rf"^<\d+>gunicorn\.logged\.app\.error: \[\d+\] {pattern}{end}\Z")
        assert server.stop() == 0
        syslog.wait_for(rf"Shut down{end}\Z")
        syslog.wait_for("Worker exiting", count=2)
        assert all(re.match(r"<\d+>gunicorn\.", message) for message in syslog.messages())
        # The master, two workers, and the child of one.
        assert syslog.connections == 4


def test_unix_socket_of_either_kind_is_found(fresh_server, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Collector.unix(path, socket.SOCK_STREAM) as syslog:
        fresh_server(APP, *options(f"unix://{path}"))
        syslog.wait_for("Listening at: ")


def test_absent_collector_is_reported_and_gets_everything_when_it_comes(
    fresh_server, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    server = fresh_server(APP, *options(f"unix://{path}"))
    server.wait_for_event("collector.failed", "syslog")
    for number in range(20):
        assert server.get(f"/{number}").status == 200
    with Collector.unix(path) as syslog:
        server.wait_for_event("collector.recovered", "syslog again: lost 0 messages")
        syslog.wait_for(r"\.access: .* /\d+ HTTP", count=20)
        syslog.wait_for("Listening at: ")
        assert server.stop() == 0


def test_restarted_collector_is_connected_to_again(fresh_server) -> None:
    # The kernel must not choose this port for a client while no collector listens: the server could
    # even connect to itself.
    port = free_port()
    with Collector.tcp(port) as first:
        server = fresh_server(APP, *options(f"tcp://127.0.0.1:{port}"))
        server.get("/1")
        first.wait_for("GET /1 ")
    # The first write after the end of the connection is lost: TCP accepts it.
    with Collector.tcp(port) as second:
        for number in range(2, 60):
            server.get(f"/{number}")
            if second.messages():
                break
            threading.Event().wait(0.05)
        second.wait_for(r"\.access: .* /\d+ HTTP")
        assert server.stop() == 0


def test_full_socket_delays_no_request_and_lost_messages_are_counted(
    fresh_server, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    sent = 700
    with Collector.unix(path, paused=True) as syslog:
        form = "%(r)s " + "%({X-Long}i)s" * 3
        server = fresh_server(APP, *options(f"unix://{path}", "--access-logformat", form))
        with server.connect() as client:
            request = b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\n"
            for number in range(sent):
                client.send(request % number)
                assert client.response().status == 200
        server.wait_for_event("collector.failed", "it does not keep up")
        syslog.resume()
        match = server.wait_for_event("collector.recovered", r"lost (\d+) messages")
        lost = int(match[0].split()[-2])
        assert 0 < lost < sent
        assert server.stop() == 0
        syslog.wait_for("Shut down")
        received = sum(".access: " in message for message in syslog.messages())
        # The report of the failure is a message, too.
        assert sent <= received + lost <= sent + 2


def test_reload_changes_the_collector(fresh_server, tmp_path: Path) -> None:
    config = tmp_path / "rustwsgi.toml"
    with Collector.udp() as first, Collector.udp() as second:
        text = 'log_syslog = true\nlog_syslog_to = "udp://127.0.0.1:{}"\n'
        config.write_text(text.format(first.port))
        server = fresh_server(APP, "-c", str(config))
        first.wait_for("Listening at: ")
        server.wait_for_event("server.ready")
        config.write_text(text.format(second.port))
        server.send_signal(signal.SIGHUP)
        server.wait_for_event("reload.completed")
        server.wait_for_event("worker.exiting")
        server.get("/second")
        second.wait_for(r"\.access: .*GET /second ")
        assert server.stop() == 0
        assert not any("/second" in message for message in first.messages())


def test_unknown_host_is_reported_and_the_server_serves(fresh_server) -> None:
    # A label is too long for a name, so that no name server is asked.
    server = fresh_server(APP, *options(f"udp://{'a' * 70}.invalid:514"))
    server.wait_for_event("collector.unresolved", "--log-syslog-to: cannot find udp://aaa")
    assert server.get("/").status == 200


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--log-syslog-to", "logs:514"], "udp://HOST:PORT"),
        (["--log-syslog-to", "udp://h:0"], "'0' is not a port"),
        (["--log-syslog-to", "unix:///dev/log#seqpacket"], "write #dgram or #stream"),
        (["--log-syslog-facility", "local9"], "'local9' is not a facility"),
        (["--statsd-host", "udp://h:1"], "neither HOST:PORT nor unix://PATH"),
        (["--statsd-prefix", "a:b"], "do not allow in a name"),
        (["--dogstatsd-tags", "a|b"], "not a list of tags"),
    ],
)
def test_invalid_value_is_refused(door: str, args: list[str], said: str) -> None:
    done = run_cli(door, *args, APP)
    assert done.returncode == 2 and args[0] in done.stderr and said in done.stderr, done
