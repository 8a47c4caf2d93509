"""Nothing outside of the directory is ever served: hostile paths, links, devices, hidden files."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path

import pytest

from harness import ServerProcess, build_request
from harness.bridge import is_bridged

SECRET = b"top secret"


@pytest.fixture(scope="session")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory `root`, which is served, beside a secret."""
    top = tmp_path_factory.mktemp("paths")
    root = top / "root"
    (root / "dir").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".well-known").mkdir()
    (top / "root2").mkdir()
    for name in ("secret", "root2/secret", "root/.git/config", "root/.env", "root/dir/.htaccess"):
        (top / name).write_bytes(SECRET)
    (root / ".well-known/.hidden").write_bytes(SECRET)
    (root / "a.txt").write_text("a")
    (root / "dir/b.txt").write_text("b")
    for link, to in (
        ("in", "a.txt"),
        ("in-dir", "dir"),
        ("dir/up", "../a.txt"),
        ("absolute-in", root / "a.txt"),
        ("absolute-dir", root / "dir"),
        ("out", "../secret"),
        ("out-dir", ".."),
        ("absolute-out", top / "secret"),
        ("sibling", top / "root2"),
        ("loop", "loop"),
        ("null", "/dev/null"),
        ("zero", "/dev/zero"),
        ("proc", "/proc/self"),
        ("etc", "/etc"),
    ):
        (root / link).symlink_to(to)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # the path of a socket has a short limit
        listener.bind("socket")
        os.chdir(here)
    return top


@pytest.fixture
def site(serve, top: Path) -> ServerProcess:
    index = ("--static-index", "a.txt")
    return serve("static_app:app", "--static", f"/static={top / 'root'}", *index)


DOTS = ["..", "%2e%2e", "%2E.", ".%2e", "%2e%2E"]
SLASHES = ["/", "%2f", "%2F", "//", "/./", "\\", "%5c", "%5C"]
HOSTILE = [
    *(f"{dots}{slash}secret" for dots, slash in itertools.product(DOTS, SLASHES)),
    *(f"dir/{dots}/{dots}{slash}secret" for dots, slash in itertools.product(DOTS[:3], SLASHES)),
    *(f"{dots}/{dots}/{dots}/{dots}/{dots}/etc/passwd" for dots in DOTS),
    *(f"in-dir/{dots}/{dots}/secret" for dots in DOTS),
    *("..", "../", "../root/a.txt", "../root2/secret", ".../secret", "..;/secret", "..%00/secret"),
    *("%252e%252e/secret", "%252e%252e%252fsecret", "..%252fsecret", "%c0%ae%c0%ae/secret"),
    *("%c0%ae%c0%ae%c0%afsecret", "%u002e%u002e/secret", "%e0%80%ae%e0%80%ae/secret"),
    *("%uff0e%uff0e/secret", "..%c0%af..%c0%afsecret", "%2e%2e%5csecret", "..%5c..%5csecret"),
    *("a.txt/../../secret", "a.txt/..", "a.txt/.", "./a.txt", "dir/./b.txt", "dir//b.txt"),
    *("/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "%2Fetc/passwd", "dir%2fb.txt"),
    *("a.txt%00", "a.txt%00.css", "%00", "%00/a.txt", "dir%00/b.txt"),
    *(".git/config", ".env", "dir/.htaccess", ".well-known/.hidden", "%2egit/config", "%2Eenv"),
    *(".git", ".git/", ".", "./", "~root", "$(cat%20secret)", "`id`", "file:///etc/passwd"),
    *("out", "out-dir/secret", "out-dir/root/a.txt", "absolute-out", "sibling/secret", "loop"),
    *("etc/passwd", "proc/environ", "proc/cwd/secret", "proc/root/etc/passwd", "proc/self/maps"),
    *("null", "zero", "pipe", "socket", "out-dir", "out-dir/", "proc/", "sibling/"),
    *("a.txt/", "a.txt//", "dir/b.txt/x", "x" * 300, "x/" * 2000 + "y"),
]


def test_there_are_enough_hostile_paths():
    assert len(set(HOSTILE)) >= 100


@pytest.mark.second_door("no case")
def test_hostile_paths_are_not_found(site):
    for path in HOSTILE:
        if "`" in path and is_bridged():
            continue  # a path of HTTP/2 has none: it is a reset
        for target in (f"/static/{path}", f"/static/dir/../{path}"):
            response = site.get(target)
            assert response.status == 404 and response.text.startswith("404 Not Found"), target
            assert SECRET not in response.body and b"root:" not in response.body, target


def test_encoded_nul_below_a_mount_is_not_found(site):
    assert site.get("/static/a%00").status == 404
    assert site.get("/%73tatic/a%00").status == 404
    assert site.get("/other/a%00").status == 400


@pytest.mark.parametrize("fields", [[("Range", "bytes=0-")], [("Accept-Encoding", "br, gzip")]])
def test_no_field_makes_a_hidden_file_visible(site, fields):
    for path in ("../secret", ".env", "out", "zero"):
        assert site.get(f"/static/{path}", fields=fields).status == 404


def test_link_that_stays_inside_is_followed(site):
    for path, text in (
        ("in", "a"),
        ("in-dir/b.txt", "b"),
        ("dir/up", "a"),
        ("absolute-in", "a"),
        ("absolute-dir/b.txt", "b"),
        ("absolute-dir/up", "a"),
    ):
        assert site.get(f"/static/{path}").text == text, path


def test_directory_that_becomes_a_link_to_the_outside_is_not_followed(fresh_server, tmp_path):
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "dir/name").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/name").write_bytes(SECRET)
    site = fresh_server("static_app:app", "--static", f"/s={root}")
    with site.connect() as client:
        get = build_request("GET", "/s/dir/name")
        assert client.request(get).text == "inside"
        for _ in range(20):
            (root / "dir").rename(tmp_path / "moved")
            (root / "dir").symlink_to(tmp_path / "outside")
            assert client.request(get).status == 404
            (root / "dir").unlink()
            (tmp_path / "moved").rename(root / "dir")
            assert client.request(get).text == "inside"


def test_unreadable_file_is_not_found(site, top):
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    path = top / "root/unreadable"
    path.write_bytes(SECRET)
    path.chmod(0)
    assert site.get("/static/unreadable").status == 404
