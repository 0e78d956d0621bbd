"""Tests of reading files that users give: plain files are read, and others are refused at once."""

from __future__ import annotations

import os
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from analogy.errors import AnalogyError, ImageError, OutputError, printable
from analogy.files.inputs import open_regular, read_regular, without_warnings

posix = pytest.mark.skipif(os.name != "posix", reason="makes pipes and sockets in the file system")


def test_a_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    assert read_regular(tmp_path / "x", 7) == b"content"
    if os.name == "posix":
        (tmp_path / "link").symlink_to("x")
        assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(OSError, match="it has more than 6 bytes"):
        read_regular(tmp_path / "x", 6)


@posix
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, kind in (("pipe", "a pipe"), ("link", "a pipe"), ("socket", "a socket"), ("/dev/zero", "a device")):
            with pytest.raises(OSError, match=f"it is {kind}, not a file"):
                open_regular(name)


@posix
def test_a_file_that_becomes_a_pipe_before_it_is_opened_does_not_block_the_reader(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "x").touch()
    as_it_was = (tmp_path / "x").stat()
    (tmp_path / "x").unlink()
    os.mkfifo(tmp_path / "x")
    monkeypatch.setattr(Path, "stat", lambda path: as_it_was)
    with pytest.raises(OSError, match="it is a pipe"):
        open_regular(tmp_path / "x")


def test_folders_and_names_that_no_file_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(OSError, match="NUL"):
        open_regular("a\0b")
    with pytest.raises(OSError, match="no file can have this name"):
        open_regular("a\ud800b")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.parametrize("kind", [AnalogyError, ImageError, OutputError])
def test_a_message_is_one_line_whatever_the_names_in_it(kind: type[AnalogyError]) -> None:
    error = kind("a\nb\x1b[2J\r\u202egnp.\udcff: dés 日本 'x' C:\\new")
    assert str(error) == "a\\nb\\x1b[2J\\r\\u202egnp.\\udcff: dés 日本 'x' C:\\new"
    assert printable(str(error)) == str(error)


def test_warnings_are_restored_after_several_threads_ignored_them(recwarn) -> None:
    before = list(warnings.filters)
    first_is_in, second_is_in, first_is_out = Event(), Event(), Event()

    def first() -> None:
        with without_warnings():
            first_is_in.set()
            second_is_in.wait(10)
            warnings.warn("ignored", stacklevel=1)
        first_is_out.set()

    def second() -> None:
        first_is_in.wait(10)
        with without_warnings():
            second_is_in.set()
            first_is_out.wait(10)
            warnings.warn("ignored, too", stacklevel=1)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert list(warnings.filters) == before
    assert len(recwarn) == 0
