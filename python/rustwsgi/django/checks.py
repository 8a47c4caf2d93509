"""System checks: what in Django's settings does not fit the server.

Nothing of the project is imported. The checks of ``manage.py check --deploy`` know the options of
the setting ``RUSTWSGI`` and of the environment; those of a command line they cannot know.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from rustwsgi import _candidates

#: PostgreSQL's default of max_connections; MySQL's is 151.
MANY_CONNECTIONS = 100
#: Threads of a worker by default: `src/config/resolve.rs`.
DEFAULT_THREADS = 4
LOCAL_MEMORY = "django.core.cache.backends.locmem.LocMemCache"
CACHE_SESSIONS = "django.contrib.sessions.backends.cache"

SCHEME = "SECURE_PROXY_SSL_HEADER"
#: Settings that make Django read a header field from any sender, with that field's name in
#: ``--forwarded-headers``.
TRUSTING = {SCHEME: "proto", "USE_X_FORWARDED_HOST": "host", "USE_X_FORWARDED_PORT": "port"}


def check_application(**_: Any) -> list[CheckMessage]:
    """WSGI_APPLICATION names an object of a module that exists."""
    name = getattr(settings, "WSGI_APPLICATION", None)
    if name is None:
        return []
    module, _dot, attribute = str(name).rpartition(".")
    hint = "Set it to 'PROJECT.wsgi.application', where PROJECT/wsgi.py is."
    if not module:
        return [_error(f"WSGI_APPLICATION is not MODULE.NAME: {name!r}", hint, "E001")]
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        reason = f"WSGI_APPLICATION names the module {module!r}, which does not exist."
    elif spec.origin is None or not _candidates.has_name(spec.origin, attribute):
        reason = f"The module {module!r} of WSGI_APPLICATION has no {attribute!r}."
    else:
        return []
    return [_error(reason, hint, "E001")]


def check_options(**_: Any) -> list[CheckMessage]:
    """The setting RUSTWSGI is a dict of options that the server has."""
    options = getattr(settings, "RUSTWSGI", {})
    if not isinstance(options, dict):
        hint = "Write RUSTWSGI = {'workers': 2}, for example."
        return [_error("The setting RUSTWSGI is not a dict.", hint, "E002")]
    from rustwsgi import _rustwsgi

    found = []
    for name in options:
        reason = _rustwsgi.unknown_option(str(name))
        if reason is not None:
            hint = "docs/configuration.md of rustwsgi lists the options."
            found.append(_error(f"The setting RUSTWSGI: {reason}.", hint, "E002"))
    return found


def check_proxy_headers(**_: Any) -> list[CheckMessage]:
    """Django believes no field that any client may send."""
    trusting = [name for name in TRUSTING if getattr(settings, name, None)]
    if not trusting or _option("forwarded_untrusted") == "strip":
        return []
    field = settings.SECURE_PROXY_SSL_HEADER[0] if SCHEME in trusting else ""
    if trusting == [SCHEME] and not field.startswith("HTTP_X_FORWARDED_"):
        # A field of the proxy's own, which it sets or removes.
        return []
    fields = ",".join(TRUSTING[name] for name in trusting)
    return [
        Warning(
            f"{', '.join(trusting)}: Django trusts this header field from any sender, also"
            " from a client that reaches the server without the proxy.",
            hint=(
                "Remove the setting and let the server apply the field of trusted proxies"
                f" (forwarded_allow_ips, forwarded_headers={fields!r}), or let it remove the field"
                " of others: RUSTWSGI = {'forwarded_untrusted': 'strip'}."
            ),
            id="rustwsgi.W001",
        )
    ]


def check_sessions(**_: Any) -> list[CheckMessage]:
    """Several workers do not keep sessions in the memory of one."""
    if getattr(settings, "SESSION_ENGINE", None) != CACHE_SESSIONS or _number("workers", 1) == 1:
        return []
    cache = settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {})
    if cache.get("BACKEND") != LOCAL_MEMORY:
        return []
    return [
        Warning(
            "Sessions are in a cache of one process, and there are several workers: a user is"
            " logged out whenever another worker answers.",
            hint="Use a cache that all workers share, or the database, for SESSION_ENGINE.",
            id="rustwsgi.W002",
        )
    ]


def check_connections(**_: Any) -> list[CheckMessage]:
    """Persistent connections of all threads are not more than a database accepts."""
    workers, threads = _number("workers", 1), _number("threads", DEFAULT_THREADS)
    found: list[CheckMessage] = []
    for alias, database in settings.DATABASES.items():
        age = database.get("CONN_MAX_AGE", 0)
        if age == 0 or "sqlite" in database.get("ENGINE", "") or not database.get("ENGINE"):
            continue
        if workers * threads >= MANY_CONNECTIONS:
            found.append(
                Warning(
                    f"DATABASES[{alias!r}]: CONN_MAX_AGE keeps a connection for each thread, which"
                    f" is up to {workers * threads} ({_counted(workers, 'worker')},"
                    f" {_counted(threads, 'thread')} each).",
                    hint=(
                        "Let the database accept that many (max_connections), use fewer threads,"
                        " or set CONN_MAX_AGE = 0 with a pool."
                    ),
                    id="rustwsgi.W003",
                )
            )
    return found


def _error(message: str, hint: str, number: str) -> CheckMessage:
    return Error(message, hint=hint, id=f"rustwsgi.{number}")


def _option(name: str) -> Any:
    """The value of an option in the environment, or else in the setting RUSTWSGI."""
    options = getattr(settings, "RUSTWSGI", None)
    own = options.get(name) if isinstance(options, dict) else None
    return os.environ.get(f"RUSTWSGI_{name.upper()}") or own


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(name: str, default: int) -> int:
    value = _option(name)
    if value is None and name == "workers":
        value = os.environ.get("WEB_CONCURRENCY")
    try:
        return int(value) if value is not None else default
    except ValueError:
        # `auto`: one for each processor.
        return max(default, os.cpu_count() or 1)
    except TypeError:
        # No number, and the server rejects it at the start.
        return default
