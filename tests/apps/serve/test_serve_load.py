"""Many requests to the service, from several clients at a time."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import requests
from conftest import Service, png

REQUESTS, CLIENTS = 1000, 8
LEAK = 8 << 20
"""Allowed growth of the memory over the last 800 requests, in bytes (10 kB for each)."""


def memory(service: Service) -> int:
    return psutil.Process(service.process.pid).memory_info().rss + service.worker().memory_info().rss


def test_1000_requests_of_8_clients_are_all_answered_and_leave_no_memory_behind(service, capsys) -> None:
    pictures = [png(16 + seed, 24, seed) for seed in range(8)]
    worker = service.worker().pid
    seconds: list[float] = []

    def client(number: int) -> list[int]:
        statuses = []
        with requests.Session() as http:
            http.trust_env = False
            for each in range(number, REQUESTS // 5, CLIENTS):
                broken = each % 5 in (1, 3)
                files = {"a": ("a", b"nothing" if broken else pictures[each % 8]), "b_prime": ("b", pictures[number])}
                begin = time.monotonic()
                answer = http.post(f"{service.url}/v1/transfer", files=files, data={"preset": "fast"}, timeout=60)
                seconds.append(time.monotonic() - begin)
                statuses.append(answer.status_code)
        return statuses

    sizes = []
    for _ in range(5):
        with ThreadPoolExecutor(CLIENTS) as pool:
            statuses = [status for of_one in pool.map(client, range(CLIENTS)) for status in of_one]
        assert (statuses.count(200), statuses.count(422)) == (REQUESTS // 5 * 3 // 5, REQUESTS // 5 * 2 // 5)
        sizes.append(memory(service))
    assert sizes[-1] - sizes[0] < LEAK, sizes
    assert service.worker().pid == worker
    cut = statistics.quantiles(seconds, n=20)
    with capsys.disabled():
        print(f"\n{len(seconds)} requests: p50 {cut[9] * 1000:.0f} ms, p95 {cut[18] * 1000:.0f} ms; memory {sizes}")
