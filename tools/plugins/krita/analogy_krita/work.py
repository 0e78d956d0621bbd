"""Work in a thread. The window looks at its state again and again, since only the window's own thread may use Qt's objects."""

from __future__ import annotations

import threading
from typing import Any, Callable

from .service import CancelledError, ServiceError


class Work:
    """A function that runs in a thread of its own from the start on.

    do  is called with `step` (words, share) and `cancelled` (whether to end), as `Service.make` takes them

    now              what is being done in words, and its share, 0 to 1
    result, problem  once it has `ended`: what the function has returned, or one sentence; None and None if it was cancelled
    """

    def __init__(self, do: Callable[[Callable[[str, float], None], Callable[[], bool]], Any]):
        self.now: tuple[str, float] = "", 0.0
        self.result: Any = None
        self.problem: str | None = None
        self._do, self._cancelled = do, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # Krita does not wait for it when it quits
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the function has returned or raised."""
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Let the function end soon."""
        self._cancelled.set()

    def _run(self) -> None:
        try:
            self.result = self._do(self._step, self._cancelled.is_set)
        except CancelledError:
            pass
        except ServiceError as error:
            self.problem = str(error)
        except Exception as error:  # nothing else would show it
            self.problem = f"This should not happen: {error!r}"

    def _step(self, words: str, share: float) -> None:
        self.now = words, share
