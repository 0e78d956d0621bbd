"""Carrying a key through a film: finding where each pixel of a frame lies in the key frame, and what is painted there.

Departure from Liao et al. 2017, which is about two pictures: here A is a frame, B the key frame,
and B' the key, its painting (Hertzmann et al. 2001, "Image Analogies", with B given). The film's
own motion leads from A to B. PatchMatch searches only for what the key frame does not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ..backends import HALF, Array, Backend, Size
from ..method import nnf
from .motion import (
    agree,
    both_flows,
    compose,
    inside,
    opencv,
    refine,
    show,
    spread,
    squared_error,
    squared_length,
    texture,
)
from .strokes import paint

AGREEMENT = 1.5
"""Largest distance in pixels between a pixel and where the flows to the key frame and back lead from it, if it is sure."""

_PULL = 0.3
"""Share of the way to where the flow to the key frame leads that a place goes with each frame."""
_NEAR = 2 * AGREEMENT
"""Distance in pixels from there up to which a place goes a share of the way. From farther, it goes at once."""
_STIFFNESS = 0.15
"""Share by which, with each frame, the flow of a flat place comes nearer to that of the texture
around it. What is painted there would be stirred otherwise, since nothing in the film says how it
moves."""
_BASE_TRUST = 0.1
"""Weight of the flow of a flat place, if those there and back agree, where that of a textured one is 1."""
_FLAT = 0.5
"""Texture (see `motion.texture`) below which a place is flat."""
_UNLIKE = 0.1
"""Difference of colours (0 to 1) from the key frame from which even a flat place is searched."""

_PATCH = 7
"""Patch size of the search for what the key frame does not show."""
_ITERATIONS = {4: 3, 2: 2}
"""Factor by which the frames are shrunken -> iterations of the search at this scale, from coarse to
fine. At the full size the search would take three quarters of the time, and what it finds would
fall into smaller pieces."""
_SEARCH_RADIUS = 8
"""First radius of the random search in pixels, at all scales but the coarsest, which is searched as a whole."""
_LEAVING = 8.0
"""Cost of a match whose distance from the expected place is the square root of the frame's area, in
units of the squared difference between black and white in one channel. It grows with the square of
the distance."""
_COST_SCALE, _MAX_COST = 16, 12
"""Divisor of the sum of both costs, and largest factor of the squared distance, so that all numbers fit into int16."""
_UNSHOWN_DOUBT = 0.3
"""Doubt that is added for a pixel that the key frame does not show."""
_DOUBT_PATCH = 9
"""Side in pixels of the square over which doubt is averaged."""
_MAX_ERROR = 1.0
"""Largest error of a place in pixels that counts when a frame is painted: it puts fine detail elsewhere, as any larger one."""


class Carrier:
    """A key on its way through a film, from its own frame forwards or backwards, frame by frame.

    frame  (H, W, 3) uint8: the frame at which it has arrived
    flow   (H, W, 2) float32: from each pixel of that frame to its place in the key frame
    sure   (H, W) bool: whether the flows to the key frame and back agree, or the place is flat and looks like the key frame.
           Elsewhere the place comes from the search, or from the frame before
    """

    def __init__(self, backend: Backend, key_frame: np.ndarray, seed: int = 0):
        """Begin at the key frame, (H, W, 3) uint8: the frame of the film of which the key is a painting.

        seed  that of the search for what the key frame does not show
        """
        self.backend, self.seed = backend, seed
        self.key_frame = self.frame = key_frame
        self.flow = np.zeros((*key_frame.shape[:2], 2), np.float32)
        self.sure = np.ones(key_frame.shape[:2], bool)
        self._back = self.flow

    @cached_property
    def _key_pixels(self) -> np.ndarray:
        """The key frame, (H, W, 3) float32."""
        return self.key_frame.astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which `resume` can go on."""
        return {"flow": self.flow, "sure": self.sure, "back": self._back}

    def resume(self, frame: np.ndarray, state: Mapping[str, np.ndarray]) -> None:
        """Go on from `frame`, (H, W, 3) uint8, as the carrier that had this state there."""
        self.frame, self.flow, self.sure, self._back = frame, state["flow"], state["sure"], state["back"]

    def advance(self, frame: np.ndarray) -> None:
        """Go on to `frame`, (H, W, 3) uint8, which is next in the film or, backwards, the one before.

        What is painted moves with the film from frame to frame, so that it does not swim. Where a
        flow that is found in the key frame itself leads elsewhere, the place is drawn there over
        some frames, so that small errors do not add up.
        """
        step, step_back = both_flows(frame, self.frame)
        textured = texture(frame)
        step = spread(step, _trust(textured, agree(step, step_back, AGREEMENT)))
        step_back = spread(step_back, _trust(texture(self.frame), agree(step_back, step, AGREEMENT)))
        carried = compose(step, self.flow)
        direct = refine(frame, self.key_frame, carried)
        self._back = refine(self.key_frame, frame, compose(self._back, step_back))
        sure = _shrink(agree(direct, self._back, AGREEMENT))
        apart = direct - carried
        is_near = sure & (squared_length(apart) < _NEAR**2)
        flow = carried + np.float32(_PULL) * spread(apart, _trust(textured, is_near))
        smooth = spread(flow, textured * inside(carried))
        flow += opencv().merge([np.float32(_STIFFNESS) * (1 - textured) ** 2] * 2) * (smooth - flow)
        is_flat = textured < _FLAT
        far = sure & ~is_near & ~is_flat
        flow[far] = direct[far]
        self.flow, self.frame = flow, frame
        known = sure | ((agree(step, step_back, AGREEMENT) | is_flat) & inside(carried))
        # In flat places the flows there and back cannot agree, and a search by colours would find
        # anything.
        is_like = is_flat & (self._difference() < _UNLIKE)
        self.sure = sure | (known & is_like & inside(self.flow))
        if not (self.sure | is_like).all():
            self._search(known, self.sure | is_like)

    def paint(self, painted: np.ndarray) -> np.ndarray:
        """Return the present frame in the looks of the key `painted`; both are (H, W, 3) float32, 0 to 255."""
        error = np.minimum(squared_error(self.frame, self._difference() * np.float32(255)), np.float32(_MAX_ERROR**2))
        return paint(self.backend, painted, self.flow, self.sure, error)

    def doubt(self) -> np.ndarray:
        """Return how much the present frame differs from what was found for it in the key frame: (H, W) float32, 0 or more.

        It is the root of the mean squared difference of colours in 0..1, over small squares, and
        more where the key frame does not show what is in the frame.
        """
        unshown = opencv().blur((~self.sure).astype(np.float32), (_DOUBT_PATCH, _DOUBT_PATCH))
        return self._difference() + np.float32(_UNSHOWN_DOUBT) * unshown

    def _difference(self) -> np.ndarray:
        """Return the root of the mean squared difference of colours, in 0..1, from the key frame over small squares."""
        cv2 = opencv()
        found = show(self._key_pixels, self.flow) - self.frame
        squared = cv2.transform(found * found, np.full((1, 3), 1 / (3 * 255**2)))
        return np.sqrt(np.maximum(cv2.blur(squared, (_DOUBT_PATCH, _DOUBT_PATCH)), 0))

    def _search(self, known: np.ndarray, kept: np.ndarray) -> None:
        """Search the key frame for the pixels that are not `kept`; near their present places, where these are `known`."""
        cv2 = opencv()
        size = self.flow.shape[:2]
        flow = _extend(self.flow, known)
        here = _positions(size)
        places = here + flow[..., ::-1]
        frames = self.frame.astype(np.float32), self._key_pixels
        field, coarser = None, size
        for scale, iterations in _ITERATIONS.items():
            small = -(-size[0] // scale), -(-size[1] // scale)

            def shrink(array: Any, small: Size = small, how: int = cv2.INTER_NEAREST) -> np.ndarray:
                return cv2.resize(array, small[::-1], interpolation=how)

            near = shrink(places) / scale
            start = np.clip(np.rint(near), 0, np.subtract(small, 1)).astype(np.int32)
            fixed = shrink(kept.astype(np.uint8))[..., None] > 0
            if field is not None:
                start = np.where(fixed, start, nnf.enlarge(self.backend, field, coarser, small, small))
            frame, key_frame = (shrink(frame, how=cv2.INTER_AREA) / 255 for frame in frames)
            vectors = self._vectors(frame, key=False), self._vectors(key_frame, key=True)
            query, key = _staying_near(*vectors, near, shrink(known.astype(np.uint8)))
            found, _ = nnf.search(
                self.backend,
                self.backend.asarray(query),
                self.backend.asarray(key),
                self.backend.asarray(start),
                patch=_PATCH,
                search_radius=max(small) // 2 if field is None else _SEARCH_RADIUS,
                iterations=iterations,
                seed=self.seed,
                most=_COST_SCALE,
            )
            field, coarser = self.backend.asarray(np.where(fixed, start, self.backend.to_host(found))), small
        found = self.backend.to_host(nnf.enlarge(self.backend, field, coarser, size, size)).astype(np.float32)
        moved = ~kept & (squared_length(found - places) > scale**2)
        flow[moved] = (found[moved] - here[moved])[:, ::-1]
        self.flow = flow

    def _vectors(self, pixels: np.ndarray, key: bool) -> np.ndarray:
        """Return the vectors of `Backend.pixel_vectors` on the host."""
        found: np.ndarray = self.backend.to_host(self.backend.pixel_vectors(self.backend.asarray(pixels), key))
        return found


def _staying_near(query: Array, key: Array, near: np.ndarray, known: np.ndarray) -> tuple[Array, Array]:
    """Add the cost of matches away from the places `near` to the vectors of a search by colours.

    query, key  the vectors of `Backend.pixel_vectors`, (H, W, 8) int16, which are changed
    near        (H, W, 2): row and column of the place in the key frame near which each pixel should be found
    known       (H, W): 1 where there is such a place, else 0

    Let n be such a place and q a position in the key frame, in whole numbers up to 127 from the
    middle of the frame. Then the product (-|n|^2, 2 n, -1) . (1, q, |q|^2) is -|n - q|^2, and the
    cost is a multiple of it. The first component is added to that of the colours, and the sum
    divided by `_COST_SCALE`.
    """
    height, width = key.shape[:2]
    unit = max(height, width) / 254
    middle = np.array([height - 1, width - 1], np.float32) / 2

    def whole(places: np.ndarray) -> np.ndarray:
        return np.clip(np.rint((places - middle) / unit), -127, 127).astype(np.int32)

    cost = min(_MAX_COST, round(_LEAVING * (2 * HALF) ** 2 * unit**2 / (height * width)))
    near, here = whole(near), whole(_positions((height, width)))
    query[..., 3] = (query[..., 3] - cost * known * (near * near).sum(axis=-1)) // _COST_SCALE
    query[..., 5:7] = 2 * known[..., None] * near
    query[..., 7] = -cost * known.astype(np.int16)
    key[..., 3] = _COST_SCALE
    key[..., 5:7] = cost * here
    key[..., 7] = (here * here).sum(axis=-1)
    return query, key


def _trust(textured: np.ndarray, agreed: np.ndarray) -> np.ndarray:
    """Return the weights, (H, W) float32, of a flow whose pixels have this texture and agree with the flow back or not."""
    return agreed * (np.float32(_BASE_TRUST) + np.float32(1 - _BASE_TRUST) * textured)


def _positions(size: Size) -> np.ndarray:
    """Return the row and the column of each pixel, (H, W, 2) float32."""
    return np.moveaxis(np.indices(size, np.float32), 0, -1)


def _extend(flow: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a copy of `flow` whose unknown pixels have the flow of the nearest known one, if there is one."""
    extended = flow.copy()
    if not known.any():
        return extended
    cv2 = opencv()
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    pixels, unknown = np.flatnonzero(known), np.flatnonzero(~known)
    labels, flat = labels.ravel(), extended.reshape(-1, 2)
    of_label = np.zeros(len(pixels) + 1, np.intp)
    of_label[labels[pixels]] = pixels
    flat[unknown] = flat[of_label[labels[unknown]]]
    return extended


def _shrink(mask: np.ndarray) -> np.ndarray:
    """Remove the outermost pixels of a mask, since flow is smooth and wrong at the edges of what moves."""
    return opencv().erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
