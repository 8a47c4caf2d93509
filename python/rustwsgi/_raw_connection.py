"""The socket of a request that asks for `Upgrade`, which is opened by its first use.

The object in the environ is a `socket.socket` from the start, so that `isinstance` holds, but has
no descriptor. Its class opens it when an attribute is read, and then makes it an ordinary
`socket.socket`: later uses cost nothing, and `select` finds the real descriptor.
"""

import os
import select
import socket
import threading
import weakref
from typing import Any

# Reports that the peer has shut its side down. Systems without it report only the end of both.
_END = getattr(select, "POLLRDHUP", select.POLLHUP)

# Held while a socket is opened: another thread that uses it at the same time waits.
_lock = threading.RLock()


class UnopenedSocket(socket.socket):
    """A socket before its first use."""

    # The layout of the base class, which `__class__` requires to be assigned.
    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        # Not a use: debuggers and copies look for special attributes.
        if name.startswith("__"):
            return super().__getattribute__(name)
        _open(self)
        return getattr(self, name)

    def __repr__(self) -> str:
        return "<socket of the request, not used yet>"


def make_socket(connection: Any) -> socket.socket:
    """Return an unopened socket for this `RawConnection`."""
    unopened = UnopenedSocket.__new__(UnopenedSocket)
    # A slot of the base class, which sets it when the socket is opened.
    _CONNECTION.__set__(unopened, connection)
    return unopened


_CONNECTION: Any = socket.socket.__dict__["_io_refs"]


def _open(unopened: Any) -> None:
    with _lock:
        if type(unopened) is not UnopenedSocket:
            return
        connection = _CONNECTION.__get__(unopened)
        descriptor = connection.take()
        try:
            socket.socket.__init__(unopened, fileno=descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        object.__setattr__(unopened, "__class__", socket.socket)
        connection.set_socket(weakref.ref(unopened))


def is_disconnected(reference: "weakref.ref[socket.socket]") -> bool:
    """Return whether the client has shut its side down, or the application its socket."""
    opened = reference()
    if opened is None or opened.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(opened, _END)
    return bool(poll.poll(0))
