"""Train `vgg19-compact`, a quarter-width VGG-19, to order patches as a teacher network does.

    python tools/distill.py TEACHER.onnx PHOTOS_FOLDER -o RUN_FOLDER [--steps N] [--seed S] [--resume]
    python tools/distill.py TEACHER.onnx PHOTOS_FOLDER --evaluate WEIGHTS.safetensors

Development only (extra `distill`: torch, onnxruntime, safetensors, pillow, numpy).  The teacher is any ONNX model that
takes RGB in 0..1 as (1, 3, H, W) and returns `relu1_1` .. `relu5_1` with strides 1, 2, 4, 8, 16.

1. Pool.  Augmented random crops go once through the teacher; a random sample of its features is kept as float16.
   The student meets each crop several times: the teacher would otherwise cost as much as the training.
2. Training.  At every level, on positions sampled from all the crops of a batch (N positions, c channels):
   `linear`      a learned map ReLU(F_student W + b) regresses the teacher's features;
   `relational`  the N x N cosines among the student's positions equal the teacher's (Park et al., CVPR 2019, "Relational
                 Knowledge Distillation"): what matching needs, since it sees nothing of the features but cosines;
   `norm`        |F| relative to its mean is the teacher's: the method blends levels by the norm map.
   Each is a mean squared error over the variance of the teacher's value, so 1 means "knows nothing".
3. The optimiser is Muon for the kernels and AdamW for the rest; the rate falls to zero by a cosine.

A step depends only on (seed, step) and on the last checkpoint, so a killed run resumes to the same weights (same machine
and number of threads).  `--steps` may change at `--resume`: the rate follows step / steps.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image, ImageFilter, ImageOps
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

WIDTHS = {1: (16, 16), 2: (32, 32), 3: (64, 64, 64, 64), 4: (128, 128, 128, 128), 5: (128,)}
LEVELS = tuple(WIDTHS)
OUTPUTS = [f"relu{level}_1" for level in LEVELS]
LEVEL_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0}  # the deep levels are the hardest, and start the search
TERMS = {"linear": 1.0, "relational": 4.0, "norm": 0.5}
# Crop side -> crops per batch and positions per crop: about equal pixels and N near 768 whatever the side. Multiples of
# 16, so that the teacher's and the student's pooling agree on the shapes.
SIDES = {144: (16, 48), 208: (8, 96), 288: (4, 192)}
HOLD_BACK = 20  # every 20th photo is for evaluation only
WEIGHTS_FILE = "vgg19-compact.safetensors"


class Student(nn.Module):
    """VGG-19 up to relu5_1 with `WIDTHS` channels; kernels are kept as matrices (out, 9 * in), in the order HWI."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.biases = nn.ParameterDict(), nn.ParameterDict()
        channels = 3
        for level, widths in WIDTHS.items():
            for i, width in enumerate(widths, 1):
                kernel = torch.randn(width, 9 * channels) * math.sqrt(2 / (9 * channels))  # He et al. 2015
                self.kernels[f"conv{level}_{i}"] = nn.Parameter(kernel)
                self.biases[f"conv{level}_{i}"] = nn.Parameter(torch.zeros(width))
                channels = width

    def kernel(self, name: str) -> torch.Tensor:
        """The kernel as (out, in, 3, 3), channels last in memory."""
        matrix = self.kernels[name]
        return matrix.view(len(matrix), 3, 3, -1).permute(0, 3, 1, 2)

    def forward(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> {level: (B, h, w, c)}, the features after relu{level}_1."""
        x, features = ((image - 0.45) / 0.25).contiguous(memory_format=torch.channels_last), {}
        for level, widths in WIDTHS.items():
            if level > 1:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            for i in range(1, len(widths) + 1):
                name = f"conv{level}_{i}"
                x = F.relu(F.conv2d(x, self.kernel(name), self.biases[name], padding=1))
                if i == 1:
                    features[level] = x.permute(0, 2, 3, 1)
        return features

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained weights under the project's names: conv{level}_{i}.weight (OIHW) and .bias, float32."""
        kernels = {f"{name}.weight": self.kernel(name).detach().contiguous() for name in self.kernels}
        return kernels | {f"{name}.bias": bias.detach().clone() for name, bias in self.biases.items()}

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """The inverse of `weights`."""
        with torch.no_grad():
            for name in self.kernels:
                self.kernel(name).copy_(weights[f"{name}.weight"])
                self.biases[name].copy_(weights[f"{name}.bias"])


# -- the pool of crops and the teacher's features ---------------------------------------------------------------------


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
        crop = ImageOps.autocontrast(ImageOps.invert(ImageOps.grayscale(crop).filter(ImageFilter.FIND_EDGES))).convert("RGB")
    elif look < 0.2:
        crop = crop.filter(ImageFilter.ModeFilter(7))
    pixels = np.asarray(crop, np.float32)
    if rng.random() < 0.5:
        pixels = pixels * rng.uniform(0.6, 1.4, 3) + rng.uniform(-40, 40, 3)
    return pixels.clip(0, 255).round().astype(np.uint8)


def centre_crop(photo: Image.Image, side: int, rng: np.random.Generator) -> np.ndarray:
    """The central square, resized to (side, side, 3) uint8: what evaluation looks at."""
    return np.asarray(ImageOps.fit(photo, (side, side), Image.Resampling.BICUBIC))


def make_pool(teacher, photos: list[Path], side: int, count: int, seed: int, crop) -> dict[str, np.ndarray]:
    """`count` crops of `side` pixels with the teacher's features at random positions.

    Returns `images` (count, side, side, 3) uint8 and, per level, `index{level}` (count, P) int32, flat positions in the
    level's map, and `teacher{level}` (count, P, C) float16.
    """
    positions = SIDES[side][1]
    pool: dict[str, np.ndarray] = {"images": np.empty((count, side, side, 3), np.uint8)}
    for k in range(count):
        rng = np.random.default_rng([seed, side, k])
        with Image.open(photos[k % len(photos)]) as photo:
            image = pool["images"][k] = crop(photo.convert("RGB"), side, rng)
        maps = teacher.run(OUTPUTS, {"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        for level, features in zip(LEVELS, maps, strict=True):
            rows = features[0].reshape(features.shape[1], -1).T
            index = rng.permutation(len(rows))[: min(positions, (side // 16) ** 2)].astype(np.int32)
            if k == 0:
                pool[f"index{level}"] = np.empty((count, len(index)), np.int32)
                pool[f"teacher{level}"] = np.empty((count, len(index), rows.shape[1]), np.float16)
            pool[f"index{level}"][k], pool[f"teacher{level}"][k] = index, rows[index]
    return pool


def batch_of(pool: dict[str, np.ndarray], chosen: np.ndarray):
    """Images (B, 3, H, W) in 0..1 and, per level, flat positions (N,) in the batch and the teacher's features (N, C)."""
    images = torch.from_numpy(pool["images"][chosen]).permute(0, 3, 1, 2).float() / 255
    side, index, target = images.shape[-1], {}, {}
    for level in LEVELS:
        area = (side >> (level - 1)) ** 2
        index[level] = torch.from_numpy((pool[f"index{level}"][chosen] + np.arange(len(chosen))[:, None] * area).ravel())
        target[level] = torch.from_numpy(pool[f"teacher{level}"][chosen]).flatten(0, 1).float()
    return images, index, target


# -- errors -----------------------------------------------------------------------------------------------------------


def relative_error(value: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the teacher's variance (over positions, summed over channels)."""
    return (value - teacher).square().mean() / (teacher - teacher.mean(0)).square().mean()


def relational_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The relative error of the cosines among all rows of (N, c) against those of (N, C)."""
    ours, theirs = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    with torch.autocast("cpu", enabled=False):
        cosines = theirs @ theirs.T
        return (ours @ ours.T - cosines).square().mean() / cosines.var()


def norm_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The relative error of |F| / mean |F| over the rows."""
    ours, theirs = student.norm(dim=1), teacher.norm(dim=1)
    return relative_error(ours / ours.mean(), theirs / theirs.mean())


# -- training ---------------------------------------------------------------------------------------------------------


class Distiller(nn.Module):
    """The student and, for training only, the maps from its features to the teacher's."""

    def __init__(self, teacher_widths: dict[int, int]) -> None:
        super().__init__()
        self.student = Student()
        self.maps = nn.ModuleDict(
            {str(level): nn.Linear(WIDTHS[level][0], width) for level, width in teacher_widths.items()}
        )

    def forward(self, images, index, target) -> torch.Tensor:
        """The loss of one batch as `batch_of` returns it."""
        with torch.autocast("cpu", torch.bfloat16):
            features = self.student(images)
        loss = torch.zeros(())
        for level in LEVELS:
            ours = features[level].flatten(0, 2)[index[level]].float()
            terms = {
                "linear": relative_error(F.relu(self.maps[str(level)](ours)), target[level]),
                "relational": relational_error(ours, target[level]),
                "norm": norm_error(ours, target[level]),
            }
            loss = loss + LEVEL_WEIGHT[level] * sum(TERMS[term] * value for term, value in terms.items())
        return loss
