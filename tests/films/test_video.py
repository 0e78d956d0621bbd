"""Tests of videos: reading frames in any order, and keeping times, codec, colours and sound."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made_films import film, picture
from made_videos import write_video
from PIL import Image

from analogy.errors import ImageError, OutputError
from analogy.films import video
from analogy.films.frames import open_frames
from analogy.films.video import VideoFrames

COUNT = 24
TIMES = [3 * i + (i % 3 == 0) for i in range(COUNT)]
"""Times of frames at unequal intervals, in units of 1 / 30 s."""


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Return frames of smooth colours, which an encoder changes little."""
    return [
        frame // 2 + 64
        for frame in film(picture(240, 320)[::4, ::4].repeat(4, 0).repeat(4, 1), (48, 64), COUNT, (1, 0))
    ]


def make(path: Path, frames: list[np.ndarray], rotation: int = 0, **context: object) -> Path:
    """Make a video of `frames` at `TIMES`, with a tone, and return its path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "1", "g": "8"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = context.pop("pix_fmt", "yuv444p")
        stream.time_base = Fraction(1, 30)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=44100, layout="mono")
        for time, rgb in zip(TIMES, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 30)
            container.mux(stream.encode(frame))
        tone = np.sin(np.arange(3 * 44100) / 20).astype(np.float32)
        for start in range(0, len(tone), 1024):
            part = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            part.sample_rate, part.pts = 44100, start
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
        container.mux(stream.encode(None))
    return path


def times_and_sound(path: Path) -> tuple[list[float], list[bytes]]:
    """Return the times of the frames, in seconds after the sound begins, and the sound packets."""
    with av.open(str(path)) as container:
        sound = [packet for packet in container.demux(container.streams.audio) if packet.pts is not None]
        start = float(sound[0].pts * sound[0].time_base)
    frames = VideoFrames(path)
    return [float(time * frames.stream.time_base) - start for time in frames.times], [bytes(packet) for packet in sound]


def test_a_caller_can_refuse_a_video_by_its_size_before_it_is_decoded(tmp_path: Path, frames, monkeypatch) -> None:
    def refuse(size: tuple[int, int], label: str) -> None:
        raise ImageError(f"{label} is {size}")

    path = make(tmp_path / "film.mp4", frames)
    monkeypatch.setattr(VideoFrames, "_decoded", lambda film: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"the video .*film\.mp4 is \(48, 64\)"):
        open_frames(path, refuse)


@pytest.mark.parametrize("kept", [4, 100])
def test_frames_are_read_in_any_order(tmp_path: Path, frames, monkeypatch, kept: int) -> None:
    monkeypatch.setattr(video, "_CACHED", kept * 48 * 64 * 3)
    film = open_frames(make(tmp_path / "film.mp4", frames))
    assert list(film.names) == [f"{index:04}" for index in range(COUNT)]
    for index in [0, 1, 7, 23, 22, 21, 20, 19, 18, 17, 5, 4, 3, 2, 1, 0, 12]:
        assert np.abs(film.read(index).rgb.astype(int) - frames[index]).mean() < 3, index
    assert len({film.digest(index) for index in range(COUNT)}) == COUNT


def test_a_new_video_keeps_times_codec_format_and_sound(tmp_path: Path, frames) -> None:
    old = VideoFrames(make(tmp_path / "film.mp4", frames))
    for suffix in (".mp4", ".mov", ".mkv"):
        path = tmp_path / f"new{suffix}"
        write_video(path, (255 - old.read(index).rgb for index in range(COUNT)), old, Fraction(24))
        new = VideoFrames(path)
        assert (new.stream.codec_context.name, new.stream.codec_context.pix_fmt) == ("h264", "yuv444p")
        for index in (0, 9, COUNT - 1):
            assert np.abs(new.read(index).rgb.astype(int) - (255 - frames[index].astype(int))).mean() < 4
        # Sound may begin before time zero. Matroska then moves all times by the same amount.
        pictures, sounds = zip(*(times_and_sound(each) for each in (tmp_path / "film.mp4", path)), strict=True)
        assert np.allclose(*pictures, atol=1.5e-3)
        assert sounds[0] == sounds[1] and len(sounds[0]) > 100


@pytest.mark.parametrize("values", [{}, {"color_range": 2}, {"colorspace": 1, "color_range": 1}], ids=str)
def test_range_and_standard_of_colours_are_kept_and_the_colours_too(tmp_path: Path, values) -> None:
    flat = [np.full((48, 64, 3), colour, np.uint8) for colour in ([200, 30, 60], [20, 160, 240])] * (COUNT // 2)
    old = VideoFrames(make(tmp_path / "film.mp4", flat, pix_fmt="yuv420p", **values))
    write_video(tmp_path / "new.mp4", (old.read(index).rgb for index in range(COUNT)), old, Fraction(24))
    new = VideoFrames(tmp_path / "new.mp4")
    for name, value in values.items():
        assert int(getattr(new.stream.codec_context, name)) == value
    for index in (0, 1):
        assert np.abs(new.read(index).rgb.astype(int) - old.read(index).rgb.astype(int)).max() <= 4


def test_a_codec_that_the_container_cannot_hold_is_logged(tmp_path: Path, frames, caplog) -> None:
    old = VideoFrames(make(tmp_path / "film.mp4", frames))
    write_video(tmp_path / "new.webm", iter(frames), old, Fraction(24))
    assert VideoFrames(tmp_path / "new.webm").stream.codec_context.name == "vp9"
    assert "cannot hold pictures as h264; they become vp9" in caplog.text
    assert "cannot hold sound as aac; the video is silent" in caplog.text


def test_pictures_become_a_video_of_their_rate_and_of_any_size(tmp_path: Path) -> None:
    odd = [frame[:47, :63] for frame in film(picture(160, 240), (48, 64), 6)]
    write_video(tmp_path / "new.mp4", iter(odd), None, Fraction(25))
    new = VideoFrames(tmp_path / "new.mp4")
    assert (new.read(5).size, len(new.times), new.stream.average_rate) == ((47, 63), 6, 25)


def test_a_telephone_s_turned_video_is_read_upright(tmp_path: Path, frames) -> None:
    turned = [np.ascontiguousarray(np.rot90(frame, -1)) for frame in frames]
    upright = VideoFrames(make(tmp_path / "film.mp4", turned, rotation=90))
    assert np.abs(upright.read(3).rgb.astype(int) - frames[3]).mean() < 4


def test_a_file_that_is_not_a_video_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film" * 99)
    for path in (tmp_path / "film.mp4", tmp_path / "nowhere.mkv"):
        with pytest.raises(ImageError, match="not a video that can be read") as raised:
            open_frames(path)
        assert "\n" not in str(raised.value)


def test_a_video_that_cannot_be_written_leaves_nothing(tmp_path: Path, frames) -> None:
    def failing():
        yield frames[0]
        raise ImageError("a frame is damaged")

    with pytest.raises(ImageError, match="a frame is damaged"):
        write_video(tmp_path / "new.mp4", failing(), None, Fraction(24))
    with pytest.raises(OutputError, match="does not exist"):
        write_video(tmp_path / "nowhere" / "new.mp4", iter(frames), None, Fraction(24))
    assert list(tmp_path.iterdir()) == []


def test_animations_and_avi_are_films_and_become_a_video_of_their_times(tmp_path: Path, frames) -> None:
    images = [Image.fromarray(frame) for frame in frames[:4]]
    images[0].save(tmp_path / "x.gif", save_all=True, append_images=images[1:], duration=[100, 300, 100, 100])
    with av.open(str(tmp_path / "x.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=24, options={"q": "1"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in frames[:4]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    for name, times in (("x.gif", [0, 0.1, 0.4, 0.5]), ("x.avi", [0, 1 / 24, 2 / 24, 3 / 24])):
        film = open_frames(tmp_path / name)
        assert film.names == ["0000", "0001", "0002", "0003"]
        for index, frame in enumerate(frames[:4]):
            assert np.abs(film.read(index).rgb.astype(int) - frame).mean() < 8
        write_video(tmp_path / "new.mp4", (film.read(index).rgb for index in range(4)), film, Fraction(24))
        assert times_of(tmp_path / "new.mp4") == pytest.approx(times, abs=0.01)


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_a_video_that_is_gone_before_its_checksum_is_computed_is_named_in_one_line(tmp_path: Path, frames) -> None:
    film = open_frames(make(tmp_path / "film.mp4", frames))
    (tmp_path / "film.mp4").unlink()
    with pytest.raises(ImageError, match=r"film\.mp4: there is no such file; check its name"):
        film.digest(0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("function", ["upright", "_decoded"])
def test_a_video_can_be_read_after_an_interrupted_reading(
    tmp_path: Path, frames, monkeypatch, error: type[BaseException], function: str
) -> None:
    film = open_frames(make(tmp_path / "film.mp4", frames))
    decoded = VideoFrames._decoded

    def interrupted(*arguments: object) -> object:
        raise error

    def interrupted_after_three(film: VideoFrames) -> object:
        for count, frame in enumerate(decoded(film)):
            if count == 3:
                raise error
            yield frame

    if function == "upright":
        film.read(2)
    with monkeypatch.context() as context, pytest.raises(error):
        if function == "upright":
            context.setattr(video, "upright", interrupted)
        else:
            context.setattr(VideoFrames, "_decoded", interrupted_after_three)
        film.read(3)
    for index in (3, 4):
        assert np.abs(film.read(index).rgb.astype(int) - frames[index]).mean() < 3


def test_a_decoded_frame_of_an_unknown_time_is_left_out(tmp_path: Path, frames, monkeypatch) -> None:
    film = open_frames(make(tmp_path / "film.mp4", frames))
    decoded = VideoFrames._decoded

    def with_another(film: VideoFrames) -> object:
        for count, frame in enumerate(decoded(film)):
            if count == 3:
                frame.pts = 2  # no frame has this time
            yield frame

    monkeypatch.setattr(VideoFrames, "_decoded", with_another)
    film.read(4)
    for index in (2, 4):
        assert np.abs(film.read(index).rgb.astype(int) - frames[index]).mean() < 3
