"""Measures goodput under overload: ten times the server's capacity, from clients that time out.

Clients arrive at a fixed rate (an open loop). Each opens a connection and sends one request. A
client without a response within its timeout (`--client-timeout`) closes the connection. The result
is the rate of responses in time, as a share of the server's capacity.

    python benches/overload.py
    python benches/overload.py --server OTHER/.venv/bin/rustwsgi -- --queue-timeout 1

Takes up to a minute, with `load * capacity * client_timeout` connections open on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import probe
from process import APPS, environment, free_port, usage

REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
DEFAULT = Path(sys.executable).parent / "rustwsgi"
_START_SECONDS = 20


async def ask(port: int, client_timeout: float) -> str:
    """Send one request; return its status, or how it failed."""
    writer = None
    try:
        async with asyncio.timeout(client_timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            response = await reader.read()
            return response[9:12].decode() or "closed"
    except TimeoutError:
        return "gave up"
    except OSError:
        return "refused"
    finally:
        if writer is not None:
            writer.close()


async def closed_loop(port: int, clients: int, seconds: float) -> float:
    """Responses per second to clients that send the next request after each response."""
    end, answered = time.monotonic() + seconds, 0

    async def client() -> None:
        nonlocal answered
        while time.monotonic() < end:
            # Not in one statement: `answered` would be read before the await.
            outcome = await ask(port, 30)
            answered += outcome == "200"

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / seconds


async def open_loop(
    port: int, rate: float, seconds: float, client_timeout: float, warm_up: float
) -> tuple[float, Counter[str]]:
    """Responses in time per second after the first `warm_up` seconds, and all outcomes."""
    outcomes: Counter[str] = Counter()
    start, good = time.monotonic(), 0

    async def client() -> None:
        nonlocal good
        outcome = await ask(port, client_timeout)
        outcomes[outcome] += 1
        good += outcome == "200" and warm_up <= time.monotonic() - start < seconds

    tasks = set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
        task = asyncio.create_task(client())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return good / (seconds - warm_up), outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure goodput under overload.")
    parser.add_argument("--server", default=str(DEFAULT), help="path of the rustwsgi to run")
    parser.add_argument("--app", default="sleep", help="a module of benches/apps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--load", type=float, default=10.0, help="request rate as a multiple of capacity"
    )
    parser.add_argument(
        "--client-timeout", type=float, default=3.0, help="client timeout in seconds"
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("options", nargs="*", help="options for the server, after --")
    args = parser.parse_args()
    port = free_port()
    command = [args.server, "--bind", f"127.0.0.1:{port}", "--threads", str(args.threads)]
    server = subprocess.Popen(
        [*command, *args.options, f"{args.app}:app"], cwd=APPS, env=environment({})
    )
    try:
        until = time.monotonic() + _START_SECONDS
        probe.wait_until_up(port, REQUEST, until, lambda: server.poll() is None)
        capacity = asyncio.run(closed_loop(port, 8 * args.threads, 3))
        before = usage(server.pid)
        rate, warm_up = args.load * capacity, args.client_timeout + 2
        good, outcomes = asyncio.run(
            open_loop(port, rate, args.seconds + warm_up, args.client_timeout, warm_up)
        )
        after = usage(server.pid)
        print(
            f"capacity {capacity:.0f}/s, offered {rate:.0f}/s, "
            f"client timeout {args.client_timeout:g} s"
        )
        print(f"goodput {good:.0f}/s: {good / capacity:.0%} of capacity")
        print("  ".join(f"{outcome}: {count}" for outcome, count in outcomes.most_common()))
        print(f"memory +{(after.rss_kib - before.rss_kib) / 1024:.1f} MiB")
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
