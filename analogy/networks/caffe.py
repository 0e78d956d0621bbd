"""Reader for the layers of a `.caffemodel` file, without Caffe or a protobuf schema.

The file is a protobuf message `NetParameter` of caffe.proto. Older files, such as the published
VGG-19, have the layers in field 2 (`V1LayerParameter`: name = 4, blobs = 6), newer files in field
100 (`LayerParameter`: name = 1, blobs = 7). A blob is an array of weights.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import ModelError
from .protobuf import fields, open_message, varint

_NAME_AND_BLOBS = {2: (4, 6), 100: (1, 7)}
"""Field number of the layers -> field numbers of a layer's name and of its blobs."""
_MOST_SIDES = 8
"""Maximum number of dimensions of a blob that are read; further dimensions are ignored."""


def _varints(value: int | memoryview) -> Iterator[int]:
    """Yield the integers in one entry of a repeated protobuf field, which may be packed."""
    if isinstance(value, int):
        yield value
        return
    position = 0
    while position < len(value):
        number, position = varint(value, position)
        yield number


def _blob(message: memoryview) -> np.ndarray:
    """Return the array in a `BlobProto`.

    The fields of the message are num, channels, height, width = 1 .. 4, data = 5, shape = 7 (with
    dim = 1) and double_data = 8.
    """
    sides = {1: 1, 2: 1, 3: 1, 4: 1}
    shape: list[int] | None = None
    data: dict[int, list[memoryview]] = {5: [], 8: []}
    for number, value in fields(message):
        if isinstance(value, int):
            if number in sides:
                sides[number] = value
        elif number in data:
            data[number].append(value)
        elif number == 7:
            sides_of_shape = (side for key, dim in fields(value) if key == 1 for side in _varints(dim))
            shape = list(islice(sides_of_shape, _MOST_SIDES))
    values = np.frombuffer(b"".join(data[5] or data[8]), "<f4" if data[5] else "<f8")
    shape = list(sides.values()) if shape is None else shape
    if math.prod(shape) != len(values):
        raise ModelError(f"a blob of shape {shape} has {len(values)} values, so the file is damaged; download it again")
    return values.reshape(shape)


def read_layers(path: Path, wanted: Collection[str]) -> dict[str, list[np.ndarray]]:
    """Return the blobs of the `wanted` layers: name of a layer -> its blobs.

    Layers without blobs are left out. Raises `ModelError` if the file is damaged, or if two of the
    layers have the same name.
    """
    layers: dict[str, list[np.ndarray]] = {}
    for number, layer in fields(open_message(path)):
        if number not in _NAME_AND_BLOBS or isinstance(layer, int):
            continue
        name_field, blobs_field = _NAME_AND_BLOBS[number]
        name, blobs = "", []
        for key, value in fields(layer):
            if key == name_field and not isinstance(value, int):
                name = bytes(value).decode("utf-8", "replace")
            elif key == blobs_field and not isinstance(value, int):
                blobs.append(value)
        if name in wanted and blobs:
            if name in layers:
                raise ModelError(f"two layers are called {name}; expected a single VGG-19 network")
            layers[name] = [_blob(blob) for blob in blobs]
    return layers
