"""The command `analogy`: its files, its output, and its exit codes."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import MISSING, asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageCms

import analogy
import analogy.apps.transfer as transfer_module
from analogy import records
from analogy.apps import gpu
from analogy.apps.cli import cli
from analogy.backends.selftest import Check
from analogy.method import flow, flow_files
from analogy.networks.models import DEFAULT, locate
from analogy.request import fields_of
from analogy.settings import PRESET_HELP

COMMAND = [sys.executable, "-m", "analogy"]
"""Arguments that run the command in a process of its own, for tests that need one."""
FAST = ["--inversion", "vote", "--search-iterations", "1", "--device", "cpu"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="analogy")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    paths = tmp_path / "a.png", tmp_path / "b.jpg"
    for path, size in zip(paths, [(40, 56, 3), (48, 40, 3)], strict=True):
        Image.fromarray(rng.integers(0, 256, size).astype(np.uint8)).save(path)
    return paths


def test_transfer_writes_the_results_and_no_progress_bar_without_a_terminal(pair, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = run("transfer", *pair, "-o", out, *FAST)
    assert done.exit_code == 0, done.stderr
    assert pixels(out / "a_prime.png").shape == (40, 56, 3)
    assert pixels(out / "b.png").shape == (48, 40, 3)
    assert "%" not in done.stderr
    assert done.stdout.startswith(f"open {out / 'a_prime.png'}: A in the looks of B' (")


def test_demo_writes_a_montage(tmp_path: Path) -> None:
    done = run("demo", "--device", "cpu", "-o", tmp_path / "demo")
    assert done.exit_code == 0, done.stderr
    montage = pixels(tmp_path / "demo" / "montage.png")
    assert montage.shape[0] == 420
    assert montage.std() > 30


def test_demo_paints_hair_with_hair_and_skin_with_skin_as_its_labels_say(tmp_path: Path) -> None:
    assert run("demo", "--device", "cpu", "-o", tmp_path).exit_code == 0
    a_prime = pixels(tmp_path / "a_prime.png")
    hair, skin = a_prime[60:100, 180:280], a_prime[230:270, 160:240]
    assert hair.mean() < 70 < 110 < skin.mean()  # dark hair and bright skin, as in the painting


def test_help_names_every_field_of_settings_with_its_default() -> None:
    text = run("transfer", "--help").stdout
    for field in analogy.Settings.__dataclass_fields__.values():
        assert "--" + field.name.replace("_", "-") in text
        if not isinstance(field.default, bool):
            assert f"[default: {field.default}]" in " ".join(text.split())


def test_help_names_every_field_of_a_request() -> None:
    text = run("transfer", "--help").stdout
    for field in fields_of("picture", "pins", "flag"):
        if field.default is MISSING:
            assert f" {field.name.upper()}" in text.splitlines()[0]
        else:
            assert "--" + field.name.replace("_", "-") in text
            assert field.metadata["help"] in " ".join(text.split())


def test_options_of_the_command_override_its_preset(pair, tmp_path: Path) -> None:
    done = run("transfer", *pair, "-o", tmp_path / "o", "--preset", "style-to-photo", "--ratio", "0.6", *FAST)
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "o" / "settings.json").read_text()
    assert '"ratio": 0.6' in text
    assert '"weight": 2' in text


def test_the_settings_file_of_a_result_repeats_it_exactly(pair, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    run("transfer", *pair, "-o", first, "--seed", 5, "--weight", 1, "--ratio", 0.9, "--keep-colors", *FAST)
    done = run("transfer", *pair, "-o", again, "--settings", first / "settings.json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert np.array_equal(pixels(first / "a_prime.png"), pixels(again / "a_prime.png"))
    one, other = (json.loads((folder / "settings.json").read_text()) for folder in (first, again))
    assert one["settings"] == other["settings"]
    assert one["settings"]["seed"] == 5
    assert one["model_sha256"] == other["model_sha256"]


def test_a_preset_beside_a_settings_file_replaces_its_look_and_keeps_the_rest(pair, tmp_path: Path) -> None:
    run("transfer", *pair, "-o", tmp_path / "o", "--seed", 5, "--direction", "ab", "--weight", 1, "--photo", *FAST)
    file = tmp_path / "o" / "settings.json"
    preset = ["--preset", "photo-to-style", "--ratio", 0.5]
    done = run("transfer", *pair, "-o", tmp_path / "p", "--settings", file, *preset, "--device", "cpu")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "p" / "settings.json").read_text())
    assert record["settings"] == asdict(analogy.Settings(seed=5, direction="ab", ratio=0.5))


def test_pins_hold_and_the_settings_file_repeats_them(pair, tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    pins, fewer = tmp_path / "pins.csv", tmp_path / "fewer.csv"
    pins.write_text("xa,ya,xb,yb\n10,20,30,40\n50,5,3,3\n")
    fewer.write_text("xa,ya,xb,yb\n10,20,30,40\n")
    assert run("transfer", *pair, "-o", first, "--pins", pins, "--flow", *FAST).exit_code == 0
    assert run("transfer", *pair, "-o", again, "--settings", first / "settings.json").exit_code == 0
    assert run("transfer", *pair, "-o", other, "--settings", first / "settings.json", "--pins", fewer).exit_code == 0
    fields = [flow.to_nnf(flow_files.read(first / f"flow_{name}.npz")) for name in ("ab", "ba")]
    assert fields[0][20, 10].tolist() == [40, 30]
    assert fields[1][3, 3].tolist() == [5, 50]
    one, same, less = (json.loads((folder / "settings.json").read_text())["pins"] for folder in (first, again, other))
    assert one == same == [[10, 20, 30, 40], [50, 5, 3, 3]]
    assert less == [[10, 20, 30, 40]]
    for name in ("a_prime.png", "b.png"):
        assert np.array_equal(pixels(first / name), pixels(again / name))
    assert not np.array_equal(pixels(first / "a_prime.png"), pixels(other / "a_prime.png"))


def test_a_settings_file_with_another_model_s_checksum_is_refused(pair, tmp_path: Path) -> None:
    run("transfer", *pair, "-o", tmp_path / "o", *FAST)
    file = tmp_path / "o" / "settings.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"model_sha256": "0" * 64}))
    done = run("transfer", *pair, "-o", tmp_path / "p", "--settings", file)
    assert done.exit_code == 2
    assert "has a different checksum from the model of" in done.stderr


def test_an_output_path_of_a_picture_gets_the_one_result(pair, tmp_path: Path) -> None:
    run("transfer", *pair, "-o", tmp_path / "both", *FAST)
    a_prime, b = (pixels(tmp_path / "both" / name).astype(int) for name in ("a_prime.png", "b.png"))
    for name, mean_difference in (("new/out.jpg", 5), ("out.tif", 0), ("out.webp", 20)):  # WebP changes noise a lot
        done = run("transfer", *pair, "-o", tmp_path / name, *FAST)
        assert done.exit_code == 0, done.output
        assert pixels(tmp_path / name).shape == (40, 56, 3)
        assert np.abs(pixels(tmp_path / name) - a_prime).mean() <= mean_difference, name
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.jpg"]
    run("transfer", *pair, "-o", tmp_path / "b.png", "--direction", "ba", *FAST)
    assert np.array_equal(pixels(tmp_path / "b.png"), b)


def test_with_a_picture_as_output_only_a_prime_is_made(pair, tmp_path: Path, monkeypatch) -> None:
    asked = []
    transfer = analogy.Engine.transfer
    monkeypatch.setattr(
        analogy.Engine, "transfer", lambda *args, **given: asked.append(given["settings"]) or transfer(*args, **given)
    )
    done = run("transfer", *pair, "-o", tmp_path / "one.png", *FAST)
    assert [settings.direction for settings in asked] == ["ab"]
    assert done.stdout.startswith(f"{tmp_path / 'one.png'}: A in the looks of B' (")


def test_one_direction_writes_one_picture_and_one_field(pair, tmp_path: Path) -> None:
    run("transfer", *pair, "-o", tmp_path / "o", "--direction", "ab", "--flow", *FAST)
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert names == {"a_prime.png", "montage.png", "settings.json", "flow_ab.npz", "flow_ab.flo", "flowAB.txt"}


def test_a_settings_file_names_its_masks_and_other_masks_cause_a_warning(pair, tmp_path: Path) -> None:
    for name, path in zip(("a", "b", "other"), (*pair, pair[0]), strict=True):
        height, width = pixels(path).shape[:2]
        mask = np.zeros((height, width, 3), np.uint8)
        mask[:, : width // (3 if name == "other" else 2)] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}-labels.png")
    masks = ["--device", "cpu", "--mask-a", tmp_path / "a-labels.png", "--mask-b", tmp_path / "b-labels.png"]
    assert run("transfer", *pair, "-o", tmp_path / "first", *masks, *FAST).exit_code == 0
    file = tmp_path / "first" / "settings.json"
    record = json.loads(file.read_text())
    for name in ("a", "b"):
        content = (tmp_path / f"{name}-labels.png").read_bytes()
        assert record[f"mask_{name}"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert str(tmp_path / f"{name}-labels.png") in record[f"mask_{name}"]["name"]
    same = run("transfer", *pair, "-o", tmp_path / "same", *masks, "--settings", file)
    assert (same.exit_code, same.stderr) == (0, "")
    assert (tmp_path / "same/a_prime.png").read_bytes() == (tmp_path / "first/a_prime.png").read_bytes()
    without = run("transfer", *pair, "-o", tmp_path / "without", "--device", "cpu", "--settings", file)
    assert without.stderr.splitlines() == [
        f"analogy: {file} was made with --mask-{side}, which you do not give; the result will differ" for side in "ab"
    ]
    masks[3] = tmp_path / "other-labels.png"
    other = run("transfer", *pair, "-o", tmp_path / "other", *masks, "--settings", file)
    assert (
        other.stderr
        == f"analogy: {file} was made with a --mask-a that differs from {masks[3]}; the result will differ\n"
    )


def test_with_b_given_only_a_prime_is_written_and_the_record_names_b(pair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("transfer", *pair, "--b", pair[1], "-o", out, *FAST)
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {"a_prime.png", "montage.png", "settings.json"}
    record = json.loads((out / "settings.json").read_text())
    assert (record["b"], record["settings"]["direction"]) == (f"B ({pair[1]})", "ab")
    refused = run("transfer", *pair, "--b", pair[0], "-o", out, *FAST)
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)


def test_another_missing_or_new_b_than_in_a_settings_file_causes_a_warning(pair, tmp_path: Path) -> None:
    other, device = tmp_path / "other.png", ["--device", "cpu"]
    Image.fromarray(255 - pixels(pair[1])).save(other)
    assert run("transfer", *pair, "--b", pair[1], "-o", tmp_path / "with", *FAST).exit_code == 0
    assert run("transfer", *pair, "-o", tmp_path / "without", *FAST).exit_code == 0
    files = {name: tmp_path / name / "settings.json" for name in ("with", "without")}
    record = json.loads(files["with"].read_text())
    assert record["b_sha256"] == hashlib.sha256(Path(pair[1]).read_bytes()).hexdigest()
    for name, given, line in (
        ("with", ["--b", pair[1]], ""),
        ("with", [], "was made with --b, which you do not give; the result will differ"),
        ("with", ["--b", other], f"was made with a --b that differs from {other}; the result will differ"),
        ("without", ["--b", other], "was made without --b, which you give; the result will differ"),
    ):
        done = run("transfer", *pair, "-o", tmp_path / "again", "--settings", files[name], *given, *device)
        assert (done.exit_code, done.stderr) == (0, f"analogy: {files[name]} {line}\n" if line else "")


def test_masks_beside_a_settings_file_without_masks_cause_a_warning(pair, tmp_path: Path) -> None:
    assert run("transfer", *pair, "-o", tmp_path / "first", *FAST).exit_code == 0
    masks, file = [], tmp_path / "first" / "settings.json"
    for side, path in zip("ab", pair, strict=True):
        mask = np.zeros(pixels(path).shape, np.uint8)
        mask[:, :20] = 255
        Image.fromarray(mask).save(tmp_path / f"{side}.png")
        masks += [f"--mask-{side}", tmp_path / f"{side}.png"]
    done = run("transfer", *pair, "-o", tmp_path / "again", "--settings", file, *masks, "--device", "cpu")
    assert done.stderr.splitlines() == [
        f"analogy: {file} was made without --mask-{side}, which you give; the result will differ" for side in "ab"
    ]
    record = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in record.items() if not key.startswith("mask")}))
    done = run("transfer", *pair, "-o", tmp_path / "old", "--settings", file, *masks, "--device", "cpu")
    assert (done.exit_code, done.stderr) == (0, "")  # an earlier version, which did not record masks, wrote such a file


def test_flow_and_levels_are_written_and_masks_hold(pair, tmp_path: Path) -> None:
    masks = tmp_path / "ma.png", tmp_path / "mb.png"
    for mask, size in zip(masks, [(40, 56, 3), (48, 40, 3)], strict=True):
        colours = np.zeros(size, np.uint8)
        colours[:, 20:] = 255
        Image.fromarray(colours).save(mask)
    out = tmp_path / "o"
    done = run("transfer", *pair, "-o", out, "--flow", "--levels", "--mask-a", masks[0], "--mask-b", masks[1], *FAST)
    assert done.exit_code == 0, done.output
    assert {f"level_{n}.png" for n in range(1, 6)} <= {path.name for path in out.iterdir()}
    with np.load(out / "flow_ab.npz") as data:
        assert data["nnf"].shape == (40, 56, 2)
        assert np.array_equal(data["nnf"][..., 1] >= 20, np.arange(56) >= 20 + np.zeros((40, 1)))
    for name, extra in (("flow_ab.flo", []), ("flow_ab.npz", []), ("flowAB.txt", ["--width", 56])):
        drawn = run("flow", out / name, "-o", tmp_path / "flow.png", *extra)
        assert drawn.exit_code == 0, drawn.output
        assert pixels(tmp_path / "flow.png").shape == (40, 56, 3)


def test_a_prime_has_the_alpha_and_the_profile_of_a(tmp_path: Path, pair) -> None:
    rng = np.random.default_rng(0)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    a = Image.fromarray(rng.integers(0, 256, (40, 40, 4)).astype(np.uint8), "RGBA")
    a.save(tmp_path / "alpha.png", icc_profile=icc)
    run("transfer", tmp_path / "alpha.png", pair[1], "-o", tmp_path / "o", *FAST)
    with Image.open(tmp_path / "o" / "a_prime.png") as result:
        assert result.mode == "RGBA"
        assert np.array_equal(np.asarray(result)[..., 3], np.asarray(a)[..., 3])
        assert result.info["icc_profile"] == icc
    assert pixels(tmp_path / "o" / "b.png").shape == (48, 40, 3)


def bad_inputs(folder: Path) -> dict[str, tuple[list, str]]:
    rng = np.random.default_rng(0)
    good, small, text, cut = (folder / name for name in ("good.png", "small.png", "text.png", "cut.jpg"))
    wide = folder / "wide.png"
    Image.new("RGB", (65501, 16)).save(wide)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    image.save(good)
    Image.new("RGB", (1, 1)).save(small)
    text.write_text("I am not a picture")
    image.save(cut)
    cut.write_bytes(cut.read_bytes()[:900])
    elsewhere = folder / "elsewhere.json"
    elsewhere.write_text(json.dumps({"settings": {}, "model": "../elsewhere", "model_sha256": "ab"}))
    (folder / "file").write_text("in the way")
    broken = folder / "broken-model"
    shutil.copytree(locate(DEFAULT), broken)
    (broken / "features.onnx").write_bytes(b"nonsense")
    lacking = folder / "lacking-model"
    lacking.mkdir()
    out = ["-o", folder / "out"]
    return {
        "missing": ([folder / "no.png", good, *out], "no.png"),
        "not a picture": ([text, good, *out], "not a picture"),
        "truncated": ([cut, good, *out], "truncated"),
        "too small": ([small, good, *out], "1 x 1"),
        "folder": ([folder, good, *out], "folder"),
        "output": ([good, good, "-o", folder / "file" / "out"], "cannot make the folder"),
        "gif": ([good, good, "-o", folder / "out.gif"], "cannot write .gif pictures"),
        "preset": ([good, good, *out, "--preset", "oil"], "oil"),
        "model": ([good, good, *out, "--model", "vgg99"], "no model 'vgg99'"),
        "damaged model": ([good, good, *out, "--model", broken], "damaged"),
        "lacking model": ([good, good, *out, "--model", lacking], "lacks features.onnx"),
        "settings": ([good, good, *out, "--settings", text], "not the settings.json"),
        "settings device": ([good, good, *out, "--settings", "/dev/zero"], "it is a device, not a file"),
        "settings model": (
            [good, good, *out, "--settings", elsewhere],
            "which is not installed; if you trust it, give its folder with --model",
        ),
        "mask": ([good, good, *out, "--mask-a", good], "there is a mask for A and none for B'"),
        "ratio": ([good, good, *out, "--ratio", "7"], "ratio is 7"),
        "device": ([good, good, *out, "--device", "tpu"], "tpu"),
        "address": (["https://example.org/a.png", good, *out], "(https://example.org/a.png) is an address"),
        "address out": (
            [good, good, "-o", "https://example.org/out"],
            "'https://example.org/out', which is an address",
        ),
        "line end": ([folder / "no\n\x1b[2Jsuch.png", good, *out], r"no\n\x1b[2Jsuch.png): there is no such file"),
        "suffix alone": ([good, good, "-o", folder / "out" / ".png"], "a suffix without a name"),
        "jpeg2000": ([good, good, "-o", folder / "out" / "x.jpeg2000"], "cannot write .jpeg2000 pictures"),
        "wide": ([wide, good, "-o", folder / "out" / "x.jpg"], "65501 x 16 pixels; JPEG holds at most 65500 on a side"),
        "wide webp": ([good, wide, "-o", folder / "out" / "x.webp", "--direction", "ba"], "holds at most 16383"),
        "bound": ([good, good, *out, "--max-input-pixels", "4095"], "max_input_pixels allows 0.004095"),
    }


KINDS = "missing, not a picture, truncated, too small, folder, output, gif, preset, model, damaged model, lacking model"
KINDS += (
    ", settings, settings device, settings model, mask, ratio, device, address, address out, line end, suffix alone"
)
KINDS += ", jpeg2000, wide, wide webp, bound"


@pytest.mark.parametrize("kind", KINDS.split(", "))
def test_bad_input_gives_one_line_without_a_traceback_and_exit_code_2(kind: str, tmp_path: Path) -> None:
    arguments, words = bad_inputs(tmp_path)[kind]
    done = run("transfer", "--device", "cpu", *arguments)  # with "auto" the command may also log why it uses the CPU
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert words in lines[-1]
    # Click prints the usage before an error about an option. Any other error is a single line.
    assert len(lines) == 1 or lines[0].startswith("Usage: ")
    assert not (tmp_path / "out").exists()


def test_an_input_can_be_wider_than_the_format_of_the_result_allows(tmp_path: Path, pair) -> None:
    wide = tmp_path / "wide.png"
    Image.new("RGB", (16384, 16)).save(wide)
    for pictures, direction in (((wide, pair[1]), "ba"), ((pair[0], wide), "ab")):
        out = tmp_path / f"{direction}.webp"
        done = run("transfer", *pictures, "-o", out, "--direction", direction, "--max-pixels", "4096", *FAST)
        assert done.exit_code == 0, done.stderr
        assert pixels(out).shape == ((48, 40, 3) if direction == "ba" else (40, 56, 3))


def test_a_decompression_bomb_is_refused_in_one_line(tmp_path: Path, pair) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = tmp_path / "bomb.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    done = run("transfer", bomb, pair[1], "-o", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "too large" in done.stderr


def test_a_folder_holds_only_the_files_of_the_last_run(pair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("transfer", *pair, "-o", out, "--flow", "--levels", *FAST)
    (out / "notes.txt").write_text("mine")
    done = run("transfer", *pair, "-o", out, "--direction", "ab", *FAST)
    assert done.exit_code == 0, done.output
    names = {path.name for path in out.iterdir()}
    assert names == {"a_prime.png", "montage.png", "settings.json", "notes.txt"}
    files = json.loads((out / "settings.json").read_text())["files"]
    assert files == {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in ("a_prime.png", "montage.png")
    }


def temporary_files(folder: Path) -> int:
    """Count the files in the temporary folders of a running command."""
    return sum(len(files) for path, _, files in os.walk(folder) if Path(path).name.startswith(".analogy-"))


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_the_results_of_a_killed_command_are_those_of_one_run(pair, tmp_path: Path) -> None:
    """Kill the command several times, mostly while it writes, and let the next run clean up."""
    out = tmp_path / "out"
    run("transfer", *pair, "-o", out, "--flow", "--levels", *FAST)
    for after in (0, 4, 8):  # the kill comes when there are more temporary files than this
        command = [*COMMAND, "transfer", *pair, "-o", out, "--seed", "1", "--flow", *FAST]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and temporary_files(out) <= after:
            time.sleep(0.001)
        process.kill()
        process.wait()
        there = {path.name: path for path in out.iterdir() if not path.name.startswith(".analogy-")}
        if manifest := there.pop("settings.json", None):  # otherwise the command was killed while it renamed the files
            files = json.loads(manifest.read_text())["files"]
            assert files == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()}
    done = run("transfer", *pair, "-o", out, "--seed", "1", *FAST)
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {"a_prime.png", "b.png", "montage.png", "settings.json"}


def test_the_shipped_model_is_listed_located_and_verified() -> None:
    assert "vgg16-compact" in run("models", "list").stdout
    assert Path(run("models", "path", "vgg16-compact").stdout.strip()).is_dir()
    assert "vgg16-compact: complete and undamaged" in run("models", "verify").stdout


def test_published_models_are_listed_and_a_wrong_file_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANALOGY_HOME", str(tmp_path / "home"))
    assert "(not installed)" in run("models", "list").stdout
    (tmp_path / "weights.h5").write_bytes(b"not the published file")
    done = run("models", "pull", "vgg19", "--from", tmp_path / "weights.h5")
    assert done.exit_code == 2
    assert "weights.h5" in done.stderr
    for arguments, words in (
        (["pull", "vgg99"], "no model 'vgg99' is published"),
        (["remove", "vgg16-compact"], "vgg16-compact"),
        (["path", "vgg19"], "analogy models pull vgg19"),
    ):
        done = run("models", *arguments)
        assert done.exit_code == 2
        assert words in done.stderr


def test_a_model_in_the_cache_can_be_used_and_removed(pair, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANALOGY_HOME", str(tmp_path / "home"))
    shutil.copytree(locate(DEFAULT), tmp_path / "home" / "models" / "mine")
    assert "mine" in run("models", "list").stdout
    assert run("transfer", *pair, "-o", tmp_path / "o", "--model", "mine", *FAST).exit_code == 0
    assert run("models", "remove", "mine").exit_code == 0
    assert "mine" not in run("models", "list").stdout


def test_version_and_device_are_printed() -> None:
    assert analogy.__version__ in run("--version").stdout
    assert "auto chooses" in run("info").stdout


def test_info_says_why_the_gpu_is_not_used(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing CuPy then fails, as if it were not installed
    done = run("info")
    assert done.exit_code == 0
    assert "auto chooses: CPU" in done.stdout
    assert "because the GPU is not used: CuPy cannot be imported" in done.stdout
    assert done.stderr == ""


def test_selftest_without_a_gpu_is_one_line_and_exit_code_1(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    plain, done = run("info"), run("info", "--selftest")
    assert done.exit_code == 1
    reason = plain.stdout.partition("the GPU is not used: ")[2].splitlines()[0]
    assert reason.startswith("CuPy cannot be imported") and "; pip install" in reason
    assert done.stdout == f"{plain.stdout}selftest: there is no GPU to test, since {reason}\n"


def test_selftest_names_the_first_failure_of_a_gpu_and_exits_with_1(monkeypatch) -> None:
    checks = [Check("CuPy", True, "14"), Check("driver", True, "12"), Check("compiler", False, "no headers")]
    monkeypatch.setattr(gpu, "selftest", lambda transfer: checks)
    done = run("info", "--selftest")
    assert done.exit_code == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()[-4:]] == [
        ["ok", "CuPy"], ["ok", "driver"], ["FAILED", "compiler"], ["-----", "to"]
    ]  # fmt: skip
    assert done.stdout.endswith("to here: FAILED: compiler -----\n")


def test_another_number_of_examples_than_in_a_settings_file_causes_a_warning(pair, tmp_path: Path) -> None:
    a, b = pair
    run("transfer", a, b, b, "-o", tmp_path / "two", *FAST)
    file = tmp_path / "two" / "settings.json"
    again = run("transfer", a, b, "-o", tmp_path / "one", "--settings", file, "--device", "cpu")
    assert again.stderr == f"analogy: {file} records 2 B_PRIME, and you give 1; the result will differ\n"
    given = ["--b", a, "--b", a]
    run("transfer", b, a, "--b", a, "-o", tmp_path / "known", *FAST)
    file_of_one = tmp_path / "known" / "settings.json"
    again = run("transfer", b, a, a, *given, "-o", tmp_path / "more", "--settings", file_of_one, "--device", "cpu")
    line = f"{file_of_one} was made with --b given 1 time, and you give it 2 times; the result will differ\n"
    assert again.stderr.endswith(line)
    assert run("transfer", a, b, b, "-o", tmp_path / "same", "--settings", file, "--device", "cpu").stderr == ""


def test_help_lists_options_in_groups_explains_presets_and_gives_examples() -> None:
    text = run("transfer", "--help").stdout
    titles = [line.rstrip(":") for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Results", "Look", "Matching", "Regions", "Model and machine", "Messages", "Presets", "Examples"]
    words = " ".join(text.split())
    for name, explained in PRESET_HELP.items():
        assert f"{name} {explained}" in words
    assert "a drawing that should become a photo; keeps less of the drawing's shapes (weight 2, ratio 0.5)" in words


def test_the_examples_of_the_help_are_commands_that_exist(tmp_path: Path, monkeypatch) -> None:
    parsed = []
    monkeypatch.setattr(
        transfer_module, "run_transfer", lambda *arguments, **options: parsed.append((arguments, options))
    )
    monkeypatch.setattr(records, "read_record", lambda path: (analogy.Settings(), DEFAULT, None, None))
    for line in transfer_module._EXAMPLES.splitlines():
        words = line.split(" < ")[0].split()
        assert words[0] == "analogy"
        done = run(*words[1:])
        assert done.exit_code == 0, (line, done.output)
    assert len(parsed) >= 5


def test_an_option_can_switch_off_what_a_preset_switches_on(pair, tmp_path: Path) -> None:
    for extra, photo in (([], "true"), (["--no-photo"], "false")):
        done = run("transfer", *pair, "-o", tmp_path / "o", "--preset", "photo-to-photo", *extra, *FAST)
        assert done.exit_code == 0, done.output
        assert f'"photo": {photo}' in (tmp_path / "o" / "settings.json").read_text()


@pytest.mark.parametrize("option", ["--flow", "--levels"])
@pytest.mark.parametrize("output", ["x.tif", "-"])
def test_what_one_picture_cannot_hold_is_refused_before_the_work(
    pair, tmp_path: Path, option: str, output: str
) -> None:
    target = output if output == "-" else tmp_path / "new" / output
    done = run("transfer", *pair, "-o", target, option, *FAST)
    assert done.exit_code == 2
    assert (
        done.stderr == f"analogy: {option} writes several files, and {target} is one picture; name a folder with -o\n"
    )
    assert not (tmp_path / "new").exists()


def test_a_dash_is_standard_input_and_standard_output(pair, tmp_path: Path) -> None:
    run("transfer", *pair, "-o", tmp_path / "x.png", *FAST)
    command = [*COMMAND, "transfer", "-", pair[1], "-o", "-", *FAST]
    done = subprocess.run(list(map(str, command)), input=pair[0].read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "x.png").read_bytes()
    assert done.stderr.decode().splitlines()[-1].startswith("-: ")


def test_two_pictures_from_standard_input_are_refused(pair) -> None:
    done = CliRunner().invoke(cli, ["transfer", "-", "-", "-o", "-"], input=pair[0].read_bytes())
    assert done.exit_code == 2
    assert done.stderr == 'analogy: only one input can be "-" (standard input); give paths for the others\n'


def test_verbose_prints_a_line_for_each_stage_and_quiet_prints_none(pair, tmp_path: Path) -> None:
    done = run("transfer", *pair, "-o", tmp_path / "o", "--verbose", *FAST)
    stages = [line.split("%  ")[1] for line in done.stderr.splitlines() if not line.startswith("analogy: ")]
    assert stages == ["reading", "features", *(f"level {n}" for n in (5, 4, 3, 2, 1)), "pictures", "saving"]
    done = run("transfer", *pair, "-o", tmp_path / "o", "--quiet", *FAST)
    assert (done.exit_code, done.output) == (0, "")
    assert run("transfer", *pair, "-o", tmp_path / "o", "-q", "-v", *FAST).exit_code == 2


@pytest.mark.skipif(os.name != "posix", reason="opens a pseudo-terminal")
@pytest.mark.parametrize("columns", [100, 30])
def test_the_bar_fits_the_terminal_and_its_last_stage_is_saving(pair, tmp_path: Path, columns: int) -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [*COMMAND, "transfer", *pair, "-o", tmp_path / "o", *FAST]
    process = subprocess.Popen(list(map(str, command)), stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # raised once the process has closed the terminal
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait() == 0
    lines = [line.rstrip() for line in re.split(r"[\r\n]+|\x1b\[A", shown.decode()) if line.strip()]
    lines = [
        line for line in lines if not line.startswith("analogy: ")
    ]  # the library logs such a line only on a slow machine
    assert max(map(len, lines)) <= columns
    assert all(re.search(r"\d+%", line) for line in lines)
    assert "saving" in lines[-1]
    assert re.search("left$" if columns == 100 else r"^ *\d+%  saving$", lines[-1])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_shell_evaluates(shell: str) -> None:
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("bash is not installed")  # the completion asks bash for its version
    done = run("completion", shell)
    assert done.exit_code == 0
    assert f"_ANALOGY_COMPLETE={shell}_complete" in done.stdout


def test_completion_takes_the_shell_of_the_user_or_asks_for_one(monkeypatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert run("completion").stdout == run("completion", "zsh").stdout
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert run("completion").exit_code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [("tra", "transfer"), ("transfer --no-ph", "--no-photo"), ("transfer --preset f", "face fast"),
     ("transfer --model vgg", "vgg16-compact")],
)  # fmt: skip
def test_the_shell_completes_commands_options_and_models(words: str, expected: str) -> None:
    words = f"analogy {words}"
    asked = {"_ANALOGY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=os.environ | asked)
    assert [line.partition(",")[2] for line in done.stdout.splitlines() if line.startswith("plain")] == expected.split()
