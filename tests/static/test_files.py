"""Static files: which requests Rust answers, and how. The tables of each rule are in
src/static_files/."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import ServerProcess, StartFailed, build_request

CONTENT = {
    "a.txt": b"hello\n",
    "style.css": b"body{}\n",
    "app.3f2a9c1b.js": b"1\n",
    "large.bin": bytes(range(256)) * 4096,
    "empty": b"",
    "dir/index.html": b"<p>index\n",
    "dir/x y.txt": b"space\n",
    "dir/\u00e4.txt": b"umlaut\n",
    ".well-known/security.txt": b"contact\n",
}


def make_tree(root: Path) -> Path:
    for name, content in CONTENT.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    os.utime(root / "a.txt", ns=(784111777_123456789, 784111777_123456789))
    return root


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("static"))


@pytest.fixture
def site(serve, tree: Path) -> ServerProcess:
    return serve("static_app:app", "--static", f"/static={tree}")


@pytest.mark.parametrize(
    ("target", "name", "media_type"),
    [
        ("/static/a.txt", "a.txt", "text/plain; charset=utf-8"),
        ("/static/a.txt?v=1", "a.txt", "text/plain; charset=utf-8"),
        ("/static/style.css", "style.css", "text/css; charset=utf-8"),
        ("/static/large.bin", "large.bin", "application/octet-stream"),
        ("/static/empty", "empty", "application/octet-stream"),
        ("/static/dir/x%20y.txt", "dir/x y.txt", "text/plain; charset=utf-8"),
        ("/static/dir/%C3%A4.txt", "dir/\u00e4.txt", "text/plain; charset=utf-8"),
        ("/%73tatic/a.txt", "a.txt", "text/plain; charset=utf-8"),
        ("/static/.well-known/security.txt", ".well-known/security.txt", None),
        ("http://localhost/static/a.txt", "a.txt", None),
    ],
)
def test_file_is_sent_with_its_type(site, tree, target, name, media_type):
    response = site.get(target)
    assert (response.status, response.body) == (200, CONTENT[name])
    assert response.framing == "length"
    assert response.get("Server") == "rustwsgi" and response.get("Date")
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert response.get("Accept-Ranges") == "bytes"
    assert media_type is None or response.get("Content-Type") == media_type
    assert response.get("Vary") is None


def test_validators_are_those_of_the_file(site):
    """The same on every machine that has the file with its time: no inode, no device."""
    response = site.get("/static/a.txt")
    assert response.get("Last-Modified") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response.get("ETag") == f'"{784111777_123456789:x}-6"'


def test_time_in_the_future_is_not_sent(site, tree):
    path = tree / "future"
    path.write_text("x")
    os.utime(path, (4102444800, 4102444800))
    response = site.get("/static/future")
    assert response.get("Last-Modified", "").endswith(" GMT")
    assert "2100" not in response.get("Last-Modified", "")


def test_head_has_the_fields_of_a_get(site):
    for name in ("a.txt", "large.bin", "empty"):
        get = site.get(f"/static/{name}")
        head = site.get(f"/static/{name}", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert {f for f in head.fields if f[0] != "Date"} == {
            f for f in get.fields if f[0] != "Date"
        }


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", "a.txt"), ("PUT", "a.txt"), ("DELETE", "missing"), ("OPTIONS", "a.txt")],
)
def test_other_method_is_not_allowed(site, method, target):
    response = site.get(f"/static/{target}", method=method, body=b"content")
    assert (response.status, response.get("Allow")) == (405, "GET, HEAD")


@pytest.mark.parametrize("buffering", ["on", "off"])
def test_content_of_a_request_is_discarded(serve, tree, buffering):
    args = ("--request-buffering", buffering)
    site = serve("static_app:app", "--static", f"/static={tree}", *args)
    body = b"x" * 300_000
    for method, status in (("GET", 200), ("POST", 405)):
        with site.connect() as client:
            raw = build_request(method, "/static/a.txt", body=body)
            assert client.request(raw).status == status
            if buffering == "on":
                assert client.request(build_request("GET", "/static/a.txt")).status == 200


def test_maximum_age_is_short_without_a_content_hash(site, serve, tree):
    assert site.get("/static/a.txt").get("Cache-Control") == "max-age=60"
    immutable = "max-age=31536000, immutable"
    assert site.get("/static/app.3f2a9c1b.js").get("Cache-Control") == immutable
    other = serve("static_app:app", "--static", f"/static={tree}", "--static-max-age", "0")
    assert other.get("/static/a.txt").get("Cache-Control") == "max-age=0"
    assert other.get("/static/app.3f2a9c1b.js").get("Cache-Control") == immutable


# ------------------------------------------------------------------------------------- mounts


def test_path_below_no_mount_reaches_the_application(site):
    for path in ("/", "/other", "/staticx", "/static%2Fa.txt", "/x/static/a.txt", "//static/a.txt"):
        assert site.get(path).get("X-From") == "app", path
    assert site.get("*", method="OPTIONS").get("X-From") == "app"


def test_longest_url_is_used(serve, tree):
    site = serve(
        *("static_app:app", "--static", f"/static={tree}", "--static-map"),
        *(f"/static/inner={tree / 'dir'}", "--static", f"/={tree / '.well-known'}"),
    )
    assert site.get("/static/a.txt").body == CONTENT["a.txt"]
    assert site.get("/static/inner/index.html").body == CONTENT["dir/index.html"]
    assert site.get("/static/inner/a.txt").status == 404
    assert site.get("/static/innerx").status == 404
    assert site.get("/security.txt").body == CONTENT[".well-known/security.txt"]
    assert site.get("/a.txt").status == 404
    assert site.get("*", method="OPTIONS").get("X-From") == "app"


def test_path_that_is_no_file_falls_back_to_the_application(serve, tree):
    site = serve("static_app:app", "--static", f"/={tree}", "--static-fallback", "app")
    assert site.get("/a.txt").body == CONTENT["a.txt"]
    for path in ("/missing", "/", "/dir", "/dir/", "/.git/config", "/../a.txt", "/a.txt/"):
        assert site.get(path).get("X-From") == "app", path
    assert site.get("/form", method="POST", body=b"x").get("X-From") == "app"
    assert site.get("/a.txt", method="POST", body=b"x").status == 405


def test_missing_file_is_404(site):
    for path in ("/static", "/static/", "/static/missing", "/static/dir", "/static/dir/"):
        response = site.get(path)
        assert (response.status, response.text) == (404, "404 Not Found\n"), path
        assert response.get("X-Content-Type-Options") == "nosniff"
        assert response.get("Connection") is None


def test_directory_has_its_index(serve, tree):
    site = serve("static_app:app", "--static", f"/s={tree}", "--static-index", "index.html")
    response = site.get("/s/dir/")
    assert (response.status, response.body) == (200, CONTENT["dir/index.html"])
    assert response.get("Content-Type") == "text/html; charset=utf-8"
    for target, location in (
        ("/s/dir", "/s/dir/"),
        ("/s/dir?a=b&c", "/s/dir/?a=b&c"),
        ("/s/%64ir", "/s/%64ir/"),
        ("/s", "/s/"),
    ):
        response = site.get(target)
        assert (response.status, response.get("Location")) == (308, location)
    for path in ("/s/", "/s/a.txt/", "//s/dir", "/s//dir"):
        assert site.get(path).status == (200 if path.startswith("//") else 404), path
    assert site.get("/s/dir", method="HEAD").status == 308


@pytest.mark.parametrize(
    ("prefix", "target", "location"),
    [
        ("/shop", "/s/dir?a=b", "/shop/s/dir/?a=b"),
        ("/a%20b/", "/s", "/a%20b/s/"),
        ("/s", "/s/dir", "/s/dir/"),  # the proxy has not removed it
        ("/s/d", "/s/dir", "/s/d/s/dir/"),
        ("", "/s/dir", "/s/dir/"),
    ],
)
def test_redirect_has_the_prefix_that_a_proxy_has_removed(
    serve, tree, prefix: str, target: str, location: str
) -> None:
    options = ["--static-index", "index.html", "--forwarded-headers", "prefix"]
    site = serve("static_app:app", "--static", f"/s={tree}", *options)
    response = site.get(target, fields=[("X-Forwarded-Prefix", prefix)])
    assert (response.status, response.get("Location")) == (308, location)


def test_prefix_that_a_proxy_has_left_on_the_path_is_taken_off(serve, tree):
    """As from PATH_INFO. A URL that includes the prefix is found as well."""
    maps = ["--static", f"/s={tree}", "--static", f"/shop/t={tree}"]
    site = serve("static_app:app", *maps, "--forwarded-headers", "prefix")
    for prefix, target, is_file in (
        ("/shop", "/s/style.css", True),
        ("/shop", "/shop/s/style.css", True),
        ("/shop", "/sh%6fp/s/style.css", True),
        ("/shop", "/shop/t/style.css", True),
        ("/shop", "/shopping/s/style.css", False),
        ("/other", "/shop/s/style.css", False),
        ("", "/shop/s/style.css", False),
    ):
        response = site.get(target, fields=[("X-Forwarded-Prefix", prefix)])
        assert (response.get("ETag") is not None) == is_file, (prefix, target)


def test_directory_that_does_not_exist_ends_the_start(fresh_server, tmp_path):
    (tmp_path / "file").write_text("x")
    for option, name in (("--static", "/s="), ("--sendfile-root", "")):
        for path in ("missing", "file"):
            with pytest.raises(
                StartFailed, match=rf"{option}: cannot serve the directory .*{path}"
            ):
                fresh_server("static_app:app", option, f"{name}{tmp_path / path}")


def test_relative_directory_is_one_of_chdir(fresh_server, tmp_path):
    (tmp_path / "app/assets").mkdir(parents=True)
    (tmp_path / "app/assets/a.txt").write_text("a")
    (tmp_path / "app/m.py").write_text("import os; os.chdir('/')\ndef app(e, s): pass\n")
    site = fresh_server("m:app", "--chdir", "app", "--static", "/s=assets", cwd=tmp_path)
    assert site.get("/s/a.txt").text == "a"


# -------------------------------------------------------------------------------- connections


def test_pipelined_requests_are_answered_in_order(site):
    targets = ["/static/a.txt", "/one", "/static/large.bin", "/static/missing", "/two"] * 20
    with site.connect() as client:
        client.send(b"".join(build_request("GET", target) for target in targets))
        for target in targets:
            response = client.response()
            name = target.removeprefix("/static/")
            if name in CONTENT:
                assert response.body == CONTENT[name]
            elif name == "missing":
                assert response.status == 404
            else:
                assert response.text == f"app: {target}"


def test_hundreds_of_pipelined_files_are_answered(site):
    with site.connect() as client:
        client.send(build_request("GET", "/static/a.txt") * 500)
        for _ in range(500):
            assert client.response().body == CONTENT["a.txt"]


def test_connection_is_kept_or_closed_as_the_client_asks(site):
    with site.connect() as client:
        for _ in range(3):
            assert client.request(build_request("GET", "/static/a.txt")).connection == set()
        raw = build_request("GET", "/static/a.txt", fields=[("Connection", "close")])
        assert client.request(raw).connection == {"close"}
        assert client.at_eof()
    with site.connect() as client:
        raw = build_request("GET", "/static/a.txt", version="HTTP/1.0")
        assert client.request(raw).connection == {"close"}
        assert client.at_eof()


def test_slow_client_gets_the_whole_file(site):
    with site.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", "/static/large.bin"))
        assert site.get("/static/a.txt").status == 200
        assert client.response().body == CONTENT["large.bin"]


def test_unix_socket_serves_files(fresh_server, tree, tmp_path):
    site = fresh_server("static_app:app", "--static", f"/s={tree}", bind=f"unix:{tmp_path / 's'}")
    assert site.get("/s/large.bin").body == CONTENT["large.bin"]


def test_access_log_has_the_line_of_a_file(fresh_server, tree):
    args = ("--static", f"/static={tree}", "--access-logfile", "-")
    site = fresh_server("static_app:app", *args)
    site.get("/static/a.txt?q")
    site.get("/static/large.bin", fields=[("Range", "bytes=0-9")])
    site.get("/static/missing")
    site.wait_for_stdout(r'"GET /static/a.txt\?q HTTP/1.1" 200 6 ')
    site.wait_for_stdout(r'"GET /static/large.bin HTTP/1.1" 206 10 ')
    site.wait_for_stdout(r'"GET /static/missing HTTP/1.1" 404 14 ')


def test_files_are_sent_while_every_thread_is_busy(fresh_server, tree, fifo):
    site = fresh_server("static_app:app", "--threads", "1", "--static", f"/static={tree}")
    with site.connect() as client:
        client.send(build_request("GET", f"/block?{fifo}"))
        writer = os.open(fifo, os.O_WRONLY)  # waits for the application
        for _ in range(3):
            assert site.get("/static/a.txt").body == CONTENT["a.txt"]
        os.close(writer)
        assert client.response().text == "app: /block"


def test_options_are_those_of_a_toml_file(tmp_path, fresh_server):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/a.txt").write_text("a")
    (tmp_path / "m.py").write_text("def app(e, s): pass\n")
    (tmp_path / "rustwsgi.toml").write_text(
        'static = ["/s=assets"]\nstatic_fallback = "404"\nstatic_max_age = 7\n'
    )
    site = fresh_server("m:app", cwd=tmp_path)
    response = site.get("/s/a.txt")
    assert (response.text, response.get("Cache-Control")) == ("a", "max-age=7")
