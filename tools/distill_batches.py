"""Batches for `distill.py`: crops, positions in them, and the teacher's features there.

A batch depends only on (seed, step). `NewCrops` makes its crops in worker processes during the
previous step, and the teacher runs for each batch. `StoredCrops` draws its crops from a pool on
disk, which also has the teacher's features. On a CPU the pool is faster: on two cores a step takes
0.2 s, and VGG-16 as the teacher would add 0.3 s to each step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch.utils.data import DataLoader

from distill_crops import LEVELS, SIDES, Crop, training_crop
from distill_looks import Rng
from distill_networks import Vgg, as_input, features_at, mixed_precision


class Batch(NamedTuple):
    """The crops of a step, and for each level the positions in them and the features there.

    `images` is (B, side, side, 3) uint8. `index` has, for each level, (B, P) flat positions in the
    maps of the crops. `features` has the teacher's features (B, P, C), and is empty if the
    teacher has not run yet.
    """

    images: Any
    index: dict[int, Any]
    features: dict[int, Any]


# -- the pool --------------------------------------------------------------------------------------


@torch.no_grad()
def make_pool(
    folder: Path, crop_of: Callable[[int], Crop], count: int, positions: int, teacher: Vgg, workers: int = 0
) -> dict[str, np.ndarray]:
    """Make a pool on disk: crops 0 .. `count` - 1 with the teacher's features at random positions.

    The pool is a folder of .npy files: `images` (count, side, side, 3) uint8, and for each level
    `index{level}` (count, P) int32, flat positions in the level's map, and `features{level}`
    (count, P, C) float16. If the folder exists, it is complete and is used as it is. The returned
    arrays are on disk, and a batch reads only its own crops from them.
    """
    if not folder.exists():
        scratch = folder.with_suffix(".tmp")
        scratch.mkdir(parents=True, exist_ok=True)
        pool: dict[str, np.ndarray] = {}
        loader = DataLoader(_Numbered(crop_of, positions), batch_size=None, sampler=range(count), num_workers=workers)
        for k, (image, index) in enumerate(loader):
            maps = teacher(as_input(image[None].to(teacher.device)))
            parts = {"images": image.numpy()} | {f"index{level}": index[level].numpy() for level in LEVELS}
            for level in LEVELS:
                found = features_at(maps[level], index[level][None].to(teacher.device))
                parts[f"features{level}"] = found[0].half().cpu().numpy()
            for name, value in parts.items():
                if k == 0:
                    pool[name] = open_memmap(scratch / f"{name}.npy", "w+", value.dtype, (count, *value.shape))
                pool[name][k] = value
            if (k + 1) % 200 == 0:
                print(f"{folder.name}: {k + 1} of {count} crops", flush=True)
        scratch.replace(folder)
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}


@dataclass(frozen=True)
class _Numbered:
    """Dataset of crops by number; each item is an image and its positions."""

    crop_of: Callable[[int], Crop]
    positions: int

    def __getitem__(self, k: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        crop = self.crop_of(k)
        return crop.image, crop.positions(self.positions)


def take(pool: dict[str, np.ndarray], chosen: np.ndarray | slice) -> Batch:
    """Read chosen crops from a pool as tensors, with the features as float32."""

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(pool[name][chosen]))

    return Batch(
        read("images"),
        {level: read(f"index{level}").long() for level in LEVELS},
        {level: read(f"features{level}").float() for level in LEVELS},
    )


# -- the batches -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewCrops:
    """Dataset of new crops for each step; a step has `groups` groups (see `SIDES`)."""

    photos: list[Path]
    seed: int
    groups: int
    sides: dict[int, tuple[int, int]]

    def __getitem__(self, step: int) -> Batch:
        side, _ = _side_of(self.seed, step, self.sides)
        crops, positions = self.sides[side]
        crops *= self.groups
        made = [training_crop(self.photos, side, self.seed, k) for k in range(step * crops, (step + 1) * crops)]
        index = [crop.positions(positions) for crop in made]
        return Batch(
            np.stack([crop.image for crop in made]),
            {level: np.stack([own[level] for own in index]).astype(np.int64) for level in LEVELS},
            {},
        )


@dataclass(frozen=True)
class StoredCrops:
    """Dataset of stored crops for each step; a step has `groups` groups (see `SIDES`).

    `pools` has a pool of crops for each side.
    """

    pools: dict[int, dict[str, np.ndarray]]
    seed: int
    groups: int

    def __getitem__(self, step: int) -> Batch:
        side, rng = _side_of(self.seed, step, SIDES)
        pool, crops = self.pools[side], SIDES[side][0] * self.groups
        pairs = rng.choice(len(pool["images"]) // 2, -(-crops // 2), replace=False)  # twins are the crops 2k and 2k + 1
        return take(pool, (2 * pairs[:, None] + np.arange(2)).ravel()[:crops])


def _side_of(seed: int, step: int, sides: dict[int, tuple[int, int]]) -> tuple[int, Rng]:
    """Draw the side of a step's crops, and return it with the step's random generator."""
    rng = np.random.default_rng([seed, step])
    return list(sides)[rng.integers(len(sides))], rng


def training_pools(
    folder: Path, photos: list[Path], seed: int, crops: int, groups: int, teacher: Vgg, workers: int
) -> dict[int, dict[str, np.ndarray]]:
    """Make or open a pool of crops for each side, and return side -> pool.

    The pool of the smallest side has `crops` crops, and the other pools have fewer in proportion to
    the number of crops in a group (see `SIDES`). Each pool has at least the crops of one step.
    """
    pools, most = {}, max(count for count, _ in SIDES.values())
    for side, (in_group, positions) in SIDES.items():
        count = max(in_group * groups, crops * in_group // most)
        crop_of = partial(training_crop, photos, side, seed)
        place = folder / f"{side}px-{count}-seed{seed}"
        pools[side] = make_pool(place, crop_of, count, positions, teacher, workers)
    return pools


def batches(crops: NewCrops | StoredCrops, steps: range, teacher: Vgg, workers: int) -> Iterator[Batch]:
    """Yield the batch of each step, with the teacher's features, on the device of the teacher."""
    device = teacher.device
    loader = DataLoader(
        crops,
        batch_size=None,  # an item is a whole batch
        sampler=steps,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    for images, *levels in loader:
        images = images.to(device, non_blocking=True)
        index, features = (
            {level: part.to(device, non_blocking=True) for level, part in parts.items()} for parts in levels
        )
        if not features:
            with torch.no_grad(), mixed_precision(device):
                maps = teacher(as_input(images))
            features = {level: features_at(maps[level], index[level]).float() for level in LEVELS}
        yield Batch(images, index, features)
