"""Standard streams that are closed, full, or written to by libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analogy.apps import streams

pytestmark = pytest.mark.skipif(os.name != "posix", reason="redirects as a POSIX shell does")
FAST = "--inversion vote --search-iterations 1 --device cpu"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(path)
    return path


def shell(words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = words.replace("analogy ", f"'{sys.executable}' -m analogy ", 1)
    environment = os.environ | {"PYTHONUNBUFFERED": ""} | environment
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", "--verbose 2>/dev/full"])
def test_without_standard_error_the_results_are_still_written(picture, tmp_path, streams) -> None:
    if "full" in streams and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    done = shell(f"analogy transfer a.png a.png -o out {FAST} {streams}", tmp_path)
    assert done.returncode == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a_prime.png", "b.png", "montage.png", "settings.json"]
    for path in (tmp_path / "out").glob("*.png"):
        Image.open(path).load()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", ["transfer a.png a.png -o out " + FAST, "models list", "--help", "info"])
def test_a_full_standard_output_gives_one_line_and_exit_code_2(picture, tmp_path, words) -> None:
    done = shell(f"analogy {words} >/dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "analogy: standard output cannot be written to (No space left on device)\n"
    if "transfer" in words:
        assert (tmp_path / "out" / "settings.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_after_a_stream_has_failed_the_end_of_the_program_prints_nothing(tmp_path) -> None:
    code = """
import sys
from analogy.apps.streams import give_up
sys.stdout.write("kept in a buffer")
give_up(sys.stdout)
"""
    with Path("/dev/full").open("wb") as full:
        buffered = os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, env=buffered)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_the_exit_code_is_right_if_no_stream_can_be_written(picture, tmp_path) -> None:
    for words in ("transfer none.png a.png -o out", "transfer a.png", "nonsense"):
        for closed in ("2>&-", "2>/dev/full", ">&- 2>&-"):
            assert shell(f"analogy {words} {closed}", tmp_path).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_picture_for_a_full_standard_output_gives_one_line(picture, tmp_path) -> None:
    done = shell(f"analogy transfer a.png a.png -o - -q {FAST} >/dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "analogy: <stdout> cannot be written (No space left on device); choose another place\n"


def test_a_closed_pipe_causes_no_traceback(picture, tmp_path) -> None:
    done = shell("analogy transfer --help | true; analogy models list | true", tmp_path)
    assert done.stderr == ""


def test_a_name_that_standard_output_cannot_encode_is_escaped(picture, tmp_path) -> None:
    done = shell(f"analogy transfer a.png a.png -o 日本 {FAST}", tmp_path, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("open \\u65e5\\u672c/a_prime.png: ")
    assert (tmp_path / "日本" / "a_prime.png").exists()


def test_a_name_with_control_characters_does_not_reach_the_terminal(picture, tmp_path) -> None:
    done = shell(f"analogy transfer a.png a.png -o \"$(printf 'x\\033[2J\\ny')\" {FAST}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("open x\\x1b[2J\\ny/a_prime.png: ")
    assert done.stdout.count("\n") == 1


def test_messages_of_libraries_in_c_do_not_reach_the_terminal(tmp_path, picture) -> None:
    """Read a damaged TIFF file, about which the library libtiff prints a message."""
    Image.open(picture).save(tmp_path / "x.tif", compression="tiff_adobe_deflate")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    content[200:220] = bytes(20)
    (tmp_path / "x.tif").write_bytes(content)
    done = shell(f"analogy transfer x.tif a.png -o out {FAST}", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("analogy: A (x.tif) is damaged or truncated and cannot be decoded")
    assert done.stderr.count("\n") == 1
    assert "ZIPDecode" in shell(f"analogy transfer x.tif a.png -o out -v {FAST}", tmp_path).stderr  # on request


def test_python_can_write_to_standard_error_while_libraries_are_silenced(capfd) -> None:
    with pytest.raises(RuntimeError), streams.libraries_kept_silent():
        os.write(2, b"a library\n")
        raise RuntimeError
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"
    code = """
import os, sys
from analogy.apps.streams import libraries_kept_silent
with libraries_kept_silent():
    os.write(2, b"a library\\n")
    print("we", file=sys.stderr)
print("we again", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "we\nwe again\n"
