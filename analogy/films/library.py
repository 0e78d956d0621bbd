"""Import of PyAV (the extra `video`), and safe opening of untrusted videos."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ImageError, SettingsError, reason
from ..files.inputs import open_regular

_DEMUXERS = "mov,matroska,avi,gif"
"""FFmpeg's names of the containers that are read.

Other containers are refused, because some of them can make FFmpeg open further files or addresses.
"""


@cache
def pyav() -> Any:
    """Return the module av, or raise `SettingsError` if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise SettingsError('videos need PyAV: pip install "deep-image-analogy[video]"') from error
    return av


def open_video(path: Path, most_pixels: int | None) -> Any:
    """Open a video as PyAV's container.

    Only this file is opened, even if it refers to other files or to addresses.

    Parameters
    ----------
    path : Path
        The video.
    most_pixels : int or None
        Maximum number of pixels of a picture that FFmpeg decodes to find out what the file
        contains. With None, FFmpeg decodes nothing, and knows only what the file's header says. The
        decoder of each stream needs the limit again (see `limit_pixels`).

    Returns
    -------
    av.container.InputContainer
        The open video.

    Raises
    ------
    ImageError
        If there is no video at `path`, or it is damaged.
    """
    av = pyav()
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    options |= {"codec_whitelist": "none"} if most_pixels is None else {"max_pixels": str(most_pixels)}
    try:
        open_regular(path).close()
        return av.open(f"file:{path}", options=options, metadata_errors="surrogateescape")
    except (OSError, ValueError, av.error.FFmpegError) as error:
        why = reason(error)
        if isinstance(error, av.error.FFmpegError) and error.errno == errno.EINVAL:  # `format_whitelist` refused it
            why = "its content is not .mp4, .mov, .mkv, .webm, .avi or .gif"
        raise ImageError(f"{path} is not a video that can be read ({why}); name an intact video") from error


def limit_pixels(stream: Any, most_pixels: int) -> None:
    """Make the decoder of a stream refuse pictures of more than `most_pixels` pixels."""
    stream.codec_context.options = {"max_pixels": str(most_pixels)}


def texts(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a container or a stream, such as its title, as valid Unicode text.

    A name or a value is read as Latin-1 if any of its bytes is not valid UTF-8.
    """
    return {_text(name): _text(value) for name, value in fields.items()}


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # some bytes were not valid UTF-8, and `surrogateescape` kept them
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value
