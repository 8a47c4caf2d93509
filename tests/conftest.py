"""Fixtures: the door under test, and servers started through it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ServerProcess, available_doors
from harness.bridge import is_bridged
from harness.left_out import reason_to_leave_out

Factory = Callable[..., ServerProcess]


DOORS = available_doors()
#: How a request reaches the server; see `harness.exchange`.
DELIVERIES = ["whole", "bytes", "pipelined"]
#: Every case runs through the first door. These run through the second one as well, by folder;
#: `pytest.mark.second_door("every case")` on a file or a test overrides it. See tests/README.md.
SECOND_DOOR = {
    "server": "every case",
    "config": "first case",
    "connection": "first case",
    "http": "first case",
    "integrations": "first case",
    "static": "first case",
    "supervisor": "first case",
    "tls": "first case",
    "upgrade": "first case",
    "wsgi": "first case",
}


@pytest.fixture(scope="session")
def door(request: pytest.FixtureRequest) -> str:
    """The front door under test, one of the ways to start the server."""
    if request.param is None:
        pytest.fail("no server to test: install the wheel or build target/release/rustwsgi")
    return request.param


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with SIGINT ignored, which every server would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line(
        "markers", 'second_door(cases): "every case", "first case" or "no case" of the test'
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "door" in metafunc.fixturenames:
        metafunc.parametrize("door", DOORS or [None], indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> object:
    """Leave out the cases of a test that a further door or delivery need not repeat.

    The Rust tables try every delivery of every case: src/http1/tests.rs.
    """
    found = yield
    if not isinstance(found, list):
        return found
    kept: list[pytest.Item] = []
    seen: set[str] = set()
    for item in found:
        further = further_variants(item)
        if not further:
            kept.append(item)
        elif len(further) == 1:
            (variant,) = further
            if variant == "bytes" and is_bridged():
                continue  # the pieces of a head are not those of its frame
            cases = "first case" if variant in DELIVERIES else second_door_cases(item)
            if cases == "every case" or (cases == "first case" and variant not in seen):
                kept.append(item)
            seen.add(variant)
    return kept


def further_variants(item: pytest.Item) -> set[str]:
    """The door and the delivery of a case, unless they are the first ones."""
    callspec = getattr(item, "callspec", None)
    if callspec is None:
        return set()
    every_door = bool(os.environ.get("RUSTWSGI_DOORS", "").strip())
    further = {callspec.params.get("door")} & set([] if every_door else DOORS[1:])
    return further | {callspec.params.get(key) for key in ("how", "delivery")} & {*DELIVERIES[1:]}


def second_door_cases(item: pytest.Item) -> str:
    """How many cases of this test run through the second door."""
    marker = item.get_closest_marker("second_door")
    return marker.args[0] if marker else SECOND_DOOR.get(item.path.parent.name, "no case")


@pytest.fixture(scope="session")
def _shared(door: str) -> Iterator[dict[tuple[object, ...], ServerProcess]]:
    servers: dict[tuple[object, ...], ServerProcess] = {}
    yield servers
    for server in servers.values():  # all at once: some take a second to end
        if server.is_alive():
            server.send_signal(signal.SIGTERM)
    codes = {key: server.wait() for key, server in servers.items()}
    assert not any(codes.values()), f"exit codes after SIGTERM: {codes}"


@pytest.fixture
def serve(door: str, _shared: dict[tuple[object, ...], ServerProcess]) -> Iterator[Factory]:
    """`serve("echo:app", "--threads", "4")`: a server shared by all tests with the same arguments."""
    used: set[tuple[object, ...]] = set()

    def get(app: str, *args: str, env: dict[str, str] | None = None) -> ServerProcess:
        key = (app, args, tuple(sorted((env or {}).items())))
        if key not in _shared:
            _shared[key] = ServerProcess(door, app, *args, env=env).start()
        used.add(key)
        return _shared[key]

    yield get
    for key in used:
        server = _shared[key]
        if not server.is_alive():
            del _shared[key]
            pytest.fail(f"the server died with {server.wait()}:\n{server.stderr()}")


@pytest.fixture
def fresh_server(door: str) -> Iterator[Factory]:
    """As `serve`, but a process for one test; also takes the keywords of ServerProcess."""
    started: list[ServerProcess] = []

    def start(app: str | None, *args: str, **keywords: object) -> ServerProcess:
        server = ServerProcess(door, app, *args, **keywords)  # type: ignore[arg-type]
        started.append(server)
        return server.start()

    yield start
    codes = [server.stop() for server in started if server.is_alive()]
    assert not any(codes), f"exit codes after SIGTERM: {codes}"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe: opening one end waits for the other, so a test decides when a request continues."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that all users can enter. `tmp_path` is none: each pytest that starts takes the
    rights of others away from the directory that has those of all pytests of a user."""
    with tempfile.TemporaryDirectory(prefix="rustwsgi-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(params=DELIVERIES[:2])
def how(request: pytest.FixtureRequest) -> str:
    """How a request is delivered: whole, or byte by byte (the first case of a test only)."""
    return request.param


@pytest.fixture(params=DELIVERIES)
def delivery(request: pytest.FixtureRequest) -> str:
    """How a valid request is delivered (all but whole: the first case of a test only)."""
    return request.param


@pytest.fixture
def echo(serve: Factory) -> ServerProcess:
    """echo:app in one thread, which makes "was never called" a certain statement."""
    return serve("echo:app", "--threads", "1")


#: Tests of what is not so over TLS (the scheme, an application without the server), or of bytes that
#: a record hides. With RUSTWSGI_TEST_TLS=1 they are left out.
PLAIN_ONLY = {
    "test_every_difference_is_explained",
    "test_forwarded_proto_from_this_machine_is_trusted",
    "test_scheme_without_forwarded_proto_is_http",
    "test_contradictory_forwarded_proto_is_ignored",
    "test_forwarded_proto_from_others_is_ignored",
    "test_equal_heads_of_a_proxy_and_of_others_differ",
    "test_trailers_change_no_scheme_or_framing",
    "test_last_bytes_and_the_end_are_one_packet",
    "test_url_scheme_is_http",
    "test_clients_with_equal_heads_see_their_own_addresses",
    "test_fields_become_http_variables",
    "test_nothing_of_os_environ",
    "test_head_and_file_share_a_packet",
    "test_waiting_bytes_are_held_back_by_flow_control",
    # The tickets of a session come unasked.
    "test_continue_is_sent_at_the_first_read",
}
#: Files with such tests only.
PLAIN_FILES = {"test_forwarded_headers.py", "test_proxy_protocol.py", "test_proxy_senders.py"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.environ.get("RUSTWSGI_TEST_TLS") and (
        item.name.partition("[")[0] in PLAIN_ONLY or item.path.name in PLAIN_FILES
    ):
        pytest.skip("not over TLS: see PLAIN_ONLY")
    if is_bridged() and (reason := reason_to_leave_out(item.name, item.path.name)):
        pytest.skip(f"not over HTTP/2: {reason}")
    for server in ServerProcess.running:
        server.log_mark = len(server.stderr())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows what its servers logged meanwhile."""
    report = yield
    if report.failed:
        for server in ServerProcess.running:
            log = server.stderr()[server.log_mark :]
            if log.strip():
                report.sections.append((f"log of {server.app} {' '.join(server.args)}", log))
    return report
