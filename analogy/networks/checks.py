"""Checks of a model's files and graphs against the checksums and the widths in its card."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelError, reason
from ..files.inputs import open_regular
from .cards import Card
from .protobuf import fields, open_message
from .published import digest_of

_DEEPEST = 16
"""Largest depth of graphs within graphs that is accepted."""


class ModelFiles:
    """Files of a model's folder, each checked at its first use, and again after a change.

    The attribute `cure` says what to do about a damaged file. The error messages of `path` end with
    it.
    """

    def __init__(self, folder: Path, card: Card, cure: str):
        self.folder, self.card, self.cure = folder, card, cure
        self._whole: dict[str, tuple[int, ...]] = {}

    def path(self, name: str) -> Path:
        """Return the path of a file after comparing it with its checksum in the card.

        Raises `ModelError` if the file differs, cannot be read, or is not in the card.
        """
        path = self.folder / name
        if name not in self.card.sha256:
            raise ModelError(f"{path} is not named by the model's card, so it cannot be checked; {self.cure}")
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
                if self._whole.get(name) == identity:
                    return path
                actual = digest_of(file, "sha256")
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {reason(error)}; {self.cure}") from error
        if actual != self.card.sha256[name]:
            expected = self.card.sha256[name]
            raise ModelError(f"{path} is damaged: its SHA-256 is {actual}, but its card says {expected}; {self.cure}")
        self._whole[name] = identity
        return path

    def graph(self, name: str) -> Path:
        """Return the path of a graph after `path` has checked it and its files of weights."""
        path = self.path(name)
        for weights in external_files(path):
            self.path(weights)
        return path


def external_files(path: Path) -> list[str]:
    """Return the names of the files in which the graph at `path` stores weights.

    Raises `ModelError` if the graph cannot be read or is damaged.
    """
    try:
        return list(dict.fromkeys(_of_message(open_message(path), _MODEL, 0)))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # `mmap` raises ValueError for an empty file
        raise ModelError(f"{path} cannot be read: {reason(error)}; export the model again") from error


_MODEL = {7: "graph", 25: "function"}
"""Field of an ONNX model (onnx.proto) that may contain tensors -> kind of the messages in it."""
_WITHIN = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Kind of a message -> each field that may contain tensors -> kind of the messages in it."""


def _of_message(data: memoryview, within: dict[int, str], depth: int) -> Iterator[str]:
    """Yield the names of the files of weights that a message refers to.

    `within` maps the numbers of the message's fields to the kinds of messages in them. `depth` is
    the number of graphs around the message.
    """
    for number, value in fields(data):
        kind = within.get(number)
        if kind is None or isinstance(value, int):
            continue
        if kind == "entry":  # an entry of external_data: key = 1, value = 2
            entry = {
                key: bytes(text).decode("utf-8", "replace") for key, text in fields(value) if not isinstance(text, int)
            }
            if entry.get(1) == "location":
                yield entry.get(2, "")
        elif kind == "graph" and depth == _DEEPEST:
            raise ModelError(
                f"graphs are nested more than {_DEEPEST} deep, which no exporter writes; export the model again"
            )
        else:
            yield from _of_message(value, _WITHIN[kind], depth + (kind == "graph"))


def check_graph(path: Path, card: Card, session: Any) -> None:
    """Check that a graph has the inputs and outputs that the card requires.

    The graph was loaded from `path`. `session` is an ONNX Runtime session, or an object with the
    same `get_inputs` and `get_outputs`. Raises `ModelError` if there are other inputs, or if an
    input or an output is missing or has another type or shape.
    """
    channels = (3, *card.widths)  # the channels of the picture and of relu1_1 .. relu5_1
    kind, _, number = path.stem.partition("_")
    axis = 3 if kind == "step" else 1
    if kind == "features":
        inputs = {"image": channels[0]}
        outputs: dict[str, int | None] = {f"relu{level}_1": channels[level] for level in range(1, 6)}
    elif kind == "step":
        level = int(number)
        inputs, outputs = (
            {"start": channels[level - 2], "target": channels[level]},
            {"reconstruction": channels[level - 1]},
        )
    else:
        level = int(number)
        inputs = {"x": channels[level - 2], "target": channels[level]}
        outputs = {"loss": None, "gradient": channels[level - 2], "between": channels[level - 1]}
    extra = [item.name for item in session.get_inputs() if item.name not in inputs]
    if extra:
        raise ModelError(
            f"{path} has unexpected inputs: {', '.join(extra)}; expected only {', '.join(inputs)}; export the model "
            "again"
        )
    for role, wanted, items in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        found = {item.name: item for item in items}
        for name, width in wanted.items():
            if name not in found:
                has = ", ".join(found) or "none"
                raise ModelError(f"{path} has no {role} {name}; it has {has}; export the model again")
            shape = list(found[name].shape)
            if found[name].type != "tensor(float)" or not _fits(shape, width, axis):
                expected: list[int | str] = [] if width is None else [1, "height", "width"]
                expected[axis:axis] = [] if width is None else [width]
                raise ModelError(
                    f"{path}: {role} {name} is {found[name].type} {shape}, but its card says tensor(float) {expected}; "
                    "the folder's files are not of one model, or the graph has a fixed picture size; export the model "
                    "again"
                )


def _fits(shape: Sequence[int | str | None], channels: int | None, axis: int) -> bool:
    """Return whether the `shape` of an input or output has these channels and no fixed size.

    It must be (1, channels, height, width), with the channels moved to `axis`. Without `channels`,
    it must be that of a scalar.
    """
    if channels is None or len(shape) != 4:
        return channels is None and not shape
    batch, *size = shape
    width = size.pop(axis - 1)
    free = not any(isinstance(side, int) for side in size)
    return free and all(side == wanted or not isinstance(side, int) for side, wanted in ((batch, 1), (width, channels)))
