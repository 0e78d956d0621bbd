"""Tests of hostile pictures, fields, pins and settings: each is read, or refused in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import fields, pictures, settings
from hostile.models import mutate
from hypothesis import HealthCheck, given
from hypothesis import settings as searching
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from analogy.errors import AnalogyError, ImageError, SettingsError, printable
from analogy.method import flow, flow_files
from analogy.method.pins import read_pins
from analogy.pictures.reading import read_picture
from analogy.records import read_record
from analogy.settings import Settings

MOST = 1_000_000
"""Largest number of pixels of a picture that these tests decode.

Readers have to refuse larger pictures before they decode them.
"""

CASES = {"max_examples": 300, "deadline": None, "derandomize": True, "database": None}
CASES["suppress_health_check"] = [HealthCheck.function_scoped_fixture]

seeds = st.integers(0, 2**32 - 1)


@contextlib.contextmanager
def refusals(*kinds: type[AnalogyError]) -> Iterator[None]:
    """Check that the block raises no error, or one of `kinds` with a short message of one line."""
    try:
        yield
    except kinds as error:
        assert str(error) == printable(str(error))
        assert 10 < len(str(error)) < 600, error


def admit(size: tuple[int, int], label: str) -> None:
    if size[0] * size[1] > MOST:
        raise ImageError(f"{label}: larger than is accepted")


def check_picture(content: Any) -> None:
    with refusals(ImageError):
        picture = read_picture(content, admit=admit)
        assert picture.rgb.dtype == np.uint8
        assert picture.rgb.flags.c_contiguous and picture.rgb.flags.writeable
        assert picture.rgb.size <= 3 * MOST
        for other in (picture.alpha, picture.rgb16):
            assert other is None or other.shape[:2] == picture.size


def check_field(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with refusals(ImageError):
        read = flow_files.read(path, width=7)
        assert read.ndim == 3
        assert flow.colour(read).shape == (*read.shape[:2], 3)
        flow.to_nnf(read)


def check_record(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with refusals(SettingsError):
        found, model, checksum, _ = read_record(path)
        assert isinstance(found, Settings) and isinstance(model, str) and isinstance(checksum, str)


@pytest.mark.parametrize("name", pictures.sound())
def test_the_pictures_that_other_tests_damage_are_sound(name: str) -> None:
    read_picture(pictures.sound()[name])


@pytest.mark.parametrize("name", pictures.bombs())
def test_a_bomb_is_refused_before_it_is_decoded(name: str, monkeypatch) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    assert len(pictures.bombs()[name]) < 2 << 20
    with pytest.raises(ImageError, match=r"larger than is accepted|too large|not a picture|damaged") as caught:
        read_picture(pictures.bombs()[name], admit=admit)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", pictures.liars())
def test_a_file_with_false_metadata_is_read_or_refused_in_one_line(name: str) -> None:
    check_picture(pictures.liars()[name])


@searching(**CASES | {"max_examples": 3000})
@given(seeds)
def test_a_damaged_picture_is_read_or_refused_in_one_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    check_picture(mutate(rng.choice(list(pictures.sound().values())), rng))


dtypes = st.one_of(
    arrays.scalar_dtypes(), arrays.unicode_string_dtypes(max_len=3), arrays.array_dtypes(), st.just(np.dtype(object))
)
shapes = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=5, max_side=20, min_side=0),
    st.tuples(st.just(17), st.just(16), st.integers(0, 5)),
)


@searching(**CASES)
@given(st.data())
def test_any_array_is_a_picture_or_refused_in_one_line(data: st.DataObject) -> None:
    dtype, shape = data.draw(dtypes), data.draw(shapes)
    content = np.zeros(shape, dtype)
    if dtype.kind in "uif" and content.size:
        content.flat[data.draw(st.integers(0, content.size - 1))] = data.draw(arrays.from_dtype(dtype))
    check_picture(content)


@searching(**CASES)
@given(st.data())
def test_any_array_is_a_field_or_refused_in_one_line(data: st.DataObject) -> None:
    dtype, shape = data.draw(dtypes), data.draw(st.one_of(shapes, st.just((4, 5, 2))))
    content = np.zeros(shape, dtype)
    if dtype.kind in "uif" and content.size:
        content.flat[data.draw(st.integers(0, content.size - 1))] = data.draw(arrays.from_dtype(dtype))
    uses: list[Callable[[], Any]] = [
        lambda: flow.to_flow(content),
        lambda: flow.to_nnf(content),
        lambda: flow.colour(content),
        lambda: flow.warp(content, np.zeros((4, 5, 2), np.int32)),
        lambda: flow.warp(np.zeros((6, 6)), content, size_b=data.draw(st.one_of(st.none(), st.tuples(seeds, seeds)))),
        lambda: flow.consistency(content, content),
    ]
    for use in uses:
        with refusals(ImageError):
            use()


@pytest.mark.parametrize("name", fields.sound())
def test_the_fields_that_other_tests_damage_are_sound(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(fields.sound()[name])
    assert flow_files.read(tmp_path / name, width=7).shape == (5, 7, 2)


@pytest.mark.parametrize("name", fields.liars())
def test_a_file_that_is_no_field_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    check_field(tmp_path / name, fields.liars()[name])


@searching(**CASES | {"max_examples": 1000})
@given(seeds, st.sampled_from(sorted(fields.sound())))
def test_a_damaged_field_is_read_or_refused_in_one_line(tmp_path: Path, seed: int, name: str) -> None:
    check_field(tmp_path / name, mutate(fields.sound()[name], np.random.default_rng(seed)))


@pytest.mark.parametrize("name", settings.LIARS)
def test_a_file_that_is_no_settings_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    check_record(tmp_path / "settings.json", settings.LIARS[name])


@searching(**CASES | {"max_examples": 300})
@given(seeds)
def test_a_damaged_file_of_pins_is_read_or_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "pins.csv"
    path.write_bytes(mutate(b'xa,ya,xb,yb\n1,2,3,4\n5.5,"6",7e1,8\n', np.random.default_rng(seed)))
    with refusals(SettingsError):
        pins = read_pins(path)
        assert pins is None or (pins.shape[1] == 4 and np.isfinite(pins).all())


@searching(**CASES | {"max_examples": 1000})
@given(seeds)
def test_damaged_settings_are_read_or_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    check_record(tmp_path / "settings.json", mutate(settings.SOUND, np.random.default_rng(seed)))


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers(),
              st.just(10**400), arrays.from_dtype(np.dtype("f4")), st.just(np.zeros(3)), st.just(object)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip


@searching(**CASES)
@given(
    st.dictionaries(st.one_of(st.sampled_from(list(Settings.__dataclass_fields__)), st.text()), anything, max_size=3)
)
def test_any_values_are_settings_or_refused_in_one_line(values: dict[str, Any]) -> None:
    with refusals(SettingsError):
        Settings.of(values)


@searching(**CASES)
@given(anything)
def test_anything_is_a_picture_or_refused_in_one_line(source: Any) -> None:
    check_picture(source)
    with refusals(SettingsError):
        Settings.of(source)
