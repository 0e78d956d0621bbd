"""How long a service lets its clients wait: `bench.py --clients N` asks one, on this machine, from N clients at a time."""

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
    """Number of clients -> median (p50) and 95th percentile (p95) of the seconds of a request, and pictures per minute.

    One service with one worker answers all. The clients share 20 requests for A' for each of
    `runs`; each client sends one after the other, after a first one that does not count. The
    seconds are those that a client waits, also in the queue.
    """
    command = [sys.executable, "-m", "analogy", "serve", "--port", "0", "--model", model, "--device", device]
    command += ["--queue", str(max(clients)), *(["--threads", str(threads)] if threads else [])]
    files = {"a": Path(a).read_bytes(), "b_prime": Path(b_prime).read_bytes()}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        try:
            assert service.stderr
            address = next((line.split()[-1] for line in service.stderr if "http://" in line), None)
            if address is None:
                raise RuntimeError("the service does not begin; try `analogy serve` by itself")
            threading.Thread(target=deque, args=(service.stderr, 0), daemon=True).start()  # lest its log fills the pipe

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
