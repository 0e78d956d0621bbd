import numpy as np
import pytest

from analogy.pictures.colour import keep_colours

LUMINANCE = np.array([0.299, 0.587, 0.114])


def hue(rgb: np.ndarray) -> np.ndarray:
    """Cb and Cr, up to scale."""
    y = rgb @ LUMINANCE
    return np.stack([rgb[..., 2] - y, rgb[..., 0] - y], axis=-1)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_luminance_is_the_results_and_chroma_is_its_own(dtype, white) -> None:
    rng = np.random.default_rng(0)
    own = (rng.uniform(0.4, 0.6, (9, 8, 3)) * white).astype(dtype)
    result = (rng.uniform(0.4, 0.6, (9, 8, 3)) * white).astype(dtype)
    kept = keep_colours(result, own)
    assert kept.dtype == dtype
    assert np.abs(kept @ LUMINANCE - result @ LUMINANCE).max() <= 1
    assert np.abs(hue(kept.astype(float)) - hue(own.astype(float))).max() <= 2


def test_what_is_too_bright_is_clipped_not_wrapped() -> None:
    own, result = np.full((2, 2, 3), (255, 0, 0), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert (keep_colours(result, own)[..., 0] == 255).all()
