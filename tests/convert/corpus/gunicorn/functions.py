from os import environ


def default_workers():
    return 2


def address(port):
    return "127.0.0.1:" + str(port)


wsgi_app = "hello:app"
workers = default_workers()
bind = address(environ.get("SANDBOX_PORT", 8091))
