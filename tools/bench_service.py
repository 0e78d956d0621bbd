"""Measure how long clients of a service wait, for `bench.py --clients N`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests


def measure(
    a: str,
    b_prime: str,
    model: str,
    device: str,
    threads: int | None,
    settings: dict[str, Any],
    clients: list[int],
    runs: int,
) -> dict[int, dict[str, float]]:
    """Measure a service with one worker, and return a dict: number of clients -> figures.

    The figures are the median (p50) and the 95th percentile (p95) of the seconds of a request, and
    the pictures per minute. The clients share about 20 * `runs` requests for A'; each sends at
    least two. Each client first sends a request that is not measured, and then one request after
    the other. The seconds include the time in the queue.
    """
    command = [sys.executable, "-m", "analogy", "serve", "--port", "0", "--model", model, "--device", device]
    command += ["--queue", str(max(clients)), *(["--threads", str(threads)] if threads else [])]
    files = {"a": Path(a).read_bytes(), "b_prime": Path(b_prime).read_bytes()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stderr
            address = next((line.split()[-1] for line in service.stderr if "http://" in line), None)
            if address is None:
                raise RuntimeError("the service does not start; run `analogy serve` by itself to see why")
            # Without this thread, the log would fill the pipe and block the service.
            threading.Thread(target=deque, args=(service.stderr, 0), daemon=True).start()

            def ask(times: int) -> list[float]:
                seconds = []
                with requests.Session() as http:
                    http.trust_env = False
                    for _ in range(times):
                        began = time.perf_counter()
                        http.post(f"{address}/v1/transfer", files=files, data=settings, timeout=600).raise_for_status()
                        seconds.append(time.perf_counter() - began)
                return seconds

            return {count: _of_clients(ask, count, runs) for count in clients}
        finally:
            service.terminate()


def _of_clients(ask: Callable[[int], list[float]], count: int, runs: int) -> dict[str, float]:
    times = max(2, 20 * runs // count)
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(ask, [1] * count))
        began = time.perf_counter()
        seconds = [each for of_one in pool.map(ask, [times] * count) for each in of_one]
        whole = time.perf_counter() - began
    cut = statistics.quantiles(seconds, n=20)
    return {"p50": statistics.median(seconds), "p95": cut[18], "per_minute": 60 * len(seconds) / whole}
