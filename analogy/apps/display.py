"""The progress of a run on standard error: a bar on a terminal, lines if asked for, or nothing."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import click

from ..progress import Progress
from . import process
from .streams import give_up, libraries_kept_silent

_WIDE = "{desc:9} {bar} {percentage:3.0f}%  {elapsed}, {remaining} left"
_NARROW = "{percentage:3.0f}%  {desc}"
_NARROWEST_BAR = 44
"""Fewest columns of a terminal in which there is room for a bar."""
_HEARTBEAT = 1.0
"""Seconds after which the elapsed time is drawn anew, also while one call of a library takes long."""


class Display:
    """A display of the progress of a run, while it is entered.

    On a terminal it is a bar with the time that has passed and is left; elsewhere nothing.
    `verbose` adds a line as each stage begins, anywhere, and lets libraries in C say what they
    like. `quiet` shows nothing, and of the library's messages warnings alone.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False):
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose exclude each other")
        self.quiet, self.verbose = quiet, verbose
        self._stage = ""

    def __enter__(self) -> Display:
        self._logger, self._since = logging.getLogger("analogy"), time.monotonic()
        self._level = self._logger.level
        if self.quiet:
            self._logger.setLevel(logging.WARNING)
        self._silence = nullcontext() if self.verbose else libraries_kept_silent()
        self._silence.__enter__()
        self._bar: Any = None
        self._stop, self._heart = threading.Event(), threading.Thread(target=self._beat, daemon=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._heart.is_alive():
            self._heart.join(_HEARTBEAT)  # or it might draw the bar once more
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()
        self._silence.__exit__(None, None, None)
        self._logger.setLevel(self._level)

    def part(self, low: float, high: float) -> Callable[[Progress], None]:
        """Return the callback for a run that makes this share of the whole."""

        def show(progress: Progress) -> None:
            if process.interrupted():  # and something has swallowed the exception
                raise SystemExit
            if progress.stage == "done":
                return
            try:
                self._show(progress.stage, low + (high - low) * progress.done)
            except (OSError, ValueError):  # standard error is full, or gone: that must not end the run
                give_up(sys.stderr)

        return show

    def _show(self, stage: str, done: float) -> None:
        if self._bar is None:
            self._begin()
        begins, self._stage = stage != self._stage, stage
        if self.verbose and begins:
            line = f"{time.monotonic() - self._since:7.1f} s  {done:4.0%}  {stage}"
            self._bar.write(line, file=sys.stderr)
        self._bar.bar_format = _format()
        self._bar.set_description_str(stage, refresh=False)
        self._bar.update(done - self._bar.n)
        if begins:
            self._bar.refresh()

    def _begin(self) -> None:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own; the heart beats for it
        hidden = True if self.quiet else None  # None: hidden unless standard error is a terminal
        self._bar = tqdm(
            total=1.0, leave=False, disable=hidden, dynamic_ncols=True, smoothing=0, miniters=0, bar_format=_format()
        )
        if not self._bar.disable:
            with suppress(RuntimeError):  # no thread to be had
                self._heart.start()

    def _beat(self) -> None:
        with suppress(OSError, ValueError):  # standard error is gone
            while not self._stop.wait(_HEARTBEAT):
                self._bar.refresh()


def _format() -> str:
    """Return the format of the bar for a terminal of this width."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):  # no terminal, or no standard error
        columns = 80
    return _WIDE if columns >= _NARROWEST_BAR else _NARROW
