"""Reading the frames of a video in any order, and writing videos, with PyAV (the extra `video`).

A frame is identified by its time (`pts`), in units of the stream's `time_base`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError, OutputError, SettingsError, reason
from ..files.atomic import atomic
from ..files.inputs import checksum, open_regular
from ..pictures.images import Admit, Picture
from .naming import numbered

_log = logging.getLogger("analogy")

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffix of a video that can be written -> FFmpeg's name of its container."""
_CACHED = 128 << 20
"""Bytes of decoded frames to keep. Going backwards is fast with them: each frame is decoded from the key picture before it."""
_QUALITY = {
    "libx264": {"crf": "15"},
    "libx265": {"crf": "16"},
    "libvpx-vp9": {"crf": "18", "b": "0"},
    "libsvtav1": {"crf": "20"},
}
"""Encoder -> its options for good pictures."""
_BITS = 0.4
"""Bits for each pixel, for encoders that `_QUALITY` does not know."""
_VIDEO_RANGE, _FULL_RANGE = 1, 2
"""FFmpeg's numbers for colours in 16..235 and in 0..255."""
_EXACT = 0x4 | 0x2000 | 0x4000 | 0x40000
"""FFmpeg's flags for converting colours bicubically, with full chroma and accurate rounding. Without them they get darker."""


class VideoFrames:
    """The frames of a video (see `frames.Frames`).

    stream       PyAV's stream of pictures
    times        the time of each frame, in units of the stream's `time_base`
    colorspace   FFmpeg's number of the standard by which the colours are encoded, and
    color_range  that of their range
    """

    def __init__(self, path: Path, admit: Admit | None = None):
        """Open the video and decode it once, for the times of its frames.

        admit  is called with the size of the frames before they are decoded; what it raises passes through

        Raises `ImageError` if the video cannot be read.
        """
        self.files = [path]
        self._container = _open(path)
        if not self._container.streams.video:
            raise ImageError(f"{path}: there are no pictures in it, only sound; name a video")
        self.stream = self._container.streams.video[0]
        if admit:
            admit((self.stream.height, self.stream.width), f"the video {path}")
        self.stream.thread_type = "AUTO"
        first, self.times = None, []
        for frame in self._decoded():
            first = first or frame
            self.times.append(frame.pts)
        if None in self.times or len(set(self.times)) < len(self.times):
            raise ImageError(
                f"{path}: two of its frames have the same time, or some have none; convert it to .mp4, or to pictures"
            )
        self.times.sort()
        self.colorspace = first.colorspace if first else None
        self.color_range = int(first.color_range) if first else 0
        self.names = numbered(len(self.times))
        self._index = {time: index for index, time in enumerate(self.times)}
        self._cache: OrderedDict[int, Picture] = OrderedDict()
        self._coming: Iterator[Any] = iter(())
        self._last = len(self.times)  # index of the frame that was decoded last

    def takes(self, path: Path) -> bool:
        return False

    def read(self, index: int) -> Picture:
        if index not in self._cache:
            if not 0 <= index - self._last <= self._keep:
                self._seek(max(0, index - self._keep + 1))
            for frame in self._coming:
                self._last = self._index.get(frame.pts, self._last)
                self._cache[self._last] = Picture(_upright(frame), name=f"frame {self.names[self._last]}")
                while len(self._cache) > self._keep:
                    self._cache.popitem(last=False)
                if self._last >= index:
                    break
        if index not in self._cache:
            raise ImageError(f"{self.files[0]}: frame {index} cannot be decoded; the video is damaged")
        return self._cache[index]

    def digest(self, index: int) -> str:
        return f"{self._checksum} {index}"

    @cached_property
    def _checksum(self) -> str:
        return checksum(self.files[0])

    @cached_property
    def _keep(self) -> int:
        """The number of frames in the cache."""
        return max(4, _CACHED // (self.stream.width * self.stream.height * 3))

    def _seek(self, index: int) -> None:
        """Go to the last key picture at or before a frame."""
        self._cache.clear()
        self._container.seek(self.times[index], stream=self.stream, backward=True)
        self._coming = self._decoded()
        self._last = index

    def _decoded(self) -> Iterator[Any]:
        """Yield PyAV's frames from the present place on. Raises `ImageError` if one cannot be decoded."""
        av = pyav()
        try:
            yield from self._container.decode(self.stream)
        except av.error.FFmpegError as error:
            raise ImageError(f"{self.files[0]}: cannot be decoded ({reason(error)})") from error


def write_video(path: Path, pictures: Iterable[np.ndarray], like: VideoFrames | None, rate: Fraction) -> None:
    """Write pictures, (H, W, 3) uint8 of one size, as a video. It appears whole or not at all.

    path  its suffix chooses the container (see `FORMATS`)
    like  a video with as many frames, from which the new one takes the times of the frames, the codec, the pixel format, the
          range and standard of colours, the title and the sound, as far as its container can hold them; what it cannot hold
          is logged
    rate  frames a second, if there is no such video

    Raises `OutputError` if the video cannot be written.
    """
    av = pyav()
    with atomic(path) as file:
        try:
            with av.open(file, "w", format=FORMATS[path.suffix.lower()]) as container:
                _encode(container, iter(pictures), like, rate, str(path))
        except av.error.FFmpegError as error:
            raise OutputError(f"{path}: cannot be written as a video ({reason(error)})") from error


def _encode(
    container: Any, pictures: Iterator[np.ndarray], like: VideoFrames | None, rate: Fraction, label: str
) -> None:
    """Write pictures into an open container, as `write_video` does. `label` names the video in messages."""
    av = pyav()
    first = next(pictures)
    height, width = first.shape[:2]
    old = like.stream if like else None
    codec = av.codec.Codec(_codec(container, old, label), "w")
    stream = container.add_stream(codec.name, rate=(old and old.average_rate) or rate)
    stream.width, stream.height, stream.pix_fmt = width, height, _pixel_format(codec, old, first.shape[:2])
    context = stream.codec_context
    context.options = _QUALITY.get(codec.name, {})
    if codec.name not in _QUALITY:
        context.bit_rate = int(_BITS * width * height * (stream.average_rate or rate))
    if like and old:
        context.time_base = old.time_base
        context.color_range, context.colorspace = like.color_range, old.codec_context.colorspace
        context.color_primaries, context.color_trc = old.codec_context.color_primaries, old.codec_context.color_trc
        container.metadata.update(old.container.metadata)
    with _sound_of(like, container, label) as sound:
        for index, picture in enumerate(chain([first], pictures)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=stream.pix_fmt,
                interpolation=_EXACT,
                src_color_range=_FULL_RANGE,
                dst_color_range=like.color_range if like else _VIDEO_RANGE,
                dst_colorspace=like.colorspace if like else None,
            )
            frame.pts, frame.time_base = (like.times[index], old.time_base) if like and old else (index, 1 / rate)
            frame.pict_type = 0  # the encoder decides which frames are key pictures
            container.mux([*sound.before(frame.time), *stream.encode(frame)])
        container.mux([*sound.before(float("inf")), *stream.encode(None)])


class _Sound:
    """The packets of the sound of a video, which are copied unchanged into another container."""

    def __init__(self, source: Any, container: Any, label: str):
        self._streams = {}
        for stream in source.streams.audio if source else ():
            if stream.codec_context.name in container.supported_codecs:
                self._streams[stream] = container.add_stream_from_template(stream)
            else:
                _log.warning("%s: it cannot hold sound as %s; the video is silent", label, stream.codec_context.name)
        self._coming = source.demux(*self._streams) if self._streams else iter(())
        self._next = next(self._coming, None)

    def before(self, time: float) -> Iterator[Any]:
        """Yield the packets up to a time, in seconds, that were not yielded before."""
        while self._next is not None and (self._next.dts is None or self._next.dts * self._next.time_base <= time):
            packet, self._next = self._next, next(self._coming, None)
            if packet.dts is not None:  # a packet without a time only marks the end of the stream
                packet.stream = self._streams[packet.stream]
                yield packet


@contextmanager
def _sound_of(like: VideoFrames | None, container: Any, label: str) -> Iterator[_Sound]:
    """Yield the sound of a video for `container`. There is none if there is no video."""
    if like is None:
        yield _Sound(None, container, label)
        return
    with _open(like.files[0]) as source:
        yield _Sound(source, container, label)


def _codec(container: Any, old: Any, label: str) -> str:
    """Return the name of the encoder for the codec of the stream `old`, or for the container's own if it cannot hold that."""
    av = pyav()
    if old is not None:
        name = old.codec_context.codec.canonical_name
        with suppress(av.codec.codec.UnknownCodecError):
            if name in container.supported_codecs:
                return av.codec.Codec(name, "w").name
        _log.warning("%s: it cannot hold pictures as %s; they become %s", label, name, container.default_video_codec)
    return av.codec.Codec(container.default_video_codec, "w").name


def _pixel_format(codec: Any, old: Any, size: tuple[int, int]) -> str:
    """Return the pixel format of the stream `old` if the encoder knows it, else a usual one that can hold this size."""
    known = [form.name for form in codec.video_formats or ()]
    if old is not None and old.codec_context.pix_fmt in known:
        return old.codec_context.pix_fmt
    usual = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
    return usual if usual in known or not known else known[0]


def _upright(frame: Any) -> np.ndarray:
    """Return a frame as a player shows it, turned upright: (H, W, 3) uint8 RGB."""
    rgb = frame.to_ndarray(
        format="rgb24", interpolation=_EXACT, src_color_range=frame.color_range, dst_color_range=_FULL_RANGE
    )
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90) % 4))


@cache
def pyav() -> Any:
    """Return the module av. Raises `SettingsError` if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise SettingsError('videos need PyAV: pip install "deep-image-analogy[video]"') from error
    return av


def _open(path: Path) -> Any:
    """Open a video. Raises `ImageError` if there is none at `path`."""
    av = pyav()
    try:
        open_regular(path).close()
        return av.open(str(path))
    except (OSError, av.error.FFmpegError) as error:
        raise ImageError(f"{path}: not a video that can be read ({reason(error)})") from error
