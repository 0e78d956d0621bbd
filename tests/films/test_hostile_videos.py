"""Tests of hostile videos: each is read or refused in one line, and no large picture is decoded."""

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hostile.models import mutate
from made_videos import COUNT, SIZE, make, smooth

from analogy.errors import AnalogyError, ImageError, PictureTooLargeError, printable
from analogy.films import video
from analogy.films.frames import open_frames
from analogy.films.library import open_video
from analogy.films.video import VideoFrames
from analogy.films.writing import prepare_video
from analogy.method.admission import within

MOST = SIZE[0] * SIZE[1]
"""Maximum number of pixels of a frame that these tests allow."""
KINDS: dict[str, Callable[[Path], Path]] = {
    "film.mp4": lambda path: make(path, sounds=[("aac", "deu")], chapters=["one", "two"], fields={"title": "A city"}),
    "film.mkv": lambda path: make(
        path, "mpeg4", sounds=[("ac3", "deu")], chapters=["one", "two"], fields={"title": "A city"}
    ),
    "film.mov": lambda path: make(path, "prores_ks", "yuv422p10le", sounds=[("pcm_s16le", "deu")]),
    "film.webm": lambda path: make(path, "libvpx-vp9", sounds=[("libopus", "deu")]),
    "film.avi": lambda path: make(path, "mjpeg", "yuvj420p", sounds=[("pcm_s16le", "deu")]),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_video_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    sound = KINDS[name](tmp_path / name).read_bytes()
    film, new = tmp_path / f"damaged{Path(name).suffix}", tmp_path / "new.mkv"
    outcomes = {"read": 0, "refused": 0}
    for seed in range(60):
        film.write_bytes(mutate(sound, np.random.default_rng(seed)))
        try:
            frames = open_frames(film, within(MOST))
            picture = frames.read(len(frames.names) // 2)
            assert isinstance(frames, VideoFrames)
            prepare_video(new, picture.size, frames, Fraction(24))
            outcomes["read"] += 1
        except AnalogyError as error:
            assert str(error) == printable(str(error)) and 20 < len(str(error)) < 600, (seed, error)
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0, outcomes


def sizes(path: Path, *parts: tuple[int, int, int]) -> Path:
    """Make a VP9 video whose pictures change their size.

    Each of the `parts` is (rows, columns, number of pictures).
    """
    with av.open(str(path), "w") as container:
        encoders, stream = [], None
        for rows, columns, _ in parts:
            options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
            encoder = av.CodecContext.create("libvpx-vp9", "w")
            encoder.height, encoder.width, encoder.pix_fmt = rows, columns, "yuv420p"
            encoder.time_base, encoder.options = Fraction(1, 24), options
            encoders.append(encoder)
        stream = container.add_stream("libvpx-vp9", rate=24)
        stream.height, stream.width, stream.pix_fmt = parts[0][0], parts[0][1], "yuv420p"
        index = 0
        for encoder, (rows, columns, number) in zip(encoders, parts, strict=True):
            frames = [*smooth((rows, columns), number), None]
            for pixels in frames:
                frame = None
                if pixels is not None:
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                    frame.pts, frame.time_base = index, Fraction(1, 24)
                    index += 1
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (((96, 128, 3), (64, 64, 2)), "its pictures change their size after 3 frames, from 128 x 96 to 64 x 64 pixels"),
        (
            ((96, 128, 3), (160, 160, 2)),
            "its pictures change their size after 3 frames, from 128 x 96 to 160 x 160 pixels",
        ),
        (
            ((96, 128, 3), (1200, 1600, 2)),
            "cannot be decoded after 3 frames (Invalid argument); it is damaged, or its pictures",
        ),
    ],
    ids=["smaller", "larger", "much larger"],
)
def test_a_size_that_changes_within_a_video_is_refused(tmp_path: Path, parts, said: str) -> None:
    make(tmp_path / "probe.webm", "libvpx-vp9")
    film = sizes(tmp_path / "film.webm", *parts)
    with pytest.raises(ImageError, match=re.escape(said)):
        open_frames(film, within(MOST))


def test_a_much_larger_picture_within_a_video_is_never_in_memory(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path / "probe.webm", "libvpx-vp9")
    film = sizes(tmp_path / "film.webm", (96, 128, 3), (1200, 1600, 2))
    seen = []
    decoded = VideoFrames._decoded

    def watched(frames: VideoFrames):
        for frame in decoded(frames):
            seen.append((frame.height, frame.width))
            yield frame

    monkeypatch.setattr(VideoFrames, "_decoded", watched)
    with pytest.raises(ImageError):
        open_frames(film)
    assert seen == [SIZE] * 3


def test_a_video_whose_header_states_another_size_is_refused(tmp_path: Path) -> None:
    film = make(tmp_path / "film.webm", "libvpx-vp9", frames=smooth((720, 1280), 2))
    content = film.read_bytes()
    for old, new in ((b"\xb0\x82\x05\x00", b"\xb0\x82\x00\x20"), (b"\xba\x82\x02\xd0", b"\xba\x82\x00\x20")):
        assert content.count(old) == 1
        content = content.replace(old, new)
    film.write_bytes(content)
    with pytest.raises(ImageError, match="do not have the size that its header states, 32 x 32 pixels"):
        open_frames(film, within(MOST))


@pytest.mark.parametrize(
    ("name", "encoder"), [("film.mov", "mpeg4"), ("film.mp4", "libx264"), ("film.webm", "libvpx-vp9")]
)
def test_max_input_pixels_limits_a_video_wherever_its_size_is_stated(
    tmp_path: Path, monkeypatch, name: str, encoder: str
) -> None:
    film = make(tmp_path / name, encoder)
    assert len(open_frames(film, within(MOST)).names) == COUNT
    monkeypatch.setattr(VideoFrames, "_decoded", lambda frames: pytest.fail("it was decoded"))
    bounds: list[int | None] = []
    monkeypatch.setattr(
        video, "open_video", lambda path, most_pixels: bounds.append(most_pixels) or open_video(path, most_pixels)
    )
    with pytest.raises(
        PictureTooLargeError, match=r"128 x 96 pixels are 0\.01229 megapixels, and max_input_pixels allows"
    ):
        open_frames(film, within(MOST - 1))
    assert bounds == [None] + [video._UNSAID] * (encoder == "mpeg4")


@pytest.mark.parametrize(
    ("name", "encoder", "pixel_format", "lies"),
    [
        (
            "film.webm",
            "libvpx-vp9",
            "yuv420p",
            [(b"\xb0\x81\x80", b"\xb0\x81\x20"), (b"\xba\x81\x60", b"\xba\x81\x20")],
        ),
        ("film.mov", "mjpeg", "yuvj420p", [(b"\x00\x80\x00\x60\x00\x48", b"\x00\x20\x00\x20\x00\x48")]),
    ],
)
def test_max_input_pixels_limits_a_small_video_whose_header_states_a_smaller_size(
    tmp_path: Path, name: str, encoder: str, pixel_format: str, lies: list[tuple[bytes, bytes]]
) -> None:
    film = make(tmp_path / name, encoder, pixel_format)
    content = film.read_bytes()
    for old, new in lies:
        assert content.count(old) == 1
        content = content.replace(old, new)
    film.write_bytes(content)
    with pytest.raises(PictureTooLargeError, match="128 x 96 pixels"):
        open_frames(film, within(MOST - 1))


def test_max_input_pixels_limits_the_decoded_frames(tmp_path: Path, monkeypatch) -> None:
    film = make(tmp_path / "film.mp4")
    frame = av.VideoFrame(2 * SIZE[1], SIZE[0], "yuv420p")
    monkeypatch.setattr(VideoFrames, "_decoded", lambda frames: iter([frame]))
    with pytest.raises(PictureTooLargeError, match="256 x 96 pixels"):
        open_frames(film, within(MOST))


def test_a_video_in_which_the_reader_cannot_seek_is_refused(tmp_path: Path) -> None:
    class Damaged:
        def seek(self, *arguments: object, **options: object) -> None:
            raise av.error.InvalidDataError(1, "no index")

    frames = VideoFrames(make(tmp_path / "film.mp4"))
    frames._container = Damaged()
    with pytest.raises(
        ImageError, match=r"frame 0 cannot be found \(no index\); the video is damaged; convert it to \.mp4"
    ):
        frames.read(0)


def test_more_frames_than_a_film_can_have_are_refused(tmp_path: Path, monkeypatch) -> None:
    film = make(tmp_path / "film.mp4")
    monkeypatch.setattr(video, "_MOST_FRAMES", COUNT)
    assert len(VideoFrames(film).times) == COUNT
    monkeypatch.setattr(video, "_MOST_FRAMES", COUNT - 1)
    with pytest.raises(ImageError, match=f"film.mp4 has more than {COUNT - 1} frames; split it into shorter videos"):
        VideoFrames(film)


def test_a_codec_without_a_decoder_is_refused_in_one_line(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4")
    film.write_bytes(film.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(
        ImageError, match=r"has no decoder for its pictures; convert it, for instance to \.mp4 with H\.264"
    ):
        VideoFrames(film)


def test_a_list_of_other_files_in_place_of_a_video_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "secret.mp4")
    film = tmp_path / "film.mkv"
    film.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(film)) as container:
        assert container.streams.video, "FFmpeg itself follows the list"
    with pytest.raises(ImageError, match=r"not a video that can be read \(its content is not \.mp4, \.mov"):
        VideoFrames(film)


def test_a_file_with_the_name_of_a_protocol_is_a_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("film.mp4")).rename("concat:film.mp4")
    assert len(VideoFrames(Path("concat:film.mp4")).times) == COUNT


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mkv")
    content = film.read_bytes()
    film.write_bytes(content[: content.index(b"\x1f\x43\xb6\x75") + 40])  # the file ends within the first picture
    with pytest.raises(ImageError, match="has 0 frames; a film needs at least two"):
        open_frames(film)


def test_a_video_with_only_a_cover_picture_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic.value
        frame = av.VideoFrame.from_ndarray(smooth()[0], format="rgb24").reformat(format="yuvj420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(ImageError, match="contains a cover picture but no film; name a video"):
        VideoFrames(tmp_path / "film.mp4")
