"""What happened to each request, under the `key` of its query: Django's signals, and close().

The signals carry no request; PEP 3333 has a request begin, run and close on one thread, so the key
of the thread's request is the signal's. A server that closed elsewhere would be seen here.
"""

import threading
from collections import defaultdict
from urllib.parse import parse_qs

from django.core.signals import got_request_exception, request_finished, request_started
from django.dispatch import receiver

_here = threading.local()
_events = defaultdict(list)


def note(key, event):
    _events[key].append(event)


def noted(key):
    return list(_events[key])


@receiver(request_started)
def started(environ, **_):
    _here.key = parse_qs(environ.get("QUERY_STRING", "")).get("key", [""])[0]
    note(_here.key, "started")


@receiver(request_finished)
def finished(**_):
    note(_here.key, "finished")


@receiver(got_request_exception)
def failed(**_):
    note(_here.key, "failed")
