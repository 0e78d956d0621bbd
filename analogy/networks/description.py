"""Description of a VGG network: its weights, its layers, and the input that it was trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError

CONVOLUTIONS = (
    "conv1_1", "conv1_2",
    "conv2_1", "conv2_2",
    "conv3_1", "conv3_2", "conv3_3", "conv3_4",
    "conv4_1", "conv4_2", "conv4_3", "conv4_4",
    "conv5_1",
)  # fmt: skip
"""Convolutions of VGG-19 up to relu5_1, in order.

A 2 x 2 max pooling comes before each `convN_1`, except before `conv1_1`.
"""

FOURTH = ("conv3_4", "conv4_4")
"""Two convolutions that VGG-16 lacks; a network that has neither of them counts as VGG-16."""


@dataclass(frozen=True)
class Network:
    """VGG-19 or VGG-16 with any numbers of channels, up to conv5_1.

    Attributes
    ----------
    weights : mapping of str to array
        `NAME.weight` (O, I, 3, 3) and `NAME.bias` (O,) for each name of `layers`. Other
        entries are ignored.
    mean, std : (float, float, float)
        Preprocessing, in the order RGB: the input of conv1_1 is (RGB in 0..1 - mean) / std.
    bgr : bool
        True if conv1_1 expects its input channels in the order BGR.

    Raises
    ------
    ModelError
        If a layer is missing, does not fit the layer before it, or has a value that is not finite.
    """

    weights: Mapping[str, np.ndarray]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def __post_init__(self) -> None:
        channels = 3
        for name in self.layers:
            for part in (f"{name}.weight", f"{name}.bias"):
                if part not in self.weights:
                    raise ModelError(f"the weights have no {part}; VGG-19 needs {', '.join(CONVOLUTIONS)}")
                if not np.isfinite(self.weights[part]).all():
                    raise ModelError(f"{part} has values that are not finite; the weights are damaged")
            kernel, bias = self.weights[f"{name}.weight"].shape, self.weights[f"{name}.bias"].shape
            if len(kernel) != 4 or kernel[1:] != (channels, 3, 3) or bias != kernel[:1] or not kernel[0]:
                raise ModelError(
                    f"{name}: kernel {kernel} and bias {bias} do not fit {channels} input channels; "
                    f"expected (width, {channels}, 3, 3) and (width,)"
                )
            channels = kernel[0]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the convolutions up to conv5_1, in order."""
        has_fourth = any(f"{name}.weight" in self.weights for name in FOURTH)
        return CONVOLUTIONS if has_fourth else tuple(name for name in CONVOLUTIONS if name not in FOURTH)

    @property
    def architecture(self) -> str:
        """Name of the architecture, "VGG-19" or "VGG-16"."""
        return "VGG-19" if self.layers == CONVOLUTIONS else "VGG-16"

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of channels of relu1_1 .. relu5_1."""
        return tuple(int(self.weights[f"conv{level}_1.bias"].shape[0]) for level in range(1, 6))
