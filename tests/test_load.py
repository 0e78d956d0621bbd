"""Many transfers from many threads, some cancelled and some refused, leave no memory behind."""

from __future__ import annotations

import json
import subprocess
import sys

WORK = """
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil

import analogy


class Cancel(Exception):
    pass


engine = analogy.Engine(device="cpu", threads=2)


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (72, 64 + 8 * (seed % 3), 3)).astype(np.uint8)


def transfer(number):
    def progress(report):
        if number % 5 == 1 and report.done > 0.6:
            raise Cancel

    a, b_prime = noise(number), noise(number + 1)
    if number % 5 == 2:
        b_prime = b"GIF89a, and nothing more"
    try:
        result = engine.transfer(a, b_prime, search_iterations=1, progress=progress)
        return result.a_prime.shape == a.shape
    except (Cancel, analogy.ImageError) as error:
        return type(error).__name__


def block(first):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(transfer, range(first, first + 40)))
    return {str(answer): answers.count(answer) for answer in set(answers)}, psutil.Process().memory_info().rss


print(json.dumps([block(first) for first in range(0, 200, 40)]))
"""
LEAK = 120 * 2 * 72 * 72 * 16 * 4
"""Growth of the memory if each of 120 transfers leaked its features of level 1, in bytes."""


def test_200_transfers_in_8_threads_are_answered_and_leave_no_memory_behind() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", WORK], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    blocks = json.loads(done.stdout)
    assert [answers for answers, _ in blocks] == [{"True": 24, "Cancel": 8, "ImageError": 8}] * 5
    memory = [size for _, size in blocks]
    # The growth is measured from the end of the second block, because every thread has made its
    # first arrays by then.
    assert memory[-1] - memory[1] < LEAK / 2, memory
