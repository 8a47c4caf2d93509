"""Flask and Django give the same responses over HTTP/1.1 and over HTTP/2, with TLS and without.

Status, fields (with the order of those of one name), framing and body must be equal. Left out are fields of the
connection, Date, and the case of names, which HTTP/2 does not have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from harness import ROOT, Client, build_request
from harness.site_requests import APP_OF, REQUESTS, masked
from harness.sites import FORM, make_django_site, multipart
from harness.ways import WAYS, Ways
from harness.wsgi import THREADS

pytest.importorskip("django")
pytest.importorskip("flask")

DEMO = ROOT / "flask_application"
_KIND, _UPLOAD = multipart([("file", "a.bin", bytes(range(256)) * 4000)])
#: All pages of the demo but those that show the protocol, or the time.
PAGES = {
    **{path: build_request("GET", path) for path in ("/form", "/upload", "/stream", "/try")},
    "form": build_request("POST", "/form", fields=[FORM], body=b"name=Zo%C3%AB&message=a%0D%0Ab"),
    "upload": build_request("POST", "/upload", fields=[_KIND], body=_UPLOAD),
    "upload-without-file": build_request("POST", "/upload", fields=[FORM], body=b"a=b"),
    "download": build_request("GET", "/download"),
    "download-head": build_request("HEAD", "/download"),
    "echo": build_request("POST", "/echo", body=b"echo" * 100_000),
    "raise": build_request("GET", "/raise"),
    "missing": build_request("GET", "/missing"),
    "style": build_request("GET", "/static/style.css"),
    "style-part": build_request("GET", "/static/style.css", fields=[("Range", "bytes=10-99")]),
    "style-parts": build_request("GET", "/static/style.css", fields=[("Range", "bytes=0-1,5-9")]),
    "style-compressed": build_request(
        "GET", "/static/style.css", fields=[("Accept-Encoding", "gzip, br")]
    ),
    "favicon": build_request("GET", "/favicon.ico"),
}
CASES = {
    site: {k: v for k, v in requests.items() if not k.endswith("-1.0")}
    for site, requests in REQUESTS.items()
}
CASES["demo"] = PAGES
OF_THE_CONNECTION = {"date", "connection", "keep-alive", "transfer-encoding"}


@dataclass
class Answer:
    """What is compared."""

    status: int
    fields: list[tuple[str, str]]
    framing: str
    body: bytes


def answer_of(client: Client, raw: bytes) -> Answer:
    # The scheme is that of a trusted proxy, so that it is equal for all.
    head, _, rest = raw.replace(b"\r\nConnection: close", b"").partition(b"\r\n")
    with client:
        response = client.request(head + b"\r\nX-Forwarded-Proto: https\r\n" + rest)
    fields = [(name.lower(), masked(name, value)) for name, value in response.fields]
    dropped = OF_THE_CONNECTION
    body = re.sub(rb"[0-9.]+ ms to read", b"...", response.body)
    boundary = re.search("boundary=([0-9a-f]{32})$", response.get("Content-Type", ""))
    if boundary:
        body = body.replace(boundary[1].encode(), b"...")
        dropped = dropped | {"content-type"}
    elif body != response.body:
        dropped = dropped | {"content-length"}
    kept = [field for field in fields if field[0] not in dropped]
    # Of different names, the order means nothing. [RFC 9110 section 5.3]
    kept.sort(key=lambda field: field[0])
    return Answer(response.status, kept, response.framing, body)


@pytest.fixture(scope="session")
def site_envs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    # Werkzeug makes Allow from a set of strings.
    same_order = {"PYTHONHASHSEED": "0"}
    django = make_django_site(tmp_path_factory.mktemp("django"))
    return {"django": django | same_order, "flask": same_order, "demo": same_order}


@pytest.fixture
def site(both, site_envs: dict[str, dict[str, str]], name: str) -> Ways:
    if name == "demo":
        options = ("--static", "auto", "--chdir", str(DEMO))
        return both("flask_app:app", *THREADS, *options, env=site_envs[name])
    return both(APP_OF[name], *THREADS, env=site_envs[name])


@pytest.mark.parametrize(
    ("name", "request_name"),
    [(site, request) for site, requests in CASES.items() for request in requests],
)
def test_response_is_the_same_over_each_connection(
    site: Ways, name: str, request_name: str
) -> None:
    raw = CASES[name][request_name]
    first, *others = [answer_of(site.connect(way), raw) for way in WAYS]
    for way, other in zip(WAYS[1:], others, strict=True):
        assert other == first, way
