"""Files with more than one picture: which of them is read, and what is said of the others."""

from __future__ import annotations

from typing import IO, Any

from PIL import Image

_MOST_PAGES = 1000
"""Most pages of a TIFF file that are looked at."""
_PROFILE, _KIND, _INNER = 34675, 254, 330
"""Tags of TIFF: the ICC profile, whether a page is a smaller version of another, and pages inside of a page."""


def turn_to_largest(image: Any, file: IO[bytes]) -> str:
    """Turn an opened file, of which nothing is decoded yet, to its largest page, and return in words what is left out.

    image  of `file`, any place of which can be read

    The first page of a TIFF file may be a thumbnail of another; of pages of one size the first
    counts. Returns "" where there is no other that can be read, and for other formats.
    """
    if image.format != "TIFF" or not image.is_animated:
        return ""
    sizes = [image.width * image.height]
    with Image.open(file, formats=("TIFF",)) as other:  # as `image` may be of no use behind a page that is damaged
        for page in range(1, _MOST_PAGES):
            try:
                other.seek(page)
                sizes.append(other.width * other.height)
            except Exception:  # Pillow raises nearly anything for a page that it cannot read
                if other.tell() != page:  # nor can it find what follows
                    break
                sizes.append(0)
    best = sizes.index(max(sizes))
    if best:
        image.seek(best)
        if _PROFILE not in image.tag_v2:  # Pillow keeps that of another page
            image.info.pop("icc_profile", None)
    if len(sizes) - sizes.count(0) < 2:
        return ""
    return f"page {best + 1} of {len(sizes)}, the largest, is taken, and the others are left out"


def is_lone_thumbnail(image: Any) -> bool:
    """Return whether the page of a TIFF file is the smaller version of one that Pillow cannot reach, as in raw photographs."""
    return image.format == "TIFF" and _INNER in image.tag_v2 and bool(image.tag_v2.get(_KIND, 0) & 1)


def frames_left_out(image: Any) -> str:
    """Return in words that a file whose first frame is decoded has others; "" for other formats, and for TIFF.

    Telephones keep a smaller or a brighter version of a JPEG behind it: that is no picture of its
    own.
    """
    try:
        if image.format in ("MPO", "TIFF") or not getattr(image, "is_animated", False):
            return ""
    except Exception:  # what follows the picture may be damaged
        return ""
    cure = "; `analogy clip` paints all of them" if image.format == "GIF" else ""
    return f"only the first of its frames is taken{cure}"
