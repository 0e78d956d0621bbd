"""Damaged and malicious model folders, cards and files of weights, all made by this module.

`FOLDERS` has functions that spoil a copy of the shipped model, by name. `cards` returns contents of
`model.json`, and `weights` contents of files that pretend to be weights. `LONG_LASTING` has
functions that make a pipe, a socket or a device at a path, so that reading the path fails, waits or
never ends. `mutate` changes the bytes of any file at random.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import socket
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from analogy.networks.cards import CARD
from analogy.networks.models import DEFAULT, PROJECTION, locate
from analogy.networks.models import WEIGHTS as WEIGHTS_FILE


def copy(folder: Path) -> Path:
    """Copy the shipped model to `folder`, and return the folder."""
    return Path(shutil.copytree(locate(DEFAULT), folder))


def sign(folder: Path, *without: str) -> None:
    """Write the present checksums of a folder's files into its card, except for files in `without`.

    An attacker can do this, too. So a folder with correct checksums can be malicious.
    """
    card = json.loads((folder / CARD).read_text())
    files = sorted(path for path in folder.iterdir() if path.name not in (CARD, *without))
    card["sha256"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / CARD).write_text(json.dumps(card))


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` with some bytes changed, left out, doubled, or cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        place, length = int(rng.integers(len(changed) + 1)), int(rng.integers(1, 65))
        match rng.integers(5):
            case 0:
                changed[place : place + 1] = rng.bytes(1)
            case 1:
                changed[place : place + length] = rng.bytes(length)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4:
                changed[place : place + 8] = struct.pack("<Q", 1 << int(rng.integers(64)))
    return bytes(changed[: int(rng.integers(len(changed) + 1))] if rng.integers(4) == 0 else changed)


# Folders


def _exchange(folder: Path) -> None:
    (folder / "features.onnx").write_bytes((folder / "invert_5.onnx").read_bytes())


def _add_to_weights(folder: Path) -> None:
    with (folder / WEIGHTS_FILE).open("ab") as file:
        file.write(b"?")


def _nan_weights(folder: Path) -> None:
    size = (folder / WEIGHTS_FILE).stat().st_size
    (folder / WEIGHTS_FILE).write_bytes(np.full(size // 4, np.nan, "<f4").tobytes())
    sign(folder)


def _unnamed_weights(folder: Path) -> None:
    sign(folder, WEIGHTS_FILE)


def _weights_elsewhere(location: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        import onnx

        path = folder / "features.onnx"
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(model.SerializeToString())
        (folder.parent / "elsewhere.bin").write_bytes((folder / WEIGHTS_FILE).read_bytes())
        sign(folder)

    return spoil


def _features(levels: Mapping[int, int] | None = None, ones: bool = False) -> Callable[[Path], None]:
    """Return a function that writes a graph whose features are mixtures of mean colours.

    A feature is a random mixture of the three channels of the mean colour of a square of pixels.
    `levels` maps a level to the side of its squares, if that is not 2 ** (level - 1). With `ones`,
    the graph needs a hundred million times the memory of the picture.
    """

    def spoil(folder: Path) -> None:
        import onnx
        from onnx import helper, numpy_helper

        card, rng = json.loads((folder / CARD).read_text()), np.random.default_rng(0)
        nodes, constants, outputs = [], [], []
        for level, width in enumerate(card["widths"], 1):
            side = (levels or {}).get(level, 2 ** (level - 1))
            kernel = rng.standard_normal((width, 3, 1, 1)).astype(np.float32)
            constants.append(numpy_helper.from_array(kernel, f"kernel{level}"))
            pooled = {"kernel_shape": [side, side], "strides": [side, side], "ceil_mode": 1}
            nodes.append(helper.make_node("AveragePool", ["image"], [f"pooled{level}"], **pooled))
            nodes.append(helper.make_node("Conv", [f"pooled{level}", f"kernel{level}"], [f"relu{level}_1"]))
            shape = [1, width, f"h{level}", f"w{level}"]
            outputs.append(helper.make_tensor_value_info(f"relu{level}_1", onnx.TensorProto.FLOAT, shape))
        if ones:
            constants.append(numpy_helper.from_array(np.array([1, 1, 10_000, 10_000]), "many"))
            nodes[-1].output[0] = "small"
            nodes += [
                helper.make_node("Shape", ["image"], ["shape"]),
                helper.make_node("Mul", ["shape", "many"], ["large"]),
                helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
                helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
                helper.make_node("Add", ["small", "sum"], ["relu5_1"]),
            ]
        image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, "h", "w"])
        graph = helper.make_graph(nodes, "features", [image], outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (folder / "features.onnx").write_bytes(model.SerializeToString())
        sign(folder)

    return spoil


def _graph(content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "features.onnx").write_bytes(content)
        sign(folder)

    return spoil


def _nested_graphs(depth: int) -> bytes:
    """Return an ONNX model with nested graphs: a node of each graph contains the next graph.

    There are `depth` graphs inside the outermost one. The numbers of the protobuf fields are
    model.graph = 7, node = 1, attribute = 5, g = 6.
    """
    data = b""
    for number in (6, 5, 1) * depth + (7,):
        length, size = len(data), b""
        while True:
            size += bytes([length & 127 | (128 if length > 127 else 0)])
            length >>= 7
            if not length:
                break
        data = bytes([number << 3 | 2]) + size + data
    return data


def _projection(content: Callable[[], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / PROJECTION).write_bytes(content())
        sign(folder)

    return spoil


def _npz(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _npz_bomb() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("level1.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (16, 2_000_000)})
        for _ in range(128):
            file.write(bytes(1_000_000))
    return content.getvalue()


def _npz_claim() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, archive.open("level1.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (16, 1 << 40)})
    return content.getvalue()


FOLDERS: Mapping[str, Callable[[Path], None]] = {
    "another graph as features.onnx": _exchange,
    "weights with a byte more": _add_to_weights,
    "weights that are not numbers": _nan_weights,
    "weights that the card does not name": _unnamed_weights,
    "weights in the folder above": _weights_elsewhere("../elsewhere.bin"),
    "weights in the same folder, written as ./weights.bin": _weights_elsewhere("./weights.bin"),
    "weights in a device": _weights_elsewhere("/dev/zero"),
    "maps of another size": _features({2: 3}),
    "features that need more memory than there is": _features(ones=True),
    "an empty graph": _graph(b""),
    "a graph of random bytes": _graph(np.random.default_rng(0).bytes(5000)),
    "graphs within graphs": _graph(_nested_graphs(5000)),
    "a projection of a sixth level": _projection(lambda: _npz(level6=np.ones((16, 4), np.float32))),
    "a projection to 0 channels": _projection(lambda: _npz(level1=np.ones((16, 0), np.float32))),
    "a projection of objects": _projection(lambda: _npz(level1=np.array([{}], object))),
    "a projection that unpacks to 128 MB": _projection(_npz_bomb),
    "a projection that claims 64 TB": _projection(_npz_claim),
    "a pickled number as projection": _projection(lambda: pickle.dumps(1)),
}


# Cards


def _card(**changes: object) -> bytes:
    return json.dumps(json.loads((locate(DEFAULT) / CARD).read_text()) | changes).encode()


def cards() -> dict[str, bytes]:
    """Return hostile or damaged cards: name -> content."""
    return {
        "empty": b"",
        "nested": b"[" * 100_000,
        "nested objects": b'{"a":' * 100_000,
        "a number": b"7",
        "a number of 5000 digits": b'{"widths": 1' + b"0" * 5000 + b"}",
        "no names": b"{}",
        "not text": b"\xff\xfe\x00",
        "large": b'"' + b" " * (2 << 20) + b'"',
        "half": _card()[:200],
        "a name that is not text": _card(name={"a": ["b"]}),
        "a description with a terminal's commands": _card(description="\x1b[2J\x1b]0;x\x07"),
        "two lines": _card(licence="one\ntwo"),
        "wide": _card(widths=[16, 32, 64, 256, 10**400]),
        "narrow": _card(widths=[16, 32, 64, 256, -1]),
        "other widths": _card(widths=[16, 32, 64, 256, 255]),
        "no checksums": _card(sha256={}),
        "checksums of another form": _card(sha256={"features.onnx": 5}),
        "a file elsewhere": _card(sha256={"../../../etc/passwd": "0" * 64}),
        "a file with a NUL": _card(sha256={"a\0b": "0" * 64}),
        "the card itself": _card(sha256={"model.json": "0" * 64}),
        "an unknown field": _card(colour="blue"),
    }


# Weights


def zipped(pickled: bytes) -> bytes:
    """Return an archive like those of `torch.save`, with this pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return stream.getvalue()


def _h5_claim() -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("block1_conv1/kernel:0", (3, 3, 1 << 20, 1 << 20), "f4", chunks=(3, 3, 64, 64))
    return stream.getvalue()


def weights() -> dict[str, bytes]:
    """Return hostile or damaged files that pretend to be weights: name -> content."""
    header = json.dumps(
        {"conv1_1.weight": {"dtype": "F32", "shape": [1 << 40, 3, 3, 3], "data_offsets": [0, 8]}}
    ).encode()
    return {
        "empty": b"",
        "a memo of 4 GB": zipped(b"\x80\x04Nr\xff\xff\xff\x0f."),
        "a byte array of 1 TB": zipped(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."),
        "tuples in tuples": zipped(b"\x80\x02)" + b"\x85" * 500_000 + b"."),
        "an h5 of 40 TB": _h5_claim(),
        "a shape of 4 PB": struct.pack("<Q", len(header)) + header + bytes(8),
        "a header of 4 GB": struct.pack("<Q", (1 << 32) - 1) + b"{" + bytes(100),
        "a million layers": b"\x12\x00" * (1 << 21),
        "a field of 2 EB": b"\x12" + b"\xff" * 8 + b"\x7f" + bytes(100),
        "an onnx with an empty graph": b"\x08\x08\x3a\x00",
        "graphs within graphs": b"\x08\x08" + _nested_graphs(5000),
    }


@cache
def sound_weights() -> dict[str, bytes]:
    """Return small valid files of weights, by kind, for each kind whose writer is installed."""
    import safetensors.numpy
    import vgg_files

    values = vgg_files.random_weights((3, 4, 5, 6, 7))
    named = vgg_files.torchvision_names(values)
    files = {"safetensors": safetensors.numpy.save(named)}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("keras", "caffe", "onnx"):
            getattr(vgg_files, f"write_{kind}")(Path(folder) / kind, values)
            files[kind] = (Path(folder) / kind).read_bytes()
    with suppress(ImportError):
        import torch

        stream = io.BytesIO()
        torch.save({name: torch.tensor(value) for name, value in named.items()}, stream)
        files["torch"] = stream.getvalue()
    return files


# Pipes, sockets and devices


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short, so this uses a relative one
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


LONG_LASTING: Mapping[str, Callable[[Path], None]] = {
    "a pipe": _fifo,
    "a socket": _socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}
