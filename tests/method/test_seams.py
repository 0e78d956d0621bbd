"""Gradient-domain painting: it removes seams, and keeps edges and pieces without seams."""

from __future__ import annotations

import numpy as np
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.method import nnf
from analogy.method.painting import paint
from analogy.method.seams import JUMP
from analogy.method.sheets import Sheet
from analogy.pictures.images import resize
from analogy.settings import Settings

BACKEND = CpuBackend(2)
SIZE = 48, 96
HALF = SIZE[1] // 2


def flat(value: float, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, 3), value, np.float32)


def two_pieces(one: float, other: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a field with two pieces, and its source.

    The left piece matches the left half of the source, whose grey is `one`. The right piece matches
    the right half, whose grey is `other`.
    """
    source = np.concatenate([flat(one), flat(other)], axis=1)
    field = nnf.identity(BACKEND, SIZE, SIZE)
    field[:, HALF:, 1] += SIZE[1]
    return field, source


def painted(
    field: np.ndarray, source: np.ndarray, content: np.ndarray, labels: np.ndarray | None = None, times: int = 1
) -> np.ndarray:
    size = field.shape[0] * times, field.shape[1] * times
    source = source.repeat(times, axis=0).repeat(times, axis=1)
    working = source.shape[0] // times, source.shape[1] // times
    of_both = None if labels is None else (labels, np.zeros(source.shape[:2], np.int32))
    sheet, full_sheet = Sheet((working,)), Sheet((source.shape[:2],))
    return paint(BACKEND, field, sheet, size, full_sheet, source, of_both, steepness=BACKEND.steepness(content))


def steps(picture: np.ndarray) -> np.ndarray:
    """Return, for each column but the last, its largest difference from the next column."""
    return np.abs(np.diff(picture, axis=1)).max(axis=(0, 2))


def test_two_pieces_of_different_colour_join_without_a_step_where_the_content_has_no_edge() -> None:
    jump = 0.1
    field, source = two_pieces(0.4, 0.4 + jump)
    picture = painted(field, source, flat(0.7))
    assert steps(BACKEND.vote(field, source, 3)).max() > 0.3 * jump  # the vote alone has a seam
    assert steps(picture).max() < 0.05 * jump
    # Far from the seam each piece keeps its colour.
    assert np.allclose(picture[:, :8], 0.4, atol=0.01 * jump + 0.002)
    assert np.allclose(picture[:, -8:], 0.4 + jump, atol=0.01 * jump + 0.002)


def test_the_step_stays_where_the_content_has_an_edge() -> None:
    field, source = two_pieces(0.4, 0.5)
    content = np.concatenate([flat(0.1, (48, HALF)), flat(0.9, (48, HALF))], axis=1)
    assert np.abs(painted(field, source, content) - BACKEND.vote(field, source, 3)).max() < 0.002


def test_a_large_step_stays_as_an_outline_and_leaves_no_halo() -> None:
    field, source = two_pieces(0.1, 0.9)
    assert 2 * JUMP < 0.8 * 3**0.5 / 3  # the vote spreads the step over three pixels
    assert np.abs(painted(field, source, flat(0.5)) - BACKEND.vote(field, source, 3)).max() < 0.03


def test_a_plain_translation_gives_the_mean_of_pixels_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    source = rng.random((60, 80, 3), np.float32)
    field = np.stack(np.mgrid[4:44, 7:67], axis=2).astype(np.int32)
    picture = paint(
        BACKEND,
        field,
        Sheet((source.shape[:2],)),
        field.shape[:2],
        Sheet((source.shape[:2],)),
        source,
        steepness=BACKEND.steepness(rng.random((40, 60, 3), np.float32)),
    )
    assert np.array_equal(picture, BACKEND.vote(field, source, 3))
    assert np.allclose(picture, source[4:44, 7:67], atol=1e-6)


def test_where_two_labels_meet_the_step_stays_and_no_colour_crosses() -> None:
    rng = np.random.default_rng(0)
    field, source = two_pieces(0.4, 0.5)
    source[:, : SIZE[1]] = 0.4  # the left piece is flat, and the right one has random matches
    source[:, SIZE[1] :] = rng.random((SIZE[0], SIZE[1], 1)) * 0.1 + 0.45
    field[:, HALF:] = np.stack(
        [rng.integers(0, SIZE[0], (SIZE[0], HALF)), rng.integers(SIZE[1] + 2, 2 * SIZE[1] - 2, (SIZE[0], HALF))], 2
    )
    labels = np.zeros(SIZE, np.int32)
    labels[:, HALF:] = 7
    picture, mean = painted(field, source, flat(0.5), labels), BACKEND.vote(field, source, 3)
    assert np.array_equal(picture[:, : HALF - 1], mean[:, : HALF - 1])
    assert steps(picture)[HALF - 2 : HALF + 1].sum() > 0.06
    assert not np.array_equal(picture[:, HALF + 3 :], mean[:, HALF + 3 :])


def test_seams_vanish_at_four_times_the_working_size_as_at_the_working_size() -> None:
    field, source = two_pieces(0.4, 0.5)
    small, large = (painted(field, source, flat(0.5), times=times) for times in (1, 4))
    assert large.shape == (4 * SIZE[0], 4 * SIZE[1], 3)
    assert np.abs(large.reshape(SIZE[0], 4, SIZE[1], 4, 3).mean(axis=(1, 3)) - small).max() < 0.004
    assert steps(large).max() < steps(small).max()


def test_highlights_end_without_an_edge() -> None:
    rng = np.random.default_rng(0)
    field, source = two_pieces(0.86, 0.97)
    source += rng.normal(0, 0.01, source.shape).astype(np.float32)
    source = np.clip(source, 0, 1)
    picture = painted(field, source, flat(0.5))
    assert picture.max() <= 1
    # The share of white pixels is not larger than in the source.
    assert (picture == 1).mean() <= (source == 1).mean()
    columns = picture.mean(axis=(0, 2))
    # The means of the columns bend no more than the noise makes them bend.
    assert np.abs(np.diff(columns, 2)).max() < 0.012


@pytest.mark.parametrize("threads", [1, 3])
def test_the_picture_does_not_depend_on_the_number_of_threads(threads: int) -> None:
    rng = np.random.default_rng(0)
    source = rng.random((90, 80, 3), np.float32)
    field = rng.integers(0, 80, (70, 600, 2)).astype(np.int32)
    content, sheet = rng.random((70, 600, 3), np.float32), Sheet(((90, 80),))
    pictures = [
        paint(backend, field, sheet, (70, 600), sheet, source, steepness=backend.steepness(content))
        for backend in (BACKEND, CpuBackend(threads))
    ]
    assert np.array_equal(*pictures)


def test_the_preset_paper_and_the_setting_give_the_mean_of_pixels() -> None:
    rng = np.random.default_rng(0)
    a, b_prime = rng.integers(0, 256, (2, 40, 44, 3)).astype(np.uint8)
    engine, fast = Engine(device="cpu", threads=2), {"inversion": "vote", "search_iterations": 1, "direction": "ab"}
    mean = engine.transfer(a, b_prime, painting="pixels", **fast)
    expected = BACKEND.vote(mean.nnf_ab, b_prime.astype(np.float32) / 255, 3)
    assert np.array_equal(mean.a_prime, np.rint(expected * 255).astype(np.uint8))
    assert not np.array_equal(engine.transfer(a, b_prime, **fast).a_prime, mean.a_prime)
    assert Settings.preset("paper").painting == "pixels"
    assert Settings().painting == "gradients"


def test_the_pictures_of_the_levels_are_painted_without_seams_too() -> None:
    rng = np.random.default_rng(0)
    a, b_prime = (resize(rng.integers(90, 160, (9, 9, 3)).astype(np.uint8), 96, 128) for _ in range(2))
    engine, fast = Engine(device="cpu", threads=2), {"inversion": "vote", "search_iterations": 1, "levels": True}
    seamless, mean = (engine.transfer(a, b_prime, painting=way, **fast).levels for way in ("gradients", "pixels"))
    for level in (4, 3, 2, 1):
        steps_of = [np.abs(np.diff(levels[level].astype(int), axis=1)).max() for levels in (seamless, mean)]
        assert steps_of[0] < steps_of[1], level
