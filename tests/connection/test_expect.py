"""Expect: 100-continue. [RFC 9110 section 10.1.1]"""

from __future__ import annotations

import pytest

from harness import ServerProcess, assert_rejected, build_request, chunked, echoed

EXPECT = ("Expect", "100-continue")
CHUNKED = ("Transfer-Encoding", "chunked")


def head(*fields: tuple[str, str], version: str = "HTTP/1.1", method: str = "POST") -> bytes:
    return build_request(method, "/expect", fields=fields, version=version)


@pytest.mark.parametrize(
    "value", ["100-continue", "100-Continue", "100-CONTINUE", " 100-continue\t"]
)
@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_expect_continue_before_the_body_is_answered_with_100(
    echo: ServerProcess, method: str, coding: str, value: str, how: str
) -> None:
    framing = ("Content-Length", "5") if coding == "length" else CHUNKED
    body = b"hello" if coding == "length" else chunked(b"hel", b"lo")
    with echo.connect() as client:
        for _ in range(2):  # and the connection stays usable
            raw = head(("Expect", value), framing, method=method)
            client.send_slowly(raw) if how == "bytes" else client.send(raw)
            interim = client.response()
            assert interim.status == 100 and interim.version == "HTTP/1.1", interim
            client.send_slowly(body) if how == "bytes" else client.send(body)
            assert echoed(client.response())["body"] == "hello"


def test_no_continue_without_a_body(echo: ServerProcess) -> None:
    for fields in ([EXPECT], [EXPECT, ("Content-Length", "0")]):
        with echo.connect() as client:
            assert client.request(head(*fields)).status == 200


def test_no_continue_without_expectation(echo: ServerProcess) -> None:
    with echo.connect() as client:
        client.send(head(("Content-Length", "5")))
        client.send(b"hello")
        assert echoed(client.response())["body"] == "hello"


def test_no_continue_to_http10(echo: ServerProcess) -> None:
    """The expectation of an HTTP/1.0 request MUST be ignored."""
    with echo.connect() as client:
        client.send_slowly(head(EXPECT, ("Content-Length", "5"), version="HTTP/1.0"))
        client.send_slowly(b"hello")
        assert echoed(client.response())["body"] == "hello"


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body_sent_without_waiting_is_accepted(echo: ServerProcess, coding: str) -> None:
    """The server may omit the 100 if the body has arrived; it never sends it after the response."""
    framing = ("Content-Length", "5") if coding == "length" else CHUNKED
    body = b"hello" if coding == "length" else chunked(b"hello")
    with echo.connect() as client:
        for _ in range(20):
            response = client.request(head(EXPECT, framing) + body)
            if response.status == 100:
                response = client.response()
            assert echoed(response)["body"] == "hello"


def test_expect_continue_in_a_pipeline_is_answered_with_100(echo: ServerProcess) -> None:
    """The 100 belongs to the second request, so it follows the response to the first."""
    with echo.connect() as client:
        client.send(build_request("GET", "/first") + head(EXPECT, ("Content-Length", "5")))
        assert echoed(client.response())["environ"]["PATH_INFO"] == "/first"
        assert client.response().status == 100
        client.send(b"hello")
        assert echoed(client.response())["body"] == "hello"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("Content-Length", "x")], id="length"),
        pytest.param([("Content-Length", "5"), CHUNKED], id="both-framings"),
        pytest.param([("Transfer-Encoding", "identity")], id="coding"),
        pytest.param([("Host", "a"), ("Host", "b"), ("Content-Length", "5")], id="hosts"),
    ],
)
def test_no_continue_for_a_rejected_head(
    echo: ServerProcess, fields: list[tuple[str, str]], how: str
) -> None:
    assert_rejected(echo, head(EXPECT, *fields), {400, 501}, how=how)


def test_no_continue_before_413(serve, how: str) -> None:
    """The 413 comes in place of the 100."""
    server = serve("echo:app", "--threads", "1", "--limit-request-body", "1000")
    assert_rejected(server, head(EXPECT, ("Content-Length", "1001")), 413, how=how)


@pytest.mark.parametrize(
    "value",
    ["200-ok", "100", "continue", "100-continue, x", "100-continue=1", "x=y", "100-continuex"],
)
@pytest.mark.parametrize("framing", [[], [("Content-Length", "5")], [CHUNKED]], ids=str)
def test_unknown_expectation_is_rejected(
    echo: ServerProcess, value: str, framing: list[tuple[str, str]], how: str
) -> None:
    """RFC 9110 section 15.5.18."""
    assert_rejected(echo, head(("Expect", value), *framing), 417, how=how)


def test_unknown_expectation_beside_continue_is_rejected(echo: ServerProcess) -> None:
    assert_rejected(echo, head(EXPECT, ("Expect", "x"), ("Content-Length", "5")), 417)


def test_client_that_leaves_after_continue_is_harmless(echo: ServerProcess) -> None:
    with echo.connect() as client:
        port = str(client.port)
        client.send(head(EXPECT, ("Content-Length", "5")))
        assert client.response().status == 100
        client.shutdown_write()
        if not client.at_eof():
            assert client.response().status in {400, 408}
    assert port not in {call["port"] for call in echo.calls_since_last_asked()}
