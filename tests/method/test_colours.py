"""Colour transfer that keeps the chroma of a content."""

import numpy as np
import pytest

from analogy.method.colours import keep_colours

LUMINANCE = np.array([0.299, 0.587, 0.114])


def hue(rgb: np.ndarray) -> np.ndarray:
    """Return Cb and Cr, each multiplied by a constant."""
    y = rgb @ LUMINANCE
    return np.stack([rgb[..., 2] - y, rgb[..., 0] - y], axis=-1)


def on(backend, result: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Run `keep_colours` on arrays of a backend, and return the result on the host."""
    kept = keep_colours(backend, backend.asarray(result), backend.asarray(own))
    assert isinstance(kept, backend.xp.ndarray)
    return backend.to_host(kept)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_the_luminance_comes_from_the_result_and_the_chroma_from_the_content(backend, dtype, white) -> None:
    rng = np.random.default_rng(0)
    own = (rng.uniform(0.4, 0.6, (9, 8, 3)) * white).astype(dtype)
    result = (rng.uniform(0.4, 0.6, (9, 8, 3)) * white).astype(dtype)
    kept = on(backend, result, own)
    assert kept.dtype == dtype
    assert np.abs(kept @ LUMINANCE - result @ LUMINANCE).max() <= 1
    assert np.abs(hue(kept.astype(float)) - hue(own.astype(float))).max() <= 2


def test_values_above_white_are_clipped(backend) -> None:
    own, result = np.full((2, 2, 3), (255, 0, 0), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert (on(backend, result, own)[..., 0] == 255).all()
