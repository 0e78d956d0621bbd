"""Videos for tests, made with PyAV as other programs make them, or written by the package."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from analogy.films.video import VideoFrames
from analogy.films.writing import prepare_video

SIZE, COUNT = (96, 128), 6


def write_video(path: Path, pictures: Iterable[np.ndarray], like: VideoFrames | None, rate: Fraction) -> None:
    """Prepare and write a video of the size of its first picture."""
    rest = iter(pictures)
    first = next(rest)
    prepare_video(path, first.shape[:2], like, rate, first.shape[2] == 4).write(chain([first], rest))


def needs(*encoders: str) -> None:
    """Skip the test if PyAV was built without one of these encoders."""
    for encoder in encoders:
        try:
            av.codec.Codec(encoder, "w")
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this PyAV has no encoder {encoder}")


def smooth(size: tuple[int, int] = SIZE, count: int = COUNT, alpha: bool = False) -> list[np.ndarray]:
    """Return frames of smooth colours that change from frame to frame, (H, W, 3 or 4) uint8.

    With `alpha`, the left half is transparent.
    """
    down, across = np.linspace(40, 200, size[0])[:, None], np.linspace(40, 200, size[1])
    frames = []
    for index in range(count):
        channels = [down + 0 * across, across + 0 * down, 0 * (down + across) + 60 + 20 * index]
        if alpha:
            channels.append(0 * down + np.where(np.arange(size[1]) < size[1] // 2, 0, 255))
        frames.append(np.dstack(channels).astype(np.uint8))
    return frames


def make(
    path: Path,
    encoder: str = "libx264",
    pixel_format: str = "yuv420p",
    frames: Sequence[np.ndarray] | None = None,
    *,
    rate: Fraction | int = 24,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    sounds: Sequence[tuple[str, str]] = (),
    subtitles: str | None = None,
    fields: dict[str, str] | None = None,
    stream_fields: dict[str, str] | None = None,
    chapters: Sequence[str] = (),
    cover: bool = False,
    second: bool = False,
    font: bytes | None = None,
    **context: Any,
) -> Path:
    """Make a video of `frames`, by default those of `smooth()`, and return its path.

    Parameters that are not listed are those of PyAV.

    Parameters
    ----------
    sounds : sequence of (str, str)
        Encoder and language of each stream of sound. The last stream is marked as the default.
    subtitles : str, optional
        Language of a stream of subtitles.
    cover : bool
        Whether the first stream is a cover picture.
    second : bool
        Whether there is a second stream of moving pictures.
    font : bytes, optional
        Content of an attached font.
    context
        Attributes of PyAV's encoder.
    """
    frames = smooth() if frames is None else frames
    needs(encoder, *(name for name, _ in sounds))
    for wanted, method in ((subtitles, "add_mux_stream"), (font, "add_attachment")):
        if wanted and not hasattr(av.container.OutputContainer, method):
            pytest.skip(f"PyAV {av.__version__} has no {method}")
    if rotation and not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip(f"PyAV {av.__version__} has no set_display_rotation")
    with av.open(str(path), "w") as container:
        container.metadata.update(fields or {})
        if chapters:
            container.set_chapters(
                [
                    {
                        "id": 1 + i,
                        "start": 100 * i,
                        "end": 100 * (i + 1),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": name},
                    }
                    for i, name in enumerate(chapters)
                ]
            )
        if cover:
            picture = _pictures(container, "mjpeg", "yuvj420p", frames[0], 1, {})
            picture.disposition = av.stream.Disposition.attached_pic.value
        stream = _pictures(container, encoder, pixel_format, frames[0], rate, options or {}, **context)
        stream.metadata.update(stream_fields or {})
        if rotation:
            stream.set_display_rotation(rotation)
        other = _pictures(container, "libx264", "yuv420p", frames[0], rate, {}) if second else None
        tones = []
        for name, language in sounds:
            tones.append(container.add_stream(name, rate=48000, layout="mono"))
            tones[-1].metadata.update({"language": language, "title": f"in {language}"})
            tones[-1].disposition = av.stream.Disposition.default.value if len(tones) == len(sounds) else 0
        words = container.add_mux_stream("subrip") if subtitles else None
        if font:
            container.add_attachment("font.ttf", "font/ttf", font)
        if words:
            words.time_base = Fraction(1, 1000)
            words.metadata["language"] = subtitles
        if cover:
            container.mux([*picture.encode(_frame(frames[0], "yuvj420p")), *picture.encode(None)])
        for index, pixels in enumerate(frames):
            for each in filter(None, (stream, other)):
                frame = _frame(pixels, each.pix_fmt)
                frame.pts, frame.time_base = index, 1 / Fraction(rate)
                container.mux(each.encode(frame))
        for tone in tones:
            form = tone.codec_context.format.name
            for start in range(0, 12288, 1024):
                wave = np.sin(np.arange(start, start + 1024) / 20)
                samples = (
                    wave * 0.5
                    if form.startswith("flt")
                    else wave * 2.0**30
                    if form.startswith("s32")
                    else wave * 2.0**14
                )
                kind = {"flt": np.float32, "s32": np.int32, "s16": np.int16}[form[:3]]
                sound = av.AudioFrame.from_ndarray(samples.astype(kind)[None], format=form, layout="mono")
                sound.sample_rate, sound.pts = 48000, start
                container.mux(tone.encode(sound))
            container.mux(tone.encode(None))
        for each in filter(None, (stream, other)):
            container.mux(each.encode(None))
        if words:
            packet = av.Packet(b"a city")
            packet.stream, packet.pts, packet.dts, packet.duration = words, 50, 50, 100
            packet.time_base = Fraction(1, 1000)
            container.mux(packet)
    return path


def _pictures(
    container: Any,
    encoder: str,
    pixel_format: str,
    like: np.ndarray,
    rate: Any,
    options: dict[str, str],
    **context: Any,
) -> Any:
    stream = container.add_stream(encoder, rate=rate)
    stream.height, stream.width = like.shape[:2]
    stream.pix_fmt, stream.codec_context.options = pixel_format, options
    for name, value in context.items():
        setattr(stream.codec_context, name, value)
    return stream


def _frame(pixels: np.ndarray, pixel_format: str) -> Any:
    form = "rgba" if pixels.shape[2] == 4 else "rgb24"
    return av.VideoFrame.from_ndarray(pixels, format=form).reformat(format=pixel_format)
