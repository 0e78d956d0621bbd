"""Tests of commands for a user without a home folder and without a name, as in a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NAMELESS = """
import os, pwd

def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

pwd.getpwuid = unknown
from analogy.__main__ import main
main()
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX users")


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    lacking = ("HOME", "XDG_CACHE_HOME", "ANALOGY_HOME", "NUMBA_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in lacking}
    return subprocess.run(
        [sys.executable, "-c", NAMELESS, *map(str, arguments)],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["info", "models list", "models path", "models verify", "completion bash"])
def test_every_command_works_for_a_user_without_a_home(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, *command.split())
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert not any(tmp_path.iterdir())
    if command == "info":
        assert "set ANALOGY_HOME to a folder" in done.stdout


def test_a_transfer_works_for_a_user_without_a_home(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(noise).save(tmp_path / name)
    options = ["--preset", "fast", "--search-iterations", 1, "--device", "cpu"]
    done = run(tmp_path, "transfer", "a.png", "b.png", "-o", "out", *options)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "out"]  # noqa: PTH208


@pytest.mark.parametrize("command", ["models pull vgg19", "models remove vgg19"])
def test_without_a_home_one_line_says_to_set_analogy_home(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, *command.split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "has no folder for pulled models; set ANALOGY_HOME" in done.stderr
