"""Sheets: fields into several pictures, and the choice of a picture for each position."""

from __future__ import annotations

import numpy as np
import pytest

from analogy.backends import MOST_PATCH
from analogy.method import nnf
from analogy.method.sheets import Sheet, SourceFeatures, choose

CONTENT = 7, 10
SIZES = ((9, 5), (6, 13), (8, 8))


@pytest.fixture
def fields(rng) -> list[np.ndarray]:
    """Return three fields of one content: a random field into each picture of `SIZES`."""
    return [np.stack([rng.integers(0, n, CONTENT) for n in size], axis=2).astype(np.int32) for size in SIZES]


def into(sheet: Sheet, fields: list[np.ndarray], picture: np.ndarray) -> np.ndarray:
    """Return a field into the sheet; the match at [y, x] lies in the picture `picture[y, x]`."""
    down = [field + np.array([top, 0]) for field, top in zip(fields, sheet.tops, strict=True)]
    return np.choose(picture[..., None], down).astype(np.int32)


def test_pictures_lie_so_far_apart_that_patches_of_one_offset_never_lead_into_two() -> None:
    sheet = Sheet(SIZES)
    assert sheet.tops.tolist() == [0, 9 + MOST_PATCH, 9 + 6 + 2 * MOST_PATCH]
    assert sheet.size == (9 + 6 + 8 + 2 * MOST_PATCH, 13)
    assert Sheet(((4, 5),)).size == (4, 5)


def test_each_picture_is_laid_in_its_frame_and_the_rest_is_filled(cpu, rng) -> None:
    sheet, pictures = Sheet(SIZES), [rng.random((*size, 3)) for size in SIZES]
    laid = sheet.lay(np, pictures, fill=-2)
    for picture, (first, end, columns) in zip(pictures, sheet.frames(cpu), strict=True):
        assert np.array_equal(laid[first:end, :columns], picture)
        laid[first:end, :columns] = -2
    assert (laid == -2).all()
    assert Sheet(SIZES[:1]).lay(np, pictures[:1]) is pictures[0]
    assert Sheet(SIZES[:1]).frames(cpu) is None


def test_a_match_is_given_as_a_picture_and_a_position_in_it(backend, fields, rng) -> None:
    sheet, picture = Sheet(SIZES), rng.integers(0, 3, CONTENT)
    apart = backend.to_host(sheet.apart(backend, backend.asarray(into(sheet, fields, picture))))
    assert apart.dtype == np.int32
    assert np.array_equal(apart[..., 0], picture)
    assert np.array_equal(apart[..., 1:], np.choose(picture[..., None], fields))


@pytest.mark.parametrize("step", ["upsample", "enlarge"])
@pytest.mark.parametrize("change", [0, -1])
def test_a_field_into_several_pictures_is_resampled_like_the_field_into_each(
    backend, fields, rng, step: str, change: int
) -> None:
    """Include sizes whose last row and column come from a part of a position of the smaller map."""
    times = 2 if step == "upsample" else 3
    size = CONTENT[0] * times + change, CONTENT[1] * times + change
    finer = tuple((rows * times + change, columns * times + change) for rows, columns in SIZES)
    sheet, other, picture = Sheet(SIZES), Sheet(finer), rng.integers(0, 3, CONTENT)
    field = backend.asarray(into(sheet, fields, picture))
    found = backend.to_host(getattr(sheet, step)(backend, field, size, other))

    def alone(field: np.ndarray, before: tuple[int, int], after: tuple[int, int]) -> np.ndarray:
        there = backend.asarray(field)
        if step == "upsample":
            return backend.to_host(nnf.upsample(backend, there, size, after))
        return backend.to_host(nnf.enlarge(backend, there, before, size, after))

    each = [alone(*sizes) for sizes in zip(fields, SIZES, finer, strict=True)]
    scale = [2, 2] if step == "upsample" else [fine / coarse for fine, coarse in zip(size, CONTENT, strict=True)]
    rows, columns = (((np.arange(n) + 0.5) / by).astype(int) for n, by in zip(size, scale, strict=True))
    parents = picture[rows[:, None], columns]
    assert np.array_equal(found, into(other, each, parents))


@pytest.fixture
def two() -> tuple[Sheet, list[tuple[np.ndarray, np.ndarray]]]:
    """Return a sheet of two pictures, and the same field and distances for both."""
    field, distance = np.full((6, 8, 2), 3, np.int32), np.full((6, 8), -1, np.float32)
    return Sheet(((4, 5), (7, 6))), [(field, distance), (field, distance)]


def chosen(backend, sheet: Sheet, found, labels=None, pins=None) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the picture that `choose` chose at each position, and the distances."""
    there = [(backend.asarray(field), backend.asarray(distance)) for field, distance in found]
    labels = labels and tuple(map(backend.asarray, labels))
    field, distance = choose(backend, sheet, there, labels, pins)
    assert (backend.to_host(sheet.apart(backend, field))[..., 1:] == 3).all()
    return backend.to_host(sheet.picture_of(backend, field)), backend.to_host(distance)


def test_the_first_of_equal_pictures_is_chosen(backend, two) -> None:
    sheet, found = two
    picture, distance = chosen(backend, sheet, found)
    assert not picture.any()
    assert np.array_equal(distance, found[0][1])


def test_where_one_picture_fits_better_it_is_chosen_as_a_whole_piece(backend, two) -> None:
    sheet, [(field, first), (_, second)] = two
    first, second, speck = first.copy(), second.copy(), (2, 6)
    first[:, :4] -= 0.4
    second[:, 4:] -= 0.5
    first[speck] -= 0.6  # a single better position must not break the piece
    picture, distance = chosen(backend, sheet, [(field, first), (field, second)])
    assert (picture == (np.arange(8) >= 4)).all()
    assert np.array_equal(distance, np.where(picture, second, first))


def test_a_picture_that_lacks_a_label_is_not_chosen_there(backend, two) -> None:
    sheet, [(field, first), (_, second)] = two
    content, laid = np.full((6, 8), 7, np.int32), np.full(sheet.size, 7, np.int32)
    content[:3] = 9
    laid[sheet.tops[1] :] = 9
    picture, _ = chosen(backend, sheet, [(field, first - 0.5), (field, second)], (content, laid))
    assert (picture[:3] == 1).all()
    assert (picture[3:] == 0).all()


def test_a_pin_chooses_its_picture_at_its_position_and_has_a_bonus_around_it(backend, two) -> None:
    sheet, [(field, first), (_, second)] = two
    pins = np.array([[2, 3, sheet.tops[1] + 3, 3]])
    picture, distance = chosen(backend, sheet, [(field, first - 0.9), (field, second)], pins=pins)
    assert np.argwhere(picture).tolist() == [[2, 3]]
    assert distance[2, 3] == -1  # the patch distance without the bonus
    picture, _ = chosen(backend, sheet, [(field, first - 0.4), (field, second)], pins=pins)
    assert np.argwhere(picture).tolist() == [[y, x] for y in (1, 2, 3) for x in (2, 3, 4)]


def test_features_of_several_sources_are_voted_from_their_own_frames(backend, fields, rng) -> None:
    features = [{1: rng.random((*size, 8), np.float32)} for size in SIZES]
    there = [{1: backend.asarray(each[1])} for each in features]
    sheet = Sheet(SIZES)
    source = SourceFeatures(backend, sheet, there)
    for k, field in enumerate(fields):
        whole = backend.asarray(into(sheet, fields, np.full(CONTENT, k)))
        expected = backend.vote(backend.asarray(field), there[k][1], 3)
        assert np.array_equal(backend.to_host(source.vote(whole, 1, 3)), backend.to_host(expected))
