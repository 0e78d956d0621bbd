import numpy as np
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.method import nnf
from analogy.method.painting import as_pixels, as_products, paint, refine_on_pixels, vote_level

BACKEND = CpuBackend(2)


def texture(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((h, w, 3), np.float32)


def test_painting_the_identity_field_gives_the_source_at_full_size() -> None:
    source = texture(60, 90)
    field = nnf.identity(BACKEND, (20, 30), (20, 30))
    assert np.allclose(paint(BACKEND, field, (20, 30), (60, 90), source), source, atol=1e-6)


def test_painting_copies_pixels_of_the_full_size_source() -> None:
    source = texture(80, 80)
    field = np.clip(nnf.identity(BACKEND, (20, 20), (20, 20)) + [2, 3], 0, 19).astype(np.int32)
    painted = paint(BACKEND, field, (20, 20), (80, 80), source)
    assert np.allclose(painted[8:60, 8:60], source[16:68, 20:72], atol=1e-5)


def test_refinement_on_pixels_brings_an_enlarged_field_nearer_to_the_picture() -> None:
    source = texture(64, 64)
    field = nnf.identity(BACKEND, (64, 64), (64, 64))
    off = field.copy()
    off[16:32, 16:32] += [1, -1]  # one block that lies beside its place
    before = np.abs(vote_level(BACKEND, off, (64, 64), (64, 64), source) - source)[12:36, 12:36].mean()
    settled = refine_on_pixels(BACKEND, off, source, None)
    after = np.abs(BACKEND.vote(settled, source, 3) - source)[12:36, 12:36].mean()
    assert (settled[10:38, 10:38] == field[10:38, 10:38]).mean() > (off[10:38, 10:38] == field[10:38, 10:38]).mean()
    assert after < before


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_products_of_query_and_key_are_negative_squared_differences(channels: int) -> None:
    u, v = np.random.default_rng(0).random((2, 5, 7, channels), np.float32)
    query, key = as_products(np, u, v)
    assert np.allclose((query * key).sum(axis=2), -((u - v) ** 2).sum(axis=2), atol=1e-5)
    assert (query[0, 0] @ key[3, 4]) == pytest.approx(-((u[0, 0] - v[3, 4]) ** 2).sum(), abs=1e-5)
    assert query.flags.c_contiguous
    assert query.dtype == np.float32


def test_floats_are_rounded_to_8_and_16_bits() -> None:
    picture = np.array([[[0, 0.5, 1.0]]], np.float32)
    assert as_pixels(BACKEND, picture).tolist() == [[[0, 128, 255]]]
    assert as_pixels(BACKEND, picture, sixteen_bit=True).tolist() == [[[0, 32768, 65535]]]
