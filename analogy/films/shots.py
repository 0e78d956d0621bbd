"""Detection of the cuts of a film, where one shot ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from .motion import agree, both_flows, opencv, sample

_WIDTH = 160
"""Width to which frames are shrunk before they are compared, in pixels."""
_AGREEMENT = 1.5
"""Tolerance of the forward-backward check (see `motion.agree`), in pixels."""
_COLOURS = 30.0
"""Mean difference over the channels, 0 to 255, below which two pixels count as the same thing."""
_FOUND = 0.2
"""Share (0 to 1) of a frame that the previous frame also shows, below which a new shot begins."""


def find_cuts(frames: Iterable[np.ndarray]) -> Iterator[bool]:
    """Yield for each frame, (H, W, 3) uint8, whether a new shot begins with it.

    For the first frame, the function yields False. Within a shot, a frame shows mostly the same
    things as the previous frame. Optical flow finds the things that have moved, so a fast pan does
    not count as a cut. A light that is switched on does not count either, because the median colour
    difference is subtracted.
    """
    cv2, before = opencv(), None
    for frame in frames:
        height = max(16, round(frame.shape[0] * _WIDTH / frame.shape[1]))
        small = cv2.resize(frame, (_WIDTH, height), interpolation=cv2.INTER_AREA)
        yield before is not None and _found_again(small, before) < _FOUND
        before = small


def _found_again(frame: np.ndarray, before: np.ndarray) -> float:
    """Return the share (0 to 1) of pixels of `frame` that also appear in the frame `before` it."""
    forth, back = both_flows(frame, before)
    difference = sample(before.astype(np.float32), forth) - frame
    difference -= np.median(difference, axis=(0, 1))  # ignore a light that is switched on
    same = np.abs(difference).mean(axis=-1) < _COLOURS
    return float((same & agree(forth, back, _AGREEMENT)).mean())
