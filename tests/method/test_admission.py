"""Checks of a picture's size, and of the memory for it, before the picture is decoded."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import analogy
from analogy.backends.cpu import CpuBackend
from analogy.errors import ImageError, MemoryLimitError, PictureTooLargeError, SettingsError

OPTIONS = {"inversion": "vote", "search_iterations": 1, "direction": "ab"}


@pytest.fixture
def engine(monkeypatch) -> analogy.Engine:
    monkeypatch.setattr(CpuBackend, "free_memory", lambda backend: 1_000_000_000)
    return analogy.Engine(device="cpu", threads=1)


@pytest.fixture
def small() -> np.ndarray:
    return np.zeros((32, 32, 3), np.uint8)


def flat(width: int, height: int, kind: str) -> bytes:
    """Return the bytes of a picture file with a single colour: many pixels in few bytes."""
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, kind)
    return content.getvalue()


@pytest.fixture
def nothing_is_decoded(monkeypatch) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_picture_that_needs_too_much_memory_is_refused_before_it_is_decoded(engine, small, kind) -> None:
    large = flat(6000, 4000, kind)
    words = r"A: with 24 megapixels this takes about 1\.9 GB of memory and 1\.0 GB are free; make the pictures smaller"
    with pytest.raises(MemoryLimitError, match=words):
        engine.transfer(large, small, **OPTIONS)


@pytest.mark.usefixtures("nothing_is_decoded")
def test_b_prime_is_refused_if_it_needs_too_much_memory_together_with_a(engine, small) -> None:
    a = np.zeros((2500, 4000, 3), np.uint8)
    with pytest.raises(MemoryLimitError, match=r"B': with 6 megapixels this takes about 1\.2 GB"):
        engine.transfer(a, flat(3000, 2000, "PNG"), **OPTIONS)


def test_examples_of_very_different_shapes_are_refused_for_the_memory_of_their_sheet(engine, small) -> None:
    # Each example is small, but a sheet with one below the other has 64 megapixels.
    wide, tall = flat(8000, 16, "PNG"), flat(16, 8000, "PNG")
    with pytest.raises(MemoryLimitError, match=r"B' 2: .+ or give examples of similar shapes"):
        engine.transfer(small, [wide, tall], **OPTIONS)


@pytest.mark.parametrize("swapped", [False, True])
def test_an_engine_refuses_pictures_above_its_limit_and_takes_pictures_of_that_size(small, swapped) -> None:
    engine = analogy.Engine(device="cpu", threads=1, max_input_pixels=40 * 50)
    fits, large = flat(40, 50, "PNG"), flat(40, 51, "PNG")
    words = r"40 x 51 pixels are 0\.00204 megapixels, and max_input_pixels allows 0\.002; make the picture smaller"
    for picture in (large, np.zeros((51, 40)), Image.new("L", (40, 51))):
        with pytest.raises(PictureTooLargeError, match=("B'" if swapped else "A") + ": " + words):
            engine.transfer(*((small, picture) if swapped else (picture, small)), **OPTIONS)
    engine.transfer(*((small, fits) if swapped else (fits, small)), **OPTIONS)


def test_the_function_transfer_takes_the_bound_too(small) -> None:
    with pytest.raises(PictureTooLargeError, match="max_input_pixels allows"):
        analogy.transfer(small, small, max_input_pixels=1000, device="cpu", **OPTIONS)


@pytest.mark.parametrize("limit", [0, 255, -1, 1.5, "many", True, [10]])
def test_a_limit_that_is_not_a_number_of_pixels_is_refused(limit, small) -> None:
    with pytest.raises(SettingsError, match=r"max_input_pixels is .*; give a whole number of at least 256, or None"):
        analogy.transfer(small, small, max_input_pixels=limit)


def test_a_broadcast_array_is_refused_by_its_shape(engine, small) -> None:
    with pytest.raises(MemoryLimitError, match=r"A: with 1\.1e\+06 megapixels"):
        engine.transfer(np.broadcast_to(np.float32(0.5), (2**20, 2**20)), small, **OPTIONS)


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("which", ["mask_a", "mask_b", "b"])
def test_a_picture_that_must_lie_on_another_is_refused_by_its_size(engine, small, which) -> None:
    others = {"mask_a": small, "mask_b": small} if which != "b" else {}
    with pytest.raises(ImageError, match=r"is 6000 x 6000 pixels and .* 32 x 32; give pictures of one size"):
        engine.transfer(small, small, **others | {which: flat(6000, 6000, "PNG")}, **OPTIONS)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_too_little_memory_in_the_middle_of_the_work_raises_memory_limit_error(small, tmp_path, error) -> None:
    engine = analogy.Engine(device="cpu", threads=1)

    def none_left(report: analogy.Progress) -> None:
        raise error

    with pytest.raises(MemoryLimitError, match=r"not enough memory to match and to paint .*; make them smaller, lower"):
        engine.transfer(small, small, progress=none_left, **OPTIONS)
    result = engine.transfer(small, small, **OPTIONS)
    with pytest.raises(MemoryLimitError, match="not enough memory to write the result; close other programs"):
        result.save(tmp_path / "out", progress=none_left)
    assert not (tmp_path / "out" / "settings.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_command_with_little_memory_says_so_in_one_line(tmp_path: Path) -> None:
    """Start a command that finds much free memory, but may only use 1.8 GB of address space.

    So the size check passes, and the allocation fails.
    """
    import struct

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + 6000 * 8)) for _ in range(6000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 6000, 6000, 16, 6, 0, 0, 0)
    picture = tmp_path / "x.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    code = """
import resource, sys
from analogy.backends.cpu import CpuBackend
from analogy.apps.cli import main
import analogy.engine
CpuBackend.free_memory = lambda backend: 1 << 40
resource.setrlimit(resource.RLIMIT_AS, (1_800_000_000,) * 2)
sys.argv = ["analogy", "transfer", *sys.argv[1:]]
main()
"""
    command = [
        sys.executable,
        "-c",
        code,
        picture,
        picture,
        "-o",
        tmp_path / "out",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2
    assert done.stderr == f"analogy: A ({picture}): there is not enough memory to read it; make it smaller\n"
    assert not (tmp_path / "out").exists()
