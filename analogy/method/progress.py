"""How far a run is, for whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What a run is doing: `stage` in words, and `done`, the share of the whole run that is finished, 0 to 1."""

    stage: str
    done: float


class StageReporter:
    """Reports each stage of a run to a callback as the stage begins, and measures how long it takes.

    `seconds`: stage -> seconds, for the stages that have ended. An exception of the callback passes through.
    """

    def __init__(self, callback: Callable[[Progress], None] | None):
        self.callback = callback or (lambda progress: None)
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def begin(self, stage: str, done: float) -> None:
        """End the stage before, if there is one, and begin `stage`."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = round(now - self._since, 3)
        self._stage, self._since = stage, now
        self.callback(Progress(stage, done))
