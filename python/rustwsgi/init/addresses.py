"""The addresses of the server, as the programs in front of it write them: proxies on this machine,
and systemd, which may open its sockets.

With a certificate, the TCP addresses of ``--bind`` speak HTTPS; unix sockets and
``--insecure-bind`` stay plain. A socket that another program opens, ``fd://N``, has an address that
only that program knows.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from rustwsgi.init.project import InitError, Project

UNIX = "unix:"
INHERITED = "fd://"
#: Hosts of sockets that all interfaces reach, so also this one.
WILDCARDS = ("", "0.0.0.0", "[::]")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Upstream:
    """How a proxy on this machine reaches the server."""

    #: ``HOST:PORT`` or ``unix:PATH``.
    addresses: list[str]
    #: Whether the server expects TLS there.
    is_https: bool = False
    #: Sentences on what the user has to check.
    remarks: list[str] = field(default_factory=list)


def upstream(project: Project) -> Upstream:
    """The addresses for a proxy: plain ones if there are any, as TLS on the same machine protects
    nothing."""
    known = [bind for bind in project.binds() if not bind.startswith(INHERITED)]
    plain = known
    if project.has_tls:
        plain = [bind for bind in known if bind.startswith(UNIX)]
        insecure = project.options.get("insecure_bind", [])
        plain += [bind for bind in insecure if not bind.startswith(INHERITED)]
    if plain or known:
        found = [reached(project, bind) for bind in plain or known]
        return Upstream(list(dict.fromkeys(found)), is_https=not plain)
    inherited = ", ".join(project.binds())
    remark = (
        f"{inherited} is a socket that another program opens: write its address here. This one is"
        " that of `rustwsgi init systemd --socket`."
    )
    return Upstream([f"{UNIX}{project.default_socket}"], remarks=[remark])


def reached(project: Project, bind: str) -> str:
    """The address at which a program on this machine reaches the server."""
    if bind.startswith(UNIX):
        # A proxy has another working directory.
        return UNIX + os.path.join(project.directory, bind.removeprefix(UNIX))
    host, _, port = bind.rpartition(":")
    return f"{LOOPBACK}:{port}" if host in WILDCARDS else bind


def streams(project: Project) -> list[str]:
    """What systemd listens at, as values of ``ListenStream=``. Raises InitError."""
    found = []
    for bind in project.binds():
        if bind.startswith(INHERITED):
            # systemd passes the socket. The options do not know its address.
            found.append(project.default_socket)
        elif bind.startswith(UNIX):
            found.append(os.path.join(project.directory, bind.removeprefix(UNIX)))
        else:
            host, _, port = bind.rpartition(":")
            # All interfaces are those of IPv6 as well.
            found.append(port if host in WILDCARDS else f"{address_of(host)}:{port}")
    return list(dict.fromkeys(found))


def address_of(host: str) -> str:
    """The address of a host, as systemd resolves no names. Raises InitError."""
    if host.startswith("["):
        return host
    try:
        # The first one, as the server does.
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except (OSError, UnicodeError):
        # Python raises UnicodeError for labels that are empty or too long.
        raise InitError(
            f"bind: cannot resolve the host name {host!r}, and systemd resolves none; write an"
            " IP address"
        ) from None
    return f"[{address}]" if ":" in str(address) else str(address)
