"""Reader for the fields of a protobuf message, without a schema or the package protobuf."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from ..files.inputs import open_regular

_TRUNCATED = "the file ends in the middle of a field, so it is truncated or damaged; download it again"
"""Message about a file that ends too early."""
_MOST_FIELDS = 1 << 20
"""Largest number of fields of a message that is accepted.

The messages of a network have up to a few hundred fields. A large damaged file could contain so
many fields that reading them would take hours.
"""

Field = tuple[int, int | memoryview]
"""Number of a field, and its value: an int for a varint, else the field's bytes."""


def open_message(path: Path) -> memoryview:
    """Return the bytes of a file as a memory map, which reads bytes when they are used."""
    with open_regular(path) as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return the varint at `position`, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ModelError(_TRUNCATED)
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ModelError("a number has more than 10 bytes, so the file is damaged; download it again")


def fields(data: memoryview) -> Iterator[Field]:
    """Yield the fields of a protobuf message.

    Raises `ModelError` if `data` is truncated, or is not a protobuf message.
    """
    position = count = 0
    while position < len(data):
        count += 1
        if count > _MOST_FIELDS:
            raise ModelError(
                f"a message has more than {_MOST_FIELDS} fields, so the file is damaged; download it again"
            )
        key, position = varint(data, position)
        wire = key & 7
        if wire == 0:
            value, position = varint(data, position)
            yield key >> 3, value
            continue
        if wire == 2:
            length, position = varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ModelError(
                f"a field has the wire type {wire}, which no ONNX or Caffe file has, so the file is damaged; "
                "download it again"
            )
        if position + length > len(data):
            raise ModelError(_TRUNCATED)
        yield key >> 3, data[position : position + length]
        position += length
