"""A Pyramid application, whose WebOb builds requests and responses in another way than Werkzeug."""

import hashlib
import tempfile
from collections import defaultdict

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPFound
from pyramid.response import FileIter, FileResponse, Response
from pyramid.session import SignedCookieSessionFactory
from pyramid.view import view_config

_events = defaultdict(list)

# Lives as long as the process.
_download = tempfile.NamedTemporaryFile(suffix=".bin")
_download.write(bytes(range(256)) * 4096)
_download.flush()


def tween(handler, registry):
    """Notes the begin of each request under its `key`, and what Pyramid calls at its end."""

    def noting(request):
        key = request.params.get("key", "") if request.method == "GET" else ""
        _events[key].append("begin")
        request.add_finished_callback(lambda _: _events[key].append("finished"))
        return handler(request)

    return noting


@view_config(route_name="hello")
def hello(request):
    return Response("hello from Pyramid\n", content_type="text/plain", charset="utf-8")


@view_config(route_name="echo", renderer="json")
def echo(request):
    return {
        "rest": list(request.matchdict["rest"]),
        "url": request.url.replace(request.host, "HOST"),
        "params": list(request.params.items()),
        "cookies": dict(request.cookies),
    }


@view_config(route_name="body", renderer="json")
def body(request):
    return {"length": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()}


@view_config(route_name="upload", renderer="json")
def upload(request):
    field = request.POST["file"]
    data = field.file.read()
    return {
        "note": request.POST["note"],
        "name": field.filename,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


@view_config(route_name="session", renderer="json")
def session(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return {"count": request.session["count"]}


class Blocks:
    """An app_iter with a close()."""

    def __init__(self, key, count):
        self.key, self.count = key, count

    def __iter__(self):
        for number in range(self.count):
            yield b"block %d\n" % number

    def close(self):
        _events[self.key].append("closed")


@view_config(route_name="stream")
def stream(request):
    blocks = Blocks(request.params.get("key", ""), int(request.params.get("count", "3")))
    return Response(app_iter=blocks, content_type="text/plain")


@view_config(route_name="file")
def file(request):
    if request.params.get("iterated"):
        return Response(app_iter=FileIter(open(_download.name, "rb")), content_type="a/b")
    return FileResponse(_download.name, request, content_type="application/octet-stream")


@view_config(route_name="redirect")
def redirect(request):
    raise HTTPFound(request.route_path("hello"))


@view_config(route_name="denied")
def denied(request):
    raise HTTPForbidden("not you")


@view_config(route_name="boom")
def boom(request):
    raise RuntimeError("secret: boom on purpose")


@view_config(route_name="state", renderer="json")
def state(request):
    return _events[request.params["of"]]


def main():
    with Configurator(session_factory=SignedCookieSessionFactory("only for tests")) as config:
        config.add_tween("pyramid_site.tween")
        config.add_route("hello", "/")
        config.add_route("echo", "/echo/*rest")
        for name in [
            "body",
            "upload",
            "session",
            "stream",
            "file",
            "redirect",
            "denied",
            "boom",
            "state",
        ]:
            config.add_route(name, f"/{name}")
        config.scan(__name__)
        return config.make_wsgi_app()
