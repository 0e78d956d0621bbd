"""The compiled kernels on disk: kept once, loaded without Numba, and made anew where they are damaged or cannot be kept."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analogy.backends import compiled

CODE = b"code"  # `linked` stands in for the loader and takes anything


@pytest.fixture
def linked(monkeypatch, tmp_path):
    """Every code that was loaded, or "compiled" if it was compiled for that, with `tmp_path` to keep it in."""
    loaded: list[str] = []
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_load", compiled._load.__wrapped__)
    monkeypatch.setattr(compiled, "_compile", lambda module: loaded.append("compiled") or CODE)
    monkeypatch.setattr(compiled, "_link", lambda code, signatures: loaded.append(code) or {})
    return loaded


def kept(folder: Path) -> Path:
    [file] = folder.iterdir()  # and nothing beside it
    return file


def test_a_second_load_takes_what_the_first_has_compiled(linked, tmp_path) -> None:
    compiled.load()
    compiled.load()
    assert linked == ["compiled", CODE, CODE]
    assert kept(tmp_path).name.startswith("kernels-")


@pytest.mark.skipif(os.name != "posix", reason="of POSIX' permissions")
def test_another_user_can_load_what_the_one_who_built_an_image_has_compiled(linked, tmp_path) -> None:
    before = os.umask(0o022)
    try:
        compiled.load()
    finally:
        os.umask(before)
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o644


def test_without_a_home_nothing_is_kept_in_a_folder_called_tilde(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *given, **named: Path("~/.cache/analogy"))
    assert list(compiled._folders()) == [Path(compiled.__file__).with_name("__pycache__")]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 100, "truncated", "changed"])
def test_damaged_code_is_never_loaded_but_compiled_again_with_one_line(linked, tmp_path, caplog, damage) -> None:
    compiled.load()
    file = kept(tmp_path)
    whole = file.read_bytes()
    damage = {"truncated": whole[:-1], "changed": whole[:-1] + b"x"}.get(damage, damage)
    file.write_bytes(damage)
    caplog.clear()
    with caplog.at_level(logging.INFO, "analogy"):
        compiled.load()
    assert linked == ["compiled", CODE, "compiled", CODE]
    assert [record.message.count("is damaged") for record in caplog.records] == [1, 0]
    assert kept(tmp_path).read_bytes() == whole


def test_where_nothing_can_be_kept_the_kernels_are_compiled_at_each_start_and_one_line_says_so(
    linked, tmp_path, caplog, monkeypatch
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(file))  # not even root can keep something in it
    with caplog.at_level(logging.INFO, "analogy"):
        compiled.load()
        compiled.load()
    assert linked == ["compiled", CODE, "compiled", CODE]
    assert [("at each start" in r.message, "NUMBA_CACHE_DIR" in r.message) for r in caplog.records] == [
        (True, True)
    ] * 2


def test_a_disk_that_is_full_leaves_no_half_file(linked, tmp_path, monkeypatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    compiled.load()
    assert linked == ["compiled", CODE]
    assert not list(tmp_path.iterdir())


def test_another_processor_or_version_takes_another_file(linked, tmp_path, monkeypatch) -> None:
    compiled.load()
    monkeypatch.setattr(compiled, "_processor", lambda: ("other", ""))
    compiled.load()
    monkeypatch.setattr(compiled, "version", lambda name: "0")
    compiled.load()
    assert linked == ["compiled", CODE] * 3
    assert len(list(tmp_path.iterdir())) == 3


def test_a_process_that_finds_the_kernels_compiled_does_not_import_numba(tmp_path) -> None:
    program = """
import sys
import numpy as np
from analogy.backends.cpu import CpuBackend
backend = CpuBackend(2)
f = np.random.default_rng(0).random((9, 8, 4), np.float32)
joined = backend.join(f, f)
field = backend.resample(np.zeros((1, 1, 2), np.int32), (9, 8), (9, 8), (9, 8), (9, 8))
print("numba" in sys.modules, backend.distance(joined, joined, field, 3).mean())
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    answers = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    (first, one), (second, other) = (answer.stdout.split() for answer in answers)
    assert (first, second) == ("True", "False")
    assert one == other
    assert float(one) == pytest.approx(-2, abs=1e-3)
