"""Tests of whole transfers on the CPU: sizes, colours, settings, files, errors and threads."""

import json
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import analogy
from analogy import Progress, progress
from analogy.engine import Engine
from analogy.engine_arguments import EngineArguments
from analogy.errors import DeviceError, ImageError, ModelError, OutputError, SettingsError
from analogy.method.admission import working_size
from analogy.pictures import images
from analogy.settings import PRESETS, Settings

FAST = {"inversion": "vote", "search_iterations": 2}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def noise(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu", threads=2)


def test_results_and_fields_have_the_sizes_of_their_pictures(engine: Engine) -> None:
    result = engine.transfer(noise(33, 60), noise(50, 41), **FAST)
    assert result.a_prime.shape == (33, 60, 3)
    assert result.b.shape == (50, 41, 3)
    assert result.a_prime.dtype == result.b.dtype == np.uint8
    assert result.nnf_ab.shape == (33, 60, 2)
    assert result.nnf_ba.shape == (50, 41, 2)
    assert (result.nnf_ab >= 0).all()
    assert (result.nnf_ab < [50, 41]).all()
    assert result.error_ab.shape == (33, 60)


def test_ratio_shrinks_the_working_size_and_not_the_output(engine: Engine) -> None:
    result = engine.transfer(noise(64, 96), noise(80, 64), ratio=0.5, **FAST)
    assert result.nnf_ab.shape == (32, 48, 2)
    assert result.a_prime.shape == (64, 96, 3)


def test_ratio_changes_the_results_of_pictures_above_max_pixels(engine: Engine) -> None:
    a, b1 = noise(120, 160), noise(150, 200, 1)
    whole, half = (engine.transfer(a, b1, ratio=ratio, max_pixels=4800, **FAST) for ratio in (1.0, 0.5))
    assert (whole.nnf_ab.shape, half.nnf_ab.shape) == ((60, 80, 2), (30, 40, 2))
    assert whole.a_prime.shape == half.a_prime.shape == (120, 160, 3)
    assert not np.array_equal(whole.a_prime, half.a_prime)


def test_colours_of_a_prime_come_from_b_prime(engine: Engine) -> None:
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = np.random.default_rng(1).integers(0, 256, (40, 40))
    result = engine.transfer(noise(48, 48), red, **FAST)
    assert (result.a_prime[..., 1:] == 0).all()
    assert result.a_prime[..., 0].std() > 0


@pytest.mark.parametrize(
    "options",
    [{"photo": True}, {"levels": True}, {"max_pixels": 1600}, {"inversion": "step"}, *map(dict, PRESETS.values())],
    ids=str,
)
def test_with_b_given_only_a_prime_is_made_whatever_the_options(engine: Engine, options) -> None:
    a, b = noise(50, 60), noise(48, 56, 1)
    masks = [np.kron(np.array([[0, 255]], np.uint8), np.ones((h, w // 2), np.uint8)) for h, w in ((50, 60), (48, 56))]
    options = {"search_iterations": 1, "mask_a": masks[0], "mask_b": masks[1]} | options
    result = engine.transfer(a, 255 - b, b=b, **options)
    assert result.a_prime.shape == (50, 60, 3)
    assert result.b is None and result.nnf_ba is None
    assert result.known_b is not None and np.array_equal(result.known_b.rgb, b)
    assert result.settings.direction == "ab"
    assert not np.array_equal(result.a_prime, engine.transfer(a, 255 - b, direction="ab", **options).a_prime)


def test_b_of_another_size_and_b_with_direction_ba_are_refused(engine: Engine) -> None:
    with pytest.raises(ImageError, match="B is 40 x 48 pixels and B' is 41 x 48"):
        engine.transfer(noise(40, 40), noise(48, 41), b=noise(48, 40))
    with pytest.raises(SettingsError, match="which makes only B, but B is given"):
        engine.transfer(noise(40, 40), noise(48, 40), b=noise(48, 40), direction="ba")


def test_the_seed_determines_the_field_and_threads_change_less_than_one_percent(engine: Engine) -> None:
    a, b1 = noise(40, 48), noise(48, 40, 1)
    first = engine.transfer(a, b1, seed=3)
    again = Engine(device="cpu", threads=1).transfer(a, b1, seed=3)
    assert np.array_equal(first.nnf_ab, engine.transfer(a, b1, seed=3).nnf_ab)
    assert (first.nnf_ab == again.nnf_ab).all(axis=-1).mean() > 0.99
    assert not np.array_equal(first.nnf_ab, engine.transfer(a, b1, seed=4).nnf_ab)


def test_paths_images_and_arrays_give_the_same_result(engine: Engine, tmp_path: Path) -> None:
    a, b1 = noise(32, 32), noise(32, 40, 1)
    Image.fromarray(a).save(tmp_path / "a.png")
    expected = engine.transfer(a, b1, **FAST).a_prime
    assert np.array_equal(expected, engine.transfer(tmp_path / "a.png", Image.fromarray(b1), **FAST).a_prime)
    assert np.array_equal(expected, analogy.transfer(str(tmp_path / "a.png"), b1, device="cpu", **FAST).a_prime)


def test_pictures_of_the_smallest_size_match_within_bounds(engine: Engine) -> None:
    sizes = (16, 16), (17, 300)
    result = engine.transfer(noise(*sizes[0]), noise(*sizes[1], 1))
    assert (result.a_prime.shape, result.b.shape) == ((16, 16, 3), (17, 300, 3))
    for own, other, field, error in (
        (*sizes, result.nnf_ab, result.error_ab),
        (*sizes[::-1], result.nnf_ba, result.error_ba),
    ):
        assert (field.shape, error.shape) == ((*own, 2), own)
        assert ((field >= 0) & (field < other)).all()
        assert ((error >= -2.001) & (error <= 2.001)).all()
        assert (
            error.mean() < -0.5
        )  # even pictures of noise have similar patches; without similarity the distance would be 0


def test_flat_pictures_exchange_their_colours(engine: Engine) -> None:
    white, black = np.full((32, 32, 3), 255, np.uint8), np.zeros((32, 32, 3), np.uint8)
    result = engine.transfer(white, black)
    assert (result.a_prime == 0).all()
    assert (result.b == 255).all()


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((100, 200), Settings(), (100, 200)),
        ((100, 200), Settings(ratio=0.5), (50, 100)),
        ((3000, 4000), Settings(max_pixels=120_000), (300, 400)),
        ((16, 1600), Settings(ratio=0.5), (16, 800)),
        # For a 12-megapixel photo, a ratio of 0.5 halves both sides of the working size, as the
        # README says.
        ((3000, 4000), Settings(), (512, 683)),
        ((3000, 4000), Settings.preset("face"), (256, 342)),
        ((1500, 2000), Settings(ratio=0.5), (256, 342)),
        ((590, 590), Settings(ratio=0.75), (442, 442)),
    ],
)
def test_working_size(size, settings, expected) -> None:
    assert working_size(size, settings) == expected


def test_save_writes_the_pictures_the_montage_and_the_settings(engine: Engine, tmp_path: Path) -> None:
    result = engine.transfer(noise(32, 48), noise(40, 32), seed=7, **FAST)
    result.save(tmp_path / "new" / "out")
    folder = tmp_path / "new" / "out"
    assert sorted(p.name for p in folder.iterdir()) == ["a_prime.png", "b.png", "montage.png", "settings.json"]
    assert np.array_equal(pixels(folder / "a_prime.png"), result.a_prime)
    assert np.array_equal(pixels(folder / "b.png"), result.b)
    assert len(pixels(folder / "montage.png")) == 40
    record = json.loads((folder / "settings.json").read_text())
    assert record["settings"]["seed"] == 7
    assert record["model"] == "vgg16-compact"


def test_an_exception_of_the_progress_callback_ends_the_transfer(engine: Engine) -> None:
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.stage == "level 3":
            raise Stop

    with pytest.raises(Stop):
        engine.transfer(noise(32, 32), noise(32, 32), progress=stop, **FAST)


def test_every_stage_reports_progress_from_within_up_to_the_end(monkeypatch) -> None:
    engine = Engine(device="cpu", threads=1)  # with more threads, progress is reported less often
    monkeypatch.setattr(progress, "MIN_STEP", 0.0)  # every step is reported
    reports: list[analogy.Progress] = []
    options = {"photo": True, "keep_colors": True, "levels": True, "inversion": "step"}
    engine.transfer(noise(160, 200), noise(140, 160, 1), max_pixels=5000, progress=reports.append, **options)
    shares = [report.done for report in reports]
    assert shares == sorted(shares)
    assert reports[-1] == analogy.Progress("done", 1.0)
    stages = [report.stage for report in reports]
    for stage, least in {"features": 2, **{f"level {n}": 40 for n in (5, 4, 3, 2, 1)}, "pictures": 100}.items():
        assert stages.count(stage) > least, stage
    # The finished share grows little between two reports, except during a call of the network or of
    # a library, which reports nothing.
    steps = {later.stage: [] for later in reports}
    for before, later in pairwise(reports):
        steps[later.stage].append(later.done - before.done)
    assert max(steps["pictures"]) < 0.05


@pytest.mark.parametrize("share", [0.3, 0.7, 0.9])
def test_a_callback_can_end_a_transfer_in_the_middle_of_a_stage(engine: Engine, share: float) -> None:
    class Stop(Exception):
        pass

    reports: list[analogy.Progress] = []

    def stop(report: analogy.Progress) -> None:
        reports.append(report)
        if report.done > share:
            raise Stop

    with pytest.raises(Stop):
        engine.transfer(noise(160, 200), noise(140, 160), max_pixels=5000, progress=stop, **FAST)
    assert [report.done > share for report in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[-1].stage == reports[-2].stage  # the callback raised within a stage


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda e: e.transfer(np.full((32, 32, 3), np.nan), noise(32, 32)), ImageError, "NaN"),
        (lambda e: e.transfer(noise(32, 32), noise(32, 32)[..., :2]), ImageError, r"shape \(32, 32, 2\)"),
        (lambda e: e.transfer(noise(1, 1), noise(32, 32)), ImageError, "1 x 1"),
        (lambda e: e.transfer("no/such.png", noise(32, 32)), ImageError, "no/such.png"),
        (lambda e: e.transfer(noise(32, 32), noise(32, 32), wieght=2), SettingsError, "unknown setting 'wieght'"),
        (lambda e: e.transfer(noise(32, 32), noise(32, 32), cls=2), SettingsError, "unknown setting 'cls'"),
        (lambda e: e.transfer(noise(32, 32), noise(32, 32), {"wieght": 2}), SettingsError, "unknown setting 'wieght'"),
        (
            lambda e: e.transfer(noise(32, 32), noise(32, 32), 3),
            SettingsError,
            "settings has the type int; give Settings",
        ),
        (
            lambda e: Engine(model=None),
            ModelError,
            "model is None; give the name of a model, or the path of its folder",
        ),
        (lambda e: analogy.transfer("a.png", "b.png", model=[]), ModelError, r"model is \[\]; give the name"),
        (lambda e: Engine("vgg99"), ModelError, "no model 'vgg99'; choose from vgg16-compact"),
        (lambda e: Engine(device="tpu"), DeviceError, "unknown device 'tpu'"),
        (lambda e: Engine(device=["cpu"]), DeviceError, r"unknown device \['cpu'\]; choose one of auto, cpu, cuda"),
        (lambda e: analogy.transfer("a.png", "b.png", device=[]), DeviceError, r"unknown device \[\]"),
        (lambda e: analogy.transfer("a.png", "b.png", threads=[2]), DeviceError, r"threads is \[2\]; give"),
        *(
            (
                lambda e, threads=threads: Engine(threads=threads),
                DeviceError,
                r"threads is .*; give .* from 1 to 256",
            )
            for threads in (0, -1, 2.5, "2", True, 257, 10_000, 10**400, 10**5000)
        ),
    ],
)
def test_bad_input_is_refused_in_one_line_that_names_it(engine: Engine, call, error, words) -> None:
    with pytest.raises(error, match=words) as caught:
        call(engine)
    assert "\n" not in str(caught.value)


def test_save_names_a_folder_that_cannot_be_made(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot make the folder"):
        engine.transfer(noise(16, 16), noise(16, 16), **FAST).save(tmp_path / "file" / "out")


def test_one_direction_gives_the_same_picture_as_both_and_none_for_the_other(engine: Engine) -> None:
    a, b1 = noise(40, 48), noise(48, 40, 1)
    both, ab, ba = (engine.transfer(a, b1, direction=direction, **FAST) for direction in ("both", "ab", "ba"))
    assert np.array_equal(ab.a_prime, both.a_prime)
    assert np.array_equal(ba.b, both.b)
    assert ab.b is ab.nnf_ba is ab.error_ba is ba.a_prime is ba.nnf_ab is ba.error_ab is None
    with pytest.raises(SettingsError, match=r"needs both directions; .* made with direction 'ab'; use 'both'"):
        ab.consistency()


def test_consistency_of_a_picture_with_itself_is_below_one_position(engine: Engine) -> None:
    result = engine.transfer(noise(48, 48), noise(48, 48), **FAST)
    assert (result.consistency() < 1).mean() > 0.95


def test_progress_goes_on_after_the_picture_of_a_level(engine: Engine) -> None:
    reports: list[analogy.Progress] = []
    engine.transfer(noise(48, 64), noise(40, 40, 1), levels=True, progress=reports.append, search_iterations=1)
    for level in (5, 4, 3, 2):
        [shown] = [each for each in reports if each.stage == f"level {level}" and each.picture is not None]
        ended = next(each for each in reports if each.stage == f"level {level - 1}")
        assert shown.done < ended.done  # the inversion comes after the picture


def test_levels_are_votes_of_b_prime_that_approach_a_prime(engine: Engine) -> None:
    a, b1 = noise(48, 64), noise(40, 40, 1)
    b1[..., 2] = 0
    reports: list[analogy.Progress] = []
    result = engine.transfer(a, b1, levels=True, progress=reports.append, **FAST)
    assert list(result.levels) == [5, 4, 3, 2, 1]
    shown = [report for report in reports if report.picture is not None]
    assert [report.stage for report in shown] == [
        f"level {level}" for level in result.levels
    ]  # one picture for each level, in order
    assert all(map(np.array_equal, [report.picture for report in shown], result.levels.values()))
    for picture in result.levels.values():
        assert picture.shape == (48, 64, 3)
        assert picture.dtype == np.uint8
        assert (picture[..., 2] == 0).all()
    assert np.array_equal(result.levels[1], result.a_prime)
    difference = [np.abs(picture.astype(int) - result.a_prime).mean() for picture in result.levels.values()]
    assert all(coarse > fine for coarse, fine in pairwise(difference))
    mask_a, mask_b = np.full_like(a, 255), np.full_like(b1, 255)
    mask_a[:, :20], mask_b[:, :20] = 0, 0
    masked = engine.transfer(a, b1, levels=True, mask_a=mask_a, mask_b=mask_b, **FAST)
    assert np.array_equal(masked.levels[1], masked.a_prime)
    assert engine.transfer(a, b1, levels=True, direction="ba", **FAST).levels[3].shape == (40, 40, 3)
    assert engine.transfer(a, b1, **FAST).levels == {}


def test_keep_colors_keeps_a_grey_picture_grey_and_a_coloured_one_coloured(engine: Engine) -> None:
    grey = np.repeat(noise(40, 40)[..., :1], 3, axis=2)
    result = engine.transfer(grey, noise(40, 40, 1), keep_colors=True, **FAST)
    assert np.ptp(result.a_prime.astype(int), axis=2).max() <= 1
    assert np.ptp(result.b.astype(int), axis=2).max() > 50


def test_photo_takes_the_colours_of_b_prime_and_not_its_grain(engine: Engine) -> None:
    step = np.full((64, 64, 3), 60, np.uint8)
    step[:, 32:] = 190
    other = np.clip(np.random.default_rng(0).normal(128, 40, (64, 64, 3)), 0, 255).astype(np.uint8)
    plain, refined = (
        engine.transfer(step, other, photo=photo, **FAST).a_prime.astype(float) for photo in (False, True)
    )
    roughness = [np.abs(np.diff(p[:, :30], axis=0)).mean() for p in (plain, refined)]
    assert roughness[1] < 0.2 * roughness[0]  # the grain of B' is removed, since A has none
    for side in (np.s_[:, :28], np.s_[:, 36:]):  # the colour of A' stays
        assert np.abs(refined[side].mean() - plain[side].mean()) < 10


def test_16_bit_pixels_are_transferred_with_all_their_bits(engine: Engine) -> None:
    deep = noise(40, 40).astype(np.uint16) * 257 + 100
    assert engine.transfer(deep, noise(40, 40, 1), **FAST).a_prime.dtype == np.uint16
    result = engine.transfer(noise(40, 40, 1), deep, photo=True, keep_colors=True, **FAST)
    assert result.a_prime.dtype == result.b.dtype == np.uint16
    flat = np.full((40, 40, 3), 12345, np.uint16)  # not a multiple of 257, so that 8 bits cannot represent it
    assert (engine.transfer(noise(40, 40, 1), flat, **FAST).a_prime == 12345).all()
    assert engine.transfer(noise(40, 40, 1), noise(40, 40), **FAST).a_prime.dtype == np.uint8


def test_pictures_above_max_pixels_are_painted_from_full_size_pixels(engine: Engine) -> None:
    b1 = noise(200, 240, 1)
    result = engine.transfer(noise(160, 200), b1, max_pixels=4000, **FAST)
    assert result.a_prime.shape == (160, 200, 3)
    assert result.nnf_ab.shape[0] * result.nnf_ab.shape[1] <= 4100
    # Noise stays only if pixels are copied at full size, since shrinking averages it away.
    assert result.a_prime.std() > 2 * images.resize(b1, *result.nnf_ba.shape[:2]).std()


def test_settings_may_be_a_preset_s_name_or_a_dict(engine: Engine) -> None:
    a, b1 = noise(32, 32), noise(32, 32)
    assert engine.transfer(a, b1, "fast", direction="ab").settings == Settings.preset("fast", direction="ab")
    assert engine.transfer(a, b1, dict(FAST), seed=3).settings == Settings(seed=3, **FAST)


def test_single_options_override_settings(engine: Engine) -> None:
    settings = Settings(ratio=0.5, **FAST)
    result = engine.transfer(noise(32, 32), noise(32, 32), settings, ratio=0.75)
    assert (result.settings.ratio, result.settings.inversion) == (0.75, "vote")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_an_engine_refuses_to_run_after_a_fork(engine: Engine) -> None:
    engine.transfer(noise(16, 16), noise(16, 16), **FAST)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of a fork with threads, which is intended here
        child = os.fork()
    if child == 0:
        try:
            engine.transfer(noise(16, 16), noise(16, 16), **FAST)
        except DeviceError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert "make an Engine in each process" in pipe.read()
    os.waitpid(child, 0)


def test_after_a_fork_an_engine_does_not_touch_its_device(engine: Engine, monkeypatch) -> None:
    def touch() -> None:
        raise RuntimeError("cudaErrorInitializationError")  # as CuPy raises in a forked process

    monkeypatch.setattr(engine.backend, "active", touch)
    monkeypatch.setattr(engine, "_process", -1)
    for use in (lambda: engine.transfer(noise(16, 16), noise(16, 16), **FAST), engine.prepare):
        with pytest.raises(DeviceError, match="make an Engine in each process"):
            use()


def test_an_engine_with_a_low_limit_of_pixels_can_be_prepared() -> None:
    small = Engine(device="cpu", threads=1, max_input_pixels=256)
    small.prepare("fast")
    with pytest.raises(ImageError, match=r"max_input_pixels allows 0\.000256"):
        small.transfer(noise(16, 17), noise(16, 16))


def test_threads_that_call_analogy_transfer_at_once_share_one_engine(monkeypatch) -> None:
    made: list[Engine] = []

    def make(arguments: EngineArguments) -> Engine:
        time.sleep(0.2)  # the other threads ask for the engine in this time
        made.append(Engine(arguments.model, device="cpu", threads=1))
        return made[-1]

    monkeypatch.setattr(EngineArguments, "make", make)
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(
                lambda n: analogy.transfer(noise(16, 16), noise(16, 16, n), max_input_pixels=999, **FAST), range(4)
            )
        )
    assert len(made) == 1 and len(results) == 4


def test_analogy_transfer_makes_a_new_engine_in_another_process(monkeypatch) -> None:
    def once() -> np.ndarray:
        return analogy.transfer(noise(16, 16), noise(16, 16, 1), device="cpu", threads=1, **FAST).a_prime

    first = once()
    monkeypatch.setattr(os, "getpid", lambda: 999_999)  # in a forked process the engine would see another process id
    assert np.array_equal(once(), first)


def test_transfers_in_several_threads_equal_serial_ones() -> None:
    fresh = Engine(
        device="cpu", threads=2
    )  # a new engine makes its ONNX Runtime sessions while the threads already run
    pairs = [(noise(48, 40, n), noise(40, 56, n + 10)) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pair: fresh.transfer(*pair, inversion_steps=1).nnf_ab, pairs))
    for pair, field in zip(pairs, together, strict=True):
        assert np.array_equal(field, fresh.transfer(*pair, inversion_steps=1).nnf_ab)


def test_a_picture_of_a_level_that_the_caller_draws_into_is_kept_in_the_result(engine: Engine) -> None:
    def draw(progress: Progress) -> None:
        if progress.picture is not None:
            progress.picture[:] = 7

    pictures = noise(40, 40), noise(40, 40, 1)
    plain, drawn = (engine.transfer(*pictures, levels=True, progress=each, **FAST) for each in (None, draw))
    assert all(np.array_equal(plain.levels[level], drawn.levels[level]) for level in plain.levels)
