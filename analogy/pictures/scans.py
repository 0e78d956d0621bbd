"""Check that a JPEG file does not have too many scans, which would take very long to decode.

A scan is a part of the data that goes through the whole picture once. Decoding each scan takes as
long as decoding a file with one scan. A file of a few hundred kilobytes can have thousands of
scans, and Pillow does not limit their number. So this module counts them before the file is
decoded.
"""

from __future__ import annotations

import re
from typing import IO

from ..errors import ImageError

MOST_SCANS = 100
"""Largest accepted number of scans in a file, as in libtiff. Programs write about ten."""
MOST_SEGMENTS = 1 << 16
"""Largest accepted number of segments in a file.

A segment is a marker and at most 64 kilobytes that belong to it. Longer metadata take several.
"""
_BEGIN = 0xD8
"""Code of the marker that begins a picture."""
_END = 0xD9
"""Code of the marker that ends a picture."""
_SCAN = 0xDA
"""Code of the marker that begins a scan."""
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""Pattern of a marker.

In the data of a scan, 0xff stands before zero or a restart code, which the pattern does not match.
"""


def check_scans(file: IO[bytes], label: str) -> None:
    """Raise `ImageError` if a file is a JPEG with too many scans or segments.

    The file must be at its beginning before the call, and is there again after it.
    """
    content = file.read(3)
    if content == b"\xff\xd8\xff":
        content += file.read()
        _count(content, label)
    file.seek(0)


def _count(content: bytes, label: str) -> None:
    """Raise `ImageError` if a JPEG file has too many scans or segments."""
    at = scans = segments = 0
    while (marker := _MARKER.search(content, at)) and (kind := marker[1][0]) != _END:
        at = marker.end()
        if kind == _BEGIN:
            continue
        if kind == _SCAN:
            scans += 1
            if scans == 1 and content.count(b"\xff\xda", at) < MOST_SCANS:
                return  # the usual case: the rest of the file has too few scans to exceed the limit
        at += max(2, int.from_bytes(content[at : at + 2]))
        segments += 1
        for count, most, name in ((scans, MOST_SCANS, "scans"), (segments, MOST_SEGMENTS, "segments")):
            if count > most:
                raise ImageError(
                    f"{label} is a JPEG file with more than {most} {name}; save it again as a baseline JPEG"
                )
