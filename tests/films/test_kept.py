"""Tests of new videos: which properties of the film they keep, and which losses are logged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from made_videos import COUNT, SIZE, make, needs, smooth

from analogy.errors import OutputError
from analogy.films import writing
from analogy.films.copying import Copies
from analogy.films.video import VideoFrames
from analogy.films.writing import PreparedVideo, prepare_video


def prepare(film: Path, new: Path) -> PreparedVideo:
    """Prepare a new video with the properties of a film."""
    like = VideoFrames(film)
    return prepare_video(new, like.read(0).size, like, Fraction(24), like.has_alpha)


def repeat(film: Path, new: Path) -> Path:
    """Write the unchanged frames of a film as another video."""
    prepared = prepare(film, new)
    like = prepared.like
    assert like is not None
    pictures = [like.read(index) for index in range(len(like.times))]
    prepared.write(
        np.dstack([each.rgb, each.alpha]) if prepared.has_alpha else each.over(255)  # type: ignore[list-item]
        for each in pictures
    )
    return new


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as container:
        yield container


def pictures_of(path: Path) -> Any:
    """Return the codec's four-letter code, name and profile, the pixel format and pixel shape."""
    with opened(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return (
            context.codec_tag,
            context.codec.canonical_name,
            context.profile,
            context.pix_fmt,
            stream.sample_aspect_ratio,
        )


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hevc_has_the_tag_that_quicktime_and_safari_want(tmp_path: Path, suffix: str) -> None:
    film = make(tmp_path / "film.mkv", "libx265", options={"x265-params": "log-level=none"})
    assert pictures_of(repeat(film, tmp_path / f"new{suffix}"))[:2] == ("hvc1", "hevc")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(("rotation", "shape"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))], ids=["upright", "turned"])
def test_the_shape_of_the_pixels_is_kept(tmp_path: Path, suffix: str, rotation: int, shape: Fraction) -> None:
    film = make(tmp_path / "film.mp4", sample_aspect_ratio=Fraction(4, 3), rotation=rotation)
    assert pictures_of(repeat(film, tmp_path / f"new{suffix}"))[4] == shape


def test_a_pixel_shape_that_the_container_cannot_hold_is_logged(tmp_path: Path, caplog) -> None:
    film = make(tmp_path / "film.mp4", sample_aspect_ratio=Fraction(4, 3))
    prepare(film, tmp_path / "new.webm")
    assert "cannot hold the shape of the film's pixels, 4:3, as vp9; players show the video narrower" in caplog.text


@pytest.mark.parametrize(
    ("number", "profile", "pixel_format"),
    [(0, "Proxy", "yuv422p10le"), (3, "HQ", "yuv422p10le"), (4, "4444", "yuv444p10le"), (5, "XQ", "yuv444p10le")],
)
def test_the_profile_of_prores_is_kept(tmp_path: Path, number: int, profile: str, pixel_format: str) -> None:
    film = make(tmp_path / "film.mov", "prores_ks", pixel_format, options={"profile": str(number)})
    assert pictures_of(film)[2] == profile
    assert pictures_of(repeat(film, tmp_path / "new.mov"))[:4] == pictures_of(film)[:4]


@pytest.mark.parametrize(
    ("encoder", "pixel_format"), [("prores_ks", "yuva444p10le"), ("qtrle", "argb"), ("png", "rgba")]
)
def test_transparency_is_kept(tmp_path: Path, encoder: str, pixel_format: str) -> None:
    options = {"profile": "4"} if encoder == "prores_ks" else {}
    film = make(tmp_path / "film.mov", encoder, pixel_format, smooth(alpha=True), options=options)
    new = repeat(film, tmp_path / "new.mov")
    assert pictures_of(new)[1:4] == pictures_of(film)[1:4]
    picture = VideoFrames(new).read(COUNT - 1)
    assert picture.alpha is not None
    assert (picture.alpha[:, : SIZE[1] // 2 - 2].max(), picture.alpha[:, SIZE[1] // 2 + 2 :].min()) == (0, 255)
    colours = smooth()[COUNT - 1][:, SIZE[1] // 2 + 2 :]
    assert np.abs(picture.rgb[:, SIZE[1] // 2 + 2 :].astype(int) - colours).mean() < 4


def test_transparency_that_the_container_cannot_hold_becomes_white_and_is_logged(tmp_path: Path, caplog) -> None:
    film = make(tmp_path / "film.mov", "qtrle", "argb", smooth(alpha=True))
    new = repeat(film, tmp_path / "new.mp4")
    assert (
        "new.mp4: it cannot hold transparency as h264; where the film is transparent, the video is white" in caplog.text
    )
    picture = VideoFrames(new).read(0)
    assert picture.alpha is None and picture.rgb[:, : SIZE[1] // 2 - 8].min() > 245


def test_a_film_with_nothing_transparent_has_no_transparency(tmp_path: Path) -> None:
    opaque = [np.dstack([frame, np.full(SIZE, 255, np.uint8)]) for frame in smooth()]
    film = VideoFrames(make(tmp_path / "film.mov", "qtrle", "argb", opaque))
    assert not film.has_alpha and film.read(0).alpha is None


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_languages_titles_and_chapters_are_kept(tmp_path: Path, caplog, suffix: str) -> None:
    film = make(
        tmp_path / f"film{suffix}",
        sounds=[("aac", "deu"), ("ac3", "eng")],
        chapters=["one", "two"],
        fields={"title": "A city"},
    )
    new = repeat(film, tmp_path / f"new{suffix}")
    with opened(film) as old, opened(new) as container:
        assert [stream.language for stream in container.streams.audio] == ["deu", "eng"]
        for before, after in zip(old.streams, container.streams, strict=True):
            assert after.metadata.get("title") == before.metadata.get("title")
            assert after.disposition == before.disposition
        assert container.metadata["title"] == "A city"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["one", "two"]
        packets = [[bytes(packet) for packet in each.demux(audio=1) if packet.size] for each in (old, container)]
        assert packets[0] == packets[1] and packets[0]
    assert not caplog.records


def test_fields_that_describe_the_old_container_are_not_copied(tmp_path: Path) -> None:
    with opened(repeat(make(tmp_path / "film.mp4"), tmp_path / "new.mkv")) as container:
        assert {name.lower() for name in container.metadata} == {"encoder"}


def test_subtitles_are_kept(tmp_path: Path) -> None:
    new = repeat(make(tmp_path / "film.mkv", subtitles="fra"), tmp_path / "new.mkv")
    with opened(new) as container:
        (stream,) = container.streams.subtitles
        (packet,) = (packet for packet in container.demux(stream) if packet.size)
        assert (stream.language, bytes(packet), float(packet.pts * packet.time_base)) == ("fra", b"a city", 0.05)
        assert float(packet.duration * packet.time_base) == 0.1


def test_attached_fonts_are_kept(tmp_path: Path) -> None:
    new = repeat(make(tmp_path / "film.mkv", font=b"a font"), tmp_path / "new.mkv")
    with opened(new) as container:
        (font,) = (stream for stream in container.streams if stream.type == "attachment")
        assert (font.name, font.data) == ("font.ttf", b"a font")


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_the_timecode_of_an_editor_is_kept(tmp_path: Path, caplog, suffix: str) -> None:
    film = make(tmp_path / f"film{suffix}", stream_fields={"timecode": "01:00:00:00"})
    with opened(repeat(film, tmp_path / "new.mov")) as container:
        assert [stream.metadata["timecode"] for stream in container.streams] == ["01:00:00:00"] * 2
    assert "data" not in caplog.text


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        (".mp4", ["it cannot hold subtitles as subrip (deu); this stream is left out"]),
        (
            ".webm",
            [
                "it cannot hold sound as aac (eng); the video is silent",
                "it cannot hold subtitles as subrip (deu); this stream is left out",
                "it cannot hold pictures as h264; they become vp9 (yuv420p)",
            ],
        ),
        (".mkv", []),
    ],
)
def test_a_stream_that_the_container_cannot_hold_is_logged_once_before_writing(
    tmp_path: Path, caplog, suffix: str, said: list[str]
) -> None:
    film = make(tmp_path / "film.mkv", sounds=[("aac", "eng")], subtitles="deu")
    new = tmp_path / f"new{suffix}"
    prepare(film, new)
    assert [record.getMessage() for record in caplog.records] == [f"{new}: {line}" for line in said]
    assert not new.exists()


def test_a_latin_1_title_becomes_proper_text(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", fields={"title": "Cafeteria"})
    film.write_bytes(film.read_bytes().replace(b"Cafeteria", b"Caf\xe9t\xe9ria"))
    with opened(repeat(film, tmp_path / "new.mp4")) as container:
        assert container.metadata["title"] == "Caf\u00e9t\u00e9ria"


def test_the_first_stream_of_pictures_is_painted_and_the_others_are_logged(tmp_path: Path, caplog) -> None:
    film = VideoFrames(make(tmp_path / "film.mkv", second=True))
    assert len(film.times) == COUNT
    assert (
        "film.mkv: it has 2 streams of pictures; the first one is painted, and the others are left out" in caplog.text
    )


def test_a_cover_picture_is_not_painted(tmp_path: Path, caplog) -> None:
    film = make(tmp_path / "film.mp4", cover=True)
    assert len(VideoFrames(film).times) == COUNT
    prepare(film, tmp_path / "new.mp4")
    assert "new.mp4: the film's cover picture is left out" in caplog.text and "2 streams" not in caplog.text


def test_interlaced_frames_are_logged(tmp_path: Path, caplog) -> None:
    VideoFrames(make(tmp_path / "whole.mkv", options={"crf": "1"}))
    assert not caplog.records
    VideoFrames(make(tmp_path / "film.mkv", options={"x264-params": "tff=1"}))
    assert "film.mkv: its frames are interlaced" in caplog.text and "deinterlace the video" in caplog.text


@pytest.mark.parametrize(
    ("encoder", "pixel_format", "bits"),
    [("libx264", "yuv422p10le", 10), ("ffv1", "yuv420p16le", 16), ("prores_ks", "yuv422p10le", 10)],
)
def test_the_bit_depth_is_kept_and_painting_with_8_bits_is_logged(
    tmp_path: Path, caplog, encoder: str, pixel_format: str, bits: int
) -> None:
    suffix = ".mov" if encoder == "prores_ks" else ".mkv"
    film = make(tmp_path / f"film{suffix}", encoder, pixel_format)
    assert pictures_of(repeat(film, tmp_path / f"new{suffix}"))[3] == pixel_format
    assert [record.getMessage() for record in caplog.records] == [
        f"{film}: its colours have {bits} bits per channel; they are painted with 8"
    ]


def test_transparency_that_is_not_read_is_logged(tmp_path: Path, caplog) -> None:
    film = make(tmp_path / "film.webm", "libvpx-vp9", "yuva420p", smooth(alpha=True), stream_fields={"alpha_mode": "1"})
    assert not VideoFrames(film).has_alpha
    assert (
        "film.webm: its transparency is stored beside its pictures and is not read; the result is opaque" in caplog.text
    )


def test_hdr_keeps_its_colour_tags_and_is_logged(tmp_path: Path, caplog) -> None:
    film = make(tmp_path / "film.mp4", "libx264", "yuv420p10le", color_primaries=9, color_trc=16, colorspace=9)
    with opened(repeat(film, tmp_path / "new.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace) == (9, 16, 9)
    assert "film.mp4: its colours are HDR (PQ); they are painted as they are stored, with 8 of 10 bits" in caplog.text


@pytest.mark.parametrize(
    ("name", "encoder", "pixel_format", "options", "rate", "size"),
    [
        ("dnxhr.mov", "dnxhd", "yuv422p", {"profile": "dnxhr_hq"}, 25, (192, 256)),
        ("dvd.mkv", "mpeg2video", "yuv420p", {}, 25, SIZE),
        ("vcd.mkv", "mpeg1video", "yuv420p", {}, 25, SIZE),
        ("uyvy.mov", "rawvideo", "uyvy422", {}, 25, (90, 150)),
        ("plain.mov", "mpeg4", "yuv420p", {}, 24, SIZE),
        ("odd.webm", "libvpx-vp9", "yuv420p", {}, 24, (91, 151)),
    ],
)
def test_unusual_codecs_stay_and_show_the_same_pictures(
    tmp_path: Path,
    name: str,
    encoder: str,
    pixel_format: str,
    options: dict[str, str],
    rate: int,
    size: tuple[int, int],
) -> None:
    film = make(tmp_path / name, encoder, pixel_format, smooth(size), rate=rate, options=options)
    new = repeat(film, tmp_path / f"new{film.suffix}")
    assert pictures_of(new)[1:4] == pictures_of(film)[1:4]
    old, shown = VideoFrames(film), VideoFrames(new)
    assert [time * shown.stream.time_base for time in shown.times] == [
        time * old.stream.time_base for time in old.times
    ]
    for index in (0, COUNT - 1):
        assert np.abs(shown.read(index).rgb.astype(int) - smooth(size)[index]).mean() < 6


@pytest.mark.parametrize(
    ("name", "encoder", "pixel_format", "size", "new", "becomes", "said"),
    [
        (
            "odd.webm",
            "libvpx-vp9",
            "yuv420p",
            (91, 151),
            "new.mov",
            ("h264", "yuv444p"),
            "151 x 91 pixels is odd, so the video is written as h264",
        ),
        (
            "grey.mkv",
            "ffv1",
            "gray",
            SIZE,
            "new.mkv",
            ("ffv1", "yuv444p"),
            "cannot hold these pictures as gray; they become",
        ),
        (
            "old.avi",
            "wmv2",
            "yuv420p",
            SIZE,
            "new.mov",
            ("h264", "yuv420p"),
            "cannot hold pictures as wmv2; they become h264",
        ),
        ("raw.mkv", "rawvideo", "yuv420p", SIZE, "new.mp4", ("h264", "yuv420p"), "as rawvideo; they become h264"),
    ],
)
def test_a_codec_that_the_container_cannot_hold_is_replaced_and_logged_in_one_line(
    tmp_path: Path,
    caplog,
    name: str,
    encoder: str,
    pixel_format: str,
    size: Any,
    new: str,
    becomes: tuple[str, str],
    said: str,
) -> None:
    film = make(tmp_path / name, encoder, pixel_format, smooth(size))
    _, codec, _, form, _ = pictures_of(repeat(film, tmp_path / new))
    assert (codec, form) == becomes
    assert caplog.text.count(said) == 1
    frame = VideoFrames(tmp_path / new).read(2).rgb
    assert np.abs(frame.astype(int) - VideoFrames(film).read(2).rgb).mean() < 6


def test_a_trial_whose_colours_change_fails(tmp_path: Path) -> None:
    prepared = prepare(make(tmp_path / "film.mkv", "ffv1"), tmp_path / "new.mkv")
    writing._try(prepared)
    with pytest.raises(ValueError, match="its colours differ by"):
        writing._try(replace(prepared, encoding=replace(prepared.encoding, pixel_format="gray")))


def test_an_absurd_rate_is_refused_before_the_work(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", rate=1_000_000)
    for suffix in (".mp4", ".mkv"):
        with pytest.raises(OutputError, match="128 x 96 pixels and 1000000 frames per second can be written") as raised:
            prepare(film, tmp_path / f"new{suffix}")
        assert "\n" not in str(raised.value)


def test_times_that_are_equal_in_the_container_are_refused_before_the_work(tmp_path: Path) -> None:
    film = make(tmp_path / "film.mp4", rate=1200)
    with pytest.raises(
        OutputError, match=r"1200 frames per second can be written .*: it stores times in steps of 1/1000"
    ):
        prepare(film, tmp_path / "new.mkv")
    assert len(VideoFrames(repeat(film, tmp_path / "new.mp4")).times) == COUNT


@pytest.mark.parametrize("size", [100, 2000])
def test_a_written_video_that_cannot_be_opened_is_an_error(tmp_path: Path, monkeypatch, size: int) -> None:
    prepared = prepare(make(tmp_path / "film.mp4"), tmp_path / "new.mp4")
    write = writing._write

    def cut(file: Any, *arguments: Any, **options: Any) -> int:
        count = write(file, *arguments, **options)
        file.truncate(size)
        return count

    monkeypatch.setattr(writing, "_write", cut)
    with pytest.raises(OutputError, match=r"new\.mp4 cannot be written as a video .*name a video with another suffix"):
        prepared.write(smooth())
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_written_video_with_too_few_pictures_is_an_error(tmp_path: Path, monkeypatch) -> None:
    prepared = prepare(make(tmp_path / "film.mp4"), tmp_path / "new.mp4")
    write = writing._write
    monkeypatch.setattr(writing, "_write", lambda *arguments, **options: write(*arguments, **options) + 1)
    with pytest.raises(OutputError, match=f"only {COUNT} of its {COUNT + 1} pictures can be read after writing"):
        prepared.write(smooth())


@pytest.mark.parametrize(
    ("old", "new", "suffix", "said"),
    [
        (b"\x0b\x77", b"\x00\x00", ".mp4", "it cannot hold sound as ac3 (eng); this stream is left out"),
        (b"A_AC3", b"A_ZZZ", ".mkv", "it cannot hold sound (eng); this stream is left out"),
    ],
    ids=["damaged", "unknown"],
)
def test_sound_that_cannot_be_copied_is_left_out(
    tmp_path: Path, caplog, old: bytes, new: bytes, suffix: str, said: str
) -> None:
    film = make(tmp_path / "film.mkv", sounds=[("ac3", "eng"), ("aac", "deu")])
    film.write_bytes(film.read_bytes().replace(old, new))
    with opened(repeat(film, tmp_path / f"new{suffix}")) as container:
        assert [stream.language for stream in container.streams.audio] == ["deu"]
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / f'new{suffix}'}: {said}"]


def test_sound_that_breaks_off_does_not_end_the_film(tmp_path: Path, caplog) -> None:
    film = make(tmp_path / "film.mkv", sounds=[("aac", "deu"), ("ac3", "eng")])

    class Failing:
        """Container that refuses the second packet of AAC sound."""

        def __init__(self, container: Any):
            self.taken: list[str] = []
            self.add_stream_from_template = container.add_stream_from_template

        def mux(self, packet: Any) -> None:
            name = packet.stream.codec_context.name
            if name == "aac" and name in self.taken:
                raise av.error.InvalidDataError(1, "it is damaged")
            self.taken.append(name)

    with opened(film) as source, av.open(str(tmp_path / "new.mkv"), "w") as container:
        failing = Failing(container)
        Copies(source, [1, 2], failing, "new.mkv").mux_before(float("inf"))
    assert failing.taken.count("aac") == 1 < failing.taken.count("ac3")
    assert (
        caplog.text.count(
            "new.mkv: sound as aac (deu) ends at 0.0 s, because the rest cannot be copied (it is damaged)"
        )
        == 1
    )


def test_av1_gets_a_quick_encoder(tmp_path: Path) -> None:
    needs("libsvtav1")
    film = make(tmp_path / "film.mp4", "libsvtav1")
    assert prepare(film, tmp_path / "new.mkv").encoding.encoder == "libsvtav1"
