"""Small VGG-19s with seeded weights, and the network written out plainly in float64 to compare with."""

from __future__ import annotations

import numpy as np

from analogy.export import CONVOLUTIONS, Network

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def level_of(layer: str) -> int:
    return int(layer[4])


def random_weights(widths=(3, 4, 5, 6, 7), seed: int = 0, layers=CONVOLUTIONS) -> dict[str, np.ndarray]:
    """Kernels of He's variance, so that features neither vanish nor explode, and biases of both signs; float32."""
    rng = np.random.default_rng(seed)
    weights, channels = {}, 3
    for layer in layers:
        width = widths[level_of(layer) - 1]
        scale = np.sqrt(2 / (9 * channels))
        weights[f"{layer}.weight"] = (rng.standard_normal((width, channels, 3, 3)) * scale).astype(np.float32)
        weights[f"{layer}.bias"] = rng.normal(0.05, 0.1, width).astype(np.float32)
        channels = width
    return weights


def random_network(widths=(3, 4, 5, 6, 7), seed: int = 0, bgr: bool = False) -> Network:
    return Network(random_weights(widths, seed), *IMAGENET, bgr)


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """3x3, stride 1, zero padding: (C, H, W) -> (O, H, W)."""
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    result = np.zeros((len(kernel), height, width)) + bias[:, None, None]
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + height, column : column + width]
            result += np.tensordot(kernel[:, :, row, column], window, 1)
    return result


def pool(x: np.ndarray) -> np.ndarray:
    """2x2 max pooling that keeps a last odd row and column: (C, H, W) -> (C, ceil(H / 2), ceil(W / 2))."""
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (0, height % 2), (0, width % 2)), constant_values=-np.inf)
    return padded.reshape(len(x), -(-height // 2), 2, -(-width // 2), 2).max(axis=(2, 4))


def run_layers(weights, x: np.ndarray, layers) -> dict[str, np.ndarray]:
    """Every ReLU's output on the way from `x` (C, H, W) through `layers`, in float64."""
    found = {}
    for layer in layers:
        if layer.endswith("_1") and layer != "conv1_1":
            x = pool(x)
        x = np.maximum(convolve(x, *(np.float64(weights[f"{layer}.{part}"]) for part in ("weight", "bias"))), 0)
        found[f"relu{layer[4:]}"] = x
    return found


def plain_features(network: Network, image: np.ndarray) -> dict[str, np.ndarray]:
    """relu1_1 .. relu5_1 of `image` (3, H, W) RGB in 0..1, each (C, h, w) float64."""
    mean, std = np.reshape(network.mean, (3, 1, 1)), np.reshape(network.std, (3, 1, 1))
    x = (np.float64(image) - mean) / std
    layers = [layer for layer in CONVOLUTIONS if f"{layer}.weight" in network.weights]
    relus = run_layers(network.weights, x[::-1] if network.bgr else x, layers)
    return {f"relu{level}_1": relus[f"relu{level}_1"] for level in range(1, 6)}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(3, H, W) float32 RGB in 0..1."""
    return np.random.default_rng([seed, height, width]).random((3, height, width), np.float32)
