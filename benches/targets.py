"""Performance targets of rustwsgi. Each run reports whether they are met.

Targets are ratios to the best peer with correct responses in the same run, because absolute figures
do not carry over to another machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from results import REFERENCE, Results
from servers import LIMIT, OURS


@dataclass(frozen=True)
class Target:
    """One target."""

    #: The text in the table.
    text: str
    #: Computes the figure; `None` if this run did not measure it.
    figure: Callable[[Results], float | None]
    #: The limit of the figure.
    bound: float
    #: Whether the limit is a maximum; otherwise it is a minimum.
    at_most: bool

    def met(self, figure: float) -> bool:
        """Whether `figure` meets the target."""
        return figure <= self.bound if self.at_most else figure >= self.bound


def _faster(workload: str, bound: float, text: str) -> Target:
    return _against_the_best(workload, "rps", bound, f"{text}: requests/s", at_most=False)


def _cheaper(workload: str, bound: float, text: str) -> Target:
    text = f"{text}: user CPU per request"
    return _against_the_best(workload, "user_us", bound, text, at_most=True)


def _against_the_best(workload: str, metric: str, bound: float, text: str, at_most: bool) -> Target:
    def figure(results: Results) -> float | None:
        return results.ratio(workload, OURS, metric, least=at_most)

    return Target(f"{text}, times the best peer", figure, bound, at_most)


def _against(
    workload: str, peer: str, metric: str, bound: float, text: str, at_most: bool
) -> Target:
    def figure(results: Results) -> float | None:
        return results.against(workload, OURS, peer, metric)

    return Target(text, figure, bound, at_most)


def _bound(workload: str, bound: float, text: str) -> Target:
    text = f"{text}: requests/s, times the application called in process"
    return _against(workload, REFERENCE, "rps", bound, text, at_most=False)


def _figure(workload: str, metric: str, bound: float, text: str, at_most: bool) -> Target:
    return Target(text, lambda results: results.value(workload, OURS, metric), bound, at_most)


def _sleep(workload: str) -> Callable[[Results], float | None]:
    def figure(results: Results) -> float | None:
        rps = results.value(workload, OURS, "rps")
        return rps / (32 / 0.010) if rps is not None else None

    return figure


def _spread(results: Results) -> float | None:
    p50, p99 = (results.value("cpu", OURS, metric) for metric in ("p50_ms", "p99_ms"))
    return p99 / p50 if p50 and p99 else None


def _excess_memory(results: Results) -> float | None:
    ours = results.value("memory", OURS, "held_mib")
    bare = results.value("memory", REFERENCE, "held_mib")
    return ours - 1.05 * bare if ours is not None and bare is not None else None


TARGETS: tuple[Target, ...] = (
    _cheaper("hello", 0.6, "Hello"),
    _cheaper("browser", 0.6, "Browser-like head"),
    _faster("hello", 1.2, "Hello, 1 thread"),
    _faster("hello8", 1.2, "Hello, 8 threads"),
    _faster("flask", 1.0, "Flask, 1 thread"),
    _faster("flask8", 1.0, "Flask, 8 threads"),
    _bound("flask", 0.95, "Flask, 1 thread"),
    _bound("flask8", 0.90, "Flask, 8 threads"),
    Target(
        "Waits 10 ms, 32 threads: requests/s, times 32 / 10 ms",
        _sleep("sleep"),
        0.98,
        at_most=False,
    ),
    _faster("mixed", 1.0, "1 % block"),
    _figure("mixed4", "p50_ms", 1.0, "1 % block, a thread free: p50 in ms", True),
    _faster("cpu", 1.0, "1 ms of Python"),
    Target("1 ms of Python: p99, times p50", _spread, 1.3, at_most=True),
    _faster("newconn", 1.2, "New connections"),
    _faster("large", 1.2, "1 MiB response, 1 thread"),
    _faster("large8", 1.2, "1 MiB response, 8 threads"),
    _faster("sendfile", 1.2, "File of 1 MiB, 1 thread"),
    _faster("generator", 1.2, "Generator"),
    _faster("post", 1.2, "POST of 64 KiB, 1 thread"),
    _faster("post8", 1.2, "POST of 64 KiB, 8 threads"),
    _faster("static1k", 3.0, "Static file of 1 KiB"),
    _faster("static100k", 3.0, "Static file of 100 KiB"),
    _against("static1k", LIMIT, "rps", 1.0, "Static file of 1 KiB: times nginx", at_most=False),
    _against("static100k", LIMIT, "rps", 1.0, "Static file of 100 KiB: times nginx", at_most=False),
    _faster("tls", 1.5, "HTTPS hello"),
    _against("tls", LIMIT, "rps", 1.0, "HTTPS hello: requests/s, times nginx", at_most=False),
    *(
        _against(workload, peer, "per_cpu_second", bound, f"{text}, times {peer}", at_most=False)
        for workload, text in (
            ("tlsnew", "HTTPS: full handshakes per CPU second"),
            ("tlsresumed", "HTTPS: resumed sessions per CPU second"),
        )
        for peer, bound in (("granian", 1.0), (LIMIT, 1.3))
    ),
    *(
        _against(workload, peer, "mib_per_second", bound, f"{text}, times {peer}", at_most=False)
        for workload, text in (
            ("tls1m", "HTTPS download of 1 MiB: MiB/s"),
            ("tls256m", "HTTPS download of 256 MiB: MiB/s"),
        )
        for peer, bound in (("granian", 1.2), (LIMIT, 0.9))
    ),
    _figure("tlsidle", "idle_kib", 8.0, "Memory per idle TLS connection, KiB", True),
    *(
        _against(workload, peer, "rps", bound, f"{text}: requests/s, times {peer}", at_most=False)
        for workload, text, peer, bound in (
            ("h2c", "HTTP/2 hello, cleartext", "granian", 2.0),
            ("h2c", "HTTP/2 hello, cleartext", LIMIT, 1.3),
            ("h2", "HTTP/2 hello over TLS", "granian", 2.0),
            ("h2", "HTTP/2 hello over TLS", LIMIT, 1.0),
            ("h2large", "HTTP/2: 1 MiB response", "granian", 1.2),
        )
    ),
    Target(
        "HTTP/2: 100 streams that wait 10 ms: requests/s, times 32 / 10 ms",
        _sleep("h2sleep"),
        0.95,
        at_most=False,
    ),
    _figure("h2idle", "idle_kib", 16.0, "Memory per idle HTTP/2 connection, KiB", True),
    _against_the_best(
        "beside", "p99_ms", 0.2, "Quick requests beside slow ones, 2 workers: p99", at_most=True
    ),
    Target("Memory beyond 1.05 x the bare interpreter, MiB", _excess_memory, 8.0, at_most=True),
    _figure("idle", "idle_kib", 1.0, "Memory per idle connection, KiB", True),
    _figure(
        "idle", "idle_cpu_percent", 0.5, "CPU used by idle connections, % (a tick is 0.5)", True
    ),
    _against(
        "startup", REFERENCE, "start_ms", 1.3, "Start to first answer, times python -c import", True
    ),
)
