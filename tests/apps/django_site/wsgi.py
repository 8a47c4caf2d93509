"""The entry point, as `django-admin startproject` writes it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")

application = get_wsgi_application()

# Its signal receivers must be there before the first request begins; the views come with it.
from . import events  # noqa: E402, F401
