"""Tests of bands on the CPU backend: a kernel that runs on a range of rows writes no other rows."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from analogy.backends.compiled import KERNELS
from analogy.backends.cpu import CpuBackend

FIRST, END = 3, 8
UNTOUCHED = 77


class OneBand(CpuBackend):
    """Backend that runs only rows FIRST to END - 1 of a kernel; the outputs begin as UNTOUCHED."""

    def __init__(self, inputs):
        super().__init__(1)
        self._inputs = inputs

    def _bands(self, rows, kernel, *args, tick=None):
        arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
        for array in arrays:
            if not any(array is given for given in self._inputs):
                array[:] = UNTOUCHED
        module = next(name for name, kernels in KERNELS.items() if kernel in kernels)
        run = self._load(module)[kernel]
        run(FIRST, END, *(arg.ctypes.data if isinstance(arg, np.ndarray) else arg for arg in args))


def arguments(kernel: str, rng: np.random.Generator) -> tuple:
    """Return arguments with which a method of the backend returns a result of 11 rows."""
    size_a, size_b = (11, 9), (10, 12)
    a, b = (rng.integers(-2, 3, (*size, 8)).astype(np.int16) for size in (size_a, size_b))
    nnf = np.stack([rng.integers(0, n, size_a) for n in size_b], axis=2).astype(np.int32)
    pixels, source = rng.random((*size_a, 3), np.float32), rng.random((*size_b, 3), np.float32)
    distance = oracle.distance(a, b, nnf, 3)
    return {
        "distance": (a, b, nnf, 3),
        "propagate": (a, b, nnf, distance, 3, 2, 1e6),
        "random_search": (a, b, nnf, distance, 3, 5, 0, 0, 1e6),
        "vote": (nnf, source, 3),
        "channels_last": (rng.random((1, 5, *size_a), np.float32),),
        "join": (rng.random((*size_a, 4), np.float32), rng.random((*size_a, 4), np.float32)),
        "pixel_vectors": (pixels, True),
        "resample": (nnf[:6, :5].copy(), size_a, (20, 24), (2, 2), (2, 2)),
        "seams": (nnf, source, pixels, 3),
        "divergence": (rng.random((*size_a, 8), np.float32),),
        "correct": (pixels, rng.normal(0, 0.3, pixels.shape).astype(np.float32), np.arange(9, dtype=np.int32)),
    }[kernel]


@pytest.mark.parametrize(
    "kernel",
    ["distance", "propagate", "random_search", "vote", "channels_last", "join", "pixel_vectors", "resample", "seams",
     "divergence", "correct"],
)  # fmt: skip
def test_a_band_of_a_kernel_has_its_rows_of_the_result_and_leaves_the_others_alone(kernel: str, rng) -> None:
    given = arguments(kernel, rng)
    whole, band = (getattr(backend, kernel)(*given) for backend in (CpuBackend(1), OneBand(given)))
    for expected, found in zip(*((x if isinstance(x, tuple) else (x,)) for x in (whole, band)), strict=True):
        assert expected.shape[0] == 11
        np.testing.assert_array_equal(found[FIRST:END], expected[FIRST:END])
        assert (found[:FIRST] == UNTOUCHED).all()
        assert (found[END:] == UNTOUCHED).all()


def test_a_band_of_columns_is_solved_in_its_place_and_nothing_around_it_changes(rng) -> None:
    h, w = 6, 9
    shifts, f = rng.random(w, np.float32), rng.random((h, w), np.float32)
    whole = f.copy()
    CpuBackend(1).solve_columns(shifts, whole)
    # The row above the array and the row below it stand for other data, and must not change.
    around, excess = (np.full((h + 2, w), UNTOUCHED, np.float32) for _ in range(2))
    around[1:-1] = f
    run = CpuBackend(1)._load("seam_kernels")["solve_columns"]
    run(FIRST, END, *(array.ctypes.data for array in (shifts, around[1:], excess[1:])), h, w)
    expected = np.pad(f, ((1, 1), (0, 0)), constant_values=UNTOUCHED)
    expected[1:-1, FIRST:END] = whole[:, FIRST:END]
    np.testing.assert_array_equal(around, expected)
    assert (np.delete(excess[1:-1], np.s_[FIRST:END], axis=1) == UNTOUCHED).all()
    assert (excess[[0, -1]] == UNTOUCHED).all()


def test_a_blend_in_many_bands_is_the_same_as_in_one(rng, monkeypatch) -> None:
    content, f, g = (rng.standard_normal((11, 9, channels)).astype(np.float32) for channels in (5, 4, 4))
    content[7] *= 5  # the largest norm, by which all bands scale their weights, is in one band
    whole = CpuBackend(2).blend(content, f, g, 0.8, 300.0, 0.05)
    monkeypatch.setattr("analogy.backends.cpu._BLENDED", 2 * 9 * 4)
    assert np.array_equal(CpuBackend(2).blend(content, f, g, 0.8, 300.0, 0.05), whole)
