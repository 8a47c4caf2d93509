"""Ports for programs that have to be given one, or that bind the same one twice."""

from __future__ import annotations

import random
import socket
import sys
from pathlib import Path

#: Where the kernel says which ports it chooses from.
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST = 10_000
#: What keeps each port that was given from other processes of tests.
_given: dict[int, socket.socket] = {}


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing is bound to, and that stay free until the program binds them.

    The kernel gives the ports that it chooses itself to any process at any moment: to listeners
    with port 0, and to each connection that a client makes. So these are below the kernel's. And no
    other process of tests is given them while this one runs.
    """
    numbers = random.SystemRandom()
    found: list[int] = []
    while len(found) < count:
        port = numbers.randrange(FIRST, _end())
        if port not in _given and _reserve(port) and _is_free(port):
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


def _reserve(port: int) -> bool:
    """Whether no process of tests has this port. A name of Linux ends with the process."""
    reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        if sys.platform == "linux":
            reservation.bind(f"\0rustwsgi-tests-{port}")
    except OSError:
        reservation.close()
        return False
    _given[port] = reservation
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
