"""Files with more than one picture: which of them is read, and what is said of the others."""

from __future__ import annotations

from typing import Any

_MOST_PAGES = 1000
"""Most pages of a TIFF file that are looked at."""
_PROFILE, _KIND, _INNER = 34675, 254, 330
"""Tags of TIFF: the ICC profile, whether a page is a smaller version of another, and pages inside of a page."""


def turn_to_largest(image: Any) -> None:
    """Turn an opened file, of which nothing is decoded yet, to its largest page; the first one of several.

    The first page of a TIFF file may be a thumbnail of another. The files of other formats stay at their first frame.
    """
    if image.format != "TIFF" or not image.is_animated:
        return
    best, most, page = 0, image.width * image.height, 0
    while (page := page + 1) < _MOST_PAGES:
        try:
            image.seek(page)
        except EOFError:
            break
        except Exception:  # Pillow raises nearly anything for a page that it cannot read
            continue
        if image.width * image.height > most:
            best, most = page, image.width * image.height
    image.seek(best)
    if _PROFILE not in image.tag_v2:  # Pillow keeps that of another page
        image.info.pop("icc_profile", None)


def is_lone_thumbnail(image: Any) -> bool:
    """Return whether the page of a TIFF file is the smaller version of one that Pillow cannot reach, as in raw photographs."""
    return image.format == "TIFF" and _INNER in image.tag_v2 and bool(image.tag_v2.get(_KIND, 0) & 1)


def left_out(image: Any) -> str:
    """Return in words what is not read of an opened file with more than one picture; "" for any other.

    Telephones keep a small or a brighter version of a JPEG behind it: that is no picture of its own.
    """
    try:
        if image.format == "MPO" or not getattr(image, "is_animated", False):
            return ""
    except Exception:  # what follows the picture may be damaged
        return ""
    if image.format == "TIFF":
        return f"page {image.tell() + 1}, the largest, is taken, and its other pages are left out"
    cure = "; `analogy clip` paints all of them" if image.format == "GIF" else ""
    return f"only the first of its frames is taken{cure}"
