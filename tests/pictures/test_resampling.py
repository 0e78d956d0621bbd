"""Tests that a picture resized by `lanczos` equals the picture resized by Pillow."""

import numpy as np
import pytest

from analogy.pictures.images import resize
from analogy.pictures.resampling import lanczos

SIZES = [
    ((40, 60), (20, 31)),
    ((33, 17), (33, 5)),
    ((37, 50), (16, 50)),
    ((16, 20), (45, 61)),
    ((1, 7), (3, 2)),
    ((301, 197), (40, 36)),
    ((200, 90), (100, 45)),
    ((90, 38), (60, 23)),
    ((90, 38), (60, 24)),
    ((60, 40), (50, 60)),
]


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("kind", ["noise", "black and white", "white"])
def test_the_pixels_are_those_of_pillow_to_the_bit(rng, before, after, kind):
    pixels = rng.integers(0, 256, (*before, 3)).astype(np.uint8)
    if kind != "noise":  # at edges from black to white, the weighted sums leave 0..255 and must be clipped
        pixels = np.where(pixels < (128 if kind == "black and white" else 0), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(lanczos(np, pixels, *after), resize(pixels, *after))


def test_a_picture_on_a_device_is_resized_there(simulated, rng):
    from simulator import device

    pixels = rng.integers(0, 256, (41, 52, 3)).astype(np.uint8)
    there = simulated.asarray(pixels)
    before = device.waits
    resized = lanczos(simulated.xp, there, 20, 33)
    assert device.waits == before
    np.testing.assert_array_equal(simulated.to_host(resized), resize(pixels, 20, 33))
