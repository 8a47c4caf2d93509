"""Responses of applications over HTTP/2."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from harness.http2 import Http2Client, http2


def spec(**keywords: object) -> str:
    return "/?spec=" + quote(json.dumps(keywords))


@pytest.mark.parametrize("kind", ["list", "tuple", "generator", "iterator", "items", "write"])
@pytest.mark.parametrize("blocks", [[], [""], ["a"], ["a", "", "bc"]])
def test_content_is_sent_whole(plain, kind: str, blocks: list[str]) -> None:
    with http2(plain("http_responses:app")) as client:
        response = client.request(spec(**{"blocks": blocks, "as": kind}))
    assert response.status == 200
    assert response.body == "".join(blocks).encode()
    assert response.ended and response.reset is None
    assert not response.all("transfer-encoding") and not response.all("connection")


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_large_content_passes_flow_control(plain, kind: str) -> None:
    with http2(plain("http_responses:app")) as client:
        path = spec(**{"blocks": ["0123456789abcdef"], "swell": 4096, "times": 80, "as": kind})
        response = client.request(path)
    assert response.body == b"0123456789abcdef" * 4096 * 80


def test_full_socket_delays_and_loses_nothing(plain) -> None:
    """The windows are large, so that the socket is the bound; small responses come between."""
    server = plain("http_responses:app")
    client = Http2Client(server.connect(receive_buffer=8192), settings={4: 2**31 - 1})
    with client:
        client.h2.increment_flow_control_window(2**30)
        large = spec(**{"blocks": ["0123456789abcdef"], "swell": 65536, "times": 8})
        streams = [client.start(large) for _ in range(4)]
        small = client.start(spec(blocks=["x"]))
        assert client.wait(small).body == b"x"
        client.wait(*streams)
        for stream in streams:
            assert client.streams[stream].body == b"0123456789abcdef" * 65536 * 8


def test_responses_that_end_together_are_sent_whole(plain) -> None:
    """The windows are large, so that no frame of the client has the server continue."""
    client = Http2Client(plain("http_responses:app").connect(), settings={4: 2**31 - 1})
    with client:
        client.h2.increment_flow_control_window(2**30)
        large = spec(**{"blocks": ["0123456789abcdef"], "swell": 16384})
        streams = [client.start(large) for _ in range(8)]
        client.wait(*streams)
        lengths = [len(client.streams[stream].body) for stream in streams]
    assert lengths == [16 * 16384] * 8


def test_fields_have_lower_case_names(plain) -> None:
    fields = [["X-Some", "Value "], ["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["VARY", "c"]]
    with http2(plain("http_responses:app")) as client:
        response = client.request(spec(fields=fields, status="404 Nothing Here"))
    assert response.status == 404
    assert response.all("x-some") == ["Value"]
    sent = [field for field in response.fields if field[0] in ("x-some", "set-cookie", "vary")]
    assert sent == [
        ("x-some", "Value"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("vary", "c"),
    ]
    assert response.all("server") == ["rustwsgi"]
    assert len(response.all("date")) == 1


def test_head_has_no_content(plain) -> None:
    with http2(plain("http_responses:app")) as client:
        response = client.request(spec(blocks=["hello"]), method="HEAD")
        assert response.all("content-length") == ["5"]
        assert response.body == b""
        assert client.request(spec(status="204 No Content", blocks=["x"])).body == b""
        assert client.request(spec(status="304 Not Modified", blocks=["x"])).body == b""


def test_rejected_head_has_no_content(plain) -> None:
    """Regression: a client takes content in a response to HEAD for an error of the protocol."""
    with http2(plain("http_responses:app")) as client:
        for path, fields, status in [
            ("/" + "a" * 9000, [], 414),
            ("/", [("x-a", "b" * 9000)], 431),
            ("/%00", [], 400),
        ]:
            response = client.request(path, method="HEAD", fields=fields)
            assert (response.status, response.body, response.ended) == (status, b"", True)
            assert int(response.all("content-length")[0]) > 0


def test_hop_by_hop_fields_are_dropped_with_a_warning(fresh_plain) -> None:
    server = fresh_plain("http_responses:app")
    fields = [["Connection", "keep-alive"], ["Upgrade", "x"], ["X-Kept", "1"]]
    with http2(server) as client:
        response = client.request(spec(fields=fields, blocks=["x"]))
    assert response.status == 200
    assert [name for name, _ in response.fields if name in ("connection", "upgrade")] == []
    assert response.all("x-kept") == ["1"]
    server.wait_for_log(r"\[WARNING\].*(Connection|Upgrade)")


def test_content_shorter_than_its_length_is_a_reset(plain) -> None:
    with http2(plain("http_responses:app")) as client:
        path = spec(**{"fields": [["Content-Length", "9"]], "blocks": ["abc"], "as": "generator"})
        response = client.request(path)
        assert (response.status, response.body) == (200, b"abc"), "what was sent has come"
        assert response.reset == 2, "INTERNAL_ERROR"
        assert client.request(spec(blocks=["x"])).body == b"x"


def test_content_longer_than_its_length_is_cut(plain) -> None:
    with http2(plain("http_responses:app")) as client:
        response = client.request(spec(fields=[["Content-Length", "2"]], blocks=["abc"]))
    assert response.body == b"ab" and response.ended


def test_failure_before_the_head_is_a_500(plain) -> None:
    with http2(plain("http_responses:app")) as client:
        assert client.request(spec(raise_after=-1)).status == 500


def test_failure_within_the_content_is_a_reset(plain) -> None:
    """Regression: the reset discarded the block that was sent before."""
    with http2(plain("http_responses:app")) as client:
        response = client.request(spec(blocks=["a", "b"], raise_after=1))
        assert (response.status, response.body) == (200, b"a")
        assert response.reset == 2, "INTERNAL_ERROR"
        assert client.request(spec(blocks=["x"])).body == b"x"


def test_early_hints_come_before_the_response(plain) -> None:
    with http2(plain("wsgi_early_hints:app")) as client:
        response = client.request("/twice")
    statuses = [status for status, _ in response.interim]
    assert statuses and set(statuses) == {103}
    assert any(name == "link" for _, fields in response.interim for name, _ in fields)
    assert response.ended
