"""Tests of lists of pictures: recognition by content, and patterns for names with brackets."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analogy.batch import stores
from analogy.errors import ImageError
from analogy.films.frames import open_frames
from analogy.pictures.listing import is_pattern, matching, pictures_in

NAMES = ["2.jfif", "10.JPG_large", "1.jpe", "nothing", "3.png"]
IN_ORDER = ["1.jpe", "2.jfif", "3.png", "10.JPG_large", "nothing"]


def content(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with pictures of many suffixes, and with other files."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for name in (*NAMES, ".hidden.jpg"):
        (folder / name).write_bytes(content())
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden").write_text("no picture")
    (folder / "empty").touch()
    (folder / "damaged.png").write_bytes(b"a picture by its suffix, which has to fail loudly")
    return folder


def test_pictures_are_found_by_their_content_and_other_files_are_logged(folder: Path, caplog) -> None:
    with caplog.at_level(logging.INFO, "analogy"):
        found = pictures_in(folder)
    assert [Path(path).name for path in found] == sorted(
        [*IN_ORDER, "damaged.png"], key=[*IN_ORDER[:4], "damaged.png", "nothing"].index
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: these are left out, as they are not pictures that can be read: deeper, empty, notes.txt"
    ]
    assert stores.pictures(str(folder)) == found
    (folder / "damaged.png").unlink()
    assert open_frames(folder).names == [Path(name).stem for name in IN_ORDER]


def test_a_folder_that_cannot_be_read_is_one_line(folder: Path, monkeypatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match=r"photos: there is no permission to read it; change its permissions"):
        open_frames(folder)


def test_the_log_line_names_only_some_of_many_left_out_files(tmp_path: Path, caplog) -> None:
    for index in range(9):
        (tmp_path / f"{index}.txt").touch()
    with caplog.at_level(logging.INFO, "analogy"):
        assert pictures_in(tmp_path) == []
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.endswith("that can be read: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more")


def test_a_folder_at_an_address_is_listed_like_a_local_one(caplog) -> None:
    memory = pytest.importorskip("fsspec.implementations.memory", reason="needs the extra remote").MemoryFileSystem
    store = memory()
    for name in (*NAMES, ".hidden.jpg"):
        store.pipe_file(f"/listing/{name}", content())
    store.pipe_file("/listing/notes.txt", b"no picture")
    store.pipe_file("/listing/deeper/x.png", content())
    store.pipe_file("/take [2]/IMG [1].png", content())
    store.pipe_file("/take 2/IMG 1.png", content())
    try:
        with caplog.at_level(logging.INFO, "analogy"):
            assert [Path(path).name for path in stores.pictures("memory://listing/")] == IN_ORDER
        (message,) = [record.getMessage() for record in caplog.records]
        assert (
            message
            == "memory://listing/: these are left out, as they are not pictures that can be read: deeper, notes.txt"
        )
        for pattern in ("take [2]/*.png", "take [2]/IMG [1].png", "take [2]/IMG [1].*"):
            assert stores.pictures(f"memory://{pattern}") in (
                ["memory:///take [2]/IMG [1].png"],
                [f"memory://{pattern}"],
            )
        assert stores.pictures("memory://take 2/*[1-3].png") == ["memory:///take 2/IMG 1.png"]
    finally:
        store.rm("/", recursive=True)


@pytest.mark.skipif(os.name != "posix", reason="names that Windows does not allow")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("take [2]/*.png", ["take [2]/IMG [1].png", "take [2]/IMG [10].png"]),
        ("take [2]/IMG [1]*", ["take [2]/IMG [1].png"]),
        ("take [2]/IMG [*].png", ["take [2]/IMG [1].png", "take [2]/IMG [10].png"]),
        ("what?/*/*.png", ["what?/*/x.png"]),
        ("take [2-9]/*.png", ["take 2/IMG 1.png", "take 3/y.png"]),
        ("take */IMG [0-9].png", ["take 2/IMG 1.png"]),
        ("take 2/IMG [1].png", ["take 2/IMG 1.png"]),
        ("take[2]/*", []),
        ("*/IMG [1].png", ["take [2]/IMG [1].png"]),  # brackets are literal if the pattern then matches something
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_brackets_in_names_are_found(tmp_path: Path, monkeypatch, pattern: str, expected: list[str], absolute) -> None:
    files = [
        "take [2]/IMG [1].png",
        "take [2]/IMG [10].png",
        "take 2/IMG 1.png",
        "take 3/y.png",
        "what?/*/x.png",
        "whats/z/x.png",
    ]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    start = f"{tmp_path}/" if absolute else ""
    assert matching(start + pattern) == [start + name for name in expected]
    assert is_pattern(start + pattern)
    assert not any(is_pattern(start + name) for name in files)


@pytest.mark.skipif(os.name != "posix", reason="names that Windows does not allow")
def test_a_film_and_a_batch_accept_patterns_with_brackets(tmp_path: Path) -> None:
    (tmp_path / "take [2]").mkdir()
    names = [str(tmp_path / "take [2]" / f"IMG [{index}].jpg") for index in range(1, 4)]
    for name in names:
        Path(name).write_bytes(content())
    assert list(map(str, open_frames(tmp_path / "take [2]" / "*.jpg").files)) == names
    assert stores.pictures(str(tmp_path / "take [2]" / "*.jpg")) == names
    assert stores.pictures(names[0]) == names[:1]


@pytest.mark.parametrize(
    "names",
    [
        ["f-2", "f-1", "f0", "f1", "f2"],
        ["-2", "-1", "0", "1"],
        [f"take2_-{number:03}" for number in range(11, 0, -1)] + ["take2_000", "take2_001"],
        ["shot-1", "shot-2", "shot-3", "shot-10"],  # there is no 0, so the minus is a hyphen
        ["shot-0", "shot-1", "shot-2"],
        ["shot1", "shot-1", "shot-2"],  # there is no shot0 between shot-1 and shot1
        ["2024-01", "2024-02", "2024-10"],
    ],
)
def test_a_minus_is_a_sign_where_the_numbers_of_a_film_go_on_below_zero(tmp_path: Path, names: list[str]) -> None:
    for name in sorted(names):
        (tmp_path / f"{name}.png").write_bytes(content())
    for source in (tmp_path, tmp_path / "*.png"):
        assert open_frames(str(source)).names == names
    assert [Path(path).stem for path in matching(str(tmp_path / "*.png"))] == names
    assert [Path(path).stem for path in pictures_in(tmp_path)] == names
