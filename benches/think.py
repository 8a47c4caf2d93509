"""Clients that think between requests: the load of the workload `beside`.

64 kept-alive connections send a request 20 ms after the response to the last one. Few of the
requests are slow. The figures are the latencies of the quick ones: they show whether a quick
request waits behind slow ones while a thread is free elsewhere. wrk cannot show that: its
connections never think, and its percentiles do not tell quick requests from slow ones.

It runs in a process of its own, pinned to the core of the load: `think.py PORT SECONDS SEED`.
"""

from __future__ import annotations

import heapq
import json
import random
import selectors
import socket
import sys
import time

CONNECTIONS = 64
THINK_SECONDS = 0.020
#: About 4 of 8 threads are then busy with slow requests of 200 ms.
SLOW_SHARE = 0.006
#: A response that takes longer than this counts as an error.
TIMEOUT_SECONDS = 5.0
END = b"Hello, World!"


class Connection:
    """One client."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self.is_slow = False
        self.received = b""

    def send(self, slow: bool) -> None:
        """Send a request."""
        self.is_slow, self.received = slow, b""
        path = b"/slow" if slow else b"/"
        self.sent_at = time.perf_counter()
        self.socket.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def receive(self) -> bool:
        """Read what has arrived; return whether the response is complete."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError
        self.received += data
        return self.received.endswith(END)


def run(port: int, seconds: float, seed: int) -> dict[str, float]:
    """Send requests for this time, and return the figures."""
    chance = random.Random(seed)
    latencies: list[float] = []
    errors = slow = 0
    selector = selectors.DefaultSelector()
    began = time.perf_counter()
    # When each idle connection sends next; the number breaks ties.
    due: list[tuple[float, int, Connection]] = []
    for number in range(CONNECTIONS):
        connection = Connection(port)
        selector.register(connection.socket, selectors.EVENT_READ, (number, connection))
        due.append((began + THINK_SECONDS * number / CONNECTIONS, number, connection))
    end = began + seconds
    while (now := time.perf_counter()) < end and not errors:
        while due and due[0][0] <= now:
            _, _, connection = heapq.heappop(due)
            connection.send(chance.random() < SLOW_SHARE)
        for key, _ in selector.select(max(0.0, due[0][0] - now) if due else 0.1):
            number, connection = key.data
            try:
                complete = connection.receive()
            except OSError:
                errors += 1
                break
            if complete:
                now = time.perf_counter()
                slow += connection.is_slow
                if not connection.is_slow:
                    latencies.append(now - connection.sent_at)
                heapq.heappush(due, (now + THINK_SECONDS, number, connection))
    latencies.sort()

    def percentile(share: float) -> float:
        return latencies[int(share * (len(latencies) - 1))] * 1000 if latencies else 0.0

    return {
        "requests": len(latencies) + slow,
        "seconds": time.perf_counter() - began,
        "p50_ms": percentile(0.50),
        "p99_ms": percentile(0.99),
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
