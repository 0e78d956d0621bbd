"""List of published VGG-19 weights: their addresses, owners, licences and checksums.

`vgg19` is the network of the paper. The networks `vgg19-retrained...` have the same layers, but
others trained them again. The scale of the features at a level differs between these networks, so
the results of transfers differ, too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import ModelError
from ..files.inputs import open_regular


@dataclass(frozen=True)
class PublishedFile:
    """Published file of weights.

    Attributes
    ----------
    name : str
        Name of the file.
    checksums : mapping of str to str
        Algorithm -> checksum in hexadecimal, or its first digits if no more are known.
    urls : tuple of str
        Addresses from which to download the file; they are tried one after another.
    size : int, optional
        Size in bytes, if it is known.
    by_hand : str
        Address for a download by hand, if an automatic download would not be safe or polite. The
        command `models pull --from` accepts a file that was downloaded by hand.
    """

    name: str
    checksums: Mapping[str, str]
    urls: tuple[str, ...] = ()
    size: int | None = None
    by_hand: str = ""

    def describe(self) -> str:
        """Return the name, the size and the checksums for messages and cards."""
        size = [f"{self.size} bytes"] if self.size else []
        return f"{self.name} ({', '.join([*size, *(f'{kind} {digits}' for kind, digits in self.checksums.items())])})"

    def mismatch(self, path: Path) -> str:
        """Return in words how the file at `path` differs from the published one; "" if equal."""
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
        if self.size not in (None, size):
            return f"it has {size} bytes, but {self.name} has {self.size}"
        for kind, digits in self.checksums.items():
            actual = digest(path, kind)
            if not actual.startswith(digits):
                rest = "" if len(actual) == len(digits) else ".."
                return f"its {kind} is {actual}, but {self.name} has {digits}{rest}"
        return ""


@dataclass(frozen=True)
class Published:
    """Published model. All `files` contain the same weights, so one of them is enough."""

    description: str
    licence: str
    files: tuple[PublishedFile, ...] = field(repr=False)


_NOTOP = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""Name of the file that Keras publishes."""
_ZOO = "validated/vision/classification/vgg/model/vgg19-7.onnx"
"""Path of the VGG-19 file in the ONNX model zoo."""

PUBLISHED: Mapping[str, Published] = {
    "vgg19": Published(
        "VGG-19 at full width with the original weights of 2014, those of the paper",
        "CC BY 4.0; K. Simonyan and A. Zisserman, Visual Geometry Group, University of Oxford. Keras distributes the "
        "weights under this licence, and the authors' page says CC BY; early notes of theirs said CC BY-NC 4.0",
        (
            PublishedFile(
                _NOTOP,
                {"md5": "253f8cb515780f3b799900260a226db6"},
                (
                    f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{_NOTOP}",
                    f"https://github.com/fchollet/deep-learning-models/releases/download/v0.1/{_NOTOP}",
                ),
            ),
            PublishedFile(  # by hand: it is seven times as large as Keras's file, and its server has no HTTPS
                "VGG_ILSVRC_19_layers.caffemodel",
                {"sha1": "239785e7862442717d831f682bb824055e51e9ba"},
                size=574_671_192,
                by_hand="http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_19_layers.caffemodel",
            ),
        ),
    ),
    "vgg19-retrained": Published(
        "VGG-19 at full width as torchvision trained it again; not the paper's weights",
        "BSD-3-Clause; the torchvision contributors",
        (
            PublishedFile(
                "model.safetensors",  # tried first, because its complete checksum is known
                {"sha256": "11aea017b543ff59233749d8f1cf544cda749378f5790d2fedab841fb86b7669"},
                ("https://huggingface.co/timm/vgg19.tv_in1k/resolve/main/model.safetensors",),
            ),
            PublishedFile(
                "vgg19-dcbb9e9d.pth",
                {"sha256": "dcbb9e9d"},
                ("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",),
                size=574_673_361,
            ),
        ),
    ),
    "vgg19-retrained-mxnet": Published(
        "VGG-19 at full width as MXNet trained it again, from the ONNX model zoo; not the paper's weights",
        "Apache-2.0; the ONNX model zoo",
        (
            PublishedFile(
                "vgg19-7.onnx",
                {"sha256": "692f9f927f1df1b89033787a77a73eac59fd9b3344f9ecdf0b13221e41c2046f"},
                (
                    "https://huggingface.co/onnxmodelzoo/vgg19-7/resolve/main/vgg19-7.onnx",
                    f"https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/{_ZOO}",
                    f"https://github.com/onnx/models/raw/main/{_ZOO}",
                ),
                size=574_677_321,
            ),
        ),
    ),
}
"""Published models by their names."""


def digest(path: Path, kind: str) -> str:
    """Return the hexadecimal checksum of a file by the algorithm `kind` of hashlib.

    Raises `OSError` if the file cannot be read, or is a pipe or a device.
    """
    with open_regular(path) as file:
        return digest_of(file, kind)


def digest_of(file: IO[bytes], kind: str) -> str:
    """Return the hexadecimal checksum of an open file by the algorithm `kind` of hashlib."""
    algorithm = hashlib.new(kind, usedforsecurity=False)
    while block := file.read(1 << 20):
        algorithm.update(block)
    return algorithm.hexdigest()


def published(name: str) -> Published:
    """Return the published model `name`. Raises `ModelError` if there is none."""
    if name not in PUBLISHED:
        raise ModelError(f"no model {name!r} is published; choose from {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def identify(path: Path, names: tuple[str, ...] | None = None) -> tuple[str, PublishedFile] | None:
    """Return the name of a model, and its published file that equals the file at `path`.

    Returns None if there is no such published file. Only the files of the models with these `names`
    are compared, by default those of all published models.
    """
    for name in PUBLISHED if names is None else names:
        for file in PUBLISHED[name].files:
            if not file.mismatch(path):
                return name, file
    return None
