"""Tests of settings: presets, ranges, and errors that name a wrong value."""

import dataclasses

import numpy as np
import pytest

from analogy.errors import SettingsError
from analogy.settings import ALPHA, PATCH_SIZE, PRESETS, SEARCH_RADIUS, Settings


def test_every_preset_is_valid() -> None:
    for name, values in PRESETS.items():
        settings = Settings.preset(name)
        assert all(getattr(settings, key) == value for key, value in values.items())


def test_single_options_override_the_preset() -> None:
    assert PRESETS["style-to-photo"]["ratio"] == 0.5
    assert Settings.preset("style-to-photo", ratio=0.75).ratio == 0.75


def test_the_paper_preset_is_the_authors_constants() -> None:
    paper = Settings.preset("paper")
    assert (paper.inversion, paper.search_iterations) == ("deconvolution", 10)
    assert (PATCH_SIZE, SEARCH_RADIUS) == ({5: 3, 4: 3, 3: 3, 2: 5, 1: 5}, {4: 6, 3: 6, 2: 4, 1: 4})
    assert ALPHA[2] == {4: 0.8, 3: 0.7, 2: 0.6, 1: 0.1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight": 4}, "weight is 4; choose 1, 2 or 3"),
        ({"ratio": 0.0}, "ratio is 0.0; it must be from 0.1 to 1.0"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"ratio": "half"}, "ratio is 'half'; it must be a number"),
        ({"inversion": "magic"}, "inversion is 'magic'; choose vote, step or deconvolution"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"search_iterations": 0}, "search_iterations is 0"),
        ({"max_pixels": 10}, "max_pixels is 10; it must be from 1024 to 1000000000"),
        ({"ratio": 10**400}, r"ratio is 10{96}\.\.\.; it must be from 0\.1 to 1\.0"),
        ({"max_pixels": 10**400}, r"max_pixels is 10{96}\.\.\.; it must be from 1024 to"),
        ({"seed": 10**5000}, "seed is a value of type int that cannot be shown; it must be from 0 to 4294967295"),
        ({"inversion": "x" * 1000}, r"inversion is 'x{96}\.\.\.; choose vote"),
        ({"speed": 3}, "unknown setting 'speed'; choose one of weight"),
    ],
)
def test_a_value_outside_its_range_is_named(values: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.from_dict(values)


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(SettingsError, match="unknown preset 'watercolor'; choose one of photo-to-style"):
        Settings.preset("watercolor")


def test_whole_numbers_become_floats_where_floats_are_meant_and_settings_are_frozen() -> None:
    settings = Settings(ratio=1)
    assert settings.ratio == 1.0
    assert isinstance(settings.ratio, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.ratio = 0.5  # type: ignore[misc]


def test_numpy_scalars_are_taken_for_their_values() -> None:
    settings = Settings(weight=np.int64(2), ratio=np.float64(0.5), photo=np.bool_(True), seed=np.array(7))
    assert settings == Settings(weight=2, ratio=0.5, photo=True, seed=7)
    assert [type(value) for value in dataclasses.astuple(settings)] == [
        type(f.default) for f in dataclasses.fields(settings)
    ]
    with pytest.raises(SettingsError, match=r"weight is 2\.0; it must be a whole number"):
        Settings(weight=np.float32(2))


def test_settings_are_given_as_settings_a_preset_s_name_or_a_dict() -> None:
    assert Settings.of(None) == Settings()
    assert Settings.of(Settings(seed=3)) == Settings(seed=3)
    assert Settings.of("face") == Settings.preset("face")
    assert Settings.of({"seed": 3}) == Settings(seed=3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("oil", "unknown preset 'oil'; choose one of photo-to-style"),
        ({"wieght": 2}, "unknown setting 'wieght'"),
        ({3: 2}, "unknown setting 3; choose one of weight"),
        ([("weight", 2)], "settings has the type list; give Settings, the name of a preset, or a dict"),
    ],
)
def test_invalid_settings_are_named(given, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.of(given)


@pytest.mark.parametrize("given", [None, 3, ["face"], {}])
def test_preset_refuses_other_types_than_a_name(given) -> None:
    with pytest.raises(SettingsError, match="unknown preset"):
        Settings.preset(given)


@pytest.mark.parametrize("given", [None, 3, [], "face"])
def test_from_dict_refuses_other_types(given) -> None:
    with pytest.raises(SettingsError, match="give a dict of settings"):
        Settings.from_dict(given)


@pytest.mark.parametrize("name", ["photo-to-style", "face", "fast"])
def test_a_preset_replaces_every_setting_that_presets_change(name) -> None:
    kept = {"seed": 5, "max_pixels": 5000, "direction": "ab", "keep_colors": True}
    assert Settings.preset("paper", weight=1, photo=True, **kept).with_preset(name) == Settings.preset(name, **kept)


def test_settings_named_in_keep_stay_beside_a_preset() -> None:
    settings = Settings.preset("paper", ratio=0.75)
    assert settings.with_preset("face", keep={"ratio"}) == Settings.preset("face", ratio=0.75)


def test_single_changes_override_a_preset_and_are_checked() -> None:
    settings = Settings(seed=5, weight=1).changed({"ratio": 0.75}, preset="style-to-photo")
    assert settings == Settings(seed=5, weight=2, ratio=0.75)
    for changes, words in (({"wieght": 2}, "unknown setting 'wieght'"), ({"weight": 4}, "weight is 4; choose")):
        with pytest.raises(SettingsError, match=words):
            settings.changed(changes)
