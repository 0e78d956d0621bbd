"""Reader for the convolutions of an ONNX graph, and for its preprocessing.

It reads the graphs that MXNet, torch.onnx and tf2onnx write for a plain VGG-19 or VGG-16, and those
of this project. The nodes from the input to conv5_1 must be a chain of layers; branches from this
chain are ignored. Before the first convolution there may be an affine map of each channel, an
exchange of RGB and BGR, and the transposition of an input with channels last. These nodes become
the network's preprocessing. A chain with any other node is refused, and the error names the node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in 0..1 over ImageNet.

If a graph subtracts this mean, the order of its numbers shows whether the first convolution expects
RGB or BGR.
"""

DAMAGED = "it is truncated or damaged; download it again"
"""Message about a file that is not a valid file of its kind."""
_ASIDE = {"Relu", "Identity", "Dropout"}
"""Types of nodes to skip after the first convolution; before it, only "Identity" is skipped."""
_TO_NCHW = [0, 3, 1, 2]
"""Permutation of a transposition from channels last to channels first."""


@dataclass(frozen=True)
class Layer:
    """Convolution with its level, its number in the level, its kernel (O, I, h, w) and its bias."""

    level: int
    index: int
    kernel: np.ndarray
    bias: np.ndarray | None


@dataclass(frozen=True)
class Contents:
    """Layers of a graph, and its preprocessing.

    Attributes
    ----------
    layers : list of Layer
        The convolutions up to conv5_1.
    preprocessing : callable
        Function that returns mean, std and bgr for `Network`. The function returns None if the
        graph contains no preprocessing.
    channels_last : bool
        True if the input of the graph is NHWC, as in a Keras model that tf2onnx converted.
    """

    layers: list[Layer]
    preprocessing: Callable[[], dict[str, Any] | None]
    channels_last: bool


def read_graph(path: Path) -> Contents:
    """Return the contents of the graph at `path` up to conv5_1.

    Raises `ModelError` with the name of the first node of an unexpected kind.
    """
    import onnx

    try:
        graph = onnx.load(path, format="protobuf", load_external_data=False).graph
    except Exception as error:  # each implementation of protobuf raises its own exceptions
        raise ModelError(f"{DAMAGED} ({error})") from error
    return _Reader(onnx, graph).contents()


class _Reader:
    """Graph that is being read: its constants, and the nodes that lead to its last convolution."""

    def __init__(self, onnx: Any, graph: Any):
        self.onnx = onnx
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes = list(graph.node)
        for node in self.nodes:
            if node.op_type == "Constant" and "value" in (found := self.attributes(node)):
                self.tensors[node.output[0]] = found["value"]
            elif node.op_type == "Identity" and node.input[0] in self.tensors:
                self.tensors[node.output[0]] = self.tensors[node.input[0]]
        self.chain = self.find_chain()

    def attributes(self, node: Any) -> dict[str, Any]:
        """Return the attributes of a node by their names."""
        return {item.name: self.onnx.helper.get_attribute_value(item) for item in node.attribute}

    def value(self, node: Any, position: int) -> np.ndarray | None:
        """Return the constant at a node's input `position`, or None if there is no such input.

        Raises `ModelError` if the constant is not in the file.
        """
        name = node.input[position] if len(node.input) > position else ""
        if not name:
            return None
        tensor = self.tensors.get(name)
        if tensor is None or tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            raise ModelError(f"{_name(node)}: {name} is not stored in the file; save the weights in one file")
        return self.onnx.numpy_helper.to_array(tensor)

    def find_chain(self) -> list[Any]:
        """Return the nodes from the input to the last convolution.

        If a node adds the bias of that convolution, this node comes last.
        """
        makers = {name: node for node in self.nodes for name in node.output}
        last = next((node for node in reversed(self.nodes) if node.op_type == "Conv"), None)
        if last is None:
            raise ModelError("it has no convolutions; expected a plain VGG-19")
        found = {id(last): last}
        while last is not None:
            flowing = [name for name in last.input if name and name not in self.tensors]
            last = makers.get(flowing[0]) if flowing else None
            if last is not None and id(last) in found:
                raise ModelError(f"{_name(last)} depends on its own output; expected a plain VGG-19")
            if last is not None:
                found[id(last)] = last
        chain = list(found.values())[::-1]
        return chain + [node for node in self.nodes if node.op_type == "Add" and chain[-1].output[0] in node.input]

    def contents(self) -> Contents:
        """Return the layers of the chain and its preprocessing.

        Raises `ModelError` if the chain is not that of a VGG.
        """
        before, layers = _Before(self), list[Layer]()
        level, index, padded, wants_relu = 1, 0, False, False
        for node in self.chain:
            kind, where = node.op_type, _name(node)
            if wants_relu and kind == "Add" and layers[-1].bias is None:  # this node adds the bias
                bias = next((self.value(node, n) for n in (0, 1) if node.input[n] in self.tensors), None)
                layers[-1] = Layer(level, index, layers[-1].kernel, _per_channel(bias, layers[-1].kernel, where))
            elif level == 5 and index:
                break
            elif kind in ("Conv", "MaxPool") and wants_relu:
                raise ModelError(f"{where} follows a convolution without a Relu between them; expected a plain VGG-19")
            elif kind == "Conv":
                self.check(node, padded)
                index, padded, wants_relu = index + 1, False, True
                kernel = self.value(node, 1)
                if kernel is None:
                    raise ModelError(f"{where} has no kernel; {DAMAGED}")
                layers.append(Layer(level, index, kernel, self.value(node, 2)))
            elif padded:
                raise ModelError(f"{where} follows a Pad; expected a convolution there")
            elif kind == "MaxPool":
                self.check(node)
                level, index = level + 1, 0
            elif kind == "Pad" and self.is_by_one(node, before.channels_last and not layers):
                padded = True
            elif kind == "Relu" and layers:
                wants_relu = False
            elif kind not in _ASIDE if layers else kind != "Identity" and not before.add(node):
                raise ModelError(f"{where} has no place before conv5_1; expected a plain VGG-19")
        return Contents(layers, before.preprocessing, before.transposed)

    def check(self, node: Any, padded: bool = False) -> None:
        """Raise `ModelError` unless a convolution or a pooling is like those of VGG-19."""
        has, side = self.attributes(node), [1, 1]
        if node.op_type == "Conv":
            pads = [0] * 4 if padded else [1] * 4
            wanted = {"strides": ([1, 1], side), "pads": (pads, [0] * 4), "dilations": ([1, 1], side), "group": (1, 1)}
        else:
            wanted = {"strides": ([2, 2], side), "kernel_shape": ([2, 2], None), "pads": ([0] * 4, [0] * 4)}
        # SAME_UPPER and SAME_LOWER differ only in the end at which an odd side is padded.
        if has.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
            has["pads"] = [0] * 4 if node.op_type == "MaxPool" else [1] * 4
        for key, (value, default) in wanted.items():
            if has.get(key, default) != value:
                raise ModelError(f"{_name(node)} has {key} {has.get(key, default)}; a plain VGG-19 has {value}")

    def is_by_one(self, node: Any, channels_last: bool) -> bool:
        """Return whether a Pad node adds just one row or column of zeros at each side."""
        has = self.attributes(node)
        pads = has["pads"] if "pads" in has else self.value(node, 1)
        fill = has.get("value", 0.0) if "pads" in has else self.value(node, 2)
        sides = [0, 1, 1, 0] if channels_last else [0, 0, 1, 1]
        return (
            has.get("mode", b"constant") == b"constant"
            and not np.any(0.0 if fill is None else fill)
            and pads is not None
            and list(np.ravel(pads)) == sides * 2
        )


@dataclass
class _Before:
    """Preprocessing by the nodes so far: value * scale + shift for each channel of the input.

    `reversed` is True if the first convolution expects the channels of the input in the opposite
    order, `transposed` if a node transposed the input to channels first, and `scaled` if a node
    scales or shifts the values.
    """

    reader: _Reader
    scale: np.ndarray = field(default_factory=lambda: np.ones(3))
    shift: np.ndarray = field(default_factory=lambda: np.zeros(3))
    reversed: bool = False
    transposed: bool = False
    scaled: bool = False

    @property
    def channels_last(self) -> bool:
        """True if the values at this point of the chain are NHWC."""
        return not self.transposed and any(self._to_nchw(node) for node in self.reader.chain)

    def _to_nchw(self, node: Any) -> bool:
        """Return whether a node transposes channels last to channels first."""
        return node.op_type == "Transpose" and list(self.reader.attributes(node).get("perm", [])) == _TO_NCHW

    def add(self, node: Any) -> bool:
        """Apply a node before the first convolution to the preprocessing.

        Returns False, and changes nothing, if the node is of an unknown kind.
        """
        if node.op_type in ("Sub", "Add", "Mul", "Div"):
            return self._affine(node)
        if node.op_type in ("Gather", "Slice"):
            return self._reverse(node)
        if self._to_nchw(node) and not self.transposed:
            self.transposed = True
            return True
        return False

    def _affine(self, node: Any) -> bool:
        """Apply a node that adds, subtracts, multiplies or divides by constants.

        Returns False, and changes nothing, for any other node.
        """
        stored = [n for n in (0, 1) if node.input[n] in self.reader.tensors]
        if len(stored) != 1:
            return False
        constant = self.reader.value(node, stored[0])
        shape = (1, 1, 1, 3) if self.channels_last else (1, 3, 1, 1)
        try:
            constant = np.broadcast_to(np.asarray(constant, float), shape).ravel()
        except ValueError:
            return False
        first = stored == [0]  # the node is constant - value, or constant / value
        if node.op_type == "Sub":
            sign = -1 if first else 1
            self.scale, self.shift = sign * self.scale, sign * (self.shift - constant)
        elif node.op_type == "Add":
            self.shift = self.shift + constant
        elif (first and node.op_type == "Div") or not constant.all():
            return False
        else:
            factor = constant if node.op_type == "Mul" else 1 / constant
            self.scale, self.shift = self.scale * factor, self.shift * factor
        self.scaled = True
        return True

    def _reverse(self, node: Any) -> bool:
        """Apply a node that reverses the channels, x[:, [2, 1, 0]] or x[:, ::-1].

        Returns False, and changes nothing, for any other node.
        """
        axis = 3 if self.channels_last else 1
        if node.op_type == "Gather":
            indices = self.reader.value(node, 1)
            on, order = self.reader.attributes(node).get("axis", 0), [] if indices is None else indices.ravel().tolist()
            fits = on in (axis, axis - 4) and order in ([2, 1, 0], [-1, -2, -3])
        else:
            starts, ends, axes, steps = (self.reader.value(node, n) for n in (1, 2, 3, 4))
            if starts is None or ends is None or axes is None or steps is None or starts.size != 1:
                return False
            cut = slice(int(starts[0]), int(ends[0]), int(steps[0]))
            # If the step is negative, an end below -3 means that the slice goes on to the first of
            # the three channels.
            end = None if cut.stop < -3 else cut.stop
            fits = int(axes[0]) in (axis, axis - 4) and [0, 1, 2][cut.start : end : cut.step] == [2, 1, 0]
        if fits:
            self.scale, self.shift, self.reversed = self.scale[::-1], self.shift[::-1], not self.reversed
        return fits

    def preprocessing(self) -> dict[str, Any] | None:
        """Return mean, std and bgr for `Network`, or None if there is no preprocessing.

        The input value that the graph turns into zero shows whether the graph expects pictures in
        0..1 or in 0..255. Raises `ModelError` if the nodes fit neither range.
        """
        if not self.scaled and not self.reversed:
            return None
        zero = -self.shift / self.scale
        centred = not zero.any()  # without a shift, only the scale shows the range
        if (self.scale.min() >= 100) if centred else ((zero > 0) & (zero < 1)).all():
            largest = 1.0
        elif (0 < self.scale.max() <= 1 / 100) if centred else ((zero > 1) & (zero < 255)).all():
            largest = 255.0
        else:
            raise ModelError(
                f"the nodes before conv1_1 multiply by {self.scale.tolist()} and add {self.shift.tolist()}, which does "
                "not show whether pictures are in 0..1 or 0..255; choose the preprocessing with --preprocessing"
            )
        mean, std = zero / largest, 1 / (self.scale * largest)
        known = [np.allclose(mean, order, atol=2e-3) for order in (IMAGENET_MEAN, IMAGENET_MEAN[::-1])]
        bgr = known[1] if any(known) else self.reversed
        if bgr:
            mean, std = mean[::-1], std[::-1]
        return {"mean": tuple(mean.tolist()), "std": tuple(std.tolist()), "bgr": bgr}


def _per_channel(bias: np.ndarray | None, kernel: np.ndarray, where: str) -> np.ndarray:
    """Return the bias that an Add node adds, as one number for each channel.

    Raises `ModelError` if the shape of the added array is not that of a bias.
    """
    shape = () if bias is None else bias.shape
    if bias is None or shape[-3:] != (len(kernel), 1, 1) or bias.size != len(kernel):
        raise ModelError(f"{where} adds an array of shape {shape}; expected a bias of {(len(kernel), 1, 1)}")
    return bias.ravel()


def _name(node: Any) -> str:
    """Return a node's name and kind for messages."""
    return f"node {node.name or next(iter(node.output), 'without name')} ({node.op_type})"
