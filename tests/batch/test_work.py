"""Tests of the work of a worker: which jobs it does again, and which results it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analogy import Settings
from analogy.batch import work
from analogy.batch.jobs import Job
from analogy.engine_arguments import EngineArguments
from analogy.request import Request

SETTINGS = Settings(direction="ab", inversion="vote", search_iterations=1)


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / name) for name in ("a.png", "b_prime.png")]
    for seed, path in enumerate(paths):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


def do(
    folder: Path, pair: list[Any], known: dict[str, Any] | None = None, model: str = "m", **given: Any
) -> dict[str, Any]:
    job = Job(1, Request(*pair, SETTINGS, **given), {"a_prime": "x.png"})
    return work.do(work.Task(job, str(folder), EngineArguments(device="cpu", threads=1), model, known, False, False))


def test_a_job_is_done_again_by_another_version_of_analogy_only(pair, tmp_path: Path, monkeypatch) -> None:
    first = do(tmp_path, pair)
    assert (first["line"]["state"], first["kept"]) == ("done", False)
    assert do(tmp_path, pair, first["line"])["kept"]
    without_times = first["line"] | {"seen": ""}  # as for a store that reports no times
    assert do(tmp_path, pair, without_times)["kept"]
    monkeypatch.setattr(work, "__version__", "999")
    for known in (first["line"], without_times):
        again = do(tmp_path, pair, known)
        assert not again["kept"]
        assert do(tmp_path, pair, again["line"])["kept"]


def test_a_job_is_done_again_with_another_model(pair, tmp_path: Path) -> None:
    first = do(tmp_path, pair)["line"]
    for known in (first, first | {"seen": ""}):
        assert do(tmp_path, pair, known)["kept"]
        assert not do(tmp_path, pair, known, model="another")["kept"]


def test_a_job_is_done_again_if_one_of_several_styles_changes(pair, tmp_path: Path) -> None:
    a, one = pair
    two, three = str(tmp_path / "two.png"), str(tmp_path / "three.png")
    for path in (two, three):
        Image.open(one).transpose(Image.Transpose.ROTATE_90).save(path)
    first = do(tmp_path, [a, [one, two]])["line"]
    assert (first["state"], first["b_prime"], first["b_prime_2"]) == ("done", one, two)
    for known in (first, first | {"seen": ""}):
        assert do(tmp_path, [a, [one, two]], known)["kept"]
        for styles in (one, [two, one], [one, one], [one, two, two]):
            assert not do(tmp_path, [a, styles], known)["kept"]
    assert do(tmp_path, [a, [one, three]], first)["kept"]  # the picture `three` has the content of `two`
    Image.open(a).save(two)
    assert not do(tmp_path, [a, [one, two]], first)["kept"]


def test_a_job_is_done_again_with_other_pins_only(pair, tmp_path: Path) -> None:
    file = tmp_path / "pins.csv"
    file.write_text("xa,ya,xb,yb\n3,4,5,6\n")
    first = do(tmp_path, pair, pins=str(file))
    assert first["line"]["pins"] == str(file)
    file.write_text("xb;yb;xa;ya\n5;6;3;4\n")  # the same pin, written in another way
    again = do(tmp_path, pair, first["line"], pins=str(file))
    assert (again["kept"], again["line"]["from"]) == (True, first["line"]["from"])
    file.write_text("xa,ya,xb,yb\n3,4,7,8\n")
    assert not do(tmp_path, pair, again["line"], pins=str(file))["kept"]
    rows = do(tmp_path, pair, pins=[[3, 4, 5, 6]])
    assert rows["line"]["pins"] == [[3, 4, 5, 6]]
    assert do(tmp_path, pair, rows["line"], pins=[[3, 4, 5, 6]])["kept"]
    assert not do(tmp_path, pair, rows["line"], pins=[[3, 4, 5, 7]])["kept"]


def test_a_missing_wrong_or_empty_file_of_pins_fails_the_job(pair, tmp_path: Path) -> None:
    file = tmp_path / "pins.csv"
    failed = do(tmp_path, pair, pins=str(file))["line"]
    assert failed["state"] == "failed"
    assert failed["error"] == f"{file}: there is no such file; check its name and its folder"
    file.write_text("x,y\n1,2\n")
    failed = do(tmp_path, pair, pins=str(file))["line"]
    assert (
        failed["error"]
        == f"{file}: its first line is 'x,y'; it must be xa,ya,xb,yb, and with several B' xa,ya,xb,yb,example"
    )
    file.write_text("xa,ya,xb,yb\n")
    done = do(tmp_path, pair, pins=str(file))
    assert done["line"]["state"] == "done"
    assert [note for _, note in done["notes"]] == [f"{file} has no pins, only the header"]
