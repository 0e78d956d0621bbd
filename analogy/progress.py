"""Progress: how far a run is, for whoever waits for it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np

Tick: TypeAlias = Callable[[float], None]
"""A function that long work calls with the share of it that is done, 0 to 1. An exception that it raises ends the work."""

Costs: TypeAlias = Mapping[str, Mapping[str, float]]
"""The estimated time of each part of a run, in any unit: stage -> part -> time, in the order of the run."""

MIN_STEP = 0.005
"""The share of a run after which a callback is called again."""
MAX_INTERVAL = 0.25
"""Seconds after which a callback is called again, however small the step was."""


@dataclass(frozen=True)
class Progress:
    """State of a run: `stage` in words, and `done`, the share of the whole run that is finished, 0 to 1.

    `picture`, (H, W, 3) uint8: what the field of a level paints, once for each level if levels are
    asked for; else None.
    """

    stage: str
    done: float
    picture: np.ndarray | None = None


class StageReporter:
    """A reporter of how far a run is, which also measures how long its stages take.

    It calls the callback as each stage begins, and while the stage runs. An exception that the
    callback raises passes through, and so ends the run. `done` follows the estimates given to
    `plan`, and never falls. Without a plan it stays 0.

    `seconds`: stage -> seconds, for the stages that have ended.
    """

    def __init__(self, callback: Callable[[Progress], None] | None):
        self.callback = callback or (lambda progress: None)
        self.seconds: dict[str, float] = {}
        self._spans: dict[tuple[str, str], tuple[float, float]] = {}
        self._starts: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()
        self._done = self._reported = 0.0
        self._reported_at = self._since

    def plan(self, costs: Costs) -> None:
        """Set what the run will take. From then on it can begin only the stages and the parts that are planned.

        Raises `LookupError` if the present stage is not planned.
        """
        parts = {(stage, part): cost for stage, of_stage in costs.items() for part, cost in of_stage.items()}
        self._spans = dict(zip(parts, _spans(list(parts.values())), strict=True))
        for (stage, _), (low, _) in self._spans.items():
            self._starts.setdefault(stage, low)
        if self._stage:
            self._require_planned(self._stage)

    def begin(self, stage: str) -> None:
        """End the stage before, if there is one, and begin `stage`. Raises `LookupError` for one that is not planned."""
        if self._spans:
            self._require_planned(stage)
        self._end_stage(stage)
        self._advance(self._starts.get(stage, self._done), at_once=True)

    def part(self, name: str) -> Tick:
        """Return the tick of a part of the present stage. Raises `LookupError` for one that is not planned."""
        if not self._spans:
            return ignore
        if (self._stage, name) not in self._spans:
            raise LookupError(f"the stage {self._stage!r} has no part {name!r} in the plan")
        low, high = self._spans[self._stage, name]
        return lambda share: self._advance(low + (high - low) * share)

    def show(self, picture: np.ndarray) -> None:
        """Call the callback with the picture of the present stage."""
        self.callback(Progress(self._stage, self._done, picture))

    def end(self) -> None:
        """End the run, with the stage "done"."""
        self._end_stage("done")
        self._advance(1.0, at_once=True)

    def _require_planned(self, stage: str) -> None:
        if stage not in self._starts:
            raise LookupError(f"the stage {stage!r} is not planned; there is {', '.join(self._starts)}")

    def _end_stage(self, following: str) -> None:
        """Store the seconds of the present stage, and make `following` the present one."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = round(now - self._since, 3)
        self._stage, self._since = following, now

    def _advance(self, done: float, at_once: bool = False) -> None:
        """Set the share that is done, and call the callback if it is time for it, or `at_once`."""
        self._done = max(self._done, done)
        now = time.perf_counter()
        if at_once or self._done >= self._reported + MIN_STEP or now >= self._reported_at + MAX_INTERVAL:
            self._reported, self._reported_at = self._done, now
            self.callback(Progress(self._stage, self._done))


def split(tick: Tick | None, *weights: float) -> Sequence[Tick]:
    """Return the ticks of consecutive parts of one work, which take times in proportion to `weights`."""
    if tick is None:
        return [ignore] * len(weights)
    return [_between(tick, low, high) for low, high in _spans(weights)]


def side_by_side(workers: int, tasks: Sequence[Callable[[Tick], object]], tick: Tick) -> None:
    """Run the tasks, each with a tick of its own, up to `workers` at a time; with one, in this thread.

    `tick` is called in this thread with the mean of their shares. An exception of a task or of
    `tick` ends all tasks at their next tick, and is raised when they have ended.
    """
    if workers == 1:
        for task, of_task in zip(tasks, split(tick, *[1.0] * len(tasks)), strict=True):
            task(of_task)
        return
    shares, ended = [0.0] * len(tasks), threading.Event()
    news: queue.SimpleQueue[Future[object] | None] = queue.SimpleQueue()

    def advance(index: int, share: float) -> None:
        if ended.is_set():
            raise _EndedError
        shares[index] = share
        news.put(None)

    with ThreadPoolExecutor(workers, thread_name_prefix="analogy-part") as pool:
        try:
            running = len(tasks)
            for index, task in enumerate(tasks):
                pool.submit(task, partial(advance, index)).add_done_callback(news.put)
            while running:
                with suppress(queue.Empty):  # not for ever: on Windows Ctrl-C would have no effect
                    part = news.get(timeout=MAX_INTERVAL)
                    if part is not None:
                        running -= 1
                        part.result()
                    tick(sum(shares) / len(tasks))
        finally:
            ended.set()


class _EndedError(Exception):
    """The exception that ends a task whose caller has ended."""


def ignore(share: float) -> None:
    """Do nothing: the tick of work that nobody waits for."""


def _spans(weights: Sequence[float]) -> list[tuple[float, float]]:
    """Return (begin, end) of consecutive parts of 0..1, in proportion to `weights`."""
    edges = list(accumulate(weights, initial=0.0))
    whole = edges[-1] or 1.0
    return [(low / whole, high / whole) for low, high in pairwise(edges)]


def _between(tick: Tick, low: float, high: float) -> Tick:
    return lambda share: tick(low + (high - low) * share)
