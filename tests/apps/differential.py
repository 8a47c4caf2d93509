"""Reports the request in a response field, so that a response to HEAD has it too."""

import json


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    seen["body"] = body.decode("latin-1")
    start_response("200 OK", [("X-Seen", json.dumps(seen)), ("Content-Length", "0")])
    return []
