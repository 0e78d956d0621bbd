"""What a transfer gives, in memory and as files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .backends import Array
from .errors import OutputError, SettingsError
from .method.flow import consistency, write_flo, write_npz, write_text
from .pictures import images
from .pictures.colour import to_8_bits
from .pictures.files import atomic
from .settings import Settings, make

READ_ONLY = (".gif", ".heic", ".heif", ".avif")
MONTAGE_HEIGHT = 1080
"""At most, in pixels: a montage is for looking at."""


@dataclass(frozen=True, eq=False)
class Result:
    """The analogy, and how it was found. What `settings.direction` leaves out is None.

    `a_prime` has the size of A, `b` that of B': (H, W, 3) RGB, uint8, or uint16 where A or B' has 16 bits. `nnf_ab`
    (hA, wA, 2) int32 and `nnf_ba` lie between the pictures as the network saw them: [y, x] holds the (row, column) of
    the match. `error_ab`, `error_ba` float32: distance of the matched patches, -2 perfect. `levels`, where asked for:
    level -> the picture voted through the field of that level. `seconds`: time per stage. Where A was a CuPy array and
    the device is "cuda", the pictures, fields and distances are CuPy arrays, else NumPy's; those belong to the stream of
    the engine's backend: synchronise before you use them on another.
    """

    a: images.Picture
    b_prime: images.Picture
    a_prime: Array | None
    b: Array | None
    nnf_ab: Array | None
    nnf_ba: Array | None
    error_ab: Array | None
    error_ba: Array | None
    settings: Settings
    model: str
    model_sha256: str
    device: str
    levels: dict[int, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def consistency(self) -> np.ndarray:
        """(hA, wA) float32: how far, in positions, each comes back from itself through both fields; 0 is perfect.

        Raises `SettingsError` where only one direction was made.
        """
        if self.nnf_ab is None or self.nnf_ba is None:
            raise SettingsError(
                f"consistency needs both directions; this result was made with {self.settings.direction!r}"
            )
        return consistency(to_host(self.nnf_ab), to_host(self.nnf_ba))

    def save(self, folder: str | os.PathLike[str], *, flow: bool = False) -> None:
        """Write the pictures and how they were made into `folder`, made where needed; each file whole or not at all.

        `a_prime.png` and `b.png`, with the alpha and the colour profile of A and of B'; `montage.png` (A, A', B, B');
        `settings.json`; `level_5.png` .. where the result has levels; and with `flow` each field as `flow_ab.npz` (nnf,
        distance), `flow_ab.flo` (Middlebury) and `flowAB.txt` (the authors' program), `ba` likewise. Raises
        `OutputError`.
        """
        folder = prepare_folder(folder)
        row = [self.a.rgb]
        for name, picture, own in (("a_prime", self.a_prime, self.a), ("b", self.b, self.b_prime)):
            if picture is not None:
                images.write(folder / f"{name}.png", to_host(picture), like=own)
                row.append(to_8_bits(to_host(picture)))
        row.append(self.b_prime.rgb)
        height = min(MONTAGE_HEIGHT, *(len(picture) for picture in row))
        images.write(folder / "montage.png", images.montage(row, height=height))
        for level, picture in self.levels.items():
            images.write(folder / f"level_{level}.png", picture)
        if flow:
            for name, nnf, error in (("ab", self.nnf_ab, self.error_ab), ("ba", self.nnf_ba, self.error_ba)):
                if nnf is not None and error is not None:
                    write_npz(folder / f"flow_{name}.npz", to_host(nnf), to_host(error))
                    write_flo(folder / f"flow_{name}.flo", to_host(nnf))
                    write_text(folder / f"flow{name.upper()}.txt", to_host(nnf))
        with atomic(folder / "settings.json") as file:
            file.write((json.dumps(self.record(), indent=2) + "\n").encode())

    def record(self) -> dict[str, Any]:
        """How this was made, as plain values for JSON."""
        return {
            "analogy": __version__,
            "versions": {name: version(name) for name in ("numpy", "numba", "pillow")},
            "settings": asdict(self.settings),
            "model": self.model,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "a": self.a.name,
            "b_prime": self.b_prime.name,
            "size_a": list(self.a.rgb.shape[:2]),
            "size_b_prime": list(self.b_prime.rgb.shape[:2]),
            "seconds": self.seconds,
        }


def to_host(array: Any) -> np.ndarray:
    """A NumPy or a CuPy array as NumPy's."""
    return array if isinstance(array, np.ndarray) else array.get()


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
    """Whether an output path names a picture, rather than a folder. Raises `OutputError` for a kind that is only read."""
    suffix = path.suffix.lower()
    if suffix in READ_ONLY:
        raise OutputError(f"cannot write {suffix} pictures; use one of {' '.join(images.WRITERS)}, or name a folder")
    return suffix in images.WRITERS and not path.is_dir()


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
