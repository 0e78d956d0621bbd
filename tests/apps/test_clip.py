"""The command `analogy clip`: its files, and the frames that a second run keeps or repeats."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from made_films import film, picture
from made_videos import make, write_video
from PIL import Image

from analogy.apps.cli import cli
from analogy.films import library
from analogy.films.clip import Clip
from analogy.films.manifest import FilmManifest
from analogy.films.video import VideoFrames
from analogy.pictures.images import resize

COUNT, SIZE = 8, (48, 64)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["clip", *map(str, arguments), "--device", "cpu"], prog_name="analogy")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".png"}


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    folder = tmp_path / "shot"
    folder.mkdir()
    for index, frame in enumerate(film(picture(160, 240), SIZE, COUNT, (1.5, 0.5))):
        Image.fromarray(frame).save(folder / f"{index:03}.png")
    for name, seed in (("first", 5), ("last", 6)):
        Image.fromarray(picture(48, 64, seed)).save(tmp_path / f"{name}.png")
    return folder


def test_a_folder_gets_a_painted_frame_for_each_and_the_contact_sheet(shot: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    done = run(shot, "-o", out, "--key", f"000={tmp_path / 'first.png'}", "--contact", sheet)
    assert done.exit_code == 0, done.output
    assert sorted(contents(out)) == [f"{index:03}.png" for index in range(COUNT)]
    assert np.array_equal(pixels(out / "000.png"), pixels(tmp_path / "first.png"))
    assert done.stdout.startswith(f"{out}: 8 frames, 8 painted in ")
    assert pixels(sheet).shape == (3 * 180 + 2 * 12, 3 * (2 * 240 + 4) + 2 * 12, 3)
    assert np.array_equal(pixels(sheet)[:180, 244:484], resize(pixels(out / "000.png"), 180, 240))
    record = json.loads((out / "settings.json").read_text())
    assert record["keys"] == [f"000={tmp_path / 'first.png'}"]
    assert set(record["files"]) == set(contents(out))


def test_a_video_becomes_a_video_with_its_frames_beside_it(shot: Path, tmp_path: Path) -> None:
    frames = [pixels(path) for path in sorted(shot.iterdir())]
    write_video(tmp_path / "film.mp4", iter(frames), None, Fraction(25))
    out, both = tmp_path / "painted.mkv", tmp_path / "both.mp4"
    done = run(tmp_path / "film.mp4", "-o", out, "--key", f"2={tmp_path / 'first.png'}", "--side-by-side", both)
    assert done.exit_code == 0, done.output
    assert len(contents(tmp_path / "painted.mkv.frames")) == COUNT
    painted, beside = VideoFrames(out), VideoFrames(both)
    assert (len(painted.times), painted.stream.average_rate) == (COUNT, 25)
    assert painted.read(3).size == (48, 64) and beside.read(3).size == (48, 2 * 64 + 4)
    error = np.abs(painted.read(2).rgb.astype(int) - pixels(tmp_path / "first.png"))
    assert error.mean() < 12
    assert "8 of them kept" in run(tmp_path / "film.mp4", "-o", out, "--key", f"2={tmp_path / 'first.png'}").stdout


def test_losses_of_a_video_are_logged_and_wrong_videos_refused_before_the_painting(
    shot: Path, tmp_path: Path, monkeypatch
) -> None:
    frames = [pixels(path) for path in sorted(shot.iterdir())]
    make(tmp_path / "film.mkv", frames=frames, sounds=[("aac", "deu")], subtitles="deu")
    make(tmp_path / "fast.mp4", frames=frames, rate=1_000_000)
    key = ["--key", f"0={tmp_path / 'first.png'}"]
    painted: list[object] = []
    monkeypatch.setattr(Clip, "paint", lambda *arguments: painted.append(arguments) or iter(()))
    said = run(tmp_path / "film.mkv", "-o", tmp_path / "new.webm", *key).stderr
    assert painted, "the painting began"
    assert "analogy: " + str(tmp_path / "new.webm: it cannot hold sound as aac (deu); the video is silent") in said
    painted.clear()
    done = run(tmp_path / "fast.mp4", "-o", tmp_path / "new.mp4", *key)
    assert done.exit_code == 2 and not painted
    assert (
        "new.mp4: no video of 64 x 48 pixels and 1000000 frames per second can be written"
        in done.stderr.splitlines()[-1]
    )
    done = run(shot, "-o", tmp_path / "out", "--side-by-side", tmp_path / "both.mp4", "--rate", "0.0001", *key)
    assert done.exit_code == 2 and not painted
    assert "rate is 0.0001; give 0.001 to 1000 frames per second" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"film.mkv", "fast.mp4"}
    assert not list(tmp_path.glob("new.mp4*"))


def test_a_painted_video_keeps_transparency(shot: Path, tmp_path: Path) -> None:
    frames = [pixels(path)[..., :3] for path in sorted(shot.iterdir())]
    alpha = np.zeros(SIZE, np.uint8)
    alpha[:, 32:] = 255
    make(tmp_path / "film.mov", "qtrle", "argb", [np.dstack([frame, alpha]) for frame in frames])
    done = run(tmp_path / "film.mov", "-o", tmp_path / "new.mov", "--key", f"0={tmp_path / 'first.png'}")
    assert done.exit_code == 0, done.output
    picture = VideoFrames(tmp_path / "new.mov").read(0)
    assert picture.alpha is not None and np.array_equal(picture.alpha, alpha)
    assert np.abs(picture.rgb[:, 36:].astype(int) - pixels(tmp_path / "first.png")[:, 36:]).mean() < 2
    assert pixels(tmp_path / "new.mov.frames" / "0000.png").shape == (*SIZE, 4)


KILL = """
import os, sys
from analogy.films import folder
from analogy.__main__ import main
count, write = int(sys.argv.pop(1)), folder.write_picture
def counted(*given, **named):
    global count
    count -= 1
    if count == 0 and before: os._exit(9)
    write(*given, **named)
    if count == 0: os._exit(9)
before = sys.argv.pop(1) == "before"
folder.write_picture = counted
main()
"""


@pytest.mark.parametrize("point", ["1 before", "1 after", "4 before", "8 after"])
def test_a_killed_run_can_continue_and_ends_with_the_same_bytes(shot: Path, tmp_path: Path, point: str) -> None:
    arguments = [
        shot,
        "-o",
        tmp_path / "out",
        "--key",
        f"1={tmp_path / 'first.png'}",
        "--key",
        f"6={tmp_path / 'last.png'}",
    ]
    command = [sys.executable, "-c", KILL, *point.split(), "clip", *map(str, arguments), "--device", "cpu"]
    assert subprocess.run(command, capture_output=True).returncode == 9
    left = set(contents(tmp_path / "out"))
    assert len(left) == int(point[0]) - ("before" in point)
    done = run(*arguments)
    assert done.exit_code == 0
    assert (f", {len(left)} of them kept" in done.stdout) == bool(left)
    arguments[2] = tmp_path / "whole"
    assert run(*arguments).exit_code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*contents(tmp_path / "whole"), "settings.json"}


def test_finished_frames_are_kept_and_changed_ones_painted_again(shot: Path, tmp_path: Path) -> None:
    out, first, last = tmp_path / "out", tmp_path / "first.png", tmp_path / "last.png"
    keys = ["--key", f"000={first}", "--key", f"004={last}"]
    run(shot, "-o", out, *keys)
    before = contents(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    def painted() -> list[str]:
        return sorted(name for name in before if (out / name).stat().st_mtime_ns != times[name])

    assert "8 frames, 8 of them kept\n" in run(shot, "-o", out, *keys).stdout
    assert painted() == []
    (out / "002.png").unlink()
    (out / "006.png").unlink()
    assert "6 of them kept, 2 painted" in run(shot, "-o", out, *keys).stdout
    assert contents(out) == before
    assert painted() == ["002.png", "006.png"]
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    Image.fromarray(picture(48, 64, 7)).save(first)
    run(shot, "-o", out, *keys)
    assert painted() == [
        "000.png",
        "001.png",
        "002.png",
        "003.png",
    ]  # only the frames that depend on the first key are painted again


def test_only_files_that_the_command_made_are_ever_deleted(shot: Path, tmp_path: Path) -> None:
    out, key = tmp_path / "out", f"000={tmp_path / 'first.png'}"
    out.mkdir()
    for name in ("099.png", "notes.txt"):
        (out / name).write_text("mine")
    run(shot, "-o", out, "--key", key)
    (shot / "007.png").unlink()
    (shot / "006.png").unlink()
    (out / "006.png").write_text("edited")
    run(shot, "-o", out, "--key", key)
    assert {path.name for path in out.iterdir()} == {
        *(f"{index:03}.png" for index in range(7)),
        "099.png",
        "notes.txt",
        "settings.json",
    }


def test_an_interrupted_run_keeps_its_frames_and_exits_with_130(shot: Path, tmp_path: Path) -> None:
    interrupt = KILL.replace(
        "if count == 0 and before: os._exit(9)", "if count == 0: __import__('signal').raise_signal(2)"
    )
    arguments = ["clip", shot, "-o", tmp_path / "out", "--key", f"0={tmp_path / 'first.png'}", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", interrupt, "4", "before", *map(str, arguments)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "analogy: interrupted")
    assert set(FilmManifest(tmp_path / "out").frames) == {"000.png", "001.png", "002.png"}
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left - {".clip"} == {"000.png", "001.png", "002.png", "settings.json"}


@pytest.mark.parametrize(
    "options, message",
    [
        (["--key", "000"], "the key '000' is not FRAME=PICTURE"),
        (["--key", "77=first.png"], "there is no frame 77; name one of 000 to 007, or give a number from 0 to 7"),
        ([], "a clip needs either keys or a style, but neither is given; give one of the two"),
        (
            ["--key", "0=first.png", "--side-by-side", "both.gif"],
            "both.gif is not a video; name a file with one of the suffixes .mp4 .m4v .mov .mkv .webm",
        ),
        (
            ["--key", "0=first.png", "--contact", "sheet"],
            "sheet is not a picture; give the contact sheet a suffix such as .png or .jpg",
        ),
        (["--key", "0=first.png", "--rate", "0"], "rate is 0.0; give 0.001 to 1000 frames per second"),
        (["--style", "nowhere.png"], "the style (nowhere.png): there is no such file"),
    ],
)
def test_wrong_arguments_of_a_clip_give_one_line_and_exit_code_2(shot, tmp_path, monkeypatch, options, message) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(shot, "-o", "out", *options)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith(f"analogy: {message}")
    assert not (tmp_path / "out").exists()


def test_the_film_itself_is_never_overwritten(shot: Path, tmp_path: Path) -> None:
    before = contents(shot)
    done = run(shot, "-o", f"{shot}{os.sep}.", "--key", f"000={tmp_path / 'first.png'}")
    assert (done.exit_code, contents(shot)) == (2, before)
    assert "000.png is a frame of the film, which would be overwritten" in done.stderr


def test_a_video_without_pyav_is_refused_before_the_work(shot: Path, tmp_path: Path, monkeypatch) -> None:
    library.pyav.cache_clear()
    monkeypatch.setitem(sys.modules, "av", None)
    done = run(shot, "-o", tmp_path / "painted.mp4", "--key", f"0={tmp_path / 'first.png'}")
    library.pyav.cache_clear()
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        2,
        'analogy: videos need PyAV: pip install "deep-image-analogy[video]"',
    )
    assert not list(tmp_path.glob("painted*"))


def test_a_second_style_is_refused_since_a_film_gets_the_looks_of_one(shot: Path, tmp_path: Path) -> None:
    done = run(shot, "-o", tmp_path / "out", "--style", "one.png", "--style", "two.png")
    assert done.exit_code == 2
    assert done.stderr.strip() == (
        "analogy: --style is given 2 times; a film gets the looks of one picture, so give it once"
    )
