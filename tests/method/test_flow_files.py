"""Files of fields: their formats, reading them back, and files that are refused."""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from contextlib import nullcontext

import numpy as np
import psutil
import pytest

from analogy.errors import ImageError, MemoryLimitError, OutputError
from analogy.files.atomic import atomic
from analogy.method import flow, flow_files


@pytest.fixture
def nnf(rng):
    """Return a field (5, 7) into a picture of 9 x 11."""
    return np.stack([rng.integers(0, 9, (5, 7)), rng.integers(0, 11, (5, 7))], axis=2).astype(np.int32)


def test_flo_files_follow_the_middlebury_format(nnf, tmp_path):
    flow_files.write_flo(tmp_path / "ab.flo", nnf)
    data = (tmp_path / "ab.flo").read_bytes()
    magic, width, height = struct.unpack_from("<fii", data)
    assert (magic, width, height) == (np.float32(202021.25), 7, 5)
    assert len(data) == 12 + 5 * 7 * 8
    for y in range(5):
        for x in range(7):
            displacement = struct.unpack_from("<ff", data, 12 + 8 * (7 * y + x))
            assert displacement == (nnf[y, x, 1] - x, nnf[y, x, 0] - y)


def test_text_files_have_the_format_of_the_authors_program(tmp_path):
    nnf = np.array([[[0, 2], [3, 1], [0, 0]], [[1, 0], [0, 1], [5, 9]]], np.int32)
    flow_files.write_text(tmp_path / "flowAB.txt", nnf)
    assert (tmp_path / "flowAB.txt").read_bytes() == b"2 0\n0 3\n-2 0\n0 0\n0 -1\n7 4\n"


def test_npz_files_hold_the_field_and_the_distance(nnf, rng, tmp_path):
    distance = rng.random((5, 7), np.float32)
    flow_files.write_npz(tmp_path / "ab.npz", nnf, distance)
    with np.load(tmp_path / "ab.npz") as arrays:
        assert (arrays["nnf"].dtype, arrays["distance"].dtype) == (np.int32, np.float32)
        np.testing.assert_array_equal(arrays["nnf"], nnf)
        np.testing.assert_array_equal(arrays["distance"], distance)


def write_any(path, nnf):
    if path.suffix == ".npz":
        flow_files.write_npz(path, nnf, np.zeros(nnf.shape[:2], np.float32))
    else:
        {".flo": flow_files.write_flo, ".txt": flow_files.write_text}[path.suffix](path, nnf)


@pytest.mark.parametrize("name", ["f.npz", "f.flo", "f.txt"])
def test_each_format_reads_back_the_field_that_was_written(nnf, tmp_path, name):
    path = tmp_path / name
    write_any(path, nnf)
    result = flow_files.read(path, width=7)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(flow.to_nnf(result), nnf)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no temporary file is left
    result[0, 0] = 0  # the array must be writable


def test_fractional_displacements_are_read_and_unknown_ones_drawn_black(tmp_path):
    values = np.array([[[0.5, -1.25], [1e10, 0], [np.nan, 1]]], "<f4")
    (tmp_path / "other.flo").write_bytes(struct.pack("<fii", 202021.25, 3, 1) + values.tobytes())
    result = flow_files.read(tmp_path / "other.flo")
    np.testing.assert_array_equal(result, values)
    drawn = flow.colour(result)
    assert drawn[0, 0].any()
    assert not drawn[0, 1:].any()
    with pytest.raises(ImageError, match="unknown displacements"):
        flow.to_nnf(result)


HEADER = struct.pack("<fii", 202021.25, 2, 2)


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("f.flo", b"", "is not a .flo file"),
        ("f.flo", b"PIEH\2\0", "is not a .flo file"),
        ("f.flo", struct.pack(">fii", 202021.25, 2, 2) + bytes(32), "is not a .flo file"),
        ("f.flo", HEADER + bytes(31), "2 x 2 takes 44 bytes, but the file has 43"),
        ("f.flo", HEADER + bytes(33), "2 x 2 takes 44 bytes, but the file has 45"),
        (
            "f.flo",
            struct.pack("<fii", 202021.25, -2, 2),
            "its width and height are -2 and 2; each must be from 1 to 99999",
        ),
        ("f.flo", struct.pack("<fii", 202021.25, 2, 2**30), "its width and height are 2 and 1073741824"),
        ("f.npz", b"", "is damaged, or is not a .npz file"),
        ("f.npz", b"PK\3\4 and then nothing", "is damaged, or is not a .npz file"),
        ("f.txt", b"", "empty"),
        ("f.txt", b" \n\n", "empty"),
        ("f.txt", b"1 2\n3 four\n", "'dx dy' on each line"),
        ("f.txt", b"1 2\n3 4 5\n", "'dx dy' on each line"),
        ("f.txt", b"\xff\xfe1 2\n", "'dx dy' on each line"),
        ("f.txt", b"1\n2\n", "2 lines of 1 number;"),
        ("f.txt", b"1 2\n3 4\n5 6\n", "3 lines of 2 numbers;"),
        ("f.exr", b"", "cannot read '.exr' files"),
    ],
)
def test_damaged_files_are_refused_with_the_reason(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match=re.escape(message)) as caught:
        flow_files.read(path, width=2)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_npz_files_are_refused_with_the_reason(nnf, tmp_path):
    path = tmp_path / "f.npz"
    write_any(path, nnf)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-30])
    with pytest.raises(ImageError, match="is damaged, or is not a"):
        flow_files.read(path)
    data[60:120] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(ImageError, match="is damaged, or is not a"):
        flow_files.read(path)
    np.save(path.with_suffix(".npy"), nnf)
    path.with_suffix(".npy").replace(path)
    with pytest.raises(ImageError, match="is damaged, or is not a"):
        flow_files.read(path)
    np.savez(path, field=nnf)
    with pytest.raises(ImageError, match="no array 'nnf'"):
        flow_files.read(path)
    np.savez(path, nnf=np.zeros((3, 4, 2)))
    with pytest.raises(ImageError, match=r"an \(H, W, 2\) integer array; got \(3, 4, 2\) float64"):
        flow_files.read(path)
    np.savez(path, nnf=np.array([{}], object))
    with pytest.raises(ImageError, match="is damaged, or is not a"):  # `np.load` must not load a pickle
        flow_files.read(path)


def test_a_text_file_is_refused_without_a_width(nnf, tmp_path):
    flow_files.write_text(tmp_path / "f.txt", nnf)
    for width in (None, 0):
        with pytest.raises(ImageError, match="give the width"):
            flow_files.read(tmp_path / "f.txt", width)


@pytest.mark.parametrize("name", ["f.npz", "f.flo", "f.txt"])
def test_missing_files_and_folders_are_refused_by_their_names(nnf, tmp_path, name):
    with pytest.raises(ImageError, match="no such file"):
        flow_files.read(tmp_path / name, width=7)
    with pytest.raises(OutputError, match=r"the folder .*nowhere' does not exist"):
        write_any(tmp_path / "nowhere" / name, nnf)


def test_arrays_that_are_no_field_are_refused_and_nothing_is_written(nnf, tmp_path):
    for wrong in (nnf[..., 0], nnf[..., :1], nnf.astype(np.float32), nnf[:0]):
        for name in ("f.npz", "f.flo", "f.txt"):
            with pytest.raises(ImageError, match="a field must be"):
                write_any(tmp_path / name, wrong)
    with pytest.raises(ImageError, match=r"\(7, 5\) does not fit"):
        flow_files.write_npz(tmp_path / "f.npz", nnf, np.zeros((7, 5), np.float32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error, raised", [(KeyboardInterrupt, KeyboardInterrupt), (OSError, OutputError), (ImageError, ImageError)]
)
def test_a_write_that_fails_leaves_the_old_file(tmp_path, error, raised):
    path = tmp_path / "f.bin"
    path.write_bytes(b"old")
    with pytest.raises(raised), atomic(path) as file:
        file.write(b"half of the n")
        raise error("stop")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_takes_the_place_of_the_old_one(tmp_path):
    path, link = tmp_path / "f.bin", tmp_path / "link to the old one"
    path.write_bytes(b"old")
    link.hardlink_to(path)
    with atomic(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert link.read_bytes() == b"old"


@pytest.mark.parametrize("error", [None, OSError])
def test_a_complete_file_is_shown_to_the_caller_before_it_has_its_name(tmp_path, error):
    path, seen = tmp_path / "f.bin", []
    path.write_bytes(b"old")

    def complete(made):
        seen.append((made.read_bytes(), path.read_bytes()))
        if error:
            raise error("stop")

    with pytest.raises(OutputError) if error else nullcontext(), atomic(path, complete) as file:
        file.write(b"new")
    assert seen == [(b"new", b"old")]
    assert path.read_bytes() == (b"old" if error else b"new")
    assert list(tmp_path.iterdir()) == [path]


# Small files that claim large arrays (bombs), and paths that are not files


def test_a_missing_text_is_reported_as_missing_even_without_a_width(tmp_path):
    with pytest.raises(ImageError, match=r"none\.txt: there is no such file"):
        flow_files.read(tmp_path / "none.txt")


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")
@pytest.mark.parametrize("suffix", [".npz", ".flo", ".txt"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("zero", "a device")):
        with pytest.raises(ImageError, match=f"cannot be read .it is {kind}, not a file"):
            flow_files.read(tmp_path / f"{name}{suffix}", 7)


def bomb(path, shape, kind="<i4"):
    """Write a small .npz file whose header states `shape`, but which has at most 1 MB of values."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": kind, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nnf.npy", head.getvalue() + bytes(1_000_000))


def sparse(path, head, size):
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def test_files_that_claim_more_than_any_picture_has_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "load", lambda *arguments, **options: pytest.fail("it was read"))
    side = 99_999
    bomb(tmp_path / "f.npz", (side, side, 2))
    sparse(tmp_path / "f.flo", struct.pack("<fii", 202021.25, side, side), 12 + side * side * 8)
    sparse(tmp_path / "f.txt", b"0 0\n", 4 * side * side)
    for path in tmp_path.iterdir():
        with pytest.raises(
            ImageError, match=r"1e.04 million positions are too many; a field may have at most 179 million"
        ):
            flow_files.read(path, 7)


def test_a_field_beyond_the_free_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "load", lambda *arguments, **options: pytest.fail("it was read"))
    free = psutil.virtual_memory()._replace(available=100_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    bomb(tmp_path / "f.npz", (1000, 1000, 2))
    sparse(tmp_path / "f.flo", struct.pack("<fii", 202021.25, 1000, 1000), 12 + 8_000_000)
    sparse(tmp_path / "f.txt", b"0 0\n", 4_000_000)
    for path in tmp_path.iterdir():
        with pytest.raises(MemoryLimitError, match=r"with 1 million positions this takes about 0\.1 GB"):
            flow_files.read(path, 7)


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((10**6, 10**6), "<f8", r"its array nnf is \(10{6}, 10{6}\) float64; expected an \(H, W, 2\) integer array"),
        ((10**9, 2), "<i4", r"its array nnf is \(10{9}, 2\) int32; expected an \(H, W, 2\) integer array"),
        ((0, 2**40, 2), "<i4", r"a field must be .*; got \(0, 1099511627776, 2\) int32"),
        ((10**4,) * 3, "|O", r"its array nnf is \(10{4}, 10{4}, 10{4}\) object; expected"),
    ],
)
def test_a_bomb_that_is_not_a_field_is_refused(tmp_path, shape, kind, message):
    bomb(tmp_path / "f.npz", shape, kind)
    with pytest.raises(ImageError, match=rf"f\.npz: {message}"):
        flow_files.read(tmp_path / "f.npz")
