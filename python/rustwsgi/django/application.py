"""The applications that ``manage.py rustwsgi`` serves if it cannot name that of the settings."""

from __future__ import annotations

from typing import Any


def development() -> Any:
    """The application of the settings, with static files from their sources, as with
    ``runserver``: they need not be collected."""
    application = internal()
    from django.conf import settings

    if "django.contrib.staticfiles" not in settings.INSTALLED_APPS:
        return application
    from django.contrib.staticfiles.handlers import StaticFilesHandler

    return StaticFilesHandler(application)


def internal() -> Any:
    """The application of the settings, which need not name one."""
    import django

    django.setup()
    from django.core.servers.basehttp import get_internal_wsgi_application

    return get_internal_wsgi_application()
