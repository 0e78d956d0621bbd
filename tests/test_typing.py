"""What a type checker says of a caller's code: names and values are checked, and results have the type of their direction."""

import subprocess
import sys
from typing import get_type_hints

import pytest

from analogy.settings import PRESET_HELP, PRESETS, Settings, SettingsDict

ACCEPTED = """
import io
from pathlib import Path
from typing import Any, Literal, assert_type

import numpy as np
import numpy.typing as npt
from PIL import Image

import analogy
from analogy import PRESETS, Engine, Progress, Result, Settings

Pixels = npt.NDArray[Any]

def show(progress: Progress) -> None:
    print(progress.stage, progress.done)

array: npt.NDArray[np.uint8] = np.zeros((32, 32, 3), np.uint8)
engine = Engine("vgg16-compact", device="cpu", threads=2)
analogy.transfer("a", "b", weight=2, ratio=0.5, inversion="vote")
both = engine.transfer(array, Image.new("RGB", (32, 32)), weight=2, ratio=0.5, progress=show)
assert_type(both.a_prime, Pixels)
assert_type(both.b, Pixels)
ab = engine.transfer(Path("a.png"), b"...", direction="ab", mask_a="a.png", mask_b=io.BytesIO())
assert_type(ab.a_prime, Pixels)
assert_type(ab.b, None)
assert_type(engine.transfer("a.png", "b.png", Settings(), direction="ba").nnf_ba, Pixels)
assert_type(engine.transfer("a.png", "b.png", "face").b, Pixels)
assert_type(analogy.transfer("a.png", "b.png", {"weight": 2}, direction="both", device="cpu").b, Pixels)
assert_type(engine.transfer("a.png", "b.png", "face", b="b.png", weight=2).b, None)
assert_type(analogy.transfer("a.png", "b.png", b="b.png", device="cpu").a_prime, Pixels)

several = engine.transfer("a.png", ["b.png", array], mask_a="m.png", mask_b=["n.png", "o.png"], uniformity=0.2)
assert_type(several.b, list[Pixels] | None)
assert_type(several.b_prime[0].size, tuple[int, int])

for painted in engine.clip("shot", keys={"0001": "painting.png", 12: array}, weight=2):
    assert_type(painted, analogy.PaintedFrame)
    painted.picture.shape

def any_direction(direction: Literal["both", "ab", "ba"]) -> Result:
    return analogy.transfer("a.png", "b.png", direction=direction, model=Path("folder"), levels=True)

assert_type(any_direction("ab").a_prime, Pixels | None)
assert_type(engine.transfer("a.png", "b.png", Settings(direction="ab")).b, Pixels | None)
results: list[Result] = [both, ab]
for name in PRESETS:
    Settings.preset(name, seed=3)
with open("x.bin", "wb") as file:
    both.save(file, format="png")
both.a_prime_image.save("x.png")
both.save(Path("out"), flow=True, progress=show)
"""

REFUSED = {
    "a name that is none of the options": ('analogy.transfer("a", "b", wieght=2)', "call-overload"),
    "a name that an engine does not know": ('analogy.Engine().transfer("a", "b", wieght=2)', "call-overload"),
    "a value of another kind": ('analogy.transfer("a", "b", ratio="half")', "call-overload"),
    "a value that is none of the choices": ('analogy.transfer("a", "b", inversion="magic")', "call-overload"),
    "an unknown preset": ('analogy.transfer("a", "b", "oil")', "call-overload"),
    "a dict with an unknown key": ('analogy.transfer("a", "b", {"wieght": 2})', "call-overload"),
    "an unknown device": ('analogy.Engine(device="gpu")', "arg-type"),
    "what is no picture": ("analogy.transfer(3, 4)", "call-overload"),
    "B where only A' was made": ('analogy.transfer("a", "b", direction="ab").b.shape', "attr-defined"),
    "B where B was given": ('analogy.transfer("a", "b", b="c").b.shape', "attr-defined"),
    "A' where only B was made": ('analogy.transfer("a", "b", direction="ba").a_prime.shape', "attr-defined"),
    "A' of any direction, unchecked": ('analogy.transfer("a", "b", analogy.Settings()).a_prime.shape', "union-attr"),
    "a name that the package does not have": ("analogy.trasnfer", "attr-defined"),
    "a setting that does not exist": ("analogy.Settings(wieght=2)", "call-arg"),
}
"""Code, and mypy's kind of error for it. The same code without its fault is among the accepted."""


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Snippet -> what mypy says of it in strict mode: one run for all."""
    pytest.importorskip("mypy", reason="mypy comes with the extra dev")
    folder = tmp_path_factory.mktemp("snippets")
    (folder / "accepted.py").write_text(ACCEPTED)
    files = {"accepted": "accepted.py"}
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
    assert done.returncode == 1, done.stdout + done.stderr  # 2 would be a mistake of the checker itself
    lines = done.stdout.splitlines()
    return {name: [line for line in lines if line.startswith(f"{file}:")] for name, file in files.items()}


def test_what_the_documentation_shows_passes_strict_checking(messages: dict[str, list[str]]) -> None:
    assert messages["accepted"] == []


@pytest.mark.parametrize("name", REFUSED)
def test_strict_checking_refuses(name: str, messages: dict[str, list[str]]) -> None:
    assert f"[{REFUSED[name][1]}]" in "\n".join(messages[name])


def test_the_typed_options_are_the_fields_of_settings() -> None:
    assert get_type_hints(SettingsDict) == get_type_hints(Settings)


def test_every_preset_is_explained() -> None:
    assert list(PRESET_HELP) == list(PRESETS)


def test_help_explains_every_field_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    help(Settings)
    text = " ".join(capsys.readouterr().out.replace("|", " ").split())
    for field in Settings.__dataclass_fields__.values():
        assert f"{field.name}: " in text
        assert f"(default {field.default!r}) {field.metadata['help']}" in text
