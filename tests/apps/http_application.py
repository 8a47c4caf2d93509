"""`module` alone: there is no `app`, so `application` is taken."""

from echo import reply


def application(environ, start_response):
    return reply(start_response, b"application")
