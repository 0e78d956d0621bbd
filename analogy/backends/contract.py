"""The devices: which array module holds the arrays, and who runs the kernels.

Here live the kernel contract (`Backend`), the CPU backend (`cpu` with the Numba kernels of `kernels.py`, which `compiled`
makes into machine code), the CUDA backend (`cuda` with the CuPy kernels of `kernels.cu`), the kernels of gradient-domain
painting and of multigrid beside either (`seam_kernels.py`, `seams.cu`, `multigrid_kernels.py`, `multigrid.cu`), what is
tried before a GPU is trusted (`probes`), the report about it
(`selftest`), and the loading of ONNX Runtime (`runtime`).

What comes in: arrays, sizes and numbers that `method` has checked. Algorithms see `backend.xp` (NumPy or CuPy) and the
named kernels below, and never ask which device they are on. Kernels trust their arguments; `nnf.search` checks them.

There is ONE written algorithm for each kernel, implemented twice: the same candidates in the same order, double-buffered
(a pass reads only the field before it), with hashed random numbers. So the result does not depend on the number of
threads. The search counts in whole numbers, exactly: from the same joined features both devices find the same field.

Arrays, all C-contiguous. Features: (H, W, C) float32, channels last. Joined features, which the search compares: (H, W, C)
int16 in fixed point, `ONE` being 1.0. (It takes half the bytes of float32, twice as many go into one operation, and the
distance of patches moves by less than 0.001, far less than what one match is better than the next.) Nearest-neighbour
field (NNF): (H, W, 2) int32, [y, x] holds the absolute (row, column) of the match in the other picture. Distance: (H, W)
float32.

May import: `errors`. NumPy is imported at once; Numba, CuPy and ONNX Runtime only when a backend is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

Array = Any
"""A NumPy or a CuPy array, depending on the backend."""

Size = tuple[int, int]
"""Rows and columns."""

Tick = Callable[[float], None]
"""Is told the share of some work that is done, 0 to 1, as often as the work can tell. What it raises ends the work."""

ONE = 4096
"""1.0 in the fixed point of joined features."""
HALF = 104
"""Half of the range of pixels in whole numbers (see `Backend.pixel_vectors`): three squares of it still fit into 16 bits."""
MOST_PATCH = 7
"""The largest patch size of the search: sums over 49 positions, each at most about 2 ONE^2, fit into 32 bits."""
ROUNDING = 2.0**-20
"""Share of a float32 result that is more than the rounding of a few operations can change."""

HASH_SEED, HASH_ITERATION, HASH_PIXEL, HASH_STEP = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F
"""Factors of the four counters in the hash that gives the random search its numbers (see `hash32` in `kernels.py`)."""
HASH_FIRST_MIX, HASH_SECOND_MIX = 0x2C1B3C6D, 0x297A2D39
"""Factors of the two rounds that mix the bits of that hash."""


class Backend(Protocol):
    """The kernel contract. `a` (HA, WA, C) and `b` (HB, WB, C) are joined features (see `join`), contiguous.

    A `tick` hears from the CPU while a pass runs. (The GPU's passes are short, and nobody waits for them one by one.)

    Patch distance (Liao et al. 2017, section 4.2, as one dot product). For the patch of `patch` x `patch` positions around
    p in `a` and q in `b`, over the n offsets o for which both p + o and q + o exist:
        d(p, q) = - (sum_o  a[p + o] . b[q + o]) / n / ONE^2
    The sum is exact, then it is rounded to float32, as are the quotients. It must stay below 2^31: for unit vectors
    in fixed point it does up to a patch size of `MOST_PATCH`.
    """

    @property
    def name(self) -> str:
        """ "cpu" or "cuda"."""
        ...

    @property
    def index(self) -> int:
        """The number of the device among those of its kind."""
        ...

    @property
    def xp(self) -> Any:
        """The array module."""
        ...

    @property
    def providers(self) -> list[Any]:
        """ONNX Runtime execution providers, with their options."""
        ...

    @property
    def sessions_per_graph(self) -> int:
        """How many sessions of ONNX Runtime to keep for each graph, each for pictures of one size where that helps."""
        ...

    def active(self) -> AbstractContextManager[None]:
        """To enter around work that calls many methods and `xp` between them.

        On a GPU they then run in one stream, ordered after what the calling thread had started before; and what that thread
        starts afterwards is ordered after them. What was current in the thread is so again.
        """
        ...

    def describe(self) -> str:
        """The device in words, for people."""
        ...

    def prepare(self) -> None:
        """Compile or load the kernels. Called before the first use; cheap when repeated."""
        ...

    def asarray(self, array: Array) -> Array:
        """`array`, NumPy or CuPy, as a C-contiguous array of this backend."""
        ...

    def to_host(self, array: Array) -> Array:
        """`array`, of this backend, as a NumPy array."""
        ...

    def pointer(self, array: Array) -> int:
        """The address of the first element, for ONNX Runtime's IOBinding."""
        ...

    def require(self, holds: Array, failure: Exception) -> None:
        """Raise `failure` unless `holds` (one bool) is true: at once, or where reading it would mean to wait for the device
        when the outermost `active` ends."""
        ...

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        """ONNX Runtime's `run_with_iobinding`, from any thread. Outputs on a GPU are to be read in the backend's stream."""
        ...

    def free_memory(self) -> int:
        """Bytes of memory that are free on the device."""
        ...

    def reclaim(self) -> None:
        """Make libraries give back what they hold on a GPU without using it, so that `free_memory` counts it. Takes long."""
        ...

    def project(self, f: Array, matrix: Array) -> Array:
        """(H, W, k) float32: `f` (H, W, C) times `matrix` (C, k), both float32."""
        ...

    def products(self, rows: Array, vector: Array) -> Array:
        """(k,): that of each of `rows` (k, n) with `vector` (n,), all float32. For the inversion's few large arrays."""
        ...

    def mixture(self, weights: Array, rows: Array) -> Array:
        """(n,): the sum of `rows` (k, n), each times its weight of `weights` (k,), all float32."""
        ...

    def channels_last(self, maps: Array) -> Array:
        """(1, C, H, W) float32 as (H, W, C), contiguous."""
        ...

    def join(self, f: Array, g: Array) -> Array:
        """(H, W, 2C) int16: `f` and `g` (H, W, C), each divided by its L2 norm at each position (zero stays zero), times
        `ONE`, rounded to the nearest whole number."""
        ...

    def pixel_vectors(self, pixels: Array, key: bool) -> Array:
        """(H, W, 8) int16 for the search: vectors of pixels (H, W, 3) float32 0..1, as a query or as a key.

        With u = rint((pixel - 1/2) 2 HALF): (u, 1, |u|^2, 0, 0, 0) as a key, and (2 u, -|u|^2, -1, 0, 0, 0) as a query. So the
        product of a query and a key is 2 u.v - |u|^2 - |v|^2 = -|u - v|^2. Five would do, but eight take 16 bytes.
        """
        ...

    def resample(self, nnf: Array, shape_a: tuple[int, int], shape_b: tuple[int, int],
                 scale_a: tuple[float, float], scale_b: tuple[float, float], tick: Tick | None = None) -> Array:  # fmt: skip
        """The field between pictures `scale_a` and `scale_b` times as large (for rows and columns), of the sizes given.

        With p = (y + .5) / scale_a, c = floor(p) and r = p - c - .5, in float64:
            out[y, x] = floor((nnf[c] + .5 + r) * scale_b), clamped to the picture (c likewise)
        """
        ...

    def distance(self, a: Array, b: Array, nnf: Array, patch: int, tick: Tick | None = None) -> Array:
        """d(p, nnf[p]) for each p: (HA, WA) float32."""
        ...

    def propagate(self, a: Array, b: Array, nnf: Array, distance: Array, patch: int, jump: int, max_product: float,
                  labels: tuple[Array, Array] | None = None, offered: Array | None = None, tick: Tick | None = None,
                  ) -> tuple[Array, Array]:  # fmt: skip
        """One propagation pass: a new (nnf, distance); the arguments stay as they were.

        The candidates of p are nnf[p + o] - o, for o = (-jump, 0), (jump, 0), (0, -jump), (0, jump) in this order, where
        p + o lies in `a` and the candidate in `b`. They come from the field as it was before the pass. A candidate is
        accepted only if it is strictly better. No a[p] . b[q] may exceed `max_product` (in units of 1 / ONE^2): by this
        bound a candidate is given up as soon as it cannot win.
        `labels`, (HA, WA) and (HB, WB) int32: positions p and q match only if both labels are equal or one is negative.
        `offered`, a field: what an earlier pass with this jump began from, everything else being equal. What a neighbour
        offered then is not tried again: it was refused, or accepted, and the best has only got better. So the result is
        the same without, only later.
        """
        ...

    def random_search(self, a: Array, b: Array, nnf: Array, distance: Array, patch: int, search_radius: int, seed: int,
                      iteration: int, max_product: float, labels: tuple[Array, Array] | None = None,
                      tick: Tick | None = None) -> tuple[Array, Array]:  # fmt: skip
        """One random-search pass: a new (nnf, distance); the arguments stay as they were.

        Step k = 0, 1, .. with r = search_radius, search_radius // 2, .. while r >= 1. The candidate of step k is
        best + (s(2k), s(2k + 1)), clamped to `b`, where best is the best match so far, s(j) = floor(h(j) (2r + 1) / 2^32)
        - r, and h(j) is the hash of (seed, iteration, y * WA + x, j), see `hash32` in `kernels.py`.
        Accepted only if strictly better. `labels` as in `propagate`.
        """
        ...

    def vote(self, nnf: Array, b: Array, patch: int, tick: Tick | None = None) -> Array:
        """(HA, WA, C): the mean of b[nnf[p + o] - o] over the offsets o of the patch for which both positions exist."""
        ...

    # Gradient-domain painting (see `method/seams.py`). Pictures are (H, W, 3) float32 in 0..1.

    def steepness(self, pixels: Array) -> Array:
        """Return how steep a picture is: (H, W) float32, the largest squared gradient within one position.

        The gradient is Sobel's, a pixel, with the picture continued at its borders. Its square is the sum over both axes and
        the three channels.
        """
        ...

    def seams(self, nnf: Array, b: Array, picture: Array, patch: int, tick: Tick | None = None) -> Array:
        """Return by how much the voted differences exceed those of `picture`: (HA, WA, 8) float32.

        `picture` is the vote of `b` through `nnf`, both with `patch`. The forward differences of `b` (zero at its border) are
        voted like its pixels, so that the vote does not know of the jump between two pieces. Channels 0 to 2 are the excess
        along rows, 3 to 5 that along columns, 6 and 7 the squared lengths of both. All are zero at the border
        of the picture, and where all patches concerned move by the same offset.
        """
        ...

    def keep_edges(self, steepness: Array, seams: Array, edge: float, jump: float, labels: Array | None = None,
                   tick: Tick | None = None) -> None:  # fmt: skip
        """Reduce `seams` (H, W, 8) in place to the differences that are no edges.

        `steepness` (h, w), of the content in another size, is interpolated. A difference is multiplied by
        1 / (1 + (s / threshold)^2) with the squared length s: by `edge`, of the steepness there; and by `jump`, of the largest
        difference within one position along the same axis. The smaller factor holds. Where two `labels` (H, W) int32 meet,
        it is zero.
        """
        ...

    def divergence(self, seams: Array) -> Array:
        """Return (H, W, 3) float32: what leaves each position of the vector field in channels 0 to 5 of `seams` (H, W, 8).

        The backward difference of 0 to 2 along rows, plus that of 3 to 5 along columns.
        """
        ...

    def solve_columns(self, shifts: Array, f: Array) -> None:
        """Solve (D + shift) u = f for each column of `f` (H, W), in place: D is the second difference with free ends.

        D has -1 beside its diagonal, and a diagonal of 2, but 1 in the first and in the last row. `shifts` (W,), all
        positive. Both are float32; H is at least 2.
        """
        ...

    def correct(self, picture: Array, correction: Array, columns: Array) -> Array:
        """Return a picture (H, W, 3) plus a correction, each of whose rows is `correction[y, columns]`, within 0..1.

        A change c moves a value v by c r / (c^4 + r^4)^(1/4): by c as long as it is small, and by less than r. This r is the
        distance of v to the end (0 or 1) that lies ahead, at most twice that to the nearer end. So black ink and white paper
        stay what they are, and highlights end without an edge. `columns` (W,) int32.
        """
        ...

    # Multigrid, for quadratic forms sum_i m_i u_i^2 + sum_(i, j) k_ij (u_i - u_j)^2 over pairs of neighbours on a grid. All
    # float32. A form (3 or 5, H, W), with odd H and W: the mass m of each position, its couplings k to the right and down, and
    # on coarser grids to the right below ("falling") and from its right to its lower neighbour ("rising"); zero where there is
    # no such neighbour. A is the form's matrix: A u is half its gradient. `f` and `u` (3, H, W): three channels.

    def coarsen(self, form: Array) -> tuple[Array, Array]:
        """The grid of every second position, of `coarse_sides`: (weights (8, HC, WC), form (5, HC, WC)).

        Interpolation P (Dendy 1982): a position between two coarse ones takes their mean, weighted by its couplings to either
        side, those of all three lines; one amid four takes the mean of its neighbours, weighted likewise. Planes: the weights
        of the left and the right coarse position, at the left one; of the upper and the lower, at the upper; of the four at
        the corners of a cell, row by row, at the first. Negative couplings count as zero for the weights, which sum to one.
        The form is P^T A P (Galerkin). A coupling k between fine positions whose weights differ by q contributes
        -k q_a q_b to that between the corners a and b; the mass is P^T m, and 1 where the sides were made odd.
        """
        ...

    def factor(self, form: Array) -> Array:
        """(2, H, W): 1 / D of L D L^T, the system along each row with the rest held; then the same along each column. Below
        its diagonal, L is minus the coupling times the 1 / D of the position before."""
        ...

    def relax(self, form: Array, inverses: Array, f: Array, u: Array, after: bool) -> None:
        """Smooth the error of A u = f in place: solve even rows, odd rows, even columns and odd columns, with `inverses`
        from `factor`. `after`: the other way round; else from u = 0, whatever it held."""
        ...

    def residual(self, form: Array, f: Array | None, u: Array, out: Array) -> None:
        """out = f - A u, by differences of neighbours, which float32 keeps where couplings are large. f = 0 for None."""
        ...

    def restriction(self, weights: Array, r: Array, out: Array) -> None:
        """out = P^T r, zero where the sides were made odd."""
        ...

    def prolongation(self, weights: Array, c: Array, u: Array) -> None:
        """u += P c."""
        ...

    def combine(self, a: float, x: Array, b: float, y: Array) -> None:
        """y = a x + b y, in place, for arrays of three axes."""
        ...
