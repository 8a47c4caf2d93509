"""Ports for programs that have to be given one, or that bind the same one twice."""

from __future__ import annotations

import random
import socket
from pathlib import Path

#: Where the kernel says which ports it chooses from.
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing is bound to, and that stay free until the program binds them.

    The kernel gives the ports that it chooses itself to any process at any moment: to listeners
    with port 0, and to each connection that a client makes. So these are below the kernel's.
    """
    numbers = random.SystemRandom()
    found: list[int] = []
    while len(found) < count:
        port = numbers.randrange(FIRST, _end())
        if port not in _given and _is_free(port):
            _given.add(port)
            found.append(port)
    return found


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def _end() -> int:
    """The first port that the kernel chooses. If it chooses from nearly all, none is better."""
    try:
        first = int(RANGE.read_text().split()[0])
    except OSError:
        first = 0
    return first if first >= FIRST + 2000 else 32_768


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
