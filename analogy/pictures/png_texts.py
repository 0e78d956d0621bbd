"""Removal of long texts and profiles from PNG files, so that Pillow can read the pixels.

Some programs store whole workflows and edit histories as compressed text in a picture. Pillow
refuses a file with a long text, because a few bytes may unpack to gigabytes.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

from PIL import PngImagePlugin

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""First bytes of a PNG file."""
_LONGEST_PROFILE = 1 << 25
"""Largest accepted colour profile of a PNG file, in bytes; profiles of printers have a few MB."""


def without_long_texts(file: IO[bytes]) -> tuple[IO[bytes], bytes | None]:
    """Return a file that Pillow can read, and the colour profile that was removed, if any.

    If a file has texts or a profile that Pillow refuses, the function copies it to memory without
    them. Any other file is returned as it is, at its beginning. The second value is None if no
    profile was removed, and b"" if the removed profile has more than `_LONGEST_PROFILE` bytes.
    """
    file.seek(0)
    is_png = file.read(len(_SIGNATURE)) == _SIGNATURE
    kept: list[tuple[int, int]] = []
    at, room, dropped, profile = len(_SIGNATURE), PngImagePlugin.MAX_TEXT_MEMORY, False, None
    while is_png and len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        drop = False
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            size = _text_size(name, file.read(length)) if length <= room else length
            drop = size is None or size > room
            room -= 0 if size is None or drop else size
        elif name == b"iCCP" and length <= _LONGEST_PROFILE:
            packed = file.read(length).partition(b"\0")[2][1:]
            drop = _unpacked(packed, PngImagePlugin.MAX_TEXT_CHUNK) is None
            if drop:
                profile = _unpacked(packed, _LONGEST_PROFILE) or b""
        end = at + 12 + length
        if drop:
            dropped = True
        else:
            kept.append((at, end))
        at = end
        file.seek(at)
        if name == b"IEND":
            break
    if not dropped:
        file.seek(0)
        return file, None
    copy = io.BytesIO()
    copy.write(_SIGNATURE)
    for start, end in kept:
        file.seek(start)
        copy.write(file.read(end - start))
    copy.seek(0)
    return copy, profile


def _text_size(name: bytes, content: bytes) -> int | None:
    """Return the unpacked size of a text chunk in bytes, or None if it is too large for Pillow."""
    if name == b"tEXt":
        return len(content)
    rest = content.partition(b"\0")[2]
    if name == b"zTXt":
        packed = rest[1:]
    else:
        is_packed = rest[:1] != b"\0"
        packed = rest[2:].split(b"\0", 2)[-1]
        if not is_packed:
            return len(packed)
    text = _unpacked(packed, PngImagePlugin.MAX_TEXT_CHUNK)
    return None if text is None else len(text)


def _unpacked(packed: bytes, most: int) -> bytes | None:
    """Return the unpacked bytes, b"" if they are damaged, or None if there are more than `most`."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, most)
    except zlib.error:
        return b""
    return None if unpacker.unconsumed_tail else content
