"""Tests of transfers with several examples: matches in each example, options, and files."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analogy.engine import Engine
from analogy.errors import AnalogyError, ImageError, OutputError, SettingsError
from analogy.method import flow, flow_files
from analogy.method.admission import working_size
from analogy.pictures.images import resize
from analogy.pictures.reading import read_picture
from analogy.records import read_record
from analogy.result import Result
from analogy.settings import Settings

FAST = {"inversion": "vote", "search_iterations": 1}
SIZES = [(40, 56), (64, 33), (48, 48)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def blocks(h: int, w: int, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (h // 8 + 1, w // 8 + 1, 3))
    return np.kron(coarse, np.ones((8, 8, 1), int))[:h, :w].astype(np.uint8)


@pytest.fixture(scope="module")
def cpu_engine() -> Engine:
    return Engine(device="cpu", threads=2)


@pytest.fixture(scope="module", params=["cpu", "simulated"])
def engine(request, cpu_engine: Engine) -> Engine:
    if request.param == "cpu":
        return cpu_engine
    from analogy.method.features import Features

    simulated = Engine(device="cpu", threads=2)
    simulated.backend = request.getfixturevalue("simulated")
    simulated.network = Features(simulated.network.folder, simulated.backend)
    return simulated


@pytest.fixture(scope="module")
def result(cpu_engine: Engine) -> Result:
    """Return the result of a transfer with three examples of different sizes."""
    return cpu_engine.transfer(noise(45, 52, 3), [noise(*size, 3, seed=n) for n, size in enumerate(SIZES)], **FAST)


def test_each_half_comes_from_the_example_that_has_it(engine: Engine) -> None:
    a = blocks(64, 96, 1)
    left, right = a[:, :48], a[:, 48:]
    found = engine.transfer(a, [np.hstack([blocks(64, 40, 2), right]), left], **FAST)
    assert (found.nnf_ab[:, :40, 0] == 1).mean() > 0.95
    assert (found.nnf_ab[:, 56:, 0] == 0).mean() > 0.95
    assert np.abs(found.a_prime.astype(int) - a)[8:-8, 8:40].mean() < 8
    assert np.abs(found.a_prime.astype(int) - a)[8:-8, 56:-8].mean() < 8


@pytest.mark.parametrize("options", [{}, {"max_pixels": 1200}, {"painting": "pixels", "photo": True}])
def test_the_same_example_twice_gives_the_result_of_one(engine: Engine, options: dict[str, Any]) -> None:
    a, b_prime = noise(40, 48, 3), blocks(48, 40, 3)
    one = engine.transfer(a, b_prime, **FAST, **options)
    two = engine.transfer(a, [b_prime, b_prime], **FAST, **options)
    assert np.array_equal(two.a_prime, one.a_prime)
    assert not two.nnf_ab[..., 0].any()
    assert np.array_equal(two.nnf_ab[..., 1:], one.nnf_ab)
    assert np.array_equal(two.error_ab, one.error_ab)
    for name in ("b", "nnf_ba", "error_ba"):
        for each in getattr(two, name):
            assert np.array_equal(each, getattr(one, name)), name


def test_a_list_of_one_gives_lists_with_the_result_of_one(engine: Engine) -> None:
    a, b_prime = noise(40, 48, 3), noise(48, 40, 3)
    one, listed = (engine.transfer(a, given, **FAST) for given in (b_prime, [b_prime]))
    assert np.array_equal(listed.a_prime, one.a_prime)
    assert listed.nnf_ab.shape == (40, 48, 3)
    assert np.array_equal(listed.nnf_ab[..., 1:], one.nnf_ab)
    for name in ("b", "nnf_ba", "error_ba"):
        [only] = getattr(listed, name)
        assert np.array_equal(only, getattr(one, name))
    assert [picture.size for picture in listed.b_prime] == [(48, 40)]


def test_examples_of_any_size_depth_and_transparency_are_matched_within_themselves(engine: Engine) -> None:
    deep = noise(48, 48, 3).astype(np.uint16) * 257
    examples = [noise(33, 60, 3), noise(60, 17, 4), deep]
    found = engine.transfer(noise(45, 52, 3), examples, **FAST)
    sizes = np.array([example.shape[:2] for example in examples])
    assert found.a_prime.dtype == np.uint16  # one of the examples has 16 bits per channel
    assert [picture.dtype for picture in found.b] == [np.uint8, np.uint8, np.uint16]
    assert [picture.shape[:2] for picture in found.b] == [example.shape[:2] for example in examples]
    assert ((found.nnf_ab[..., 1:] >= 0) & (found.nnf_ab[..., 1:] < sizes[found.nnf_ab[..., 0]])).all()
    assert [field.shape[:2] for field in found.nnf_ba] == [example.shape[:2] for example in examples]
    assert all(((field >= 0) & (field < (45, 52))).all() for field in found.nnf_ba)
    assert [image.mode for image in found.b_images] == ["RGB", "RGBA", "RGB"]


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_one_direction_gives_the_pictures_of_both_and_nothing_of_the_other(
    cpu_engine: Engine, result: Result, direction
) -> None:
    examples = [picture.rgb for picture in result.b_prime]
    found = cpu_engine.transfer(result.a.rgb, examples, direction=direction, **FAST)
    if direction == "ab":
        assert np.array_equal(found.a_prime, result.a_prime)
        assert found.b is found.nnf_ba is found.error_ba is None
    else:
        assert all(map(np.array_equal, found.b, result.b))
        assert found.a_prime is found.nnf_ab is found.error_ab is None


def test_with_b_known_for_each_a_is_matched_with_them(engine: Engine) -> None:
    a = blocks(64, 96, 1)
    known = [np.hstack([blocks(64, 40, 2), a[:, 48:]]), a[:, :48]]
    painted = [255 - each for each in known]
    found = engine.transfer(a, painted, b=known, **FAST)
    assert found.settings.direction == "ab"
    assert found.b is None
    assert all(np.array_equal(b.rgb, given) for b, given in zip(found.known_b, known, strict=True))
    assert (found.nnf_ab[:, :40, 0] == 1).mean() > 0.95
    assert (found.nnf_ab[:, 56:, 0] == 0).mean() > 0.95
    assert np.abs(found.a_prime.astype(int) - (255 - a))[8:-8, 8:40].mean() < 8


def test_a_label_that_only_one_example_has_is_found_there_from_the_coarsest_level_on(engine: Engine) -> None:
    """Use A itself as the first example; only the second has the label of A's right half."""
    a = blocks(64, 96, 1)
    mask_a = np.zeros((64, 96), np.uint8)
    mask_a[:, 48:] = 255
    masks_b = [np.zeros((64, 96), np.uint8), np.full((64, 80), 255, np.uint8)]
    masks_b[1][:, :40] = 0
    b_primes = [a, blocks(64, 80, 5)]
    found = engine.transfer(a, b_primes, mask_a=mask_a, mask_b=masks_b, levels=True, direction="ab", **FAST)
    labels = [mask[field[..., 1], field[..., 2]] for mask, field in zip(
        masks_b, (np.where(found.nnf_ab[..., :1] == k, found.nnf_ab, 0) for k in range(2)), strict=True)]  # fmt: skip
    assert np.array_equal(np.choose(found.nnf_ab[..., 0], labels), mask_a)
    assert (found.nnf_ab[:, 48:, 0] == 1).all()
    assert (found.nnf_ab[:, :48, 0] == 0).mean() > 0.9


def test_a_pin_holds_in_the_example_that_it_names(engine: Engine) -> None:
    """Use A itself, in which all matches are perfect, as the first example."""
    a, other = blocks(64, 96, 1), blocks(80, 64, 2)
    found = engine.transfer(a, [a, other], pins=[(20, 30, 50, 60, 2), (80, 10, 80, 10, 1)], **FAST)
    assert found.nnf_ab[30, 20].tolist() == [1, 60, 50]
    assert found.nnf_ab[10, 80].tolist() == [0, 10, 80]
    assert found.nnf_ba[1][60, 50].tolist() == [30, 20]
    assert found.nnf_ba[0][10, 80].tolist() == [10, 80]
    assert found.record()["pins"] == [[20, 30, 50, 60, 2], [80, 10, 80, 10, 1]]


def test_a_file_of_pins_names_the_example_in_a_column(cpu_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "pins.csv").write_text("xa,ya,xb,yb,example\n20,30,50,60,2\n")
    a, other = blocks(64, 96, 1), blocks(80, 64, 2)
    found = cpu_engine.transfer(a, [a, other], pins=tmp_path / "pins.csv", direction="ab", **FAST)
    assert found.nnf_ab[30, 20].tolist() == [1, 60, 50]


@pytest.mark.parametrize(
    "options",
    [
        {"keep_colors": True}, {"photo": True}, {"painting": "pixels"}, {"inversion": "step"}, {"ratio": 0.6},
        {"inversion": "deconvolution", "inversion_steps": 1}, {"max_pixels": 1100}, {"levels": True},
        {"max_pixels": 1100, "pins": [(20, 30, 20, 30, 2)]},
    ],
    ids=str,
)  # fmt: skip
def test_each_option_works_with_several_examples(cpu_engine: Engine, result: Result, options) -> None:
    examples = [picture.rgb for picture in result.b_prime]
    found = cpu_engine.transfer(result.a.rgb, examples, **FAST | options)
    assert found.a_prime.shape == (45, 52, 3)
    sizes = np.array([working_size(size, found.settings) for size in SIZES])
    assert (found.nnf_ab[..., 1:] < sizes[found.nnf_ab[..., 0]]).all()
    assert [picture.shape[:2] for picture in found.b] == SIZES
    assert not np.array_equal(found.a_prime, result.a_prime) or "levels" in options
    if "levels" in options:
        assert np.array_equal(found.levels[1], found.a_prime)
        assert list(found.levels) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("painting", ["pixels", "gradients"])
def test_an_enlarged_field_takes_full_size_pixels_of_each_example(cpu_engine: Engine, painting: str) -> None:
    """Use two bright flat examples; only the gap between them in the sheet is dark."""
    a = resize(noise(8, 8, 3), 90, 120)
    flat = [np.full((80, 100, 3), 200, np.uint8), np.full((120, 70, 3), 210, np.uint8)]
    found = cpu_engine.transfer(a, flat, max_pixels=1200, painting=painting, direction="ab", **FAST)
    assert found.a_prime.min() >= 195
    assert found.a_prime.max() <= 215


@pytest.mark.parametrize(
    ("examples", "options", "error", "words"),
    [
        ([], {}, ImageError, "b_prime has no picture; give one or more pictures whose looks A should get"),
        (2, {"b": [noise(32, 32, 3)]}, ImageError, "B: 1 picture given for 2 pictures B'; give one for each B'"),
        (2, {"mask_a": noise(32, 32), "mask_b": noise(32, 32)}, ImageError,
         "the mask of B': 1 picture given for 2 pictures B'"),
        (2, {"b": [noise(32, 32, 3), noise(32, 31, 3)]}, ImageError, "B 2 is 31 x 32 pixels and B' 2 is 32 x 32"),
        (2, {"pins": [(1, 2, 3, 4)]}, SettingsError, "there are 2 pictures B', and the pins do not say in which"),
        (2, {"pins": [(1, 2, 3, 4, 3)]}, SettingsError, "pin 1 ends in example 3, but there are 2 pictures B'"),
        (2, {"pins": [(1, 2, 3, 4, 0)]}, SettingsError, "pin 1 ends in example 0, but there are 2 pictures B'"),
        (2, {"pins": [(1, 2, 3, 4, 1.5)]}, SettingsError, "pin 1 ends in example 1.5, but there are 2 pictures B'"),
        (2, {"pins": [(1, 2, 3, 40, 2)]}, SettingsError, "pin 1 is at x 3, y 40, outside of B' 2"),
        (2, {"pins": [(1, 2, 3, 4, 1), (1, 2, 5, 6, 2)]}, SettingsError,
         "x 1, y 2\\) with one of B' 1 .* and one of B' 2"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_the_examples_are_refused_in_one_line(
    cpu_engine: Engine, examples, options, error: type[AnalogyError], words: str
) -> None:
    given = examples if isinstance(examples, list) else [noise(32, 32, 3, seed=n) for n in range(examples)]
    with pytest.raises(error, match=words) as caught:
        cpu_engine.transfer(noise(32, 32, 3), given, **FAST, **options)
    assert "\n" not in str(caught.value)


def test_progress_never_falls_and_ends_at_one(cpu_engine: Engine) -> None:
    shares: list[float] = []
    a = noise(32, 32, 3)
    options = {**FAST, "uniformity": 0.5, "photo": True, "levels": True}
    cpu_engine.transfer(a, [a, a[::-1], a[:, ::-1]], progress=lambda report: shares.append(report.done), **options)
    assert all(before <= after for before, after in pairwise(shares))
    assert shares[-1] == 1


# The result and its files


def test_consistency_uses_the_field_of_each_match_s_example(result: Result) -> None:
    found = result.consistency()
    assert (found.dtype, found.shape) == (np.float32, (45, 52))
    for y, x in [(0, 0), (20, 31), (44, 51)]:
        k, row, column = result.nnf_ab[y, x]
        back = result.nnf_ba[k][row, column]
        assert found[y, x] == pytest.approx(np.hypot(back[0] - y, back[1] - x))


def test_b_images_has_each_b_and_the_error_of_b_image_names_it(result: Result) -> None:
    assert all(map(np.array_equal, map(np.asarray, result.b_images), result.b))
    with pytest.raises(SettingsError, match="there are 3 pictures B, one for each example; use b_images"):
        result.b_image  # noqa: B018
    assert repr(result).startswith("<Result: A' 52 x 45, B_1 56 x 40, B_2 33 x 64, B_3 48 x 48 (")


def test_the_files_of_several_examples_are_numbered_and_the_fields_say_which(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path, flow=True)
    numbered = [f"flow_ba_{n}.{kind}" for n in (1, 2, 3) for kind in ("npz", "flo")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([
        "a_prime.png", "b_1.png", "b_2.png", "b_3.png", "montage.png", "settings.json", "flow_ab.npz", *numbered,
        *(f"flow_ab_{n}.flo" for n in (1, 2, 3)), *(f"flowBA_{n}.txt" for n in (1, 2, 3)),
    ])  # fmt: skip
    for n, picture in enumerate(result.b, 1):
        assert np.array_equal(read_picture(tmp_path / f"b_{n}.png").rgb, picture)
        written = flow.to_nnf(flow_files.read(tmp_path / f"flow_ba_{n}.npz"))
        assert np.array_equal(written, result.nnf_ba[n - 1])
    with np.load(tmp_path / "flow_ab.npz") as arrays:
        assert sorted(arrays) == ["distance", "example", "nnf"]
        assert np.array_equal(np.dstack([arrays["example"], arrays["nnf"]]), result.nnf_ab)
        assert arrays["example"].dtype == np.int32
    for k in range(3):
        read, own = flow_files.read(tmp_path / f"flow_ab_{k + 1}.flo"), result.nnf_ab[..., 0] == k
        assert np.array_equal(read[own], flow.to_flow(result.nnf_ab[..., 1:])[own])
        assert (np.abs(read[~own]) > flow.UNKNOWN).all()
        assert (flow.colour(read)[~own] == 0).all()  # positions with an unknown match are black
    with Image.open(tmp_path / "montage.png") as montage:
        assert montage.height == 64  # the montage of A, A', three B and three B' is as high as the highest picture
        assert montage.width > 6 * 33


def test_the_record_has_lists_with_a_value_for_each_example(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path)
    record = json.loads((tmp_path / "settings.json").read_text())
    assert record["b_prime"] == ["B' 1", "B' 2", "B' 3"]
    assert record["size_b_prime"] == [list(size) for size in SIZES]
    assert record["b"] is None
    assert read_record(tmp_path / "settings.json")[0] == Settings(**FAST)


def test_one_picture_of_several_examples_is_a_prime_and_b_is_refused(
    cpu_engine: Engine, result: Result, tmp_path
) -> None:
    result.save(tmp_path / "x.png")
    assert np.array_equal(read_picture(tmp_path / "x.png").rgb, result.a_prime)
    examples = [picture.rgb for picture in result.b_prime]
    only_b = cpu_engine.transfer(result.a.rgb, examples, direction="ba", **FAST)
    with pytest.raises(
        OutputError, match=r"y\.png: there are 3 pictures B, one for each example; give a folder to write them to"
    ):
        only_b.save(tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()


def test_results_of_several_and_of_one_example_replace_each_other(cpu_engine: Engine, result: Result, tmp_path) -> None:
    one = cpu_engine.transfer(result.a.rgb, result.b_prime[0].rgb, **FAST)
    one.save(tmp_path, flow=True)
    result.save(tmp_path, flow=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert "b_1.png" in names
    assert not names & {"b.png", "flow_ba.npz", "flowAB.txt", "flow_ab.flo"}
    one.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a_prime.png", "b.png", "montage.png", "settings.json"}
