"""Compares the simulation of `python -m rustwsgi.capacity` with a real server.

The application computes, waits and computes again, for times that vary as in the simulation.
Requests arrive at random, whether or not earlier ones are answered. The server may use all
processors, which it shares with the load generator: the rates leave room for that.
"""

from __future__ import annotations

import asyncio
import random
import time

import process
import servers
from rustwsgi.capacity import Outcome, Service, Simulation, Size
from workloads import Workload

SECONDS = 20
CASES = (
    (Service(100, 0.002, 0.020), Size(1, 2, 1, 4)),
    (Service(150, 0.002, 0.020), Size(1, 2, 1, 4)),
    (Service(100, 0.004, 0.0), Size(1, 2, 1, 4)),
    (Service(150, 0.002, 0.020), Size(1, 2, 2, 2)),
)


async def request(port: int, due: float, outcome: Outcome) -> None:
    """Send a request when it is due, on a connection of its own."""
    await asyncio.sleep(max(0.0, due - time.monotonic()))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    response = await reader.read()
    writer.close()
    if not response.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"wrong response: {response[:60]!r}")
    outcome.times.append(time.monotonic() - due)


async def load(port: int, rate: float) -> Outcome:
    """Requests at random moments; their times count from when they were due."""
    chance, outcome, due = random.Random(7), Outcome(), time.monotonic() + 0.1
    end, tasks = due + SECONDS, []
    while due < end:
        tasks.append(asyncio.create_task(request(port, due, outcome)))
        due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    return outcome


def main() -> None:
    """Print both for each case."""
    for service, size in CASES:
        workload = Workload(
            "capacity", "", app="capacity_app", threads=size.threads, workers=size.workers
        )
        env = {"BENCH_CPU_S": str(service.cpu), "BENCH_WAIT_S": str(service.wait)}
        cores = process.SERVER_CORE, process.LOAD_CORE
        with process.Running(servers.BY_NAME[servers.OURS], workload, env, cores) as server:
            measured = asyncio.run(load(server.port, service.rate))
        simulated = Simulation(service, size).run(50_000)
        print(
            f"{service.rate:.0f}/s, {service.cpu * 1000:.0f} + {service.wait * 1000:.0f} ms, "
            f"{size.workers} x {size.threads} threads, {service.rate / size.limit(service):.0%}:"
        )
        for share in (0.5, 0.95, 0.99):
            real, model = measured.percentile(share), simulated.percentile(share)
            print(f"  p{share * 100:.0f}: {real * 1000:6.1f} ms measured, {model * 1000:6.1f} ms")


if __name__ == "__main__":
    main()
