"""The display of progress on a terminal."""

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import click
import pytest

from analogy.apps.display import Display
from analogy.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def a_terminal() -> Iterator[Terminal]:
    """Replace standard error by a `Terminal` in the block; pytest would undo this in a fixture."""
    with redirect_stderr(Terminal()) as terminal:
        yield terminal


def test_the_parts_of_a_run_share_one_bar_and_leave_no_line() -> None:
    with a_terminal() as terminal, Display() as shown:
        transfer, saving = shown.part(0, 0.9), shown.part(0.9, 1)
        transfer(Progress("level 1", 0.5))
        transfer(Progress("done", 1.0))
        saving(Progress("saving", 0.5))
    drawn = terminal.getvalue().split("\r")
    assert any("level 1" in line and " 45%" in line for line in drawn)
    assert any("saving" in line and " 95%" in line for line in drawn)
    assert "done" not in terminal.getvalue()
    assert drawn[-1].strip() == ""


def test_the_bar_is_drawn_again_while_no_progress_comes() -> None:
    with a_terminal() as terminal, Display(redraw_seconds=0.01) as shown:
        shown.part(0, 1)(Progress("features", 0.1))
        before, until = terminal.getvalue().count("features"), time.monotonic() + 30
        while terminal.getvalue().count("features") == before and time.monotonic() < until:
            time.sleep(0.01)
        assert terminal.getvalue().count("features") > before
    after = terminal.getvalue()
    time.sleep(0.1)
    assert terminal.getvalue() == after  # the bar is never drawn after the end of the run


def test_quiet_shows_only_warnings_and_restores_the_logger(caplog) -> None:
    caplog.set_level(logging.INFO, "analogy")  # the command sets this level
    logger = logging.getLogger("analogy")
    with a_terminal() as terminal, Display(quiet=True) as shown:
        assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)
        shown.part(0, 1)(Progress("features", 0.1))
    assert logger.level == logging.INFO
    assert terminal.getvalue() == ""


def test_quiet_and_verbose_exclude_each_other() -> None:
    with pytest.raises(click.UsageError, match="exclude each other; give only one of them"):
        Display(quiet=True, verbose=True)
