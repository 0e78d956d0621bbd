"""Writer for videos, with PyAV (the extra `video`).

Before any frame is painted, a trial with a few pictures finds which properties of the film the new
video cannot have. So the user learns of them before the painting, which may take hours.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import AnalogyError, OutputError, counted, reason
from ..files.atomic import atomic
from .copying import copies, copy_fields, copyable
from .encoding import Encoding, codec_of, encodings
from .library import pyav
from .video import EXACT, FULL_RANGE, VideoFrames, upright

_log = logging.getLogger("analogy")

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Suffix of a video that can be written -> FFmpeg's name of its container."""
_VIDEO_RANGE = 1
"""FFmpeg's number of the colour range 16..235."""
_FAR = 12.0
"""Largest accepted mean difference between a picture of a trial and the same picture read back.

The scale is 0 to 255. A wrong pixel format makes a larger difference.
"""
_CURE = "name a video with another suffix, for instance .mkv; the painted frames are kept"
"""Advice that ends the message about a video that cannot be written."""
_TOLERANCE = 0.02
"""Largest relative change of the pixel aspect ratio that is not logged; containers round it."""


@dataclass(frozen=True)
class PreparedVideo:
    """Video that a trial has shown to be writable. `prepare_video` makes it.

    Attributes
    ----------
    path : Path
        Path of the new video.
    size : (int, int)
        Rows and columns of its pictures.
    like : VideoFrames or None
        The film from which the new video gets the times of its frames and all other properties that
        it can have; None if the film is not a video.
    rate : Fraction
        Frames per second, used if `like` is None or does not state its rate.
    encoding : Encoding
        The encoding of its pictures.
    copied : tuple of int
        Indices of the streams of `like` that are copied.
    has_alpha : bool
        Whether its pictures have a fourth channel, the alpha.
    """

    path: Path
    size: tuple[int, int]
    like: VideoFrames | None
    rate: Fraction
    encoding: Encoding
    copied: tuple[int, ...]
    has_alpha: bool

    def write(self, pictures: Iterable[np.ndarray], complete: Callable[[Path], None] | None = None) -> None:
        """Write the video from its pictures, (H, W, 3 or 4) uint8, one for each frame of the film.

        The video is written to a temporary file and read back once before it is renamed to `path`,
        so an incomplete video never has that name. If `complete` is given, it is called with the
        path of the temporary file after the reading and before the renaming.

        Raises `OutputError` if the video cannot be written, or cannot be read afterwards.
        """
        with atomic(self.path, complete) as file:
            try:
                count = _write(file, self, enumerate(pictures))
                file.flush()
                with Path(file.name).open("rb") as written:
                    found = _read_back(written, most_decoded=1)
            except AnalogyError:
                raise
            except (pyav().error.FFmpegError, ValueError) as error:
                raise OutputError(f"{self.path} cannot be written as a video ({reason(error)}); {_CURE}") from error
            if found.count < count or found.size != self.size or not found.pictures:
                raise OutputError(
                    f"{self.path}: only {found.count} of its {count} pictures can be read after writing; {_CURE}"
                )


def prepare_video(
    path: Path, size: tuple[int, int], like: VideoFrames | None, rate: Fraction, has_alpha: bool = False
) -> PreparedVideo:
    """Find out how a video can be written, by trials with a few pictures in memory.

    Parameters
    ----------
    path : Path
        Path of the new video. Its suffix chooses the container (see `FORMATS`).
    size : (int, int)
        Rows and columns of its pictures.
    like : VideoFrames or None
        The film, which has as many frames as the new video; None if the film is not a video. The
        new video gets the film's frame times, codec and profile, pixel format, pixel aspect ratio,
        range and standard of the colours, title, chapters, sound and subtitles. The function logs
        which of these the container cannot hold.
    rate : Fraction
        Frames per second, used if `like` is None or does not state its rate.
    has_alpha : bool
        Whether the pictures have an alpha channel that should be kept.

    Returns
    -------
    PreparedVideo
        The video, which can be written.

    Raises
    ------
    OutputError
        If no such video can be written.
    """
    label, form = str(path), FORMATS[path.suffix.lower()]
    copied = tuple(copyable(like.files[0], form, label)) if like is not None else ()
    problem = "there is no encoder for it"
    for encoding in _encodings(form, like, size, rate):
        prepared = PreparedVideo(path, size, like, rate, encoding, copied, has_alpha)
        try:
            found = _try(prepared)
        except (pyav().error.FFmpegError, ValueError, IndexError) as error:
            problem = f"{encoding.encoder} with {encoding.pixel_format}: {reason(error)}"
            continue
        for change in _changes(found, prepared, form):
            _log.warning("%s: %s", label, change)
        return replace(prepared, has_alpha=has_alpha and found.has_alpha)
    what = f"{size[1]} x {size[0]} pixels and {float(_frames_a_second(like, rate)):.10g} frames per second"
    raise OutputError(f"{path}: no video of {what} can be written ({problem}); name another suffix, or a folder")


def _encodings(form: str, like: VideoFrames | None, size: tuple[int, int], rate: Fraction) -> list[Encoding]:
    """Return the encodings to try for the container `form` (see `encoding.encodings`)."""
    with pyav().open(io.BytesIO(), "w", format=form) as container:
        return list(encodings(container, like, size, _frames_a_second(like, rate)))


def _frames_a_second(like: VideoFrames | None, rate: Fraction) -> Fraction:
    """Return the average frame rate that `like` states, or `rate` if there is none."""
    return (like and like.stream.average_rate) or rate


def _write(
    file: IO[bytes], prepared: PreparedVideo, pictures: Iterable[tuple[int, np.ndarray]], is_trial: bool = False
) -> int:
    """Write a video into an open file, and return the number of frames.

    `pictures` yields the index and the pixels of each frame; `is_trial` is as for `Copies`.
    """
    av, like, encoding = pyav(), prepared.like, prepared.encoding
    rate, label, count = _frames_a_second(like, prepared.rate), str(prepared.path), 0
    with av.open(file, "w", format=FORMATS[prepared.path.suffix.lower()]) as container:
        stream = container.add_stream(encoding.encoder, rate=rate)
        encoding.apply(stream, prepared.size, rate)
        if like is not None:
            _apply_colours(stream, like)
            copy_fields(like.stream, stream)
            container.metadata.update(like.fields)
            container.set_chapters(like.chapters)
        source = like.files[0] if like is not None else None
        with copies(source, prepared.copied, container, label, is_trial) as others:
            for index, picture in pictures:
                frame = _frame(picture, encoding.pixel_format, like)
                frame.pts, frame.time_base = _time(index, prepared), encoding.time_base
                frame.pict_type = 0  # the encoder chooses which frames become keyframes
                others.mux_before(frame.time)
                container.mux(stream.encode(frame))
                count += 1
            others.mux_before(float("inf"))
            container.mux(stream.encode(None))
    return count


def _apply_colours(stream: Any, like: VideoFrames) -> None:
    """Give a new stream the colour tags and the pixel aspect ratio of the video `like`."""
    context, old = stream.codec_context, like.stream.codec_context
    context.color_range, context.colorspace = like.color_range, old.colorspace
    context.color_primaries, context.color_trc = old.color_primaries, old.color_trc
    if like.pixel_shape != 1:
        context.sample_aspect_ratio = like.pixel_shape


def _frame(picture: np.ndarray, pixel_format: str, like: VideoFrames | None) -> Any:
    """Return a picture, (H, W, 3 or 4) uint8, as PyAV's frame with colours encoded as in `like`."""
    form = "rgb24" if picture.shape[2] == 3 else "rgba"
    return (
        pyav()
        .VideoFrame.from_ndarray(picture, format=form)
        .reformat(
            format=pixel_format,
            interpolation=EXACT,
            src_color_range=FULL_RANGE,
            dst_color_range=like.color_range if like is not None else _VIDEO_RANGE,
            dst_colorspace=like.colorspace if like is not None else None,
        )
    )


def _time(index: int, prepared: PreparedVideo) -> int:
    """Return the time of a frame, in units of the encoding's `time_base`."""
    if prepared.like is None:
        return index
    return round(prepared.like.times[index] * prepared.like.stream.time_base / prepared.encoding.time_base)


@dataclass(frozen=True)
class _Written:
    """Properties of a written video, found by opening it.

    Attributes
    ----------
    size : (int, int)
        Rows and columns.
    count : int
        Number of different times of its pictures.
    streams : int
        Number of streams that are not of the type "data", in which some containers store chapters.
    codec, profile, pixel_format : str
        FFmpeg's names of the codec, its profile and the pixel format.
    pixel_shape : Fraction
        Width of a pixel divided by its height.
    time_base : Fraction
        Unit of the times of the pictures, in seconds.
    pictures : list of (H, W, 4) uint8
        The first pictures, RGB and alpha.
    has_alpha : bool
        Whether an alpha was written, and nearly the same alpha was read back.
    """

    size: tuple[int, int]
    count: int
    streams: int
    codec: str
    profile: str | None
    pixel_format: str
    pixel_shape: Fraction
    time_base: Fraction
    pictures: list[np.ndarray]
    has_alpha: bool = False


def _read_back(file: IO[bytes], most_decoded: int) -> _Written:
    """Open a written video, count its pictures, and decode the first `most_decoded` of them.

    PyAV's errors pass through.
    """
    av = pyav()
    with av.open(file) as container:
        times = {packet.pts for packet in container.demux(video=0) if packet.size and packet.pts is not None}
    file.seek(0)
    with av.open(file) as container:
        stream = container.streams.video[0]
        pictures = [upright(frame, True) for frame in islice(container.decode(stream), most_decoded)]
        context = stream.codec_context
        return _Written(
            (stream.height, stream.width),
            len(times),
            sum(each.type != "data" for each in container.streams),
            context.codec.canonical_name,
            context.profile,
            context.pix_fmt,
            stream.sample_aspect_ratio or Fraction(1),
            stream.time_base,
            pictures,
        )


def _try(prepared: PreparedVideo) -> _Written:
    """Write a few pictures into memory, and read them back.

    Raises ValueError if the number or the size of the pictures, the number of streams, the times or
    the colours are not those that were written. PyAV's errors pass through.
    """
    indices = _hardest(prepared.like.times) if prepared.like is not None else [0, 1, 2]
    picture = _test_picture(prepared.size, prepared.has_alpha)
    file = io.BytesIO()
    _write(file, prepared, ((index, picture) for index in indices), is_trial=True)
    file.seek(0)
    found = _read_back(file, len(indices))
    if found.count != len(indices) or len(found.pictures) != len(indices):
        raise ValueError(f"only {min(found.count, len(found.pictures))} of {len(indices)} pictures can be read back")
    if found.size != prepared.size or found.streams != 1 + len(prepared.copied):
        raise ValueError(
            f"read back, it has {counted(found.streams, 'stream')} and pictures of {found.size[1]} x {found.size[0]} "
            f"pixels, instead of {counted(1 + len(prepared.copied), 'stream')} and {prepared.size[1]} x "
            f"{prepared.size[0]} pixels"
        )
    if prepared.like is not None:
        times = {round(time * prepared.like.stream.time_base / found.time_base) for time in prepared.like.times}
        if len(times) < len(prepared.like.times):
            raise ValueError(
                f"it stores times in steps of {found.time_base} s, and two frames of the film are closer together"
            )
    off = np.abs(found.pictures[0].astype(np.int16)[..., : picture.shape[2]] - picture).mean(axis=(0, 1))
    if off[:3].max() > _FAR:
        raise ValueError(f"read back, its colours differ by {off[:3].max():.0f} of 255")
    return replace(found, has_alpha=prepared.has_alpha and bool(off[3] <= _FAR))


def _hardest(times: Sequence[int]) -> list[int]:
    """Return the indices of the frames for a trial: first, last, and the two closest in time."""
    nearest = min(range(len(times) - 1), key=lambda index: times[index + 1] - times[index])
    return sorted({0, nearest, nearest + 1, len(times) - 1})


def _test_picture(size: tuple[int, int], has_alpha: bool) -> np.ndarray:
    """Return smooth colours, (H, W, 3 or 4) uint8, that a wrong pixel format changes visibly."""
    down, across = np.linspace(30, 220, size[0])[:, None], np.linspace(30, 220, size[1])
    channels = [down + 0 * across, across + 0 * down, 0 * (down + across) + 60, (down + across) / 2]
    return np.dstack(channels[: 4 if has_alpha else 3]).astype(np.uint8)


def _changes(found: _Written, prepared: PreparedVideo, form: str) -> Iterator[str]:
    """Yield a warning for each way in which the video differs from the film, or is hard to play."""
    like = prepared.like
    wanted = like.stream.codec_context.pix_fmt if like is not None else None
    if found.codec == "h264" and found.pixel_format == "yuv444p" != wanted:
        yield (
            f"a side of {found.size[1]} x {found.size[0]} pixels is odd, so the video is written as h264 with yuv444p, "
            "which QuickTime and some other players do not show; name a .webm file, or make both sides even"
        )
    if like is None:
        return
    context = like.stream.codec_context
    if found.codec != codec_of(like):
        yield f"it cannot hold pictures as {codec_of(like)}; they become {found.codec} ({found.pixel_format})"
    elif found.profile != context.profile and found.codec in ("prores", "dnxhd"):
        yield f"it cannot hold these pictures as {found.codec} {context.profile}; they become {found.profile}"
    elif found.pixel_format != wanted:
        yield f"it cannot hold these pictures as {wanted}; they become {found.pixel_format}"
    if prepared.has_alpha and not found.has_alpha:
        yield f"it cannot hold transparency as {found.codec}; where the film is transparent, the video is white"
    if abs(found.pixel_shape / like.pixel_shape - 1) > _TOLERANCE:
        yield (
            "it cannot hold the shape of the film's pixels, "
            f"{like.pixel_shape.numerator}:{like.pixel_shape.denominator}, as {found.codec}; players show the video "
            f"{'narrower' if like.pixel_shape > found.pixel_shape else 'wider'} than the film"
        )
