"""Crops of photographs in many looks, and the positions in them at which features are compared.

A crop depends only on its seed, its side and its number, so whoever makes it, and when, gets the
same one.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from distill_looks import Rng, colour_cast, strong_look

LEVELS = (1, 2, 3, 4, 5)
SIDES = {160: (4, 96), 224: (2, 192)}
"""Side of a crop in pixels -> crops in a group, and positions in a crop.

A group is what the loss compares at once: N = 384 positions in about equal pixels, whatever the
side. Sides are multiples of 16, so that all networks' pooling agrees on the shapes; in the larger
one relu5_1 sees its whole field of 212 pixels."""
HELD_BACK_SIDE = 224
"""Side in pixels of the crops for evaluation."""
HOLD_BACK = 20
"""Every 20th photograph is for evaluation only."""
TWINS = 0.5
"""Share of the pairs of crops (2k, 2k + 1) that are the same pixels, the second ones in a strong look."""
STRONG = 0.35
"""Share of the other crops that are in a strong look."""
COLOUR_CASTS = 0.3
"""Share of all crops that get a colour cast."""


@dataclass(frozen=True)
class Crop:
    """A square of a photograph, (side, side, 3) uint8, and the generator for what twins share."""

    image: np.ndarray
    rng: Rng

    def positions(self, count: int) -> dict[int, np.ndarray]:
        """Draw `count` flat positions (int32), all different, in the map of each level."""
        side = len(self.image)
        return {
            level: self.rng.permutation((side >> (level - 1)) ** 2)[:count].astype(np.int32) for level in LEVELS
        }  # fmt: skip


def list_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the pictures for training and those held back, by sorted name. Exits if there are fewer than two."""
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if len(photos) < 2:
        sys.exit(f"distill: no photos in {folder}: at least two .jpg or .png files are needed")
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
    """Make crop `k` for the principal directions: a random square, as the photograph has it."""
    rng = np.random.default_rng([seed, side, k, 3])
    return Crop(np.array(_random_square(photos, side, rng)), rng)


def held_back_crop(photos: list[Path], side: int, seed: int, k: int) -> Crop:
    """Make crop `k` for evaluation: the central square of photograph k // 2, for odd `k` in a strong look."""
    with Image.open(photos[k // 2]) as photo:
        crop = ImageOps.fit(photo.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
    if k % 2:
        crop = strong_look(crop, np.random.default_rng([seed, side, k, 2]))
    return Crop(np.array(crop), np.random.default_rng([seed, side, k // 2, 1]))


def _random_square(photos: list[Path], side: int, rng: Rng) -> Image.Image:
    """Cut a square of 25 to 100 % of the short side from a random photograph, half of them mirrored."""
    with Image.open(photos[rng.integers(len(photos))]) as photo:
        edge = min(photo.size) * rng.uniform(0.25, 1)
        x, y = rng.uniform(0, photo.width - edge), rng.uniform(0, photo.height - edge)
        box = (x, y, x + edge, y + edge)
        crop = photo.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box)
    return ImageOps.mirror(crop) if rng.random() < 0.5 else crop
