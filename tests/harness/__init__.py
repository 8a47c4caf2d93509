"""The black-box harness: a real server process, raw sockets, and a strict response parser.

Nothing here knows how the server works inside. Tests write bytes and compare bytes; the parser
refuses whatever RFC 9112 does not allow a server to send, so every test checks well-formed
responses for free. Waiting is always for an event (a log line, a byte, an end of file), with a
time limit that only turns a hang into a failure.

`doors` knows the ways to start the server, `server` has it as a process, `client` talks to it, and
`checks` is what most tests do and assert.
"""

from .checks import (
    SMUGGLED,
    assert_error_response,
    assert_refused,
    assert_turned_away,
    echoed,
    exchange,
    readable,
    wait_until,
)
from .client import TIMEOUT, Client, NoResponse, Response, build_request, chunked
from .doors import (
    APPS,
    ROOT,
    TESTS,
    WITHOUT_GIL,
    available_doors,
    binary_path,
    child_environment,
    door_command,
    run_cli,
)
from .server import ServerProcess, StartFailed

__all__ = [
    "APPS",
    "ROOT",
    "SMUGGLED",
    "TESTS",
    "TIMEOUT",
    "WITHOUT_GIL",
    "Client",
    "NoResponse",
    "Response",
    "ServerProcess",
    "StartFailed",
    "assert_error_response",
    "assert_refused",
    "assert_turned_away",
    "available_doors",
    "binary_path",
    "build_request",
    "child_environment",
    "chunked",
    "door_command",
    "echoed",
    "exchange",
    "readable",
    "run_cli",
    "wait_until",
]
