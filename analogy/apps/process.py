"""The command as a process: its signals, and how it ends.

Ctrl-C (SIGINT) and SIGTERM end it at any moment, with one line and the exit code 130 or 143. While
the command is still loading there is nothing to put away, and it ends at once: an exception in the
middle of an import can become any other. After that the first signal is a `SystemExit`, so that
files in the making are put away, and later ones change nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

TYPE_CHECKING = False  # until the signals are handled, a millisecond counts
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

BAD_INPUT = 2
"""Exit code for an error that the user can mend; the same as for a wrong option."""
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_loading = True
_ended_by = 0
"""Number of the signal that ends the process; 0 until there is one."""


def take_over() -> None:
    """Handle signals, except those that the process was started to ignore."""
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def loaded() -> None:
    """Let a signal unwind the running code from now on."""
    global _loading
    _loading = False


def interrupted() -> bool:
    """Return whether a signal ends the process. Errors from then on are its consequence."""
    return _ended_by != 0


def leave(code: int) -> NoReturn:
    """End the process with this code, or with that of the signal that ends it.

    At once: nothing is left to be done, and another signal while Python is taken down would be a
    traceback.
    """
    if not _ended_by:
        from . import streams

        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            streams.complain(f"analogy: standard output cannot be written to ({error.strerror})")
            code = code or BAD_INPUT
        os._exit(code)
    line = f"analogy: {_WORDS[signal.Signals(_ended_by)]}\n"
    with suppress(OSError):
        os.write(2, (("\n" if os.isatty(2) else "") + line).encode())  # below the bar, or the ^C of the terminal
    os._exit(128 + _ended_by)


def _end(number: int, frame: FrameType | None) -> None:
    global _ended_by
    if _ended_by:
        return
    _ended_by = number
    if _loading:
        leave(0)
    # Where the exception is swallowed, in a finaliser or in the middle of an import, Python would
    # tell of it.
    sys.excepthook = _say_nothing
    sys.unraisablehook = _say_nothing
    raise SystemExit


def _say_nothing(*error: object) -> None:
    pass
