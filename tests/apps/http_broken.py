"""Fails when it is imported."""


def configure():
    raise RuntimeError("no database today")


configure()
app = None
