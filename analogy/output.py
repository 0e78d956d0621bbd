"""A result as files. Each file appears whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, images
from .colour import to_8_bits
from .errors import OutputError, SettingsError
from .files import atomic
from .flow import write_flo, write_npz, write_text
from .settings import Settings, make

if TYPE_CHECKING:
    from .engine import Result


MONTAGE_HEIGHT = 1080
"""At most, in pixels: a montage is for looking at."""


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


def is_picture(path: Path) -> bool:
    """Whether a path names a picture file that can be written, rather than a folder."""
    return path.suffix.lower() in images.WRITERS and not path.is_dir()


def save(result: Result, folder: str | os.PathLike[str], *, flow: bool = False) -> None:
    """Write a result into `folder`, made where needed.

    `a_prime.png` and `b.png`, with the alpha and the colour profile of A and of B'; `montage.png` (A, A', B, B');
    `settings.json`; `level_5.png` .. where the result has levels; and with `flow` each field as `flow_ab.npz` (nnf,
    distance), `flow_ab.flo` (Middlebury) and `flowAB.txt` (the authors' program), `ba` likewise.
    """
    folder = prepare_folder(folder)
    row = [result.a.rgb]
    for name, picture, own in (("a_prime", result.a_prime, result.a), ("b", result.b, result.b_prime)):
        if picture is not None:
            images.write(folder / f"{name}.png", picture, like=own)
            row.append(to_8_bits(picture))
    row.append(result.b_prime.rgb)
    height = min(MONTAGE_HEIGHT, *(len(picture) for picture in row))
    images.write(folder / "montage.png", images.montage(row, height=height))
    for level, picture in result.levels.items():
        images.write(folder / f"level_{level}.png", picture)
    if flow:
        for name, nnf, error in (("ab", result.nnf_ab, result.error_ab), ("ba", result.nnf_ba, result.error_ba)):
            if nnf is not None and error is not None:
                write_npz(folder / f"flow_{name}.npz", nnf, error)
                write_flo(folder / f"flow_{name}.flo", nnf)
                write_text(folder / f"flow{name.upper()}.txt", nnf)
    with atomic(folder / "settings.json") as file:
        file.write((json.dumps(record(result), indent=2) + "\n").encode())


def record(result: Result) -> dict[str, Any]:
    """How a result was made, as plain values for JSON."""
    return {
        "analogy": __version__,
        "versions": {name: version(name) for name in ("numpy", "numba", "pillow")},
        "settings": asdict(result.settings),
        "model": result.model,
        "model_sha256": result.model_sha256,
        "device": result.device,
        "a": result.a.name,
        "b_prime": result.b_prime.name,
        "size_a": list(result.a.rgb.shape[:2]),
        "size_b_prime": list(result.b_prime.rgb.shape[:2]),
        "seconds": result.seconds,
    }


def read_record(path: str | os.PathLike[str]) -> tuple[Settings, str, str]:
    """The settings, the model's name and its checksum out of a `settings.json`. Raises `SettingsError`."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        return make(fields["settings"]), str(fields["model"]), str(fields["model_sha256"])
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: not the settings.json of a result ({error})") from error
