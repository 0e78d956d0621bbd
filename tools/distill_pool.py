"""The pool that `distill.py` trains on: crops of photos in many looks, and the teachers' features at random positions."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from PIL import Image, ImageOps

from analogy.backends.runtime import import_runtime
from analogy.errors import AnalogyError
from analogy.networks.export import build_features
from analogy.networks.models import locate
from analogy.networks.weights import read

from distill_looks import Rng, colour_cast, strong_look

LEVELS = (1, 2, 3, 4, 5)
OUTPUTS = [f"relu{level}_1" for level in LEVELS]
# Crop side -> crops per batch and positions per crop: about equal pixels, and N = 384, whatever the side. Multiples of
# 16, so that the teacher's and the student's pooling agree on the shapes; the larger shows relu5_1 its whole field of 212.
SIDES = {160: (4, 96), 224: (2, 192)}
EVALUATION = (224, 8)  # side and crops per batch of the held-back photos
HOLD_BACK = 20  # every 20th photo is for evaluation only
TWINS = 0.3  # of the pairs of crops (2k, 2k + 1): the same pixels, the second one in a strong look
STRONG = 0.35  # of the other crops are in a strong look


@dataclass(frozen=True)
class Teacher:
    """A network whose features the student learns, and how much of the whole it says."""

    path: Path
    session: Any
    weight: float = 1.0

    def features(self, image: np.ndarray) -> dict[int, np.ndarray]:
        """(H, W, 3) uint8 -> {level: (h w, C)} after relu{level}_1."""
        maps = self.session.run(OUTPUTS, {"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        return {
            level: features[0].reshape(features.shape[1], -1).T for level, features in zip(LEVELS, maps, strict=True)
        }


def load_teacher(words: str) -> Teacher:
    """`PATH[,weight=W][,preprocessing=NAME]`: a model folder, a graph with `OUTPUTS`, or weights to convert to one."""
    name, *options = words.split(",")
    path, settings = Path(name), dict(option.partition("=")[::2] for option in options)
    weight, preprocessing = float(settings.pop("weight", 1)), settings.pop("preprocessing", None)
    if settings or not path.exists():
        sys.exit(f"distill: no teacher at {words}: expected PATH[,weight=W][,preprocessing=NAME]")
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def load(model: str | bytes) -> Teacher:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return Teacher(path, session, weight)

    try:
        if path.is_dir():
            return load(str(locate(path) / "features.onnx"))
        if path.suffix == ".onnx":
            teacher = load(str(path))
            if set(OUTPUTS) <= {output.name for output in teacher.session.get_outputs()}:
                return teacher
        return load(build_features(read(path, preprocessing)[0]).SerializeToString())
    except AnalogyError as error:
        sys.exit(f"distill: no teacher at {path}: {error}")


def list_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures for training and those held back, by sorted name."""
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if len(photos) < 2:
        sys.exit(f"distill: no photos in {folder}: at least two .jpg or .png files are needed")
    held_back = photos[::HOLD_BACK]
    return [p for p in photos if p not in set(held_back)], held_back


# -- crops ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """(side, side, 3) uint8; `plain`: as the photo has it; `rng`: the same for twins, for what they share."""

    image: np.ndarray
    plain: bool
    rng: Rng


def training_crop(photos: list[Path], side: int, seed: int, k: int) -> Crop:
    """Crop `k`: a random square of 25-100 % of the short side of a photo, in a random look."""
    twins = np.random.default_rng([seed, side, k // 2]).random() < TWINS
    shared = np.random.default_rng([seed, side, k - k % 2 if twins else k, 1])
    with Image.open(photos[shared.integers(len(photos))]) as photo:
        edge = min(photo.size) * shared.uniform(0.25, 1)
        x, y = shared.uniform(0, photo.width - edge), shared.uniform(0, photo.height - edge)
        box = (x, y, x + edge, y + edge)
        crop = photo.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box)
    if shared.random() < 0.5:
        crop = ImageOps.mirror(crop)
    rng = np.random.default_rng([seed, side, k, 2])
    strong = k % 2 == 1 if twins else rng.random() < STRONG
    if strong:
        crop = strong_look(crop, rng)
    cast = rng.random() < 0.3
    if cast:
        crop = colour_cast(crop, rng)
    return Crop(np.asarray(crop), not strong and not cast, shared)


def held_back_crop(photos: list[Path], side: int, seed: int, k: int) -> Crop:
    """Crop `k`: the central square of photo k // 2, for odd `k` in a strong look. What evaluation looks at."""
    with Image.open(photos[k // 2]) as photo:
        crop = ImageOps.fit(photo.convert("RGB"), (side, side), Image.Resampling.BICUBIC)
    if k % 2:
        crop = strong_look(crop, np.random.default_rng([seed, side, k, 2]))
    return Crop(np.asarray(crop), k % 2 == 0, np.random.default_rng([seed, side, k // 2, 1]))


# -- the pool ---------------------------------------------------------------------------------------------------------


def make_pool(
    folder: Path, teachers: list[Teacher], photos: list[Path], side: int, count: int, seed: int, crop_of
) -> Path:
    """Write `count` crops of `side` pixels, with the teachers' features at random positions, as .npy files.

    `images` (count, side, side, 3) uint8; `plain` (count,) bool; per level, `index{level}` (count, P) int32, flat
    positions in the level's map, and for the n-th teacher `teacher{n}_{level}` (count, P, C) float16. A folder that is
    there is whole, and is kept. Returns `folder`.
    """
    if folder.exists():
        return folder
    scratch = folder.with_suffix(".tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    positions = min(SIDES[side][1], (side // 16) ** 2)
    pool: dict[str, np.ndarray] = {}

    def put(k: int, name: str, value: np.ndarray) -> None:
        if k == 0:
            pool[name] = open_memmap(scratch / f"{name}.npy", "w+", value.dtype, (count, *value.shape))
        pool[name][k] = value

    for k in range(count):
        crop = crop_of(photos, side, seed, k)
        put(k, "images", crop.image)
        put(k, "plain", np.asarray(crop.plain))
        for level in LEVELS:
            put(k, f"index{level}", crop.rng.permutation((side >> (level - 1)) ** 2)[:positions].astype(np.int32))
        for n, teacher in enumerate(teachers):
            for level, rows in teacher.features(crop.image).items():
                put(k, f"teacher{n}_{level}", rows[pool[f"index{level}"][k]].astype(np.float16))
        if (k + 1) % 200 == 0:
            print(f"pool of {side} px: {k + 1} of {count} crops", flush=True)
    return scratch.replace(folder)


def read_pool(folder: Path) -> dict[str, np.ndarray]:
    """What `make_pool` wrote, left on disk: a batch reads only its own crops."""
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}


def choose(count: int, batch: int, rng: Rng) -> np.ndarray:
    """`batch` of `count` crops, drawn as neighbours, since twins are."""
    pairs = rng.choice(count // 2, -(-batch // 2), replace=False)
    return (2 * pairs[:, None] + np.arange(2)).ravel()[:batch]


def batch_of(pool: dict[str, np.ndarray], chosen: np.ndarray):
    """Images (B, 3, H, W) in 0..1; per level, flat positions (N,) in the batch's maps and each teacher's (N, C)."""
    images = torch.from_numpy(pool["images"][chosen]).permute(0, 3, 1, 2).float() / 255
    side, index, rows = images.shape[-1], {}, {}
    for level in LEVELS:
        area = (side >> (level - 1)) ** 2
        first = np.arange(len(chosen))[:, None] * area
        index[level] = torch.from_numpy((first + pool[f"index{level}"][chosen]).ravel())
        teachers = [pool[f"teacher{n}_{level}"] for n in range(sum(name.endswith("_1") for name in pool))]
        rows[level] = [torch.from_numpy(teacher[chosen]).flatten(0, 1).float() for teacher in teachers]
    return images, index, rows
