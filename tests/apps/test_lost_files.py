"""Commands refuse, before the work, to overwrite an input or a file that no run has made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from analogy.apps.cli import cli
from analogy.engine import Engine

FAST = ["--inversion", "vote", "--search-iterations", "1", "--max-pixels", "4000", "--device", "cpu"]
links = pytest.mark.skipif(os.name != "posix", reason="makes links")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="analogy")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with files for all inputs of a transfer."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b_prime.jpg", "b.png", "level_5.png")):
        picture(tmp_path / name, seed)
    for name in ("mask_a.png", "mask_b.png"):
        Image.new("L", (40, 48), 255).save(tmp_path / name)
    (tmp_path / "pins.csv").write_text("xa,ya,xb,yb\n10,20,30,40\n")
    return tmp_path


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test fail if a transfer begins."""

    def begin(*arguments: object, **options: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(Engine, "__init__", begin)


def refused(folder: Path, words: str, *arguments: object) -> None:
    before = contents(folder)
    done = run(*arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output + done.stderr
    assert words in done.stderr
    assert contents(folder) == before


PAIR = ["a.png", "b_prime.jpg"]
MASKS = ["--mask-a", "mask_a.png", "--mask-b", "mask_b.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*PAIR, "-o", "a.png"], "a.png is A, which would be overwritten"),
        ([*PAIR, "-o", "b_prime.jpg"], " is B', which"),
        ([*PAIR, "-o", "./x/../a.png"], " is A, which"),
        ([*PAIR, "--b", "b.png", "-o", "b.png"], " is B, which"),
        ([*PAIR, *MASKS, "-o", "mask_a.png"], " is the mask of A, which"),
        ([*PAIR, *MASKS, "-o", "mask_b.png"], " is the mask of B', which"),
        (["a.png", "b.png", "-o", "."], "b.png is B', which"),
        ([*PAIR, "-o", "."], "b.png exists already, and it is not a result that this run may replace"),
        (["a.png", "level_5.png", "-o", ".", "--direction", "ab", "--levels"], "level_5.png is B', which"),
    ],
)
def test_a_transfer_does_not_overwrite_its_inputs(here: Path, no_work, arguments, words) -> None:
    (here / "x").mkdir()
    refused(here, words, "transfer", *arguments, *FAST)


@links
@pytest.mark.parametrize("kind", ["link", "link to the folder", "hard link", "link that is read"])
def test_an_input_is_recognised_through_every_link(here: Path, no_work, kind: str) -> None:
    read = "a.png"
    if kind == "link":
        (here / "other.png").symlink_to("a.png")
    elif kind == "link to the folder":
        (here / "folder").symlink_to(".")
    elif kind == "hard link":
        os.link(here / "a.png", here / "other.png")
    else:
        (here / "read.png").symlink_to("a.png")
        read = "read.png"
    target = {"link to the folder": "folder/a.png", "link that is read": "a.png"}.get(kind, "other.png")
    refused(here, f"{target} is A, which", "transfer", read, "b_prime.jpg", "-o", target, *FAST)


def test_a_transfer_does_not_overwrite_its_files_of_pins_and_settings(here: Path) -> None:
    assert run("transfer", *PAIR, "--pins", "pins.csv", "--flow", "-o", "out", *FAST).exit_code == 0
    (here / "pins.csv").replace(here / "out" / "flowBA.txt")
    arguments = [*PAIR, "-o", "out", "--flow", *FAST]
    refused(here, "flowBA.txt is the file of pins", "transfer", *arguments, "--pins", "out/flowBA.txt")
    record = ["--settings", "out/settings.json"]
    refused(here, "settings.json is the file of settings", "transfer", *arguments, *record)


def test_an_earlier_result_that_is_an_input_is_not_replaced(here: Path) -> None:
    assert run("transfer", *PAIR, "--levels", "-o", "out", *FAST).exit_code == 0
    refused(here, "level_4.png is A, which", "transfer", "out/level_4.png", "b_prime.jpg", "-o", "out", *FAST)
    refused(here, "b.png is B', which", "transfer", "a.png", "out/b.png", "-o", "out", *FAST)
    # A result that was changed is not replaced.
    (here / "out" / "level_4.png").write_bytes((here / "a.png").read_bytes())
    assert run("transfer", "out/level_4.png", "b_prime.jpg", "-o", "out", *FAST).exit_code == 0
    assert (here / "out" / "level_4.png").read_bytes() == (here / "a.png").read_bytes()


def test_a_transfer_does_not_overwrite_a_file_that_no_transfer_made(here: Path) -> None:
    for name in ("montage.png", "settings.json"):
        out = here / f"out of {name}"
        out.mkdir()
        (out / name).write_text("mine")
        refused(
            here,
            f"{name} exists already, and it is not a result that this run may replace",
            "transfer",
            *PAIR,
            "-o",
            out,
            *FAST,
        )


def test_the_file_on_standard_input_is_not_overwritten(here: Path) -> None:
    before = contents(here)
    with (here / "a.png").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "analogy", "transfer", "-", "b_prime.jpg", "-o", "a.png", *FAST],
            stdin=file, capture_output=True, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()) == (
        2, ["analogy: a.png is A, which would be overwritten; name another place for the results"],
    )  # fmt: skip
    assert contents(here) == before


@links
def test_the_picture_of_a_field_does_not_overwrite_the_field(here: Path) -> None:
    assert run("transfer", *PAIR, "--flow", "-o", "out", *FAST).exit_code == 0
    (here / "field.png").symlink_to("out/flow_ab.npz")
    refused(here, "field.png is the field, which", "flow", "out/flow_ab.npz", "-o", "field.png")


@pytest.mark.parametrize(
    "options",
    [["--levels", "--flow"], ["--direction", "ab", "--flow"], ["--direction", "ba"], ["--b", "b.png", "--flow"]],
    ids=" ".join,
)
def test_every_file_of_a_transfer_is_checked_before_the_work(here: Path, options: list[str]) -> None:
    assert run("transfer", *PAIR, "-o", "out", *options, *FAST).exit_code == 0
    written = sorted(contents(here / "out"))
    assert set(json.loads((here / "out" / "settings.json").read_text())["files"]) == set(written) - {"settings.json"}
    for name in written:
        (here / f"for {name}").mkdir()
        (here / f"for {name}" / name).write_bytes(b"mine")
        refused(here, f"{name} exists already", "transfer", *PAIR, "-o", f"for {name}", *options, *FAST)


@links
def test_standard_output_that_appends_to_an_input_is_refused(here: Path) -> None:
    before = contents(here)
    for name, what in (("a.png", "A"), ("b_prime.jpg", "B'")):
        with (here / name).open("ab") as file:
            done = subprocess.run(
                [sys.executable, "-m", "analogy", "transfer", *PAIR, "-o", "-", *FAST],
                stdout=file, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert (done.returncode, done.stderr.splitlines()) == (
            2,
            [f"analogy: standard output is {what}, which would be overwritten; "
             "name another place for the results"],
        )  # fmt: skip
        assert contents(here) == before


@pytest.mark.parametrize("name", ["flow_ab.npz", "flow_ab.flo"])
def test_a_width_that_has_no_effect_is_refused(here: Path, name: str) -> None:
    assert run("transfer", *PAIR, "--flow", "-o", "out", *FAST).exit_code == 0
    refused(
        here,
        f"{name} contains the width of its field; leave out",
        "flow",
        f"out/{name}",
        "-o",
        "field.png",
        "--width",
        40,
    )


def test_a_result_that_the_user_has_changed_is_not_overwritten(here: Path) -> None:
    command = ["transfer", *PAIR, "-o", "out", *FAST]
    assert run(*command).exit_code == 0
    (here / "out" / "b.png").write_bytes((here / "a.png").read_bytes())
    refused(
        here, "b.png has been changed since it was made; move it away, or delete it so that it is made again", *command
    )
    (here / "out" / "b.png").unlink()
    assert run(*command).exit_code == 0


@pytest.mark.parametrize("content", ['{"files": {}}', '{"files": {"b.png": "x"}, "settings": {}, "analogy": "like"}'])
def test_a_settings_file_of_another_program_is_not_overwritten(here: Path, content: str) -> None:
    (here / "out").mkdir()
    (here / "out" / "settings.json").write_text(content)
    refused(here, "settings.json exists already, and it is not a result", "transfer", *PAIR, "-o", "out", *FAST)
