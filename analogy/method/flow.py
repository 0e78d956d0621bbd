"""Uses of fields: displacements, their colours, warped pictures, and round-trip errors.

A field (nnf) is (H, W, 2) int32: [y, x] holds the (row, column) of the match. A flow is (H, W, 2)
float32: [y, x] holds the displacement (dx, dy) = match - position, in pixels. The x comes first, as
in files of optical flow. The two positions are subtracted without scaling, even if the two pictures
differ in size.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ImageError, shown

UNKNOWN = 1e9
"""Largest |dx| or |dy| of a known displacement, in pixels (Middlebury).

A displacement with a larger number or a NaN is unknown.
"""
UNKNOWN_FLOW = 1666666752.0
"""Number written as dx and as dy of an unknown displacement, as in Middlebury's programs."""
CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
"""RGB of the corners of the colour wheel: red, yellow, green, cyan, blue, magenta."""
STEPS = (15, 6, 4, 11, 13, 6)
"""Number of colours from each corner of the wheel to the next corner (Baker et al. 2011)."""


def to_flow(nnf: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Return a field as displacements.

    Parameters
    ----------
    nnf
        (H, W, 2) of integers, a field.
    known
        (H, W) bool, True where the field has a match; None if it has a match everywhere. Where
        `known` is False, dx and dy become `UNKNOWN_FLOW`.

    Returns
    -------
    flow
        (H, W, 2) float32, (dx, dy) in pixels.

    Raises
    ------
    ImageError
        If `nnf` has a wrong shape or dtype.
    """
    nnf = check_field(nnf)
    flow = np.empty(nnf.shape, np.float32)
    flow[..., 0] = nnf[..., 1] - np.arange(nnf.shape[1])
    flow[..., 1] = nnf[..., 0] - np.arange(nnf.shape[0])[:, None]
    if known is not None:
        flow[~known] = UNKNOWN_FLOW
    return flow


def to_nnf(flow: np.ndarray) -> np.ndarray:
    """Return displacements as a field, rounded to whole pixels.

    Parameters
    ----------
    flow
        (H, W, 2) of numbers, (dx, dy) in pixels.

    Returns
    -------
    nnf
        (H, W, 2) int32, a field.

    Raises
    ------
    ImageError
        If `flow` has a wrong shape or dtype, or unknown displacements.
    """
    flow = check_flow(flow)
    if _unknown(flow).any():
        raise ImageError(
            "the flow has unknown displacements (NaN, or more than 1e9 pixels), which a field cannot hold; replace "
            "them first"
        )
    places = np.rint(flow[..., ::-1]).astype(np.int32)
    places[..., 0] += np.arange(flow.shape[0], dtype=np.int32)[:, None]
    places[..., 1] += np.arange(flow.shape[1], dtype=np.int32)
    return places


# Colours


def wheel() -> np.ndarray:
    """Return the colours of the wheel of Baker et al. 2011, (55, 3) RGB float32 in 0..255.

    The paper is "A Database and Evaluation Methodology for Optical Flow".
    """
    parts = []
    for i, steps in enumerate(STEPS):
        start, end = np.array(CORNERS[i]), np.array(CORNERS[(i + 1) % len(CORNERS)])
        parts.append(start + np.sign(end - start) * (abs(end - start) * np.arange(steps)[:, None] // steps))
    return np.concatenate(parts).astype(np.float32)


def colour(flow: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Return the usual colours of a flow: hue shows direction, and white means no displacement.

    Right is red, down is yellow, left is light blue and up is violet, as in the code that Baker et
    al. published. Displacements longer than `largest` are darker, and unknown displacements are
    black.

    Parameters
    ----------
    flow
        (H, W, 2) of numbers, (dx, dy) in pixels.
    largest
        Length in pixels that gets the full colour, above zero; None for the greatest length in
        the flow.

    Returns
    -------
    picture
        (H, W, 3) uint8, RGB.

    Raises
    ------
    ImageError
        If `flow` has a wrong shape or dtype, or if `largest` is not a number above 0 and below 2e9.
    """
    flow = check_flow(flow)
    unknown = _unknown(flow)
    x, y = (np.where(unknown, np.float32(0), flow[..., c]).astype(np.float32) for c in range(2))
    length = np.hypot(x, y)
    if largest is None:
        largest = float(length.max()) or 1.0
    if not isinstance(largest, (int, float, np.number)) or not 0 < largest < UNKNOWN * 2:
        raise ImageError(f"largest is {shown(largest)}; it must be a number above zero and below {UNKNOWN * 2:g}")
    length /= np.float32(largest)
    table = wheel() / 255
    place = (np.arctan2(-y, -x) / np.float32(np.pi) + 1) * np.float32((len(table) - 1) / 2)
    before = np.clip(np.floor(place), 0, len(table) - 1).astype(np.int32)
    share, after = (place - before)[..., None], (before + 1) % len(table)
    hue = (1 - share) * table[before] + share * table[after]
    length = length[..., None]
    shade = np.where(length <= 1 + 1e-5, 1 - length * (1 - hue), hue * np.float32(0.75))
    shade[unknown] = 0
    return (np.clip(shade, 0, 1) * 255).astype(np.uint8)


# Warping and consistency


def warp(image: Any, nnf: Any, size_b: Sequence[int] | None = None) -> Any:
    """Return an image warped by a field: out[y, x] = image[nnf[y, x]].

    Parameters
    ----------
    image
        (HB, WB) or (HB, WB, C) of any dtype: colours, labels or a mask. It must be a NumPy array
        if `nnf` is a NumPy array, and a CuPy array if `nnf` is a CuPy array.
    nnf
        (H, W, 2) of integers, a field.
    size_b
        Rows and columns of the picture that the field leads into. If it is given, `image`
        may have another size, and the matches are scaled to the size of `image`. If it is None,
        `image` must have the size of that picture.

    Returns
    -------
    warped
        (H, W) or (H, W, C), with the dtype of `image`.

    Raises
    ------
    ImageError
        If an array has a wrong shape or dtype, if `size_b` is not two integers from 1 to 2^31 - 1,
        or if the field leads outside a picture of `size_b` (outside `image` if `size_b` is None).
    """
    nnf = check_field(nnf)
    check_array(image, "an image")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ImageError(f"cannot warp an array of shape {image.shape}; it must be (H, W) or (H, W, C)")
    rows, columns = nnf[..., 0], nnf[..., 1]
    size = tuple(image.shape[:2]) if size_b is None else _check_size(size_b)
    whose = "the image" if size_b is None else "size_b"
    _check_reach(nnf, size, whose, "warp the picture that was matched, or give the size of that picture as size_b")
    if size != tuple(image.shape[:2]):
        # Scale the centre of the matched pixel and take the pixel that contains it, in integer
        # arithmetic.
        rows, columns = (
            (2 * place.astype("int64") + 1) * side // (2 * matched)
            for place, side, matched in zip((rows, columns), image.shape[:2], size, strict=True)
        )
    return image[rows, columns]


def consistency(nnf_ab: np.ndarray, nnf_ba: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Return the round-trip error |p - nnf_ba[nnf_ab[p]]| of two fields; it is 0 where they agree.

    Parameters
    ----------
    nnf_ab
        (H, W, 2) of integers, the field from A to B'. With several examples it is (H, W, 3), and
        the first number is the index of the example.
    nnf_ba
        The field from B' to A; with several examples, a sequence with the field from each of them.

    Returns
    -------
    error
        (H, W) float32, in pixels of A.

    Raises
    ------
    ImageError
        If an array is not a field, or if one field leads outside the other.
    """
    if isinstance(nnf_ba, np.ndarray):
        return _round_trip(check_field(nnf_ab), nnf_ba)
    error = np.zeros(nnf_ab.shape[:2], np.float32)
    for index, back in enumerate(nnf_ba):
        own = nnf_ab[..., 0] == index
        error = np.where(own, _round_trip(np.where(own[..., None], nnf_ab[..., 1:], 0), back), error)
    return error


def _round_trip(nnf_ab: np.ndarray, nnf_ba: np.ndarray) -> np.ndarray:
    cure = "give the two fields of one result"
    _check_reach(nnf_ab, check_field(nnf_ba).shape, "nnf_ba", cure)
    _check_reach(nnf_ba, nnf_ab.shape, "nnf_ab", cure)
    round_trip = to_flow(warp(nnf_ba, nnf_ab))
    return np.hypot(round_trip[..., 0], round_trip[..., 1])


def check_array(array: Any, what: str) -> None:
    """Raise `ImageError` if `array` is not an array; `what` is its name, such as "a field"."""
    if not isinstance(getattr(array, "ndim", None), int) or not hasattr(array, "dtype"):
        raise ImageError(f"{what} must be an array; got a {type(array).__name__}; convert it with numpy.asarray")


def _kind(array: Any) -> str:
    """Return NumPy's letter for the kind of an array's dtype; "?" for a dtype without a kind."""
    return str(getattr(array.dtype, "kind", "?"))


def _check_size(size: Any) -> tuple[int, int]:
    try:
        rows, columns = (operator.index(side) for side in size)
    except (TypeError, ValueError) as error:
        raise ImageError(f"size_b is {shown(size)}; it must be two integers, (rows, columns)") from error
    if not (0 < rows < 2**31 and 0 < columns < 2**31):
        raise ImageError(f"size_b is {shown(size)}; each number must be from 1 to {2**31 - 1}")
    return rows, columns


def check_field(nnf: Any) -> Any:
    """Return a field, or raise `ImageError` if it is not (H, W, 2) of integers."""
    check_array(nnf, "a field")
    if nnf.ndim != 3 or nnf.shape[2] != 2 or _kind(nnf) not in "iu" or 0 in nnf.shape:
        cure = ""
        if nnf.ndim == 3 and nnf.shape[2] == 3:
            cure = "; if nnf[..., 0] is the index of an example, pass nnf[..., 1:] for the positions of one example"
        raise ImageError(f"a field must be an (H, W, 2) integer array; got {nnf.shape} {nnf.dtype}{cure}")
    return nnf


def _check_reach(nnf: Any, size: tuple[int, ...], whose: str, cure: str) -> None:
    for axis, side in enumerate(("rows", "columns")):
        low, high = int(nnf[..., axis].min()), int(nnf[..., axis].max())
        if low < 0 or high >= size[axis]:
            raise ImageError(f"{whose} has {size[axis]} {side}, but the field points to {side} {low} to {high}; {cure}")


def check_flow(flow: np.ndarray) -> np.ndarray:
    """Return a flow, or raise `ImageError` if it is not (H, W, 2) of numbers."""
    check_array(flow, "a flow")
    if flow.ndim != 3 or flow.shape[2] != 2 or _kind(flow) not in "iuf" or 0 in flow.shape:
        raise ImageError(f"a flow must be an (H, W, 2) array of numbers; got {flow.shape} {flow.dtype}")
    return flow


def _unknown(flow: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) that is True where dx or dy is unknown."""
    return ~(np.abs(flow) <= UNKNOWN).all(axis=2)
