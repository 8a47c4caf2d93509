"""Goodput under overload: ten times the requests that a server can do, from clients that give up.

Clients come at a fixed rate, whatever becomes of those before them, each with a connection and a
request of its own. One that has no answer after its patience closes the connection. What counts
is how many are answered in time, as a share of what the server can do when it is asked no more
than that.

    python benches/overload.py
    python benches/overload.py --server OTHER/.venv/bin/rustwsgi -- --queue-timeout 1

It runs for a minute at most, at 127.0.0.1, with `load * capacity * patience` connections open.
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


async def ask(port: int, patience: float) -> str:
    """The status of one request, or what became of it instead."""
    writer = None
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            answer = await reader.read()
            return answer[9:12].decode() or "closed"
    except TimeoutError:
        return "gave up"
    except OSError:
        return "refused"
    finally:
        if writer is not None:
            writer.close()


async def closed_loop(port: int, clients: int, seconds: float) -> float:
    """Answers per second to clients that ask again when they are answered."""
    end, answered = time.monotonic() + seconds, 0

    async def client() -> None:
        nonlocal answered
        while time.monotonic() < end:
            outcome = await ask(port, 30)  # before the sum is looked at
            answered += outcome == "200"

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / seconds


async def open_loop(
    port: int, rate: float, seconds: float, patience: float, settle: float
) -> tuple[float, Counter[str]]:
    """Answers in time per second, once `settle` seconds are over, and what became of all."""
    outcomes: Counter[str] = Counter()
    start, good = time.monotonic(), 0

    async def client() -> None:
        nonlocal good
        outcome = await ask(port, patience)
        outcomes[outcome] += 1
        good += outcome == "200" and settle <= time.monotonic() - start < seconds

    tasks = set()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
        task = asyncio.create_task(client())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return good / (seconds - settle), outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description="Goodput under overload.")
    parser.add_argument("--server", default=str(DEFAULT), help="the rustwsgi to run")
    parser.add_argument("--app", default="sleep", help="a module of benches/apps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--load", type=float, default=10.0, help="times the capacity")
    parser.add_argument("--patience", type=float, default=3.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("options", nargs="*", help="options for the server, behind --")
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
        rate, settle = args.load * capacity, args.patience + 2
        good, outcomes = asyncio.run(
            open_loop(port, rate, args.seconds + settle, args.patience, settle)
        )
        after = usage(server.pid)
        print(f"capacity {capacity:.0f}/s, offered {rate:.0f}/s, patience {args.patience:g} s")
        print(f"goodput {good:.0f}/s: {good / capacity:.0%} of the capacity")
        print("  ".join(f"{outcome}: {count}" for outcome, count in outcomes.most_common()))
        print(f"memory +{(after.rss_kib - before.rss_kib) / 1024:.1f} MiB")
    finally:
        server.terminate()
        server.wait(60)


if __name__ == "__main__":
    main()
