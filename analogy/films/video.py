"""Reader for the frames of a video, in any order, with PyAV (the extra `video`).

A frame is identified by its time (`pts`), in units of the stream's `time_base`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, counted, reason, unreadable
from ..files.inputs import checksum
from ..pictures.images import Admit, Picture, as_picture
from .library import limit_pixels, open_video, pyav, texts
from .naming import numbered

_log = logging.getLogger("analogy")

_CACHED = 128 << 20
"""Size to which the cache of decoded frames is limited, in bytes.

The cache may be larger, since it may always hold four frames, however large they are, and since
alpha does not count. A video can only be decoded forwards, from one of its keyframes. The cache
makes it fast to read frames backwards, too.
"""
_MOST_FRAMES = 1 << 20
"""Largest accepted number of frames of a video: twelve hours at 24 frames per second.

A damaged file of a few megabytes may claim to have more.
"""
_PADDING = 128
"""Rows and columns by which a decoder may round up the size of a picture."""
_LEAST_BOUND = 1 << 18
"""Number of pixels up to which a frame is decoded even if the header states a smaller size."""
_UNSAID = 1 << 26
"""Number of pixels up to which a frame is decoded if the header does not state a size."""
FULL_RANGE = 2
"""FFmpeg's number of the colour range 0..255."""
EXACT = 0x4 | 0x2000 | 0x4000 | 0x40000
"""FFmpeg's flags for a bicubic conversion of colours with full chroma and accurate rounding.

Without these flags, the colours become darker.
"""
_BRANDS = ("major_brand", "minor_version", "compatible_brands")
"""FFmpeg's names of fields of .mp4 and .mov that describe the container, and are not copied."""
_HDR = {16: "PQ", 18: "HLG"}
"""FFmpeg's numbers of the transfer functions of HDR films -> their usual names."""


class VideoFrames:
    """Frames of a video (see `frames.Frames`).

    Attributes
    ----------
    stream : av.VideoStream
        The first stream of pictures in the video.
    times : list of int
        Time of each frame, in units of the stream's `time_base`.
    colorspace : int
        FFmpeg's number of the standard by which the colours are encoded.
    color_range : int
        FFmpeg's number of the range of the colours.
    pixel_shape : Fraction
        Width of a pixel of an upright frame, divided by its height.
    has_alpha : bool
        Whether any pixel of any frame is transparent.
    """

    def __init__(self, path: Path, admit: Admit | None = None):
        """Open the video, and decode it once to find the times of its frames.

        The constructor logs a warning about each property of the video that painting changes or
        ignores, whatever the format of the result is.

        Parameters
        ----------
        path : Path
            The video.
        admit : callable, optional
            Called with the size of the frames before they are decoded (see `images.Admit`).

        Raises
        ------
        ImageError
            If the video cannot be read, or its frames differ in size.
        """
        self.files = [path]
        with open_video(path, most_pixels=None) as container:
            stream = _pictures_in(container, path)
            stated = stream.height, stream.width
        if admit and min(stated) > 0:
            admit(stated, f"the video {path}")
        most_pixels = max(_LEAST_BOUND, (stated[0] + _PADDING) * (stated[1] + _PADDING)) if min(stated) > 0 else _UNSAID
        self._container = open_video(path, most_pixels)
        self.stream = _pictures_in(self._container, path)
        if min(self.stream.height, self.stream.width) < 1:
            raise ImageError(
                f"{path}: its pictures do not have the size that its header states, {stated[1]} x {stated[0]} pixels; "
                "convert it to .mp4"
            )
        if admit:
            admit((self.stream.height, self.stream.width), f"the video {path}")
        self.stream.thread_type = "AUTO"
        limit_pixels(self.stream, most_pixels)
        self._survey(admit)
        self.names = numbered(len(self.times))
        self._index = {time: index for index, time in enumerate(self.times)}
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()  # index of a frame -> its upright pixels
        self._coming: Iterator[Any] = iter(())
        self._last = len(self.times)  # index of the frame decoded last; this value makes `_decode` seek
        for remark in self._remarks():
            _log.warning("%s: %s", path, remark)

    def _survey(self, admit: Admit | None) -> None:
        """Decode the video once, and set the attributes that the header does not contain."""
        path, first = self.files[0], None
        self.times: list[int] = []
        self.has_alpha = self._is_interlaced = False
        for frame in self._decoded():
            if first is None:
                first, size = frame, (frame.height, frame.width)
                if admit:  # the size that was admitted before is from the header, and may be wrong
                    admit(size, f"the video {path}")
            if (frame.height, frame.width) != size:
                raise ImageError(
                    f"{path}: its pictures change their size after {counted(len(self.times), 'frame')}, from "
                    f"{size[1]} x {size[0]} to {frame.width} x {frame.height} pixels; convert it to a video of one size"
                )
            self.times.append(frame.pts)
            if len(self.times) > _MOST_FRAMES:
                raise ImageError(f"{path} has more than {_MOST_FRAMES} frames; split it into shorter videos")
            self._is_interlaced |= frame.interlaced_frame
            self.has_alpha = self.has_alpha or _is_transparent(frame)
        if None in self.times or len(set(self.times)) < len(self.times):
            raise ImageError(
                f"{path}: two of its frames have the same time, or a frame has none; convert it to .mp4, or to pictures"
            )
        self.times.sort()
        self.colorspace = first.colorspace if first else None
        self.color_range = int(first.color_range) if first else 0
        shape = self.stream.sample_aspect_ratio or Fraction(1)
        self.pixel_shape = 1 / shape if first and _quarters(first) % 2 else shape

    def _remarks(self) -> Iterator[str]:
        """Yield a sentence for each property of the video that painting changes or ignores."""
        moving = [stream for stream in self._container.streams.video if not _is_cover(stream)]
        if len(moving) > 1:
            yield f"it has {len(moving)} streams of pictures; the first one is painted, and the others are left out"
        if self._is_interlaced:
            yield (
                "its frames are interlaced, so odd and even rows are from different moments; they are painted as they "
                "are; to paint whole frames, deinterlace the video with another program first"
            )
        transfer = _HDR.get(self.stream.codec_context.color_trc)
        form = self.stream.codec_context.format  # None if no frame could be decoded
        bits = max((part.bits for part in form.components), default=8) if form else 8
        if transfer:
            yield (
                f"its colours are HDR ({transfer}); they are painted as they are stored, with 8 of {bits} bits, so a "
                "key needs the same transfer function; to use other keys, convert the video to SDR first"
            )
        elif bits > 8:
            yield f"its colours have {bits} bits per channel; they are painted with 8"
        if "alpha_mode" in {name.lower() for name in self.stream.metadata}:  # Matroska may write the name in capitals
            yield "its transparency is stored beside its pictures and is not read; the result is opaque"

    def takes(self, path: Path) -> bool:
        """Return False: a new file does not add a frame to a video."""
        return False

    def read(self, index: int) -> Picture:
        """Return a frame, upright. Raises `ImageError` if it cannot be decoded."""
        if index not in self._cache:
            try:
                self._decode(index)
            except BaseException:
                self._last = len(self.times)  # the next reading seeks, because the decoder may be anywhere now
                raise
        pixels = self._cache[index]
        alpha = pixels[..., 3] if self.has_alpha else None
        return as_picture(pixels[..., :3], alpha, None, f"frame {self.names[index]}")

    def _decode(self, index: int) -> None:
        """Put a frame into the cache. Raises `ImageError` if it cannot be decoded."""
        if not 0 <= index - self._last <= self._keep:
            self._seek(max(0, index - self._keep + 1))
        for frame in self._coming:
            if frame.pts not in self._index:
                continue
            self._last = self._index[frame.pts]
            self._cache[self._last] = upright(frame, self.has_alpha)
            while len(self._cache) > self._keep:
                self._cache.popitem(last=False)
            if self._last >= index:
                break
        if index not in self._cache:
            raise ImageError(
                f"{self.files[0]}: frame {index} cannot be decoded; the video is damaged; convert it to .mp4"
            )

    def digest(self, index: int) -> str:
        """Return a checksum of the video, followed by the index of the frame.

        Raises `ImageError` if the video can no longer be read.
        """
        return f"{self._checksum} {index}"

    @cached_property
    def _checksum(self) -> str:
        try:
            return checksum(self.files[0])
        except OSError as error:
            raise ImageError(unreadable(error, str(self.files[0]))) from error

    @cached_property
    def _keep(self) -> int:
        """Maximum number of frames in the cache."""
        return max(4, _CACHED // (self.stream.width * self.stream.height * 3))

    def _seek(self, index: int) -> None:
        """Go to the last keyframe of the video's encoding at or before the frame `index`."""
        self._cache.clear()
        try:
            self._container.seek(self.times[index], stream=self.stream, backward=True)
        except pyav().error.FFmpegError as error:
            raise ImageError(
                f"{self.files[0]}: frame {index} cannot be found ({reason(error)}); the video is damaged; "
                "convert it to .mp4"
            ) from error
        self._coming = self._decoded()
        self._last = index

    def _decoded(self) -> Iterator[Any]:
        """Yield PyAV's frames from the current position. Raises `ImageError` if one is damaged."""
        count = 0
        try:
            for count, frame in enumerate(self._container.decode(self.stream), 1):  # noqa: B007 (the message contains `count`)
                yield frame
        except (pyav().error.FFmpegError, ValueError) as error:
            raise ImageError(
                f"{self.files[0]} cannot be decoded after {counted(count, 'frame')} ({reason(error)}); it is damaged, "
                "or its pictures become larger than its header states; convert it to .mp4"
            ) from error

    @property
    def fields(self) -> dict[str, str]:
        """Metadata of the video, such as its title, except fields that describe the container."""
        return {name: value for name, value in texts(self._container.metadata).items() if name not in _BRANDS}

    @property
    def chapters(self) -> list[dict[str, Any]]:
        """Chapters of the video as PyAV describes them, with their titles as valid Unicode text."""
        return [chapter | {"metadata": texts(chapter["metadata"])} for chapter in self._container.chapters()]


def upright(frame: Any, with_alpha: bool = False) -> np.ndarray:
    """Return the pixels of one of PyAV's frames, rotated as a player shows the frame.

    The pixels are (H, W, 3) uint8 RGB, or (H, W, 4) if `with_alpha` is True.
    """
    rgb = frame.to_ndarray(
        format="rgba" if with_alpha else "rgb24",
        interpolation=EXACT,
        src_color_range=frame.color_range,
        dst_color_range=FULL_RANGE,
    )
    return np.ascontiguousarray(np.rot90(rgb, _quarters(frame)))


def _quarters(frame: Any) -> int:
    """Return the number of quarter turns to the left, 0 to 3, by which a player rotates a frame."""
    return round(frame.rotation / 90) % 4


def _is_transparent(frame: Any) -> bool:
    """Return whether any pixel of one of PyAV's frames is transparent."""
    return any(part.is_alpha for part in frame.format.components) and bool(upright(frame, True)[..., 3].min() < 255)


def _pictures_in(container: Any, path: Path) -> Any:
    """Return the first stream of moving pictures.

    Raises `ImageError` if there is no such stream, or PyAV has no decoder for it.
    """
    streams = container.streams.video
    if not streams:
        raise ImageError(f"{path} contains no pictures; name a video")
    stream = next((stream for stream in streams if not _is_cover(stream)), None)
    if stream is None:
        raise ImageError(f"{path} contains a cover picture but no film; name a video")
    if stream.codec_context is None:
        raise ImageError(
            f"{path}: PyAV {pyav().__version__} has no decoder for its pictures; convert it, for instance to .mp4 with "
            "H.264"
        )
    return stream


def _is_cover(stream: Any) -> bool:
    """Return whether a stream of pictures holds only the cover of the film."""
    return bool(stream.disposition & pyav().stream.Disposition.attached_pic)
