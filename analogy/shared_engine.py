"""A transfer in one call, by an engine that is kept for the next."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, Literal, Unpack, overload

from .backends import Device, check_device
from .engine import Both, Engine, OnlyAPrime, OnlyB, ResultOfSeveral, TransferOptions, name_of
from .engine_arguments import EngineArguments
from .method import admission
from .networks.models import DEFAULT
from .pictures.reading import PictureLike
from .request import Examples
from .result import Result
from .settings import Direction, SettingsLike


class EngineOptions(TransferOptions, total=False):
    """The keywords of `transfer` except `direction`: those of `Engine.transfer` and of `Engine`."""

    model: str | os.PathLike[str]
    device: Device
    threads: int | None
    max_input_pixels: int | None


@lru_cache(maxsize=2)
def _engine(arguments: EngineArguments, process: int) -> Engine:
    return arguments.make()


@overload
def transfer(a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *, b: PictureLike,
             direction: Literal["both", "ab"] = "ab", **options: Unpack[EngineOptions]) -> OnlyAPrime: ...  # fmt: skip
@overload
def transfer(a: PictureLike, b_prime: PictureLike, settings: str | None = None, *,
             direction: Literal["both"] = "both", **options: Unpack[EngineOptions]) -> Both: ...  # fmt: skip
@overload
def transfer(a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
             direction: Literal["both"], **options: Unpack[EngineOptions]) -> Both: ...  # fmt: skip
@overload
def transfer(a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
             direction: Literal["ab"], **options: Unpack[EngineOptions]) -> OnlyAPrime: ...  # fmt: skip
@overload
def transfer(a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
             direction: Literal["ba"], **options: Unpack[EngineOptions]) -> OnlyB: ...  # fmt: skip
@overload
def transfer(a: PictureLike, b_prime: PictureLike, settings: SettingsLike | None = None, *,
             direction: Direction = ..., **options: Unpack[EngineOptions]) -> Result: ...  # fmt: skip
@overload
def transfer(a: PictureLike, b_prime: Examples, settings: SettingsLike | None = None, *,
             b: Examples | None = None, direction: Direction = ...,
             **options: Unpack[EngineOptions]) -> ResultOfSeveral: ...  # fmt: skip
def transfer(
    a: PictureLike,
    b_prime: PictureLike | Examples,
    settings: SettingsLike | None = None,
    *,
    model: str | os.PathLike[str] = DEFAULT,
    device: Device = "auto",
    threads: int | None = None,
    max_input_pixels: int | None = None,
    **options: Any,
) -> Result[Any, Any, Any]:
    """Find A' and B for A and B', by an engine that is kept for the next call.

    Does what `Engine(model, device, threads, max_input_pixels).transfer(a, b_prime, settings, **options)` does.
    """
    most = admission.check_bound(max_input_pixels)
    engine = _engine(EngineArguments(name_of(model), *check_device(device, threads), most), os.getpid())
    result: Result[Any, Any, Any] = engine.transfer(a, b_prime, settings, **options)
    return result
