"""Reader for VGG-19 weights in five kinds of files, without PyTorch, Keras, Caffe or MXNet.

* "keras", .h5: the weights of Keras's VGG19, with kernels HWIO. They are the original weights.
* "caffe", .caffemodel: the file that the authors of VGG published. They are the original
  weights.
* "torch", .pth: a state dict of PyTorch, with torchvision's names or with this project's
  (`conv1_1.weight` ..).
* "safetensors", .safetensors: the same names as in .pth files. timm uses torchvision's names.
* "onnx", .onnx: a plain VGG-19, as MXNet, torch.onnx and tf2onnx write it. Layers are found by
  their order in the graph, not by their names.

The kind of a file is found by its content, not by its name. Code in a file is never run, and links
to other files are not followed. Networks of any widths are accepted, and so is VGG-16. Layers after
conv5_1 are ignored. A file does not say which preprocessing its weights were trained with, except
that an ONNX graph may contain it. By default, `read` uses the preprocessing in an ONNX graph, or
else a usual preprocessing: "caffe" for files of Keras and Caffe and for graphs with channels last,
"compact" for this project's names, and "imagenet" for all others. The caller can choose another.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError, reason
from ..files.inputs import open_regular
from . import caffe
from .description import CONVOLUTIONS, Network
from .onnx_weights import DAMAGED, read_graph
from .protobuf import fields, open_message
from .torch_zip import TorchZip

PREPROCESSING: Mapping[str, dict[str, Any]] = {
    "caffe": {"mean": (123.68 / 255, 116.779 / 255, 103.939 / 255), "std": (1 / 255, 1 / 255, 1 / 255), "bgr": True},
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "compact": {"mean": (0.45, 0.45, 0.45), "std": (0.25, 0.25, 0.25)},
}
"""Name of a preprocessing -> its `mean`, `std` and `bgr` (see `Network`).

* "caffe": BGR in 0..255 minus the mean, for the original weights.
* "imagenet": RGB in 0..1 minus the mean, over the standard deviation, for torchvision, timm and the
  ONNX zoo.
* "compact": (RGB - .45) / .25, for the networks of this project.
"""

_MOST_VALUES = 1 << 24
"""Largest number of elements of an array in a Keras file that is accepted.

The arrays of VGG-19 have up to 2.4 million elements. A damaged file of a few bytes can state any
number.
"""

Found = tuple[dict[str, np.ndarray], str | Callable[[], Mapping[str, Any]]]
"""Weights under the names of `Network`, and their usual preprocessing.

The preprocessing is a key of `PREPROCESSING`, or a function that returns `mean`, `std` and `bgr`.
"""


def read(path: Path, preprocessing: str | None = None) -> tuple[Network, str]:
    """Return the network in a file of weights, and the file's kind.

    Parameters
    ----------
    path : Path
        The file.
    preprocessing : str, optional
        A key of `PREPROCESSING`. None stands for the preprocessing in an ONNX graph, or else for
        the usual preprocessing of such a file (see the docstring of the module).

    Returns
    -------
    network : Network
        The network up to conv5_1.
    kind : str
        "keras", "caffe", "torch", "safetensors" or "onnx".

    Raises
    ------
    ModelError
        If the file is missing, damaged or of an unknown kind, or if it has neither a VGG-19 nor a
        VGG-16 up to conv5_1.
    """
    if preprocessing not in (None, *PREPROCESSING):
        raise ModelError(f"preprocessing {preprocessing!r} is unknown; choose from {', '.join(PREPROCESSING)}")
    path = Path(path)
    try:
        kind = recognise(path)
        weights, usual = _READERS[kind](path)
        usual = preprocessing or usual
        settings = PREPROCESSING[usual] if isinstance(usual, str) else usual()
        return Network(weights, **settings), kind
    except ModelError as error:
        raise ModelError(f"{path}: {_line(error)}") from error
    except MemoryError as error:
        raise ModelError(f"{path}: reading it needs more memory than is free; {DAMAGED}") from error
    except Exception as error:  # libraries raise many classes of errors for damaged files
        raise ModelError(f"{path}: {DAMAGED} ({_line(error) or type(error).__name__})") from error


def _line(error: Exception) -> str:
    """Return the first 400 characters of an error's message, as one line."""
    return " ".join(str(error).split())[:400]


def recognise(path: Path) -> str:
    """Return the kind of a file of weights. Raises `ModelError` if the kind is unknown."""
    try:
        with open_regular(path) as file:
            head = file.read(64)
    except (FileNotFoundError, IsADirectoryError):
        raise ModelError("there is no such file") from None
    except OSError as error:
        raise ModelError(f"it cannot be read: {reason(error)}") from error
    if not head:
        raise ModelError("the file is empty; download it again")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if head.startswith(b"PK\x03\x04"):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "safetensors"
    if head.startswith(b"\x80") and head[1] <= pickle.HIGHEST_PROTOCOL:
        raise ModelError(
            "it is a bare pickle, as PyTorch wrote before 1.6, which for safety is not read; "
            "save it again with PyTorch: torch.save(torch.load(OLD, weights_only=True), NEW)"
        )
    if head.lstrip().startswith((b"<", b"version https://git-lfs")):
        raise ModelError("it is a web page or a Git LFS pointer instead of weights; download the file itself")
    kind = _protobuf_kind(path, head)
    if kind is None:
        raise ModelError("by its content, it is not .h5, .caffemodel, .pth, .safetensors or .onnx; " + DAMAGED)
    return kind


def _protobuf_kind(path: Path, head: bytes) -> str | None:
    """Return "onnx" or "caffe" for a protobuf file, or None for any other file.

    An ONNX file begins with its version, and its graph is field 7. The layers of a Caffe file are
    field 2 or field 100.
    """
    if head[0] == 8:
        return "onnx"
    kind = None
    try:
        for number, value in fields(open_message(path)):
            if number == 7 and not isinstance(value, int):
                return "onnx"
            if number in (2, 100) and not isinstance(value, int):
                kind = "caffe"
    except ModelError:  # if the file is truncated, its reader will report that
        pass
    return kind


def _import(name: str) -> Any:
    """Return a module of the extra `export`, or raise `ModelError` if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        advice = 'pip install "deep-image-analogy[export]"'
        raise ModelError(f'reading this kind of file needs the package "{name}": {advice}') from error


def _floats(values: Any) -> np.ndarray:
    """Return a copy of floating-point values as float32.

    Raises `ModelError` for values of another kind, such as quantised weights.
    """
    values = np.asarray(values)
    if values.dtype.kind != "f":
        raise ModelError(f"it has weights of type {values.dtype}; save the weights as float32")
    with np.errstate(over="ignore"):  # `Network` refuses infinite values later
        return np.array(values, np.float32, order="C")


def _layer(level: int, index: int) -> str:
    """Return the name of a convolution, such as "conv3_2".

    Raises `ModelError` if VGG-19 has no such convolution.
    """
    name = f"conv{level}_{index}"
    if name not in CONVOLUTIONS:
        raise ModelError(f"it has a convolution {name}, which VGG-19 lacks; expected {', '.join(CONVOLUTIONS)}")
    return name


def _read_keras(path: Path) -> Found:
    """Read a Keras file.

    Its arrays are called `block1_conv1/block1_conv1_W_1:0` .. in the published file, and
    `block1_conv1/kernel:0` .. in newer ones.
    """
    h5py = _import("h5py")
    weights: dict[str, np.ndarray] = {}

    def visit(name: Any, item: Any) -> None:  # h5py does not call this for links
        # h5py gives a damaged name as bytes.
        layer = re.findall(r"block\d_conv\d", name) if isinstance(name, str) else []
        if not layer or not isinstance(item, h5py.Dataset) or name.startswith("optimizer"):
            return
        layer = layer[-1].replace("block", "conv").replace("_conv", "_")
        if layer not in CONVOLUTIONS:
            return
        if item.external or item.is_virtual:
            raise ModelError(f"{name} is stored in an external file, which is not read; save the weights in one file")
        if item.size > _MOST_VALUES:
            raise ModelError(f"{name} has the shape {item.shape}, far more than a layer of VGG-19 has; {DAMAGED}")
        key = f"{layer}.weight" if item.ndim == 4 else f"{layer}.bias"
        if key in weights:
            raise ModelError(f"it has two arrays for {key}; expected the weights of one VGG-19 or VGG-16")
        values = item[()]
        weights[key] = _floats(values.transpose(3, 2, 0, 1) if item.ndim == 4 else values)  # HWIO -> OIHW

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    if not weights:
        raise ModelError("it has no layers block1_conv1 .. block5_conv1; expected the weights of Keras's VGG19")
    return weights, "caffe"


def _read_caffe(path: Path) -> Found:
    """Read a Caffe file."""
    layers = caffe.read_layers(path, CONVOLUTIONS)
    if not layers:
        raise ModelError(
            "it has no layers conv1_1 .. conv5_1 with weights; expected the layers of VGG_ILSVRC_19_layers or "
            "VGG_ILSVRC_16_layers"
        )
    weights = {}
    for name, (kernel, *bias) in layers.items():
        weights[f"{name}.weight"] = _floats(kernel)
        if bias:
            weights[f"{name}.bias"] = _floats(bias[0]).reshape(-1)
    return weights, "caffe"


def _from_names(names: list[str], load: Callable[[str], Any], ndim: Callable[[str], int]) -> Found:
    """Return the weights of a file that uses torchvision's names or this project's names.

    torchvision's names are `features.0.weight` .., this project's `conv1_1.weight` ... In
    torchvision's numbers, a convolution with its ReLU counts as two layers, and a pooling as one.
    So a convolution begins a new level if its number is 3 above that of the convolution before it.
    """
    plain = {name.removeprefix("module."): name for name in names}
    if "conv1_1.weight" in plain:
        wanted = [f"{layer}.{part}" for layer in CONVOLUTIONS for part in ("weight", "bias")]
        return {key: _floats(load(plain[key])) for key in wanted if key in plain}, "compact"
    numbers = sorted(int(match[1]) for name in plain if (match := re.fullmatch(r"features\.(\d+)\.weight", name)))
    if not numbers:
        raise ModelError(
            "it has neither features.0.weight .., as in torchvision and timm, nor conv1_1.weight ..; expected the "
            "weights of a VGG-19 or a VGG-16"
        )
    weights: dict[str, np.ndarray] = {}
    level, index, previous = 1, 0, -2
    for number in numbers:
        step, previous = number - previous, number
        if step not in (2, 3) or ndim(plain[f"features.{number}.weight"]) != 4:
            raise ModelError(
                f"features.{number} is not a convolution of a plain VGG-19; a layer before it is missing, "
                "or it is the variant with batch normalisation, which cannot be used"
            )
        level, index = (level, index + 1) if step == 2 else (level + 1, 1)
        for part in ("weight", "bias"):
            if f"features.{number}.{part}" in plain:
                weights[f"{_layer(level, index)}.{part}"] = _floats(load(plain[f"features.{number}.{part}"]))
        if level == 5:
            break
    return weights, "imagenet"


def _read_torch(path: Path) -> Found:
    """Read a PyTorch file."""
    with TorchZip(path) as file:
        return _from_names(file.names(), file.load, file.ndim)


def _read_safetensors(path: Path) -> Found:
    """Read a safetensors file."""
    safetensors = _import("safetensors")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return _from_names(list(file.keys()), file.get_tensor, lambda name: len(file.get_slice(name).get_shape()))
    except TypeError as error:
        raise ModelError(f"it has a data type that NumPy cannot read ({error}); save the weights as float32") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"{DAMAGED} ({error})") from error


def _read_onnx(path: Path) -> Found:
    """Read an ONNX graph."""
    _import("onnx")
    contents = read_graph(path)
    weights: dict[str, np.ndarray] = {}
    for layer in contents.layers:
        name = _layer(layer.level, layer.index)
        weights[f"{name}.weight"] = _floats(layer.kernel)
        if layer.bias is not None:
            weights[f"{name}.bias"] = _floats(layer.bias)
    # A graph with channels last comes from Keras, which has the original weights.
    usual = PREPROCESSING["caffe" if contents.channels_last else "imagenet"]
    return weights, lambda: contents.preprocessing() or usual


_READERS: Mapping[str, Callable[[Path], Found]] = {
    "keras": _read_keras,
    "caffe": _read_caffe,
    "torch": _read_torch,
    "safetensors": _read_safetensors,
    "onnx": _read_onnx,
}
"""Kind of a file -> the function that reads files of this kind."""
