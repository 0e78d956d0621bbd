"""The ways to encode the pictures of a video, from the nearest to the film's own to the most usual one of the container."""

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
"""Codec -> FFmpeg's names of the encoders to take, where its own choice is slow or does not know all of the codec."""
_QUALITY = {
    "libx264": {"crf": "15"},
    "libx265": {"crf": "16"},
    "libvpx-vp9": {"crf": "18", "b": "0"},
    "libsvtav1": {"crf": "20"},
    "libaom-av1": {"crf": "20", "cpu-used": "6"},
    "prores_ks": {"vendor": "apl0"},
}
"""Encoder -> its options for good pictures."""
_BITS = 0.4
"""Bits for each pixel, for encoders that `_QUALITY` does not know."""
_PRORES = ("Proxy", "LT", "Standard", "HQ", "4444", "XQ")
"""Profiles of ProRes, in the order of FFmpeg's numbers for them."""
_USUAL, _FULL = "yuv420p", "yuv444p"
"""Pixel formats that most encoders know: the one that most players show, and the one for sizes that are odd."""


@dataclass(frozen=True)
class Encoding:
    """One way to encode the pictures of a video.

    encoder       FFmpeg's name of the encoder
    pixel_format  and that of the format of the pixels that it gets
    options       its options, by name
    time_base     unit of time, in seconds
    tag           the codec's four letters in the container; None for FFmpeg's choice
    """

    encoder: str
    pixel_format: str
    options: dict[str, str]
    time_base: Fraction
    tag: str | None = None

    def apply(self, stream: Any, size: tuple[int, int], rate: Fraction) -> None:
        """Set up PyAV's new stream for pictures of `size` (rows, columns), `rate` a second."""
        context = stream.codec_context
        stream.height, stream.width, stream.pix_fmt = *size, self.pixel_format
        context.options = dict(self.options)
        if self.encoder not in _QUALITY:
            context.bit_rate = int(_BITS * size[0] * size[1] * rate)
        if self.tag:
            context.codec_tag = self.tag
        context.time_base = self.time_base


def encodings(container: Any, like: VideoFrames | None, size: tuple[int, int], rate: Fraction) -> Iterator[Encoding]:
    """Yield the ways to encode pictures into PyAV's new `container`, the best first. The encoder may refuse some of them.

    like  the video whose codec, profile, format of pixels and times are wanted; None for the most usual ones
    size  rows and columns of the pictures
    rate  frames a second
    """
    own = codec_of(like) if like is not None else None
    codecs = [own] if own in container.supported_codecs else []
    for codec in dict.fromkeys([*codecs, container.default_video_codec]):
        model = like if codec == own else None
        tag = "hvc1" if codec == "hevc" and container.format.name in ("mp4", "mov") else None
        for encoder in _encoders(codec):
            ways = product(_formats(encoder, model, size), _options(encoder.name, model), _time_bases(like, rate))
            for pixel_format, options, time_base in ways:
                yield Encoding(encoder.name, pixel_format, options, time_base, tag)


def codec_of(video: VideoFrames) -> str:
    """Return FFmpeg's name of the codec of a video."""
    return str(video.stream.codec_context.codec.canonical_name)


def _encoders(codec: str) -> list[Any]:
    """Return PyAV's encoders for a codec, the best first; [] if there is none."""
    av = pyav()
    found = {}
    for name in (*_ENCODERS.get(codec, ()), codec):
        with suppress(av.codec.codec.UnknownCodecError):
            encoder = av.codec.Codec(name, "w")
            found[encoder.name] = encoder
    return list(found.values())


def _options(encoder: str, like: VideoFrames | None) -> list[dict[str, str]]:
    """Return the sets of options to try with an encoder. `like`: a video of the same codec, whose profile is wanted."""
    usual = _QUALITY.get(encoder, {})
    profile = like.stream.codec_context.profile if like is not None else None
    if encoder == "prores_ks" and profile in _PRORES:
        return [usual | {"profile": str(_PRORES.index(profile))}]
    if encoder == "dnxhd" and profile:
        return [usual | {"profile": name} for name in (profile.lower().replace(" ", "_"), "dnxhr_hqx", "dnxhr_hq")]
    return [usual]


def _formats(encoder: Any, like: VideoFrames | None, size: tuple[int, int]) -> list[str]:
    """Return the formats of pixels to try with an encoder. `like`: a video of the same codec, whose format is wanted."""
    known = [form.name for form in encoder.video_formats or ()]
    usual = [_FULL] if size[0] % 2 or size[1] % 2 else [_USUAL, _FULL]
    wanted = [like.stream.codec_context.pix_fmt] if like is not None else []
    if not known:
        return [*wanted, *usual]
    found = [name for name in wanted if name in known]
    found += [nearest_format(known, name) for name in (*wanted, *usual)]
    return list(dict.fromkeys(found))


def nearest_format(known: Sequence[str], wanted: str) -> str:
    """Return that of the `known` formats of pixels which loses least of the `wanted` one, and adds least to it."""
    form = pyav().VideoFormat

    def loss(name: str) -> tuple[int, ...]:
        most, own = _measure(form(wanted)), _measure(form(name))
        return (
            *(max(0, ours - theirs) for ours, theirs in zip(most, own, strict=True)),
            form(wanted).is_rgb != form(name).is_rgb,
            *(abs(ours - theirs) for ours, theirs in zip(most, own, strict=True)),
        )

    return min(known, key=loss)


def _measure(form: Any) -> tuple[int, ...]:
    """Return how much a format of pixels can hold: whether transparency, columns and rows of colour, and bits."""
    parts = form.components
    is_sampled = not form.is_rgb and len(parts) > 2
    across, down = (form.chroma_width(64), form.chroma_height(64)) if is_sampled else (64, 64)
    return any(part.is_alpha for part in parts), across, down, max((part.bits for part in parts), default=0)


def _time_bases(like: VideoFrames | None, rate: Fraction) -> list[Fraction]:
    """Return the units of time to try: that of the video `like`, and the time of a frame if its frames are that far apart."""
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
