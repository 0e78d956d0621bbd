"""Choice of one picture in a file that has several pages or frames."""

from __future__ import annotations

from typing import IO, Any

from PIL import Image

MOST_PAGES = 1000
"""Largest number of pages of a TIFF file that are compared to find the largest page."""
_PROFILE = 34675
"""TIFF tag of the ICC profile."""
_KIND = 254
"""TIFF tag whose lowest bit marks a page that is a smaller version of another page."""
_INNER = 330
"""TIFF tag that lists the pages that are stored inside a page."""


def turn_to_largest(image: Any, file: IO[bytes]) -> str:
    """Select the largest page of an opened image, and return a remark on the other pages.

    `image` was opened from `file`, which is seekable, and is not decoded yet. Only TIFF files have
    pages. The largest page is selected, because the first may be a thumbnail of another page. Among
    pages of equal size, the first is selected. The remark is for the log; it is "" if no other page
    can be read, or if the file is not TIFF.
    """
    if image.format != "TIFF" or not image.is_animated:
        return ""
    sizes = [image.width * image.height]
    with Image.open(file, formats=("TIFF",)) as other:  # `image` may be unusable after a damaged page
        for page in range(1, MOST_PAGES):
            try:
                other.seek(page)
                sizes.append(other.width * other.height)
            except Exception:  # for a page that it cannot read, Pillow raises errors of many types
                if other.tell() != page:  # Pillow cannot find the next page, either
                    break
                sizes.append(0)
    best = sizes.index(max(sizes))
    if best:
        image.seek(best)
        if _PROFILE not in image.tag_v2:  # Pillow keeps the profile of the previous page
            image.info.pop("icc_profile", None)
    if len(sizes) - sizes.count(0) < 2:
        return ""
    return largest_read(best, len(sizes))


def largest_read(page: int, pages: int) -> str:
    """Return a remark, for the log, that the page with this index, from 0, is the largest."""
    return f"page {page + 1} of {pages}, the largest, is read, and the others are left out"


def is_lone_thumbnail(image: Any) -> bool:
    """Return True if a TIFF page is a thumbnail of a picture that Pillow cannot read.

    Files of raw photographs have such a page.
    """
    return image.format == "TIFF" and _INNER in image.tag_v2 and bool(image.tag_v2.get(_KIND, 0) & 1)


def frames_left_out(image: Any) -> str:
    """Return a remark, for the log, that only the first of several frames is read, or "".

    A JPEG file from a mobile phone (Pillow's format MPO) may have a smaller or a brighter version
    of the picture at its end. This does not count as another frame.
    """
    try:
        if image.format in ("MPO", "TIFF") or not getattr(image, "is_animated", False):
            return ""
    except Exception:  # the rest of the file may be damaged
        return ""
    cure = "; `analogy clip` paints all of them" if image.format == "GIF" else ""
    return f"only the first of its frames is read{cure}"
