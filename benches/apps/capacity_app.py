"""Computes, waits and computes again: random times, with the means of the environment."""

import os
import random
import time

CPU = float(os.environ.get("BENCH_CPU_S", "0.001"))
WAIT = float(os.environ.get("BENCH_WAIT_S", "0"))


def compute(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def app(environ, start_response):
    half = random.expovariate(1 / CPU) / 2
    compute(half)
    if WAIT:
        time.sleep(random.expovariate(1 / WAIT))
    compute(half)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
