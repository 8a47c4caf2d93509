"""Preconditions and ranges over the wire. src/static_files/conditional.rs and range.rs have the
tables."""

from __future__ import annotations

import email.policy
import os
import re
from email.parser import BytesParser
from pathlib import Path

import pytest

from harness import Response, ServerProcess

CONTENT = bytes(range(256)) * 1024
SMALL = b"0123456789"
#: Last-Modified of both files.
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranges")
    for name, content in (("large.bin", CONTENT), ("small.txt", SMALL), ("empty", b"")):
        (root / name).write_bytes(content)
        os.utime(root / name, (784111777, 784111777))
    return root


@pytest.fixture
def site(serve, tree: Path) -> ServerProcess:
    return serve("static_app:app", "--static", f"/s={tree}")


def ask(site: ServerProcess, name: str, *fields: tuple[str, str], method: str = "GET") -> Response:
    return site.get(f"/s/{name}", fields=fields, method=method)


def parts_of(response: Response) -> list[tuple[str, bytes]]:
    """Content-Range and content of each part, by Python's MIME parser."""
    kind = response.get("Content-Type")
    assert kind and kind.startswith("multipart/byteranges; boundary=")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    message = BytesParser(policy=email.policy.HTTP).parsebytes(head + response.body)
    found = []
    boundary = kind.partition("boundary=")[2].encode()
    # MIME parsers may change the content, so it is taken from the bytes.
    raw = response.body.split(b"--" + boundary)[1:-1]
    assert response.body.endswith(b"\r\n--" + boundary + b"--\r\n")
    for part, text in zip(message.iter_parts(), raw, strict=True):
        found.append((part["Content-Range"], text.partition(b"\r\n\r\n")[2][:-2]))
    return found


# -------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("spec", "first", "last"),
    [("0-0", 0, 0), ("100-199", 100, 199), ("-5", 262139, 262143), ("262143-", 262143, 262143)],
)
def test_one_range_is_sent(site, spec, first, last):
    response = ask(site, "large.bin", ("Range", f"bytes={spec}"))
    assert (response.status, response.body) == (206, CONTENT[first : last + 1])
    assert response.get("Content-Range") == f"bytes {first}-{last}/{len(CONTENT)}"
    assert response.get("Content-Length") == str(last - first + 1)
    whole = ask(site, "large.bin")
    for name in ("ETag", "Last-Modified", "Cache-Control", "Content-Type"):
        assert response.get(name) == whole.get(name)


def test_large_range_is_sent(site):
    response = ask(site, "large.bin", ("Range", "bytes=1-200000"))
    assert (response.status, response.body) == (206, CONTENT[1:200001])


def test_several_ranges_are_sent_in_their_order(site):
    wanted = [(262000, 262143), (0, 0), (1000, 200000)]
    specs = ",".join(f"{first}-{last}" for first, last in wanted)
    response = ask(site, "large.bin", ("Range", f"bytes={specs}"))
    assert response.status == 206 and response.get("Content-Range") is None
    assert parts_of(response) == [
        (f"bytes {first}-{last}/{len(CONTENT)}", CONTENT[first : last + 1])
        for first, last in wanted
    ]


def test_two_ranges_of_a_small_file_are_sent(site):
    response = ask(site, "small.txt", ("Range", "bytes=0-1,4-5"))
    assert parts_of(response) == [("bytes 0-1/10", b"01"), ("bytes 4-5/10", b"45")]
    assert b"Content-Type: text/plain; charset=utf-8\r\n" in response.body


def test_range_without_a_byte_is_not_satisfiable(site):
    for name, spec, size in (("small.txt", "10-", 10), ("small.txt", "-0", 10), ("empty", "0-", 0)):
        response = ask(site, name, ("Range", f"bytes={spec}"))
        assert (response.status, response.get("Content-Range")) == (416, f"bytes */{size}")


@pytest.mark.parametrize("value", ["bytes=5-2", "bytes=x", "lines=1-2", "bytes=0-1,9-5", "bytes"])
def test_range_with_a_mistake_is_ignored(site, value):
    response = ask(site, "small.txt", ("Range", value))
    assert (response.status, response.body) == (200, SMALL)


def test_range_is_ignored_on_head(site):
    response = ask(site, "small.txt", ("Range", "bytes=0-1"), method="HEAD")
    assert (response.status, response.get("Content-Length")) == (200, "10")
    assert response.get("Content-Range") is None


@pytest.mark.parametrize(
    "spec",
    [
        lambda n: "0-",
        lambda n: f"{n}-",
        lambda n: f"{3 * n}-{3 * n}",
        lambda n: f"{3 * n}-{3 * n + 1}",
        lambda n: f"-{n + 1}",
        lambda n: f"{n}-{n + 1}",
    ],
    ids=["all", "tails", "bytes", "pairs", "ends", "chained"],
)
@pytest.mark.parametrize("name", ["large.bin", "small.txt"])
def test_thousands_of_ranges_are_never_larger_than_twice_the_file(serve, tree, name, spec):
    limit = ("--limit-request-field-size", "64k", "--limit-request-head", "128k")
    site = serve("static_app:app", "--static", f"/s={tree}", *limit)
    value = "bytes=" + ",".join(spec(n) for n in range(3000))
    response = ask(site, name, ("Range", value))
    size = (tree / name).stat().st_size
    assert response.status in (200, 206, 416) and response.complete
    assert len(response.body) <= max(2 * size, 100)


def test_long_media_type_counts_in_the_size_of_the_reply(site, tree):
    """The type of a presentation has 73 characters, and each part repeats it."""
    (tree / "slides.pptx").write_bytes(bytes(10240))
    for count in range(30, 65):
        step = 10240 // count
        value = "bytes=" + ",".join(f"{n * step}-{n * step + step - 2}" for n in range(count))
        response = ask(site, "slides.pptx", ("Range", value))
        assert response.status in (200, 206) and len(response.body) <= 2 * 10240


# ------------------------------------------------------------------------------- preconditions


def test_preconditions_are_evaluated_in_their_order(site):
    etag = ask(site, "small.txt").get("ETag") or ""
    assert re.fullmatch(r'"[0-9a-f]+-a"', etag), "strong"
    before, after = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
    for fields, status in (
        ([("If-None-Match", etag)], 304),
        ([("If-None-Match", f'"x", W/{etag}')], 304),
        ([("If-None-Match", "*")], 304),
        ([("If-None-Match", '"x"')], 200),
        ([("If-Modified-Since", MODIFIED)], 304),
        ([("If-Modified-Since", before)], 200),
        ([("If-None-Match", '"x"'), ("If-Modified-Since", after)], 200),
        ([("If-Match", etag)], 200),
        ([("If-Match", f"W/{etag}")], 412),
        ([("If-Match", '"x"')], 412),
        ([("If-Unmodified-Since", MODIFIED)], 200),
        ([("If-Unmodified-Since", before)], 412),
        ([("If-Match", etag), ("If-Unmodified-Since", before)], 200),
        ([("If-Match", '"x"'), ("If-None-Match", etag)], 412),
        ([("Range", "bytes=0-1"), ("If-Range", etag)], 206),
        ([("Range", "bytes=0-1"), ("If-Range", '"x"')], 200),
        ([("Range", "bytes=0-1"), ("If-Range", MODIFIED)], 206),
        ([("Range", "bytes=0-1"), ("If-Range", before)], 200),
        ([("Range", "bytes=99-"), ("If-None-Match", etag)], 304),
        ([("Range", "bytes=99-"), ("If-Match", '"x"')], 412),
    ):
        for method in ("GET", "HEAD"):
            expected = 200 if method == "HEAD" and status == 206 else status
            assert ask(site, "small.txt", *fields, method=method).status == expected, fields


def test_not_modified_has_the_fields_to_update_and_no_content(site):
    response = ask(site, "small.txt", ("If-None-Match", "*"))
    assert (response.status, response.body, response.framing) == (304, b"", "none")
    names = {name for name, _ in response.fields}
    assert {"ETag", "Last-Modified", "Cache-Control", "Date"} <= names
    assert not {name for name in names if name.startswith("Content-")}


def test_connection_stays_usable_after_each_status(site):
    from harness import build_request

    with site.connect() as client:
        for fields, status in (
            ([("If-None-Match", "*")], 304),
            ([("Range", "bytes=1-2")], 206),
            ([("Range", "bytes=99-")], 416),
            ([("If-Match", '"x"')], 412),
            ([], 200),
        ):
            assert (
                client.request(build_request("GET", "/s/small.txt", fields=fields)).status == status
            )
