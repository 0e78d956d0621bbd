"""The orders that the service sends to its workers, in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...request import Request
from ...settings import Settings


@dataclass(frozen=True)
class Order:
    """Order for one transfer.

    Attributes
    ----------
    id : str
        The identifier of the job.
    folder : str
        The folder of the job. The pictures are in its folder `in`, and the results go to `out`.
    request : Request
        The request. Its pictures are names of files in the folder `in`.
    flow : bool
        True to write the nearest-neighbour fields, too.
    format : str
        The format of the result, such as "png", if it is a single picture; "" to write all files.
    """

    id: str
    folder: str
    request: Request
    flow: bool = False
    format: str = ""

    def to_message(self) -> dict[str, Any]:
        """Return the order as a dict for JSON."""
        return asdict(self)

    @classmethod
    def from_message(cls, values: Mapping[str, Any]) -> Order:
        """Rebuild an order from the dict that `to_message` returned."""
        request = values["request"]
        return cls(**{**values, "request": Request(**{**request, "settings": Settings(**request["settings"])})})
