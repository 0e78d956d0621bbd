"""Progress of long work: the work calls ticks, and their shares become calls of a callback."""

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
"""Function that long work calls with its finished share, 0 to 1. If it raises, the work ends."""

Costs: TypeAlias = Mapping[str, Mapping[str, float]]
"""Estimated time of each part of a run, in any unit: stage -> part -> time, in running order."""

MIN_STEP = 0.005
"""Increase of the finished share (0 to 1) after which the callback is called again."""
MAX_INTERVAL = 0.25
"""Seconds since the last call of the callback after which the next tick calls it in any case."""


@dataclass(frozen=True)
class Progress:
    """The state of a run, as a progress callback gets it.

    Attributes
    ----------
    stage : str
        The stage that runs, in words, such as "level 3". "done" at the end.
    done : float
        Finished share of the whole run, 0 to 1. It never falls.
    picture : ndarray or None
        The picture painted from the field of a level, (H, W, 3) uint8, in one report for each level
        if the transfer has `levels=True`. None in all other reports.
    """

    stage: str
    done: float
    picture: np.ndarray | None = None


class StageReporter:
    """Reporter of a run's progress, which also measures the time of its stages.

    It calls the callback when a stage begins, and while the stage runs. An exception that the
    callback raises is passed on, which ends the run. `Progress.done` follows the estimates of
    `plan`; without a plan it stays 0 until the end.

    Attributes
    ----------
    seconds : dict
        Stage -> its time in seconds, for each stage that has ended.
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
        """Set the estimated times of the run. After this, only planned stages and parts can begin.

        Raises `LookupError` if the present stage is not planned.
        """
        parts = {(stage, part): cost for stage, of_stage in costs.items() for part, cost in of_stage.items()}
        self._spans = dict(zip(parts, _spans(list(parts.values())), strict=True))
        for (stage, _), (low, _) in self._spans.items():
            self._starts.setdefault(stage, low)
        if self._stage:
            self._require_planned(self._stage)

    def begin(self, stage: str) -> None:
        """End the present stage, if there is one, and begin `stage`.

        Raises `LookupError` if there is a plan without this stage.
        """
        if self._spans:
            self._require_planned(stage)
        self._end_stage(stage)
        self._advance(self._starts.get(stage, self._done), at_once=True)

    def part(self, name: str) -> Tick:
        """Return the tick of one part of the present stage.

        Raises `LookupError` if there is a plan without this part.
        """
        return self.parts(name)[0]

    def parts(self, *names: str) -> list[Tick]:
        """Return the ticks of parts of the present stage that are consecutive in the plan.

        The parts may run in parallel. Raises `LookupError` if there is a plan without one of these
        parts.
        """
        if not self._spans:
            return [ignore] * len(names)
        for name in names:
            if (self._stage, name) not in self._spans:
                raise LookupError(f"the stage {self._stage!r} has no part {name!r} in the plan")
        spans = [self._spans[self._stage, name] for name in names]
        shares = [0.0] * len(spans)

        def advance(index: int, share: float) -> None:
            shares[index] = share
            lengths = (high - low for low, high in spans)
            self._advance(spans[0][0] + sum(length * done for length, done in zip(lengths, shares, strict=True)))

        return [partial(advance, index) for index in range(len(spans))]

    def show(self, picture: np.ndarray) -> None:
        """Call the callback with a picture of the present stage."""
        self.callback(Progress(self._stage, self._done, picture))

    def end(self) -> None:
        """End the run, and call the callback with the stage "done"."""
        self._end_stage("done")
        self._advance(1.0, at_once=True)

    def _require_planned(self, stage: str) -> None:
        if stage not in self._starts:
            raise LookupError(f"the stage {stage!r} is not planned; the planned stages are {', '.join(self._starts)}")

    def _end_stage(self, following: str) -> None:
        """Store the time of the present stage, and make `following` the present stage."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = round(now - self._since, 3)
        self._stage, self._since = following, now

    def _advance(self, done: float, at_once: bool = False) -> None:
        """Set the finished share, and call the callback if it is due or `at_once` is true."""
        self._done = max(self._done, done)
        now = time.perf_counter()
        if at_once or self._done >= self._reported + MIN_STEP or now >= self._reported_at + MAX_INTERVAL:
            self._reported, self._reported_at = self._done, now
            self.callback(Progress(self._stage, self._done))


def split(tick: Tick | None, *weights: float) -> Sequence[Tick]:
    """Return ticks for consecutive parts of work whose times are proportional to `weights`.

    Each tick calls `tick` with the finished share of the whole work, or does nothing if `tick` is
    None.
    """
    if tick is None:
        return [ignore] * len(weights)
    return [_between(tick, low, high) for low, high in _spans(weights)]


def side_by_side(workers: int, tasks: Sequence[Callable[[Tick], object]], tick: Tick) -> None:
    """Run tasks in up to `workers` threads, or in this thread if `workers` is 1.

    Each task gets a tick. `tick` is called in this thread with the mean of the tasks' shares. If a
    task or `tick` raises, each other task ends at its next tick, and the exception is then raised.
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
                with suppress(queue.Empty):  # without a timeout, Ctrl-C would have no effect on Windows
                    part = news.get(timeout=MAX_INTERVAL)
                    if part is not None:
                        running -= 1
                        part.result()
                    tick(sum(shares) / len(tasks))
        finally:
            ended.set()


class _EndedError(Exception):
    """Exception that ends a task after another task or the caller's tick has raised an error."""


def ignore(share: float) -> None:
    """Do nothing. This is the tick of work whose progress is not reported."""


def _spans(weights: Sequence[float]) -> list[tuple[float, float]]:
    """Divide 0..1 into parts proportional to `weights`; return the (begin, end) of each."""
    edges = list(accumulate(weights, initial=0.0))
    whole = edges[-1] or 1.0
    return [(low / whole, high / whole) for low, high in pairwise(edges)]


def _between(tick: Tick, low: float, high: float) -> Tick:
    return lambda share: tick(low + (high - low) * share)
