"""A painted key frame carried through a film: where each pixel of a frame lies in the key frame, and what is painted there.

Departure from Liao et al. 2017: that paper knows two pictures. Here A is a frame, B the key frame, and B' the painted key
(Hertzmann et al. 2001, "Image Analogies", with B given). What moves is followed by the film's own motion; only what the key
frame does not show is searched, by PatchMatch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backends import HALF, Array, Backend, Size
from ..method import nnf
from .motion import agree, compose, inside, opencv, optical_flow, refine, sample

AGREEMENT = 1.5
"""Pixels by which the ways to the key frame and back may differ."""
VOTE = 5
"""Patch size of the vote that paints a frame: it hides where neighbours come from different places of the key."""

_PATCH, _SCALES, _ITERATIONS = 7, (4, 2, 1), {4: 3, 2: 2, 1: 2}
"""The search for what the key frame does not show: patch size, how much the frames are shrunken, iterations at each scale."""
_SEARCH_RADIUS = 8
_SHARE, _MOST_LEAVING = 16, 12
"""So that all numbers fit into 16 bits."""
_LEAVING = 8.0
"""What it costs to leave the place that a neighbouring frame found, times the squared distance, in sides of the frame. It
is weighed against the squared difference of colours."""
_OPEN, _DOUBT_PATCH = 0.3, 9
"""Doubt about a pixel that the key frame does not show, and the patch over which differences of colour are averaged."""


class Carrier:
    """Follows a film away from a key frame, forwards or backwards, frame by frame.

    flow  (H, W, 2) float32: from each pixel of the present frame to its place in the key frame, always within it
    sure  (H, W) bool: where the ways to the key frame and back agree; elsewhere the place was carried along or searched
    """

    def __init__(self, backend: Backend, key_frame: np.ndarray, seed: int = 0):
        """key_frame (H, W, 3) uint8: the film's own frame of which the key is a painting. `seed` is that of the search."""
        self.backend, self.seed = backend, seed
        self.key_frame = self.frame = key_frame
        self.flow = np.zeros((*key_frame.shape[:2], 2), np.float32)
        self.sure = np.ones(key_frame.shape[:2], bool)
        self._back = self.flow

    def state(self) -> dict[str, np.ndarray]:
        """What `resume` takes."""
        return {"flow": self.flow, "sure": self.sure, "back": self._back}

    def resume(self, frame: np.ndarray, state: Mapping[str, np.ndarray]) -> None:
        """Go on from `frame` as the carrier whose `state` that was."""
        self.frame, self.flow, self.sure, self._back = frame, state["flow"], state["sure"], state["back"]

    def advance(self, frame: np.ndarray) -> None:
        """Go on to `frame`, the next one in the film (or the one before, on the way back)."""
        step, step_back = optical_flow(frame, self.frame), optical_flow(self.frame, frame)
        carried = compose(step, self.flow)
        # From the key frame itself, so that small errors do not add up over the frames.
        direct = refine(frame, self.key_frame, carried)
        self._back = refine(self.key_frame, frame, compose(self._back, step_back))
        self.sure = _shrink(agree(direct, self._back, AGREEMENT))
        self.flow = np.where(self.sure[..., None], direct, carried)
        self.frame = frame
        if not self.sure.all():
            known = self.sure | (agree(step, step_back, AGREEMENT) & inside(carried))
            self._search(known)

    def paint(self, painted: np.ndarray) -> np.ndarray:
        """The present frame as `painted` (H, W, 3) float32, the key, would have it: (H, W, 3) float32.

        A vote as in section 4.5 of Liao et al. 2017, with places between the pixels.
        """
        cv2 = opencv()
        size, reach = self.flow.shape[1::-1], VOTE // 2
        total = np.zeros_like(painted)
        for y in range(-reach, reach + 1):
            for x in range(-reach, reach + 1):
                shift = np.array([[1, 0, x], [0, 1, y]], np.float32)
                shifted = cv2.warpAffine(self.flow, shift, size, borderMode=cv2.BORDER_REPLICATE)
                total += sample(painted, shifted)
        return total / np.float32(VOTE * VOTE)

    def doubt(self) -> np.ndarray:
        """(H, W) float32, 0 or more: how far the present frame differs from what was found for it in the key frame.

        The root of the mean squared difference of colours in 0..1, over small patches; more where the key frame does not
        show what is in the frame.
        """
        found = sample(self.key_frame.astype(np.float32), self.flow) - self.frame
        squared = (found * found).mean(axis=-1) / np.float32(255**2)
        blurred = opencv().blur(np.dstack([squared, ~self.sure]).astype(np.float32), (_DOUBT_PATCH, _DOUBT_PATCH))
        return np.sqrt(np.maximum(blurred[..., 0], 0)) + np.float32(_OPEN) * blurred[..., 1]

    def _search(self, known: np.ndarray) -> None:
        """Find places in the key frame for the pixels that are not sure: near the present ones, where they are `known`."""
        cv2 = opencv()
        size = self.flow.shape[:2]
        flow = _extend(self.flow, known)
        here = _positions(size)
        places = here + flow[..., ::-1]
        frames = [frame.astype(np.float32) / 255 for frame in (self.frame, self.key_frame)]
        field, coarser = None, size
        for scale in _SCALES:
            small = -(-size[0] // scale), -(-size[1] // scale)

            def shrink(array: Any, small: Size = small, how: int = cv2.INTER_NEAREST) -> np.ndarray:
                return cv2.resize(array, small[::-1], interpolation=how)

            near = shrink(places) / scale
            start = np.clip(np.rint(near), 0, np.subtract(small, 1)).astype(np.int32)
            fixed = shrink(self.sure.astype(np.uint8))[..., None] > 0
            if field is not None:
                start = np.where(fixed, start, nnf.enlarge(self.backend, field, coarser, small, small))
            frame, key_frame = (shrink(frame, how=cv2.INTER_AREA) for frame in frames)
            vectors = self._vectors(frame, key=False), self._vectors(key_frame, key=True)
            query, key = _staying_near(*vectors, near, shrink(known.astype(np.uint8)))
            found, _ = nnf.search(
                self.backend,
                self.backend.asarray(query),
                self.backend.asarray(key),
                self.backend.asarray(start),
                patch=_PATCH,
                search_radius=max(small) // 2 if field is None else _SEARCH_RADIUS,
                iterations=_ITERATIONS[scale],
                seed=self.seed,
                most=_SHARE,
            )
            field, coarser = self.backend.asarray(np.where(fixed, start, self.backend.to_host(found))), small
        found = self.backend.to_host(field).astype(np.float32)
        moved = np.linalg.norm(found - places, axis=-1) > 1
        searched = (found - here)[..., ::-1]
        self.flow = np.where((~self.sure & moved)[..., None], searched, flow)

    def _vectors(self, pixels: np.ndarray, key: bool) -> np.ndarray:
        """`Backend.pixel_vectors`, on the host."""
        found: np.ndarray = self.backend.to_host(self.backend.pixel_vectors(self.backend.asarray(pixels), key))
        return found


def _staying_near(query: Array, key: Array, near: np.ndarray, known: np.ndarray) -> tuple[Array, Array]:
    """The products of `Backend.pixel_vectors`, less a cost of leaving the places (row, column) of `near` where `known` is 1.

    With places n and q in whole numbers up to 127, from the middle of the frame, the cost |n - q|^2 is the product
    (-|n|^2, 2 n, -1) . (1, q, |q|^2). Its first part joins that of the colours, in units of `_SHARE`.
    """
    height, width = key.shape[:2]
    unit = max(height, width) / 254
    middle = np.array([height - 1, width - 1], np.float32) / 2

    def whole(places: np.ndarray) -> np.ndarray:
        return np.clip(np.rint((places - middle) / unit), -127, 127).astype(np.int32)

    cost = min(_MOST_LEAVING, round(_LEAVING * (2 * HALF) ** 2 * unit**2 / (height * width)))
    near, here = whole(near), whole(_positions((height, width)))
    query[..., 3] = (query[..., 3] - cost * known * (near * near).sum(axis=-1)) // _SHARE
    query[..., 5:7] = 2 * known[..., None] * near
    query[..., 7] = -cost * known.astype(np.int16)
    key[..., 3] = _SHARE
    key[..., 5:7] = cost * here
    key[..., 7] = (here * here).sum(axis=-1)
    return query, key


def _positions(size: Size) -> np.ndarray:
    """(H, W, 2) float32: the row and the column of each pixel."""
    return np.moveaxis(np.indices(size, np.float32), 0, -1)


def _extend(flow: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`flow` where it is known; elsewhere that of the nearest known pixel. All of `flow` where nothing is."""
    if not known.any():
        return flow
    cv2 = opencv()
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros((labels.max() + 1, 2), np.float32)
    of_label[labels[known]] = flow[known]
    return np.where(known[..., None], flow, of_label[labels])


def _shrink(mask: np.ndarray) -> np.ndarray:
    """Without its outermost pixels: flow is smooth, and bleeds over the edges of what moves."""
    return opencv().erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
