"""PEP 3333 "Error Handling" and wsgi.errors: what a failing application costs."""

from __future__ import annotations

import re

import pytest

from harness import NoResponse, ServerProcess, build_request
from harness.wsgi import THREADS, ask, assert_error_500, get_json, json_of, new_key

from wsgi_errors import FAILURES  # isort: skip  (apps/)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("wsgi_errors:app", *THREADS)


#: What the log shows of each, where it is not the key.
SHOWN = {
    "recursion": "RecursionError",
    "bad-str": "BadStr",
    "system-exit-zero": "SystemExit",
    "system-exit-int": "SystemExit",
}


def assert_logged(server: ServerProcess, name: str, key: str, start: int) -> None:
    server.wait_for_log(SHOWN.get(name, key), start=start)
    if name not in ("bad-str", "system-exit-zero", "system-exit-int"):
        server.wait_for_log("Traceback", start=start)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("when", ["call", "started", "first", "second"])
@pytest.mark.parametrize("name", FAILURES)
def test_failure_before_the_head(server, name, when, method):
    """A 500 page without details; the traceback in the log; the server continues."""
    key, start = new_key(), len(server.stderr())
    with server.connect() as client:
        response = ask(client, f"/fail/{when}/{name}?key={key}", method=method)
        assert_error_500(response)
        assert key.encode() not in response.body
        assert response.get("X-First") is None and response.get("X-Injected") is None
        if method == "HEAD":  # the body that is not there must not come with the next response
            try:
                client.send(build_request("GET", "/fine"))
                assert json_of(client.response()) == "fine"
            except (NoResponse, ConnectionResetError, BrokenPipeError):
                pass
    assert_logged(server, name, key, start)
    assert get_json(server, "/fine") == "fine"


@pytest.mark.parametrize("name", FAILURES)
def test_failure_after_the_head(server, name):
    """Logged, and the body stays incomplete, so that the client notices."""
    key, start = new_key(), len(server.stderr())
    with server.connect() as client:
        client.send(build_request("GET", f"/fail/later/{name}?key={key}"))
        client.send(build_request("GET", "/fine"))
        response = client.response()
        assert response.status == 200
        assert response.body == b"sent" and not response.complete
    assert_logged(server, name, key, start)
    assert get_json(server, "/fine") == "fine"


def test_traceback_is_whole(server):
    """The cause, the file and the line, as Python prints them."""
    key = new_key()
    server.get(f"/fail/call/chained?key={key}")
    log = server.wait_for_log(f"(?s)KeyError: 'cause-{key}'.*RuntimeError: secret-{key}")[0]
    assert "direct cause" in log
    assert re.search(r'File ".*wsgi_errors\.py", line \d+, in chained', log)


@pytest.mark.parametrize("name", ["system-exit", "system-exit-zero", "keyboard-interrupt"])
@pytest.mark.parametrize("threads", ["1", "4"])
def test_server_outlives_an_application_that_exits(fresh_server, threads, name):
    """Also on the only thread, which may be the main one."""
    server = fresh_server("wsgi_errors:app", "--threads", threads)
    for when in ("call", "first"):
        assert server.get(f"/fail/{when}/{name}?key={new_key()}").status == 500
    assert server.get(f"/fail/later/{name}?key={new_key()}").status == 200
    assert get_json(server, "/fine") == "fine"
    assert server.is_alive()


def test_many_failures_leave_every_thread_alive(server):
    for _ in range(20):
        assert server.get(f"/fail/call/base-exception?key={new_key()}").status == 500
    clients = [server.connect() for _ in range(4)]
    try:
        for client in clients:
            client.send(build_request("GET", "/fine"))
        assert [json_of(client.response()) for client in clients] == ["fine"] * 4
    finally:
        for client in clients:
            client.close()


# ------------------------------------------------------------------------ what the log says of it

SAID = {
    "/wrong/none": "an iterable of bytes, but this one returned None: .* without `return \\[body\\]`",
    "/wrong/int": "an iterable of bytes, not int: return \\[body\\]",
    "/wrong/str": "an iterable of bytes, not str: return \\[body\\]",
    "/wrong/class": "an iterable of bytes, not type: if it is a factory that returned this",
    "/wrong/list-str": "an iterable of bytes; this one yielded str: encode it",
    "/wrong/generator-none": "an iterable of bytes; this one yielded NoneType",
    "/wrong/iter-raises": "RuntimeError: secret: no iterator",
    "/wrong/iter-not-iterator": "iter\\(\\) returned non-iterator",
}


@pytest.mark.parametrize("path", SAID)
def test_wrong_return_value_is_named_in_the_log(serve, path):
    """Python's own "'NoneType' object is not iterable" does not say what to change."""
    server = serve("wsgi_iterable:app", *THREADS)
    start = len(server.stderr())
    assert_error_500(server.get(path))
    traceback = rf"GET {path}:(?:.|\n)*?{SAID[path]}"
    server.wait_for_event("request.failed", traceback, start=start)


@pytest.mark.parametrize(
    ("path", "event", "detail"),
    [
        ("/length/list/over-one", "response.excess", "Content-Length"),
        ("/length/generator/over-later", "response.excess", "Content-Length"),
        ("/length/generator/short-one", "response.short", "6 bytes"),
    ],
)
def test_wrong_length_is_logged_with_its_request(serve, path, event, detail):
    server = serve("wsgi_iterable:app", *THREADS)
    key, start = new_key(), len(server.stderr())
    server.get(f"{path}?{key}")
    server.wait_for_event(event, rf"GET {path}\?{key} .*{detail}", start=start)


# ----------------------------------------------------------------------------------- wsgi.errors

WRITTEN = {
    "write": "KEY write\n",
    "pieces": "KEY in pieces\n",
    "no-newline": "KEY no newline",
    "writelines": "KEY one\ntwo three\n",
    "writelines-generator": "KEY one\ntwo\n",
    "print": "KEY printed 1\n",
    "flask": "[2026-11-29 22:43:15,123] ERROR in app: KEY\n",
    "unicode": "KEY caf\xe9 \u20ac \U0001f4a9\n",
    "large": "KEY " + "x" * 300000 + " end\n",
}


@pytest.mark.parametrize("how, text", WRITTEN.items(), ids=WRITTEN)
def test_wsgi_errors_goes_to_stderr_as_it_is(server, how, text):
    """No prefix, nothing lost, in UTF-8."""
    key, start = new_key(), len(server.stderr())
    assert get_json(server, f"/errors/{how}?key={key}")["raised"] is None
    server.wait_for_log("(?:^|(?<=no newline))" + re.escape(text.replace("KEY", key)), start=start)


def assert_nothing_forged(server: ServerProcess, key: str, start: int) -> None:
    """Of the lines with `key`, only those of the server start like one of the server."""
    log = server.stderr()[start:]
    assert not set(log) & {"\x1b", "\r", "\x85", "\u2028"}, log
    for line in log.splitlines():
        if key in line and re.match(r"\[\d{4}-\d\d-\d\d ", line):
            assert re.match(r"\[.{25}\] \[\d+\] \[request\.failed\] \[ERROR\]", line), line


@pytest.mark.parametrize("how", ["forged", "forged-pieces"])
def test_wsgi_errors_cannot_forge_a_log_line(server, how):
    """CWE-117: the application writes what a client has sent."""
    key, start = new_key(), len(server.stderr())
    assert get_json(server, f"/errors/{how}?key={key}")["raised"] is None
    server.wait_for_log(rf"^ \[2026-11-29 22:43:15 \+0000\] \[1\] \[CRITICAL\] {key}", start=start)
    assert_nothing_forged(server, key, start)


@pytest.mark.parametrize("when", ["call", "later"])
def test_traceback_cannot_forge_a_log_line(server, when):
    key, start = new_key(), len(server.stderr())
    server.get(f"/fail/{when}/forged?key={key}")
    server.wait_for_log(rf"^ \[2026-11-29 22:43:15 \+0000\] \[1\] \[CRITICAL\] {key}", start=start)
    assert_nothing_forged(server, key, start)


def test_wsgi_errors_accepts_lone_surrogates(server):
    """A lone surrogate cannot be encoded: something is written, nothing is raised."""
    key, start = new_key(), len(server.stderr())
    assert get_json(server, f"/errors/surrogate?key={key}")["raised"] is None
    server.wait_for_log(f"{key} .*odd$", start=start)


@pytest.mark.parametrize("misuse", ["bytes", "none", "writelines-bytes"])
def test_wsgi_errors_is_a_text_stream(server, misuse):
    """PEP 3333: "a text mode object"."""
    assert get_json(server, f"/errors/{misuse}?key=x") == {"raised": "TypeError"}


def test_kept_error_stream_stays_usable(server):
    """Loggers keep the stream they were given first."""
    key = new_key()
    get_json(server, f"/kept?key={key}")
    assert get_json(server, f"/kept?key={key}") is True
    server.wait_for_log(f"{key} by the kept stream")


def test_python_stderr_is_untouched(server):
    key = new_key()
    get_json(server, f"/stderr?key={key}")
    server.wait_for_log(f"{key} on stderr")
