"""Orders: what a worker of the service has to make, sent through a pipe in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...request import Request
from ...settings import Settings


@dataclass(frozen=True)
class Order:
    """One transfer, for a worker. Its pictures are in `folder`/in, and its results go to `folder`/out.

    id       of the job
    request  its pictures are the names of their files in `folder`/in
    flow     whether to write the fields as well
    format   format of the one picture to make ("png"); empty for all files
    """

    id: str
    folder: str
    request: Request
    flow: bool = False
    format: str = ""

    def to_message(self) -> dict[str, Any]:
        """Return the order as values for JSON."""
        return asdict(self)

    @classmethod
    def from_message(cls, values: Mapping[str, Any]) -> Order:
        """Return the order of which `to_message` made these values."""
        request = values["request"]
        return cls(**{**values, "request": Request(**{**request, "settings": Settings(**request["settings"])})})
