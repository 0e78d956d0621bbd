"""Fields as files: NumPy's .npz, Middlebury's .flo, and the text format of the authors' program.

The module `flow` defines fields and flows.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import AnalogyError, ImageError, MemoryLimitError, counted, reason, unreadable
from ..files.atomic import atomic
from ..files.inputs import open_regular, without_warnings
from .flow import check_array, check_field, to_flow
from .memory import check_host

FLO_MAGIC = b"PIEH"
"""First bytes of a .flo file: 202021.25 as a little-endian float32 (Middlebury)."""
MOST_POSITIONS = 178_956_970
"""Maximum number of positions of a field that `read` accepts.

Pillow refuses pictures with more pixels, so the field of a picture file is never larger.
"""
_BYTES = 150
"""Memory per position, in bytes, that reading and colouring a field takes."""
_LARGEST_SIDE = 99999
"""Largest accepted width or height of a field in a .flo file, as in Middlebury's own reader."""
_LARGEST_OTHER = 1 << 20
"""Largest array, in bytes, that is read although its header shows that it is not a field.

`to_flow` then refuses the array. A larger array is refused before it is read, so that it takes no
memory.
"""


def write_npz(
    path: str | os.PathLike[str], nnf: np.ndarray, distance: np.ndarray, example: np.ndarray | None = None
) -> None:
    """Write a field and its patch distances to an .npz file of NumPy.

    The arrays are `nnf` int32, `distance` float32, and `example` int32 if it is given.

    Parameters
    ----------
    path
        The file to write.
    nnf
        (H, W, 2) of integers, the field.
    distance
        (H, W), the patch distances.
    example
        (H, W), the index of the example that contains each match, or None.

    Raises
    ------
    ImageError
        If `nnf` has a wrong shape or dtype, or if `distance` has a wrong shape.
    OutputError
        If the file cannot be written.
    """
    nnf = check_field(nnf)
    check_array(distance, "a distance")
    if distance.shape != nnf.shape[:2]:
        raise ImageError(
            f"the distance of shape {distance.shape} does not fit the field of shape {nnf.shape}; it must be "
            f"{nnf.shape[:2]}"
        )
    with atomic(path) as file:
        more: dict[str, Any] = {} if example is None else {"example": example.astype(np.int32)}
        np.savez_compressed(file, nnf=nnf.astype(np.int32), distance=distance.astype(np.float32), **more)


def write_flo(path: str | os.PathLike[str], nnf: np.ndarray, known: np.ndarray | None = None) -> None:
    """Write a field as Middlebury's .flo file of displacements.

    The file holds the bytes `FLO_MAGIC`, width and height as int32, and (dx, dy) as float32 row by
    row, all little-endian.

    Parameters
    ----------
    path
        The file to write.
    nnf
        (H, W, 2) of integers, the field.
    known
        (H, W) bool, True where the field has a match (see `to_flow`), or None.

    Raises
    ------
    ImageError
        If `nnf` has a wrong shape or dtype.
    OutputError
        If the file cannot be written.
    """
    flow = to_flow(nnf, known)
    with atomic(path) as file:
        file.write(FLO_MAGIC + np.array([flow.shape[1], flow.shape[0]], "<i4").tobytes())
        for row in flow.astype("<f4", copy=False):
            file.write(row.tobytes())


def write_text(path: str | os.PathLike[str], nnf: np.ndarray) -> None:
    """Write a field in the text format of the authors' program: a line "dx dy" for each position.

    The positions are written row by row. The authors' program writes such a file with the name
    flowAB.txt. Raises `ImageError` if `nnf` is not (H, W, 2) of integers, and `OutputError` if the
    file cannot be written.
    """
    nnf = check_field(nnf)
    columns = np.arange(nnf.shape[1])
    with atomic(path) as file:
        for y, row in enumerate(nnf):
            pairs = zip((row[:, 1] - columns).tolist(), (row[:, 0] - y).tolist(), strict=True)
            file.write("".join(f"{dx} {dy}\n" for dx, dy in pairs).encode("ascii"))


def read(path: str | os.PathLike[str], width: int | None = None) -> np.ndarray:
    """Return the flow of a field in a .npz file (its array `nnf`), a .flo file or a .txt file.

    `to_nnf` turns the flow into the field.

    Parameters
    ----------
    path
        The file; its suffix, .npz, .flo or .txt, gives its format.
    width
        Columns of the field in a .txt file, which does not store this number. For the other
        formats `width` is ignored.

    Returns
    -------
    flow
        (H, W, 2) float32, (dx, dy) in pixels.

    Raises
    ------
    ImageError
        If the file is missing or damaged, if it is a pipe or a device, if its suffix is unknown, if
        the field has more than `MOST_POSITIONS` positions, or, for a .txt file, if `width` is None
        or less than 1, or if the number of lines is not a multiple of `width`.
    MemoryLimitError
        If the field needs more memory than is free.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".flo": _read_flo, ".txt": lambda file, path: _read_text(file, path, width)}
    if path.suffix.lower() not in readers:
        raise ImageError(
            f"{path}: cannot read '{path.suffix}' files as a flow; the known suffixes are {' '.join(readers)}"
        )
    try:
        with open_regular(path) as file:
            return readers[path.suffix.lower()](file, path)
    except AnalogyError:
        raise
    except OSError as error:
        raise ImageError(unreadable(error, str(path))) from error
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
        if len(shape) == 3 and shape[2] == 2 and dtype.kind in "iu":  # `to_flow` refuses any other array
            _check_positions(shape[0], shape[1], path)
        elif math.prod(shape) * dtype.itemsize > _LARGEST_OTHER:
            raise ImageError(f"{path}: its array nnf is {shape} {dtype}; expected an (H, W, 2) integer array")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            nnf = arrays["nnf"]
    except (AnalogyError, MemoryError):
        raise
    except KeyError as error:
        raise ImageError(f"{path} has no array 'nnf'; give a file that --flow has written") from error
    except Exception as error:  # a damaged file makes NumPy raise exceptions of nearly any class
        raise ImageError(f"{path} is damaged, or is not a .npz file; give a file that --flow has written") from error
    try:
        return to_flow(nnf)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def _read_flo(file: IO[bytes], path: Path) -> np.ndarray:
    head = file.read(12)
    if head[:4] != FLO_MAGIC or len(head) < 12:
        raise ImageError(
            f"{path} is not a .flo file, which must begin with 'PIEH', its width and its height; give a "
            "file that --flow has written"
        )
    width, height = (int(side) for side in np.frombuffer(head, "<i4", 2, 4))
    if not (1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE):
        raise ImageError(
            f"{path} is damaged: its width and height are {width} and {height}; each must be from 1 to {_LARGEST_SIDE}"
        )
    _check_positions(height, width, path)
    expected, size = 12 + width * height * 8, os.fstat(file.fileno()).st_size
    if size != expected:
        raise ImageError(
            f"{path} is damaged: a field of {width} x {height} takes {expected} bytes, but the file has {size}"
        )
    return np.frombuffer(file.read(), "<f4").reshape(height, width, 2).astype(np.float32)


def _read_text(file: IO[bytes], path: Path, width: int | None) -> np.ndarray:
    if width is None or width < 1:
        raise ImageError(f"{path}: a .txt file does not store the width of its field; give the width, 1 or more")
    _check_positions(os.fstat(file.fileno()).st_size // len("0 0\n"), 1, path)
    try:
        with without_warnings():  # NumPy warns of an empty file, which is refused below
            flow = np.loadtxt(io.TextIOWrapper(file, "ascii"), np.float32, comments=None, ndmin=2)
    except ValueError as error:
        raise ImageError(f"{path} is damaged: it must have 'dx dy' on each line ({reason(error)})") from error
    if not flow.size:
        raise ImageError(f"{path} is empty; it must have 'dx dy' on each line")
    if flow.shape[1] != 2 or len(flow) % width:
        raise ImageError(
            f"{path} has {counted(len(flow), 'line')} of {counted(flow.shape[1], 'number')}; for a field of width "
            f"{width} the number of lines must be a multiple of {width}, and each line must have 2 numbers"
        )
    return flow.reshape(-1, width, 2)


def _check_positions(height: int, width: int, path: Path) -> None:
    """Raise `ImageError` or `MemoryLimitError` for a field that is too large, before it is read."""
    positions = height * width
    if positions > MOST_POSITIONS:
        raise ImageError(
            f"{path}: {positions / 1e6:.4g} million positions are too many; a field may have at most "
            f"{MOST_POSITIONS / 1e6:.4g} million"
        )
    check_host(_BYTES * positions, f"{path}: with {positions / 1e6:.4g} million positions", "make it smaller")
