"""The kernel contract: the methods of every backend (`Backend`), and the constants of the kernels.

This module defines the algorithm of each kernel. Each algorithm is implemented twice, once for the
CPU and once for CUDA. In the search, both implementations try the same candidates in the same
order. A pass reads the fields of earlier passes, but not the field that it writes. Its random
numbers are hashes of the seed, the iteration, the position and the step. So the result does not
depend on the number of threads. The search multiplies and adds whole numbers, without rounding, so
both devices find the same field from the same joined features.

The algorithms of `method` use `Backend.xp` and the kernels below, and do not ask which device they
run on. The only exception is `pair.network_input`, because each device shrinks pictures with
another library. Kernels do not check their arguments; `method` checks the arguments before it calls
a kernel.

All arrays are C-contiguous:

* Features are (H, W, C) float32, channels last.
* Joined features, which the search compares, are (H, W, C) int16 in fixed point, where `ONE`
  stands for 1.0. Compared with float32 they take half the bytes, and one instruction processes
  twice as many numbers. The rounding to fixed point changes patch distances by less than 0.001,
  far less than the usual difference between the distances of the best match and of the second best.
* A nearest-neighbour field (NNF) is (H, W, 2) int32: [y, x] holds the row and the column of the
  match in the other picture.
* Patch distances are (H, W) float32.
* `frames` is (K, 3) int32. A caller gives `frames` if the matches of a field lie in several
  pictures, called frames, that are stored one below the other in one array. Each row of `frames`
  describes one of them, from the top: its first row in the array, the row after its last, and its
  number of columns, which begin at column 0. Nothing is matched or averaged across the border of a
  frame. Without `frames` the array is one picture.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from ..progress import Tick

Array = Any
"""A NumPy or a CuPy array, depending on the backend."""

Size = tuple[int, int]
"""Rows and columns."""

ONE = 4096
"""The number that stands for 1.0 in the fixed point of joined features."""
HALF = 104
"""Largest absolute value of the three numbers u in `Backend.pixel_vectors`.

The sum of their squares, |u|^2, fits into int16.
"""
MOST_PATCH = 7
"""Largest side of a patch for which the kernels' sums are exact, in positions.

A patch of this side has 49 positions. The scalar product of the joined features of two positions is
at most about 2 ONE^2, so the sum of 49 of them is less than 2^31 and fits into an int32.
"""
ROUNDING = 2.0**-20
"""Margin for the rounding errors of a few float32 operations, relative to the values."""

HASH_SEED, HASH_ITERATION, HASH_PIXEL, HASH_STEP = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F
"""Factors of seed, iteration, pixel and step in `hash32`, which makes the random numbers."""
HASH_FIRST_MIX, HASH_SECOND_MIX = 0x2C1B3C6D, 0x297A2D39
"""Factors with which the two rounds of `hash32` multiply in order to mix the bits."""


T = TypeVar("T")


class Pass(NamedTuple):
    """Pass that a search asks `Backend.run_together` to run.

    `kind` is the name of a method of the backend, and `arguments` are its arguments by name.
    """

    kind: Literal["distance", "propagate", "random_search"]
    arguments: dict[str, Any]


Passes = Generator[Pass, Any, T]
"""Generator of a search: it yields each `Pass`, receives the result, and finally returns a T.

`Backend.run_together` runs several of these generators. The CUDA backend takes one pass from each
generator in turn, so that it can run the same pass of two searches in one launch.
"""


class Steps(Protocol):
    """Object that runs multigrid steps, at the latest when its context (`Backend.steps`) ends."""

    def relax(self, form: Array, inverses: Array, f: Array, u: Array, after: bool) -> None:
        """Run the step that `Backend.relax` defines."""
        ...

    def residual(self, form: Array, f: Array | None, u: Array, out: Array) -> None:
        """Run the step that `Backend.residual` defines."""
        ...

    def restriction(self, weights: Array, r: Array, out: Array) -> None:
        """Run the step that `Backend.restriction` defines."""
        ...

    def prolongation(self, weights: Array, c: Array, u: Array) -> None:
        """Run the step that `Backend.prolongation` defines."""
        ...


class Backend(Protocol):
    """Device with its array module and its kernels.

    In the search, `a` (HA, WA, C) and `b` (HB, WB, C) are joined features (see `join`). The CPU
    backend calls `tick` while a pass runs, with the share (0 to 1) of the pass that is done. The
    CUDA backend never calls `tick`, because a pass is short on a GPU, and the host does not wait
    for the end of the pass.

    The patch distance is that of Liao et al. 2017, section 4.2, written with dot products. Take the
    patches of `patch` x `patch` positions around p in `a` and around q in `b`. The displacements o
    lead from the centre of a patch to its positions. Use only those n of them for which p + o lies
    in `a` and q + o lies in the frame of q. Then

        d(p, q) = - (sum_o  a[p + o] . b[q + o]) / n / ONE^2

    The sum is computed exactly. Then it is rounded to float32, and each of the two quotients is
    rounded to float32. The sum must be less than 2^31, which holds for joined features and patches
    up to `MOST_PATCH`.
    """

    @property
    def name(self) -> str:
        """Name of the kind of device: "cpu" or "cuda"."""
        ...

    @property
    def index(self) -> int:
        """Number of the device among the devices of its kind, from 0."""
        ...

    @property
    def xp(self) -> Any:
        """Array module: `numpy` or `cupy`."""
        ...

    @property
    def providers(self) -> list[Any]:
        """Execution providers for ONNX Runtime, each with its options."""
        ...

    @property
    def sessions_per_graph(self) -> int:
        """Maximum number of ONNX Runtime sessions to keep for each graph.

        It is above 1 on a device where a session runs faster if its inputs have the same shapes as
        in its last run.
        """
        ...

    def active(self) -> AbstractContextManager[None]:
        """Return a context for work that calls many methods and uses `xp` between them.

        On a GPU, all work in the context goes through one stream. The work in the context runs
        after the work that the calling thread had started before the context. Work that the thread
        starts later runs after the work in the context. After the context, the device and the
        stream that were current before the context are current again.
        """
        ...

    def describe(self) -> str:
        """Return a description of the device for users, such as "CPU, 2 threads"."""
        ...

    def prepare(self) -> None:
        """Compile or load the kernels of the search; further calls are cheap.

        The CUDA backend compiles all of its kernels.
        """
        ...

    def asarray(self, array: Array) -> Array:
        """Return a NumPy or CuPy array as a C-contiguous array of this backend."""
        ...

    def to_host(self, array: Array) -> Array:
        """Return an array of this backend as a NumPy array."""
        ...

    def pointer(self, array: Array) -> int:
        """Return the address of the first element, for ONNX Runtime's IOBinding."""
        ...

    def require_finite(self, maps: Sequence[Array], failure: Exception) -> None:
        """Raise `failure` if one of `maps` (float32) has a value that is infinite or not a number.

        On a GPU, an immediate check would make the host wait. So the CUDA backend raises the error
        only when the outermost `active` context of the calling thread ends.
        """
        ...

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        """Run a session of ONNX Runtime with bound arrays, from any thread.

        On a GPU, the method may return before the run has ended. So the outputs may be read only by
        work in the backend's stream (see `active`).
        """
        ...

    def free_memory(self) -> int:
        """Return the number of bytes that this process can still allocate on the device."""
        ...

    def reclaim(self) -> None:
        """Make the libraries release the GPU memory that they reserve but do not use.

        `free_memory` then counts this memory as free. The release takes long. On the CPU the method
        does nothing.
        """
        ...

    def project(self, f: Array, matrix: Array) -> Array:
        """Return `f` (H, W, C) times `matrix` (C, k) as (H, W, k), all float32."""
        ...

    def products(self, rows: Array, vector: Array) -> Array:
        """Return the dot product of each of `rows` (k, n) with `vector` (n,) as (k,), all float32.

        The method is fast for a small k and a large n.
        """
        ...

    def mixture(self, weights: Array, rows: Array) -> Array:
        """Return the sum of `rows` (k, n) weighted by `weights` (k,) as (n,), all float32."""
        ...

    def channels_last(self, maps: Array) -> Array:
        """Return maps (1, C, H, W) float32 as (H, W, C), C-contiguous."""
        ...

    def join(self, f: Array, g: Array) -> Array:
        """Return the joined features (H, W, 2C) int16 of `f` and `g`, both (H, W, C) float32.

        At each position, `f` and `g` are divided by their L2 norms (zero stays zero), multiplied by
        `ONE`, and rounded to the nearest whole number. The channels of `f` come first.
        """
        ...

    def blend(self, content: Array, f: Array, g: Array, alpha: float, steepness: float, threshold: float) -> Array:
        """Return f W + g (1 - W) for `f` and `g` (H, W, k), with a weight W for each position.

        As in section 4.3 of the paper, W = alpha / (1 + exp(-steepness (M - threshold))), where M
        is the squared norm of `content` (H, W, C) over its channels, scaled so that it runs from 0
        to 1 over the picture. If all norms are equal, M is 0 everywhere. All arrays are float32.
        """
        ...

    def pixel_vectors(self, pixels: Array, key: bool) -> Array:
        """Return the pixels (H, W, 3), float32 in 0..1, as vectors (H, W, 8) int16 for the search.

        The search compares queries, the vectors of a voted picture, with keys, the vectors of the
        source. Let u = rint((pixel - 1/2) 2 HALF), three numbers. With `key`, a pixel becomes the
        key (u, 1, |u|^2, 0, 0, 0), otherwise the query (2 u, -|u|^2, -1, 0, 0, 0). So the product
        of the query of a pixel u and the key of a pixel v is 2 u.v - |u|^2 - |v|^2 = -|u - v|^2.
        The caller may use the last three channels to add terms to the product.
        """
        ...

    def resample(
        self,
        nnf: Array,
        shape_a: tuple[int, int],
        shape_b: tuple[int, int],
        scale_a: tuple[float, float],
        scale_b: tuple[float, float],
        tick: Tick | None = None,
    ) -> Array:
        """Return a field resampled to pictures of the sizes `shape_a` and `shape_b`.

        The given field belongs to two pictures, which become `scale_a` and `scale_b` times as
        large, in rows and in columns. With p = ((y, x) + .5) / scale_a, c = floor(p) and
        r = p - c - .5, all in float64, the result is

            out[y, x] = floor((nnf[c] + .5 + r) * scale_b)

        Each match is clamped to the positions of the picture of `shape_b`, and c is clamped to the
        field.
        """
        ...

    def distance(
        self, a: Array, b: Array, nnf: Array, patch: int, frames: Array | None = None, tick: Tick | None = None
    ) -> Array:
        """Return the patch distance d(p, nnf[p]) of each position p: (HA, WA) float32."""
        ...

    def propagate(
        self,
        a: Array,
        b: Array,
        nnf: Array,
        distance: Array,
        patch: int,
        jump: int,
        max_product: float,
        labels: tuple[Array, Array] | None = None,
        frames: Array | None = None,
        previous_field: Array | None = None,
        tick: Tick | None = None,
    ) -> tuple[Array, Array]:
        """Run one propagation pass, and return a new field and its distances.

        The candidates of p are nnf[p + o] - o, for o = (-jump, 0), (jump, 0), (0, -jump), (0, jump)
        in this order, if p + o lies in `a` and the candidate lies in the frame of nnf[p + o]. They
        come from the given field, not from the new one. A candidate is accepted if its distance is
        strictly smaller than the distance of the best match so far.

        At first the best match is nnf[p], with the distance that the caller gives. A kernel never
        computes the distance of nnf[p] again: it compares candidates with the given distance, and
        returns this distance if it accepts no candidate. Callers rely on this. To fix a match, they
        pass a distance that is smaller than any patch distance (see `method.holding`).

        Parameters
        ----------
        a, b
            Joined features, (HA, WA, C) and (HB, WB, C) int16.
        nnf, distance
            The field (HA, WA, 2) int32 and its distances (HA, WA) float32. They are not changed.
        patch
            Side of a patch, odd, at most `MOST_PATCH`.
        jump
            Distance from p to the neighbours whose matches give candidates, in positions.
        max_product
            Upper bound of the dot products a[p] . b[q] of int16 vectors, for all p and q. A kernel
            uses it to reject a candidate as soon as the remaining rows of its patch cannot make its
            distance small enough.
        labels
            Labels (HA, WA) and (HB, WB), int32, or None. With labels, a candidate q of p is tried
            only if the labels of p and q are equal, or if one of these two labels is negative.
        frames
            Frames of `b`, (K, 3) int32, or None.
        previous_field
            The field that an earlier propagation pass of this search read, or None. The two passes
            must have the same arguments except for the field, its distances, and this one. If a
            neighbour still has the match that it had in `previous_field`, the candidate from this
            neighbour is not tried again: the earlier pass accepted or rejected it, and the best
            match has only improved since. This saves time and does not change the result.
        tick
            Function that reports progress (see `Backend`), or None.

        Returns
        -------
        nnf, distance
            New arrays with the shapes and dtypes of the given field and distances.
        """
        ...

    def random_search(
        self,
        a: Array,
        b: Array,
        nnf: Array,
        distance: Array,
        patch: int,
        search_radius: int,
        seed: int,
        iteration: int,
        max_product: float,
        labels: tuple[Array, Array] | None = None,
        frames: Array | None = None,
        tick: Tick | None = None,
    ) -> tuple[Array, Array]:
        """Run one random-search pass, and return a new field and its distances.

        Step k = 0, 1, .. uses the radius r = search_radius, search_radius // 2, .. while r >= 1.
        Its candidate is best + (s(2k), s(2k + 1)), clamped to the frame of nnf[p]. Here best is the
        best match so far, which is nnf[p] at first, s(j) = floor(h(j) (2r + 1) / 2^32) - r, and
        h(j) is the hash of (seed, iteration, y * WA + x, j) (see `hash32` in `kernels.py`). A
        candidate is accepted if its distance is strictly smaller than that of the best match so
        far.

        As in `propagate`, a kernel does not compute the distance of nnf[p] again before it accepts
        a candidate. It returns the given distance if it accepts none. The arguments are not
        changed. Parameters that are not described here are those of `propagate`.

        Parameters
        ----------
        search_radius
            First radius, in positions.
        seed, iteration
            Whole numbers that the hash depends on. The seed is taken modulo 2^32, and the iteration
            must be less than 2^32.
        """
        ...

    def run_together(self, searches: Sequence[Passes[T]]) -> list[T]:
        """Run several searches that do not depend on each other, and return their results.

        On a GPU, one launch runs the passes of two consecutive generators if both passes have the
        same kind, the same unit, and the same values of the arguments that such a launch takes only
        once (see `Launch.fits` in `cuda_launch.py`).
        """
        ...

    def vote(self, nnf: Array, b: Array, patch: int, frames: Array | None = None, tick: Tick | None = None) -> Array:
        """Return the vote (HA, WA, C) float32 of `b` through a field.

        The vote at p is the mean of b[nnf[p + o] - o] over the displacements o from the centre of
        the patch to its positions for which p + o lies in the field, and nnf[p + o] - o lies in the
        frame of nnf[p + o]. `b` is (HB, WB, C) float32.
        """
        ...

    # The methods from `steepness` to `correct` serve gradient-domain painting, which removes seams
    # (see `method/seams.py`). Pictures are (H, W, 3) float32 in 0..1.

    def steepness(self, pixels: Array) -> Array:
        """Return the steepness of a picture (H, W, 3) float32 in 0..1 as (H, W) float32.

        The steepness at a position is the largest squared gradient in the 3 x 3 positions around
        it. The gradient is Sobel's, divided by 8 so that it is the change per pixel. Beyond the
        border, the nearest pixel is used. The square is summed over both axes and the three
        channels.
        """
        ...

    def seams(self, nnf: Array, b: Array, picture: Array, patch: int, frames: Array | None = None,
              tick: Tick | None = None) -> Array:  # fmt: skip
        """Return voted differences of `b` minus differences of `picture`, as (HA, WA, 8) float32.

        `picture` is the vote of `b` through `nnf` with the same `patch`. The differences are
        forward differences between neighbouring pixels. Those of `b` (zero at the border of a
        frame) are voted in the same way as the pixels of `b`. So they do not contain the change of
        colour at a joint, which the differences of `picture` contain. Channels 0 to 2 of the result
        hold the differences along rows, and channels 3 to 5 hold those along columns. Channels 6
        and 7 hold the squared lengths of these two vectors. A difference that would cross the
        border of the picture is zero. All channels are zero at a position if the patches that vote
        for it, for its right neighbour or for its lower neighbour all have the same offset. Two of
        these patches may have matches in different frames. The caller must leave enough empty rows
        between the frames that the offsets then differ.
        """
        ...

    def keep_edges(self, steepness: Array, seams: Array, edge: float, jump: float, labels: Array | None = None,
                   tick: Tick | None = None) -> None:  # fmt: skip
        """Reduce `seams` (H, W, 8) in place where a jump of colour at a joint is taken for an edge.

        Each difference is multiplied by the smaller of two factors 1 / (1 + (s / threshold)^2). In
        the first factor, s is the steepness, and the threshold is `edge`. `steepness` (h, w) is
        that of the content; it is interpolated if (h, w) is not (H, W). In the second factor, s is
        the largest squared length (channel 6 or 7) along the same axis in the 3 x 3 positions
        around the position, and the threshold is `jump`. Each difference lies between two
        positions. It becomes zero if `labels` (H, W) int32 are not all equal at these two and at
        the positions that touch one of them, along a side or at a corner.
        """
        ...

    def divergence(self, seams: Array) -> Array:
        """Return the divergence (H, W, 3) float32 of channels 0 to 5 of `seams` (H, W, 8).

        It is the backward difference of channels 0 to 2 along rows, plus that of channels 3 to 5
        along columns.
        """
        ...

    def solve_columns(self, shifts: Array, f: Array) -> None:
        """Solve (D + shift) u = f for each column of `f` (H, W), in place.

        D is the second difference with free ends: it has -1 beside its diagonal, and a diagonal of
        2, but 1 in the first and in the last row. `shifts` (W,) holds the shift of each column, a
        positive number. `shifts` and `f` are float32, and H is at least 2.
        """
        ...

    def correct(self, picture: Array, correction: Array, columns: Array) -> Array:
        """Return a picture (H, W, 3) plus a correction, reduced so that the sum stays within 0..1.

        Row y of the correction is `correction[y, columns]`, where `columns` is (W,) int32. A
        correction c changes a value v by c r / (c^4 + r^4)^(1/4), which is about c if c is small,
        and always less than r. Here r is the distance from v to the limit (0 or 1) towards which c
        leads, or twice the distance from v to the nearer limit if that is less. So black ink and
        white paper do not change, and the correction makes no edge where black or white begins.
        """
        ...

    # The other methods are the steps of multigrid, for quadratic forms sum_i m_i u_i^2 + sum_(i, j)
    # k_ij (u_i - u_j)^2 over the positions i and the pairs (i, j) of neighbours on a grid. All
    # arrays are float32. A form is (3 or 5, H, W), with odd H and W. The first plane is the mass m
    # of each position. The second and the third are its couplings k to the right and to the lower
    # neighbour. On coarser grids there are two more planes of couplings: to the neighbour at the
    # lower right ("falling"), and between the right and the lower neighbour ("rising"). A coupling
    # is zero where there is no neighbour in its direction. A is the form's matrix, and A u is half
    # the form's gradient. In the equation A u = f, `f` and `u` (3, H, W) have three channels.

    def coarsen(self, form: Array) -> tuple[Array, Array]:
        """Return interpolation weights (8, HC, WC) and the form (5, HC, WC) of the coarser grid.

        The coarser grid takes every second position; its sides are given by `coarse_sides`. The
        interpolation P is that of Dendy 1982. A position between two coarse ones takes their mean,
        weighted by the sums of its couplings to either side. A position between four coarse ones
        takes the mean of its neighbours, weighted by its couplings to them. Planes 0 and 1 of the
        weights belong to the left and the right coarse position, and are stored at the left one.
        Planes 2 and 3 belong to the upper and the lower one, and are stored at the upper one.
        Planes 4 to 7 belong to the corners of a cell, row by row, and are stored at the first
        corner. Sums of couplings below `TINY` (see `multigrid`) are replaced by `TINY`, and then
        the weights of a position are scaled so that their sum is one.

        The form is P^T A P (Galerkin). A coupling k between two fine positions contributes -k q_a
        q_b to the coupling between the corners a and b, where q_a is the weight of a in the
        interpolation at the one position, minus the weight of a in that at the other. The mass is
        P^T m. In a row or column that was added to make a side odd, the mass is 1.
        """
        ...

    def factor(self, form: Array) -> Array:
        """Return 1 / D of the factors L D L^T of the system of each row and of each column.

        In the system of a row or column, only its own positions are unknown; the values of all
        others are constants. The result is (2, H, W), first for rows, then for columns. Below the
        diagonal, an element of L is minus the coupling times 1 / D of the previous position.
        """
        ...

    def steps(self) -> AbstractContextManager[Steps]:
        """Return a context whose object (`Steps`) runs several steps of multigrid in their order.

        A GPU may run several steps in one launch. All steps have been started when the context
        ends.
        """
        ...

    def relax(self, form: Array, inverses: Array, f: Array, u: Array, after: bool) -> None:
        """Smooth the error of A u = f in place, by solving rows and columns.

        The method solves even rows, odd rows, even columns, and odd columns, in this order. With
        `after` the order is reversed. Without `after`, the method ignores the values in `u` and
        starts from zero. `inverses` is the result of `factor` for the form.
        """
        ...

    def residual(self, form: Array, f: Array | None, u: Array, out: Array) -> None:
        """Write f - A u to `out`; None for `f` counts as zero.

        A u is computed from differences between neighbours. If large couplings were multiplied by
        the values themselves, large products would cancel, and the sum in float32 would have few
        correct digits.
        """
        ...

    def restriction(self, weights: Array, r: Array, out: Array) -> None:
        """Write P^T `r` to `out`, where P interpolates with `weights` (see `coarsen`).

        A row or column that was added to make a side odd gets zeros.
        """
        ...

    def prolongation(self, weights: Array, c: Array, u: Array) -> None:
        """Add P `c` to `u` in place, where P interpolates with `weights` (see `coarsen`)."""
        ...

    def combine(self, a: float, x: Array, b: float, y: Array) -> None:
        """Replace `y` by a x + b y, for arrays `x` and `y` of three axes."""
        ...
