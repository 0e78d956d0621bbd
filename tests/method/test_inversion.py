"""L-BFGS: on functions whose minimum is known, and on the objective of the shipped model."""

import numpy as np
import onnx
import onnxruntime
import pytest

from analogy.method.features import Features, nchw
from analogy.method.inversion import _History, minimise
from analogy.networks.models import DEFAULT, locate


def quadratic(scales: np.ndarray, best: np.ndarray):
    def function(x):
        error = x - best
        return float((scales * error * error).sum()), (2 * scales * error).astype(np.float32)

    return function


def test_l_bfgs_finds_the_minimum_of_an_ill_conditioned_quadratic(cpu) -> None:
    rng = np.random.default_rng(1)
    scales = np.geomspace(1, 1e3, 40, dtype=np.float32)
    best = rng.standard_normal(40).astype(np.float32)
    x, value = minimise(cpu, quadratic(scales, best), np.zeros(40, np.float32), 160)
    assert np.abs(x - best).max() < 1e-3
    assert value == pytest.approx(quadratic(scales, best)(x)[0])


def test_the_direction_is_that_of_bfgs_by_the_latest_pairs_of_positive_curvature(cpu) -> None:
    """Compare with BFGS that stores the inverse Hessian (Nocedal & Wright 2006, equation 6.17)."""
    rng = np.random.default_rng(3)
    x, gradient = np.zeros(12, np.float32), rng.standard_normal(12, np.float32)
    history, pairs = _History(cpu, gradient, 3, gradient @ gradient), []
    for tried in range(9):
        refused = tried in (0, 5)
        step, change = rng.standard_normal((2, 12), np.float32)
        change *= np.sign(step @ change) * (-1 if refused else 1)
        products = history.try_step(x, x + step, gradient, gradient + change)
        if tried == 7:  # a step that is not accepted must not change the history
            continue
        x, gradient = x + step, gradient + change
        history.keep([float(number) for product in products for number in np.ravel(product)])
        pairs += [] if refused else [(step.astype(np.float64), change)]
        inverse = np.eye(12)
        if pairs:
            inverse *= pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1])
        for s, y in pairs[-3:]:
            side = np.eye(12) - np.outer(s, y) / (s @ y)
            inverse = side @ inverse @ side.T + np.outer(s, s) / (s @ y)
        direction, slope = history.direction(gradient)
        np.testing.assert_allclose(direction, -inverse @ gradient, rtol=1e-3, atol=1e-4 * np.abs(direction).max())
        assert slope == pytest.approx(direction @ gradient, rel=1e-4)


def test_l_bfgs_approaches_the_minimum_of_the_rosenbrock_function(cpu) -> None:
    def rosenbrock(p):
        x, y = map(float, p)
        gradient = [-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)]
        return 100 * (y - x * x) ** 2 + (1 - x) ** 2, np.array(gradient, np.float32)

    x, _ = minimise(cpu, rosenbrock, np.array([-1.2, 1.0], np.float32), 200)
    assert np.abs(x - 1).max() < 0.02


def test_the_result_is_never_worse_than_the_start_even_with_a_wrong_gradient(cpu) -> None:
    rng = np.random.default_rng(2)

    def function(x):  # its gradient is random
        return float(np.abs(x).sum()), rng.standard_normal(x.shape).astype(np.float32)

    start = np.full(10, 0.5, np.float32)
    x, value = minimise(cpu, function, start, 20)
    assert value <= 5.0
    assert np.abs(x).sum() == pytest.approx(value, rel=1e-6)
    assert np.array_equal(start, np.full(10, 0.5, np.float32))


def test_a_start_at_the_minimum_is_returned_after_one_evaluation(cpu) -> None:
    start = np.ones(5, np.float32)
    points = []

    def function(x):
        points.append(x)
        return quadratic(np.ones(5, np.float32), start)(x)

    x, value = minimise(cpu, function, start, 10)
    assert value == 0
    assert len(points) == 1
    assert np.array_equal(x, start)


@pytest.mark.parametrize("level", [5, 4, 3, 2])
def test_twenty_iterations_reduce_the_objective_of_the_shipped_model_fivefold(level: int, cpu) -> None:
    network = Features(locate(DEFAULT), cpu)
    rng = np.random.default_rng(level)
    picture = np.kron(rng.integers(0, 256, (8, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    other = picture[::-1].copy()
    pyramid = network.pyramid(picture)
    target = nchw(np, pyramid[level])
    start = network.pyramid(other)[level - 2] if level > 2 else other.astype(np.float32) / 255
    objective = network.objective(level, target, pyramid[level - 1].shape[:2])
    first, _ = objective(nchw(np, start))
    x, last = minimise(cpu, objective, nchw(np, start), 20, on_loss=objective.on_loss)
    assert last < 0.2 * first
    assert objective.least == last
    again = network.objective(level, target, pyramid[level - 1].shape[:2])
    loss = float(again(x)[0])
    assert loss == pytest.approx(last, rel=1e-5)
    again.on_loss(loss)
    assert objective.between.shape == nchw(np, pyramid[level - 1]).shape
    assert np.allclose(objective.between, again.between, rtol=1e-4, atol=1e-4)


def test_between_belongs_to_the_evaluation_with_the_smallest_loss(cpu) -> None:
    network = Features(locate(DEFAULT), cpu)
    picture = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    pyramid = network.pyramid(picture)
    objective = network.objective(4, nchw(np, pyramid[4]), (8, 12))
    right, wrong = nchw(np, pyramid[2]), np.zeros_like(nchw(np, pyramid[2]))
    losses = []
    for x in (right, wrong):
        losses.append(float(objective(x)[0]))
        objective.on_loss(losses[-1])
    assert losses[0] < 1e-3 < losses[1]
    assert np.allclose(objective.between, nchw(np, pyramid[3]), atol=1e-3)


@pytest.mark.parametrize("level", [5, 4, 3, 2])
def test_one_step_of_the_shipped_model_brings_the_next_level_nearer_to_its_target(level: int, cpu) -> None:
    network = Features(locate(DEFAULT), cpu)
    rng = np.random.default_rng(level)
    picture = np.kron(rng.integers(0, 256, (8, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    pyramid, other = network.pyramid(picture), network.pyramid(picture[::-1].copy())
    start = other[level - 2] if level > 2 else picture[::-1].astype(np.float32) / 255
    moved = network.step(level, np.ascontiguousarray(start), pyramid[level], pyramid[level - 1].shape[:2])

    def misfit(features: np.ndarray) -> float:
        whole = onnx.load(network.folder / "features.onnx")
        part = onnx.utils.Extractor(whole).extract_model([f"relu{level - 1}_1"], [f"relu{level}_1"])
        session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(None, {f"relu{level - 1}_1": nchw(np, features)})[0]
        return float(np.square(found - nchw(np, pyramid[level])).sum())

    assert misfit(moved) < 0.8 * misfit(other[level - 1])
