"""Finding the cuts of a film, at which one shot ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .motion import agree, both_flows, opencv, sample

_WIDTH = 160
"""Width in pixels to which frames are shrunken before they are compared."""
_AGREEMENT = 1.5
"""Largest distance in pixels between a pixel and where the flows there and back lead from it, if it was found again."""
_COLOURS = 30.0
"""Largest mean difference of colours, of 255, between a pixel and where it was found again."""
_FOUND = 0.2
"""Smallest share of a frame that is found again in the one before it, if there is no cut between them."""


def find_cuts(frames: Iterable[np.ndarray]) -> Iterator[bool]:
    """Yield, for each frame (H, W, 3) uint8, whether a new shot begins with it; False for the first.

    A frame of the same shot shows mostly what the one before it showed, moved. This is measured by
    optical flow, so that neither a fast pan nor a light that is switched on counts as a cut.
    """
    cv2, before = opencv(), None
    for frame in frames:
        height = max(16, round(frame.shape[0] * _WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (_WIDTH, height), interpolation=cv2.INTER_AREA)
        yield before is not None and _found_again(small, before) < _FOUND
        before = small


def _found_again(frame: np.ndarray, before: np.ndarray) -> float:
    """Return the share of `frame` that is found again in `before`, 0 to 1."""
    forth, back = both_flows(frame, before)
    difference = sample(before.astype(np.float32), forth) - frame
    difference -= np.median(difference, axis=(0, 1))  # a light may have been switched on
    same = np.abs(difference).mean(axis=-1) < _COLOURS
    return float((same & agree(forth, back, _AGREEMENT)).mean())
