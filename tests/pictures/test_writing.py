"""Writing pictures: what a file holds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from picture_files import close
from PIL import Image

from analogy.errors import ImageError, OutputError
from analogy.pictures.images import Picture
from analogy.pictures.reading import read_picture
from analogy.pictures.writing import write_picture


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
    with pytest.raises(OutputError, match="cannot be written"):
        write_picture(tmp_path / "x.webp", np.zeros((16, 17000, 3), np.uint8))  # WebP ends at 16383
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
