"""Applications behind attributes and factories, and names that are none."""

from echo import reply


def make(name="made", *, suffix=""):
    def application(environ, start_response):
        return reply(start_response, (name + suffix).encode())

    return application


class Holder:
    """Reached as `http_factory:holder.app`."""

    app = staticmethod(make("held"))


holder = Holder()
app = make("app")
application = make("application")
not_callable = 42


def broken():
    raise LookupError("the factory's own failure")


def echo(*positional, **named):
    return make(repr((positional, named)))
