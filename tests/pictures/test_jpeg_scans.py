"""Tests of JPEG files with many scans, which would take very long to decode."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from analogy.errors import ImageError
from analogy.pictures.reading import picture_size, read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)


def jpeg(scans: int = 0, progressive: bool = True) -> bytes:
    """Return a JPEG file whose last scan is repeated `scans` times."""
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, "JPEG", progressive=progressive, restart_marker_blocks=1)
    whole = content.getvalue()
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * scans + whole[-2:]


def with_segment(whole: bytes, data: bytes, times: int = 1) -> bytes:
    """Return the file `whole` with `times` more application segments, which no decoder shows."""
    return whole[:2] + (b"\xff\xeb" + (len(data) + 2).to_bytes(2) + data) * times + whole[2:]


def test_a_jpeg_file_with_scans_without_end_is_refused_before_it_is_decoded() -> None:
    for read in (read_picture, picture_size):
        with pytest.raises(
            ImageError, match=r"^A is a JPEG file with more than 100 scans; save it again as a baseline JPEG$"
        ):
            read(jpeg(2000), name="A")
    with pytest.raises(ImageError, match="100 scans"):
        read_picture(with_segment(jpeg(2000), b"\xff\xd9"), name="A")  # the segment contains an end marker
    with pytest.raises(ImageError, match="100 scans"):
        # A marker may begin with several 0xff.
        read_picture(jpeg(2000).replace(b"\xff\xda", b"\xff\xff\xff\xda"), name="A")
    with pytest.raises(
        ImageError, match=r"^A is a JPEG file with more than 65536 segments; save it again as a baseline JPEG$"
    ):
        picture_size(with_segment(jpeg(), b"", 70_000), name="A")


@pytest.mark.parametrize("progressive", [True, False])
def test_other_jpeg_files_are_read_as_before(progressive: bool) -> None:
    plain = read_picture(jpeg(progressive=progressive)).rgb
    # Scans after the end of the picture, and inside a segment, do not count.
    assert np.array_equal(read_picture(jpeg(0, progressive) + jpeg(200)).rgb, plain)
    assert np.array_equal(read_picture(with_segment(jpeg(0, progressive), b"\xff\xda\x00\x02" * 200)).rgb, plain)
