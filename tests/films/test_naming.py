"""Tests of the names of frames: which frame a name means, and which names are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from analogy.errors import SettingsError
from analogy.films.naming import find_frame

ONE_BASED = [f"frame_{number:04}" for number in range(1, 13)]
NAMES = {
    "from one": ONE_BASED,
    "take": [f"take2_{number:03}_v7" for number in range(5, 15)],
    "no numbers": ["dawn", "noon", "dusk"],
    "one without": ["key", "shot.8", "shot.9", "shot.10"],
    "shots": ["s1_0001", "s1_0002", "s2_0001", "s2_0007"],
    "same number": ["1", "01", "2"],
    "constant": ["hd1080a", "hd1080b"],
}


def found(kind: str, name: int | str, suffix: str = ".png") -> int:
    names = NAMES[kind]
    return find_frame(names, [Path("shot") / f"{each}{suffix}" for each in names], name)


@pytest.mark.parametrize(
    ("kind", "name", "index"),
    [
        ("from one", "0010", 9), ("from one", "10", 9), ("from one", "frame_0010", 9),
        ("from one", "frame_0010.png", 9),
        ("from one", "shot/frame_0010.png", 9), ("from one", "1", 0), ("from one", 0, 0), ("from one", 11, 11),
        ("take", "5", 0), ("take", "14", 9), ("take", 2, 2), ("no numbers", "1", 1), ("no numbers", "dusk", 2),
        ("one without", "0", 0), ("one without", "shot.9", 2), ("shots", "7", 3), ("shots", "s2_0001", 2),
        ("same number", "1", 0), ("same number", "01", 1), ("same number", "02", 2), ("constant", "1", 1),
    ],
)  # fmt: skip
def test_a_frame_is_named_by_its_name_its_file_or_its_number_and_without_numbers_by_its_index(
    kind, name, index
) -> None:
    assert found(kind, name) == index


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("from one", "0", "there is no frame 0; name one of frame_0001 to frame_0012, or give a number from 1 to 12"),
        ("from one", "13", "there is no frame 13; name one of frame_0001"),
        ("from one", 12, "there is no frame 12; name one of frame_0001 to frame_0012, or give a number from 0 to 11"),
        ("from one", True, "there is no frame True"),
        ("from one", "frame_0010.jpg", "there is no frame 'frame_0010.jpg'"),
        ("from one", "\u0663", "there is no frame '\u0663'"),
        ("from one", "9" * 5000, "there is no frame 9999"),
        ("take", "2", "there is no frame 2; name one of take2_005_v7 to take2_014_v7, or give a number from 5 to 14"),
        ("shots", "1", "the frame 1 may be s1_0001 or s1_0002; give the whole name"),
        ("shots", "2", "the frame 2 may be s1_0002 or s2_0001"),
        ("same number", "001", "the frame 001 may be 1 or 01"),
        ("no numbers", "3", "there is no frame 3; name one of dawn to dusk, or give a number from 0 to 2"),
    ],
)
def test_a_name_that_matches_no_frame_or_two_is_refused_in_one_line(kind, name, words) -> None:
    with pytest.raises(SettingsError) as raised:
        found(kind, name)
    assert str(raised.value).startswith(words)
    assert len(str(raised.value)) < 200


def test_frames_without_files_are_numbered_from_zero() -> None:
    names = [f"{index:04}" for index in range(12)]
    assert find_frame(names, [Path("film.mp4")], "10") == find_frame(names, [], "0010") == 10


def test_a_name_is_found_in_either_of_the_forms_in_which_systems_store_its_letters() -> None:
    composed, decomposed = "K\u00fcste", "Ku\u0308ste"
    assert find_frame(["Kuste", decomposed], [], composed) == 1
    assert find_frame(["Kuste", composed], [], decomposed) == 1
    assert find_frame([decomposed, composed], [], composed) == 1  # the exact name comes first
