"""The arguments of `Engine`, as one value that travels to the process in which the engine works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .networks.models import DEFAULT

if TYPE_CHECKING:  # at run time it would load all libraries for a command that only shows its help
    from .backends import Device
    from .engine import Engine


@dataclass(frozen=True)
class EngineArguments:
    """The model, the device and the bounds of an `Engine`; see there. Equal arguments make engines that do the same."""

    model: str = DEFAULT
    device: Device = "auto"
    threads: int | None = None
    max_input_pixels: int | None = None

    def make(self) -> Engine:
        """Return a new engine. Raises what `Engine` does."""
        from .engine import Engine

        return Engine(self.model, self.device, self.threads, self.max_input_pixels)
