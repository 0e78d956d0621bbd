"""Projections: finding them, adding them to a model folder, and using them in the search."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.errors import ImageError, ModelError
from analogy.method import projection
from analogy.method.features import Features
from analogy.method.projection import FEWEST, add_projection, find_projection, list_photos
from analogy.networks.cards import CARD, read_card
from analogy.networks.models import DEFAULT, PROJECTION, add_file, locate, verify

BACKEND = CpuBackend(2)
SMALL = {1: 8, 2: 16, 3: 32, 4: 64, 5: 64}
"""Level -> number of directions, at most half of the channels of the shipped model."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return the paths of pictures of coloured blocks with noise."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(FEWEST):
        rng = np.random.default_rng(seed)
        blocks = np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((12, 12, 1)))
        pixels = np.clip(blocks + rng.normal(0, 10, blocks.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return list_photos(folder)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the shipped model, without its projection."""
    folder = shutil.copytree(locate(DEFAULT), tmp_path / "model")
    card = json.loads((folder / CARD).read_text())
    del card["sha256"][PROJECTION]
    (folder / CARD).write_text(json.dumps(card))
    (folder / PROJECTION).unlink()
    return folder


def test_the_projection_keeps_as_much_as_a_singular_value_decomposition(photos, monkeypatch) -> None:
    monkeypatch.setattr(projection, "POSITIONS", 10**6)  # all positions, because the test uses all, too
    network = Features(locate(DEFAULT), BACKEND)
    found = find_projection(network, photos, dimensions=SMALL)
    assert {level: matrix.shape[1] for level, matrix in found.items()} == SMALL
    pyramids = [network.pyramid(np.asarray(Image.open(path))) for path in photos]
    for level, matrix in found.items():
        rows = np.concatenate([pyramid[level].reshape(-1, matrix.shape[0]) for pyramid in pyramids])
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        assert np.allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-5)
        values = np.linalg.svd(rows, compute_uv=False)
        kept = np.square(rows @ matrix).sum() / np.square(rows).sum()
        assert kept == pytest.approx(np.square(values[: matrix.shape[1]]).sum() / np.square(values).sum(), abs=1e-5)


def test_the_same_photographs_give_the_same_projection(photos) -> None:
    one, other = (find_projection(Features(locate(DEFAULT), BACKEND), photos, dimensions=SMALL) for _ in range(2))
    assert all(np.array_equal(one[level], other[level]) for level in SMALL)


def test_a_rotation_of_the_features_keeps_the_fields_and_fewer_dimensions_do_not(folder, photos) -> None:
    """Check that a rotation keeps the field, since it keeps every cosine; a part of it does not."""
    a, b_prime = (np.asarray(Image.open(path)) for path in photos[:2])
    options = {"inversion": "vote", "search_iterations": 2}
    plain = Engine(folder, "cpu").transfer(a, b_prime, **options)
    rng = np.random.default_rng(0)
    for keep, same in ((1.0, True), (0.25, False)):
        matrices = {
            f"level{level}": np.linalg.qr(rng.standard_normal((width, width)))[0][:, : int(keep * width)]
            for level, width in enumerate(read_card(folder).widths, 1)
        }
        save(folder, {name: matrix.astype(np.float32) for name, matrix in matrices.items()})
        projected = Engine(folder, "cpu").transfer(a, b_prime, **options)
        share = (projected.nnf_ab == plain.nnf_ab).all(axis=2).mean()
        assert share > 0.98 if same else share < 0.9


def save(folder, arrays) -> None:
    np.savez(folder / "new.npz", **arrays)
    add_file(folder, PROJECTION, (folder / "new.npz").read_bytes())
    (folder / "new.npz").unlink()


def test_an_added_projection_verifies_and_is_applied_for_the_search(folder, photos) -> None:
    before = read_card(folder)
    found = add_projection(Features(folder, BACKEND), photos, dimensions=SMALL)
    verify(folder)
    assert read_card(folder).fingerprint != before.fingerprint
    network = Features(folder, BACKEND)
    features = network.pyramid(np.asarray(Image.open(photos[0])))
    for level, matrix in found.items():
        expected = features[level] @ matrix
        close = 1e-5 * np.abs(expected).max()  # processors add in different orders
        np.testing.assert_allclose(network.for_search(level, features[level]), expected, rtol=0, atol=close)


def test_a_projection_that_the_card_does_not_name_is_ignored(folder) -> None:
    np.savez(folder / PROJECTION, level1=np.ones((16, 4), np.float32))
    assert Features(folder, BACKEND).projections == {}


def test_too_narrow_a_network_and_too_few_photographs_are_refused(folder, photos, tmp_path) -> None:
    with pytest.raises(
        ModelError,
        match=r"its levels have .* channels and need no projection; a projection is for levels with more than \[16, 32",
    ):
        add_projection(Features(folder, BACKEND), photos)
    (tmp_path / "few").mkdir()
    shutil.copy(photos[0], tmp_path / "few")
    with pytest.raises(ImageError, match=rf"few has 1 photographs; give {FEWEST} or more, and "):
        list_photos(tmp_path / "few")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"level1": np.ones((3, 2), np.float32)},
            r"level1 is float32 \(3, 2\); it must be a finite float32 array with 16 rows and 1 to 16 columns",
        ),
        ({"level1": np.ones((16, 2))}, r"level1 is float64 \(16, 2\)"),
        ({"level1": np.full((16, 2), np.nan, np.float32)}, "must be a finite"),
        ({"level6": np.ones((16, 2), np.float32)}, "has an array 'level6'; its arrays must be named level1 to level5"),
        ({"other": np.ones((16, 2), np.float32)}, "cannot be read"),
        (None, "cannot be read; it may be damaged"),
    ],
)
def test_a_projection_that_does_not_fit_is_refused_in_one_line(folder, arrays, message) -> None:
    if arrays:
        save(folder, arrays)
    else:
        add_file(folder, PROJECTION, b"PK\x03\x04 nothing")
    with pytest.raises(ModelError, match=message) as caught:
        Features(folder, BACKEND)
    assert "\n" not in str(caught.value)
