"""Precompressed variants. src/static_files/coding.rs has the table of Accept-Encoding."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from harness import Response, ServerProcess

CONTENT = b"body{}\n" * 1000
VARIANTS = {"br": b"as brotli", "zstd": b"as zstandard", "gzip": gzip.compress(CONTENT)}
EXTENSIONS = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("variants")
    for name in ("all.css", "gzip.css", "none.css", "hidden.css"):
        (root / name).write_bytes(CONTENT)
    for coding, content in VARIANTS.items():
        (root / f"all.css{EXTENSIONS[coding]}").write_bytes(content)
    (root / "gzip.css.gz").write_bytes(VARIANTS["gzip"])
    (root / "only.css.gz").write_bytes(VARIANTS["gzip"])
    (root / "hidden.css.gz").symlink_to("/etc/passwd")
    (root / "hidden.css.br").mkdir()
    return root


@pytest.fixture
def site(serve, tree: Path) -> ServerProcess:
    return serve("static_app:app", "--static", f"/s={tree}")


def ask(site: ServerProcess, name: str, accept: str | None, *more: tuple[str, str]) -> Response:
    accepted = [] if accept is None else [("Accept-Encoding", accept)]
    return site.get(f"/s/{name}", fields=[*accepted, *more])


@pytest.mark.parametrize(
    ("name", "accept", "coding"),
    [
        ("all.css", "gzip, deflate, br, zstd", "br"),
        ("all.css", "gzip, zstd", "zstd"),
        ("all.css", "gzip", "gzip"),
        ("all.css", "gzip;q=1, br;q=0.9", "gzip"),
        ("all.css", "br;q=0, *", "zstd"),
        ("all.css", "identity", None),
        ("all.css", "gzip;q=0", None),
        ("all.css", "identity;q=1, gzip;q=0.5", None),
        ("all.css", "deflate", None),
        ("all.css", "", None),
        ("all.css", None, None),
        ("gzip.css", "br, gzip", "gzip"),
        ("gzip.css", "br", None),
    ],
)
def test_variant_is_chosen_by_accept_encoding(site, name, accept, coding):
    response = ask(site, name, accept)
    assert response.status == 200
    assert response.body == (VARIANTS[coding] if coding else CONTENT)
    assert response.get("Content-Encoding") == coding
    assert response.get("Vary") == "Accept-Encoding", "also without a coding"
    assert response.get("Content-Type") == "text/css; charset=utf-8"


def test_file_without_variants_has_no_vary(site):
    for name in ("none.css", "hidden.css"):
        response = ask(site, name, "gzip, br")
        assert response.body == CONTENT
        assert response.get("Vary") is None and response.get("Content-Encoding") is None


def test_each_variant_has_an_etag_of_its_own(site):
    etags = {ask(site, "all.css", accept).get("ETag") for accept in ("br", "zstd", "gzip", "x")}
    assert len(etags) == 4 and all(etag and etag.startswith('"') for etag in etags)
    gzipped = ask(site, "all.css", "gzip").get("ETag") or ""
    for accept, status in (("gzip", 304), ("br", 200), ("", 200)):
        response = ask(site, "all.css", accept, ("If-None-Match", gzipped))
        assert (response.status, response.get("Vary")) == (status, "Accept-Encoding")


def test_range_is_one_of_the_chosen_variant(site):
    response = ask(site, "all.css", "br", ("Range", "bytes=3-"))
    assert (response.status, response.body) == (206, b"brotli")
    assert response.get("Content-Encoding") == "br"
    assert response.get("Content-Range") == "bytes 3-8/9"


def test_variant_without_its_file_is_served_by_its_own_name_only(site):
    assert ask(site, "only.css", "gzip").status == 404
    response = ask(site, "only.css.gz", "gzip")
    assert (response.status, response.body) == (200, VARIANTS["gzip"])
    assert response.get("Content-Type") == "application/gzip"
    assert response.get("Content-Encoding") is None
