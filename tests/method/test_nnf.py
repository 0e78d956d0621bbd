"""Nearest-neighbour fields: identity, upsampling, enlargement, and PatchMatch."""

from pathlib import Path

import numpy as np
import pytest

import analogy
from analogy.backends import MOST_PATCH, ONE
from analogy.backends.cpu import CpuBackend
from analogy.errors import ImageError
from analogy.method import nnf
from analogy.method.features import Features
from analogy.method.sheets import Sheet
from analogy.networks.models import DEFAULT, locate
from analogy.pictures import reading

EXAMPLES = Path(analogy.__file__).parent / "examples"
BACKEND = CpuBackend(2)


def grid(h: int, w: int) -> np.ndarray:
    return np.stack(np.mgrid[:h, :w], axis=-1).astype(np.int32)


def test_the_identity_between_equal_sizes_matches_each_position_with_itself() -> None:
    assert np.array_equal(nnf.identity(BACKEND, (7, 5), (7, 5)), grid(7, 5))


def test_the_identity_between_other_sizes_scales_positions() -> None:
    field = nnf.identity(BACKEND, (4, 6), (8, 3))
    assert np.array_equal(field[:, 0, 0], [1, 3, 5, 7])
    assert np.array_equal(field[0, :, 1], [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("channels", [2, 16, 64, 1024])
def test_the_largest_product_is_that_of_unit_vectors_whose_numbers_are_all_rounded_up_by_a_half(channels: int) -> None:
    half = np.full(channels // 2, ONE / (channels / 2) ** 0.5 + 0.5)
    assert nnf.max_product(channels) == pytest.approx(2 * half @ half, rel=1e-12)


def test_upsampling_the_identity_gives_the_identity_even_at_odd_sizes() -> None:
    assert np.array_equal(nnf.upsample(BACKEND, grid(4, 3), (7, 5), (7, 5)), grid(7, 5))


def test_upsampling_keeps_the_offset_within_the_parent() -> None:
    field = np.array([[[3, 5]]], np.int32)
    assert nnf.upsample(BACKEND, field, (2, 2), (10, 20)).tolist() == [[[6, 10], [6, 11]], [[7, 10], [7, 11]]]


def test_enlarging_scales_a_translation_by_the_factor_of_the_sizes() -> None:
    h, w, full = 20, 30, (53, 97)
    field = np.clip(grid(h, w) + [2, -3], 0, [h - 1, w - 1]).astype(np.int32)
    big = nnf.enlarge(BACKEND, field, (h, w), full, full)
    shift = (big - grid(*full))[10:40, 20:80]
    assert np.abs(shift - [2 * 53 / 20, -3 * 97 / 30]).max() <= 1


def exhaustive(a: np.ndarray, b: np.ndarray, patch: int) -> np.ndarray:
    """Return, for each position of `a`, its smallest patch distance to a position of `b`.

    The distance is computed by its definition in `analogy.backends.contract`.
    """
    (ha, wa), (hb, wb), r = a.shape[:2], b.shape[:2], patch // 2
    dots = np.einsum("yxc,vuc->yxvu", a / ONE, b / ONE)
    total, count = np.zeros_like(dots), np.zeros(dots.shape)
    for oy in range(-r, r + 1):
        for ox in range(-r, r + 1):
            ya, xa = slice(max(0, -oy), min(ha, ha - oy)), slice(max(0, -ox), min(wa, wa - ox))
            yb, xb = slice(max(0, -oy), min(hb, hb - oy)), slice(max(0, -ox), min(wb, wb - ox))
            sa, sx = slice(ya.start + oy, ya.stop + oy), slice(xa.start + ox, xa.stop + ox)
            sb, sv = slice(yb.start + oy, yb.stop + oy), slice(xb.start + ox, xb.stop + ox)
            total[ya, xa, yb, xb] += dots[sa, sx, sb, sv]
            count[ya, xa, yb, xb] += 1
    return -(total / count).max(axis=(2, 3))


def test_patch_match_recovers_a_known_translation() -> None:
    rng = np.random.default_rng(3)
    f = rng.standard_normal((40, 50, 8)).astype(np.float32)
    g = np.roll(f, (7, -11), (0, 1))
    a, b = BACKEND.join(f, f), BACKEND.join(g, g)
    start = nnf.identity(BACKEND, (40, 50), (40, 50))
    found, distance = nnf.search(BACKEND, a, b, start, patch=3, search_radius=None, iterations=8, seed=0)
    expected = (grid(40, 50) + [7, -11]) % [40, 50]
    inner = np.s_[2:30, 14:48]  # positions whose patches `roll` did not wrap around
    assert (found == expected).all(axis=-1)[inner].mean() > 0.99
    assert distance[inner].mean() < -1.98


def test_search_comes_within_three_percent_of_exhaustive_search_on_real_features() -> None:
    network = Features(locate(DEFAULT), BACKEND)
    f, g = (network.pyramid(reading.read_picture(EXAMPLES / name).rgb)[5] for name in ("collins.jpg", "mona_lisa.jpg"))
    a, b = BACKEND.join(f, f), BACKEND.join(g, g)
    start = nnf.identity(BACKEND, a.shape[:2], b.shape[:2])
    _, distance = nnf.search(BACKEND, a, b, start, patch=3, search_radius=None, iterations=4, seed=0)
    best = exhaustive(a, b, 3)
    assert distance.mean() <= 0.97 * best.mean()  # both means are negative
    assert (distance >= best - 1e-4).all()


def test_the_field_does_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(5)
    a, b = (BACKEND.join(f, f) for f in rng.standard_normal((2, 33, 21, 6)).astype(np.float32))
    results = [
        nnf.search(
            CpuBackend(threads),
            a,
            b,
            nnf.identity(BACKEND, (33, 21), (33, 21)),
            patch=5,
            search_radius=9,
            iterations=3,
            seed=4,
        )
        for threads in (1, 2, 5, 2)
    ]
    for field, distance in results[1:]:
        assert np.array_equal(field, results[0][0])
        assert np.array_equal(distance, results[0][1])


def test_only_the_given_matches_change() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-1000, 1000, (30, 40, 8)).astype(np.int16) for _ in range(2))
    start = nnf.identity(BACKEND, (30, 40), (30, 40))
    only = rng.random((30, 40)) < 0.3
    options = {"patch": 3, "search_radius": None, "iterations": 2, "seed": 0}
    found, _ = nnf.search(BACKEND, a, b, start, only=only, **options)
    changed = (found != start).any(axis=2)
    assert not changed[~only].any()
    assert changed[only].mean() > 0.9


def test_another_seed_gives_another_field() -> None:
    rng = np.random.default_rng(6)
    a, b = (BACKEND.join(f, f) for f in rng.standard_normal((2, 20, 20, 4)).astype(np.float32))
    start = nnf.identity(BACKEND, (20, 20), (20, 20))
    fields = [
        nnf.search(BACKEND, a, b, start, patch=3, search_radius=None, iterations=1, seed=seed)[0] for seed in (1, 2)
    ]
    assert not np.array_equal(*fields)


def test_pins_into_one_of_several_pictures_are_followed_as_in_that_picture_alone() -> None:
    rng = np.random.default_rng(7)
    a, *pictures = (BACKEND.join(f, f) for f in (rng.standard_normal((h, w, 6)).astype(np.float32)
                                                 for h, w in ((14, 19), (17, 12), (11, 9))))  # fmt: skip
    sheet = Sheet(tuple(picture.shape[:2] for picture in pictures))
    # The match is the corner of the second picture, so positions above and left of it are outside
    # the picture, but some of them are on the sheet.
    pins = np.array([(7, 9, 0, 0)])
    start = np.zeros((14, 19, 2), np.int32) + np.array([6, 4], np.int32)
    options = {"patch": 3, "search_radius": 3, "iterations": 1, "seed": 0, "reach": 6}
    alone, d = nnf.search(BACKEND, a, pictures[1], start, pins=pins, **options)
    down = np.array([sheet.tops[1], 0], np.int32)
    found, distance = nnf.search(
        BACKEND,
        a,
        sheet.lay(np, pictures),
        start + down,
        pins=pins + [0, 0, sheet.tops[1], 0],
        frames=sheet.frames(BACKEND),
        **options,
    )
    assert np.array_equal(found, alone + down)
    assert np.array_equal(distance, d)
    # Positions around the pin have its offset, too.
    assert (alone - grid(14, 19) == [-7, -9]).all(axis=-1).sum() > 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_search_on_maps_one_position_wide_finds_every_match(size: tuple[int, int]) -> None:
    f = np.random.default_rng(0).standard_normal((*size, 3)).astype(np.float32)
    a = BACKEND.join(f, f)
    start = np.zeros((*size, 2), np.int32)
    field, distance = nnf.search(BACKEND, a, a, start, patch=5, search_radius=None, iterations=2, seed=0)
    assert np.array_equal(field, grid(*size))
    assert np.allclose(distance, -2, atol=1e-3)  # joined features are rounded, so not exactly -2


@pytest.mark.parametrize("patch", [1, MOST_PATCH])
def test_the_smallest_and_the_largest_patch_can_be_searched(patch: int) -> None:
    f = np.random.default_rng(0).standard_normal((9, 8, 3)).astype(np.float32)
    a = BACKEND.join(f, f)
    field, _ = nnf.search(BACKEND, a, a, grid(9, 8), patch=patch, search_radius=None, iterations=1, seed=0)
    assert np.array_equal(field, grid(9, 8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": np.zeros((4, 5, 6), np.float32)}, "a is float32"),
        ({"b": np.zeros((4, 6), np.int16)}, r"b is int16 \(4, 6\)"),
        ({"a": np.zeros((6, 5, 4), np.int16).T}, "contiguous"),
        ({"b": np.zeros((4, 5, 7), np.int16)}, "a has 6 channels and b has 7"),
        ({"start": np.zeros((4, 4, 2), np.int32)}, r"start is \(4, 4, 2\)"),
        ({"start": np.zeros((4, 5, 2), np.int64)}, "start is int64"),
        ({"patch": 4}, "patch is 4; it must be odd"),
        ({"patch": 9}, "patch is 9; it must be odd, and at most 7"),
    ],
)
def test_search_refuses_arrays_of_another_shape_dtype_or_order(change, words: str) -> None:
    f = np.ones((4, 5, 6), np.int16)
    arguments = {"a": f, "b": f, "start": np.zeros((4, 5, 2), np.int32), "patch": 3} | change
    with pytest.raises(ImageError, match=words):
        nnf.search(BACKEND, **arguments, search_radius=None, iterations=1, seed=0)


class Silent(CpuBackend):
    """Backend whose passes do not call `tick` while they run, like the CUDA backend."""

    def distance(self, *, tick, **arguments):
        return super().distance(**arguments)

    def propagate(self, *, tick, **arguments):
        return super().propagate(**arguments)

    def random_search(self, *, tick, **arguments):
        return super().random_search(**arguments)


@pytest.mark.parametrize(("kind", "bands"), [(CpuBackend, 8), (Silent, 1)])
def test_a_search_reports_each_pass_and_on_the_cpu_each_band(kind, bands: int) -> None:
    backend = kind(2)  # with two threads there are at least eight bands
    a, b = np.random.default_rng(0).integers(0, ONE, (2, 20, 24, 4), np.int16)
    shares: list[float] = []
    start = nnf.identity(backend, (20, 24), (20, 24))
    options = {"patch": 3, "search_radius": 4, "iterations": 2, "seed": 0}
    nnf.search(backend, a, b, start, tick=shares.append, **options)
    passes = 1 + (4 + 1) + (2 + 1) + 2
    assert np.allclose(np.unique(np.round(shares, 9)), np.arange(1, passes * bands + 1) / (passes * bands))
    assert shares == sorted(shares)
