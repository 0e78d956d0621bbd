"""Tests of writing pictures: the files that are written, and errors for wrong calls."""

from __future__ import annotations

import io

import numpy as np
import pytest
from picture_files import close
from PIL import Image

from analogy.errors import ImageError, OutputError
from analogy.pictures.images import Picture
from analogy.pictures.reading import read_picture
from analogy.pictures.writing import WRITERS, _Ticking, is_picture_path, write_picture, write_stream


def test_alpha_of_a_is_put_back(tmp_path, rgb, holes):
    a = Picture(rgb, alpha=holes)
    for suffix in (".png", ".tif", ".webp"):
        write_picture(tmp_path / f"x{suffix}", rgb, like=a)
        assert np.array_equal(read_picture(tmp_path / f"x{suffix}").alpha, holes)
    for suffix, within in ((".bmp", 1), (".jpg", 20)):
        write_picture(tmp_path / f"x{suffix}", rgb, like=a)
        picture = read_picture(tmp_path / f"x{suffix}")
        white = rgb * (holes / 255)[..., None] + 255 * (1 - holes / 255)[..., None]
        assert picture.alpha is None and close(picture.rgb, white, within)
    with pytest.raises(ImageError, match=r"\(10, 24, 3\)|\(10, 24\)"):
        write_picture(tmp_path / "x.png", rgb[:10], like=a)


def test_jpeg_keeps_full_colour_resolution(tmp_path):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 255, 255
    write_picture(tmp_path / "x.jpg", stripes)
    assert close(read_picture(tmp_path / "x.jpg").rgb, stripes, 40)


def test_paths_and_arrays_that_cannot_be_written_are_named(tmp_path, rgb):
    def fails(path, match):
        with pytest.raises(OutputError, match=match) as caught:
            write_picture(path, rgb)
        assert "\n" not in str(caught.value)

    fails(tmp_path / "x.txt", r"'.txt'.*\.png \.jpg")
    fails(tmp_path / "x", r"''.*\.png \.jpg")
    fails(tmp_path / "none" / "x.png", "none' does not exist")
    (tmp_path / "file").touch()
    fails(tmp_path / "file" / "x.png", "cannot be written")
    (tmp_path / "folder.png").mkdir()
    fails(tmp_path / "folder.png", "cannot be written")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]
    for wrong in (rgb[..., 0], rgb.astype(float), np.dstack([rgb, rgb]), rgb[:0]):
        with pytest.raises(ImageError, match="uint8 or uint16, got"):
            write_picture(tmp_path / "x.png", wrong)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, rgb, monkeypatch, error):
    write_picture(tmp_path / "x.png", rgb)
    before = (tmp_path / "x.png").read_bytes()

    def save(self, file, *args, **kwargs):
        file.write(b"half")
        raise error

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OutputError):
        write_picture(tmp_path / "x.png", 255 - rgb)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"] and (tmp_path / "x.png").read_bytes() == before


def test_a_written_file_has_the_usual_permissions(tmp_path, rgb):
    write_picture(tmp_path / "x.png", rgb)
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(("suffix", "most"), [(".jpg", 65500), (".webp", 16383)])
def test_a_format_s_longest_side_is_written_and_a_longer_one_refused_before_it_is_encoded(
    tmp_path, suffix, most, capfd
):
    write_picture(tmp_path / f"most{suffix}", np.zeros((1, most, 3), np.uint8))
    too_long = np.zeros((most + 1, 1, 3), np.uint8)
    words = rf"1 x {most + 1} pixels; .* holds at most {most} on a side; use \.png or \.tif"
    with pytest.raises(OutputError, match=words):
        write_picture(tmp_path / f"x{suffix}", too_long)
    with pytest.raises(OutputError, match=words):
        write_stream(io.BytesIO(), too_long, suffix)
    assert [path.name for path in tmp_path.iterdir()] == [f"most{suffix}"]
    assert capfd.readouterr() == ("", "")  # libjpeg would print an error if it were called


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_full_disk_is_one_error_in_each_format_and_no_library_prints(tmp_path, suffix, dtype, capfd, monkeypatch):
    """Let an encoder's writes fail from the first one on, then from the second one on, and so on.

    Each time the error is one line, and no file is left.
    """
    rgb = np.random.default_rng(0).integers(0, 256, (90, 90, 3)).astype(dtype)
    real = _Ticking.write
    for good in range(100):
        left = iter(range(good))

        def write(self, data, left=left):
            if next(left, None) is None:
                raise OSError(28, "No space left on device")
            return real(self, data)

        monkeypatch.setattr(_Ticking, "write", write)
        try:
            write_picture(tmp_path / f"x{suffix}", rgb)
        except OutputError as error:
            assert (
                str(error) == f"{tmp_path}/x{suffix} cannot be written (No space left on device); choose another place"
            )
            assert list(tmp_path.iterdir()) == []
        else:
            break
    assert good > 0
    assert capfd.readouterr() == ("", "")


def test_a_full_file_system_is_named_and_left_as_it_was(small_disk, rng, capfd):
    rgb = rng.integers(0, 256, (300, 300, 3)).astype(np.uint8)
    for suffix in WRITERS:
        with pytest.raises(OutputError, match="No space left"):
            write_picture(small_disk / f"x{suffix}", rgb)
    assert list(small_disk.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_name_with_the_suffix_of_a_written_format_is_a_picture(tmp_path, suffix):
    assert is_picture_path(tmp_path / f"x{suffix}") and is_picture_path(tmp_path / f"x{suffix.upper()}")


@pytest.mark.parametrize("name", ["x.jpeg2000", "x.GIF", "x.heic", "x.svg"])
def test_a_name_of_another_format_is_not_a_folder(tmp_path, name):
    with pytest.raises(OutputError, match=f"cannot write .{name[2:].lower()} pictures; use one of .png .jpg"):
        is_picture_path(tmp_path / name)
    (tmp_path / name).mkdir()
    assert not is_picture_path(tmp_path / name)  # now a folder with this name exists


@pytest.mark.parametrize("name", [".png", ".JPG", ".gif"])
def test_a_suffix_without_a_name_is_not_a_folder(tmp_path, name):
    with pytest.raises(OutputError, match=f"{name} is a suffix without a name; .*'picture{name}'"):
        is_picture_path(tmp_path / name)


def test_a_path_without_a_known_suffix_is_a_folder(tmp_path):
    assert not any(is_picture_path(tmp_path / name) for name in ("out", "v1.2", ".hidden", "out.png.d"))
    assert is_picture_path(tmp_path / "x.png")


class _Raw(io.RawIOBase):
    """Unbuffered file with room for `room` bytes that takes at most 1000 bytes at once."""

    def __init__(self, room: int):
        self.content, self._room = b"", room

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        taken = bytes(data[: min(1000, self._room - len(self.content))])
        self.content += taken
        return len(taken)


def test_an_unbuffered_file_gets_the_whole_picture_or_an_error(rgb):
    whole = io.BytesIO()
    write_stream(whole, np.tile(rgb, (8, 8, 1)), ".bmp")
    raw = _Raw(10**9)
    write_stream(raw, np.tile(rgb, (8, 8, 1)), ".bmp")
    assert raw.content == whole.getvalue() and len(raw.content) > 5000
    with pytest.raises(OutputError, match="it takes no more bytes"):
        write_stream(_Raw(1500), np.tile(rgb, (8, 8, 1)), ".bmp")
