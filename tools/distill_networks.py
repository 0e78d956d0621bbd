"""VGG in PyTorch with any numbers of channels: the teacher, the student and other networks."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from analogy.errors import AnalogyError
from analogy.networks.weights import PREPROCESSING, read

import winograd

WINOGRAD = 64 * 256 * 9
"""Smallest number of weights in a kernel for which a CPU trains with Winograd's algorithm."""


class Vgg(nn.Module):
    """The layers of VGG-19 or VGG-16 up to relu5_1.

    They are 3x3 convolutions with zero padding, ReLU and 2x2 max pooling.

    `widths` maps the layers, in order, to their numbers of channels. The input of conv1_1 is (RGB -
    `mean`) / `std`. Kernels are stored as matrices (out, 9 * in), in the order HWI. Layers in
    `frozen` get no gradient.
    """

    def __init__(self, widths: Mapping[str, int], mean, std) -> None:
        super().__init__()
        self.widths, self.frozen = dict(widths), frozenset[str]()
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(value).float().view(1, 3, 1, 1), persistent=False)
        self.kernels, self.biases = nn.ParameterDict(), nn.ParameterDict()
        channels = 3
        for name, width in widths.items():
            kernel = torch.randn(width, 9 * channels) * untrained_spread(channels)
            self.kernels[name], self.biases[name] = nn.Parameter(kernel), nn.Parameter(torch.zeros(width))
            channels = width

    @property
    def device(self) -> torch.device:
        """The device on which the weights are."""
        return self.mean.device

    def kernel(self, name: str) -> torch.Tensor:
        """Return a view of a layer's kernel as (out, in, 3, 3), channels last in memory."""
        matrix = self.kernels[name]
        return matrix.view(len(matrix), 3, 3, -1).permute(0, 3, 1, 2)

    def convolve(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Apply a layer's convolution.

        In training on a CPU, this uses Winograd's algorithm if the kernel has at least `WINOGRAD`
        weights and both sides of `x` are multiples of 4.
        """
        fits = x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0 and self.kernels[name].numel() >= WINOGRAD
        if fits and self.training and x.device.type == "cpu":
            return winograd.convolve(x, self.kernel(name), self.biases[name])
        return F.conv2d(x, self.kernel(name), self.biases[name], padding=1)

    def forward(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        """Return level -> features (B, h, w, c) of relu{level}_1, for RGB (B, 3, H, W) in 0..1."""
        x, features = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last), {}
        for name in self.widths:
            first = name.endswith("_1")  # whether it is the first layer of its level
            if first and features:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            with torch.set_grad_enabled(torch.is_grad_enabled() and name not in self.frozen):
                x = F.relu(self.convolve(name, x))
            if first:
                features[int(name[4])] = x.permute(0, 2, 3, 1)
        return features

    def weights(self) -> dict[str, torch.Tensor]:
        """Return copies of each conv{level}_{i}.weight (OIHW) and .bias, in float32 on the CPU."""
        kernels = {f"{name}.weight": self.kernel(name).detach().cpu().contiguous() for name in self.widths}
        return kernels | {f"{name}.bias": self.biases[name].detach().cpu().clone() for name in self.widths}


def untrained_spread(channels: int) -> float:
    """Return the standard deviation of an untrained kernel with `channels` inputs (He et al.)."""
    return math.sqrt(2 / (9 * channels))


@torch.no_grad()
def load(path: Path, preprocessing: str | None = None) -> Vgg:
    """Read a VGG from a file of any kind that `analogy.networks.weights.read` accepts.

    `preprocessing` is an argument of that function. The program exits if the file cannot be read,
    or contains no VGG.
    """
    try:
        network, _ = read(path, preprocessing)
    except AnalogyError as error:
        sys.exit(f"distill: {error}")
    widths = {name: len(network.weights[f"{name}.bias"]) for name in network.layers}
    vgg = Vgg(widths, network.mean, network.std).eval().requires_grad_(False)
    for name in widths:
        kernel = np.ascontiguousarray(network.weights[f"{name}.weight"])
        if name == "conv1_1" and network.bgr:
            kernel = kernel[:, ::-1].copy()  # all networks get RGB here
        vgg.kernel(name).copy_(torch.from_numpy(kernel))
        vgg.biases[name].copy_(torch.from_numpy(network.weights[f"{name}.bias"]))
    return vgg


def untrained(widths: Mapping[str, int]) -> Vgg:
    """Return a student with random kernels and the preprocessing of the compact model."""
    compact = PREPROCESSING["compact"]
    return Vgg(widths, compact["mean"], compact["std"])


@torch.no_grad()
def begin_from(student: Vgg, start: Vgg) -> None:
    """Copy the weights of `start` into an untrained `student`, whose layers may be wider.

    Each kernel is scaled to the standard deviation of an untrained kernel, so that a learning rate
    has the same effect as on an untrained network. This multiplies the features of a level by a
    factor, and changes nothing else. Channels that only `student` has keep their random incoming
    weights, and the weights from them to the copied channels are zero. The program exits if `start`
    has other layers than `student`, a wider layer, or another preprocessing.
    """
    if not torch.equal(start.mean, student.mean) or not torch.equal(start.std, student.std):
        sys.exit(
            "distill: the weights of --init need another preprocessing than (RGB - .45) / .25; choose other weights"
        )
    if start.widths.keys() != student.widths.keys():
        sys.exit(f"distill: the weights of --init have the layers {', '.join(start.widths)}; the student has "
                 f"{', '.join(student.widths)}; choose other weights")  # fmt: skip
    total = 1.0
    for name, width in student.widths.items():
        if start.widths[name] > width:
            sys.exit(
                f"distill: {name} has {start.widths[name]} channels in the weights of --init; the student has {width}; "
                "choose weights with fewer channels"
            )
        old, new = start.kernel(name), student.kernel(name)
        outputs, inputs = old.shape[:2]
        factor = untrained_spread(new.shape[1]) / old.square().mean().sqrt()
        total = total * factor
        new[:outputs] = 0
        new[:outputs, :inputs] = old * factor
        student.biases[name][:outputs] = start.biases[name] * total


@torch.no_grad()
def rescaled_weights(vgg: Vgg, images: torch.Tensor, spread: Mapping[int, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights, scaled so that each level's output for `images` has the rms in `spread`.

    No term of the loss depends on the scale of a level, so this scale drifts far during training
    (to 1e14 at relu5_1 after 9000 steps). ReLU and pooling commute with a positive factor. So the
    scaling changes the scale of the features, but none of the errors.
    """
    x, before, weights = (as_input(images) - vgg.mean.cpu()) / vgg.std.cpu(), 1.0, vgg.weights()
    for name in vgg.widths:
        if name.endswith("_1") and name != "conv1_1":
            x = F.max_pool2d(x, 2, ceil_mode=True)
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = F.relu(F.conv2d(x, kernel / before, bias, padding=1))
        scale = spread[int(name[4])] / x.square().mean().sqrt()
        weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel * (scale / before), bias * scale
        x, before = x * scale, scale
    return weights


def as_input(images: torch.Tensor) -> torch.Tensor:
    """Convert pictures (B, H, W, 3) uint8 to (B, 3, H, W) float32 in 0..1."""
    return images.permute(0, 3, 1, 2).float() / 255


def features_at(features: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the features (B, P, c) of maps (B, h, w, c) at positions (B, P).

    A position is given as row * w + column.
    """
    first = torch.arange(len(index), device=index.device)[:, None] * (features.shape[1] * features.shape[2])
    return features.flatten(0, 2)[index + first]


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return a context in which a GPU convolves in bfloat16, and a CPU in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
