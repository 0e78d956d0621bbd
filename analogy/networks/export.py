"""ONNX graphs of a VGG network: its features, the objective of the inversion, and a gradient step.

An inference runtime has no automatic differentiation. So this module writes the gradient of the
objective into the graph as ordinary nodes. The rules are:

* The loss is sum (y - target)^2, and d loss / d y = 2 (y - target).
* The gradient at the input of a 3 x 3 convolution (stride 1, zero padding) is the gradient at its
  output, convolved with the same kernel after a turn by 180 degrees and a swap of the two channel
  axes.
* The gradient at the input of a ReLU equals the gradient at its output where the output is
  positive, and is 0 elsewhere.
* A 2 x 2 max pooling passes the gradient to the largest of its four inputs, in equal shares if
  several are the largest.

Pooling works as in Caffe, the paper's framework: an odd last row or column has its own window.
So a map of H x W becomes a map of ceil(H / 2) x ceil(W / 2), and each position has a parent in the
coarser map. In the objective, the graph pads the map with zeros to even sides instead. The result
is the same, because the output of a ReLU is never below zero, and the gradient stays simple.

A mask is applied as a product with 0 or 1, since ONNX Runtime takes ten times as long for `Where`.
If a pooling follows a ReLU, the ReLU's mask is applied to the gradient at the output of the
pooling, which has a quarter of the elements. The result is the same, because the largest of four
inputs, which alone gets the gradient, is positive exactly if the output of the pooling is positive.

A model is a folder with `features.onnx`, `invert_5.onnx` .. `invert_2.onnx`, `step_5.onnx` ..
`step_2.onnx`, the `weights.bin` that they share, and `model.json` (see `models`). The package
`onnx` is needed to export a model, but not to run it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from .cards import Card
from .description import Network
from .models import GRAPHS, WEIGHTS, write_model

try:
    from onnx import ModelProto, checker, helper, numpy_helper
    from onnx.external_data_helper import set_external_data
except ImportError as error:  # pragma: no cover - it only adds advice
    raise ModelError(
        'converting weights to a model needs the package "onnx": pip install "deep-image-analogy[export]"'
    ) from error

_SMALL = 1024
"""Size below which a constant stays in the graph's file, in bytes."""
_ALIGNMENT = 64
"""Alignment of the constants in the file of weights, in bytes (a cache line of a processor)."""

SPAN = 2
"""Number of levels from relu(L) in the objective back to its variable relu(L - 2).

At L = 2 the variable is the picture.

This departs from the paper (section 4.3), which goes back one level. The authors' program goes back
two, which constrains the solution more. With two levels, results were nearer to nine published
results: the mean feature distance was 0.137 instead of 0.140.
"""

NEAR = (5, 4)
"""Levels at which the single gradient step goes back only one level, to relu(L - 1).

At these levels the network first computes relu(L - 1) from relu(L - 2). Results are as near to the
published results as with a step over two levels, and the step takes three fifths of the time. With
steps over one level at all levels, the mean feature distance from seven published results was
0.1446 (mean of three seeds); with steps over two levels at all levels it was 0.1424.
"""


class _Graph:
    """Graph that is being built; a method that adds a node or a constant returns its name."""

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node, and return its name, which is also the name of its output."""
        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """Add a constant."""
        self.constants[name] = np.asarray(value, dtype or self.dtype)
        return name

    def number(self, value: float) -> str:
        """Add a constant that is one number."""
        return self.constant(f"number_{value:g}", value)

    def integers(self, *values: int) -> str:
        """Add a constant of int64 numbers."""
        return self.constant("integers_" + "_".join(map(str, values)), values, np.int64)

    def model(self, name: str, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> ModelProto:
        """Return the graph as a checked ONNX model."""
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(key, kind, shape) for key, shape in inputs.items()],
            [helper.make_tensor_value_info(key, kind, shape) for key, shape in outputs.items()],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )
        # Every version of ONNX Runtime that the package supports reads opset 17 and IR 8.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model, full_check=True)
        return model


def _preprocess(g: _Graph, network: Network, image: str) -> str:
    """Add the preprocessing of a picture."""
    mean = g.constant("mean", np.reshape(network.mean, (1, 3, 1, 1)))
    std = g.constant("std", np.reshape(network.std, (1, 3, 1, 1)))
    return g.op("Div", g.op("Sub", image, mean), std)


def _kernel(g: _Graph, network: Network, layer: str) -> str:
    """Add the kernel of a layer as a constant."""
    kernel = network.weights[f"{layer}.weight"]
    if layer == "conv1_1" and network.bgr:
        kernel = kernel[:, ::-1]  # with this kernel, the graph expects RGB
    return g.constant(f"{layer}.weight", kernel)


def _convolve(g: _Graph, network: Network, layer: str, x: str, name: str | None = None) -> str:
    """Add a convolution and its ReLU."""
    bias = g.constant(f"{layer}.bias", network.weights[f"{layer}.bias"])
    y = g.op("Conv", x, _kernel(g, network, layer), bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return g.op("Relu", y, name=name)


def build_features(network: Network, dtype: Any = np.float32) -> ModelProto:
    """Return the graph from a picture to its features.

    The input `image` is (1, 3, H, W) RGB in 0..1. The outputs `relu1_1` .. `relu5_1` are (1, width,
    ceil(H / s), ceil(W / s)) with the strides s = 1, 2, 4, 8, 16. The dtype is float32, or float64
    in tests.
    """
    g = _Graph(dtype)
    x = _preprocess(g, network, "image")
    for layer in network.layers:
        if layer.endswith("_1") and layer != "conv1_1":
            x = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        x = _convolve(g, network, layer, x, name=f"relu{layer[4:]}")
    outputs = {f"relu{n}_1": [1, width, f"h{n}", f"w{n}"] for n, width in enumerate(network.widths, 1)}
    return g.model("features", {"image": [1, 3, "h", "w"]}, outputs)


def _pool(g: _Graph, x: str) -> tuple[str, str]:
    """Add a 2 x 2 max pooling of `x`, padded with zeros to even sizes.

    Returns the names of the result and of the padded `x`.
    """
    size = g.op("Slice", g.op("Shape", x), g.integers(2), g.integers(4))
    odd = g.op("Mod", size, g.integers(2, 2))
    padded = g.op("Pad", x, g.op("Concat", g.integers(0, 0, 0, 0, 0, 0), odd, axis=0))
    return g.op("MaxPool", padded, kernel_shape=[2, 2], strides=[2, 2]), padded


def _double(g: _Graph, x: str) -> str:
    """Add a node that repeats each value of `x` at 2 x 2 positions."""
    scales = g.constant("twice", [1, 1, 2, 2], np.float32)
    return g.op(
        "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


def _positive(g: _Graph, gradient: str, relu: str) -> str:
    """Add a mask that sets `gradient` to 0 where the output of a ReLU is 0."""
    # `Sign` would be simpler, but ONNX Runtime computes it in a single thread.
    return g.op("Mul", gradient, _as_numbers(g, g.op("Greater", relu, g.number(0))))


def _as_numbers(g: _Graph, truth: str) -> str:
    """Add a conversion of truth values to 0 and 1."""
    return g.op("Cast", truth, to=helper.np_dtype_to_tensor_dtype(g.dtype))


def _pool_gradient(g: _Graph, gradient: str, x: str, padded: str, pooled: str) -> str:
    """Add the gradient with respect to the input `x` of a pooling, which follows a ReLU.

    `gradient` is the gradient with respect to the output `pooled`.
    """
    largest = _as_numbers(g, g.op("Equal", padded, _double(g, pooled)))
    count = g.op("Mul", g.op("AveragePool", largest, kernel_shape=[2, 2], strides=[2, 2]), g.number(4))
    each = g.op("Div", _positive(g, gradient, pooled), count)
    full = g.op("Mul", largest, _double(g, each))
    size = g.op("Slice", g.op("Shape", x), g.integers(2), g.integers(4))
    return g.op("Slice", full, g.integers(0, 0), size, g.integers(2, 3))


def _convolve_gradient(g: _Graph, network: Network, layer: str, gradient: str) -> str:
    """Add the gradient with respect to the input of a convolution.

    `gradient` is the gradient with respect to the convolution's output.
    """
    swapped = g.op("Transpose", _kernel(g, network, layer), perm=[1, 0, 2, 3])
    turned = g.op("Slice", swapped, g.integers(2, 2), g.integers(-4, -4), g.integers(2, 3), g.integers(-1, -1))
    return g.op("Conv", gradient, turned, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@dataclass(frozen=True)
class _Layer:
    """Convolution in a graph.

    `output` is the output of the ReLU after it. If a pooling comes before the convolution, `pool`
    is the input, the padded input and the output of the pooling.
    """

    name: str
    output: str
    pool: tuple[str, str, str] | None


def _forward(g: _Graph, network: Network, x: str, first: int, last: int) -> list[_Layer]:
    """Add the layers from `x` to relu(last)_1.

    `x` is relu(first)_1, or the picture if `first` is 0.
    """
    names = network.layers
    start = names.index(f"conv{first}_1") + 1 if first else 0
    y = x if first else _preprocess(g, network, x)
    layers = []
    for name in names[start : names.index(f"conv{last}_1") + 1]:
        pool = None
        if name.endswith("_1") and name != "conv1_1":
            before = y
            y, padded = _pool(g, before)
            pool = (before, padded, y)
        y = _convolve(g, network, name, y)
        layers.append(_Layer(name, y, pool))
    return layers


def _backward(g: _Graph, network: Network, layers: list[_Layer], target: str) -> tuple[str, str]:
    """Add the loss ||y - target||^2 and its gradient.

    y is the output of the last of the `layers`. The gradient is with respect to the input of the
    first of them.
    """
    error = g.op("Sub", layers[-1].output, target)
    loss = g.op("ReduceSumSquare", error, keepdims=0)
    gradient, masked = g.op("Mul", error, g.number(2)), False
    for layer in reversed(layers):
        gradient = gradient if masked else _positive(g, gradient, layer.output)
        gradient = _convolve_gradient(g, network, layer.name, gradient)
        masked = layer.pool is not None
        if layer.pool:
            gradient = _pool_gradient(g, gradient, *layer.pool)
    if layers[0].name == "conv1_1":
        gradient = g.op("Div", gradient, "std")
    return loss, gradient


def build_objective(network: Network, level: int, dtype: Any = np.float32) -> ModelProto:
    """Return the graph of the objective of a level L, 5 .. 2: ||relu(L)(x) - target||^2.

    Section 4.3 of the paper describes it. The input `x` (1, C, H, W) is relu(L-2)_1, or for L = 2
    the picture (RGB in 0..1), and `target` is relu(L)_1. The outputs are `loss` (a scalar),
    `gradient` (in the shape of `x`), and `between` (relu(L-1)_1 of `x`).
    """
    g = _Graph(dtype)
    layers = _forward(g, network, "x", level - SPAN, level)
    loss, gradient = _backward(g, network, layers, "target")
    between = next(layer.output for layer in layers if layer.name == f"conv{level - 1}_1")
    for name, value in (("loss", loss), ("gradient", gradient), ("between", between)):
        g.op("Identity", value, name=name)
    width = (3, *network.widths)
    sizes = {"x": [1, width[level - SPAN], "h", "w"], "target": [1, width[level], "h_target", "w_target"]}
    outputs = {"loss": [], "gradient": sizes["x"], "between": [1, width[level - 1], "h_between", "w_between"]}
    return g.model(f"invert_{level}", sizes, outputs)


def build_step(network: Network, level: int, dtype: Any = np.float32) -> ModelProto:
    """Return the graph of one gradient step on the objective of a level L, 5 .. 2.

    The input `start` (1, H, W, C) is relu(L-2)_1, or for L = 2 the picture (RGB in 0..1), and
    `target` is relu(L)_1. The output `reconstruction` is relu(L-1)_1 after the step. All three have
    channels last, because the search needs this layout, and ONNX Runtime is as fast with it.

    The step goes from x to x - (f / |f'|^2) f', where f is the objective and f' its gradient at x
    (Polyak's length, for a function whose minimum is 0). For pairs of random photographs, this
    length was within 2 % of the best length along the gradient at levels 5 to 3, and within 4 % at
    level 2. At the levels of `NEAR`, x is relu(L-1)_1 of `start`; at the other levels, x is
    `start`.
    """
    g = _Graph(dtype)
    x, finer = g.op("Transpose", "start", perm=[0, 3, 1, 2]), level - SPAN
    if level in NEAR:
        x, finer = _forward(g, network, x, finer, level - 1)[-1].output, level - 1
    target = g.op("Transpose", "target", perm=[0, 3, 1, 2])
    loss, gradient = _backward(g, network, _forward(g, network, x, finer, level), target)
    steepness = g.op("Max", g.op("ReduceSumSquare", gradient, keepdims=0), g.number(1e-30))
    x = g.op("Sub", x, g.op("Mul", gradient, g.op("Div", loss, steepness)))
    if level not in NEAR:
        x = _forward(g, network, x, finer, level - 1)[-1].output
    g.op("Transpose", x, perm=[0, 2, 3, 1], name="reconstruction")
    width = (3, *network.widths)
    inputs = {"start": [1, "h", "w", width[level - SPAN]], "target": [1, "h_target", "w_target", width[level]]}
    return g.model(f"step_{level}", inputs, {"reconstruction": [1, "h_between", "w_between", width[level - 1]]})


def export(network: Network, folder: Path, card: Card) -> None:
    """Write the graphs and the card of a model into `folder`, all files or none.

    The folder must be new or empty.
    """
    graphs = {"features.onnx": build_features(network)}
    graphs |= {f"invert_{level}.onnx": build_objective(network, level) for level in (5, 4, 3, 2)}
    graphs |= {f"step_{level}.onnx": build_step(network, level) for level in (5, 4, 3, 2)}
    assert set(graphs) == set(GRAPHS)
    weights = _share_weights(graphs.values())
    files = {name: model.SerializeToString() for name, model in graphs.items()}
    write_model(folder, card, files | {WEIGHTS: weights})


def _share_weights(models: Iterable[ModelProto]) -> bytes:
    """Move the large constants of all graphs to one file, and return the content of the file.

    The file has one copy of each constant, even if several graphs use it.
    """
    content, offsets = bytearray(), {}
    for model in models:
        for tensor in model.graph.initializer:
            data = tensor.raw_data
            if len(data) < _SMALL:
                continue
            if data not in offsets:
                content += bytes(-len(content) % _ALIGNMENT)
                offsets[data] = len(content)
                content += data
            set_external_data(tensor, WEIGHTS, offsets[data], len(data))
            tensor.ClearField("raw_data")
    return bytes(content)
