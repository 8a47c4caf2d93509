"""Runs the live servers of test frameworks: Django's ``LiveServerTestCase``, and the fixture
``live_server`` of pytest-django and pytest-flask.

The application runs in the process of the tests, on threads, as with Django's own server. (That of
pytest-flask is another process, in which a test can patch nothing.)
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rustwsgi import Server
from rustwsgi.pytest_plugin import LIVE_DEFAULTS

Application = Callable[..., Any]


def install() -> Callable[[], None]:
    """Replace the servers of the frameworks that are imported. Returns the function that restores
    them."""
    replaced: list[tuple[Any, str, Any]] = []
    if "pytest_django" in sys.modules:
        # It imports this module in its fixture only.
        importlib.import_module("django.test.testcases")
    django = sys.modules.get("django.test.testcases")
    if django is not None:
        replaced.append((django.LiveServerThread, "server_class", DjangoServer))
    flask = sys.modules.get("pytest_flask.fixtures")
    if flask is not None:
        replaced.append((flask, "LiveServer", flask_live_server(flask.LiveServer)))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)

    def restore() -> None:
        for owner, name, value in before:
            setattr(owner, name, value)

    return restore


class DjangoServer:
    """The server of Django's LiveServerThread, with the methods of `ThreadedWSGIServer`."""

    def __init__(
        self,
        address: tuple[str, int],
        _handler: object = None,
        allow_reuse_address: bool = False,
        connections_override: dict[str, Any] | None = None,
    ) -> None:
        self._application = WithConnections(None, connections_override or {})
        self._stopped = threading.Event()
        options = {**LIVE_DEFAULTS, "bind": bind_of(*address)}
        self._server = Server(self._application, **options).start()
        self.server_address = self._server.host, self._server.port

    def set_app(self, application: Application) -> None:
        self._application.set(application)

    def serve_forever(self) -> None:
        self._stopped.wait()

    def shutdown(self) -> None:
        self._server.stop()
        self._stopped.set()

    def server_close(self) -> None:
        """Nothing is left to close."""


class WithConnections:
    """Runs a Django application with database connections of the test, and closes those of its own
    thread after each response: an open one would keep the test database."""

    def __init__(self, application: Application | None, connections: dict[str, Any]) -> None:
        self._connections = connections
        self._application = application
        self._is_set = threading.Event()
        if application is not None:
            self._is_set.set()

    def set(self, application: Application) -> None:
        """Serve this application. Until then requests wait."""
        self._application = application
        self._is_set.set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        from django.db import connections

        self._is_set.wait()
        assert self._application is not None
        for alias, connection in self._connections.items():
            connections[alias] = connection
        return _Response(self._application(environ, start_response), self._close_own)

    def _close_own(self) -> None:
        from django.db import connections

        for connection in connections.all(initialized_only=True):
            if connection.alias not in self._connections:
                connection.close()


def connections_of_test() -> dict[str, Any]:
    """The connections of this thread that only it can use: those to a database in memory, and those
    with a transaction, whose data no other connection sees."""
    module = sys.modules.get("django.db")
    if module is None or not sys.modules["django.conf"].settings.configured:
        return {}
    return {
        connection.alias: connection
        for connection in module.connections.all(initialized_only=True)
        if connection.in_atomic_block
        or (connection.vendor == "sqlite" and connection.is_in_memory_db())
    }


@contextlib.contextmanager
def allowed_host(host: str) -> Iterator[None]:
    """Let Django serve this host: during tests it allows `testserver` only."""
    settings = sys.modules["django.conf"].settings
    hosts = settings.ALLOWED_HOSTS if settings.configured else None
    # An empty list with DEBUG allows this machine, and an item would end that.
    if not isinstance(hosts, list) or host in hosts or (settings.DEBUG and not hosts):
        yield
        return
    hosts.append(host)
    try:
        yield
    finally:
        hosts.remove(host)


@contextlib.contextmanager
def shared(connection: Any) -> Iterator[None]:
    """Let other threads use a connection of the test, and no request close it."""
    connection.inc_thread_sharing()
    # At the begin and end of a request Django closes a connection that is in a transaction.
    connection.close_if_unusable_or_obsolete = _keep_open
    try:
        yield
    finally:
        vars(connection).pop("close_if_unusable_or_obsolete", None)
        connection.dec_thread_sharing()


def _keep_open() -> None:
    """In place of Django's method."""


class _Response:
    """A response with a function to call after its end."""

    def __init__(self, response: Any, at_end: Callable[[], None]) -> None:
        self._response = response
        self._at_end = at_end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        try:
            close = getattr(self._response, "close", None)
            if close is not None:
                close()
        finally:
            self._at_end()


def flask_live_server(base: Any) -> Any:
    """The class of pytest-flask's fixture, with another server."""

    class LiveServer(base):  # type: ignore[misc]
        """A live server in the process of the tests."""

        _server: Server | None = None

        def start(self) -> None:
            bind = bind_of(self.host, self.port)
            self._server = Server(self.app, **{**LIVE_DEFAULTS, "bind": bind}).start()

        def stop(self) -> None:
            if self._server is not None:
                self._server.stop()
                self._server = None

    return LiveServer


def bind_of(host: str, port: int) -> str:
    """The address in the notation of ``--bind``, as the frameworks' servers bind it: a name is one
    of IPv4."""
    if ":" in host:
        return f"[{host}]:{port}"
    return f"{socket.gethostbyname(host)}:{port}"
