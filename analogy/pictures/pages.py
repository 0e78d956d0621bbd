"""Choice of one picture in a file that has several, and the log line about the others."""

from __future__ import annotations

from typing import IO, Any

from PIL import Image

_MOST_PAGES = 1000
"""Maximum number of pages of a TIFF file that are inspected."""
_PROFILE = 34675
"""TIFF tag of the ICC profile."""
_KIND = 254
"""TIFF tag whose lowest bit marks a page that is a smaller version of another one."""
_INNER = 330
"""TIFF tag of the pages inside a page."""


def turn_to_largest(image: Any, file: IO[bytes]) -> str:
    """Turn an image that is not yet decoded to its largest page, and return a remark on the others.

    `image` was opened from `file`, which is seekable. Only TIFF files have pages. The first page
    may be a thumbnail of another one; of pages of equal size, the first one is chosen. The remark
    is "" if there is no other page that can be read.
    """
    if image.format != "TIFF" or not image.is_animated:
        return ""
    sizes = [image.width * image.height]
    with Image.open(file, formats=("TIFF",)) as other:  # `image` may be unusable after a damaged page
        for page in range(1, _MOST_PAGES):
            try:
                other.seek(page)
                sizes.append(other.width * other.height)
            except Exception:  # Pillow raises nearly anything for a page that it cannot read
                if other.tell() != page:  # it cannot find the next page, either
                    break
                sizes.append(0)
    best = sizes.index(max(sizes))
    if best:
        image.seek(best)
        if _PROFILE not in image.tag_v2:  # Pillow keeps the profile of the previous page
            image.info.pop("icc_profile", None)
    if len(sizes) - sizes.count(0) < 2:
        return ""
    return f"page {best + 1} of {len(sizes)}, the largest, is read, and the others are left out"


def is_lone_thumbnail(image: Any) -> bool:
    """Return whether a TIFF page is a thumbnail of a picture that Pillow cannot reach.

    Raw photographs are such files.
    """
    return image.format == "TIFF" and _INNER in image.tag_v2 and bool(image.tag_v2.get(_KIND, 0) & 1)


def frames_left_out(image: Any) -> str:
    """Return a remark on the further frames of a file whose first frame is decoded, or "".

    A JPEG file of a telephone (Pillow's format MPO) may have a smaller or a brighter version of the
    picture at its end, which does not count as another frame.
    """
    try:
        if image.format in ("MPO", "TIFF") or not getattr(image, "is_animated", False):
            return ""
    except Exception:  # the rest of the file may be damaged
        return ""
    cure = "; `analogy clip` paints all of them" if image.format == "GIF" else ""
    return f"only the first of its frames is read{cure}"
