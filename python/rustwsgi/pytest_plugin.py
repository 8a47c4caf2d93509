"""The pytest plugin: the fixture ``rustwsgi_server``, and the setting ``rustwsgi_live_server``.

pytest loads this module in every run of an environment that has the package, so it imports the
server and the frameworks only when a test needs them.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rustwsgi import Server

#: The setting of pytest.ini.
SETTING = "rustwsgi_live_server"
LOOPBACK = "127.0.0.1"
#: The options of a server for tests, unless the test gives others.
DEFAULTS = {"bind": f"{LOOPBACK}:0", "log_level": "warning", "graceful_timeout": 5}
#: Those of a live server, whose browser may keep several requests open.
LIVE_DEFAULTS = {**DEFAULTS, "threads": 8}

#: Undoes what the setting has replaced.
_undo = pytest.StashKey[Callable[[], None]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        SETTING,
        "let the fixture live_server of pytest-django and pytest-flask, and Django's"
        " LiveServerTestCase, run rustwsgi",
        type="bool",
        default=False,
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Replace the live servers. By now the frameworks that the tests use are imported."""
    config = session.config
    if not config.getini(SETTING) or _undo in config.stash:
        return
    from rustwsgi import _live_servers

    config.stash[_undo] = _live_servers.install()


def pytest_unconfigure(config: pytest.Config) -> None:
    undo = config.stash.get(_undo, None)
    if undo is not None:
        undo()


@pytest.fixture
def rustwsgi_server() -> Iterator[Callable[..., Server]]:
    """Make servers in the process of the tests: ``with rustwsgi_server(app) as server:``, then
    ``server.url``.

    Takes the options of ``rustwsgi.serve()``; the port is a free one unless ``bind`` is given.
    Raises the errors of :class:`rustwsgi.Server`. Each server stops at the end of its ``with``, or
    else of the test.
    """
    import rustwsgi

    made: list[rustwsgi.Server] = []
    sharing = contextlib.ExitStack()

    def make(app: Any, **options: Any) -> rustwsgi.Server:
        options = with_defaults(options, DEFAULTS)
        server = rustwsgi.Server(app, **options)
        if "django.db" in sys.modules:
            from rustwsgi import _live_servers

            sharing.enter_context(_live_servers.allowed_host(LOOPBACK))
            connections = _live_servers.connections_of_test()
            if connections:
                # A connection runs one transaction.
                options.setdefault("threads", 1)
                app = _live_servers.WithConnections(app, connections)
                server = rustwsgi.Server(app, **options)
            for connection in connections.values():
                sharing.enter_context(_live_servers.shared(connection))
        made.append(server)
        return server

    yield make
    unfinished = [server for server in reversed(made) if not server.stop()]
    sharing.close()
    if unfinished:
        warnings.warn("rustwsgi_server: a request was still running after the test", stacklevel=1)


def with_defaults(options: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The options, and the defaults that they do not replace."""
    addresses = {"bind", "host", "port", "uds", "fd"}
    left = addresses if addresses & set(options) else set()
    return {**{key: value for key, value in defaults.items() if key not in left}, **options}
