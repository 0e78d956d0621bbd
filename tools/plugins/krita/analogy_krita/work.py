"""Work that runs in a thread, while the window polls its state.

Only the window's own thread may use Qt's objects.
"""

from __future__ import annotations

import threading
from typing import Any, Callable

from .service import CancelledError, ServiceError


class Work:
    """A function that runs in a thread of its own, which starts at once.

    It is called with the arguments `step` and `cancelled` of `Service.make`.

    Attributes
    ----------
    now : tuple
        The present step, in words, and the finished share, 0 to 1.
    result : object
        What the function has returned; None while it runs, or if it was cancelled or failed.
    problem : str or None
        A sentence that says why the function failed; None if it did not fail.
    """

    def __init__(self, do: Callable[[Callable[[str, float], None], Callable[[], bool]], Any]):
        self.now: tuple[str, float] = "", 0.0
        self.result: Any = None
        self.problem: str | None = None
        self._do, self._cancelled = do, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a daemon, so that Krita can quit while it runs
        self._thread.start()

    @property
    def ended(self) -> bool:
        """True if the function has returned or raised."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Make `cancelled` return True, so that the function ends soon."""
        self._cancelled.set()

    def _run(self) -> None:
        try:
            self.result = self._do(self._step, self._cancelled.is_set)
        except CancelledError:
            pass
        except ServiceError as error:
            self.problem = str(error)
        except Exception as error:  # otherwise the user would not see the error
            self.problem = f"An unexpected error has ended the work: {error!r}."

    def _step(self, words: str, share: float) -> None:
        self.now = words, share
