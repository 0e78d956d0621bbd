"""PyAV, the library behind the extra `video`: importing it, and opening videos that may come from anybody."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ImageError, SettingsError, reason
from ..files.inputs import open_regular

_DEMUXERS = "mov,matroska,avi,gif"
"""FFmpeg's names of the containers that are read. It knows others that are lists of further files, or of addresses."""


@cache
def pyav() -> Any:
    """Return the module av. Raises `SettingsError` if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise SettingsError('videos need PyAV: pip install "deep-image-analogy[video]"') from error
    return av


def open_video(path: Path, most_pixels: int | None) -> Any:
    """Open a video as PyAV's container. No other file is opened, and no address, whatever the file says.

    most_pixels  bound on the pixels of each picture that the library decodes to find out what is in the file; None to decode
                 nothing, and to know only what the file says at its beginning. The decoders of the streams need the bound
                 once more (see `bound`)

    Raises `ImageError` if there is no video at `path`, or it is damaged.
    """
    av = pyav()
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    options |= {"codec_whitelist": "none"} if most_pixels is None else {"max_pixels": str(most_pixels)}
    try:
        open_regular(path).close()
        return av.open(f"file:{path}", options=options, metadata_errors="surrogateescape")
    except (OSError, ValueError, av.error.FFmpegError) as error:
        why = reason(error)
        if isinstance(error, av.error.FFmpegError) and error.errno == errno.EINVAL:  # because of `format_whitelist`
            why = "its content is no .mp4, .mov, .mkv, .webm, .avi or .gif"
        raise ImageError(f"{path}: not a video that can be read ({why}); name an intact video") from error


def bound(stream: Any, most_pixels: int) -> None:
    """Let the decoder of a stream refuse pictures of more than `most_pixels`, before it takes memory for them."""
    stream.codec_context.options = {"max_pixels": str(most_pixels)}


def texts(fields: Mapping[str, str]) -> dict[str, str]:
    """Return fields of a container or a stream, such as its title, as proper text: those that are no UTF-8 are Latin-1."""
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # of the bytes that `surrogateescape` keeps
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value
