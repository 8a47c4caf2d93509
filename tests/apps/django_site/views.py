"""One view for each thing that a Django application asks of its server."""

import hashlib
import os
from datetime import datetime, timezone

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseNotModified,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.middleware.csrf import get_token
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import condition, require_GET

from . import events

LONG_AGO = datetime(2020, 2, 3, 4, 5, 6, tzinfo=timezone.utc)


def hello(request):
    return HttpResponse("hello from Django\n", content_type="text/plain; charset=utf-8")


def echo(request, rest):
    """The request as Django understood it."""
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "path_info": request.path_info,
            "rest": rest,
            "uri": request.build_absolute_uri().replace(request.get_host(), "HOST"),
            "secure": request.is_secure(),
            "GET": dict(request.GET.lists()),
            "POST": dict(request.POST.lists()),
            "cookies": request.COOKIES,
            "headers": sorted((k, v) for k, v in request.headers.items() if k != "Host"),
        }
    )


def body(request):
    """What request.body is, and the length that Django sees."""
    content = request.body
    return JsonResponse(
        {
            "length": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "CONTENT_LENGTH": request.META.get("CONTENT_LENGTH"),
        }
    )


def read(request):
    """The body as a stream, in pieces and lines."""
    first = request.read(3)
    line = request.readline()
    rest = b"".join(request)
    return JsonResponse({"parts": [part.decode("latin-1") for part in (first, line, rest)]})


def upload(request):
    """Each file of a form, with where Django put it while it came in."""
    files = []
    for field, file in request.FILES.items():
        digest = hashlib.sha256()
        for chunk in file.chunks():
            digest.update(chunk)
        on_disk = hasattr(file, "temporary_file_path")
        files.append(
            {
                "field": field,
                "name": file.name,
                "type": file.content_type,
                "size": file.size,
                "sha256": digest.hexdigest(),
                "handler": type(file).__name__,
                "size_on_disk": os.path.getsize(file.temporary_file_path()) if on_disk else None,
            }
        )
    return JsonResponse({"files": files, "POST": dict(request.POST.lists())})


def form(request):
    """A form with a CSRF token; without one the middleware answers 403."""
    if request.method == "POST":
        return JsonResponse(dict(request.POST.lists()))
    field = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    return HttpResponse(f'<form method="post">{field}</form>')


def session(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return JsonResponse({"count": request.session["count"]})


def stream(request):
    """`count` blocks; the generator notes how it was left."""
    key, count = request.GET.get("key", ""), int(request.GET.get("count", "3"))
    fail = request.GET.get("fail")

    def blocks():
        try:
            for number in range(count):
                if str(number) == fail:
                    raise RuntimeError("the stream broke")
                yield f"block {number}\n"
            events.note(key, "exhausted")
        finally:
            events.note(key, "left")

    return StreamingHttpResponse(blocks(), content_type="text/plain")


class Watched:
    """A file that notes its close and otherwise looks like a file to the server."""

    def __init__(self, file, key):
        self._file, self._key = file, key

    def __getattr__(self, name):
        return getattr(self._file, name)

    def close(self):
        self._file.close()
        events.note(self._key, "file closed")


_opened = {}


def file(request):
    """FileResponse of the site's file; `watched` hides it from any shortcut by its type."""
    key = request.GET.get("key", "")
    opened = open(settings.HOME / "download.bin", "rb")
    _opened[key] = opened
    opened.seek(int(request.GET.get("from", "0")))
    content = Watched(opened, key) if request.GET.get("watched") else opened
    return FileResponse(content, as_attachment=True, filename="download.bin")


def state(request):
    key = request.GET["of"]
    opened = _opened.get(key)
    return JsonResponse({"events": events.noted(key), "closed": opened and opened.closed})


def fields(request):
    """Repeated and odd response fields."""
    response = HttpResponse("fields\n", content_type="text/plain")
    response.status_code, response.reason_phrase = 299, "Quite Fine"
    response["X-Latin"] = "caf\u00e9".encode("latin-1")
    response["X-Empty"] = ""
    for name in ("one", "two", "three"):
        response.set_cookie(name, f"value of {name}", path="/fields", httponly=True)
    response.delete_cookie("four")
    return response


@condition(etag_func=lambda _: '"an-etag"', last_modified_func=lambda _: LONG_AGO)
def conditional(request):
    return HttpResponse("conditional\n", content_type="text/plain")


def redirect(request):
    return HttpResponseRedirect("/echo/caf\u00e9?a=1")


def no_content(request):
    return HttpResponse(status=204)


def not_modified(request):
    return HttpResponseNotModified()


def missing(request):
    raise Http404("not here")


def boom(request):
    raise RuntimeError("boom on purpose")


def denied(request):
    raise PermissionDenied


def suspicious(request):
    raise SuspiciousOperation("suspicious on purpose")


urlpatterns = [
    path("", hello),
    path("admin/", admin.site.urls),
    re_path(r"^echo/(?P<rest>.*)$", csrf_exempt(echo)),
    path("body", csrf_exempt(body)),
    path("read", csrf_exempt(read)),
    path("upload", csrf_exempt(upload)),
    path("form", form),
    path("session", session),
    path("stream", stream),
    path("file", file),
    path("state", state),
    path("fields", fields),
    path("conditional", conditional),
    path("redirect", redirect),
    path("no-content", no_content),
    path("not-modified", not_modified),
    path("missing", missing),
    path("boom", boom),
    path("denied", denied),
    path("suspicious", suspicious),
    path("get-only", csrf_exempt(require_GET(hello))),
]
