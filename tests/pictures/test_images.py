"""Tests of resizing and montages."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import H, W, close

from analogy.errors import ImageError
from analogy.pictures.images import montage, resize


def test_resize_has_the_size_asked_for_and_antialiases(rgb):
    assert resize(rgb, H, W) is rgb
    assert resize(rgb, 7, 11).shape == (7, 11, 3) and resize(rgb, 41, 50).dtype == np.uint8
    flat = np.full((40, 60, 3), (3, 100, 250), np.uint8)
    assert (resize(flat, 13, 17) == flat[0, 0]).all()
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::2] = 255
    assert close(resize(fine, 16, 16)[4:-4, 4:-4], np.full((8, 8, 3), 128, np.uint8), 8)  # antialiasing makes grey
    for wrong in (rgb.astype(float), rgb[..., 0]):
        with pytest.raises(ImageError, match="uint8"):
            resize(wrong, 8, 8)
    with pytest.raises(ImageError, match="0 x 8"):
        resize(rgb, 8, 0)


def test_a_montage_places_pictures_side_by_side_at_the_height_of_the_tallest(rgb):
    sheet = montage([rgb, resize(rgb, H // 2, W // 2), rgb])
    assert sheet.shape == (H, 3 * W + 16, 3)
    assert np.array_equal(sheet[:, :W], rgb) and np.array_equal(sheet[:, -W:], rgb)
    assert (sheet[:, W : W + 8] == 255).all() and close(sheet[:, W + 8 : 2 * W + 8], rgb, 25)
    assert montage([rgb, rgb], gap=0, height=10).shape == (10, W, 3)
    with pytest.raises(ImageError, match="at least one"):
        montage([])


def test_a_long_picture_is_centred_in_a_montage_and_limited_in_width():
    black, grey = np.zeros((16, 6400, 3), np.uint8), np.full((100, 50, 3), 128, np.uint8)
    sheet = montage([black, grey])
    assert sheet.shape == (100, 400 + 8 + 50, 3)
    assert (sheet[49, :400] == 0).all() and (sheet[:49, :400] == 255).all() and (sheet[50:, :400] == 255).all()
    assert montage([grey, np.zeros((9000, 16, 3), np.uint8)], height=100).shape == (100, 50 + 8 + 1, 3)
