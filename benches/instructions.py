"""Counts instructions per request: a regression benchmark that also works on a busy machine.

The server runs under callgrind. It answers N1 requests over one keep-alive connection, and N2 in
another run. (I2 - I1) / (N2 - N1) is the number of user-space instructions of one request, without
start and shutdown. Callgrind counts no kernel instructions and does not model caches, so the
benchmark shows whether the hot path has grown, not how fast it is.

The counts are compared with instructions.json. On the same Python and processor family a count that
exceeds its baseline by more than the tolerance is a failure; elsewhere differences are only shown.
`--record` rewrites the file. Commit it together with the change that explains it.

`--metrics` shows what the option of this name costs: the worker of a server with a master is
counted with the option and without it. The difference is not compared with the file.
"""

from __future__ import annotations

import argparse
import compileall
import concurrent.futures
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import probe
from process import APPS, environment, free_port, tree
from servers import BENCHES
from workloads import BY_NAME, Workload

BASELINE = BENCHES / "instructions.json"
#: The workloads whose hot path is guarded. Of `flask`, the parts besides cpython are the server's.
ROWS = ("hello", "browser", "flask", "post", "generator")
FEW, MANY = 300, 4300
PARTS = ("rustwsgi", "cpython", "libraries")
TOLERANCE_PERCENT = 2.0
_START_SECONDS = 300
_STOP_SECONDS = 120

#: Instructions per request by part, and their `total`.
Counts = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Compare instructions per request with the baseline."
    )
    parser.add_argument("--record", action="store_true", help="write these counts to the baseline")
    parser.add_argument(
        "--metrics", action="store_true", help="count a worker with and without --metrics instead"
    )
    options = parser.parse_args()
    record = options.record
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing. Debian: apt-get install valgrind")
    if options.metrics:
        report_metrics()
        return
    measured = measure()
    here = {"python": platform.python_version(), "processor": platform.machine()}
    if record:
        data = {**here, "tolerance_percent": TOLERANCE_PERCENT, "instructions": measured}
        BASELINE.write_text(json.dumps(data, indent=2) + "\n")
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    same_place = all(baseline.get(key) == value for key, value in here.items())
    if not same_place:
        print(f"The baseline is not from {here}: differences do not count as failures.")
    sys.exit(1 if report(measured, baseline) and same_place else 0)


def measure() -> dict[str, Counts]:
    """Instructions per request for each workload. Concurrent runs do not change the counts."""
    compile_applications()
    jobs = [(row, requests) for row in ROWS for requests in (FEW, MANY)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        runs = dict(
            zip(jobs, pool.map(lambda job: run(BY_NAME[job[0]], job[1]), jobs), strict=True)
        )
    measured: dict[str, Counts] = {}
    for row in ROWS:
        few, many = runs[row, FEW], runs[row, MANY]
        counts = {part: round((many[part] - few[part]) / (MANY - FEW), 1) for part in PARTS}
        measured[row] = {"total": round(sum(counts.values()), 1), **counts}
    return measured


def compile_applications() -> None:
    """Compile them to byte code, which the first run would do and the second one not."""
    compileall.compile_dir(APPS, quiet=1)


def report_metrics() -> None:
    """Print what --metrics costs, for the row `hello`."""
    compile_applications()
    workload = BY_NAME["hello"]
    jobs = [(with_metrics, requests) for with_metrics in (False, True) for requests in (FEW, MANY)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        runs = dict(zip(jobs, pool.map(lambda job: run_worker(workload, *job), jobs), strict=True))
    print(f"{'instructions per request':28} {'without':>10} {'--metrics':>10} {'change':>9}")
    sums = {}
    for part in PARTS:
        without, with_it = (
            (runs[chosen, MANY][part] - runs[chosen, FEW][part]) / (MANY - FEW)
            for chosen in (False, True)
        )
        sums[part] = (without, with_it)
        print(f"{'hello, ' + part:28} {without:10.1f} {with_it:10.1f}")
    without, with_it = (sum(values) for values in zip(*sums.values(), strict=True))
    change = 100 * (with_it / without - 1)
    print(f"{'hello, total':28} {without:10.1f} {with_it:10.1f} {change:+8.1f}%")


def report(measured: dict[str, Counts], baseline: dict[str, object]) -> bool:
    """Print the table; return whether a total exceeds its tolerance."""
    recorded = baseline.get("instructions")
    tolerance = baseline.get("tolerance_percent")
    bound = float(tolerance) if isinstance(tolerance, int | float) else TOLERANCE_PERCENT
    worse = False
    print(f"{'instructions per request':28} {'baseline':>10} {'now':>10} {'change':>9}")
    for row, counts in measured.items():
        before = recorded.get(row, {}) if isinstance(recorded, dict) else {}
        for part, now in counts.items():
            line = f"{row + ', ' + part:28} {before.get(part, ''):>10} {now:>10}"
            if was := before.get(part):
                change = 100 * (now / was - 1)
                line += f" {change:+8.1f}%"
                if part == "total" and change > bound:
                    worse = True
                    line += f"  WORSE (tolerance {bound:g} %)"
                elif part == "total" and change < -bound:
                    line += "  better: record it with RECORD=1"
            print(line)
    return worse


#: Without a master process, which would add to the count.
_SERVE = """
import importlib, sys
sys.path.insert(0, "")
import rustwsgi
app = importlib.import_module(sys.argv[1]).app
rustwsgi.serve(app, bind=sys.argv[2], threads=1, keep_alive=120)
"""


def run(workload: Workload, requests: int) -> Counter[str]:
    """Instructions by part of a server that starts, answers `requests` requests, and stops."""
    port = free_port()
    command = [sys.executable, "-c", _SERVE, workload.app, f"127.0.0.1:{port}"]
    return sum(count(command, workload, requests, port).values(), Counter())


def run_worker(workload: Workload, with_metrics: bool, requests: int) -> Counter[str]:
    """The same of the thread that runs requests, in the worker of a server with a master.

    It has counted most: its process began as the master's copy. Other threads act once a second.
    """
    port = free_port()
    command = [sys.executable, "-m", "rustwsgi", "--bind", f"127.0.0.1:{port}"]
    command += ["--threads", "1", "--keep-alive", "120", f"{workload.app}:app"]
    if with_metrics:
        command += ["--metrics", f"127.0.0.1:{free_port()}"]
    counts = count(command, workload, requests, port, "--separate-threads=yes")
    return max(counts.values(), key=Counter.total)


def count(
    command: list[str], workload: Workload, requests: int, port: int, *options: str
) -> dict[Path, Counter[str]]:
    """Instructions by part of each process of a server, by the file of callgrind."""
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={directory}/out.%p"),
                *options,
                *command,
            ],
            cwd=APPS,
            # Otherwise the length of probe sequences in dicts differs from run to run.
            env=environment({"PYTHONHASHSEED": "0"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            request = workload.request()
            probe.wait_until_up(port, request, deadline, lambda: server.poll() is None)
            with probe.Client(port, timeout=120) as client:
                pids = tree(server.pid)
                for _ in range(requests):
                    _wait_until_asleep(pids)
                    if client.ask(request).body != workload.body:
                        raise probe.ProbeError("wrong body")
            server.send_signal(signal.SIGTERM)
            server.wait(_STOP_SECONDS)
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()
        # Callgrind writes one file per process.
        return {file: self_costs(file) for file in Path(directory).glob("out.*")}


def _wait_until_asleep(pids: list[int]) -> None:
    """Wait until no thread of the server runs.

    Otherwise the machine's load would decide whether the server is already blocked in its poll when
    the request arrives, and that changes the path of the request.
    """
    while any(_is_running(pid) for pid in pids):
        time.sleep(0.0002)


def _is_running(pid: int) -> bool:
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        if task.read_text().rpartition(")")[2].split()[0] == "R":
            return True
    return False


def self_costs(file: Path) -> Counter[str]:
    """Sum the self costs of a callgrind file by object file.

    The format is described in Valgrind's manual, "Callgrind Format Specification": `ob=(ID) NAME`
    names the object of the following lines and is later abbreviated to `ob=(ID)`. Lines of position
    and cost count, except the one after `calls=`, which repeats the cost of the callee.
    """
    names: dict[str, str] = {}
    totals: Counter[str] = Counter()
    part = PARTS[-1]
    skip = False
    for line in file.read_text(errors="replace").splitlines():
        if line[:1] in "+-*0123456789" and line:
            if not skip:
                totals[part] += int(line.split()[1])
            skip = False
        elif line.startswith(("ob=", "cob=")):
            key, _, name = line.partition("=")[2].partition(" ")
            if name:
                names[key] = name
            if line.startswith("ob="):
                part = _part(names.get(key, ""))
        elif line.startswith("calls="):
            skip = True
    return totals


def _part(path: str) -> str:
    name = os.path.basename(path)
    if "rustwsgi" in name:
        return "rustwsgi"
    if name.startswith(("libpython", "python")) or ".cpython-" in name:
        return "cpython"
    return "libraries"


if __name__ == "__main__":
    main()
