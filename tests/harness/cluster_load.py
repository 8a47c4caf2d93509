"""Clients of a balancer: `python -m harness.cluster_load ADDRESS PORT`, in its namespace.

Twelve clients with kept-alive connections send requests, with a pause of 10 ms, until standard input
ends. Prints "running" when each has had an answer, and the counts at the end.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter

CLIENTS = 12
PAUSE = 0.01


class Load:
    """The clients and what they got."""

    def __init__(self, address: str, port: int) -> None:
        self._where = (address, port)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        #: Released once by each client that has had an answer.
        self._begun = threading.Semaphore(0)
        self.answers: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.slowest = 0.0

    def client(self) -> None:
        """One client."""
        connection = None
        begun = False
        while not self._ended.is_set():
            start = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection(*self._where, timeout=10)
                connection.request("GET", "/")
                response = connection.getresponse()
                text = response.read().decode()
                reason = "" if response.status == 200 else str(response.status)
            except (OSError, http.client.HTTPException) as error:
                reason, connection = type(error).__name__, None
            with self._lock:
                if reason:
                    self.failed[reason] += 1
                else:
                    self.answers[text] += 1
                    self.slowest = max(self.slowest, time.monotonic() - start)
            if not begun:
                begun = True
                self._begun.release()
            time.sleep(PAUSE)

    def run(self) -> None:
        """Load until standard input ends."""
        threads = [threading.Thread(target=self.client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for _ in threads:
            self._begun.acquire()
        print("running", flush=True)
        sys.stdin.read()
        self._ended.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    load = Load(sys.argv[1], int(sys.argv[2]))
    load.run()
    print(
        json.dumps({"answers": load.answers, "failed": load.failed, "slowest": load.slowest}),
        flush=True,
    )
