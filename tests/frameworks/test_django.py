"""Django over the real server: its admin, forms, uploads, streams, files and signals.

Django is the framework that leans on most of PEP 3333: it replaces close() of the file it hands to
wsgi.file_wrapper, and frees its database connections when the response is closed.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import urlencode

import pytest

from harness import Response, ServerProcess, build_request, wait_until
from harness.sites import (
    ADMIN,
    BOTH_FRAMINGS,
    DOWNLOAD,
    FORM,
    PASSWORD,
    assert_stream_fails,
    cookies,
    framed,
    make_django_site,
    multipart,
)
from harness.wsgi import ask, get_json, json_of, new_key

pytest.importorskip("django")

#: Django keeps an upload in memory up to this size.
IN_MEMORY = 2621440


@pytest.fixture(scope="session")
def site_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_django_site(tmp_path_factory.mktemp("django_site"))


@pytest.fixture(params=["1", "4"], ids=["one-thread", "four-threads"])
def site(serve, site_env: dict[str, str], request: pytest.FixtureRequest) -> ServerProcess:
    return serve("django_site.wsgi", "--threads", request.param, env=site_env)


def events(site: ServerProcess, key: str) -> list[str]:
    return get_json(site, f"/state?of={key}")["events"]


def finished(site: ServerProcess, key: str) -> list[str]:
    """The request's events once it is closed, which may be a moment after its last byte.

    The requests that ask come after it, so a second "finished" would be here as well.
    """
    wait_until(lambda: "finished" in events(site, key), f"request_finished of {key}")
    return events(site, key)


def token(page: Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found, page.text
    return found[1]


def post_form(site: ServerProcess, path: str, form: dict[str, str], *fields: Any) -> Response:
    body = urlencode(form).encode()
    return site.get(path, method="POST", fields=[FORM, *fields], body=body)


# -------------------------------------------------------------------------------- admin, sessions


def log_in(site: ServerProcess, password: str = PASSWORD) -> tuple[Response, Response]:
    """The log-in page, and the answer to its form."""
    page = site.get("/admin/login/?next=/admin/")
    form = {
        "csrfmiddlewaretoken": token(page),
        "username": ADMIN,
        "password": password,
        "next": "/admin/",
    }
    return page, post_form(site, "/admin/login/", form, cookies(page))


def test_admin_log_in_and_a_change(site: ServerProcess) -> None:
    """The real form, its CSRF cookie and token; then a user is added, listed and removed."""
    assert site.get("/admin/").status == 302
    page, answer = log_in(site)
    assert (answer.status, answer.get("Location")) == (302, "/admin/"), answer.text
    cookie = cookies(page, answer)
    index = site.get("/admin/", fields=[cookie])
    assert index.status == 200 and "Site administration" in index.text

    name = f"u-{new_key()}"
    add = site.get("/admin/auth/user/add/", fields=[cookie])
    form = {
        "csrfmiddlewaretoken": token(add),
        "username": name,
        "usable_password": "true",
        "password1": "long enough 2",
        "password2": "long enough 2",
    }
    added = post_form(site, "/admin/auth/user/add/", form, cookies(page, answer, add))
    assert added.status == 302, added.text
    listed = site.get(f"/admin/auth/user/?q={name}", fields=[cookie])
    link = re.search(rf'href="(/admin/auth/user/(\d+)/change/[^"]*)">{name}<', listed.text)
    assert link, listed.text
    gone = {"csrfmiddlewaretoken": token(add), "post": "yes"}
    removed = post_form(
        site, f"/admin/auth/user/{link[2]}/delete/", gone, cookies(page, answer, add)
    )
    assert removed.status == 302, removed.text
    assert name not in site.get("/admin/auth/user/", fields=[cookie]).text


def test_admin_refuses_a_wrong_password(site: ServerProcess) -> None:
    _, answer = log_in(site, "guess")
    assert answer.status == 200
    assert "Please enter the correct username and password" in answer.text
    assert not any(c.startswith("sessionid") for c in answer.get_all("Set-Cookie"))


def test_csrf_protects_a_form(site: ServerProcess) -> None:
    page = site.get("/form")
    form = {"csrfmiddlewaretoken": token(page), "text": "caf\u00e9 & co"}
    assert json_of(post_form(site, "/form", form, cookies(page)))["text"] == ["caf\u00e9 & co"]
    for response in (
        post_form(site, "/form", form),  # without the cookie
        post_form(site, "/form", {"text": "x"}, cookies(page)),  # without the token
    ):
        assert response.status == 403 and "CSRF" in response.text


def test_session_survives_between_requests(site: ServerProcess) -> None:
    first = site.get("/session")
    with site.connect() as client:
        for count in (2, 3, 4):
            assert json_of(ask(client, "/session", fields=[cookies(first)])) == {"count": count}
    assert get_json(site, "/session") == {"count": 1}


# -------------------------------------------------------------------------------- bodies, uploads


@pytest.mark.parametrize(
    "size, handler",
    [
        (0, "InMemoryUploadedFile"),
        (1000, "InMemoryUploadedFile"),
        (IN_MEMORY + 70_001, "TemporaryUploadedFile"),
    ],
)
@BOTH_FRAMINGS
def test_upload(site: ServerProcess, size: int, handler: str, how: str) -> None:
    content = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    kind, body = multipart([("note", None, b"n\xc3\xb6te"), ("file", "a \u00fc.bin", content)])
    answer = json_of(site.get("/upload", method="POST", **framed(body, how, kind)))
    assert answer["POST"] == {"note": ["n\u00f6te"]}
    assert answer["files"] == [
        {
            "field": "file",
            "name": "a \u00fc.bin",
            "type": "application/octet-stream",
            "size": size,
            "sha256": hashlib.sha256(content).hexdigest(),
            "handler": handler,
            "size_on_disk": size if handler.startswith("Temp") else None,
        }
    ]


def test_streamed_upload(serve, site_env: dict[str, str]) -> None:
    """`--request-buffering off`: Django parses the form while it arrives."""
    site = serve("django_site.wsgi", "--request-buffering", "off", env=site_env)
    kind, body = multipart([("file", "a.bin", b"x" * IN_MEMORY * 2)])
    with site.connect() as client:
        for _ in range(2):
            request = build_request("POST", "/upload", fields=[kind], body=body)
            client.send(request[:1000])
            client.send(request[1000:])
            answer = json_of(client.response())
            assert [file["size"] for file in answer["files"]] == [IN_MEMORY * 2]


@pytest.mark.parametrize("size", [0, 1, 300_000])
@BOTH_FRAMINGS
def test_request_body(site: ServerProcess, size: int, how: str) -> None:
    """Django takes a body without CONTENT_LENGTH for an empty one: chunked must say its length."""
    content = b"b" * size
    answer = json_of(site.get("/body", method="POST", **framed(content, how)))
    assert answer == {
        "length": size,
        "sha256": hashlib.sha256(content).hexdigest(),
        "CONTENT_LENGTH": str(size),
    }


def test_request_as_a_stream(site: ServerProcess) -> None:
    answer = site.get("/read", method="POST", body=b"abcline\nmore\nand more")
    assert json_of(answer) == {"parts": ["abc", "line\n", "more\nand more"]}


def test_unread_body_is_not_part_of_the_next_request(site: ServerProcess) -> None:
    with site.connect() as client:
        body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        response = ask(client, "/get-only", method="POST", body=body)
        assert response.status == 405 and response.get("Allow") == "GET"
        assert ask(client, "/").body == b"hello from Django\n"


# ---------------------------------------------------------------------------- streams and files


def test_stream(site: ServerProcess) -> None:
    key = new_key()
    response = site.get(f"/stream?key={key}&count=4")
    assert response.chunks == [b"block %d\n" % number for number in range(4)]
    assert response.complete and response.get("Content-Length") is None
    assert finished(site, key) == ["started", "exhausted", "left", "finished"]


def test_stream_for_http_1_0(site: ServerProcess) -> None:
    response = site.get("/stream?count=2", version="HTTP/1.0")
    assert response.framing == "close" and response.body == b"block 0\nblock 1\n"


def test_stream_to_a_client_that_leaves(site: ServerProcess) -> None:
    """The generator is closed and the request finished, once, although the client does not read to the end."""
    key = new_key()
    with site.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/stream?key={key}&count=100000000"))
        assert client.head().status == 200
        client.reset()
    assert finished(site, key) == ["started", "left", "finished"]


@pytest.mark.parametrize("block", [0, 1])
def test_failing_stream_aborts_the_response(site: ServerProcess, block: int) -> None:
    """It is closed once, whether there is a head already or not."""
    key = new_key()
    assert_stream_fails(site, key, block)
    assert finished(site, key) == ["started", "left", "finished"]


@pytest.mark.parametrize("start", [0, 1000])
@pytest.mark.parametrize("watched", ["", "1"], ids=["plain", "watched"])
def test_file_response(site: ServerProcess, start: int, watched: str) -> None:
    """Django puts its own close() on the file, which the server must call, and not its type's."""
    key = new_key()
    response = site.get(f"/file?key={key}&from={start}&watched={watched}")
    assert response.body == DOWNLOAD[start:]
    assert response.framing == "length"
    assert response.get("Content-Length") == str(len(DOWNLOAD) - start)
    assert response.get("Content-Disposition") == 'attachment; filename="download.bin"'
    closed = ["file closed"] if watched else []
    assert finished(site, key) == ["started", *closed, "finished"]
    assert get_json(site, f"/state?of={key}")["closed"] is True


def test_file_response_to_a_client_that_leaves(site: ServerProcess) -> None:
    key = new_key()
    with site.connect(receive_buffer=4096) as client:
        client.send(build_request("GET", f"/file?key={key}"))
        assert client.head().status == 200
        client.reset()
    assert finished(site, key) == ["started", "finished"]
    assert get_json(site, f"/state?of={key}")["closed"] is True


def test_head_of_a_file_response(site: ServerProcess) -> None:
    key = new_key()
    with site.connect() as client:
        response = ask(client, f"/file?key={key}", method="HEAD")
        assert response.status == 200 and response.get("Content-Length") == str(len(DOWNLOAD))
        assert ask(client, "/").body == b"hello from Django\n"
    assert finished(site, key) == ["started", "finished"]
    assert get_json(site, f"/state?of={key}")["closed"] is True


# ---------------------------------------------------------------------------------- responses


@pytest.mark.parametrize("path, status", [("/", 200), ("/session", 200), ("/boom", 500)])
def test_head_is_get_without_its_body(site: ServerProcess, path: str, status: int) -> None:
    with site.connect() as client:
        head, get = ask(client, path, method="HEAD"), ask(client, path)
    assert head.status == get.status == status
    assert head.body == b"" and get.body
    assert head.get("Content-Length") == get.get("Content-Length") == str(len(get.body))


@pytest.mark.parametrize(
    "path, status, text",
    [
        ("/missing", 404, "Not Found"),
        ("/no-such-route", 404, "Not Found"),
        ("/boom", 500, "Server Error (500)"),
        ("/denied", 403, "403 Forbidden"),
        ("/suspicious", 400, "Bad Request (400)"),
    ],
)
def test_error_pages(site: ServerProcess, path: str, status: int, text: str) -> None:
    """Django's error pages keep the connection open and finish their request as usual."""
    key = new_key()
    with site.connect() as client:
        response = ask(client, f"{path}?key={key}")
        assert response.status == status and text in response.text
        assert "on purpose" not in response.text
        assert ask(client, "/").status == 200
    failed = ["failed"] if status == 500 else []
    assert finished(site, key) == ["started", *failed, "finished"]


def test_conditional_get(site: ServerProcess) -> None:
    full = site.get("/conditional")
    assert full.status == 200 and full.get("Last-Modified") == "Mon, 03 Feb 2020 04:05:06 GMT"
    for name, value in (
        ("If-None-Match", full.get("ETag")),
        ("If-Modified-Since", full.get("Last-Modified")),
    ):
        with site.connect() as client:
            again = ask(client, "/conditional", fields=[(name, value)])
            assert again.status == 304 and again.get("ETag") == full.get("ETag")
            assert ask(client, "/").status == 200


def test_no_content(site: ServerProcess) -> None:
    with site.connect() as client:
        response = ask(client, "/no-content")
        assert response.status == 204 and response.get("Content-Type")
        assert ask(client, "/").status == 200


def test_paths_and_queries(site: ServerProcess) -> None:
    seen = get_json(site, "/echo/caf%C3%A9%2Fx%20y;z=1?a=1&a=%E2%82%AC&b=&c=d%26e")
    assert seen["rest"] == "caf\u00e9/x y;z=1"
    assert seen["GET"] == {"a": ["1", "\u20ac"], "b": [""], "c": ["d&e"]}


def test_repeated_fields(site: ServerProcess) -> None:
    response = site.get("/fields")
    assert (response.status, response.reason) == (299, "Quite Fine")
    assert [line.partition("=")[0] for line in response.get_all("Set-Cookie")] == [
        "one",
        "two",
        "three",
        "four",
    ]
    assert response.get("X-Empty") == ""


def test_concurrent_sessions_do_not_mix(serve, site_env: dict[str, str]) -> None:
    """Twenty sessions, pipelined on a connection each, through four threads."""
    site = serve("django_site.wsgi", "--threads", "4", env=site_env)
    owners = [cookies(site.get("/session")) for _ in range(20)]
    clients = [site.connect() for _ in owners]
    for client, cookie in zip(clients, owners, strict=True):
        client.send(build_request("GET", "/session", fields=[cookie]) * 3)
    for client in clients:
        assert [json_of(client.response())["count"] for _ in range(3)] == [2, 3, 4]
        client.close()
