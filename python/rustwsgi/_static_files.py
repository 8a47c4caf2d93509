"""Finds the static files of an application: those of Django's settings, or of Flask's routes.

Only modules that the application has imported are asked: nothing is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

#: The attributes by which middleware refers to the application that it wraps.
_WRAPPED = (
    "app",
    "wsgi_app",
    "application",
    "_app",
    "_application",
    "__wrapped__",
    "func",
    "__self__",
)
#: More layers than any application has.
_MAX_OBJECTS = 50
_FLASK_RULE_END = "/<path:filename>"


class Found(NamedTuple):
    """A directory with static files."""

    #: The path of the URL.
    url: str
    directory: str
    #: The application has routes below the URL, which must not become 404.
    has_routes: bool


def find(app: object) -> tuple[list[Found], str]:
    """The directories; if there are none, why."""
    objects = list(_unwrap(app))
    flask = getattr(sys.modules.get("flask"), "Flask", None)
    for candidate in objects:
        if flask is not None and isinstance(candidate, flask):
            return _of_flask(candidate)
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    if settings is not None and settings.configured:
        return _of_django(settings)
    return [], "the application is neither Django's nor Flask's"


def _unwrap(app: object) -> Iterator[object]:
    """The application, and the applications that it wraps."""
    waiting = [app]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_OBJECTS:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        for name in _WRAPPED:
            try:
                wrapped = getattr(current, name, None)
            except Exception:
                # A lazy object, which needs a request.
                continue
            if callable(wrapped) or name == "__self__":
                waiting.append(wrapped)


def _of_flask(app: Any) -> tuple[list[Found], str]:
    found: list[Found] = []
    missing: list[str] = []
    rules = list(app.url_map.iter_rules())
    for rule in rules:
        scope, _, name = rule.endpoint.rpartition(".")
        owner = app.blueprints.get(scope) if scope else app
        url = rule.rule.removesuffix(_FLASK_RULE_END)
        if name != "static" or owner is None or url == rule.rule or "<" in url or rule.host:
            continue
        if rule.subdomain or not owner.static_folder:
            continue
        directory = os.path.abspath(owner.static_folder)
        if os.path.isdir(directory):
            has_routes = any(
                other is not rule and f"{other.rule}/".startswith(f"{url}/") for other in rules
            )
            found.append(Found(url or "/", directory, has_routes))
        else:
            missing.append(directory)
    if missing and not found:
        return [], f"the application's static folder {missing[0]} does not exist"
    return found, "the Flask application has no static folder"


def _of_django(settings: Any) -> tuple[list[Found], str]:
    url, root = settings.STATIC_URL, settings.STATIC_ROOT
    if not url:
        return [], "Django's settings have no STATIC_URL: set it, such as to 'static/'"
    if not root:
        return [], "Django's settings have no STATIC_ROOT: set it, and run manage.py collectstatic"
    directory = os.path.abspath(root)
    if not url.startswith("/") or url.startswith("//"):
        return [], f"STATIC_URL is on another host: {url}"
    if not os.path.isdir(directory):
        return [], f"STATIC_ROOT {directory} does not exist: run manage.py collectstatic"
    return [Found(url, directory, has_routes=url == "/")], ""
