"""Tests of type checking a caller's code: names, values, and results for each `direction`."""

import subprocess
import sys
from typing import get_type_hints

import pytest
from test_readme import CHECKOUT, PAGES, blocks, commands

from analogy.settings import Settings, SettingsDict

EXAMPLES = sorted((CHECKOUT / "tools" / "examples").glob("*.py"))
BEFORE_THE_PAGES = """
import numpy as np
a, b, labels_of_b = "a.jpg", b"...", np.zeros((48, 64), np.uint8)
"""
"""Definitions of the names that the code on the pages uses."""

ACCEPTED = """
import io
from pathlib import Path
from typing import Any, Literal, assert_type

import numpy as np
import numpy.typing as npt
from PIL import Image

import analogy
from analogy import PRESETS, Engine, PresetName, Progress, Result, Settings

Pixels = npt.NDArray[Any]

def show(progress: Progress) -> None:
    print(progress.stage, progress.done)

array: npt.NDArray[np.uint8] = np.zeros((32, 32, 3), np.uint8)
engine = Engine("vgg16-compact", device="cpu", threads=2)
analogy.transfer("a", "b", weight=2, ratio=0.5, inversion="vote")
both = engine.transfer(array, Image.new("RGB", (32, 32)), direction="both", weight=2, ratio=0.5, progress=show)
assert_type(both.a_prime, Pixels)
assert_type(both.b, Pixels)
ab = engine.transfer(Path("a.png"), b"...", direction="ab", mask_a="a.png", mask_b=io.BytesIO())
assert_type(ab.a_prime, Pixels)
assert_type(ab.b, None)
assert_type(engine.transfer("a.png", "b.png", Settings(), direction="ba").nnf_ba, Pixels)
assert_type(engine.transfer("a.png", "b.png", "face").b, Pixels | Any)
assert_type(analogy.transfer("a.png", "b.png", {"weight": 2}, direction="both", device="cpu").b, Pixels)
assert_type(engine.transfer("a.png", "b.png", "face", b="b.png", direction="ab", weight=2).b, None)
assert_type(analogy.transfer("a.png", "b.png", b="b.png", device="cpu").a_prime, Pixels | Any)

several = engine.transfer("a.png", [Path("one.png"), array], mask_a="a.png", mask_b=["b.png", array], direction="both")
assert_type(several.a_prime, Pixels)
assert_type(several.b, list[Pixels])
assert_type([example.name for example in several.b_prime], list[str])
assert_type(analogy.transfer("a.png", ["one.png"], b=["b.png"], direction="ab").b, None)

def from_elsewhere(form: dict[str, str], configuration: dict[str, int], preset: PresetName, device: str) -> Result:
    small = Settings.preset(form["preset"], weight=configuration["weight"])
    Engine(device=device).transfer("a.png", "b.png", form.get("preset"), weight=configuration["weight"])
    return analogy.transfer("a.png", "b.png", small if form else preset, device=device)

for painted in engine.clip("shot", keys={"0001": "painting.png", 12: array}, weight=2):
    assert_type(painted, analogy.PaintedFrame)
    painted.picture.shape

def any_direction(direction: Literal["both", "ab", "ba"]) -> Result:
    return analogy.transfer("a.png", "b.png", direction=direction, model=Path("folder"), levels=True)

assert_type(any_direction("ab").a_prime, Pixels | Any)
assert_type(engine.transfer("a.png", "b.png", Settings(direction="ab")).b, Pixels | Any)
any_direction("ba").b.shape
results: list[Result] = [both, ab]
for name in PRESETS:
    Settings.preset(name, seed=3)
with open("x.bin", "wb") as file:
    both.save(file, format="png")
both.a_prime_image.save("x.png")
both.save(Path("out"), flow=True, progress=show)
"""

REFUSED = {
    "an unknown option of the function": ('analogy.transfer("a", "b", wieght=2)', "call-arg"),
    "an unknown option of an engine": ('analogy.Engine().transfer("a", "b", wieght=2)', "call-arg"),
    "a value of another type": ('analogy.transfer("a", "b", ratio="half")', "arg-type"),
    "a value that is not among the choices": ('analogy.transfer("a", "b", inversion="magic")', "arg-type"),
    "an unknown direction": ('analogy.transfer("a", "b", direction="down")', "type-var"),
    "a preset that is not a string": ('analogy.transfer("a", "b", 3)', "arg-type"),
    "a dict with an unknown key": ('analogy.transfer("a", "b", {"wieght": 2})', "arg-type"),
    "a device that is not a string": ("analogy.Engine(device=0)", "arg-type"),
    "an A that is not a picture": ('analogy.transfer(3, "b")', "arg-type"),
    "a B' that is not a picture": ('analogy.transfer("a", 4)', "type-var"),
    "B where only A' was made": ('analogy.transfer("a", "b", direction="ab").b.shape', "attr-defined"),
    "one B where B' was a list": ('analogy.transfer("a", ["b"], direction="ba").b.shape', "attr-defined"),
    "A' where only B was made": ('analogy.transfer("a", "b", direction="ba").a_prime.shape', "attr-defined"),
    "a name that the package does not have": ("analogy.trasnfer", "attr-defined"),
    "a setting that does not exist": ("analogy.Settings(wieght=2)", "call-arg"),
}
"""Fault -> code with this fault, and the code of the error that mypy must report.

The code that mypy must accept contains the same uses without the faults.
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Return snippet -> mypy's messages in strict mode, from one run for all snippets."""
    pytest.importorskip("mypy", reason="mypy is not installed; the extra dev has it")
    folder = tmp_path_factory.mktemp("snippets")
    (folder / "accepted.py").write_text(ACCEPTED)
    files = {"accepted": "accepted.py", "pages": "pages.py"} | {path.stem: path.name for path in EXAMPLES}
    for path in EXAMPLES:
        (folder / path.name).write_text(path.read_text())
    shown = [block for page in PAGES for block in blocks(page.read_text()) if not block.startswith("@")]
    (folder / "pages.py").write_text(BEFORE_THE_PAGES + "".join(block for block in shown if not commands(block)))
    for number, (name, (code, _)) in enumerate(REFUSED.items()):
        files[name] = f"refused_{number}.py"
        (folder / files[name]).write_text(f"import analogy\n\n{code}\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--hide-error-context",
        "--cache-dir",
        ".cache",
        *files.values(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 1, (
        done.stdout + done.stderr
    )  # the exit code is 1 if mypy finds faults, and 2 if mypy itself fails
    lines = done.stdout.splitlines()
    return {name: [line for line in lines if line.startswith(f"{file}:")] for name, file in files.items()}


@pytest.mark.parametrize("name", ["accepted", "pages", *(path.stem for path in EXAMPLES)])
def test_documented_code_passes_strict_checking(name: str, messages: dict[str, list[str]]) -> None:
    assert messages[name] == []


@pytest.mark.parametrize("name", REFUSED)
def test_strict_checking_refuses(name: str, messages: dict[str, list[str]]) -> None:
    [line] = [line for line in messages[name] if ": note: " not in line]
    assert line.endswith(f"[{REFUSED[name][1]}]")
    assert len(messages[name]) <= 2 and all(len(line) < 300 for line in messages[name])


def test_the_typed_options_are_the_fields_of_settings() -> None:
    assert get_type_hints(SettingsDict) == get_type_hints(Settings)


def test_help_explains_every_field_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    help(Settings)
    text = " ".join(capsys.readouterr().out.replace("|", " ").split())
    for field in Settings.__dataclass_fields__.values():
        assert f" {field.name} : " in text
        assert f", default {field.default!r} {field.metadata['help']}" in text
