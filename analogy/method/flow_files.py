"""Fields as files: NumPy's .npz, Middlebury's .flo, and the text of the authors' program. `flow` says what a field is."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import AnalogyError, ImageError, MemoryLimitError, reason
from ..files.atomic import atomic
from ..files.inputs import open_regular, without_warnings
from .flow import check_array, check_field, to_flow
from .memory import check_host

FLO_MAGIC = b"PIEH"
"""First bytes of a .flo file: 202021.25 as a little-endian float32 (Middlebury)."""
MOST_POSITIONS = 178_956_970
"""Most positions of a field: the pixels of the largest picture that Pillow reads."""
_BYTES = 150
"""Bytes of memory per position of a field, to read it and to colour it."""
_LARGEST_SIDE = 99999  # as in Middlebury's own reader
_LARGEST_OTHER = 1 << 20
"""Most bytes of an array that is no field, so that a message can still name its shape."""


def write_npz(
    path: str | os.PathLike[str], nnf: np.ndarray, distance: np.ndarray, example: np.ndarray | None = None
) -> None:
    """Write NumPy's .npz with `nnf` (H, W, 2) int32 and `distance` (H, W) float32. Raises `ImageError`, `OutputError`.

    example  (H, W) int32, the index of the example in which each match lies, is written where it is given
    """
    nnf = check_field(nnf)
    check_array(distance, "a distance")
    if distance.shape != nnf.shape[:2]:
        raise ImageError(f"the distance of shape {distance.shape} does not fit the field of shape {nnf.shape}")
    with atomic(path) as file:
        more: dict[str, Any] = {} if example is None else {"example": example.astype(np.int32)}
        np.savez_compressed(file, nnf=nnf.astype(np.int32), distance=distance.astype(np.float32), **more)


def write_flo(path: str | os.PathLike[str], nnf: np.ndarray, known: np.ndarray | None = None) -> None:
    """Write Middlebury's .flo: magic, width and height (int32), then (dx, dy) float32, row by row, all little-endian.

    known  as `to_flow` takes it

    Raises `ImageError`, `OutputError`.
    """
    flow = to_flow(nnf, known)
    with atomic(path) as file:
        file.write(FLO_MAGIC + np.array([flow.shape[1], flow.shape[0]], "<i4").tobytes())
        for row in flow.astype("<f4", copy=False):
            file.write(row.tobytes())


def write_text(path: str | os.PathLike[str], nnf: np.ndarray) -> None:
    """Write the text of the authors' program (flowAB.txt): "dx dy" on each line, row by row. Raises
    `ImageError`, `OutputError`."""
    nnf = check_field(nnf)
    columns = np.arange(nnf.shape[1])
    with atomic(path) as file:
        for y, row in enumerate(nnf):
            pairs = zip((row[:, 1] - columns).tolist(), (row[:, 0] - y).tolist(), strict=True)
            file.write("".join(f"{dx} {dy}\n" for dx, dy in pairs).encode("ascii"))


def read(path: str | os.PathLike[str], width: int | None = None) -> np.ndarray:
    """Return the flow (H, W, 2) float32 in a .npz (its `nnf`), .flo or .txt file; `to_nnf` makes it a field again.

    `width`: columns of the field, which the text alone does not know. Raises `ImageError`: missing
    or damaged file, no plain file (a pipe, a device), unknown suffix, more than `MOST_POSITIONS`,
    or a text without `width`, or whose lines are no multiple of it. Raises `MemoryLimitError` if
    the memory does not suffice.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".flo": _read_flo, ".txt": lambda file, path: _read_text(file, path, width)}
    if path.suffix.lower() not in readers:
        raise ImageError(f"{path}: cannot read '{path.suffix}' files as a flow; known are {' '.join(readers)}")
    try:
        with open_regular(path) as file:
            return readers[path.suffix.lower()](file, path)
    except AnalogyError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({reason(error)})") from error
    except MemoryError as error:
        raise MemoryLimitError(f"{path}: there is not enough memory to read it; close other programs") from error


def _read_npz(file: IO[bytes], path: Path) -> np.ndarray:
    try:
        with zipfile.ZipFile(file) as archive, archive.open("nnf.npy") as member:
            version = np.lib.format.read_magic(member)
            read_header = (
                np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(member)
        if len(shape) == 3 and shape[2] == 2 and dtype.kind in "iu":  # else it is refused in whatever size
            _check_positions(shape[0], shape[1], path)
        elif math.prod(shape) * dtype.itemsize > _LARGEST_OTHER:
            raise ValueError(f"its array is {shape} of {dtype}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            nnf = arrays["nnf"]
    except (AnalogyError, MemoryError):
        raise
    except KeyError as error:
        raise ImageError(f"{path}: holds no array 'nnf'; give one that --flow has written") from error
    except Exception as error:  # a damaged archive makes NumPy and zipfile raise nearly anything
        raise ImageError(f"{path}: damaged, or not a .npz file") from error
    try:
        return to_flow(nnf)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _read_flo(file: IO[bytes], path: Path) -> np.ndarray:
    head = file.read(12)
    if head[:4] != FLO_MAGIC or len(head) < 12:
        raise ImageError(f"{path}: not a .flo file; it must begin with 'PIEH', its width and its height")
    width, height = (int(side) for side in np.frombuffer(head, "<i4", 2, 4))
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise ImageError(f"{path}: damaged; it says that it is {width} x {height}")
    _check_positions(height, width, path)
    expected, size = 12 + width * height * 8, os.fstat(file.fileno()).st_size
    if size != expected:
        raise ImageError(f"{path}: damaged; {width} x {height} takes {expected} bytes, it has {size}")
    return np.frombuffer(file.read(), "<f4").reshape(height, width, 2).astype(np.float32)


def _read_text(file: IO[bytes], path: Path, width: int | None) -> np.ndarray:
    if width is None or width < 1:
        raise ImageError(f"{path}: a text does not hold its size; give the width of the field, 1 or more, with it")
    _check_positions(os.fstat(file.fileno()).st_size // len("0 0\n"), 1, path)
    try:
        with without_warnings():  # that there are no numbers
            flow = np.loadtxt(io.TextIOWrapper(file, "ascii"), np.float32, comments=None, ndmin=2)
    except ValueError as error:
        raise ImageError(f"{path}: damaged; it must have 'dx dy' on each line ({reason(error)})") from error
    if not flow.size:
        raise ImageError(f"{path}: empty; it must have 'dx dy' on each line")
    if flow.shape[1] != 2 or len(flow) % width:
        raise ImageError(
            f"{path}: {len(flow)} lines of {flow.shape[1]} numbers; a field {width} wide has a multiple of {width}, of 2 each"
        )
    return flow.reshape(-1, width, 2)


def _check_positions(height: int, width: int, path: Path) -> None:
    """Raise `ImageError` or `MemoryLimitError` for a field that is too large, before it is read."""
    positions = height * width
    if positions > MOST_POSITIONS:
        raise ImageError(
            f"{path}: {positions / 1e6:.4g} million positions; the largest picture has {MOST_POSITIONS / 1e6:.4g} million"
        )
    check_host(_BYTES * positions, f"{path}: with {positions / 1e6:.4g} million positions", "make it smaller")
