"""Fixtures that several tests of pictures share."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import H, W


@pytest.fixture
def rgb():
    """Return smooth pixels, which lossy formats hardly change; all corners and channels differ."""
    y, x = np.mgrid[:H, :W]
    return np.stack([10 * y, 9 * x, 255 - 5 * (x + y)], axis=-1).astype(np.uint8)


@pytest.fixture
def rgb16(rng):
    return rng.integers(0, 65536, (H, W, 3), dtype=np.uint16)


@pytest.fixture
def holes():
    alpha = np.full((H, W), 255, np.uint8)
    alpha[5:10, 5:15], alpha[12:14] = 0, 100
    return alpha
