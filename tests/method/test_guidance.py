"""Label pictures: the matches that they forbid, and label pictures that are refused."""

import hashlib
import io
import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.errors import ImageError, SettingsError
from analogy.method import guidance, nnf
from analogy.method.pins import place_pins
from analogy.method.sheets import Sheet
from analogy.pictures.sixteen_bit import write_png16

BACKEND = CpuBackend(2)
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def regions(h: int, w: int, left: tuple[int, int, int], right: tuple[int, int, int], edge: int) -> np.ndarray:
    mask = np.empty((h, w, 3), np.uint8)
    mask[:, :edge], mask[:, edge:] = left, right
    return mask


def read(mask_a: Any, mask_b: Any, size_a: tuple[int, int], size_b: tuple[int, int]) -> guidance.Labels | None:
    """Return the labels of A and of one B'."""
    return guidance.read_labels(mask_a, [mask_b], size_a, {"B'": size_b})


def noise(h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3)).astype(np.uint8)


def test_every_match_has_the_label_of_its_position_even_where_features_disagree() -> None:
    a = noise(48, 64)
    b1 = a.copy()  # the same picture, but its mask has the labels of left and right exchanged
    mask_a, mask_b = regions(48, 64, RED, BLUE, 20), regions(48, 64, BLUE, RED, 44)
    settings = {"inversion": "vote", "search_iterations": 2}
    result = Engine(device="cpu", threads=2).transfer(a, b1, mask_a=mask_a, mask_b=mask_b, **settings)
    for mask, other, field in ((mask_a, mask_b, result.nnf_ab), (mask_b, mask_a, result.nnf_ba)):
        assert np.array_equal(mask, other[field[..., 0], field[..., 1]])


def test_masks_hold_at_a_reduced_working_size_and_after_refinement_on_pixels() -> None:
    b1 = np.where(regions(80, 90, (1, 0, 0), (0, 0, 1), 45), noise(80, 90), 0).astype(np.uint8)
    b1[:, 42:48] = 0  # black, because patches near the border of the regions overlap both
    mask_a, mask_b = regions(80, 90, RED, BLUE, 30), regions(80, 90, RED, BLUE, 45)
    result = Engine(device="cpu", threads=2).transfer(
        noise(80, 90, 1), b1, mask_a=mask_a, mask_b=mask_b, ratio=0.5, inversion="vote"
    )
    assert (result.a_prime[:, :27, 2] == 0).all()  # no blue, except near the border, where patches overlap
    assert (result.a_prime[:, 33:, 0] == 0).all()
    assert min(result.a_prime[:, :27, 0].mean(), result.a_prime[:, 33:, 2].mean()) > 100  # not only black was painted


def test_a_label_in_one_mask_only_is_logged_and_matches_anything(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "analogy"):
        labels = read(regions(20, 20, RED, GREEN, 10), regions(20, 30, RED, BLUE, 10), (20, 20), (20, 30))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        "the label #00ff00 of A is not in the mask of B', and is ignored",
        "the label #0000ff of B' is not in the mask of A, and is ignored",
    ]
    assert labels is not None
    assert (labels.content[:, 10:] == -1).all()
    assert (labels.sources[0][:, 10:] == -1).all()
    assert (labels.content[:, :10] == 0xFF0000).all()


def test_many_labels_in_one_mask_only_are_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Change one label to many labels, as a lossy file format does."""
    mask = regions(20, 20, RED, BLUE, 10)
    mask[0, :9] = [(255, shade, 0) for shade in range(1, 10)]
    with caplog.at_level(logging.INFO, "analogy"):
        labels = read(mask, regions(20, 20, RED, BLUE, 10), (20, 20), (20, 20))
    assert [record.getMessage() for record in caplog.records] == [
        "9 labels of A, such as #ff0100 and #ff0900, are not in the mask of B', and are ignored; paint without smooth "
        "edges, and save as PNG"
    ]
    assert labels is not None
    assert (labels.content[0, :9] == guidance.IGNORED).all()


def test_a_label_that_vanishes_at_a_coarse_level_matches_anything_there() -> None:
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[0, 0] = RED
    labels = read(mask, mask, (64, 64), (64, 64))
    assert labels is not None
    maps = labels.at((4, 4), Sheet(((64, 64),)))
    assert (maps.content == 0).all()
    assert maps.source[0, 0] == -1


def test_forbidden_matches_move_to_the_nearest_position_with_the_label() -> None:
    maps = guidance.LabelMaps(np.array([[1, 2, -1]], np.int32), np.array([[2, 2, 1, 1, 3]], np.int32))
    labels = maps.on(BACKEND)
    field = np.array([[[0, 0], [0, 4], [0, 4]]], np.int32)
    assert nnf.forbidden(field, labels).tolist() == [[True, True, False]]
    assert guidance.constrain_to_labels(BACKEND, field, maps, labels).tolist() == [[[0, 2], [0, 1], [0, 4]]]


def test_the_nearest_position_is_found_in_a_sheet_whose_squared_length_exceeds_int32() -> None:
    source = np.zeros((58_001, 1), np.int32)
    source[[1001, 58_000]] = 1
    maps = guidance.LabelMaps(np.array([[1]], np.int32), source)
    field = np.array([[[1000, 0]]], np.int32)
    assert guidance.constrain_to_labels(BACKEND, field, maps, maps.on(BACKEND)).tolist() == [[[1001, 0]]]


def layer(h: int, w: int, colour: tuple[int, int, int], edge: int) -> np.ndarray:
    """Return a label picture with one label left of `edge`, on a transparent layer.

    The transparent pixels have random colours.
    """
    mask = np.dstack([noise(h, w), np.zeros((h, w), np.uint8)])
    mask[:, :edge] = *colour, 255
    return mask


def as_file(mask: np.ndarray, mode: str) -> bytes:
    """Return a label picture as a PNG file, in a mode of Pillow that has transparency."""
    image, content, options = Image.fromarray(mask), io.BytesIO(), {}
    if mode == "16 bits":
        write_png16(content, mask * np.uint16(257), None)
        return content.getvalue()
    if mode == "P":
        palette = Image.new("P", image.size, 1)
        palette.putpalette([255, 0, 0, 7, 7, 7])
        palette.paste(0, mask=image.getchannel("A"))
        image, options = palette, {"transparency": 1}
    elif mode == "LA":
        image = image.convert("LA")
    image.save(content, "PNG", **options)
    return content.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "16 bits"])
def test_one_label_on_a_transparent_layer_limits_matches_in_both_directions(mode: str) -> None:
    """Label the left half of A and of B', though the left half of A looks like the right of B'."""
    a, left = noise(48, 64), np.arange(64) < 32
    b1 = np.roll(a, 32, axis=1)
    mask_a, mask_b = (as_file(layer(48, 64, RED, 32), mode) for _ in range(2))
    result = Engine(device="cpu", threads=2).transfer(
        a, b1, mask_a=mask_a, mask_b=mask_b, inversion="vote", search_iterations=2
    )
    for field in (result.nnf_ab, result.nnf_ba):
        assert left[field[:, :32, 1]].all()
        assert left[field[:, 32:, 1]].any()  # positions without a label match anything


def test_transparent_pixels_have_no_label_and_soft_edges_add_no_labels() -> None:
    mask = layer(20, 20, RED, 10)
    mask[:, 8:12, :3], mask[:, 8:12, 3] = RED, [230, 140, 100, 30]
    labels = read(mask, regions(20, 30, RED, BLUE, 10), (20, 20), (20, 30))
    assert labels is not None
    assert (labels.content == [0xFF0000] * 10 + [guidance.UNLABELLED] * 10).all()
    maps = labels.at((20, 20), Sheet(((20, 30),)))
    assert (maps.content[:, 10:] < 0).all()
    assert (maps.source == [0xFF0000] * 10 + [-1] * 20).all()  # the mask of A has no blue
    maps = labels.reversed().at((20, 30), Sheet(((20, 20),)))
    assert (maps.source[:, 10:] > 0xFFFFFF).all()
    assert (maps.content[:, 10:] < 0).all()


@pytest.mark.parametrize(
    ("mask_a", "mask_b", "says"),
    [
        (regions(20, 20, RED, RED, 9), regions(20, 20, RED, RED, 9), True),
        # If a colour is in one mask only, positions of this colour match anything.
        (regions(20, 20, RED, BLUE, 9), regions(20, 20, RED, GREEN, 9), True),
        (regions(20, 20, RED, BLUE, 9), regions(20, 20, GREEN, GREEN, 9), True),
        (layer(20, 20, RED, 0), layer(20, 20, RED, 9), True),
        (layer(20, 20, RED, 9), layer(20, 20, RED, 9), False),
        (layer(20, 20, RED, 20), layer(20, 20, RED, 9), False),
        (regions(20, 20, RED, BLUE, 9), regions(20, 20, BLUE, RED, 3), False),
    ],
)  # fmt: skip
def test_masks_that_forbid_no_match_are_logged_in_one_line(mask_a, mask_b, says: bool, caplog) -> None:
    with caplog.at_level(logging.WARNING, "analogy"):
        read(mask_a, mask_b, (20, 20), (20, 20))
    assert ["the masks forbid no match" in record.getMessage() for record in caplog.records] == [True] * says


def halves(left: int, right: int, edge: int) -> np.ndarray:
    """Return a label picture with 16 bits per channel (20, 20, 3) and two regions."""
    mask = np.empty((20, 20, 3), np.uint16)
    mask[:, :edge], mask[:, edge:] = left, right
    return mask


def test_regions_that_differ_by_less_than_one_step_of_eight_bits_stay_apart(caplog) -> None:
    with caplog.at_level(logging.INFO, "analogy"):
        labels = read(halves(0, 100, 9), halves(100, 0, 5), (20, 20), (20, 20))
    assert caplog.records == []
    assert labels is not None
    (left,), (right,) = np.unique(labels.content[:, :9]), np.unique(labels.content[:, 9:])
    assert left != right
    assert (labels.sources[0][:, :5] == right).all()
    assert (labels.sources[0][:, 5:] == left).all()
    with pytest.raises(SettingsError, match="pin 1 joins the region #006400640064 of A with #000000 of B'"):
        place_pins(np.array([(15.0, 2, 15, 2)]), (20, 20), {"B'": (20, 20)}, (20, 20), labels)


def test_a_label_of_16_bits_that_one_mask_lacks_is_logged_by_its_colour(caplog) -> None:
    with caplog.at_level(logging.INFO, "analogy"):
        read(halves(1, 2, 9), halves(1, 3, 9), (20, 20), (20, 20))
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.INFO] == [
        "the label #000200020002 of A is not in the mask of B', and is ignored",
        "the label #000300030003 of B' is not in the mask of A, and is ignored",
    ]


def test_a_mask_of_16_bits_has_the_labels_of_the_same_mask_of_8_bits() -> None:
    mask = layer(20, 20, RED, 9)
    given = as_file(mask, "16 bits")
    eight, sixteen = (read(each, mask, (20, 20), (20, 20)) for each in (mask, given))
    assert eight is not None and sixteen is not None
    for one, other in ((eight.content, sixteen.content), (eight.sources[0], sixteen.sources[0])):
        assert one.dtype == other.dtype == np.int32
        assert np.array_equal(one, other)


def test_masks_in_memory_that_differ_in_16_bits_have_different_checksums() -> None:
    labels = read(halves(0, 1, 9), halves(0, 2, 9), (20, 20), (20, 20))
    assert labels is not None
    assert labels.masks["mask_a"]["sha256"] != labels.masks["mask_b"]["sha256"]


def test_a_pin_from_a_label_to_a_place_without_one_is_refused() -> None:
    labels = read(layer(20, 20, RED, 9), layer(20, 20, RED, 9), (20, 20), (20, 20))
    for pin, words in (((2, 2, 15, 2), "the region #ff0000 of A with an unlabelled place"),
                       ((15, 2, 2, 2), "an unlabelled place of A with #ff0000 of B'")):  # fmt: skip
        with pytest.raises(SettingsError, match=words):
            place_pins(np.array([pin], float), (20, 20), {"B'": (20, 20)}, (20, 20), labels)
    assert place_pins(np.array([(15.0, 2, 12, 2)]), (20, 20), {"B'": (20, 20)}, (20, 20), labels) is not None


def test_a_result_names_its_masks_with_the_checksums_of_their_files(tmp_path) -> None:
    mask = regions(20, 20, RED, BLUE, 9)
    Image.fromarray(mask).save(tmp_path / "labels.png")
    content = (tmp_path / "labels.png").read_bytes()
    engine, options = Engine(device="cpu", threads=2), {"inversion": "vote", "search_iterations": 1}
    for given, name in ((tmp_path / "labels.png", f"the mask of A ({tmp_path / 'labels.png'})"),
                        (content, "the mask of A"), (io.BytesIO(content), "the mask of A")):  # fmt: skip
        result = engine.transfer(noise(20, 20), noise(20, 20, 1), mask_a=given, mask_b=mask, **options)
        assert result.record()["mask_a"] == {"name": name, "sha256": hashlib.sha256(content).hexdigest()}
        assert result.record()["mask_b"] == {
            "name": "the mask of B'", "sha256": hashlib.sha256(mask.tobytes()).hexdigest(),
        }  # fmt: skip
    result = engine.transfer(noise(20, 20), noise(20, 20, 1), **options)
    assert result.record()["mask_a"] is result.record()["mask_b"] is None


def test_without_masks_there_are_no_labels() -> None:
    assert guidance.read_labels(None, None, (20, 20), {"B'": (20, 20)}) is None


@pytest.mark.parametrize(
    ("mask_a", "mask_b", "words"),
    [
        (noise(20, 21), noise(20, 20), "the mask of A is 21 x 20 pixels and its picture is 20 x 20"),
        (np.zeros((20, 20, 3), np.uint8), noise(20, 20), "the mask of B' has 400 colours"),
    ],
)  # fmt: skip
def test_wrong_masks_are_refused_in_one_line_with_the_reason(mask_a, mask_b, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        read(mask_a, mask_b, (20, 20), (20, 20))
    assert "\n" not in str(caught.value)


def test_positions_between_the_masks_of_several_examples_have_no_label() -> None:
    """Use black regions, whose label is 0, so that zeros between the masks would be labels."""
    black, sizes = np.zeros((20, 20, 3), np.uint8), {"B' 1": (20, 20), "B' 2": (16, 30)}
    masks = [black, np.zeros((16, 30, 3), np.uint8)]
    labels = guidance.read_labels(black, masks, (20, 20), sizes)
    assert labels is not None
    sheet = Sheet(tuple(sizes.values()))
    found = labels.at((20, 20), sheet).source == 0
    assert found[:20, :20].all() and found[sheet.tops[1] :].all()
    assert found.sum() == 20 * 20 + 16 * 30


def test_a_label_is_ignored_only_where_no_example_has_it(caplog: pytest.LogCaptureFixture) -> None:
    masks = [regions(20, 20, RED, RED, 9), regions(20, 20, BLUE, GREEN, 9)]
    with caplog.at_level(logging.INFO, "analogy"):
        labels = guidance.read_labels(
            regions(20, 20, RED, BLUE, 10), masks, (20, 20), {"B' 1": (20, 20), "B' 2": (20, 20)}
        )
    assert [record.getMessage() for record in caplog.records] == [
        "the label #00ff00 of B' 2 is not in the mask of A, and is ignored"
    ]
    assert labels is not None
    assert (labels.content >= 0).all()
    assert (labels.to(1).sources[0][:, :9] == 0x0000FF).all()
