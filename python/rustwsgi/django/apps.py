"""The Django application ``rustwsgi.django``."""

from __future__ import annotations

import os

from django.apps import AppConfig
from django.core.checks import register


class RustwsgiConfig(AppConfig):
    """Registers the system checks."""

    name = "rustwsgi.django"
    #: Not the last part of the name, which any other package may have as well.
    label = "rustwsgi"
    verbose_name = "rustwsgi"
    # The modules of the embedded binary have no file.
    path = os.path.dirname(globals().get("__file__", os.path.join(os.sep, "nonexistent", "")))

    def ready(self) -> None:
        from rustwsgi.django import checks

        register(checks.check_application, "rustwsgi")
        register(checks.check_options, "rustwsgi")
        register(checks.check_proxy_headers, "rustwsgi", deploy=True)
        register(checks.check_sessions, "rustwsgi", deploy=True)
        register(checks.check_connections, "rustwsgi", deploy=True)
