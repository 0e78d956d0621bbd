"""Tests of whole films: from which keys a frame is painted, and what each painted frame shows."""

import os
import select
import signal
import warnings
import weakref
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from made_films import film, picture
from made_videos import write_video
from PIL import Image

import analogy
from analogy.engine import Engine
from analogy.errors import DeviceError, ImageError, SettingsError
from analogy.films import work as film_work

SIZE = (48, 64)
FAST = {"inversion": "vote", "search_iterations": 1}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu", threads=2)


@pytest.fixture(scope="module")
def shot() -> list[np.ndarray]:
    return film(picture(160, 240), SIZE, 8, (1.5, 0.5))


@pytest.fixture(scope="module")
def other_shot() -> list[np.ndarray]:
    return film(picture(160, 240, 1), SIZE, 4, (-1, 0))


def painted(seed: int) -> np.ndarray:
    return picture(*SIZE, seed)


def test_a_clip_yields_each_frame_and_its_key_unchanged(engine: Engine, shot) -> None:
    key = painted(5)
    clip = engine.clip(shot, keys={2: key})
    frames = list(clip)
    assert len(clip) == len(frames) == 8
    assert [(frame.index, frame.name) for frame in frames] == [(i, f"{i:04}") for i in range(8)]
    assert all(frame.picture.shape == (*SIZE, 3) and frame.picture.dtype == np.uint8 for frame in frames)
    assert np.array_equal(frames[2].picture, key)
    assert np.array_equal(frames[3].film.rgb, shot[3])


@pytest.mark.parametrize("source", ["list", "video"])
def test_a_caller_may_draw_into_the_arrays_of_a_frame(engine: Engine, shot, tmp_path: Path, source: str) -> None:
    write_video(tmp_path / "film.mp4", iter(shot), None, Fraction(24))
    clip = engine.clip(
        shot if source == "list" else tmp_path / "film.mp4", keys={index: painted(index) for index in (1, 4)}
    )
    whole = [(frame.film.rgb.copy(), frame.picture.copy()) for frame in clip]
    for _ in range(2):
        for frame, (given, made) in zip(clip, whole, strict=True):
            assert np.array_equal(frame.film.rgb, given)
            assert np.array_equal(frame.picture, made)
            assert np.array_equal(clip.read(frame.index).rgb, given)
            for array in (frame.film.rgb, frame.picture, clip.read(frame.index).rgb):
                array[:] = 0


def test_max_input_pixels_limits_the_frames_of_a_film(shot, tmp_path: Path) -> None:
    for index, frame in enumerate(shot):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    bounded = Engine(device="cpu", threads=1, max_input_pixels=SIZE[0] * SIZE[1] - 1)
    for frames in (shot, tmp_path, str(tmp_path / "*.png")):
        with pytest.raises(ImageError, match=r"64 x 48 pixels are 0\.003072 megapixels, and max_input_pixels allows"):
            bounded.clip(frames, keys={0: painted(5)})


def test_the_texture_of_the_key_moves_with_the_film_before_and_after_it(engine: Engine) -> None:
    """Use the negative of a frame as its key, so that the true painting of each frame is known."""
    shot = film(picture(160, 240), SIZE, 7, (1.5, 0.5))
    for frame in engine.clip(shot, keys={3: 255 - shot[3]}):
        error = np.abs(frame.picture.astype(int) - (255 - shot[frame.index].astype(int)))
        assert np.median(error) < 4
        assert error[8:-8, 8:-8].mean() < 8


def test_no_frame_is_painted_before_the_iterator_reaches_it(engine: Engine, shot) -> None:
    stages = []
    frames = iter(engine.clip(shot, keys={0: painted(5)}, progress=lambda progress: stages.append(progress)))
    assert not stages
    next(frames)
    next(frames)
    assert [p.stage for p in stages if p.stage != "cuts"] == ["frame 0000", "frame 0001"]
    list(frames)
    shares = [p.done for p in stages]
    assert shares == sorted(shares) and shares[-1] == 1


def test_two_iterators_of_one_clip_each_report_their_own_progress(engine: Engine, shot) -> None:
    reports = []
    clip = engine.clip(shot, keys={2: painted(5), 6: painted(6)}, progress=reports.append)

    def advance(frames) -> tuple[list[tuple[str, float]], bytes]:
        reports.clear()
        frame = next(frames, None)
        return [(p.stage, p.done) for p in reports if p.stage != "cuts"], frame and frame.picture.tobytes()

    alone, first, second = iter(clip), iter(clip), iter(clip)
    of_one = [advance(alone) for _ in range(9)]
    assert of_one[-1] == ([("done", 1.0)], None)
    assert [(advance(first), advance(second)) for _ in range(9)] == [(each, each) for each in of_one]


@pytest.mark.parametrize("wanted", [range(8), [3], [4, 5]], ids=str)
@pytest.mark.parametrize("keys", [{0: 5}, {6: 5}, {1: 5, 7: 6}], ids=str)
def test_progress_rises_from_zero_to_one_even_if_an_earlier_run_has_begun(
    engine: Engine, shot, tmp_path: Path, monkeypatch, keys, wanted
) -> None:
    monkeypatch.setattr(film_work, "EVERY", 0)
    reports = []
    clip = engine.clip(shot, keys={index: painted(seed) for index, seed in keys.items()}, progress=reports.append)
    began = clip.paint(work=tmp_path / "work")
    for _ in range(3):
        next(began)
    began.close()
    shares = []
    for work in (tmp_path / "work", None):
        reports.clear()
        list(clip.paint(wanted, work))
        shares.append([p.done for p in reports])
    resumed, whole = shares
    assert whole == pytest.approx(np.linspace(0, 1, len(whole)))
    assert resumed == sorted(resumed) and resumed[-2:] == whole[-2:]


def test_between_two_keys_the_film_goes_from_one_to_the_other_without_a_jump(engine: Engine, shot) -> None:
    frames = list(engine.clip(shot, keys={0: np.full((*SIZE, 3), 40, np.uint8), 7: np.full((*SIZE, 3), 200, np.uint8)}))
    levels = [frame.picture.mean() for frame in frames]
    assert (levels[0], levels[7]) == (40, 200)
    steps = np.diff(levels)
    assert (steps > 0).all() and steps.max() < 60


@pytest.mark.parametrize("keys", [{0: 5}, {4: 5}, {1: 5, 6: 6}], ids=str)
def test_wanted_frames_are_the_same_as_if_all_were_painted(engine: Engine, shot, keys) -> None:
    clip = engine.clip(shot, keys={index: painted(seed) for index, seed in keys.items()})
    whole = {frame.index: frame.picture for frame in clip.paint()}
    for wanted in ([3], [2, 5], range(5, 8)):
        part = {frame.index: frame.picture for frame in clip.paint(wanted)}
        assert list(part) == list(wanted)
        assert all(np.array_equal(part[index], whole[index]) for index in part)


@pytest.mark.parametrize("keys, after", [({0: 5}, 24), ({28: 5}, 0), ({2: 5, 28: 6}, 4)], ids=str)
def test_an_interrupted_painting_goes_on_near_its_end_and_gives_the_same_frames(
    engine: Engine, tmp_path: Path, monkeypatch, keys, after
) -> None:
    monkeypatch.setattr(film_work, "EVERY", 0)
    long = film(picture(160, 240), (32, 40), 30, (0.5, 0))
    keys = {index: picture(32, 40, seed) for index, seed in keys.items()}
    whole = [frame.picture for frame in engine.clip(long, keys=keys)]
    began = engine.clip(long, keys=keys).paint(work=tmp_path / "work")
    for _ in range(after + 1):
        next(began)
    began.close()
    visited = []
    clip = engine.clip(long, keys=keys, progress=lambda progress: visited.append(progress.stage))
    frames = list(clip.paint(range(after + 1, 30), tmp_path / "work"))
    assert all(np.array_equal(frame.picture, whole[frame.index]) for frame in frames)
    assert [frame.index for frame in frames] == list(range(after + 1, 30))
    steps = sum(stage.startswith("frame") for stage in visited)
    assert steps <= 29 - after + 3  # no key is carried again through the earlier frames
    assert not (tmp_path / "work").exists()


def test_a_state_of_another_key_or_without_its_store_is_not_used(engine: Engine, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(film_work, "EVERY", 0)
    shot, work = film(picture(160, 240), SIZE, 14, (1.5, 0.5)), tmp_path / "work"
    keys = {0: painted(5), 13: painted(6)}
    for changed in (keys, {0: painted(5), 13: painted(7)}):
        began = engine.clip(shot, keys=keys).paint(work=work)
        next(began)
        began.close()
        for path in work.glob("*.raw"):
            if changed is keys:
                path.unlink()
        again = engine.clip(shot, keys=changed).paint(work=work)
        for frame, other in zip(again, engine.clip(shot, keys=changed), strict=True):
            assert np.array_equal(frame.picture, other.picture)
        assert not work.exists()


def test_a_key_stops_at_a_cut_and_a_shot_without_a_key_uses_the_nearest(engine, shot, other_shot) -> None:
    red = np.zeros((*SIZE, 3), np.uint8)
    red[..., 0] = np.arange(SIZE[1])
    frames = list(engine.clip([*shot, *other_shot], keys={7: red}, **FAST))
    stretches = engine.clip([*shot, *other_shot], keys={7: red}).stretches
    assert [(s.first, s.last, s.before, s.after) for s in stretches] == [
        (0, 6, None, 7),
        (7, 7, 7, None),
        (8, 11, 8, None),
    ]
    assert all((frame.picture[..., 1:] == 0).all() for frame in frames)  # both shots have the key's colours
    own = engine.transfer(other_shot[0], red, b=shot[7], **FAST)
    assert np.array_equal(frames[8].picture, own.a_prime)


@pytest.mark.parametrize("direction", ["ba", "both"])
def test_the_direction_of_a_transfer_does_not_change_the_keys_that_are_made(
    engine, shot, other_shot, direction: str
) -> None:
    for source in ({"keys": {7: painted(5)}}, {"style": painted(6)}):
        clips = [engine.clip([*shot, *other_shot], direction=each, **source, **FAST) for each in ("ab", direction)]
        for one, other in zip(*(clip.paint([8]) for clip in clips), strict=True):
            assert np.array_equal(one.picture, other.picture)


def test_with_a_style_each_shot_begins_with_its_transfer(engine: Engine, shot, other_shot) -> None:
    style = picture(60, 80, 9)
    frames = list(engine.clip([*shot, *other_shot], style=style, **FAST))
    assert len(frames) == 12
    for index, first in ((0, shot[0]), (8, other_shot[0])):
        assert np.array_equal(frames[index].picture, engine.transfer(first, style, direction="ab", **FAST).a_prime)


def test_a_checksum_changes_with_all_that_decides_a_stretch_and_with_nothing_else(
    engine, shot, other_shot, monkeypatch
) -> None:
    def sums(frames, keys=None, **options) -> list[str]:
        clip = engine.clip(frames, keys=keys, **options)
        return [clip.made_from(stretch) for stretch in clip.stretches]

    keys = {0: painted(5), 4: painted(6)}
    before = sums(shot, keys)
    assert before == sums(shot, keys) and len(set(before)) == 2
    assert [a == b for a, b in zip(before, sums(shot, keys | {4: painted(7)}), strict=True)] == [False, False]
    touched = [*shot[:6], shot[5], shot[7]]
    assert [a == b for a, b in zip(before, sums(touched, keys), strict=True)] == [True, False]
    assert sums(shot, keys, weight=2) == before  # settings of a transfer matter only if the program makes a key
    assert not set(sums(shot, keys, seed=1)) & set(before)
    both, style = [*shot, *other_shot], painted(8)
    assert not set(sums(both, style=style)) & set(sums(both, style=style, weight=2))
    monkeypatch.setattr("analogy.films.plan.__version__", "999")
    assert not set(sums(shot, keys)) & set(before)


def test_frames_are_read_from_folders_in_the_order_of_their_numbers_and_from_patterns(
    engine: Engine, shot, tmp_path: Path
) -> None:
    for index, frame in enumerate(shot[:3]):
        Image.fromarray(frame).save(tmp_path / f"shot.{8 + index}.png")
    Image.fromarray(painted(5)).save(tmp_path / "key.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    clip = engine.clip(tmp_path / "shot*.png", keys={"shot.9": tmp_path / "key.jpg"})
    assert clip.names == ["shot.8", "shot.9", "shot.10"]
    assert [np.array_equal(frame.film.rgb, shot[frame.index]) for frame in clip] == [True] * 3
    assert engine.clip(tmp_path, keys={0: painted(5)}).names == ["key", "shot.8", "shot.9", "shot.10"]


@pytest.mark.parametrize("kind", ["files", "pipes"])
def test_a_film_may_be_a_list_of_open_files_and_each_is_read_once(
    engine: Engine, shot, tmp_path: Path, kind: str
) -> None:
    opened = []
    for index, frame in enumerate(shot[:3]):
        path = tmp_path / f"{index}.png"
        Image.fromarray(frame).save(path)
        if kind == "files":
            opened.append(path.open("rb"))
        else:
            read_end, write_end = os.pipe()
            os.write(write_end, path.read_bytes())
            os.close(write_end)
            opened.append(os.fdopen(read_end, "rb"))
    clip = engine.clip(opened, keys={0: painted(5)})
    for file in opened:
        file.close()
    assert [np.array_equal(frame.film.rgb, shot[frame.index]) for frame in clip] == [True] * 3


def test_an_open_file_that_is_no_frame_is_refused_with_its_path(engine: Engine, shot, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with (
        (tmp_path / "x.png").open("rb") as file,
        pytest.raises(ImageError, match=r"frame 1 \(.*x\.png\) is not a"),
    ):
        list(engine.clip([shot[0], file], keys={0: painted(5)}))
    with (tmp_path / "x.png").open() as file, pytest.raises(ImageError, match=r"frame 1 .* the file is open as text"):
        engine.clip([shot[0], file], keys={0: painted(5)})


def test_the_pictures_of_a_film_are_not_all_in_memory(engine: Engine, shot) -> None:
    """Give the film as a sequence that makes each picture when it is asked for it."""
    alive, most = set(), []

    class Film(Sequence):
        def __len__(self) -> int:
            return len(shot)

        def __getitem__(self, index: int) -> Image.Image:
            image = Image.fromarray(shot[range(len(shot))[index]])
            alive.add(id(image))
            weakref.finalize(image, alive.remove, id(image))
            most.append(len(alive))
            return image

    frames = list(engine.clip(Film(), keys={0: painted(5)}))
    assert len(frames) == len(shot) and max(most) <= 2


REFUSED = {
    "a missing folder": ({"frames": "nowhere", "keys": {0: 5}}, ImageError, "nowhere is neither a folder nor a video"),
    "one frame": ({"frames": 1, "keys": {0: 5}}, ImageError, "the list has 1 frame; a film needs at least two"),
    "no film": ({"frames": b"film", "keys": {0: 5}}, ImageError, "list of pictures; got a bytes"),
    "neither keys nor style": ({}, SettingsError, "needs either keys or a style, but neither is given"),
    "keys and style": ({"keys": {0: 5}, "style": 6}, SettingsError, "needs either keys or a style, but both are given"),
    "a key of a missing frame": ({"keys": {"x7": 5}}, SettingsError, "no frame 'x7'; name one of 0000 to 0007"),
    "a key beyond the film": (
        {"keys": {8: 5}},
        SettingsError,
        "no frame 8; name one of 0000 to 0007, or give a number from 0 to 7",
    ),
    "two keys of a frame": ({"keys": {0: 5, "0000": 6}}, SettingsError, "two keys for the frame 0000"),
    "a path that is too long": ({"frames": "x" * 300, "keys": {0: 5}}, ImageError, "is neither a folder nor a video"),
    "a key of another size": ({"keys": {3: "large"}}, ImageError, "key of frame 0003 has 40 x 30 pixels, but the film"),
    "an unknown setting": ({"keys": {0: 5}, "wieght": 2}, SettingsError, "unknown setting 'wieght'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_film_that_cannot_be_painted_is_refused_before_the_work(engine: Engine, shot, name: str) -> None:
    options, error, message = REFUSED[name]
    options = dict(options)
    frames = options.pop("frames", shot)
    frames = shot[:1] if frames == 1 else frames
    pictures = {5: painted(5), 6: painted(6), "large": picture(30, 40)}
    if "keys" in options:
        options["keys"] = {index: pictures[seed] for index, seed in options["keys"].items()}
    if "style" in options:
        options["style"] = pictures[options["style"]]
    with pytest.raises(error, match=message) as raised:
        engine.clip(frames, **options)
    assert "\n" not in str(raised.value)


def test_a_frame_of_another_size_is_refused_with_its_name(engine: Engine, shot) -> None:
    frames = [*shot[:2], picture(30, 40)]
    with pytest.raises(ImageError, match="frame 0002 has 40 x 30 pixels, but the film has 64 x 48; give it the size"):
        list(engine.clip(frames, keys={0: painted(5)}))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_after_a_fork_a_clip_is_refused_in_one_line_as_a_transfer_is(engine: Engine, shot) -> None:
    clip, begun = engine.clip(shot, keys={0: painted(5)}), iter(engine.clip(shot, keys={0: painted(5)}))
    next(begun)
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # since 3.12, Python warns about the fork of a process with threads
        child = os.fork()
    if not child:
        said = []
        for work in (
            lambda: engine.clip(shot, keys={0: painted(5)}),
            lambda: list(clip),
            lambda: next(begun),
            lambda: clip.read(0),
        ):
            try:
                work()
                said.append("done")
            except DeviceError as error:
                said.append(str(error))
        os.write(write_end, "\n".join(said).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as said:
        ready, _, _ = select.select([read_end], [], [], 60)
        if not ready:
            os.kill(child, signal.SIGKILL)
        lines = said.read().splitlines()
    os.waitpid(child, 0)
    assert len(lines) == 4
    assert all("this Engine was made before a fork" in line for line in lines)


def test_clips_without_opencv_name_the_extra(engine: Engine, shot, monkeypatch) -> None:
    from analogy.films import motion

    motion.opencv.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(SettingsError, match=r'pip install "deep-image-analogy\[video\]"'):
        list(engine.clip(shot, keys={0: painted(5)}))
    motion.opencv.cache_clear()


def test_the_names_of_a_clip_can_be_imported() -> None:
    assert analogy.Clip is not None and analogy.PaintedFrame is not None
