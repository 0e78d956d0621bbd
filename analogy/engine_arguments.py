"""The arguments of `Engine` as one value, which can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .networks.models import DEFAULT

if TYPE_CHECKING:  # these modules import NumPy, which a command that only shows its help must not load
    from .backends import Device
    from .engine import Engine


@dataclass(frozen=True)
class EngineArguments:
    """The arguments of an `Engine`; the docstring of that class explains each.

    Equal arguments make engines with equal results.
    """

    model: str = DEFAULT
    device: Device = "auto"
    threads: int | None = None
    max_input_pixels: int | None = None

    def make(self) -> Engine:
        """Return a new engine. Raises the errors of `Engine`."""
        from .engine import Engine

        return Engine(self.model, self.device, self.threads, self.max_input_pixels)
