"""How many hosts, workers and threads a service needs: `python -m rustwsgi.capacity --help`.

Formulas give the sizes, and a simulation the response times. A request takes a thread from the
start of its work to the end. While it computes it also has the interpreter of its worker, and a
processor; while it waits, for a database say, it has neither. A request waits in the queue only
while no thread of its host is free, because workers hand requests over to each other.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: CPython lets another thread have the interpreter after this time, in seconds.
SWITCH_INTERVAL = 0.005


@dataclass(frozen=True)
class Service:
    """What arrives, and how long one request takes. Times are in seconds."""

    #: Requests per second.
    rate: float
    #: Computing time, with the interpreter.
    cpu: float
    #: Waiting time, without it.
    wait: float
    #: Standard deviation of both, divided by the mean: 0 if all are alike, 1 for a mixture.
    variation: float = 1.0

    @property
    def time(self) -> float:
        """A request alone."""
        return self.cpu + self.wait


@dataclass(frozen=True)
class Size:
    """The hosts that serve it."""

    hosts: int = 1
    #: Processors of each host.
    cores: int = 2
    #: Workers of each host.
    workers: int = 2
    #: Threads of each worker.
    threads: int = 8

    @property
    def parallel(self) -> int:
        """Requests that compute at the same time: each needs an interpreter and a processor."""
        return self.hosts * min(self.cores, self.workers)

    @property
    def seats(self) -> int:
        """Requests that run at the same time."""
        return self.hosts * self.workers * self.threads

    def limit(self, service: Service) -> float:
        """Requests per second at most."""
        by_cpu = self.parallel / service.cpu if service.cpu else math.inf
        by_threads = self.seats / service.time if service.time else math.inf
        return min(by_cpu, by_threads)


def recommend(service: Service, cores: int, utilisation: float) -> Size:
    """The smallest size whose processors and threads are busy for `utilisation` of the time."""
    parallel = max(1, math.ceil(service.rate * service.cpu / utilisation))
    hosts = math.ceil(parallel / cores)
    workers = min(cores, math.ceil(parallel / hosts))
    seats = max(1, math.ceil(service.rate * service.time / utilisation))
    return Size(hosts, cores, workers, math.ceil(seats / (hosts * workers)))


@dataclass
class Outcome:
    """Response times of a simulation, in seconds."""

    times: list[float] = field(default_factory=list)
    #: How long requests waited for a thread.
    queued: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The time that this share of the requests did not exceed."""
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class _Request:
    arrived: float
    #: What is left to do: (computes, seconds), the last step first.
    steps: list[tuple[bool, float]]
    worker: int = -1


class _Host:
    """One host: a queue, workers with free threads, processors."""

    def __init__(self, simulation: Simulation) -> None:
        size = simulation.size
        self.simulation = simulation
        self.queue: deque[_Request] = deque()
        self.free_threads = [size.threads] * size.workers
        #: Requests that want the interpreter, for each worker; the first has it.
        self.wanting: list[deque[_Request]] = [deque() for _ in range(size.workers)]
        self.computing = [False] * size.workers
        self.free_cores = size.cores
        self.load = 0

    def arrive(self, request: _Request) -> None:
        self.load += 1
        self.queue.append(request)
        self.start_requests()

    def start_requests(self) -> None:
        while self.queue and max(self.free_threads) > 0:
            request = self.queue.popleft()
            request.worker = self.free_threads.index(max(self.free_threads))
            self.free_threads[request.worker] -= 1
            self.simulation.outcome.queued.append(self.simulation.now - request.arrived)
            self.proceed(request)

    def proceed(self, request: _Request) -> None:
        if not request.steps:
            self.free_threads[request.worker] += 1
            self.load -= 1
            self.simulation.outcome.times.append(self.simulation.now - request.arrived)
            self.start_requests()
            return
        computes, seconds = request.steps.pop()
        if computes:
            request.steps.append((True, seconds))
            self.wanting[request.worker].append(request)
            self.give_cores()
        else:
            self.simulation.after(seconds, lambda: self.proceed(request))

    def give_cores(self) -> None:
        for worker, wanting in enumerate(self.wanting):
            if self.free_cores and wanting and not self.computing[worker]:
                self.free_cores -= 1
                self.computing[worker] = True
                self.compute(worker, wanting.popleft())

    def compute(self, worker: int, request: _Request) -> None:
        _, left = request.steps.pop()
        turn = min(left, SWITCH_INTERVAL) if self.wanting[worker] else left

        def end() -> None:
            self.free_cores += 1
            self.computing[worker] = False
            if left > turn:
                request.steps.append((True, left - turn))
                self.wanting[worker].append(request)
            else:
                self.proceed(request)
            self.give_cores()

        self.simulation.after(turn, end)


class Simulation:
    """Requests arrive at random at hosts; the balancer chooses the one with the fewest requests."""

    def __init__(self, service: Service, size: Size, seed: int = 1) -> None:
        self.service = service
        self.size = size
        self.now = 0.0
        self.outcome = Outcome()
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._hosts = [_Host(self) for _ in range(size.hosts)]

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, action))

    def run(self, requests: int) -> Outcome:
        """Simulate this many requests."""
        left = requests

        def arrive() -> None:
            nonlocal left
            left -= 1
            if left:
                self.after(self._random.expovariate(self.service.rate), arrive)
            wait = (False, self._vary(self.service.wait))
            half = self._vary(self.service.cpu) / 2
            request = _Request(self.now, [(True, half), wait, (True, half)])
            min(self._hosts, key=lambda host: host.load).arrive(request)

        arrive()
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
        return self.outcome

    def _vary(self, mean: float) -> float:
        variation = self.service.variation
        if not mean or not variation:
            return mean
        shape = 1 / variation**2
        return self._random.gammavariate(shape, mean / shape)


def describe(service: Service, size: Size, requests: int) -> str:
    """The report of a size."""
    limit = size.limit(service)
    lines = [
        f"{_counted(size.hosts, 'host')} of {_counted(size.cores, 'processor')}, "
        f"{_counted(size.workers, 'worker')} of {_counted(size.threads, 'thread')} each:",
        f"  at most {limit:,.0f} requests/s; {service.rate:,.0f} are {service.rate / limit:.0%}",
    ]
    if service.rate >= limit:
        return "\n".join([*lines, "  overloaded: the queue grows without end"])
    outcome = Simulation(service, size).run(requests)
    late = sum(waited > 0.0005 for waited in outcome.queued) / len(outcome.queued)
    times = ", ".join(
        f"p{round(share * 100, 1):g} {outcome.percentile(share) * 1000:.1f} ms"
        for share in (0.5, 0.95, 0.99)
    )
    return "\n".join([*lines, f"  response times: {times}", f"  {late:.1%} wait for a thread"])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _positive(text: str) -> float:
    number = float(text)
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not (number >= 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"{text}: must not be negative")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Print the recommended size, or what a given one can do."""
    parser = argparse.ArgumentParser(
        prog="python -m rustwsgi.capacity",
        description="How many hosts, workers and threads a service needs, and its response times.",
    )
    parser.add_argument("--rate", type=_positive, required=True, help="requests per second")
    parser.add_argument(
        "--cpu-ms", type=_positive, required=True, help="computing time of a request in ms"
    )
    parser.add_argument(
        "--wait-ms", type=_not_negative, default=0.0, help="waiting time of a request in ms"
    )
    parser.add_argument(
        "--variation",
        type=_not_negative,
        default=1.0,
        help="standard deviation divided by mean: 0 if all are alike (default 1)",
    )
    parser.add_argument(
        "--utilisation", type=_positive, default=0.6, help="to aim for, 0.6 by default"
    )
    parser.add_argument("--cores", type=_count, default=2, help="processors of a host")
    parser.add_argument("--hosts", type=_count, help="a given size in place of the recommended one")
    parser.add_argument("--workers", type=_count, help="of each host")
    parser.add_argument("--threads", type=_count, help="of each worker")
    parser.add_argument("--requests", type=_count, default=50_000, help="to simulate")
    options = parser.parse_args(arguments)
    if options.utilisation >= 1:
        parser.error("--utilisation must be less than 1")
    service = Service(
        options.rate, options.cpu_ms / 1000, options.wait_ms / 1000, options.variation
    )
    size = recommend(service, options.cores, options.utilisation)
    if options.hosts or options.workers or options.threads:
        size = Size(
            options.hosts or 1,
            options.cores,
            options.workers or options.cores,
            options.threads or 8,
        )
    print(describe(service, size, options.requests))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
