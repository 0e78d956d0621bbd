"""A transfer in one call, by an engine that is kept for the next."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Unpack

from .backends import Device, check_device
from .engine import AS_SETTINGS_SAY, Engine, TransferOptions, name_of
from .engine_arguments import EngineArguments
from .method import admission
from .networks.models import DEFAULT
from .pictures.reading import PictureLike
from .request import Examples
from .result import Looks, Result, Way
from .settings import SettingsLike


@lru_cache(maxsize=2)
def _engine(arguments: EngineArguments, process: int) -> Engine:
    return arguments.make()


def transfer(
    a: PictureLike,
    b_prime: Looks,
    settings: SettingsLike | None = None,
    *,
    b: PictureLike | Examples | None = None,
    direction: Way = AS_SETTINGS_SAY,  # type: ignore[assignment]  # as in `Engine.transfer`
    model: str | os.PathLike[str] = DEFAULT,
    device: Device = "auto",
    threads: int | None = None,
    max_input_pixels: int | None = None,
    **options: Unpack[TransferOptions],
) -> Result[Way, Looks]:
    """Find A' and B for A and B', by an engine that is kept for the next call.

    Does what `Engine(model, device, threads, max_input_pixels).transfer(a, b_prime, settings, ...)`
    does.
    """
    most = admission.check_bound(max_input_pixels)
    engine = _engine(EngineArguments(name_of(model), *check_device(device, threads), most), os.getpid())
    return engine.transfer(a, b_prime, settings, b=b, direction=direction, **options)
