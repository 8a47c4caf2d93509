"""Generated requests, read by rustwsgi, by h11 and by gunicorn's parser: where they differ, and why.

Request smuggling is two parsers taking the same bytes for different requests. So thousands of inputs
(`generated.py`, always the same ones) go to all three, and their stories are compared: what requests
there were, with which method, target, fields and content, whether the connection stays open, or what
ended it. A difference must be one of those explained in `EXPLAINED`, or the test fails with the bytes.
An explanation that nothing needs any more fails as well.

`DIFFERENTIAL_CASES=100000` looks longer; `DIFFERENTIAL_SEED` looks elsewhere.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import zip_longest

import pytest

from harness import ServerProcess, readable
from harness.generated import requests
from harness.readers import Ended, Request, Story, read_by_gunicorn, read_by_h11, read_by_rustwsgi

CASES = int(os.environ.get("DIFFERENTIAL_CASES", "3000"))
SEED = os.environ.get("DIFFERENTIAL_SEED", "1")

#: What chance brings too rarely.
RARE = [
    b"\r",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: +\r\n\r\n",
]


@dataclass(frozen=True)
class Difference:
    """Where two stories part."""

    peer: str
    ours: Request | Ended | None
    theirs: Request | Ended | None

    def kind(self) -> str:
        """Such as "rejected/accepted", ours first, or which part of a request is read differently."""
        if isinstance(self.ours, Request) and isinstance(self.theirs, Request):
            parts = ["method", "target", "fields", "body", "open"]
            return ", ".join(p for p in parts if getattr(self.ours, p) != getattr(self.theirs, p))
        said = [
            "accepted" if isinstance(step, Request) else step.how if step else "nothing"
            for step in (self.ours, self.theirs)
        ]
        return "/".join(said)


@dataclass(frozen=True)
class Explained:
    """A class of differences, and why it is right to have it. All but `why` are regular expressions."""

    #: Which parser reads it otherwise.
    peer: str
    #: What `Difference.kind` says.
    kind: str
    #: Found in the reason of the one that rejects; rustwsgi's if both do.
    reason: str
    #: Found in the input: what is judged differently.
    pattern: bytes
    why: str

    def covers(self, difference: Difference, data: bytes) -> bool:
        if not re.fullmatch(self.peer, difference.peer):
            return False
        if not re.fullmatch(self.kind, difference.kind()):
            return False
        ended = difference.ours if isinstance(difference.ours, Ended) else None
        if (ended is None or ended.how != "rejected") and isinstance(difference.theirs, Ended):
            ended = difference.theirs
        # No reason is given to HEAD.
        if ended and ended.reason and not re.search(self.reason, ended.reason):
            return False
        return bool(re.search(self.pattern, data, re.DOTALL))


BOTH = "h11|gunicorn"
#: Input that rustwsgi rejects at once, and the other parser accepts or keeps reading.
STRICTER = "rejected/(accepted|incomplete)"

EXPLAINED = [
    # ----------------------------------------------------------------- rustwsgi is the stricter
    Explained(
        BOTH,
        STRICTER,
        "Host is (repeated or malformed|missing)",
        rb"HTTP/1",
        "Host is one host[:port]; the application trusts it. RFC 9112 3.2, RFC 9110 7.2",
    ),
    Explained(
        BOTH,
        STRICTER,
        "request target",
        rb"[^\s] ([^/ ]|[^ ]*[#\x00-\x20\x7f-\xff])",
        "A target is visible ASCII in one of four forms, with no fragment. RFC 9112 3.2",
    ),
    Explained(
        BOTH,
        STRICTER,
        "CONNECT is not",
        rb"CONNECT ",
        "An origin server makes no tunnels. RFC 9110 9.3.6",
    ),
    Explained(
        "h11",
        STRICTER,
        "LF without CR",
        rb"(?<!\r)\n",
        "Lines end in CRLF: a lone LF is a line end for some and not for others. RFC 9112 2.2",
    ),
    Explained(
        "h11",
        STRICTER,
        "header field is malformed",
        rb"\r\n[ \t]",
        "A folded line is rejected, which a server may do. RFC 9112 5.2",
    ),
    Explained(
        "h11",
        STRICTER,
        "header field is malformed",
        rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]",
        "No control character in a value but HTAB. RFC 9110 5.5",
    ),
    Explained(
        "h11",
        STRICTER,
        "trailer field is malformed",
        rb"(?<!\r)\n",
        "Trailers are lines as those of a head are. RFC 9112 7.1.2",
    ),
    Explained(
        "h11",
        STRICTER,
        "both Content-Length and Transfer-Encoding",
        rb"(?i)content-length.*transfer-encoding|transfer-encoding.*content-length",
        "The mark of smuggling: a server may refuse it. RFC 9112 6.1",
    ),
    Explained(
        "h11",
        STRICTER,
        "Transfer-Encoding is malformed",
        rb"HTTP/1\.0",
        "HTTP/1.0 has no transfer codings: a proxy of that age would not see it. RFC 9112 6.1",
    ),
    Explained(
        "h11",
        STRICTER,
        "chunk is malformed",
        rb";",
        "Chunk extensions are read by their grammar. RFC 9112 7.1.1",
    ),
    Explained(
        "h11",
        STRICTER,
        "chunk is malformed",
        rb"\n[0-9a-fA-F]+[ \t]+\r\n",
        "A blank behind a size belongs to an extension, or to nothing. RFC 9112 7.1",
    ),
    Explained(
        BOTH,
        STRICTER,
        "chunk is malformed",
        rb"[0-9a-fA-F]{17}",
        "A chunk size of more than 16 digits is an overflow somewhere. RFC 9112 7.1",
    ),
    Explained(
        BOTH,
        "rejected/incomplete",
        "chunk is malformed",
        rb"(?<!\r)\n",
        "A size line that ends in LF is rejected there and then. RFC 9112 2.2",
    ),
    Explained(
        "h11",
        STRICTER,
        "Content-Length is malformed or repeated",
        rb"(?i)content-length",
        "Content-Length twice, or twice in one field, is rejected even if equal. RFC 9112 6.3",
    ),
    Explained(
        BOTH,
        STRICTER,
        "Content-Length is malformed or repeated",
        rb"[0-9]{19}",
        "A length beyond 64 bits is an overflow somewhere. RFC 9110 8.6",
    ),
    Explained(
        "h11",
        STRICTER,
        "Content-Type is repeated",
        rb"(?i)content-type.*content-type",
        "Content-Type is no list, and CGI has one place for it. RFC 9110 5.3",
    ),
    Explained(
        "h11",
        STRICTER,
        "expectation is unknown",
        rb"(?i)expect:",
        "An expectation that cannot be met is rejected. RFC 9110 10.1.1",
    ),
    Explained(
        "h11",
        STRICTER,
        "only HTTP/1.0 and HTTP/1.1",
        rb"HTTP/[02-9]\.",
        "Another major version is another protocol. RFC 9110 15.6.6",
    ),
    Explained(
        "gunicorn",
        STRICTER,
        "only transfer coding",
        rb"(?i)gzip",
        "gunicorn hands coded content to the application; no WSGI application expects it.",
    ),
    Explained(
        BOTH,
        "rejected/incomplete",
        "method is malformed",
        rb"",
        "What can never become a method is rejected before its line is complete. RFC 9110 9.1",
    ),
    # ----------------------------------------------------------------- rustwsgi is the more lenient
    Explained(
        "h11",
        "(accepted|incomplete)/rejected",
        "no request line received",
        rb"^\r\n|\r\n\r\n",
        "One empty line before a request line is skipped. RFC 9112 2.2",
    ),
    Explained(
        "h11",
        "(accepted|incomplete)/rejected",
        "illegal chunk header",
        rb"[0-9a-fA-F][ \t]*;[ \t]*[^\r\n ]+[ \t]*=?[ \t]*",
        "Blanks around the parts of an extension must be taken. RFC 9112 7.1.1",
    ),
    Explained(
        "h11",
        "(accepted|incomplete)/rejected",
        "bad Content-Length",
        rb"(?i)0[^\r]*\r\nContent-Length",
        "The same.",
    ),
    Explained(
        "h11",
        "incomplete/rejected",
        "illegal request line",
        rb"\r\Z",
        "A CR is rejected when what follows shows that no LF does.",
    ),
    Explained(
        "gunicorn",
        "(accepted|incomplete)/rejected",
        "InvalidHeader",
        rb"(?i)\n0[^\r]*\r\n.*(Content-Length|Host|TE):",
        "A trailer field that may not be one is ignored. RFC 9110 6.5.1",
    ),
    Explained(
        "gunicorn",
        "accepted/rejected",
        "ExpectationFailed",
        rb"HTTP/1\.0",
        "HTTP/1.0 knows no expectations: the field means nothing there. RFC 9110 10.1.1",
    ),
    Explained(
        "gunicorn",
        "incomplete/rejected",
        "InvalidRequestLine|InvalidHTTPVersion",
        rb"",
        "A request line is judged once the head is complete. It is rejected then.",
    ),
    # ---------------------------------------------------------------------------- read differently
    Explained(
        "gunicorn",
        "open",
        "",
        rb"(?i)connection:[^\r]*(,|.*\nconnection:)",
        "Connection is a list, in which gunicorn finds `close` only if it is alone. RFC 9110 7.6.1",
    ),
    Explained(
        "h11",
        "open",
        "",
        rb"HTTP/1\.0.*(?i:keep-alive)",
        "h11 never keeps a connection of HTTP/1.0 open. RFC 9112 9.3",
    ),
    Explained(
        "gunicorn",
        "incomplete/accepted",
        "",
        rb"(?i)content-length",
        "gunicorn takes content that was cut off for complete. RFC 9112 8",
    ),
]


def first_difference(peer: str, ours: Story, theirs: Story) -> Difference | None:
    for mine, other in zip_longest(ours, theirs):
        if mine != other:
            return Difference(peer, mine, other)
    return None


def explanation(difference: Difference, data: bytes) -> Explained | None:
    return next((rule for rule in EXPLAINED if rule.covers(difference, data)), None)


@pytest.fixture
def server(serve) -> ServerProcess:
    return serve("differential:app")


@pytest.mark.second_door("no case")
def test_every_difference_is_explained(server: ServerProcess) -> None:
    met: Counter[Explained] = Counter()
    unexplained: list[str] = []
    for data in [*RARE, *requests(SEED, CASES)]:
        ours = read_by_rustwsgi(server, data)
        for peer, theirs in [("h11", read_by_h11(data)), ("gunicorn", read_by_gunicorn(data))]:
            difference = first_difference(peer, ours, theirs)
            if difference is None:
                continue
            rule = explanation(difference, data)
            if rule:
                met[rule] += 1
            else:
                unexplained.append(
                    f"{peer}, {difference.kind()}: {readable(data)}\n"
                    f"  rustwsgi: {difference.ours}\n  {peer}: {difference.theirs}"
                )
    assert not unexplained, f"{len(unexplained)} unexplained:\n" + "\n".join(unexplained[:20])
    if not os.environ.keys() & {"DIFFERENTIAL_CASES", "DIFFERENTIAL_SEED"}:
        assert not (stale := set(EXPLAINED) - set(met)), f"explains nothing any more: {stale}"


ACCEPTED = Request("POST", "/", {"HOST": "a", "CONTENT-LENGTH": "5"}, "hello", True)


@pytest.mark.parametrize(
    ("ours", "theirs", "data"),
    [
        (
            ACCEPTED,
            Ended("rejected", "bad Content-Length"),
            b"POST / HTTP/1.1\r\nContent-Length: +5",
        ),
        (ACCEPTED, Ended("rejected", "bare LF"), b"POST / HTTP/1.1\nContent-Length: 5"),
        (ACCEPTED, replace(ACCEPTED, body=""), b"POST / HTTP/1.1\r\nContent-Length: 0"),
        (None, ACCEPTED, b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1"),
        (Ended("rejected", "chunk is malformed"), ACCEPTED, b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("peer", ["h11", "gunicorn"])
def test_new_difference_is_reported(peer, ours, theirs, data) -> None:
    assert explanation(Difference(peer, ours, theirs), data) is None
