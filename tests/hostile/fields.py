"""Damaged and malicious files of fields, all made by this module."""

from __future__ import annotations

import io
import struct
import zipfile
from functools import cache
from typing import Any

import numpy as np

MAGIC = 202021.25


def npz(shape: tuple[int, ...], kind: str = "<i4", given: int = 1000, name: str = "nnf.npy") -> bytes:
    """Return an archive whose array claims a shape and a dtype, but has only `given` bytes."""
    head, content = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, head.getvalue() + bytes(given))
    return content.getvalue()


def _saved(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


@cache
def sound() -> dict[str, bytes]:
    """Return small valid fields, by file name."""
    nnf = np.random.default_rng(0).integers(0, 9, (5, 7, 2)).astype(np.int32)
    return {
        "a.npz": _saved(nnf=nnf, distance=np.zeros((5, 7), np.float32)),
        "b.flo": struct.pack("<fii", MAGIC, 7, 5) + nnf.astype("<f4").tobytes(),
        "c.txt": b"".join(b"%d %d\n" % (x, y) for x, y in nnf.reshape(-1, 2).tolist()),
    }


@cache
def liars() -> dict[str, bytes]:
    """Return files that claim to be fields, by file name."""
    header = b"\x93NUMPY\1\0" + struct.pack("<H", 5000)
    with_header = io.BytesIO()
    with zipfile.ZipFile(with_header, "w") as archive:
        archive.writestr("nnf.npy", header + b"(" * 5000)
    return {
        "empty.npz": b"",
        "empty.flo": b"",
        "empty.txt": b"",
        "a terabyte.npz": npz((500_000, 500_000, 2)),
        "a terabyte of floats.npz": npz((500_000, 500_000), "<f8"),
        "8 MB of zeros.npz": npz((1000, 1000, 2), given=8_000_000),
        "objects.npz": npz((10, 10, 2), "|O"),
        "negative.npz": npz((-5, -5, 2)),
        "endless.npz": npz((0, 2**62, 2)),
        "brackets.npz": with_header.getvalue(),
        "pickle.npz": _saved(nnf=np.array([{}], object)),
        "no array.npz": npz((3, 3, 2), name="nnf"),
        "another name.npz": npz((3, 3, 2), name="../nnf.npy"),
        "large.flo": struct.pack("<fii", MAGIC, 99_999, 99_999) + bytes(100),
        "negative.flo": struct.pack("<fii", MAGIC, -7, -5) + bytes(280),
        "short.flo": struct.pack("<fii", MAGIC, 7, 5) + bytes(279),
        "not numbers.flo": struct.pack("<fii", MAGIC, 2, 1)
        + struct.pack("<4f", *[float("nan"), float("inf"), 1e38, -1e38]),
        "absurd.txt": b"1e999999 -1e999999\n" * 7,
        "digits.txt": b"1" * 100_000 + b" 0\n",
        "zeros.txt": bytes(1000),
        "binary.txt": bytes(range(256)) * 4,
        "one line.txt": b"1 " * 100_000,
    }
