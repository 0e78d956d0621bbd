"""How far a run is, for whoever waits for it."""

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
"""A function that long work calls with the share of it that is done, 0 to 1."""

Costs: TypeAlias = Mapping[str, Mapping[str, float]]
"""Stage -> part -> how long it will take, in any unit, in the order of the run."""

GRAIN = 0.005
"""A callback hears of the progress when another share of this size is done, ..."""
LONGEST_SILENCE = 0.25
"""... or after this many seconds, as soon as there is something to tell it."""


@dataclass(frozen=True)
class Progress:
    """What a run is doing: `stage` in words, and `done`, the share of the whole run that is finished, 0 to 1.

    `picture`, (H, W, 3) uint8: what the field of a level votes, told once as it has been painted, if levels are asked for.
    """

    stage: str
    done: float
    picture: np.ndarray | None = None


class StageReporter:
    """Reports to a callback how far a run is, and measures how long its stages take.

    The callback hears of each stage as it begins, and of its progress. What it raises passes through, and so ends the run.
    `done` follows the estimates given to `plan`, and never falls. Without a plan it stays 0.

    `seconds`: stage -> seconds, for the stages that have ended.
    """

    def __init__(self, callback: Callable[[Progress], None] | None):
        self.callback = callback or (lambda progress: None)
        self.seconds: dict[str, float] = {}
        self._spans: dict[tuple[str, str], tuple[float, float]] = {}
        self._stage, self._since = "", time.perf_counter()
        self._done = self._told = 0.0
        self._told_at = self._since

    def plan(self, costs: Costs) -> None:
        """Say what the run will take. Stages and parts that are not named count as nothing."""
        parts = {(stage, part): cost for stage, of_stage in costs.items() for part, cost in of_stage.items()}
        spans = _spans(list(parts.values()))
        self._spans = dict(zip(parts, spans, strict=True))

    def begin(self, stage: str) -> None:
        """End the stage before, if there is one, and begin `stage`."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = round(now - self._since, 3)
        self._stage, self._since = stage, now
        starts = [low for (of, _), (low, _) in self._spans.items() if of == stage]
        self._advance(min(starts, default=self._done), at_once=True)

    def part(self, name: str) -> Tick:
        """The tick of a part of the present stage."""
        low, high = self._spans.get((self._stage, name), (self._done, self._done))
        return lambda share: self._advance(low + (high - low) * share)

    def show(self, picture: np.ndarray) -> None:
        """Tell the callback of the picture of the present stage."""
        self.callback(Progress(self._stage, self._done, picture))

    def end(self) -> None:
        """End the run, with the stage "done"."""
        self._done = 1.0
        self.begin("done")

    def _advance(self, done: float, at_once: bool = False) -> None:
        self._done = max(self._done, done)
        now = time.perf_counter()
        if at_once or self._done >= self._told + GRAIN or now >= self._told_at + LONGEST_SILENCE:
            self._told, self._told_at = self._done, now
            self.callback(Progress(self._stage, self._done))


def split(tick: Tick | None, *weights: float) -> Sequence[Tick]:
    """The ticks of consecutive parts of one work, which take times in proportion to `weights`."""
    if tick is None:
        return [ignore] * len(weights)
    return [_between(tick, low, high) for low, high in _spans(weights)]


def side_by_side(workers: int, tasks: Sequence[Callable[[Tick], object]], tick: Tick) -> None:
    """Run the tasks, each with a tick of its own, up to `workers` at a time; with one, in this thread.

    `tick` is told, in this thread, the mean of their shares. What it raises ends the tasks at their next tick, and is raised
    when they have ended; so is what a task raises.
    """
    if workers == 1:
        for task, of_task in zip(tasks, split(tick, *[1.0] * len(tasks)), strict=True):
            task(of_task)
        return
    shares, ended = [0.0] * len(tasks), threading.Event()
    news: queue.SimpleQueue[Future[object] | None] = queue.SimpleQueue()

    def tell(index: int, share: float) -> None:
        if ended.is_set():
            raise _EndedError
        shares[index] = share
        news.put(None)

    with ThreadPoolExecutor(workers, thread_name_prefix="analogy-part") as pool:
        try:
            running = len(tasks)
            for index, task in enumerate(tasks):
                pool.submit(task, partial(tell, index)).add_done_callback(news.put)
            while running:
                with suppress(queue.Empty):  # not for ever, or Ctrl-C would not be heard on Windows
                    part = news.get(timeout=LONGEST_SILENCE)
                    if part is not None:
                        running -= 1
                        part.result()
                    tick(sum(shares) / len(tasks))
        finally:
            ended.set()


class _EndedError(Exception):
    """Ends a task whose caller has ended."""


def ignore(share: float) -> None:
    """The tick of work that nobody waits for."""


def _spans(weights: Sequence[float]) -> list[tuple[float, float]]:
    """(begin, end) of consecutive parts of 0..1, as long as `weights` say."""
    edges = list(accumulate(weights, initial=0.0))
    whole = edges[-1] or 1.0
    return [(low / whole, high / whole) for low, high in pairwise(edges)]


def _between(tick: Tick, low: float, high: float) -> Tick:
    return lambda share: tick(low + (high - low) * share)
