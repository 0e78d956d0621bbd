"""Tests of requests: normalised fields, refused inputs, and the keywords of callers."""

import dataclasses
import inspect
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from analogy import Engine, ImageError, Settings, SettingsError
from analogy.engine import TransferOptions
from analogy.request import Request

FIELDS = [field.name for field in dataclasses.fields(Request)]


def test_each_field_is_a_keyword_of_a_transfer() -> None:
    keywords = [name for name in inspect.signature(Engine.transfer).parameters if name not in ("self", "changes")]
    keywords.remove("direction")  # `direction` is a field of `Settings`, not of `Request`
    assert sorted(keywords) == sorted([*FIELDS, "progress"])
    assert {*FIELDS, "progress"} - set(get_type_hints(TransferOptions)) == {"a", "b_prime", "b", "settings"}


@pytest.mark.parametrize("direction", ["both", "ab"])
def test_with_b_given_the_direction_becomes_ab(direction) -> None:
    assert Request("a", "b1", Settings(seed=3, direction=direction), b="b").settings == Settings(seed=3, direction="ab")
    assert Request("a", "b1", Settings(direction="ba")).settings.direction == "ba"
    with pytest.raises(SettingsError, match="direction is 'ba', which makes only B, but B is given; use 'ab'"):
        Request("a", "b1", Settings(direction="ba"), b="b")


@pytest.mark.parametrize(("mask", "words"), [("mask_a", "for A and none for B'"), ("mask_b", "for B' and none for A")])
def test_one_mask_alone_is_refused_before_anything_is_read(mask: str, words: str) -> None:
    with pytest.raises(ImageError, match=f"there is a mask {words}; give both masks, or none"):
        Request("no such file", "nor this", **{mask: "nor that"})


def test_pins_as_numbers_become_rows_and_a_file_is_read_by_pin_rows(tmp_path: Path) -> None:
    file = tmp_path / "pins.csv"
    file.write_text("xa,ya,xb,yb\n1,2,3,4.5\n")
    for given in ([[1, 2, 3, 4.5]], np.array([[1, 2, 3, 4.5]], np.float32)):
        assert Request("a", "b1", pins=given).pins == [[1, 2, 3, 4.5]]
    request = Request("a", "b1", pins=file)
    assert request.pins == file
    assert request.pin_rows().tolist() == [[1, 2, 3, 4.5]]
    assert Request("a", "b1", pins=[]).pins is None
    with pytest.raises(SettingsError, match=r"pins: the shape is \(1, 3\)"):
        Request("a", "b1", pins=[[1, 2, 3]])


def test_the_inputs_are_the_pictures_and_the_file_of_pins_and_can_be_replaced() -> None:
    request = Request("a", "b1", mask_a="ma", mask_b="mb", pins="pins.csv", levels=True)
    assert [(each.name, each.label, each.value) for each in request.inputs()] == [
        ("a", "A", "a"), ("b_prime", "B'", "b1"), ("mask_a", "the mask of A", "ma"), ("mask_b", "the mask of B'", "mb"),
        ("pins", "the file of pins", "pins.csv"),
    ]  # fmt: skip
    read = request.with_inputs(lambda each: f"<{each.value}>")
    assert read == Request("<a>", "<b1>", mask_a="<ma>", mask_b="<mb>", pins="<pins.csv>", levels=True)
    assert [each.name for each in Request("a", "b1", pins=[[1, 2, 3, 4]]).inputs()] == ["a", "b_prime"]


def test_each_of_several_examples_is_an_input_of_its_own() -> None:
    request = Request("a", ["x", "y"], mask_a="ma", mask_b=("mx", "my"))
    assert [(each.name, each.label, each.value, each.place) for each in request.inputs()] == [
        ("a", "A", "a", 0), ("b_prime", "B' 1", "x", 0), ("b_prime", "B' 2", "y", 1),
        ("mask_a", "the mask of A", "ma", 0),
        ("mask_b", "the mask of B' 1", "mx", 0), ("mask_b", "the mask of B' 2", "my", 1),
    ]  # fmt: skip
    read = request.with_inputs(lambda each: f"<{each.value}>")
    assert read == Request("<a>", ["<x>", "<y>"], mask_a="<ma>", mask_b=["<mx>", "<my>"])
    assert request.several and request.examples == ["x", "y"]
    one = Request("a", "x")
    assert not one.several and one.examples == ["x"]
    assert Request("a", ["x"]).with_inputs(lambda each: each.value.upper()) == Request("A", ["X"])


def test_a_wrong_number_of_b_or_masks_for_the_examples_is_refused() -> None:
    with pytest.raises(ImageError, match="b_prime has no picture"):
        Request("a", [])
    for name, words in (
        ("b", "B: 3 pictures given for 2 pictures B'"),
        ("mask_b", "the mask of B': 3 pictures given for 2 pictures B'"),
    ):
        of_a = {"mask_a": "m"} if name == "mask_b" else {}
        # An empty list is not the same as None.
        for given, said in ((["1", "2", "3"], words), ([], words.replace("3", "0"))):
            with pytest.raises(ImageError, match=f"^{said}; give one for each B'"):
                Request("a", ["x", "y"], **{name: given, **of_a})
