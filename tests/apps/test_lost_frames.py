"""`analogy clip` never overwrites its inputs or files it did not make, and never mixes two runs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_films import film, picture
from made_videos import write_video
from PIL import Image
from test_clip import contents, pixels, run

from analogy.apps.cli import cli
from analogy.engine import Engine
from analogy.errors import OutputError
from analogy.files.places import Places
from analogy.films import folder as film_folder
from analogy.films import work as film_work
from analogy.films.clip import Clip
from analogy.films.video import VideoFrames
from analogy.films.writing import PreparedVideo
from analogy.pictures import writing

COUNT, SIZE = 5, (48, 64)
RECORD = {"analogy": "0.1.0", "model_sha256": "", "settings": {}}
links = pytest.mark.skipif(os.name != "posix", reason="makes links")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with a film as pictures and as a video, a key and a style."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shot").mkdir()
    frames = film(picture(160, 240), SIZE, COUNT, (1.5, 0.5))
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "shot" / f"{index:03}.png")
    write_video(tmp_path / "film.mp4", iter(frames), None, Fraction(24))
    Image.fromarray(picture(*SIZE, 5)).save(tmp_path / "key.png")
    Image.fromarray(picture(40, 50, 6)).save(tmp_path / "style.png")
    return tmp_path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder: Path, words: str, *arguments: object) -> None:
    before = everything(folder)
    done = run(*arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output + done.stderr
    assert words in done.stderr
    assert everything(folder) == before


KEY = ["--key", "0=key.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["film.mp4", "-o", "film.mp4", *KEY], "film.mp4 is the film, which"),
        (["film.mp4", "-o", "shot/../film.mp4", *KEY], " is the film, which"),
        (["film.mp4", "-o", "out", "--side-by-side", "film.mp4", *KEY], " is the film, which"),
        (["film.mp4", "-o", "out", "--contact", "key.png", *KEY], " is the key of frame 0, which"),
        (["film.mp4", "-o", "out", "--style", "style.png", "--contact", "style.png"], " is the style, which"),
        (["shot", "-o", "out", "--contact", "shot/003.png", *KEY], " is a frame of the film, which"),
        (["shot", "-o", "shot", *KEY], " is a frame of the film, which"),
        (["shot/00[0-3].png", "-o", "shot", *KEY], " is a frame of the film, which"),
        (["shot", "-o", "out", "--contact", "out/003.png", *KEY], "would both be written to out/003.png"),
        (["film.mp4", "-o", "x.mp4", "--side-by-side", "X.mp4", *KEY], "would both be written to X.mp4"),
        (["film.mp4", "-o", "x.mp4", "--contact", "x.mp4.frames/0001.png", *KEY], "would both be written to"),
        (["shot", "-o", "p.gif", *KEY],
         "p.gif is neither a folder nor a video; name a folder, or a file with one of the suffixes .mp4"),
        (["shot", "-o", "p.avi", *KEY], "p.avi is neither a folder nor a video"),
        (["shot", "-o", "p.PNG", *KEY], "p.PNG is neither a folder nor a video"),
        (["shot", "-o", "out", *KEY, *KEY], "there are two keys for the frame 0; give only one"),
    ],
)  # fmt: skip
def test_a_clip_overwrites_neither_its_inputs_nor_its_own_results(here: Path, arguments, words: str) -> None:
    refused(here, words, *arguments)
    assert not (here / "out").exists()


@links
@pytest.mark.parametrize("target", ["hard.mp4", "link.mp4"])
def test_the_film_is_recognised_through_links(here: Path, target: str) -> None:
    os.link(here / "film.mp4", here / "hard.mp4")
    (here / "link.mp4").symlink_to("film.mp4")
    refused(here, f"{target} is the film, which", "film.mp4", "-o", target, *KEY)


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--key", "0=out/002.png"], "the key of frame 0"), (["--style", "out/002.png"], "the style")],
)
def test_a_key_or_a_style_in_the_folder_for_results_is_not_overwritten(
    here: Path, options: list[str], words: str
) -> None:
    (here / "out").mkdir()
    (here / "key.png").replace(here / "out" / "002.png")
    refused(here, f"002.png is {words}, which would be overwritten", "shot", "-o", "out", *options)


@pytest.mark.parametrize("name", ["001.png", "settings.json"])
def test_a_foreign_file_and_a_changed_frame_are_not_overwritten(here: Path, name: str) -> None:
    (here / "out").mkdir()
    (here / "out" / name).write_text('{"files": {"001.png": "mine"}}')
    refused(here, f"{name} exists already, and it is not a result that this run may replace", "shot", "-o", "out", *KEY)
    (here / "out" / name).unlink()
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    painted = contents(here / "out")
    retouched = here / "out" / "001.png"
    retouched.write_bytes((here / "key.png").read_bytes())
    words = "001.png has been changed since it was made; move it away, or delete it so that it is made again"
    refused(here, words, "shot", "-o", "out", *KEY)
    refused(here, words, "shot", "-o", "out", "--style", "style.png")
    retouched.unlink()
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    assert contents(here / "out") == painted


def test_a_frame_of_an_earlier_longer_film_that_is_a_key_is_not_deleted(here: Path) -> None:
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    (here / "shot" / "004.png").unlink()
    refused(here, "004.png is the key of frame 0, which", "shot", "-o", "out", "--key", "0=out/004.png")


def test_a_painted_frame_that_the_film_no_longer_has_and_that_cannot_be_deleted_is_named_before_the_painting(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    (here / "shot" / "004.png").unlink()
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.name == "004.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    words = "004.png is a painted frame that the film no longer has, and it cannot be deleted (Permission denied)"
    refused(here, words, "shot", "-o", "out", *KEY)


def test_a_second_run_into_the_same_folder_is_refused_until_the_first_has_ended(here: Path) -> None:
    from analogy.films.work import alone

    (here / "out").mkdir()
    with alone(here / "out" / ".clip"):
        refused(here, "out: another run writes into this folder; wait until it ends", "shot", "-o", "out", *KEY)
        (here / "video.mp4.frames").mkdir()
    with alone(here / "video.mp4.frames" / ".clip"):
        refused(here, "another run writes into this folder", "shot", "-o", "video.mp4", *KEY)
    assert not any((here / "out").iterdir())
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    assert set(os.listdir(here / "out")) == {*contents(here / "out"), "settings.json"}  # noqa: PTH208


def test_a_folder_is_locked_until_its_videos_are_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="of POSIX' locks")
    held = []

    def write(video: PreparedVideo, pictures: object, complete: Callable[[Path], None]) -> None:
        video.path.touch()
        complete(video.path)
        with (here / "x.mp4.frames" / ".clip" / "lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(True)

    monkeypatch.setattr(PreparedVideo, "write", write)
    assert run("shot", "-o", "x.mp4", "--side-by-side", "y.mp4", *KEY).exit_code == 0
    assert held == [True, True]


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.jpg", "a.png"), ("A.png", "a.png"), ("a.jpg", "a.jpg.png"), ("\u00e9.png", "e\u0301.png")],
    ids=ascii,
)
def test_two_frames_that_would_be_one_file_are_refused(here: Path, first: str, second: str) -> None:
    names = [first, second]
    if first == "a.jpg" == second[:5]:
        names.append("a.png")  # its name sorts after the other two
    for name in names:
        Image.fromarray(picture(*SIZE)).save(here / "shot" / name)
    refused(here, "two frames have the same name, ", "shot", "-o", "out", *KEY)


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ("0010", 9),
        ("10", 9),
        ("frame_0010", 9),
        ("frame_0010.png", 9),
        ("shot 2/frame_0010.png", 9),
        ("12", 11),
        ("001", 0),
    ],
)
def test_the_number_of_a_key_is_the_number_in_the_name_of_a_frame(here: Path, given: str, index: int) -> None:
    (here / "shot 2").mkdir()
    for number, frame in enumerate(film(picture(160, 240), SIZE, 12, (1.5, 0.5)), 1):
        Image.fromarray(frame).save(here / "shot 2" / f"frame_{number:04}.png")
    done = run("shot 2", "-o", "out", "--key", f"{given}=key.png")
    assert done.exit_code == 0, done.stderr
    assert np.array_equal(pixels(here / "out" / f"frame_{index + 1:04}.png"), pixels(here / "key.png"))
    refused(
        here,
        "there is no frame 0; name one of frame_0001 to frame_0012, or give a number from 1 to 12",
        "shot 2",
        "-o",
        "o",
        *KEY,
    )
    refused(here, "there is no frame 13; name one of", "shot 2", "-o", "o", "--key", "13=key.png")
    refused(here, "there is no frame 999", "shot 2", "-o", "o", "--key", "9" * 5000 + "=key.png")


def test_a_transparent_film_is_shown_on_white_in_a_video_and_on_the_contact_sheet(here: Path) -> None:
    for path in (here / "shot").iterdir():
        with Image.open(path) as image:
            frame = image.convert("RGBA")
        alpha = np.zeros(SIZE, np.uint8)
        alpha[:, :32] = 255
        frame.putalpha(Image.fromarray(alpha))
        frame.save(path)
    done = run("shot", "-o", "x.mp4", "--side-by-side", "y.mkv", "--contact", "sheet.png", *KEY)
    assert done.exit_code == 0, done.stderr
    frame, both = (VideoFrames(here / name).read(2).rgb for name in ("x.mp4", "y.mkv"))
    sheet = pixels(here / "sheet.png")
    assert frame[:, 40:].min() > 245 > 200 > frame[:, :24].mean()
    assert both[:, 40:62].min() > 245 and both[:, 108:].min() > 245
    assert sheet[4:170, 130:236].min() == 255  # the first frame of the film, in the contact sheet
    assert sheet[4:170, 380:480].min() == 255  # the painted first frame beside it


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "a link":
        path.symlink_to("../victim")
    elif how == "a hard link":
        os.link(path.parents[1] / "victim", path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "garbage": b"PK\x03\x04" + b"x" * 500,
                "half": content[:middle],
                "longer": content + b"x",
                "changed": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
                "zeros": bytes(len(content)),
            }[how]
        )


@pytest.fixture(scope="module")
def painted() -> tuple[Callable[[], Clip], list[np.ndarray]]:
    """Return a function that makes a clip with two keys, and the frames of that clip."""
    engine = Engine(device="cpu", threads=1)
    shot = film(picture(160, 240), SIZE, COUNT, (1.5, 0.5))

    def clip() -> Clip:
        return engine.clip(shot, keys={0: picture(*SIZE, 5), 4: picture(*SIZE, 7)})

    return clip, [frame.picture for frame in clip()]


@links
@pytest.mark.parametrize(
    "how", ["empty", "garbage", "half", "changed", "zeros", "longer", "a pipe", "a folder", "a link", "a hard link"]
)
@pytest.mark.parametrize("which", ["*-before.npz", "*-after.npz", "*-after.raw"])
def test_damaged_files_of_a_killed_run_are_not_used(
    painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, how: str
) -> None:
    monkeypatch.setattr(film_work, "EVERY", 0)
    clip, whole = painted
    (tmp_path / "victim").write_bytes(b"precious" * 1000)
    began = clip().paint(work=tmp_path / "work")
    for _ in range(3):
        next(began)
    began.close()
    [path] = (tmp_path / "work").glob(which)
    damage(path, how)
    again = clip().paint(range(2, COUNT), tmp_path / "work")
    if how == "a folder":
        with pytest.raises(OutputError, match="cannot be written"):
            list(again)
    else:
        assert [np.array_equal(frame.picture, whole[frame.index]) for frame in again] == [True] * 3
        assert not (tmp_path / "work").exists()
    assert (tmp_path / "victim").read_bytes() == b"precious" * 1000


@links
@pytest.mark.parametrize("kind", ["a file", "a link"])
def test_a_file_or_link_in_place_of_the_work_folder_gives_one_line_and_stays(here: Path, kind: str) -> None:
    (here / "out").mkdir()
    (here / "mine").mkdir()
    (here / "mine" / ("0" * 64 + "-after.npz")).write_bytes(b"mine")
    if kind == "a file":
        (here / "out" / ".clip").write_bytes(b"mine")
    else:
        (here / "out" / ".clip").symlink_to("../mine")
    refused(here, ".clip: the progress of the film cannot be saved there", "shot", "-o", "out", *KEY)


def test_only_files_of_runs_are_deleted_from_the_work_folder(here: Path) -> None:
    (here / "out" / ".clip").mkdir(parents=True)
    (here / "out" / ".clip" / "my-data.npz").write_bytes(b"mine")
    for name in ("0" * 64 + "-after.npz", f".analogy-{'0' * 32}.tmp"):
        (here / "out" / ".clip" / name).write_bytes(b"of a run")
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    assert os.listdir(here / "out" / ".clip") == ["my-data.npz"]  # noqa: PTH208


class _Unpainted:
    """Film whose pictures cannot be read, since a test ends before it would read them."""

    class Asked(Exception):
        """Error raised when a film is asked for its cuts, which happens only after all checks."""

    def __init__(self, folder: Path, count: int):
        self.names = [f"{index:03}" for index in range(count)]
        self.files = [folder / f"{name}.jpg" for name in self.names]
        self.video = None

    def takes(self, path: Path) -> bool:
        return False

    @property
    def stretches(self) -> None:
        raise self.Asked


def test_a_run_that_continues_a_long_film_checks_each_file_a_few_times(here: Path, monkeypatch) -> None:
    """Count the checks of files: checking every file for every frame would take quadratic time."""
    clip, out, looked = _Unpainted(here / "long", 100), here / "out", []
    for folder in (here / "long", out):
        folder.mkdir()
    for name, file in zip(clip.names, clip.files, strict=True):
        file.touch()
        (out / f"{name}.png").touch()
    (out / "settings.json").write_text(
        json.dumps(RECORD | {"made_from": {"x": [f"{name}.png" for name in clip.names]}, "files": {}})
    )
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **named: looked.append(path) or stat(path, **named))
    with Places() as places, pytest.raises(clip.Asked):
        for source in clip.files:
            places.read(source, "a frame of the film")
        film_folder.paint_folder(clip, out, {}, lambda kept, painted: None, places)
    assert 100 < len(looked) <= 500


@pytest.mark.parametrize("kind", ["RGBA", "P"])
def test_transparent_parts_of_a_key_show_the_frame_of_the_film(here: Path, kind: str) -> None:
    strokes = np.zeros((*SIZE, 4), np.uint8)
    strokes[10:20, 10:30] = (20, 60, 230, 255)
    strokes[20:24, 10:30] = (20, 60, 230, 128)
    image = Image.fromarray(strokes)
    if kind == "P":
        image = Image.fromarray(np.where(strokes[..., 3] > 200, 1, 0).astype(np.uint8), "P")
        image.putpalette([0, 0, 0, 20, 60, 230])
        image.info["transparency"] = 0
        image.save(here / "strokes.png", transparency=0)
    else:
        image.save(here / "strokes.png")
    done = run("shot", "-o", "out", "--key", "2=strokes.png")
    assert done.exit_code == 0, done.stderr
    painted, frame = pixels(here / "out" / "002.png").astype(int), pixels(here / "shot" / "002.png").astype(int)
    covered = np.zeros(SIZE, bool)
    covered[10:20, 10:30] = True
    assert (painted[covered] == (20, 60, 230)).all()
    if kind == "RGBA":
        half = painted[20:24, 10:30] - (frame[20:24, 10:30] * 127 / 255 + np.array([20, 60, 230]) * 128 / 255)
        assert np.abs(half).max() <= 1
        covered[20:24, 10:30] = True
    assert np.array_equal(painted[~covered], frame[~covered])
    for name in ("000.png", "004.png"):  # the film is also visible through the key that is carried to other frames
        away = pixels(here / "out" / name).astype(int) - pixels(here / "shot" / name)
        assert np.median(np.abs(away)) <= 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["film.mp4", "-o", "x.mp4"], "the film is a video, which has its own rate; leave out --rate"),
        (
            ["film.mp4", "-o", "out", "--side-by-side", "x.mp4"],
            "the film is a video, which has its own rate; leave out --rate",
        ),
        (["shot", "-o", "out", "--contact", "sheet.png"], "the command writes no video; leave out --rate"),
    ],
)
def test_a_rate_that_has_no_effect_is_refused(here: Path, arguments: list[str], words: str) -> None:
    refused(here, words, *arguments, *KEY, "--rate", 24)


@pytest.mark.parametrize(
    "arguments",
    [
        ["shot", "-o", "shot"],
        ["shot", "-o", "link"],
        ["shot", "-o", "out", "--contact", "shot/sheet.png"],
        ["link", "-o", "out", "--contact", "shot/sheet.jpg"],
        ["shot/*", "-o", "shot"],
        ["shot/*[0-9]*", "-o", "out", "--contact", "shot/7.png"],
    ],
)
@links
def test_a_folder_for_results_with_the_frames_of_the_film_is_refused(here: Path, arguments: list[str]) -> None:
    for path in (here / "shot").iterdir():
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"))
        path.unlink()
    (here / "link").symlink_to("shot")
    refused(here, "would be among the frames of the film", *arguments, *KEY)


def test_results_beside_frames_of_a_pattern_are_not_taken_for_frames(here: Path) -> None:
    for path in (here / "shot").iterdir():
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"))
        path.unlink()
    command = ["shot/*.jpg", "-o", "shot", "--contact", "shot/sheet.png", *KEY]
    assert run(*command).exit_code == 0
    assert "5 frames, 5 of them kept" in run(*command).stdout


BESIDE = ["-o", "x.mp4", "--side-by-side", "y.mp4", "--contact", "sheet.png"]


@pytest.mark.parametrize("name", ["x.mp4", "y.mp4", "sheet.png"])
def test_a_video_and_a_contact_sheet_replace_only_files_that_the_command_made(here: Path, name: str) -> None:
    (here / name).write_bytes(b"mine")
    foreign = f"{name} exists already, and it is not a result that this run may replace; move it away"
    refused(here, foreign, "shot", *BESIDE, *KEY)
    assert not (here / "x.mp4.frames").exists()
    (here / name).unlink()
    assert run("shot", *BESIDE, *KEY).exit_code == 0
    # A run that makes only the video keeps the record of the other files.
    assert run("shot", "-o", "x.mp4", *KEY).exit_code == 0
    before = (here / "sheet.png").read_bytes()
    again = run("shot", *BESIDE, "--key", "0=shot/002.png")
    assert again.exit_code == 0, again.stderr
    assert (here / "sheet.png").read_bytes() != before
    (here / "moved").mkdir()
    for path in ("x.mp4", "y.mp4", "sheet.png", "x.mp4.frames", "shot"):
        (here / path).rename(here / "moved" / path)
    os.chdir(here / "moved")
    assert run("shot", *BESIDE, "--key", "0=shot/002.png").exit_code == 0
    Path(name).write_bytes(b"mine")
    refused(
        here, f"{name} has been changed since it was made; move it away", "shot", *BESIDE, "--key", "0=shot/002.png"
    )


@pytest.mark.parametrize("kill", ["before", "after"])
def test_a_run_that_is_killed_while_it_writes_a_contact_sheet_can_continue(here: Path, monkeypatch, kill: str) -> None:
    write = writing.write_picture

    def killed(path: str, *arguments: object, **options: object) -> None:
        if kill == "after":
            write(path, *arguments, **options)
        raise KeyboardInterrupt

    command = ["shot", "-o", "out", "--contact", "sheet.png", *KEY]
    with monkeypatch.context() as context:
        context.setattr(writing, "write_picture", killed)
        assert run(*command).exit_code != 0
    assert (here / "sheet.png").exists() == (kill == "after")
    assert run(*command).exit_code == 0
    (here / "sheet.png").write_bytes(b"mine")
    refused(here, "sheet.png has been changed since it was made", *command)


@pytest.mark.parametrize(("moment", "kept"), [("before", 1), ("after", 2)])
def test_a_killed_run_with_another_key_can_continue(
    here: Path, monkeypatch: pytest.MonkeyPatch, moment: str, kept: int
) -> None:
    """End a run just before or after the second frame gets its name."""
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    replace = Path.replace

    def killed(path: Path, target: Path) -> None:
        if moment == "after" or target.name != "001.png":
            replace(path, target)
        if target.name == "001.png":
            raise KeyboardInterrupt

    command = ["shot", "-o", "out", "--key", "0=shot/002.png"]
    with monkeypatch.context() as context:
        context.setattr(Path, "replace", killed)
        assert run(*command).exit_code != 0
    assert f"5 frames, {kept} of them kept, {5 - kept} painted" in run(*command).stdout


@pytest.mark.parametrize(
    ("option", "name", "writer"),
    [("--side-by-side", "both.mp4", (PreparedVideo, "write")), ("--contact", "sheet.png", (writing, "write_picture"))],
)
def test_an_interrupted_video_or_contact_sheet_among_the_frames_is_not_taken_for_a_frame(
    here: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str, writer: tuple[object, str]
) -> None:
    assert run("shot", "-o", "out", option, f"out/{name}", *KEY).exit_code == 0
    before = (here / "out" / name).read_bytes()

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    command = ["shot", "-o", "out", "--key", "0=shot/002.png"]
    for options in ([], [option, f"out/{name}"]):
        with monkeypatch.context() as context:
            context.setattr(*writer, interrupted)
            assert run(*command, option, f"out/{name}").exit_code != 0
        done = run(*command, *options)
        assert done.exit_code == 0, done.stderr
        assert ((here / "out" / name).read_bytes() == before) == (not options)


@pytest.mark.parametrize("name", ["out/001.png", "sheet.png"])
def test_a_file_that_the_user_makes_after_an_interrupted_run_is_not_overwritten(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write = writing.write_picture

    def interrupted(path: Path, *arguments: object, **options: object) -> None:
        if Path(path) == Path(name):
            raise KeyboardInterrupt
        write(path, *arguments, **options)

    command = ["shot", "-o", "out", "--contact", "sheet.png", *KEY]
    with monkeypatch.context() as context:
        for module in (writing, film_folder):
            context.setattr(module, "write_picture", interrupted)
        assert run(*command).exit_code != 0
    (here / name).write_bytes(b"mine")
    refused(here, f"{Path(name).name} exists already, and it is not a result", *command)
    (here / name).unlink()
    assert run(*command).exit_code == 0


@pytest.mark.parametrize(
    "begun",
    [["001.png"], {"name": "001.png"}, {"name": 1}, {"name": "001.png", "checksum": 1, "made_from": "x"}],
    ids=str,
)
def test_a_record_of_another_form_makes_no_file_a_result(here: Path, begun: object) -> None:
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    manifest = here / "out" / "settings.json"
    record = json.loads(manifest.read_text())
    del record["files"]["001.png"]
    manifest.write_text(json.dumps(record | {"made_from": {"x": ["000.png"]}, "begun": begun}))
    refused(here, "001.png exists already, and it is not a result that this run may replace", "shot", "-o", "out", *KEY)


def test_a_film_does_not_overwrite_another_film(here: Path) -> None:
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    (here / "other").mkdir()
    for index, frame in enumerate(film(picture(160, 240, 9), SIZE, 3)):
        for folder, name in (("other", f"{index:03}.png"), ("shot", f"b_{index}.jpg")):
            Image.fromarray(frame).save(here / folder / name)
    words = "out holds the frames of another film, shot; name another folder, or move this one away"
    refused(here, words, "other", "-o", "out", *KEY)
    refused(here, words, "shot/b_*.jpg", "-o", "out", *KEY)
    record = json.loads((here / "out" / "settings.json").read_text())
    del record["film"]  # as in a record of an earlier version
    (here / "out" / "settings.json").write_text(json.dumps(record))
    refused(here, words, "shot/b_*.jpg", "-o", "out", *KEY)
    assert "3 frames, 3 painted" in run("shot/00[0-2].png", "-o", "out", *KEY).stdout
    assert sorted(contents(here / "out")) == ["000.png", "001.png", "002.png"]
    for path in (here / "out").glob("*.png"):
        path.unlink()
    assert run("other", "-o", "out", *KEY).exit_code == 0


def test_a_film_of_an_earlier_version_is_kept_and_its_manifest_gets_a_kind(
    here: Path,
) -> None:
    assert run("shot", "-o", "out", *KEY).exit_code == 0
    manifest = here / "out" / "settings.json"
    record = json.loads(manifest.read_text())
    assert record.pop("kind") == "film"
    manifest.write_text(json.dumps(record))
    assert "5 frames, 5 of them kept" in run("shot", "-o", "out", *KEY).stdout
    assert json.loads(manifest.read_text())["kind"] == "film"


def test_a_film_does_not_overwrite_a_transfer(here: Path) -> None:
    transfer = ["--search-iterations", "1", "--inversion", "vote", "--device", "cpu"]
    arguments = ["transfer", "shot/000.png", "style.png", "-o", "out", *transfer]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert json.loads((here / "out" / "settings.json").read_text())["kind"] == "transfer"
    refused(
        here,
        "settings.json exists already, and it is not a result that this run may replace",
        "shot",
        "-o",
        "out",
        *KEY,
    )


@pytest.mark.parametrize("key", [*RECORD, "made_from"])
def test_a_settings_file_of_another_program_is_not_taken_for_a_manifest(here: Path, key: str) -> None:
    (here / "out").mkdir()
    record = RECORD | {"files": {"001.png": ""}, "made_from": {"x": ["001.png"]}, "editor": {"tabs": 4}}
    del record[key]
    (here / "out" / "settings.json").write_text(json.dumps(record))
    refused(
        here,
        "settings.json exists already, and it is not a result that this run may replace",
        "shot",
        "-o",
        "out",
        *KEY,
    )
