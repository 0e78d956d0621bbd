"""The kernel contract: what every backend promises (`Backend`), and the constants that its implementations share.

Each kernel is one written algorithm, implemented twice: the same candidates in the same order,
double-buffered (a pass reads only the field of the pass before), with hashed random numbers. So the
result does not depend on the number of threads. The search computes exactly, in whole numbers: from
the same joined features both devices find the same field.

Algorithms use `Backend.xp` and the kernels below, and do not ask which device they run on. (Only
`pair.as_seen` does, as each device shrinks pictures in its own way.) Kernels trust their arguments;
`method` checks them before.

All arrays are C-contiguous:
* Features are (H, W, C) float32, channels last.
* Joined features, which the search compares, are (H, W, C) int16 in fixed point, in which `ONE` stands for 1.0. Compared with
  float32 they take half the bytes, and twice as many fit into one operation. They move the distance of patches by less than
  0.001, far less than one match is better than the next.
* A nearest-neighbour field (NNF) is (H, W, 2) int32: [y, x] holds the absolute (row, column) of the match in the other
  picture.
* Patch distances are (H, W) float32.
* The other picture of a field may be several pictures below each other in one array, its frames. `frames` is (K, 3) int32,
  from the top: the first row of each, the end of its rows, and its columns, which begin at the left. Nothing is matched or
  averaged across the border of a frame. Without frames the array is one picture.
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
"""Half of the range of pixels in whole numbers (see `Backend.pixel_vectors`): three squares of it still fit into 16 bits."""
MOST_PATCH = 7
"""Largest patch size of the search, in positions: sums over 49 positions, each at most about 2 ONE^2, fit into 32 bits."""
ROUNDING = 2.0**-20
"""Share of a float32 result that is more than the rounding of a few operations can change."""

HASH_SEED, HASH_ITERATION, HASH_PIXEL, HASH_STEP = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F
"""Factors of the four counters in the hash that gives the random search its numbers (see `hash32` in `kernels.py`)."""
HASH_FIRST_MIX, HASH_SECOND_MIX = 0x2C1B3C6D, 0x297A2D39
"""Factors of the two rounds that mix the bits of that hash."""


T = TypeVar("T")


class Pass(NamedTuple):
    """A pass of the search that a generator asks `Backend.together` for: a method of the backend, and its arguments."""

    kind: Literal["distance", "propagate", "random_search"]
    arguments: dict[str, Any]


Passes = Generator[Pass, Any, T]
"""Work that yields the passes that it needs, is sent what each returns, and returns a T."""


class Backend(Protocol):
    """A device with its array module and its kernels.

    In the search, `a` (HA, WA, C) and `b` (HB, WB, C) are joined features (see `join`). A `tick` is
    called by the CPU backend while a pass runs. The passes of a GPU are short, and the host does
    not wait for each: there it is not called.

    The patch distance is that of Liao et al. 2017, section 4.2, as one dot product. For the patches
    of `patch` x `patch` positions around p in `a` and q in `b`, over the n offsets o for which both
    p + o and q + o exist, the latter in the frame of q:

        d(p, q) = - (sum_o  a[p + o] . b[q + o]) / n / ONE^2

    The sum is exact. It is rounded to float32, as are both quotients. It must stay below 2^31, as
    it does for unit vectors in fixed point up to a patch size of `MOST_PATCH`.
    """

    @property
    def name(self) -> str:
        """Name of the kind of device: "cpu" or "cuda"."""
        ...

    @property
    def index(self) -> int:
        """Number of the device among those of its kind."""
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
        """Number of ONNX Runtime sessions to keep for each graph, each for pictures of one size where that helps."""
        ...

    def active(self) -> AbstractContextManager[None]:
        """Return a context for work that calls many methods, and uses `xp` between them.

        On a GPU all of the work goes through one stream. It is ordered after what the calling
        thread had started before, and what this thread starts later is ordered after the work. At
        the end the thread's device and stream are current again.
        """
        ...

    def describe(self) -> str:
        """Return the device in words, for people."""
        ...

    def prepare(self) -> None:
        """Compile or load the kernels. This is called before the first use, and is cheap when repeated."""
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
        """Raise `failure` if one of `maps`, float32, has a value that is infinite or not a number.

        Where to know this would mean to wait for the device, it is raised when the outermost `active` ends.
        """
        ...

    def run_network(self, session: Any, binding: Any, options: Any) -> None:
        """Call ONNX Runtime's `run_with_iobinding`, from any thread. Outputs on a GPU must be read in the backend's stream."""
        ...

    def free_memory(self) -> int:
        """Return how many bytes of memory are free on the device."""
        ...

    def reclaim(self) -> None:
        """Make libraries give back the GPU memory that they hold unused, so that `free_memory` counts it. This takes long."""
        ...

    def project(self, f: Array, matrix: Array) -> Array:
        """Return `f` (H, W, C) times `matrix` (C, k) as (H, W, k), all float32."""
        ...

    def products(self, rows: Array, vector: Array) -> Array:
        """Return the dot product of each of `rows` (k, n) with `vector` (n,) as (k,), all float32, for few but long rows."""
        ...

    def mixture(self, weights: Array, rows: Array) -> Array:
        """Return the sum of `rows` (k, n), each times its weight of `weights` (k,), as (n,), all float32."""
        ...

    def channels_last(self, maps: Array) -> Array:
        """Return maps (1, C, H, W) float32 as (H, W, C), C-contiguous."""
        ...

    def join(self, f: Array, g: Array) -> Array:
        """Return the joined features of `f` and `g` (H, W, C) float32: (H, W, 2C) int16.

        At each position both are divided by their L2 norm (zero stays zero), multiplied by `ONE`,
        and rounded to the nearest whole number.
        """
        ...

    def blend(self, content: Array, f: Array, g: Array, alpha: float, steepness: float, threshold: float) -> Array:
        """Return f W + g (1 - W) for `f` and `g` (H, W, k), with a weight W for each position.

        W = alpha / (1 + exp(-steepness (M - threshold))), where M is the squared norm of `content` (H, W, C) over its
        channels, scaled to 0..1 over the picture; it is 0 everywhere if all norms are equal. All are float32.
        """
        ...

    def pixel_vectors(self, pixels: Array, key: bool) -> Array:
        """Return vectors of pixels (H, W, 3) float32 in 0..1 for the search: (H, W, 8) int16, as a query or as a key.

        With u = rint((pixel - 1/2) 2 HALF) the vector of a key is (u, 1, |u|^2, 0, 0, 0), and that
        of a query is (2 u, -|u|^2, -1, 0, 0, 0). So the product of a query and a key is 2 u.v -
        |u|^2 - |v|^2 = -|u - v|^2. The last three channels are for the caller, who may add terms of
        its own to the product; zero as they are, they change nothing.
        """
        ...

    def resample(self, nnf: Array, shape_a: tuple[int, int], shape_b: tuple[int, int],
                 scale_a: tuple[float, float], scale_b: tuple[float, float], tick: Tick | None = None) -> Array:  # fmt: skip
        """Return the field between pictures of sizes `shape_a` and `shape_b`, `scale_a` and `scale_b` times as large.

        Scales are for rows and columns. With p = (y + .5) / scale_a, c = floor(p) and r = p - c - .5, in float64:
            out[y, x] = floor((nnf[c] + .5 + r) * scale_b)
        The result is clamped to picture B, and c to the field.
        """
        ...

    def distance(self, a: Array, b: Array, nnf: Array, patch: int, frames: Array | None = None, tick: Tick | None = None,
                 ) -> Array:  # fmt: skip
        """Return the patch distance d(p, nnf[p]) of each position p: (HA, WA) float32."""
        ...

    def propagate(self, a: Array, b: Array, nnf: Array, distance: Array, patch: int, jump: int, max_product: float,
                  labels: tuple[Array, Array] | None = None, frames: Array | None = None, offered: Array | None = None,
                  tick: Tick | None = None) -> tuple[Array, Array]:  # fmt: skip
        """Run one propagation pass, and return a new (nnf, distance). The arguments stay as they were.

        The candidates of p are nnf[p + o] - o, for o = (-jump, 0), (jump, 0), (0, -jump), (0, jump)
        in this order, where p + o lies in `a` and the candidate in the frame of nnf[p + o]. They
        come from the field as it was before the pass. A candidate is accepted only if its distance
        is strictly smaller than that of the best match so far.

        The best match so far is at first nnf[p], with the distance that the caller gives. A kernel
        never computes the distance of nnf[p] again: `distance` may hold another number, such as one
        that no candidate can reach, and this number is what is compared, and what is returned where
        no candidate is accepted. Callers rely on that to hold matches.

        max_product   upper bound of every a[p] . b[q], in units of 1 / ONE^2; with it a kernel may give a candidate up as soon
                      as it cannot be accepted
        labels        (HA, WA) and (HB, WB) int32: p and q match only if their labels are equal, or one of them is negative
        offered       the field from which an earlier pass with this jump began, everything else being equal. A candidate
                      that a neighbour offered then is not tried again: it was refused or accepted, and the best match has
                      only become better since. The result is the same as without, but comes sooner
        """
        ...

    def random_search(self, a: Array, b: Array, nnf: Array, distance: Array, patch: int, search_radius: int, seed: int,
                      iteration: int, max_product: float, labels: tuple[Array, Array] | None = None,
                      frames: Array | None = None, tick: Tick | None = None) -> tuple[Array, Array]:  # fmt: skip
        """Run one random-search pass, and return a new (nnf, distance). The arguments stay as they were.

        Step k = 0, 1, .. uses the radius r = search_radius, search_radius // 2, .. while r >= 1.
        Its candidate is best + (s(2k), s(2k + 1)), clamped to the frame of nnf[p], where best is
        the best match so far, s(j) = floor(h(j) (2r + 1) / 2^32) - r, and h(j) is the hash of
        (seed, iteration, y * WA + x, j) (see `hash32` in `kernels.py`). A candidate is accepted
        only if its distance is strictly smaller than that of the best match so far.

        As in `propagate`, a kernel never computes the distance of nnf[p] again: what the caller
        gives is what is compared. `max_product` and `labels` are as in `propagate`.
        """
        ...

    def together(self, works: Sequence[Passes[T]]) -> list[T]:
        """Do several works of passes that do not depend on each other, and return what they return.

        On a GPU passes of the same kind that two works ask for at the same time are one launch.
        """
        ...

    def vote(self, nnf: Array, b: Array, patch: int, frames: Array | None = None, tick: Tick | None = None) -> Array:
        """Return the votes (HA, WA, C): the mean of b[nnf[p + o] - o] over the patch.

        The offsets o are those of the patch for which p + o exists, and nnf[p + o] - o in the frame
        of nnf[p + o]. `b` is (HB, WB, C) float32.
        """
        ...

    # Gradient-domain painting (see `method/seams.py`). Pictures are (H, W, 3) float32 in 0..1.

    def steepness(self, pixels: Array) -> Array:
        """Return how steep a picture is: (H, W) float32, the largest squared gradient within one position.

        The gradient is Sobel's, per pixel, with the picture continued at its borders. Its square is
        summed over both axes and the three channels.
        """
        ...

    def seams(self, nnf: Array, b: Array, picture: Array, patch: int, frames: Array | None = None,
              tick: Tick | None = None) -> Array:  # fmt: skip
        """Return by how much the voted differences exceed the differences of `picture`: (HA, WA, 8) float32.

        `picture` is the vote of `b` through `nnf`, both with `patch`. The forward differences of
        `b` (zero at the border of a frame) are voted like its pixels, so that the vote does not
        know of the jump between two pieces. Channels 0 to 2 are the excess along rows, channels 3
        to 5 the excess along columns, and channels 6 and 7 the squared lengths of both. All are
        zero at the border of the picture, and where all patches concerned move by the same offset.
        Frames must lie so far apart that patches from two of them never do.
        """
        ...

    def keep_edges(self, steepness: Array, seams: Array, edge: float, jump: float, labels: Array | None = None,
                   tick: Tick | None = None) -> None:  # fmt: skip
        """Reduce `seams` (H, W, 8) in place to the differences that are no edges.

        `steepness` (h, w), of the content in another size, is interpolated. A difference is
        multiplied by 1 / (1 + (s / threshold)^2), where s is a squared length. Of two such factors
        the smaller one is taken: one with the steepness as s and `edge` as the threshold; one with
        the largest difference within one position along the same axis, and `jump`. Where two
        `labels` (H, W) int32 meet, the factor is zero.
        """
        ...

    def divergence(self, seams: Array) -> Array:
        """Return what leaves each position of the vector field in channels 0 to 5 of `seams` (H, W, 8): (H, W, 3) float32.

        It is the backward difference of channels 0 to 2 along rows, plus that of channels 3 to 5
        along columns.
        """
        ...

    def solve_columns(self, shifts: Array, f: Array) -> None:
        """Solve (D + shift) u = f for each column of `f` (H, W), in place.

        D is the second difference with free ends: it has -1 beside its diagonal, and a diagonal of
        2, but 1 in the first and in the last row. `shifts` (W,) are all positive. Both are float32,
        and H is at least 2.
        """
        ...

    def correct(self, picture: Array, correction: Array, columns: Array) -> Array:
        """Return a picture (H, W, 3) plus a correction, within 0..1. Row y of the correction is `correction[y, columns]`.

        A change c moves a value v by c r / (c^4 + r^4)^(1/4): by c as long as it is small, and by
        less than r. This r is the distance of v to the end (0 or 1) towards which c leads, or twice
        the distance to the nearer end if that is less. So black ink and white paper stay what they
        are, and highlights end without an edge. `columns` is (W,) int32.
        """
        ...

    # Multigrid, for quadratic forms sum_i m_i u_i^2 + sum_(i, j) k_ij (u_i - u_j)^2 over pairs of
    # neighbours on a grid. All arrays are float32. A form is (3 or 5, H, W), with odd H and W. Its
    # planes are the mass m of each position, its couplings k to the right and down, and on coarser
    # grids also to the neighbour right below ("falling") and from its right to its lower neighbour
    # ("rising"). A coupling is zero where there is no such neighbour. A is the form's matrix: A u
    # is half the form's gradient. `f` and `u` (3, H, W) are three channels.

    def coarsen(self, form: Array) -> tuple[Array, Array]:
        """Return the grid of every second position, of `coarse_sides`: (weights (8, HC, WC), form (5, HC, WC)).

        The interpolation P is that of Dendy 1982. A position between two coarse ones takes their
        mean, weighted by the sums of its couplings to either side. A position amid four takes the
        mean of its neighbours, weighted likewise. Planes 0 and 1 are the weights of the left and
        the right coarse position, stored at the left one; planes 2 and 3 those of the upper and the
        lower, at the upper one; planes 4 to 7 those of the corners of a cell, row by row, at the
        first corner. Negative couplings count as zero for the weights, which sum to one.

        The form is P^T A P (Galerkin). A coupling k between fine positions whose weights differ by
        q contributes -k q_a q_b to the coupling between the corners a and b. The mass is P^T m, and
        1 where the sides were made odd.
        """
        ...

    def factor(self, form: Array) -> Array:
        """Return 1 / D of the factors L D L^T of the system along each row, with the rest held, and along each column.

        The result is (2, H, W): first for rows, then for columns. Below its diagonal, L is minus
        the coupling times the 1 / D of the position before.
        """
        ...

    def steps(self) -> AbstractContextManager[None]:
        """Return a context for steps of multigrid: `relax`, `residual`, `restriction` and `prolongation`.

        A GPU may do steps on small grids together when the context ends. Nothing else may be called within it.
        """
        ...

    def relax(self, form: Array, inverses: Array, f: Array, u: Array, after: bool) -> None:
        """Smooth the error of A u = f in place: solve even rows, odd rows, even columns and odd columns, in this order.

        inverses   what `factor` returns for the form
        after      solve in the opposite order; otherwise begin with u = 0, whatever `u` holds
        """
        ...

    def residual(self, form: Array, f: Array | None, u: Array, out: Array) -> None:
        """Write f - A u to `out`, with f = 0 for None.

        It is computed by differences of neighbours, which float32 keeps where couplings are large.
        """
        ...

    def restriction(self, weights: Array, r: Array, out: Array) -> None:
        """Write P^T r to `out`, and zero where the sides were made odd."""
        ...

    def prolongation(self, weights: Array, c: Array, u: Array) -> None:
        """Add P c to `u` in place."""
        ...

    def combine(self, a: float, x: Array, b: float, y: Array) -> None:
        """Replace `y` by a x + b y, for arrays of three axes."""
        ...
