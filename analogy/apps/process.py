"""The signals and the exit code of the command's process.

Ctrl-C (SIGINT) and SIGTERM end the process at any moment, with one line and the exit code 130 or
143. While the command is loading its modules, a signal ends the process without an exception,
since an import can turn an exception into another one. Later the first signal raises `SystemExit`,
so that unfinished files are deleted, and further signals are ignored.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

TYPE_CHECKING = False  # importing `typing` would delay the handling of signals
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

BAD_INPUT = 2
"""Exit code for an error that the user can correct. click uses it for wrong options."""
_SIGNAL_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_loading = True
_ended_by = 0
"""Number of the signal that ends the process. It is 0 until a signal arrives."""


def take_over() -> None:
    """Install handlers for SIGINT and SIGTERM, except for a signal that is ignored already.

    A process inherits ignored signals from its parent, for instance from `nohup`.
    """
    for number in _SIGNAL_WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def loaded() -> None:
    """Let a signal raise `SystemExit` from now on. Call this once all modules are loaded."""
    global _loading
    _loading = False


def interrupted() -> bool:
    """Return whether a signal is ending the process, so that later errors can be ignored."""
    return _ended_by != 0


def leave(code: int) -> NoReturn:
    """End the process with the exit code `code`, or with 128 plus the number of a signal that came.

    Python's own shutdown is left out, since a signal during it would print a traceback.
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
    line = f"analogy: {_SIGNAL_WORDS[signal.Signals(_ended_by)]}\n"
    with suppress(OSError):
        os.write(
            2, (("\n" if os.isatty(2) else "") + line).encode()
        )  # begin a new line below the progress bar or the ^C
    os._exit(128 + _ended_by)


def _end(number: int, frame: FrameType | None) -> None:
    """Handle a signal: end the process if modules are loading, else raise `SystemExit` once."""
    global _ended_by
    if _ended_by:
        return
    _ended_by = number
    if _loading:
        leave(0)
    # Without these hooks Python would print the exception if a finaliser or an import catches it.
    sys.excepthook = _say_nothing
    sys.unraisablehook = _say_nothing
    raise SystemExit


def _say_nothing(*error: object) -> None:
    pass
