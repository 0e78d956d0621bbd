"""Carrying of a key along a film, which finds the place of each pixel of a frame in the key frame.

A key is a painted version of one frame of the film, its key frame. The place of a pixel is the
position, in the key frame, of the thing that the pixel shows. Places are stored as a flow:
displacements from the pixels to their places. `Carrier.advance` carries the key on to the next
frame in four steps:

1. It computes the carried flow. This flow leads along the optical flow from the new frame to the
   previous frame, and from there along the flow of the previous frame. The carried flow does not
   flicker, but its errors add up from frame to frame.
2. It computes the direct flow, which is the optical flow from the new frame to the key frame
   itself, in a search that begins at the carried flow. The errors of the direct flow do not add up,
   but it may flicker. So the flow of the new frame goes only part of the way from the carried flow
   to the direct flow. Where these two flows differ by 3 pixels or more and the direct flow passes
   the check of step 4, a textured pixel gets the direct flow at once.
3. It moves the flow of flat pixels towards that of the textured pixels around them, since optical
   flow finds only noise in a flat region.
4. It decides which places are sure. A place is sure if the direct flow passes the forward-backward
   check: the flow from the key frame back to the new frame leads to the same pixel again. The place
   of a flat pixel is also sure if it lies in the key frame and has nearly the same colour as the
   pixel. Most pixels that fail the check show things that the key frame does not show. For these
   pixels, PatchMatch searches the key frame for similar colours, except for flat pixels whose place
   has nearly the same colour.

`Carrier.paint` then gives each pixel the colour that the key has at the pixel's place.

This departs from Liao et al. 2017, where only A and B' are given. Here B is given, too, as in
Hertzmann et al. 2001 ("Image Analogies"): A is a frame, B the key frame, and B' the key. Motion
gives the matches of A in B, and PatchMatch searches only for matches that motion does not give.
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
"""Tolerance of the forward-backward check (see `motion.agree`), in pixels."""

_PULL = 0.3
"""Share (0 to 1) of the way from the carried to the direct flow that a frame's flow goes."""
_NEAR = 2 * AGREEMENT
"""Distance between carried and direct flow from which a pixel gets the direct flow, in pixels.

This applies to textured pixels that pass the forward-backward check. If the distance is smaller,
the flow goes the share `_PULL` of the way.
"""
_STIFFNESS = 0.15
"""Share (0 to 1) by which a flat pixel's flow approaches the flow around it per frame.

The share is this large if the pixel has no texture at all. Without this, the paint in flat regions
would move at random, because nothing in the film shows how a flat region moves.
"""
_BASE_TRUST = 0.1
"""Weight in `spread` of a pixel without texture that passes the forward-backward check.

The weight grows with the texture, up to 1. A pixel that fails the check has weight 0.
"""
_FLAT = 0.5
"""Texture (see `motion.texture`, 0 to 1) below which a pixel is flat."""
_UNLIKE = 0.1
"""Colour difference (0 to 1) at which the search may change the place of a flat pixel.

The difference is that between the pixel and its place. If it is smaller, or if the pixel passes the
forward-backward check, the search gives the pixel no other place.
"""

_PATCH = 7
"""Side of the patches that the search compares, in pixels."""
_ITERATIONS = {4: 3, 2: 2}
"""Factor by which frames are shrunk -> number of iterations of the search, from coarse to fine.

There is no search at full size. It would take three times as long as the searches at these two
scales together, and the field that it finds would consist of smaller pieces.
"""
_SEARCH_RADIUS = 8
"""First radius of the random search at the finer scale, in pixels of that scale.

At the coarser scale, the first radius is half the longer side of the shrunk frame.
"""
_LEAVING = 8.0
"""Cost of a match that is sqrt(height * width) pixels of the frame away from the expected place.

The unit is the squared difference between black and white in one channel. The cost grows with the
square of the distance.
"""
_COST_SCALE = 16
"""Divisor of channel 3 of the query's vectors, without which the channel would not fit into int16.

The channel is the sum of a colour term and a distance term. Channel 3 of the key's vectors is the
same divisor, so the product of a vector of the query and a vector of the key contains the undivided
sum, except for rounding.
"""
_MAX_COST = 12
"""Maximum factor of the squared distance in the cost, so that every channel fits into int16."""
_UNSHOWN_DOUBT = 0.3
"""Doubt that is added to a pixel around which no place is sure; less is added if some are."""
_DOUBT_PATCH = 9
"""Side of the square over which doubt is averaged, in pixels."""
_MAX_ERROR = 1.0
"""Maximum to which `Carrier.paint` clips the error of a place, in pixels.

At an error of one pixel, fine detail is already in the wrong spot, and a larger error makes it no
worse.
"""


class Carrier:
    """Key that is carried along a film, from its own frame forwards or backwards, frame by frame.

    Attributes
    ----------
    frame : (H, W, 3) uint8
        The frame that the carrier has reached.
    flow : (H, W, 2) float32
        Displacement (dx, dy) in pixels from each pixel of that frame to its place in the key frame.
    sure : (H, W) bool
        True where the place is sure: the direct flow passes the forward-backward check, or the
        pixel is flat and its place in the key frame has nearly the same colour. Elsewhere the
        search found the place, or the place was carried over from the previous frame.
    """

    def __init__(self, backend: Backend, key_frame: np.ndarray, seed: int = 0):
        """Begin at `key_frame`, (H, W, 3) uint8, with the `seed` of the random search."""
        self.backend, self.seed = backend, seed
        self.key_frame = self.frame = key_frame
        self.flow = np.zeros((*key_frame.shape[:2], 2), np.float32)
        self.sure = np.ones(key_frame.shape[:2], bool)
        self._back = self.flow  # the flow from the key frame to the present frame

    @cached_property
    def _key_pixels(self) -> np.ndarray:
        """Pixels of the key frame, (H, W, 3) float32, 0 to 255."""
        return self.key_frame.astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that `resume` needs to continue from the present frame."""
        return {"flow": self.flow, "sure": self.sure, "back": self._back}

    def resume(self, frame: np.ndarray, state: Mapping[str, np.ndarray]) -> None:
        """Continue at `frame`, (H, W, 3) uint8, with the state that another carrier had there."""
        self.frame, self.flow, self.sure, self._back = frame, state["flow"], state["sure"], state["back"]

    def advance(self, frame: np.ndarray) -> None:
        """Carry the key on to the next `frame`, (H, W, 3) uint8, in the direction of carrying.

        The docstring of this module describes the four steps.
        """
        # Step 1: compute the carried flow. Pixels that are flat or fail the check get the flow of
        # the pixels around them.
        step, step_back = both_flows(frame, self.frame)
        textured = texture(frame)
        step = spread(step, _trust(textured, agree(step, step_back, AGREEMENT)))
        step_back = spread(step_back, _trust(texture(self.frame), agree(step_back, step, AGREEMENT)))
        carried = compose(step, self.flow)
        # Step 2: move the carried flow towards the direct flow. Where the two are near each
        # other, the move takes several frames.
        direct = refine(frame, self.key_frame, carried)
        self._back = refine(self.key_frame, frame, compose(self._back, step_back))
        sure = _shrink(agree(direct, self._back, AGREEMENT))
        gap = direct - carried
        is_near = sure & (squared_length(gap) < _NEAR**2)
        flow = carried + np.float32(_PULL) * spread(gap, _trust(textured, is_near))
        # Step 3: move the flow of flat pixels towards that of the textured pixels around them.
        smooth = spread(flow, textured * inside(carried))
        flow += opencv().merge([np.float32(_STIFFNESS) * (1 - textured) ** 2] * 2) * (smooth - flow)
        is_flat = textured < _FLAT
        # The jump to the direct flow belongs to step 2. It comes last, so that step 3 does not
        # smooth it.
        far = sure & ~is_near & ~is_flat
        flow[far] = direct[far]
        self.flow, self.frame = flow, frame
        # Step 4: search for the places that are not sure. A place that is not sure is still known
        # if the flow to the previous frame passes the check, or the pixel is flat, and if the
        # carried flow leads into the key frame. The search prefers matches near known places.
        # There is no search for a flat pixel whose place has nearly the same colour, because any
        # flat region would match it.
        known = sure | ((agree(step, step_back, AGREEMENT) | is_flat) & inside(carried))
        is_similar = is_flat & (self._difference() < _UNLIKE)
        self.sure = sure | (known & is_similar & inside(self.flow))
        if not (self.sure | is_similar).all():
            self._search(known, self.sure | is_similar)

    def paint(self, painted: np.ndarray) -> np.ndarray:
        """Return the present frame, painted with the key `painted`.

        Both are (H, W, 3) float32, 0 to 255.
        """
        error = np.minimum(squared_error(self.frame, self._difference() * np.float32(255)), np.float32(_MAX_ERROR**2))
        return paint(self.backend, painted, self.flow, self.sure, error)

    def doubt(self) -> np.ndarray:
        """Return how doubtful the place of each pixel is: (H, W) float32, from 0 (certain) upwards.

        Doubt is the colour difference between the pixel and its place in the key frame (0 to 1),
        plus a term that grows with the share of pixels around it whose places are not sure. Most of
        these pixels show things that the key frame does not show.
        """
        unshown = opencv().blur((~self.sure).astype(np.float32), (_DOUBT_PATCH, _DOUBT_PATCH))
        return self._difference() + np.float32(_UNSHOWN_DOUBT) * unshown

    def _difference(self) -> np.ndarray:
        """Return the RMS colour difference between pixels and their places, (H, W) float32, 0 to 1.

        The mean is taken over the channels and over a small square around the pixel.
        """
        cv2 = opencv()
        found = show(self._key_pixels, self.flow) - self.frame
        squared = cv2.transform(found * found, np.full((1, 3), 1 / (3 * 255**2)))
        return np.sqrt(np.maximum(cv2.blur(squared, (_DOUBT_PATCH, _DOUBT_PATCH)), 0))

    def _search(self, known: np.ndarray, excluded: np.ndarray) -> None:
        """Search the key frame for new places of all pixels that are not `excluded`, (H, W) bool.

        Where a present place is `known`, (H, W) bool, matches near it are preferred. A pixel whose
        place is not known first gets the flow of the nearest pixel whose place is known.
        """
        cv2 = opencv()
        size = self.flow.shape[:2]
        flow = _extend(self.flow, known)
        here = _positions(size)
        places = here + flow[..., ::-1]
        frames = self.frame.astype(np.float32), self._key_pixels
        field, coarser = None, size
        # From coarse to fine: each scale begins at the matches of the coarser scale.
        for scale, iterations in _ITERATIONS.items():
            small = -(-size[0] // scale), -(-size[1] // scale)

            def shrink(array: Any, small: Size = small, how: int = cv2.INTER_NEAREST) -> np.ndarray:
                return cv2.resize(array, small[::-1], interpolation=how)

            near = shrink(places) / scale
            start = np.clip(np.rint(near), 0, np.subtract(small, 1)).astype(np.int32)
            fixed = shrink(excluded.astype(np.uint8))[..., None] > 0
            if field is not None:
                start = np.where(fixed, start, nnf.enlarge(self.backend, field, coarser, small, small))
            frame, key_frame = (shrink(frame, how=cv2.INTER_AREA) / 255 for frame in frames)
            vectors = self._vectors(frame, key=False), self._vectors(key_frame, key=True)
            query, key = _add_distance_cost(*vectors, near, shrink(known.astype(np.uint8)))
            found, _ = nnf.search(
                self.backend,
                self.backend.asarray(query),
                self.backend.asarray(key),
                self.backend.asarray(start),
                patch=_PATCH,
                search_radius=max(small) // 2 if field is None else _SEARCH_RADIUS,
                iterations=iterations,
                seed=self.seed,
                most=_COST_SCALE,  # no product exceeds 0; the rest leaves room for rounding
            )
            field, coarser = self.backend.asarray(np.where(fixed, start, self.backend.to_host(found))), small
        found = self.backend.to_host(nnf.enlarge(self.backend, field, coarser, size, size)).astype(np.float32)
        # A pixel gets its match as its new place only if the match is more than one pixel of the
        # finest scale away from the present place.
        moved = ~excluded & (squared_length(found - places) > scale**2)
        flow[moved] = (found[moved] - here[moved])[:, ::-1]
        self.flow = flow

    def _vectors(self, pixels: np.ndarray, key: bool) -> np.ndarray:
        """Return the vectors of `Backend.pixel_vectors` as a NumPy array, (H, W, 8) int16."""
        found: np.ndarray = self.backend.to_host(self.backend.pixel_vectors(self.backend.asarray(pixels), key))
        return found


def _add_distance_cost(query: Array, key: Array, near: np.ndarray, known: np.ndarray) -> tuple[Array, Array]:
    """Change the vectors of a colour search so that matches far from the expected places cost more.

    Let n be an expected place and q a position in the key frame. Both are measured from the middle
    of the frame, and are scaled and rounded to integers from -127 to 127. The product
    (-|n|^2, 2 n, -1) . (1, q, |q|^2) is -|n - q|^2, and a multiple of this product is added to the
    product of the colours. The term -|n|^2 shares a channel with the colour's term -|u|^2 (u: the
    colour, see `Backend.pixel_vectors`); the sum of both is divided by `_COST_SCALE`.

    Parameters
    ----------
    query, key : (H, W, 8) int16
        Vectors that `Backend.pixel_vectors` returned. They are changed in place.
    near : (H, W, 2)
        Row and column, in the key frame, of the expected place of each pixel of the frame.
    known : (H, W)
        1 where a pixel has an expected place, else 0. Where it is 0, distances cost nothing.

    Returns
    -------
    query, key : (H, W, 8) int16
        The changed vectors.
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
    """Return the weight in `spread` of each pixel of a flow, (H, W) float32, 0 to 1.

    The weight is 0 where the flow fails the forward-backward check (`agreed` is False). Elsewhere
    it grows with the texture.
    """
    return agreed * (np.float32(_BASE_TRUST) + np.float32(1 - _BASE_TRUST) * textured)


def _positions(size: Size) -> np.ndarray:
    """Return the row and the column of each pixel, (H, W, 2) float32."""
    return np.moveaxis(np.indices(size, np.float32), 0, -1)


def _extend(flow: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a copy of `flow` in which each unknown pixel has the flow of the nearest known one."""
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
    """Shrink the regions of a mask by a pixel, since flow is wrong at outlines of moving things."""
    return opencv().erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
