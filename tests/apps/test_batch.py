"""The command `analogy batch`: its results, its checks, its messages and its report."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from analogy import Engine
from analogy.apps.cli import cli
from analogy.batch import pools
from analogy.batch import run as batch

COMMAND = [sys.executable, "-m", "analogy"]
FAST = ["--preset", "fast", "--search-iterations", "1", "--device", "cpu"]
needs_posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="analogy")


def picture(path: Path, seed: int, size: tuple[int, int] = (48, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [picture(tmp_path / "photos" / f"{name}.png", seed) for seed, name in enumerate("abc")]


@pytest.fixture
def style(tmp_path: Path) -> Path:
    return picture(tmp_path / "style.jpg", 100)


def lines(out: Path, state: str) -> list[dict]:
    found = map(json.loads, (out / "batch.jsonl").read_text().splitlines())
    return [line for line in found if line.get("state") == state]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def table(path: Path, *rows: dict) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_folder_gets_one_style_and_the_same_command_again_does_nothing(photos, style, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = run("batch", tmp_path / "photos", "--style", style, "-o", out, "--workers", 2, *FAST)
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(content(out)) == ["a.png", "b.png", "c.png"]
    engine = Engine(device="cpu", threads=1)
    for photo in photos:
        engine.transfer(photo, style, "fast", search_iterations=1, direction="ab").save(tmp_path / "alone.png")
        assert (out / photo.name).read_bytes() == (tmp_path / "alone.png").read_bytes()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix == ".png"}
    again = run("batch", tmp_path / "photos", "--style", style, "-o", out, "--workers", 2, *FAST)
    assert again.exit_code == 0
    assert "3 kept" in again.stdout
    assert "done" not in again.stdout
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.suffix == ".png"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_pictures_with_odd_names_are_done_and_other_files_are_named(style, tmp_path: Path) -> None:
    folder, out = tmp_path / "trip [2024]", os.fsdecode(os.fsencode(tmp_path) + b"/out-\xe9")
    photo = picture(folder / "IMG [1].jpg", 1).read_bytes()
    for name in (b"two.jfif", b"three.JPG_large", b"caf\xe9.png", b"two\nlines.jpg", "3.45\u202fPM.png".encode()):
        (folder / os.fsdecode(name)).write_bytes(photo)
    (folder / "notes.txt").write_text("no picture")
    done = run("batch", folder, "--style", style, "-o", out, "--workers", 1, *FAST)
    assert (done.exit_code, done.stderr) == (
        0, f"analogy: {folder}: these are left out, as they are not pictures that can be read: notes.txt\n",
    )  # fmt: skip
    assert "6 done" in done.stdout
    names = ["IMG [1].png", "two.png", "three.png", "caf%E9.png", "two%0Alines.png", "3.45\u202fPM.png"]
    assert sorted(content(Path(out))) == sorted(names)
    assert "6 kept" in run("batch", folder, "--style", style, "-o", out, "--workers", 1, *FAST).stdout
    (folder / "notes.txt").unlink()
    pattern = run("batch", f"{folder}/*", "--style", style, "-o", tmp_path / "o", "--workers", 1, *FAST)
    assert (pattern.exit_code, pattern.stderr) == (0, "")
    assert sorted(content(tmp_path / "o")) == sorted(names)


@pytest.mark.parametrize("name", ["jobs.xlsx", "jobs.json", "jobs.TXT"])
def test_other_kinds_of_tables_are_refused_and_not_taken_for_pictures(style, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    done = run("batch", tmp_path / name, "--style", style, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr == (
        f"analogy: {tmp_path / name} is neither a picture nor a table that a batch can read; "
        "save a table as one of .csv .tsv .jsonl .ndjson .parquet\n"
    )


def test_only_missing_or_changed_jobs_are_done_again(photos, style, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["batch", *photos, "--style", style, "-o", out, "--workers", 1, *FAST]
    assert run(*command).exit_code == 0
    (out / "a.png").unlink()
    picture(photos[1], 50)  # another photo with the same name
    os.utime(photos[2])  # the same photo
    assert "2 done" in run(*command).stdout
    assert [line["job"] for line in lines(out, "begun")] == ["a.png", "b.png", "c.png"]
    assert [line["job"] for line in lines(out, "done")][3:] == [
        "a.png",
        "b.png",
        "c.png",
    ]  # c is not made again; only its new modification time is recorded
    assert "3 kept" in run(*command).stdout
    assert "3 done" in run(*command, "--seed", 7).stdout


def test_each_job_uses_all_styles_and_is_done_again_if_they_change(photos, style, tmp_path: Path) -> None:
    out, two = tmp_path / "out", picture(tmp_path / "two.png", 101, (48, 64))
    command = [
        "batch",
        *photos,
        "-o",
        out,
        "--direction",
        "both",
        "--name",
        "{name}-{picture}.png",
        "--workers",
        1,
        *FAST,
    ]
    done = run(*command, "--style", style, "--style", two)
    assert (done.exit_code, done.stderr) == (0, "")
    engine = Engine(device="cpu", threads=1)
    for photo in photos:
        made = engine.transfer(photo, [style, two], "fast", search_iterations=1)
        made.save(folder := tmp_path / photo.stem)
        for name in ("a_prime", "b_1", "b_2"):
            assert (out / f"{photo.stem}-{name}.png").read_bytes() == (folder / f"{name}.png").read_bytes()
    assert len(content(out)) == 9
    assert "3 kept" in run(*command, "--style", style, "--style", two).stdout
    assert "3 done" in run(*command, "--style", two, "--style", style).stdout
    sources = [f"{line['b_prime']} {line['b_prime_2']}" for line in lines(out, "done")]
    assert sources == [f"{style} {two}"] * 3 + [f"{two} {style}"] * 3
    assert (out / "report.html").read_text().count('alt="b_prime_2"') == 1


def test_the_settings_of_a_row_override_those_of_the_command(photos, style, tmp_path: Path) -> None:
    rows = table(
        tmp_path / "jobs.csv",
        {"a": "photos/a.png", "b_prime": "style.jpg", "name": "first", "seed": "3", "photo": "yes"},
        {"a": "photos/b.png", "b_prime": "photos/c.png", "name": "", "preset": "paper", "inversion_steps": "2"},
    )
    out = tmp_path / "out"
    done = run("batch", rows, "-o", out, "--name", "sub/{name}-{number}.jpg", "--weight", 2, "--seed", 9,
               "--device", "cpu", "--workers", 1)  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "")
    made = {line["job"]: line for line in lines(out, "done")}
    assert sorted(made) == ["sub/b-2.jpg", "sub/first-1.jpg"]
    assert made["sub/first-1.jpg"]["settings"] == {"weight": 2, "seed": 3, "photo": True, "direction": "ab"}
    assert made["sub/b-2.jpg"]["settings"] == {
        "weight": 2, "inversion": "deconvolution", "inversion_steps": 2, "search_iterations": 10, "seed": 9,
        "direction": "ab", "painting": "pixels",
    }  # fmt: skip
    file = made["sub/first-1.jpg"]["files"]["sub/first-1.jpg"]
    written = (out / "sub/first-1.jpg").read_bytes()
    assert file == {"bytes": len(written), "sha256": hashlib.sha256(written).hexdigest()}


def test_a_preset_of_a_row_replaces_the_preset_but_not_the_options_of_the_command(
    photos, style, tmp_path: Path
) -> None:
    rows = table(
        tmp_path / "jobs.csv",
        {"a": "photos/a.png", "preset": "photo-to-style", "search_iterations": ""},
        {"a": "photos/b.png", "preset": "face", "search_iterations": "2"},
    )
    out = tmp_path / "out"
    done = run("batch", rows, "--style", style, "-o", out, "--preset", "paper", "--weight", 2, "--ratio", 0.75,
               "--search-iterations", 1, "--device", "cpu", "--workers", 1)  # fmt: skip
    assert done.exit_code == 0, done.output
    made = {line["job"]: line["settings"] for line in lines(out, "done")}
    options = {"weight": 2, "ratio": 0.75, "direction": "ab"}
    assert made == {
        "a.png": options | {"search_iterations": 1},
        "b.png": options | {"search_iterations": 2},
    }


def test_both_pictures_masks_and_a_known_b_are_as_in_a_transfer(photos, style, tmp_path: Path) -> None:
    labels = tmp_path / "labels.png"
    Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 24, axis=0).repeat(48, axis=1)).save(labels)
    rows = tmp_path / "jobs.jsonl"
    jobs = [
        {"a": str(photos[0]), "name": "masked", "mask_a": "labels.png", "mask_b": "labels.png", "direction": "both"},
        {"a": str(photos[1]), "name": "known", "b": str(photos[2]), "ratio": None},
    ]
    rows.write_text("\n".join(map(json.dumps, jobs)) + "\n")
    out = tmp_path / "out"
    done = run("batch", rows, "--style", style, "-o", out, "--name", "{name}-{picture}.png", "--workers", 1, *FAST)
    assert (done.exit_code, done.stderr) == (0, "")
    engine = Engine(device="cpu", threads=1)
    masked = engine.transfer(photos[0], style, "fast", search_iterations=1, mask_a=labels, mask_b=labels)
    known = engine.transfer(photos[1], style, "fast", search_iterations=1, b=photos[2])
    expected = {"masked-a_prime.png": masked.a_prime, "masked-b.png": masked.b, "known-a_prime.png": known.a_prime}
    assert sorted(content(out)) == sorted(expected)
    for name, pixels in expected.items():
        with Image.open(out / name) as image:
            np.testing.assert_array_equal(np.asarray(image), pixels)


def test_pins_hold_as_in_a_transfer_from_a_file_and_from_rows(photos, style, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pins.csv").write_text("xa,ya,xb,yb\n10,20,30,40\n")
    jobs = [
        {"a": str(photos[0]), "name": "file", "pins": "pins.csv"},
        {"a": str(photos[0]), "name": "rows", "pins": [[10, 20, 30, 40]]},
        {"a": str(photos[0]), "name": "free"},
    ]
    rows = tmp_path / "sub" / "jobs.jsonl"
    rows.write_text("\n".join(map(json.dumps, jobs)) + "\n")
    out = tmp_path / "out"
    command = ["batch", rows, "--style", style, "-o", out, "--workers", 1, *FAST]
    done = run(*command)
    assert (done.exit_code, done.stderr) == (0, "")
    pinned = Engine(device="cpu", threads=1).transfer(
        photos[0], style, "fast", search_iterations=1, direction="ab", pins=[[10, 20, 30, 40]]
    )
    made = {}
    for name in ("file", "rows", "free"):
        with Image.open(out / f"{name}.png") as image:
            made[name] = np.asarray(image)
    np.testing.assert_array_equal(made["file"], pinned.a_prime)
    np.testing.assert_array_equal(made["rows"], pinned.a_prime)
    assert (made["free"] != pinned.a_prime).any()
    (tmp_path / "sub" / "pins.csv").write_text("xa,ya,xb,yb\n10,20,5,5\n")
    again = run(*command)
    assert "1 done" in again.stdout
    assert "2 kept" in again.stdout


def test_a_failed_job_gives_one_line_and_is_repeated_on_request_or_after_a_change(
    photos, style, tmp_path: Path
) -> None:
    photos[1].write_bytes(b"no picture")
    out = tmp_path / "out"
    command = ["batch", *photos, tmp_path / "photos" / "none.png", "--style", style, "-o", out, "--workers", 2, *FAST]
    done = run(*command)
    assert done.exit_code == 3
    assert sorted(content(out)) == ["a.png", "c.png"]
    assert done.stderr.count("\n") == 2
    assert f"analogy: b.png: A ({photos[1]}) is not a picture that can be read" in done.stderr
    assert "analogy: none.png: A (" in done.stderr
    assert "2 failed" in done.stdout
    again = run(*command)
    assert again.exit_code == 3
    assert "in an earlier run" in again.stderr
    assert len(lines(out, "failed")) == 2
    assert run(*command, "--retry-failed").exit_code == 3
    assert len(lines(out, "failed")) == 4
    picture(photos[1], 1)
    picture(tmp_path / "photos" / "none.png", 2)
    mended = run(*command)
    assert (mended.exit_code, mended.stderr) == (0, "")
    assert sorted(content(out)) == ["a.png", "b.png", "c.png", "none.png"]


@pytest.mark.parametrize(("count", "words"), [(1, "1 job"), (2, "2 jobs")])
def test_the_report_states_the_number_of_jobs_and_their_settings(
    photos, style, tmp_path: Path, count: int, words: str
) -> None:
    out = tmp_path / "out"
    assert run("batch", *photos[:count], "--style", style, "-o", out, "--workers", 1, *FAST).exit_code == 0
    page = (out / "report.html").read_text()
    assert f"<h1>{out}: {words}</h1>" in page
    assert "Settings: inversion vote, search_iterations 1, direction ab; all others have their defaults" in page


def test_a_file_that_no_batch_made_is_never_overwritten(photos, style, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.png").write_bytes(b"somebody's")
    command = ["batch", *photos, "--style", style, "-o", out, "--workers", 1, *FAST]
    for _ in range(2):
        done = run(*command, "--retry-failed")
        assert done.exit_code == 3
        assert "b.png exists already, and this batch has not made it" in done.stderr
        assert (out / "b.png").read_bytes() == b"somebody's"
    (out / "b.png").unlink()
    assert run(*command).exit_code == 0


def test_a_batch_that_now_makes_both_pictures_replaces_its_own_first_picture(photos, style, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["batch", photos[0], "--style", style, "-o", out, "--name", "{name}-{picture}.png", *FAST]
    assert run(*command, "--direction", "ab").exit_code == 0
    done = run(*command, "--direction", "both")
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(content(out)) == ["a-a_prime.png", "a-b.png"]


def test_a_foreign_report_and_a_table_named_like_the_manifest_are_not_overwritten(photos, style, tmp_path) -> None:
    command = ["batch", *photos, "--style", style, "--workers", 1, *FAST]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("<!doctype html>\nmine")
    done = run(*command, "-o", tmp_path / "out")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "report.html exists already, and it is not a result that this run may replace" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    (tmp_path / "batch.jsonl").write_text(
        '{"a": "photos/a.png"}'
    )  # its last line is incomplete, since it has no line end
    done = run("batch", tmp_path / "batch.jsonl", "--style", style, "-o", tmp_path, *FAST)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "batch.jsonl").read_text() == '{"a": "photos/a.png"}'


@needs_posix
def test_a_batch_into_the_folder_of_its_pictures_is_refused_even_through_a_link(photos, style, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("photos")
    done = run("batch", tmp_path / "photos", "--style", style, "-o", tmp_path / "link", "--name", "{name}.jpg", *FAST)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "is also the folder for results" in done.stderr


@needs_posix
def test_two_dots_after_a_link_mean_the_parent_of_the_folder_to_which_the_link_leads(style, tmp_path: Path) -> None:
    """Name the table, its photo and the folder for results by such paths."""
    folder = tmp_path / "deep"
    photo = picture(folder / "photos" / "a.png", 1)
    picture(tmp_path / "photos" / "a.png", 2)
    (folder / "tables").mkdir()
    (tmp_path / "link").symlink_to("deep/tables")
    table(folder / "tables" / "jobs.csv", {"a": "../photos/a.png", "b_prime": str(style)})
    done = run("batch", tmp_path / "link" / "jobs.csv", "-o", tmp_path / "link" / ".." / "out", "--workers", 1, *FAST)
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.png", "batch.jsonl", "report.html"]
    Engine(device="cpu", threads=1).transfer(photo, style, "fast", search_iterations=1, direction="ab").save(
        tmp_path / "alone.png"
    )
    assert content(folder / "out")["a.png"] == (tmp_path / "alone.png").read_bytes()


@needs_posix
def test_a_current_folder_that_has_been_deleted_is_an_error_in_one_line(style, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = run("batch", style, "--style", style, "-o", tmp_path / "out", *FAST)
    assert done.exit_code == 2
    assert done.stderr == (
        "analogy: the current folder cannot be found (No such file or directory); change to another folder, and run "
        "the command again\n"
    )


def test_a_disk_without_room_for_the_index_of_a_long_table_is_an_error_in_one_line(small_disk, tmp_path: Path) -> None:
    table(tmp_path / "jobs.csv", *({"a": f"{number}.png", "b_prime": "style.png"} for number in range(30_000)))
    command = [*COMMAND, "batch", tmp_path / "jobs.csv", "-o", tmp_path / "out"]
    environment = os.environ | {"SQLITE_TMPDIR": str(small_disk)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "analogy: the temporary index of the jobs cannot be stored (database or disk is full); free some disk space, "
        "or set TMPDIR to a folder on another disk\n"
    )


@pytest.mark.parametrize(
    ("package", "extra", "sources", "options"),
    [
        ("distributed", "cluster", "photos", ["--scheduler", "local"]),
        ("fsspec.core", "remote", "s3://bucket/photos", []),
        ("pyarrow", "parquet", "jobs.parquet", []),
    ],
)
def test_without_an_extra_one_line_names_it(
    photos, style, tmp_path: Path, monkeypatch, package: str, extra: str, sources: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.parquet").write_bytes(b"PAR1")
    done = run("batch", sources, "--style", style, "-o", "out", *options, *FAST)
    assert done.exit_code == 2
    assert f'the extra "{extra}"' in done.stderr
    assert f'pip install "deep-image-analogy[{extra}]"' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"a": "a.png", "rato": "1"}], [], "line 2: unknown column 'rato'"),
        ([{"a": "a.png"}, {"a": "b.png", "ratio": "7"}], [], "line 3: ratio is 7"),
        ([{"a": "a.png"}, {"a": "sub/a.png"}], [], "the jobs 1 and 2 would both write a.png"),
        ([{"a": "a.png"}, {"a": "b.png", "name": "A"}], [], "the jobs 1 and 2 would both write A.png"),
        ([{"a": "a.png", "name": "../x"}], [], "no part of it may be empty or begin with a dot"),
        ([{"a": "a.png", "name": "/etc/x"}], [], "which is not a valid path inside the folder"),
        ([{"a": "a.png", "direction": "both"}], [], "put {picture} into --name"),
        ([{"a": "a.png", "mask_a": "m.png"}], [], "line 2: there is a mask for A and none for B'; give both"),
        ([{"a": "a.png", "preset": "nice"}], [], "unknown preset 'nice'"),
        ([{"a": "https://example.com/a.png"}], [], "to allow such addresses, add --allow-remote https"),
        ([{"a": "zip://a.png::https://example.com/a.zip"}], ["--allow-remote", "zip"], "a chain of file systems"),
        ([{"a": "a.png", "pins": "https://example.com/p.csv"}], [], "pins is 'https://example.com/p.csv'; to allow"),
        ([{"b_prime": "a.png"}], [], "the first line must name columns"),
        ([{"a": "a.png"}], ["--name", "{a"], "--name '{a'"),
        ([{"a": "a.png"}], ["--name", "{picture}.png"], "all jobs would write the same file"),
        ([{"a": "a.png"}], ["--name", "{name:{zzz}}.png"], "'{zzz}' is not a valid width"),
        ([{"a": "a.png"}], ["--name", "{number:>3000000000}.png"], "'>3000000000' is not a valid width"),
        ([{"a": "a.png"}], ["--name", "{name}.gif"], "its suffix must be one of"),
        ([], [], "the first line must name columns"),
    ],
)  # fmt: skip
def test_a_table_is_refused_in_one_line_before_the_first_job(
    style, tmp_path: Path, rows: list[dict], options: list[str], words: str
) -> None:
    out = tmp_path / "out"
    done = run("batch", table(tmp_path / "jobs.csv", *rows), "--style", style, "-o", out, *options, *FAST)
    assert done.exit_code == 2
    assert words in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
    assert not out.exists()


@pytest.mark.parametrize(
    ("sources", "options", "words"),
    [
        (["photos"], [], "there is no style; pass --style PICTURE, or a table of jobs"),
        (["photos", "jobs.csv"], ["--style", "style.jpg"], "a table must be the only source"),
        (["jobs.csv", "photos"], [], "a table must be the only source"),
        (["phtos/"], ["--style", "style.jpg"], "phtos/: there is no such folder or picture; correct its name"),
        (["photos", "phtos"], ["--style", "style.jpg"], "phtos: there is no such folder or picture; correct its name"),
        (["empty"], ["--style", "style.jpg"], "there are no pictures"),
        (["photos/*.tif"], ["--style", "style.jpg"], "there are no pictures"),
        (["photos"], ["--style", "none.jpg"], "there is no such file"),
        (["none.csv"], [], "there is no such file"),
        (["photos"], ["--style", "style.jpg", "-o", "photos"], "is also the folder for results"),
        (["memory://x/"], ["--style", "style.jpg", "-o", "memory://x", "--manifest", "m.jsonl", "--allow-remote",
          "memory"], "memory://x/ is also the folder for results"),
        (["photos"], ["--style", "style.jpg", "-o", "x.png"], "a batch writes into a folder"),
        (["photos"], ["--style", "style.jpg", "-o", "s3://bucket/out"], "also give --manifest PATH"),
        (["photos"], ["--style", "style.jpg", "--model", "none"], "none"),
        (["photos"], ["--style", "style.jpg", "--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_a_batch_are_refused_in_one_line(
    photos, style, tmp_path: Path, monkeypatch, sources: list[str], options: list[str], words: str
) -> None:
    if "--scheduler" in options:
        pytest.importorskip("distributed", reason="needs the extra cluster")
        monkeypatch.setattr(pools, "_CONNECTING_SECONDS", 0.2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    table(tmp_path / "jobs.csv", {"a": "photos/a.png"})
    done = run("batch", *sources, "-o", "out", *options, *FAST)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "options", "most"), [("cpu", (), 6), ("cuda", (), 2), ("cuda", ("--workers", 5), 5)])
def test_two_workers_share_a_gpu_by_default(photos, style, tmp_path, monkeypatch, kind, options, most) -> None:
    in_flight = []

    class Asked(batch.Loop):
        def __init__(self, pool, *arguments):
            super().__init__(pool, *arguments)
            in_flight.append(pool.slots())

    described = batch._described
    monkeypatch.setattr(batch, "Loop", Asked)
    monkeypatch.setattr(batch, "_described", lambda *arguments: described(*arguments) | {"kind": kind})
    monkeypatch.setattr(batch, "available_cores", lambda: 6)
    monkeypatch.setattr(batch, "free_memory", lambda: 1 << 36)
    done = run("batch", photos[0], "--style", style, "-o", tmp_path / "out", *options, *FAST)
    assert (done.exit_code, in_flight) == (0, [most])
