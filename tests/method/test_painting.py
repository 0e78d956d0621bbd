"""Votes of pixels at full size, and the refinement of an enlarged field on the pixels."""

import numpy as np
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.method import nnf
from analogy.method.painting import as_pixels, paint, paint_level, refine_on_pixels
from analogy.method.sheets import Sheet
from analogy.pictures.images import resize

BACKEND = CpuBackend(2)


def texture(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((h, w, 3), np.float32)


def test_painting_the_identity_field_gives_the_source_at_full_size() -> None:
    source = texture(60, 90)
    field = nnf.identity(BACKEND, (20, 30), (20, 30))
    assert np.allclose(
        paint(BACKEND, field, Sheet(((20, 30),)), (60, 90), Sheet(((60, 90),)), source), source, atol=1e-6
    )


def test_painting_copies_pixels_of_the_full_size_source() -> None:
    source = texture(80, 80)
    field = np.clip(nnf.identity(BACKEND, (20, 20), (20, 20)) + [2, 3], 0, 19).astype(np.int32)
    painted = paint(BACKEND, field, Sheet(((20, 20),)), (80, 80), Sheet(((80, 80),)), source)
    assert np.allclose(painted[8:60, 8:60], source[16:68, 20:72], atol=1e-5)


def test_painting_reports_each_band_of_each_pass_and_can_be_ended_there() -> None:
    source, field = texture(160, 160), nnf.identity(BACKEND, (40, 40), (40, 40))
    shares: list[float] = []
    painted = paint(BACKEND, field, Sheet(((40, 40),)), (160, 160), Sheet(((160, 160),)), source, tick=shares.append)
    assert np.array_equal(painted, paint(BACKEND, field, Sheet(((40, 40),)), (160, 160), Sheet(((160, 160),)), source))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    # There are seven steps with eight bands each: one enlargement, two votes, and four passes of
    # the refinement.
    assert max(np.diff([0, *shares])) < 0.15
    assert len(np.unique(np.round(shares, 9))) == 7 * 8

    class Stop(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.97:  # at this share, the last vote is running
            raise Stop

    with pytest.raises(Stop):
        paint(BACKEND, field, Sheet(((40, 40),)), (160, 160), Sheet(((160, 160),)), source, tick=stop)


def test_painting_at_the_size_of_the_field_tells_even_shares_too() -> None:
    size, shares = (160, 160), []
    field, sheet = nnf.identity(BACKEND, size, size), Sheet((size,))
    paint(BACKEND, field, sheet, size, sheet, texture(*size), tick=shares.append)
    assert max(np.diff([0, *shares])) < 0.15
    assert shares[-1] == pytest.approx(1)


def test_painting_a_level_tells_each_band() -> None:
    shares: list[float] = []
    field, seen, full = nnf.identity(BACKEND, (40, 40), (40, 40)), Sheet(((40, 40),)), Sheet(((160, 160),))
    paint_level(BACKEND, field, seen, (160, 160), full, texture(160, 160), tick=shares.append)
    assert shares == sorted(shares)
    assert len(np.unique(np.round(shares, 9))) == 2 * 8  # two steps with eight bands: enlargement and vote


def test_painting_without_seams_tells_each_band_of_the_vote_and_never_falls() -> None:
    size = (160, 160)
    field, sheet = nnf.identity(BACKEND, size, size), Sheet((size,))
    field[:, 80:] -= np.array([0, 9], np.int32)
    steepness = BACKEND.steepness(texture(*size, 1))
    for each in (paint, paint_level):
        shares = []
        each(BACKEND, field, sheet, size, sheet, texture(*size), tick=shares.append, steepness=steepness)
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)
        # Enlargement and vote are 0.9 / 5.9 of the work, which is less than 0.16.
        assert (np.unique(shares) < 0.16).sum() == 2 * 8


@pytest.mark.parametrize("content", [(20, 20), (40, 40)])
@pytest.mark.parametrize("source", [(20, 20), (40, 40)])
def test_a_field_is_refined_if_the_content_or_the_source_is_larger_at_full_size(content, source) -> None:
    field, seen, full = nnf.identity(BACKEND, (20, 20), (20, 20)), Sheet(((20, 20),)), Sheet((source,))
    field[:, 10:] -= np.array([2, 5], np.int32)
    field = field.clip(0, 19)
    pixels = resize((255 * texture(6, 6)).astype(np.uint8), *source).astype(np.float32) / 255
    refined, plain = (each(BACKEND, field, seen, content, full, pixels) for each in (paint, paint_level))
    assert np.array_equal(refined, plain) == (content == source == (20, 20))


def test_refinement_on_pixels_moves_a_match_by_three_pixels_at_most() -> None:
    # Even columns have one offset and odd columns another, so that the vote mixes two patches, and
    # matches move.
    source = resize((255 * texture(5, 8)).astype(np.uint8), 40, 64).astype(np.float32) / 255
    y, x = np.mgrid[4:36, 4:36]
    odd = 24 * (x % 2)
    field = np.stack([y, x + odd], axis=2).astype(np.int32)
    refined = refine_on_pixels(BACKEND, field, source, None)
    rows, columns = refined[..., 0] - y, refined[..., 1] - x
    columns -= np.where(columns > 12, 24, 0)
    # The random search moves a match by up to 2 pixels, and propagation by 1 more.
    assert np.abs([rows, columns]).max(axis=(1, 2)).tolist() == [3, 3]


def test_labels_hold_for_each_pixel_where_their_border_crosses_wide_blocks() -> None:
    side, block = 160, 16
    y, x = np.mgrid[:side, :side]
    border = (x + 2 * y > 1.4 * side).astype(np.int32)  # in A, a slanted line
    labels = border, np.roll(border, 37, axis=1)
    coarse = nnf.identity(BACKEND, (side // block,) * 2, (side // block,) * 2)
    full = nnf.enlarge(BACKEND, coarse, coarse.shape[:2], (side, side), (side, side))
    assert nnf.forbidden(full, labels).sum() > 2000
    refined = refine_on_pixels(BACKEND, full, texture(side, side), labels, block=block)
    assert nnf.forbidden(refined, labels).sum() == 0
    painted = paint(
        BACKEND, coarse, Sheet((coarse.shape[:2],)), (side, side), Sheet(((side, side),)),
        np.repeat(labels[1][..., None], 3, 2).astype(np.float32), labels,
    )  # fmt: skip
    # The source shows its labels, so the result shows those of A, up to the votes at the border.
    # If matches in the wrong region remained, 17 of 100 pixels would be wrong.
    assert (painted[..., 0].round() != border).mean() < 0.05


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_refinement_on_pixels_brings_an_enlarged_field_nearer_to_the_picture(factor: int) -> None:
    rng = np.random.default_rng(0)
    side, coarse = 96, 96 // factor
    source = resize(rng.integers(0, 256, (12, 12, 3)).astype(np.uint8), side, side).astype(np.float32) / 255
    # The true field is the identity. The coarse field is wrong by up to one position.
    field = nnf.identity(BACKEND, (coarse, coarse), (coarse, coarse))
    field = np.clip(field + rng.integers(-1, 2, field.shape), 0, coarse - 1).astype(np.int32)
    enlarged = nnf.enlarge(BACKEND, field, (coarse, coarse), (side, side), (side, side))
    refined = refine_on_pixels(BACKEND, enlarged, source, None)

    before, after = (BACKEND.vote(each, source, 3) for each in (enlarged, refined))
    # At a seam the patches that vote for a pixel disagree, so the voted colour differs from the
    # colour of the pixel's match.
    seams = [np.abs(v - source[f[..., 0], f[..., 1]]).mean() for v, f in ((before, enlarged), (after, refined))]
    assert seams[1] < seams[0]
    assert np.abs(after - source).mean() < np.abs(before - source).mean()
    # A match moves only to a patch that is nearer to the voted picture.
    query, key = BACKEND.pixel_vectors(before, False), BACKEND.pixel_vectors(source, True)
    distances = [BACKEND.distance(query, key, each, 3) for each in (enlarged, refined)]
    moved = (refined != enlarged).any(axis=-1)
    assert (distances[1][moved] < distances[0][moved]).all()
    assert moved.mean() > 0.5


def test_products_of_query_and_key_are_negative_squared_differences() -> None:
    u, v = np.random.default_rng(0).random((2, 5, 7, 3), np.float32)
    u[0, :2], v[0, :2] = [0, 0, 0], [[0, 0, 0], [1, 1, 1]]  # pairs with the smallest and the largest difference
    query, key = BACKEND.pixel_vectors(u, False), BACKEND.pixel_vectors(v, True)
    in_208ths = (query.astype(int) * key).sum(axis=2) / 208**2
    assert np.allclose(np.sqrt(-in_208ths), np.linalg.norm(u - v, axis=2), atol=1.5 / 208)  # since u and v are rounded
    assert in_208ths[0, :2].tolist() == [0, -3]


def test_floats_are_rounded_to_8_and_16_bits() -> None:
    picture = np.array([[[0, 0.5, 1.0]]], np.float32)
    assert as_pixels(BACKEND, picture).tolist() == [[[0, 128, 255]]]
    assert as_pixels(BACKEND, picture, sixteen_bit=True).tolist() == [[[0, 32768, 65535]]]


@pytest.mark.parametrize(("difference", "following"), [(5, 29), (6, 1)])
def test_a_pin_at_full_size_takes_along_what_lies_within_a_pixel_that_the_network_sees(
    difference: int, following: int
) -> None:
    voted: list[np.ndarray] = []

    class Recorder(CpuBackend):
        def vote(self, nnf, *rest):
            voted.append(nnf)
            return super().vote(nnf, *rest)

    # A position of the field covers 2 x 2.5 pixels of the content and 5 x 4 pixels of the second
    # source.
    size, backend = (20, 25), Recorder(2)
    sheet, full_sheet = Sheet(((10, 10), (6, 8))), Sheet((size, (30, 32)))
    field = nnf.identity(BACKEND, (10, 10), (10, 10))
    pins = np.array([(9, 12, 9 + difference, 12)])
    paint(backend, field, sheet, size, full_sheet, texture(*full_sheet.size), pins=pins)
    moved = voted[0] - nnf.identity(BACKEND, size, size)
    # Pixels within a radius of 3 around the pin get its offset if this moves their match by at most
    # 5 rows.
    assert (moved == [difference, 0]).all(axis=-1).sum() == following


def test_a_pin_into_one_of_several_sources_is_painted_as_into_that_source_alone() -> None:
    size, field = (24, 24), nnf.identity(BACKEND, (6, 6), (6, 6))
    pictures = [texture(20, 24, 1), texture(24, 24, 2)]
    # The match of the pin is the top left corner of its source, so pixels above and left of the
    # match are outside the source.
    pins = np.array([(4, 4, 0, 0)])
    alone = paint(BACKEND, field, Sheet(((6, 6),)), size, Sheet((size,)), pictures[1], pins=pins)
    sheet, full_sheet = Sheet(((5, 6), (6, 6))), Sheet(((20, 24), size))
    moved = field + np.array([sheet.tops[1], 0], np.int32)
    pins = pins + [0, 0, full_sheet.tops[1], 0]
    painted = paint(BACKEND, moved, sheet, size, full_sheet, full_sheet.lay(np, pictures), pins=pins)
    assert np.array_equal(painted, alone)


def test_the_refinement_on_pixels_fixes_a_pin_alone() -> None:
    # On a source of one colour all matches are equally good, so that any bonus around the pin would
    # change matches.
    field, source = nnf.identity(BACKEND, (20, 30), (20, 30)), np.full((20, 30, 3), 0.5, np.float32)
    refined = refine_on_pixels(BACKEND, field, source, None, pins=np.array([(9, 12, 3, 25)]))
    assert np.argwhere((refined != field).any(axis=-1)).tolist() == [[9, 12]]
    assert refined[9, 12].tolist() == [3, 25]
