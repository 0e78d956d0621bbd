"""A result as a folder of files. Each file appears whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, images
from .errors import OutputError
from .files import atomic

if TYPE_CHECKING:
    from .engine import Result


def prepare_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder for results. Raises `OutputError` where that is not possible or it cannot be written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"no permission to write to the folder {folder}; choose another")
    return folder


def save(result: Result, folder: str | os.PathLike[str]) -> None:
    """Write `a_prime.png`, `b.png`, `montage.png` (A, A', B, B') and `settings.json` into `folder`, made where needed."""
    folder = prepare_folder(folder)
    images.write(folder / "a_prime.png", result.a_prime, like=result.a)
    images.write(folder / "b.png", result.b, like=result.b_prime)
    images.write(
        folder / "montage.png", images.montage([result.a.rgb, result.a_prime, result.b, result.b_prime.rgb])
    )
    with atomic(folder / "settings.json") as scratch:
        scratch.write_text(json.dumps(record(result), indent=2) + "\n", encoding="utf-8")


def record(result: Result) -> dict[str, Any]:
    """How a result was made, as plain values for JSON."""
    return {
        "analogy": __version__,
        "settings": asdict(result.settings),
        "model": result.model,
        "device": result.device,
        "size_a": list(result.a.rgb.shape[:2]),
        "size_b_prime": list(result.b_prime.rgb.shape[:2]),
        "working_a": list(result.nnf_ab.shape[:2]),
        "working_b": list(result.nnf_ba.shape[:2]),
        "seconds": result.seconds,
    }
