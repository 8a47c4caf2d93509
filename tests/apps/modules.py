"""Answers with the names of the modules that are imported, one a line."""

import sys


def app(environ, start_response):
    body = "\n".join(sorted(sys.modules)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
