"""Choice of encodings to try: first with the film's codec, then with the container's default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from .library import pyav
from .video import VideoFrames

_ENCODERS = {"av1": ("libsvtav1", "libaom-av1"), "prores": ("prores_ks",)}
"""Codec -> FFmpeg's names of the encoders to use, where FFmpeg's choice is slow or incomplete."""
_QUALITY = {
    "libx264": {"crf": "15"},
    "libx265": {"crf": "16"},
    "libvpx-vp9": {"crf": "18", "b": "0"},
    "libsvtav1": {"crf": "20"},
    "libaom-av1": {"crf": "20", "cpu-used": "6"},
    "prores_ks": {"vendor": "apl0"},
}
"""FFmpeg's name of an encoder -> options for a high quality or, for ProRes, Apple's vendor code."""
_BITS = 0.4
"""Bit rate for encoders that are not in `_QUALITY`, in bits per pixel."""
_PRORES = ("Proxy", "LT", "Standard", "HQ", "4444", "XQ")
"""Profiles of ProRes, in the order of FFmpeg's numbers for them."""
_USUAL = "yuv420p"
"""Pixel format that nearly all encoders and players support."""
_FULL = "yuv444p"
"""Pixel format that, unlike `_USUAL`, allows an odd number of rows or columns."""


@dataclass(frozen=True)
class Encoding:
    """Encoder of a video's pictures, with its options.

    Attributes
    ----------
    encoder : str
        FFmpeg's name of the encoder.
    pixel_format : str
        FFmpeg's name of the pixel format of the pictures that the encoder is given.
    options : dict of str to str
        Options of the encoder.
    time_base : Fraction
        Unit of the times of the frames, in seconds.
    tag : str or None
        Four-letter code of the codec in the container; with None, FFmpeg chooses it.
    """

    encoder: str
    pixel_format: str
    options: dict[str, str]
    time_base: Fraction
    tag: str | None = None

    def apply(self, stream: Any, size: tuple[int, int], rate: Fraction) -> None:
        """Set up PyAV's new stream for pictures of `size` (rows, columns).

        `rate` is the number of pictures per second, from which a bit rate is computed.
        """
        context = stream.codec_context
        stream.height, stream.width, stream.pix_fmt = *size, self.pixel_format
        context.options = dict(self.options)
        if self.encoder not in _QUALITY:
            context.bit_rate = int(_BITS * size[0] * size[1] * rate)
        if self.tag:
            context.codec_tag = self.tag
        context.time_base = self.time_base


def encodings(container: Any, like: VideoFrames | None, size: tuple[int, int], rate: Fraction) -> Iterator[Encoding]:
    """Yield the encodings to try for the pictures of a container, the best first.

    An encoder may refuse an encoding, so the caller has to try them until one works.

    Parameters
    ----------
    container : av.container.OutputContainer
        The new video.
    like : VideoFrames or None
        A video whose codec, profile, pixel format and times the new video should have. With None,
        the new video gets the container's default codec, and frames at equal intervals.
    size : (int, int)
        Rows and columns of the pictures.
    rate : Fraction
        Frames per second.

    Yields
    ------
    Encoding
        The next best encoding.
    """
    film_codec = codec_of(like) if like is not None else None
    codecs = [film_codec] if film_codec in container.supported_codecs else []
    for codec in dict.fromkeys([*codecs, container.default_video_codec]):
        model = like if codec == film_codec else None
        tag = "hvc1" if codec == "hevc" and container.format.name in ("mp4", "mov") else None
        for encoder in _encoders(codec):
            choices = product(_formats(encoder, model, size), _options(encoder.name, model), _time_bases(like, rate))
            for pixel_format, options, time_base in choices:
                yield Encoding(encoder.name, pixel_format, options, time_base, tag)


def codec_of(video: VideoFrames) -> str:
    """Return FFmpeg's name of the codec of a video."""
    return str(video.stream.codec_context.codec.canonical_name)


def _encoders(codec: str) -> list[Any]:
    """Return PyAV's encoders for a codec, the best first."""
    av = pyav()
    found = {}
    for name in (*_ENCODERS.get(codec, ()), codec):
        with suppress(av.codec.codec.UnknownCodecError):
            encoder = av.codec.Codec(name, "w")
            found[encoder.name] = encoder
    return list(found.values())


def _options(encoder: str, like: VideoFrames | None) -> list[dict[str, str]]:
    """Return the sets of options to try with an encoder.

    `like` is a video of the same codec, whose profile is wanted, or None.
    """
    usual = _QUALITY.get(encoder, {})
    profile = like.stream.codec_context.profile if like is not None else None
    if encoder == "prores_ks" and profile in _PRORES:
        return [usual | {"profile": str(_PRORES.index(profile))}]
    if encoder == "dnxhd" and profile:
        return [usual | {"profile": name} for name in (profile.lower().replace(" ", "_"), "dnxhr_hqx", "dnxhr_hq")]
    return [usual]


def _formats(encoder: Any, like: VideoFrames | None, size: tuple[int, int]) -> list[str]:
    """Return the pixel formats to try with an encoder.

    `like` is a video of the same codec, whose pixel format is wanted, or None.
    """
    known = [form.name for form in encoder.video_formats or ()]
    usual = [_FULL] if size[0] % 2 or size[1] % 2 else [_USUAL, _FULL]
    wanted = [like.stream.codec_context.pix_fmt] if like is not None else []
    if not known:
        return [*wanted, *usual]
    found = [name for name in wanted if name in known]
    found += [nearest_format(known, name) for name in (*wanted, *usual)]
    return list(dict.fromkeys(found))


def nearest_format(known: Sequence[str], wanted: str) -> str:
    """Return the one of the `known` pixel formats that is nearest to the `wanted` one.

    The nearest format loses the least: alpha counts first, then chroma resolution, then bits per
    colour. Among formats that lose equally little, one of the same kind (RGB or YUV) is nearer.
    Among those, the nearest is the one that exceeds the wanted format the least.
    """
    form = pyav().VideoFormat

    def loss(name: str) -> tuple[int, ...]:
        needs, has = _measure(form(wanted)), _measure(form(name))
        return (
            *(max(0, need - own) for need, own in zip(needs, has, strict=True)),
            form(wanted).is_rgb != form(name).is_rgb,
            *(abs(need - own) for need, own in zip(needs, has, strict=True)),
        )

    return min(known, key=loss)


def _measure(form: Any) -> tuple[int, ...]:
    """Return (has alpha, columns of chroma, rows of chroma, bits) of a pixel format.

    Columns and rows are counted for a picture of 64 x 64 pixels.
    """
    parts = form.components
    is_sampled = not form.is_rgb and len(parts) > 2
    across, down = (form.chroma_width(64), form.chroma_height(64)) if is_sampled else (64, 64)
    return any(part.is_alpha for part in parts), across, down, max((part.bits for part in parts), default=0)


def _time_bases(like: VideoFrames | None, rate: Fraction) -> list[Fraction]:
    """Return the units of time to try, in seconds.

    They are the unit of the video `like` and, if its frames are at equal intervals, the duration of
    a frame. If `like` is None, the duration of a frame is the only unit.
    """
    if like is None:
        return [1 / rate]
    unit = like.stream.time_base
    counts = [round(time * unit * rate) for time in like.times]
    is_steady = counts == list(range(counts[0], counts[0] + len(counts)))
    if is_steady and all(
        abs(time * unit - count / rate) <= unit for time, count in zip(like.times, counts, strict=True)
    ):
        return [unit, 1 / rate]
    return [unit]
