"""The result of a transfer, in memory and as files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .backends import Array
from .errors import SettingsError
from .method.flow import consistency, write_flo, write_npz, write_text
from .pictures.colour import to_8_bits
from .pictures.files import atomic, make_folder
from .pictures.images import Picture, montage
from .pictures.writing import write_picture
from .settings import Settings

MONTAGE_HEIGHT = 1080
"""Most rows of a montage, which is for looking at."""


@dataclass(frozen=True, eq=False)
class Result:
    """The analogy, and how it was made. What `settings.direction` leaves out is None.

    a, b_prime            the inputs, as they were read
    a_prime, b            the results: (H, W, 3) RGB of the size of A and of B', uint16 if A or B' has 16 bits, else uint8
    nnf_ab, nnf_ba        (h, w, 2) int32, the fields between the pictures in the size in which the network saw them:
                          [y, x] holds the (row, column) of the match
    error_ab, error_ba    (h, w) float32, the distance of the matched patches: -2 is perfect
    settings, model, model_sha256, device    what the result was made with
    levels                level -> the picture that its field votes, (H, W, 3) uint8; empty unless asked for
    seconds               stage -> the time it took

    Arrays are NumPy's. If A was a CuPy array and the device is "cuda", the results, fields and distances are CuPy arrays,
    which belong to the stream of the engine's backend: synchronise before you use them on another.
    """

    a: Picture
    b_prime: Picture
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
        """(hA, wA) float32: the distance, in positions, at which each comes back through both fields; 0 is perfect.

        Raises `SettingsError` if only one direction was made.
        """
        if self.nnf_ab is None or self.nnf_ba is None:
            raise SettingsError(
                f"consistency needs both directions; this result was made with {self.settings.direction!r}"
            )
        return consistency(to_host(self.nnf_ab), to_host(self.nnf_ba))

    def save(self, folder: str | os.PathLike[str], *, flow: bool = False) -> None:
        """Write the pictures, and how they were made, into `folder`, which is made if needed.

        The files are `a_prime.png` and `b.png`, with the alpha and the ICC profile of A and of B'; `montage.png` (A, A', B,
        B'); `settings.json`; `level_5.png` to `level_1.png` if the result has levels; and with `flow` each field as
        `flow_ab.npz` (nnf, distance), `flow_ab.flo` (Middlebury) and `flowAB.txt` (the authors' program), `ba` likewise.
        Each file appears whole or not at all. Raises `OutputError` if one cannot be written.
        """
        folder = make_folder(folder)
        row = [self.a.rgb]
        for name, picture, own in (("a_prime", self.a_prime, self.a), ("b", self.b, self.b_prime)):
            if picture is not None:
                write_picture(folder / f"{name}.png", to_host(picture), like=own)
                row.append(to_8_bits(to_host(picture)))
        row.append(self.b_prime.rgb)
        height = min(MONTAGE_HEIGHT, *(len(picture) for picture in row))
        write_picture(folder / "montage.png", montage(row, height=height))
        for level, picture in self.levels.items():
            write_picture(folder / f"level_{level}.png", picture)
        if flow:
            for name, nnf, error in (("ab", self.nnf_ab, self.error_ab), ("ba", self.nnf_ba, self.error_ba)):
                if nnf is not None and error is not None:
                    write_npz(folder / f"flow_{name}.npz", to_host(nnf), to_host(error))
                    write_flo(folder / f"flow_{name}.flo", to_host(nnf))
                    write_text(folder / f"flow{name.upper()}.txt", to_host(nnf))
        with atomic(folder / "settings.json") as file:
            file.write((json.dumps(self.record(), indent=2) + "\n").encode())

    def record(self) -> dict[str, Any]:
        """How the result was made, as plain values for JSON."""
        return {
            "analogy": version("deep-image-analogy"),
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


def read_record(path: str | os.PathLike[str]) -> tuple[Settings, str, str]:
    """Read a `settings.json`: the settings, the model's name and its checksum. Raises `SettingsError`."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        return Settings.from_dict(fields["settings"]), str(fields["model"]), str(fields["model_sha256"])
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path}: not the settings.json of a result ({error})") from error
