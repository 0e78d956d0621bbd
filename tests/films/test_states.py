"""Tests of the files from which a run continues a killed run: a changed file is not used."""

from __future__ import annotations

import errno
import io
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from analogy.errors import OutputError
from analogy.films import work
from analogy.films.manifest import relative_to


class _FullDisk(io.RawIOBase):
    """File on a full disk: each writing fails."""

    def writable(self) -> bool:
        return True

    readable = seekable = writable

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def tell(self) -> int:
        return 0

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_state_that_was_changed_or_is_of_another_shape_or_type_is_not_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(work, "EVERY", 0)
    kept, arrays = work.Work(tmp_path / "work", "0" * 64), {"flow": np.ones((2, 3), np.float32)}
    kept.keep("before", 3, arrays)
    index, found = kept.state("before", arrays) or (None, {})
    assert index == 3 and np.array_equal(found["flow"], arrays["flow"])
    for other in ({"flow": np.ones((3, 2), np.float32)}, {"flow": np.ones((2, 3))}, {"sure": arrays["flow"]}):
        assert kept.state("before", other) is None
    [path] = (tmp_path / "work").glob("*.npz")
    with np.load(path) as file:
        content = dict(file)
    for change in ({"flow": content["flow"] + 1}, {"index": np.int64(4)}):
        np.savez(path, **(content | change))
        assert kept.state("before", arrays) is None
    np.savez(path, **content)
    assert kept.state("before", arrays) is not None


def test_a_full_disk_is_reported_in_one_line_although_closing_the_store_fails_too() -> None:
    with (
        pytest.raises(OutputError, match=r"cannot be stored \(No space left on device\); free some disk space"),
        work.Store(io.BufferedRandom(_FullDisk()), (4, 4)) as store,  # type: ignore[arg-type]
    ):
        store[0] = np.zeros((4, 4), np.uint8)


def test_a_store_without_a_folder_that_finds_no_place_for_a_file_says_so(monkeypatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(work.tempfile, "TemporaryFile", full)
    with pytest.raises(OutputError, match=r"no temporary file can be made \(No space left on device\); set TMPDIR"):
        work.Work(None, "").store("after", (2, 2, 4))


def test_a_folder_of_states_that_cannot_be_made_is_reported_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(work, "EVERY", 0)
    (tmp_path / "file").write_bytes(b"mine")
    for folder in (tmp_path / "gone" / "work", tmp_path / "file"):
        kept = work.Work(folder, "0" * 64)
        for use in (
            lambda kept=kept: kept.keep("before", 3, {"flow": np.ones((2, 3), np.float32)}),
            lambda kept=kept: kept.store("after", (4, 4)),
            work.alone(folder).__enter__,
        ):
            with pytest.raises(OutputError, match="the progress of the film cannot be saved there"):
                use()


@pytest.mark.skipif(os.name != "posix", reason="POSIX lets a process stay in a deleted folder")
def test_in_a_deleted_current_folder_a_film_ends_in_an_error_in_one_line(tmp_path: Path, monkeypatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(OutputError, match="the progress of the film cannot be saved there"):
        work.alone(Path(".clip")).__enter__()
    with pytest.raises(OutputError, match=r"sheet.png: the current folder cannot be found .*; change to another"):
        relative_to(tmp_path, Path("sheet.png"))


@pytest.mark.skipif(os.name != "posix", reason="of POSIX' locks")
def test_the_end_of_a_run_leaves_the_lock_of_the_next_run(tmp_path: Path, monkeypatch) -> None:
    """Let the next run begin as soon as the first has closed, and so released, its lock."""
    close, later = os.close, ExitStack()

    def close_and_begin(file: int) -> None:
        close(file)
        monkeypatch.setattr(os, "close", close)
        later.enter_context(work.alone(tmp_path / "work"))

    with work.alone(tmp_path / "work"):
        monkeypatch.setattr(os, "close", close_and_begin)
    with later, pytest.raises(OutputError, match="another run writes into this folder"):
        work.alone(tmp_path / "work").__enter__()
    assert not (tmp_path / "work").exists()


def test_a_lock_that_can_be_deleted_only_after_it_is_closed_is_deleted(tmp_path: Path, monkeypatch) -> None:
    """Let the first deletion fail, as on Windows."""
    unlink, failures = Path.unlink, [PermissionError]

    def fail_once(path: Path, missing_ok: bool = False) -> None:
        if failures:
            raise failures.pop()
        unlink(path, missing_ok)

    with work.alone(tmp_path / "work"):
        monkeypatch.setattr(Path, "unlink", fail_once)
    assert not failures and not (tmp_path / "work").exists()
