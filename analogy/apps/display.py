"""Progress on standard error: a bar on a terminal and, with --verbose, a line for each stage."""

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
from .streams import bars, give_up, libraries_kept_silent

_WIDE = "{desc:9} {bar} {percentage:3.0f}%  {elapsed}, {remaining} left"
_NARROW = "{percentage:3.0f}%  {desc}"
_NARROWEST_BAR = 44
"""Narrowest terminal on which a bar is drawn, in columns."""


class Display:
    """Context manager that displays the progress of a run.

    On a terminal it shows a bar with the elapsed and the remaining time.

    Parameters
    ----------
    quiet : bool
        True to show no bar, and to print only warnings and errors of the library.
    verbose : bool
        True to print a line when a stage begins, and to let libraries in C write to standard error.
    redraw_seconds : float
        Seconds after which the bar is drawn again with the new elapsed time, even without progress.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False, redraw_seconds: float = 1.0):
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose exclude each other; give only one of them")
        self.quiet, self.verbose, self._redraw_seconds = quiet, verbose, redraw_seconds
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
            self._heart.join(self._redraw_seconds)  # the thread must not draw a closed bar
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()
        self._silence.__exit__(None, None, None)
        self._logger.setLevel(self._level)

    def part(self, low: float, high: float) -> Callable[[Progress], None]:
        """Return a progress callback for one part of a run.

        The bar shows the share `low` (0 to 1) of the run when the part begins, and `high` when it
        ends.
        """

        def show(progress: Progress) -> None:
            if process.interrupted():  # a signal came, but a library caught its SystemExit
                raise SystemExit
            if progress.stage == "done":
                return
            try:
                self._show(progress.stage, low + (high - low) * progress.done)
            except (OSError, ValueError):  # a full or closed standard error must not end the run
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
        tqdm = bars()
        tqdm.monitor_interval = 0  # `_beat` redraws the bar, so tqdm's own thread is not needed
        hidden = True if self.quiet else None  # None lets tqdm hide the bar unless standard error is a terminal
        self._bar = tqdm(
            total=1.0, leave=False, disable=hidden, dynamic_ncols=True, smoothing=0, miniters=0, bar_format=_format()
        )
        if not self._bar.disable:
            with suppress(RuntimeError):  # the system allows no more threads
                self._heart.start()

    def _beat(self) -> None:
        with suppress(OSError, ValueError):  # standard error is closed
            while not self._stop.wait(self._redraw_seconds):
                self._bar.refresh()


def _format() -> str:
    """Return the format of the bar that fits the width of the terminal."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):  # there is no terminal, or no standard error
        columns = 80
    return _WIDE if columns >= _NARROWEST_BAR else _NARROW
