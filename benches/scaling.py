"""Measures what a second core gains: the same server and load on one core and on two.

    python benches/scaling.py --python PATH [--seconds 3] [--rounds 3]

PATH is an interpreter whose environment has rustwsgi and Flask. With a GIL only the server's own
work can run on the second core; a free-threaded interpreter runs the application on both. The load
generator shares the second core, so for short requests the true ratio is larger.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess

import load
from process import LOAD_CORE, SERVER_CORE, Running
from servers import Launch, Server
from workloads import BY_NAME

NAMES = ("cpu", "flask8")


def server_of(python: str) -> Server:
    """The rustwsgi that is installed for this interpreter."""

    def command(to: Launch) -> list[str]:
        options = ["--bind", f"127.0.0.1:{to.port}", "--threads", str(to.threads)]
        return [python, "-m", "rustwsgi", *options, f"{to.app}:app"]

    return Server("rustwsgi", command)


def describe(python: str) -> str:
    code = (
        "import sys, rustwsgi._rustwsgi; gil = getattr(sys, '_is_gil_enabled', lambda: True)();"
        "print(sys.version.split()[0], 'with a GIL' if gil else 'without a GIL')"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", required=True, help="an interpreter with rustwsgi and Flask")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each load")
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of measurements, whose median is shown"
    )
    options = parser.parse_args()
    if SERVER_CORE == LOAD_CORE:
        parser.error("needs two cores")

    server = server_of(options.python)
    print(f"CPython {describe(options.python)}; load average {load.load_average():.1f}")
    env = {"BENCH_CPU_TURNS": str(load.calibrate_cpu(options.python))}
    print(f"{'':28}{'1 core':>10}{'2 cores':>10}{'ratio':>8}   requests/s [of each round]")
    for workload in map(BY_NAME.__getitem__, NAMES):
        found: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for count, rates in found.items():
                cores = (SERVER_CORE, LOAD_CORE)[:count]
                with Running(server, workload, env, cores) as running:
                    load.wrk(running.port, workload, 1)
                    figures = load.wrk(running.port, workload, options.seconds)
                if any(figures[name] for name in ("connect", "read", "write", "status", "timeout")):
                    raise SystemExit(f"{workload.title}: {figures}")
                rates.append(figures["requests"] / (figures["duration_us"] / 1e6))
        one, two = (statistics.median(rates) for rates in found.values())
        rounds = ", ".join(f"{a:,.0f} {b:,.0f}" for a, b in zip(found[1], found[2], strict=True))
        print(f"{workload.title:28}{one:10,.0f}{two:10,.0f}{two / one:8.2f}   [{rounds}]")


if __name__ == "__main__":
    main()
