"""The pool that `distill.py` trains on: augmented crops of photos, and the teacher's features at random positions."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.lib.format import open_memmap
from PIL import Image, ImageFilter, ImageOps

LEVELS = (1, 2, 3, 4, 5)
OUTPUTS = [f"relu{level}_1" for level in LEVELS]
# Crop side -> crops per batch and positions per crop: about equal pixels, and N = 384, whatever the side. Multiples of
# 16, so that the teacher's and the student's pooling agree on the shapes.
SIDES = {144: (8, 48), 208: (4, 96)}
EVALUATION = (208, 8)  # side and crops per batch of the held-back photos
HOLD_BACK = 20  # every 20th photo is for evaluation only


def list_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures for training and those held back, by sorted name."""
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if len(photos) < 2:
        sys.exit(f"distill: no photos in {folder}: at least two .jpg or .png files are needed")
    held_back = photos[::HOLD_BACK]
    return [p for p in photos if p not in set(held_back)], held_back


def load_teacher(path: Path) -> onnxruntime.InferenceSession:
    """The teacher's session, on as many threads as torch."""
    if not path.is_file():
        sys.exit(f"distill: no teacher at {path}: an ONNX file with the outputs {', '.join(OUTPUTS)} is needed")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def augmented_crop(photo: Image.Image, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of 25-100 % of the short side, resized to (side, side, 3) uint8, in a random look.

    Half get a gain and an offset per channel; a tenth are grey, and a tenth drawn or posterised, for the style side.
    """
    edge = min(photo.size) * rng.uniform(0.25, 1)
    x, y = rng.uniform(0, photo.width - edge), rng.uniform(0, photo.height - edge)
    crop = photo.resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + edge, y + edge))
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    look = rng.random()
    if look < 0.1:
        crop = ImageOps.grayscale(crop).convert("RGB")
    elif look < 0.13:
        crop = ImageOps.posterize(crop.filter(ImageFilter.MedianFilter(5)), int(rng.integers(1, 4)))
    elif look < 0.16:
        edges = ImageOps.grayscale(crop).filter(ImageFilter.FIND_EDGES)
        crop = ImageOps.autocontrast(ImageOps.invert(edges)).convert("RGB")
    elif look < 0.2:
        crop = crop.filter(ImageFilter.ModeFilter(7))
    pixels = np.asarray(crop, np.float32)
    if rng.random() < 0.5:
        pixels = pixels * rng.uniform(0.6, 1.4, 3) + rng.uniform(-40, 40, 3)
    return pixels.clip(0, 255).round().astype(np.uint8)


def centre_crop(photo: Image.Image, side: int, rng: np.random.Generator) -> np.ndarray:
    """The central square, resized to (side, side, 3) uint8: what evaluation looks at."""
    return np.asarray(ImageOps.fit(photo, (side, side), Image.Resampling.BICUBIC))


def make_pool(folder: Path, teacher, photos: list[Path], side: int, count: int, seed: int, crop) -> Path:
    """Write `count` crops of `side` pixels, with the teacher's features at random positions, as .npy files.

    `images` (count, side, side, 3) uint8 and, per level, `index{level}` (count, P) int32, flat positions in the level's
    map, and `teacher{level}` (count, P, C) float16. A folder that is there is whole, and is kept. Returns `folder`.
    """
    if folder.exists():
        return folder
    scratch = folder.with_suffix(".tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    positions = min(SIDES[side][1], (side // 16) ** 2)
    pool = {"images": open_memmap(scratch / "images.npy", "w+", np.uint8, (count, side, side, 3))}
    for k in range(count):
        rng = np.random.default_rng([seed, side, k])
        with Image.open(photos[k % len(photos)]) as photo:
            image = pool["images"][k] = crop(photo.convert("RGB"), side, rng)
        maps = teacher.run(OUTPUTS, {"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        for level, features in zip(LEVELS, maps, strict=True):
            rows = features[0].reshape(features.shape[1], -1).T
            sample = {f"index{level}": rng.permutation(len(rows))[:positions].astype(np.int32)}
            sample[f"teacher{level}"] = rows[sample[f"index{level}"]].astype(np.float16)
            for name, value in sample.items():
                if k == 0:
                    pool[name] = open_memmap(scratch / f"{name}.npy", "w+", value.dtype, (count, *value.shape))
                pool[name][k] = value
        if (k + 1) % 500 == 0:
            print(f"pool of {side} px: {k + 1} of {count} crops", flush=True)
    return scratch.replace(folder)


def read_pool(folder: Path) -> dict[str, np.ndarray]:
    """What `make_pool` wrote, left on disk: a batch reads only its own crops."""
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}


def read_held_back(folder: Path, teacher, photos: list[Path]) -> dict[str, np.ndarray]:
    """The evaluation pool, made in `folder` at the first call: one central square per held-back photo."""
    return read_pool(make_pool(folder, teacher, photos, EVALUATION[0], len(photos), 0, centre_crop))


def batch_of(pool: dict[str, np.ndarray], chosen: np.ndarray):
    """Images (B, 3, H, W) in 0..1; per level, flat positions (N,) in the batch's maps and the teacher's (N, C)."""
    images = torch.from_numpy(pool["images"][chosen]).permute(0, 3, 1, 2).float() / 255
    side, index, target = images.shape[-1], {}, {}
    for level in LEVELS:
        area = (side >> (level - 1)) ** 2
        first = np.arange(len(chosen))[:, None] * area
        index[level] = torch.from_numpy((first + pool[f"index{level}"][chosen]).ravel())
        target[level] = torch.from_numpy(pool[f"teacher{level}"][chosen]).flatten(0, 1).float()
    return images, index, target
