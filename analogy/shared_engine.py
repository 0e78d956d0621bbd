"""The function `transfer`, which keeps its engine for the next call."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from typing import Unpack

from .backends import Device, check_device
from .engine import FROM_SETTINGS, Engine, TransferOptions, name_of
from .engine_arguments import EngineArguments
from .method import admission
from .networks.models import DEFAULT
from .pictures.reading import PictureLike
from .request import Examples
from .result import Looks, Result, Way
from .settings import SettingsLike

_locks: dict[int, threading.Lock] = {}
"""Process id -> lock that a thread of this process holds while it gets or makes an engine.

After a fork, a lock of the parent may be locked for ever.
"""


def _engine(arguments: EngineArguments) -> Engine:
    """Return the engine with these arguments, which the threads of this process share."""
    process = os.getpid()
    with _locks.setdefault(process, threading.Lock()):  # `lru_cache` alone would let each thread make an engine
        return _make(arguments, process)


@lru_cache(maxsize=2)
def _make(arguments: EngineArguments, process: int) -> Engine:
    return arguments.make()


def transfer(
    a: PictureLike,
    b_prime: Looks,
    settings: SettingsLike | None = None,
    *,
    b: PictureLike | Examples | None = None,
    direction: Way = FROM_SETTINGS,  # type: ignore[assignment]  # mypy wants a value of every type of `Way`
    model: str | os.PathLike[str] = DEFAULT,
    device: Device = "auto",
    threads: int | None = None,
    max_input_pixels: int | None = None,
    **options: Unpack[TransferOptions],
) -> Result[Way, Looks]:
    """Make A' and B from A and B', with an engine that stays loaded for the next call.

    The call does the same as `Engine(model, device, threads, max_input_pixels).transfer(a, b_prime,
    settings, b=b, direction=direction, **options)`. The two engines that were used last stay
    loaded. A call with the `model`, `device`, `threads` and `max_input_pixels` of one of them uses
    it again.

    Parameters
    ----------
    a : picture
        A, the picture to change.
    b_prime : picture or list of pictures
        B', whose looks A' gets.
    settings : Settings, str or dict, optional
        The settings, the name of a preset, or a dict of settings.
    b : picture or list of pictures, optional
        B, if you have it: the picture that B' was painted over.
    direction : {"both", "ab", "ba"}, optional
        What to make: A' and B, only A', or only B. The default is the direction of `settings`.
    model : str or path
        A name that `analogy models list` shows, or the folder of a model.
    device : str
        "auto", "cpu", "cuda", or "cuda:1" for CUDA's second device.
    threads : int, optional
        Number of CPU threads, 1 to 256. The default is one for each core.
    max_input_pixels : int, optional
        Largest number of pixels that A may have, and that B' may have. By default only the free
        memory limits the pictures.
    **options
        Further keywords of `Engine.transfer`, which explains them: masks, pins, `levels`,
        `progress` and single settings.

    Returns
    -------
    Result
        The pictures, their fields and the settings.

    Raises
    ------
    ImageError
        If a picture or a mask cannot be used.
    SettingsError
        If a setting, a pin or `max_input_pixels` is invalid.
    ModelError
        If the model cannot be used.
    DeviceError
        If the device cannot be used, or `threads` is outside its range.
    MemoryLimitError
        If there is not enough memory.
    """
    most = admission.check_limit(max_input_pixels)
    engine = _engine(EngineArguments(name_of(model), *check_device(device, threads), most))
    return engine.transfer(a, b_prime, settings, b=b, direction=direction, **options)
