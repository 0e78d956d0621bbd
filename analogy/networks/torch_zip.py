"""Reader for the tensors of a `.pth` file, which needs no PyTorch and runs no code from the file.

`torch.save` writes a zip with a pickle of names and shapes, `data.pkl`, and the values of each
storage in a separate file, `data/KEY`. A pickle is a small program that may call any function. This
reader replaces the functions that build tensors by harmless objects, and lets the pickle call only
these. It refuses every other name without looking it up.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ..errors import ModelError

_MAX_PICKLE = 1 << 20
"""Largest pickle that is read, in bytes; the pickle of a state dict has a few kilobytes."""
_MAX_SIDES = 16
"""Largest number of dimensions of a tensor that is accepted."""
_STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
             "LongStorage": "<i8", "IntStorage": "<i4", "ByteStorage": "u1", "BoolStorage": "?"}  # fmt: skip
"""Type of a storage in PyTorch -> dtype in NumPy, or "bfloat16", which NumPy lacks."""


class _Tensor(NamedTuple):
    """Tensor in the file.

    It has the dtype and the key of its storage, its offset there and its strides (both in
    elements), and its shape.
    """

    dtype: str
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RebuildTensor:
    """Replacement of PyTorch's function that builds a tensor."""

    __slots__ = ()  # a pickle can set the attributes of an object that it looks up, so this object cannot have any

    def __call__(self, storage: tuple[str, str], offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
        dtype, key = storage
        if max(len(shape), len(strides)) > _MAX_SIDES:
            raise ModelError(
                f"its pickle has a tensor with {len(shape)} dimensions, so the file is damaged; download it again"
            )
        return _Tensor(dtype, key, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _RebuildParameter:
    """Replacement of PyTorch's function that builds a parameter."""

    __slots__ = ()

    def __call__(self, tensor: _Tensor, *_: Any) -> _Tensor:
        return tensor


class _EmptyDict:
    """Replacement of the class OrderedDict; it can only make an empty OrderedDict."""

    __slots__ = ()

    def __call__(self) -> OrderedDict[Any, Any]:
        return OrderedDict()


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _EmptyDict(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
} | {("torch", name): dtype for name, dtype in _STORAGES.items()}
"""Module and name that a pickle may look up -> the object that the look-up returns."""


class _Unpickler(pickle.Unpickler):
    """Unpickler that looks up only the names in `_ALLOWED`."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ModelError(
                f"its pickle refers to {module}.{name}; for safety only tensors are loaded. "
                "If you trust the file, load it in PyTorch, save model.state_dict() and convert that file"
            ) from None

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        tag, dtype, key, *_ = pid
        if tag != "storage" or dtype not in _STORAGES.values():
            raise ModelError(
                f"its pickle has values of an unknown kind, {pid!s:.80}; in PyTorch, save model.state_dict()"
            )
        return dtype, str(key)


def _check_memo(data: bytes) -> None:
    """Raise `ModelError` for a pickle that requests a larger memo than its length can fill.

    Python's reader would allocate the whole memo.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise ModelError(
                f"its pickle requests {argument} places in a memo, so the file is damaged or malicious; "
                "download it again"
            )


class TorchZip:
    """State dict in a `.pth` file, which is open until the end of a `with` statement.

    Names and shapes are read when the object is made, and values by `load`. Raises `ModelError` for
    a pickle that refers to anything but tensors, or is not a state dict.
    """

    def __init__(self, path: Path):
        self._zip = zipfile.ZipFile(path)
        try:
            self._root, self._tensors = self._open()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> TorchZip:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._zip.close()

    def _open(self) -> tuple[str, dict[str, _Tensor]]:
        """Return the name of the folder in the zip, and the tensors by their names.

        Raises `ModelError` if the zip has no state dict that can be read.
        """
        names = [name for name in self._zip.namelist() if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
        if len(names) != 1:
            raise ModelError(
                f"it is a zip file with {len(names)} files data.pkl, but torch.save writes one; give a file of weights"
            )
        root = names[0].removesuffix("data.pkl")
        if f"{root}byteorder" in self._zip.namelist() and self._bytes(f"{root}byteorder") != b"little":
            raise ModelError(
                "it was written on a big-endian machine, which is not supported; save it on a little-endian machine"
            )
        if (size := self._zip.getinfo(names[0]).file_size) > _MAX_PICKLE:
            raise ModelError(
                f"its pickle has {size} bytes, far more than a state dict needs; in PyTorch, save model.state_dict()"
            )
        data = self._bytes(names[0])
        try:
            _check_memo(data)
            state = _Unpickler(io.BytesIO(data)).load()
        except ModelError:
            raise
        except Exception as error:  # a damaged pickle can raise exceptions of any class
            raise ModelError(f"its pickle is damaged ({type(error).__name__}: {error}); download it again") from error
        if isinstance(state, dict):
            state = state.get("state_dict", state)
        if not isinstance(state, dict):
            raise ModelError(
                f"it holds a {type(state).__name__}, not a state dict; in PyTorch, save model.state_dict()"
            )
        return root, {name: item for name, item in state.items() if isinstance(name, str) and isinstance(item, _Tensor)}

    def _bytes(self, name: str) -> bytes:
        """Return the content of a file in the zip.

        Raises `ModelError` if the zip has no such file, or if the file is compressed.
        """
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise ModelError(f"the zip has no {name}, so the file is damaged; download it again") from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise ModelError(f"{name} in the zip is compressed, which torch.save never does; save it with torch.save")
        return self._zip.read(info)

    def names(self) -> list[str]:
        """Return the names of the tensors."""
        return list(self._tensors)

    def ndim(self, name: str) -> int:
        """Return the number of dimensions of a tensor."""
        return len(self._tensors[name].shape)

    def load(self, name: str) -> np.ndarray:
        """Return the values of a tensor; bfloat16 becomes float32."""
        tensor = self._tensors[name]
        half = tensor.dtype == "bfloat16"
        storage = np.frombuffer(self._bytes(f"{self._root}data/{tensor.key}"), "<u2" if half else tensor.dtype)
        if len(tensor.shape) != len(tensor.strides) or min(tensor.offset, *tensor.shape, *tensor.strides) < 0:
            raise ModelError(
                f"{name} has the shape {tensor.shape} and the strides {tensor.strides}; the file is damaged: "
                "download it again"
            )
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        if last >= len(storage) or math.prod(tensor.shape) > len(storage):
            raise ModelError(
                f"{name} {tensor.shape} reaches beyond its {len(storage)} stored values; the file is damaged: "
                "download it again"
            )
        steps = [step * storage.itemsize for step in tensor.strides]
        values = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps, writeable=False)
        return (values.astype("<u4") << 16).view("<f4") if half else values
