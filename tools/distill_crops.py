"""Crops of photographs in many looks, and the positions in them at which features are compared.

A crop depends only on its seed, its side and its number, so that any process makes the same crop at
any time.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from distill_looks import Rng, colour_cast, strong_look

LEVELS = (1, 2, 3, 4, 5)
SIDES = {160: (4, 96), 224: (2, 192)}
"""Side of a crop in pixels -> number of crops in a group, and number of positions in a crop.

The loss compares the positions of one group with each other. With either side, a group has 384
positions and about 100 000 pixels. Sides are multiples of 16, so that the pooling of all networks
gives the same shapes. Either side is longer than the receptive field of relu5_1, which is 156
pixels wide in VGG-19 and 132 in VGG-16.
"""
HELD_BACK_SIDE = 224
"""Side of the crops for evaluation, in pixels."""
HOLD_BACK = 20
"""Distance in the sorted list of photographs from one that only the evaluation uses to the next."""
TWINS = 0.5
"""Probability that the crops 2k and 2k + 1 are twins: the same square in two looks.

The second twin gets a strong look.
"""
STRONG = 0.35
"""Probability that a crop gets a strong look if it is not a twin."""
COLOUR_CASTS = 0.3
"""Probability that a crop gets a colour cast."""


@dataclass(frozen=True)
class Crop:
    """A square of a photograph, (side, side, 3) uint8, with a generator of positions in it.

    The generators of twins (see `TWINS`) draw the same positions.
    """

    image: np.ndarray
    rng: Rng

    def positions(self, count: int) -> dict[int, np.ndarray]:
        """Draw `count` different flat positions (int32) in the map of each level."""
        side = len(self.image)
        return {
            level: self.rng.permutation((side >> (level - 1)) ** 2)[:count].astype(np.int32) for level in LEVELS
        }  # fmt: skip


def list_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return sorted photos for training and for evaluation; exit if there are fewer than two."""
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if len(photos) < 2:
        sys.exit(f"distill: {folder} has fewer than two .jpg or .png files; name a folder with more")
    held_back = photos[::HOLD_BACK]
    return [p for p in photos if p not in set(held_back)], held_back


def training_crop(photos: list[Path], side: int, seed: int, k: int) -> Crop:
    """Make crop `k` for training: a random square of a photograph, in a random look."""
    twins = np.random.default_rng([seed, side, k // 2]).random() < TWINS
    shared = np.random.default_rng([seed, side, k - k % 2 if twins else k, 1])
    crop = _random_square(photos, side, shared)
    rng = np.random.default_rng([seed, side, k, 2])
    if k % 2 == 1 if twins else rng.random() < STRONG:
        crop = strong_look(crop, rng)
    if rng.random() < COLOUR_CASTS:
        crop = colour_cast(crop, rng)
    return Crop(np.array(crop), shared)


def plain_crop(photos: list[Path], side: int, seed: int, k: int) -> Crop:
    """Make crop `k` of those from which the principal directions of the features are computed.

    It is a random square of a photograph, in no special look.
    """
    rng = np.random.default_rng([seed, side, k, 3])
    return Crop(np.array(_random_square(photos, side, rng)), rng)


def held_back_crop(photos: list[Path], side: int, seed: int, k: int) -> Crop:
    """Make crop `k` for evaluation: the centre of photo k // 2, in a strong look if `k` is odd."""
    with Image.open(photos[k // 2]) as photo:
        crop = ImageOps.fit(photo.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
    if k % 2:
        crop = strong_look(crop, np.random.default_rng([seed, side, k, 2]))
    return Crop(np.array(crop), np.random.default_rng([seed, side, k // 2, 1]))


def _random_square(photos: list[Path], side: int, rng: Rng) -> Image.Image:
    """Cut a random square of 25 to 100 % of a photo's short side, mirrored with probability 1/2."""
    with Image.open(photos[rng.integers(len(photos))]) as photo:
        edge = min(photo.size) * rng.uniform(0.25, 1)
        x, y = rng.uniform(0, photo.width - edge), rng.uniform(0, photo.height - edge)
        box = (x, y, x + edge, y + edge)
        crop = photo.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box)
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop
