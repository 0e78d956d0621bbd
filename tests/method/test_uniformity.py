"""Uniformity: with it, a search uses more of the example, and still obeys pins and labels."""

from __future__ import annotations

import numpy as np
import pytest

from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.method import uniformity
from analogy.method.sheets import Sheet
from analogy.pictures.images import resize

FAST = {"inversion": "vote", "search_iterations": 2, "direction": "ab"}


def smooth(size: tuple[int, int], seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    return resize(coarse, *size)


FLAT = np.clip(np.random.default_rng(0).normal(120, 3, (96, 128, 3)), 0, 255).astype(np.uint8)
"""Nearly flat picture, whose best matches are in the flattest part of an example."""
EXAMPLE = smooth((96, 112), 1)
EXAMPLE[30:60, 40:80] = 120


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu", threads=2)


def used(nnf: np.ndarray, position: int = 16) -> int:
    """Return how many squares of the example, with sides of `position` pixels, contain a match."""
    return len({tuple(each) for each in (nnf[..., -2:] // position).reshape(-1, 2).tolist()})


def test_uniformity_0_gives_the_default_result_and_counts_no_uses(engine: Engine, monkeypatch) -> None:
    plain = engine.transfer(FLAT, EXAMPLE, **FAST)

    def refuse(*args, **options):
        raise AssertionError("`spread` was called")

    monkeypatch.setattr(uniformity, "spread", refuse)
    zero = engine.transfer(FLAT, EXAMPLE, uniformity=0, **FAST)
    assert np.array_equal(zero.nnf_ab, plain.nnf_ab)
    assert np.array_equal(zero.a_prime, plain.a_prime)


def test_with_uniformity_more_of_the_example_is_used(engine: Engine) -> None:
    zero, one = (engine.transfer(FLAT, EXAMPLE, uniformity=amount, **FAST) for amount in (0, 1))
    assert used(one.nnf_ab) > used(zero.nnf_ab)
    assert one.error_ab.mean() >= zero.error_ab.mean()  # `error_ab` does not contain what uniformity adds
    assert one.error_ab.min() >= -2.001
    assert one.settings.uniformity == 1


def test_a_result_is_the_same_for_any_number_of_threads_and_on_the_simulator(simulated) -> None:
    rng = np.random.default_rng(2)
    sizes, patch = ((7, 9), (6, 5)), 3
    a, b = (
        CpuBackend(1).join(*rng.standard_normal((2, *size, 6), np.float32)) for size in ((9, 11), Sheet(sizes).size)
    )
    sheet = Sheet(sizes)
    start = np.zeros((9, 11, 2), np.int32)
    start[:, 6:, 0] = sheet.tops[1]
    found = []
    for backend in (CpuBackend(1), CpuBackend(3), simulated):
        options = {"patch": patch, "search_radius": 5, "seed": 3, "frames": sheet.frames(backend)}
        there = map(backend.asarray, (a, b, start))
        work = uniformity.spread(backend, *there, sheet, uniformity=0.7, tick=lambda share: None, **options)
        ((field, distance),) = backend.run_together([work])
        found.append((backend.to_host(field), backend.to_host(distance)))
        expected = backend.distance(backend.asarray(a), backend.asarray(b), field, patch, options["frames"])
        assert np.array_equal(backend.to_host(expected), found[-1][1])
    for field, distance in found[1:]:
        assert np.array_equal(field, found[0][0])
        assert np.array_equal(distance, found[0][1])
    assert (found[0][0] != start).any()


def test_pins_and_labels_hold_with_uniformity(engine: Engine) -> None:
    mask_a, mask_b = np.zeros((96, 128), np.uint8), np.zeros((96, 112), np.uint8)
    mask_a[:, 70:], mask_b[:50] = 255, 255
    options = {"mask_a": mask_a, "mask_b": mask_b, "pins": [(20, 30, 90, 80)], "uniformity": 1, **FAST}
    field = engine.transfer(FLAT, EXAMPLE, **options).nnf_ab
    assert np.array_equal(mask_b[field[..., 0], field[..., 1]], mask_a)
    assert field[30, 20].tolist() == [80, 90]


def test_with_uniformity_several_examples_are_used(engine: Engine) -> None:
    examples = [EXAMPLE, smooth((80, 64), 3)]
    zero, one = (engine.transfer(FLAT, examples, uniformity=amount, **FAST) for amount in (0, 1))
    assert used(one.nnf_ab) > used(zero.nnf_ab)
    sizes = np.array([example.shape[:2] for example in examples])
    for result in (zero, one):
        assert (result.nnf_ab[..., 1:] < sizes[result.nnf_ab[..., 0]]).all()
