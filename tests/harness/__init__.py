"""The black-box harness: a real server process, raw sockets, and a strict response parser.

The harness knows nothing of the server's internals. Tests write bytes and compare bytes. The parser
rejects every response that RFC 9112 does not allow, so every test checks the framing, too. Tests
wait for events (a log line, a byte, an end of file); a time limit only turns a hang into a failure.

`doors` has the ways to start the server, `server` the process, `client` the connection, and
`checks` what most tests do and assert.
"""

from .checks import (
    SMUGGLED,
    assert_error_response,
    assert_rejected,
    assert_unavailable,
    echoed,
    exchange,
    has_ipv6,
    has_status,
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
    "assert_rejected",
    "assert_unavailable",
    "available_doors",
    "binary_path",
    "build_request",
    "child_environment",
    "chunked",
    "door_command",
    "echoed",
    "exchange",
    "has_ipv6",
    "has_status",
    "readable",
    "run_cli",
    "wait_until",
]
