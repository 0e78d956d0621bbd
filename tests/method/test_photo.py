"""Photo refinement: comparison with a direct solution of the system, and colours at edges."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from analogy.errors import ImageError
from analogy.method import photo

LAMBDA, EPSILON = 0.8, 1e-4  # as in the authors' program


def solve_directly(guide, g):
    """Solve (1 + sum_j k_ij) u_i - sum_j k_ij u_j = g_i by factorisation in float64."""
    sparse = pytest.importorskip("scipy.sparse", reason="compares with SciPy's solution: install the extra ci")
    linalg = pytest.importorskip("scipy.sparse.linalg")
    guide = guide.astype(np.float64)
    index = np.arange(guide.size).reshape(guide.shape)
    one = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    other = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    k = LAMBDA / (abs(guide.ravel()[one] - guide.ravel()[other]) + EPSILON)
    n = guide.size
    w = sparse.coo_matrix((np.r_[k, k], (np.r_[one, other], np.r_[other, one])), shape=(n, n))
    a = sparse.diags(1 + np.asarray(w.sum(axis=1)).ravel()) - w
    return linalg.spsolve(a.tocsc(), g.ravel().astype(np.float64)).reshape(guide.shape)


def photograph(rng, height, width):
    """Return a grey picture in 0..1, in steps of 1 / 255.

    It has shapes with sharp edges, shading, noise, and clipped white.
    """
    y, x = np.mgrid[:height, :width] / max(height, width)
    grey = 0.3 + 0.4 * x + 0.3 * np.sin(9 * y + 5 * x * x)
    for _ in range(12):
        cy, cx, r, value = rng.random(4) * (1, 1, 0.25, 1)
        grey = np.where((y - cy) ** 2 + (x - cx) ** 2 < r * r, value + 0.2 * (x - cx), grey)
    grey += np.where(x + y > 0.8, 0.1, 0.003) * rng.standard_normal((height, width))
    grey[:, -1] = grey[0] = 0.2  # lines one pixel wide at two borders
    return (np.rint(np.clip(grey * 1.2, 0, 1) * 255) / 255).astype(np.float32)


def guides(rng):
    y, x = np.mgrid[:97, :120]
    return {
        "photograph": photograph(rng, 150, 201),
        "flat": np.full((64, 80), 0.5, np.float32),
        "one pixel": np.full((1, 1), 0.5, np.float32),
        "one row": photograph(rng, 1, 90),
        "one column": photograph(rng, 90, 1),
        "two columns": photograph(rng, 75, 2),
        "noise": rng.random((60, 77), np.float32),
        "stripes of one pixel": (x % 2 * 0.8).astype(np.float32),
        "stripes of three pixels": (y // 3 % 2 * 0.8).astype(np.float32),
    }


def smoothed(wls, g, **options):
    wls.g[...] = g
    return wls.solve(**options)


@pytest.mark.parametrize("name", guides(np.random.default_rng(0)))
def test_smoothing_is_within_a_thousandth_of_the_direct_solution(backend, rng, name):
    guide = guides(rng)[name]
    stripes = np.where(np.arange(guide.shape[1]) % 40 < 20, 1, -1) + 0 * guide
    g = np.stack([rng.uniform(-1, 1, guide.shape), stripes, guide]).astype(np.float32)
    u = backend.to_host(smoothed(photo.WLS(backend, backend.asarray(guide)), backend.asarray(g)))
    assert u.dtype == np.float32
    for found, wanted in zip(u, g, strict=True):
        assert abs(found - solve_directly(guide, wanted)).max() < 1e-3


def noise(rng, shape):
    return rng.uniform(-1, 1, (3, *shape)).astype(np.float32)


def test_conjugate_gradients_with_multigrid_take_at_most_35_iterations(cpu, rng):
    # Without a preconditioner, conjugate gradients take hundreds of iterations.
    guide = photograph(rng, 300, 400)
    wls = photo.WLS(cpu, guide)
    smoothed(wls, noise(rng, guide.shape))
    assert wls.iterations <= 35


def shaded(rng, height, width):
    """Return a picture (height, width, 3) uint8 with shading, an edge and noise."""
    y, x = np.mgrid[:height, :width] / height
    grey = np.stack([128 + 90 * np.sin(9 * y + k * x * x) + 20 * (x + y > 1) for k in (3, 5, 7)], axis=2)
    return np.clip(grey + rng.normal(0, 4, grey.shape), 0, 255).astype(np.uint8)


def test_a_solution_for_8_bits_is_within_half_a_level_in_half_of_the_iterations(cpu, rng):
    a, a_prime = shaded(rng, 300, 400).astype(np.float32), shaded(rng, 400, 300).swapaxes(0, 1)
    change = ((a_prime - a) / 255).transpose(2, 0, 1)
    wls = photo.WLS(cpu, a.mean(axis=2) / 255)
    exact = smoothed(wls, change)
    whole = wls.iterations
    nearly = smoothed(wls, change, tolerance=0.25 / 255)
    assert abs(nearly - exact).max() < 0.5 / 255
    assert wls.iterations <= whole / 2


def test_a_photograph_is_refined_in_less_than_500_launches(simulated, rng, monkeypatch):
    from simulator import device, launch

    launches = 0

    def counting(function):
        def counted(*args, **kwargs):
            nonlocal launches
            launches += 1
            return function(*args, **kwargs)

        return counted

    monkeypatch.setattr(launch.Kernel, "__call__", counting(launch.Kernel.__call__))
    monkeypatch.setattr(device, "run", counting(device.run))  # counts CuPy's own kernels
    a = shaded(rng, 448, 448)
    photo.refine(simulated, a, 255 - a[..., ::-1])
    assert 100 < launches < 500


def test_an_inexact_solution_is_logged(cpu, rng, caplog, monkeypatch):
    monkeypatch.setattr(photo, "MOST_ITERATIONS", 2)
    caplog.set_level(logging.INFO, "analogy")
    guide = photograph(rng, 60, 80)
    smoothed(photo.WLS(cpu, guide), noise(rng, guide.shape))
    assert "stopped after 2 iterations" in caplog.text


def test_the_refined_picture_is_a_plus_wls_of_a_prime_minus_wls_of_a(backend, rng):
    a = np.repeat(np.rint(photograph(rng, 60, 91)[..., None] * 255), 3, axis=2)
    a = np.clip(a + np.array([20, 0, -30]), 0, 255).astype(np.uint8)
    a_prime = rng.integers(0, 256, a.shape, dtype=np.uint8)
    refined = photo.refine(backend, a, a_prime)
    assert isinstance(refined, backend.xp.ndarray)
    refined = backend.to_host(refined)
    assert refined.dtype == np.uint8
    guide = (a @ np.array([0.299, 0.587, 0.114])) / 255
    for c in range(3):
        smooth = [solve_directly(guide, picture[..., c] / 255) for picture in (a, a_prime)]
        expected = np.clip(a[..., c] / 255 + smooth[1] - smooth[0], 0, 1) * 255
        assert abs(refined[..., c] - expected).max() < 0.5 + 0.255


def test_refining_a_picture_by_itself_changes_nothing(backend, rng):
    for dtype, white in ((np.uint8, 255), (np.uint16, 65535)):
        a = rng.integers(0, white + 1, (40, 50, 3)).astype(dtype)
        refined = backend.to_host(photo.refine(backend, a, a))
        assert refined.dtype == dtype
        np.testing.assert_array_equal(refined, a)


def test_refine_leaves_its_arguments_unchanged(cpu, rng):
    a, a_prime = rng.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    before = a.copy(), a_prime.copy()
    photo.refine(cpu, a, a_prime)
    np.testing.assert_array_equal((a, a_prime), before)


@pytest.mark.parametrize("misplaced", [-5, 5])
def test_new_colours_end_at_the_edges_without_halos(cpu, misplaced):
    # A is dark at the left and bright at the right. A' has other colours at the left and at the
    # right, and the border between them is blurred and misplaced, as in a voted picture.
    x = np.arange(160)
    step = np.where(x < 80, 0, 1)
    soft = np.clip((x - 80 - misplaced) / 8 + 0.5, 0, 1)
    old, new = np.array([[40, 60, 90], [200, 210, 220]]), np.array([[110, 40, 30], [240, 200, 90]])
    a, a_prime = ((old[0] + (old[1] - old[0]) * step[:, None]), (new[0] + (new[1] - new[0]) * soft[:, None]))
    a, a_prime = (np.repeat(np.rint(p)[None], 120, axis=0).astype(np.uint8) for p in (a, a_prime))
    refined = photo.refine(cpu, a, a_prime)[60].astype(int)
    # On each side of the edge of A, all pixels have nearly the new colour of that side.
    for side, colour in ((refined[:80], new[0]), (refined[80:], new[1])):
        assert np.ptp(side, axis=0).max() <= 8
        assert abs(side - colour).max() <= 30
    assert abs(refined[80] - refined[79] - (new[1] - new[0])).max() <= 30


def test_refinement_adds_the_texture_of_a_to_the_colours_of_a_prime(cpu, rng):
    texture = rng.integers(-20, 21, (60, 80, 1))
    a = np.clip(np.array([90, 120, 150]) + texture, 0, 255).astype(np.uint8)
    a_prime = np.full_like(a, 0) + np.array([160, 100, 60], np.uint8)  # like a vote that has lost the texture
    refined = photo.refine(cpu, a, a_prime)
    left = refined.astype(float) - refined.mean(axis=(0, 1)) - texture
    assert abs(left).mean() < 5
    assert abs(refined.mean(axis=(0, 1)) - (160, 100, 60)).max() < 3


@pytest.mark.parametrize(
    "a, a_prime",
    [
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)),
        (np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)),
        (np.zeros((0, 9, 3), np.uint8), np.zeros((0, 9, 3), np.uint8)),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9, 3), np.uint16)),
        (np.zeros((9, 9, 3), np.float32), np.zeros((9, 9, 3), np.float32)),
    ],
)
def test_arrays_that_cannot_be_refined_are_refused(cpu, a, a_prime):
    with pytest.raises(ImageError, match="cannot refine"):
        photo.refine(cpu, a, a_prime)
