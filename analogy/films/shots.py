"""Where a film cuts from one shot to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .motion import agree, opencv, optical_flow, sample

_WIDTH = 160
"""Columns of the small frames that are compared."""
_AGREEMENT, _COLOURS = 1.5, 30.0
"""A pixel is found again if the ways there and back differ by fewer pixels, and its colours by less, of 255."""
_FOUND = 0.2
"""Share of a frame that is found again in the one before it, below which the film has cut."""


def find_cuts(frames: Iterable[np.ndarray]) -> Iterator[bool]:
    """For each frame (H, W, 3) uint8, whether a new shot begins with it; False for the first.

    A frame of the same shot shows mostly what the one before it showed, moved. That is asked for directly, so that neither
    a fast pan nor a light that goes on counts as a cut.
    """
    cv2, before = opencv(), None
    for frame in frames:
        height = max(16, round(frame.shape[0] * _WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (_WIDTH, height), interpolation=cv2.INTER_AREA)
        yield before is not None and _found_again(small, before) < _FOUND
        before = small


def _found_again(frame: np.ndarray, before: np.ndarray) -> float:
    """The share of `frame` that is in `before`."""
    forth, back = optical_flow(frame, before), optical_flow(before, frame)
    difference = sample(before.astype(np.float32), forth) - frame
    difference -= np.median(difference, axis=(0, 1))  # a light that went on
    same = np.abs(difference).mean(axis=-1) < _COLOURS
    return float((same & agree(forth, back, _AGREEMENT)).mean())
