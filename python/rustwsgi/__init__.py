"""rustwsgi: a WSGI server written in Rust.

On the command line:  rustwsgi module:app
In a program:         rustwsgi.serve(app, bind="127.0.0.1:8000")
In the background:    with rustwsgi.Server(app, bind="127.0.0.1:0") as server: ...
To see it work:       python -m rustwsgi.demo

In an application, ``environ["rustwsgi.client_disconnected"]()`` is True once the client of this
request has disconnected.
"""

from __future__ import annotations

from rustwsgi import _rustwsgi

# `typing` would take most of the time that the import of this package takes.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

__all__ = ["RequestBodyError", "RequestTimeout", "Server", "__version__", "serve"]

__version__: str = _rustwsgi.__version__
RequestBodyError = _rustwsgi.RequestBodyError
RequestTimeout = _rustwsgi.RequestTimeout


def serve(app: Any, **options: Any) -> None:
    """Serve ``app`` until SIGINT or SIGTERM, then finish running requests and return.

    ``options`` are those of the command line with underscores: ``bind="127.0.0.1:8000"``,
    ``threads=8``, ``access_logfile="-"``. An option that may be repeated takes a list.

    Raises ValueError for an invalid option, TypeError if ``app`` is not callable or an ASGI
    application, and OSError if an address cannot be bound. A handler that the program has set for
    one of the two signals is called, and what it raises ends the call; without one, the server sets
    its own and restores the previous one before it returns. In a thread other than the main thread,
    which receives no signals, it serves until the program exits: use :class:`Server` there.
    """
    _rustwsgi.serve(app, **options)


class Server:
    """A server on background threads, for tests and for programs that also do other work.

    >>> with Server(app, bind="127.0.0.1:0", threads=2) as server:
    ...     urllib.request.urlopen(server.url)

    Takes the options of :func:`serve` and raises the same errors.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self._server = _rustwsgi.BackgroundServer(app, **options)
        self._started: list[tuple[str | None, int | None, str]] | None = None

    def start(self) -> Server:
        """Bind the addresses and start to serve. Returns self."""
        self._started = self._server.start()
        return self

    def stop(self) -> bool:
        """Stop accepting and wait for running requests, up to ``graceful_timeout`` seconds.

        Returns True if all of them have finished. A second call does nothing.
        """
        return self._server.stop()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _addresses(self) -> list[tuple[str | None, int | None, str]]:
        if self._started is None:
            raise RuntimeError("the server has no address yet: call start() first")
        return self._started

    @property
    def urls(self) -> list[str]:
        """The addresses that the server listens on: ``http://127.0.0.1:8000``, ``unix:/path``."""
        return [url for _, _, url in self._addresses]

    @property
    def url(self) -> str:
        """The first of :attr:`urls`."""
        return self.urls[0]

    @property
    def host(self) -> str | None:
        """The host of the first address. None for a unix socket."""
        return self._addresses[0][0]

    @property
    def port(self) -> int | None:
        """The port of the first address, as the system has chosen it for port 0.

        None for a unix socket.
        """
        return self._addresses[0][1]
