"""Work in a thread, of which a window hears by looking: Qt's objects are for the thread of the window alone."""

from __future__ import annotations

import threading
from typing import Any, Callable

from .service import CancelledError, ServiceError


class Work:
    """A function that runs in a thread of its own from the start on.

    do  is called with `step` (words, share) and `cancelled` (whether to end), as `Service.make` takes them

    now     what is being done in words, and its share, 0 to 1
    ended   whether the function has returned or raised; then `result` or `problem` is set, or neither if it was cancelled
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
        except Exception as error:  # nobody else would hear of it
            self.problem = f"This should not happen: {error!r}"

    def _step(self, words: str, share: float) -> None:
        self.now = words, share
