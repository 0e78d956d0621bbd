"""The scans of a JPEG file, counted before it is decoded: each costs about as much as decoding the picture once.

A file of some hundred kilobytes can have thousands of them. Pillow does not bound them, as
libjpeg's own programs can.
"""

from __future__ import annotations

import re
from typing import IO

from ..errors import ImageError

MOST_SCANS = 100
"""Most scans of a file, the bound of libtiff for JPEG within TIFF. Programs write about ten."""
MOST_SEGMENTS = 1 << 16
"""Most segments of a file. Only profiles and metadata come in more than one, of 64 kilobytes each."""
_BEGIN, _END, _SCAN = 0xD8, 0xD9, 0xDA
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""Pattern of the next marker outside of a scan: inside, 0xff is followed by zero, or by the number of a restart."""


def check_scans(file: IO[bytes], label: str) -> None:
    """Raise `ImageError` if a file, open at its begin, is a JPEG file of too many scans or segments. Other files pass."""
    content = file.read(3)
    if content == b"\xff\xd8\xff":
        content += file.read()
        _count(content, label)
    file.seek(0)


def _count(content: bytes, label: str) -> None:
    at = scans = segments = 0
    while (marker := _MARKER.search(content, at)) and (kind := marker[1][0]) != _END:
        at = marker.end()
        if kind == _BEGIN:
            continue
        if kind == _SCAN:
            scans += 1
            if scans == 1 and content.count(b"\xff\xda", at) < MOST_SCANS:
                return  # as nearly always: so many cannot be, whatever these bytes are
        at += max(2, int.from_bytes(content[at : at + 2]))
        segments += 1
        for count, most, name in ((scans, MOST_SCANS, "scans"), (segments, MOST_SEGMENTS, "segments")):
            if count > most:
                raise ImageError(f"{label}: a JPEG file of more than {most} {name}; save it anew")
