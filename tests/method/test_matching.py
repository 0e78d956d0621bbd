from itertools import pairwise

import numpy as np
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.method import nnf
from analogy.method.features import Features, level_size
from analogy.method.matching import blend, match, reconstruct
from analogy.method.progress import StageReporter
from analogy.networks.models import DEFAULT, locate
from analogy.settings import Settings

BACKEND = CpuBackend(2)


@pytest.fixture(scope="module")
def network() -> Features:
    return Features(locate(DEFAULT), BACKEND)


def picture(h: int, w: int, seed: int = 0) -> np.ndarray:
    """Coloured blocks with a little noise: something to recognise at every level."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (h // 8 + 1, w // 8 + 1, 3)), np.ones((8, 8, 1)))[:h, :w]
    return np.clip(blocks + rng.normal(0, 8, (h, w, 3)), 0, 255).astype(np.uint8)


def test_a_picture_matched_with_itself_gives_the_identity(network: Features) -> None:
    a = picture(64, 80)
    found = match(network, a, a, Settings(inversion="vote"), StageReporter(None))
    here = nnf.identity(BACKEND, (64, 80), (64, 80))
    assert (found.nnf_ab[1] == here).all(axis=-1).mean() > 0.99
    assert np.allclose(found.error_ab[1], -2, atol=1e-3)


def test_match_recovers_a_translation(network: Features) -> None:
    whole = picture(128, 144)
    a, b1 = whole[:112, :112], whole[16:, 32:]
    found = match(network, a, b1, Settings(inversion="vote"), StageReporter(None))
    shift = found.nnf_ab[1] - nnf.identity(BACKEND, (112, 112), (112, 112))
    inner = shift[32:96, 48:96]
    assert (np.abs(inner - [-16, -32]).max(axis=-1) <= 1).mean() > 0.9


def test_swapping_the_pictures_swaps_the_two_fields(network: Features) -> None:
    a, b1 = picture(48, 64, 1), picture(64, 48, 2)
    settings = Settings(inversion="vote")
    one = match(network, a, b1, settings, StageReporter(None))
    other = match(network, b1, a, settings, StageReporter(None))
    # Not to the bit: the two halves of the joined features change places, so sums round differently.
    assert (one.nnf_ab[1] == other.nnf_ba[1]).all(axis=-1).mean() > 0.98
    assert np.abs(one.error_ba[1] - other.error_ab[1]).mean() < 1e-3


def test_blend_keeps_strong_content_features_by_alpha_and_reconstructs_weak_ones() -> None:
    own = np.zeros((2, 2, 3), np.float32)
    own[0, 0] = 10  # the only salient position
    found = np.full((2, 2, 3), 5, np.float32)
    mixed = blend(BACKEND, own, found, 0.8)
    assert np.allclose(mixed[0, 0], 10 * 0.8 + 5 * 0.2)
    assert np.allclose(mixed[1, 1], 5, atol=1e-4)
    assert np.array_equal(blend(BACKEND, own, found, 0.0), found)


def test_blend_of_flat_content_is_the_reconstruction() -> None:
    flat = np.zeros((3, 3, 2), np.float32)
    assert np.isfinite(blend(BACKEND, flat, flat + 1, 0.9)).all()


@pytest.mark.parametrize("inversion", ["vote", "step", "deconvolution"])
@pytest.mark.parametrize("level", [5, 4, 3, 2])
def test_reconstruction_from_the_identity_field_gives_the_source_s_features(
    network: Features, level: int, inversion: str
) -> None:
    a = picture(50, 67)
    pyramid = network.pyramid(a)
    here = nnf.identity(BACKEND, level_size((50, 67), level), level_size((50, 67), level))
    found = reconstruct(
        network, level, here, pyramid, a.astype(np.float32) / 255, (50, 67), Settings(inversion=inversion)
    )
    assert found.shape == pyramid[level - 1].shape
    assert np.abs(found - pyramid[level - 1]).max() < 1e-3 * pyramid[level - 1].max()


def test_deconvolution_fits_the_target_better_than_the_vote(network: Features) -> None:
    a, b1 = network.pyramid(picture(64, 64, 1)), network.pyramid(picture(64, 64, 2))
    pixels = picture(64, 64, 2).astype(np.float32) / 255
    field = np.random.default_rng(0).integers(0, 16, (16, 16, 2)).astype(np.int32)
    voted, optimised = (
        reconstruct(network, 3, field, b1, pixels, (64, 64), Settings(inversion=inversion, inversion_steps=20))
        for inversion in ("vote", "deconvolution")
    )
    assert a[2].shape == voted.shape == optimised.shape
    assert not np.allclose(voted, optimised)


def test_progress_names_each_level_with_a_rising_share_and_times_it(network: Features) -> None:
    seen = []
    stages = StageReporter(seen.append)
    match(network, picture(32, 32), picture(32, 32, 1), Settings(inversion="vote"), stages)
    stages.begin("done", 1.0)
    assert [p.stage for p in seen] == [f"level {n}" for n in (5, 4, 3, 2, 1)] + ["done"]
    assert all(x.done < y.done for x, y in pairwise(seen))
    assert set(stages.seconds) == {f"level {n}" for n in (5, 4, 3, 2, 1)}
