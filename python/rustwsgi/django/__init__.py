"""``INSTALLED_APPS += ["rustwsgi.django"]``: the command ``manage.py rustwsgi``, and system checks.

The setting ``RUSTWSGI`` is a dict of the server's options, as in ``{"workers": 2}``.
"""
