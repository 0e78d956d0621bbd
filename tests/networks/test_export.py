"""Tests of exported graphs against NumPy, central differences and PyTorch."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from vgg_files import IMAGENET, picture, plain_features, random_network, random_weights, run_layers

from analogy.errors import ModelError
from analogy.networks.description import CONVOLUTIONS, Network
from analogy.networks.export import (
    NEAR,
    build_features,
    build_objective,
    build_step,
)

SIZES = [(16, 16), (17, 19), (33, 16), (48, 45), (1, 5)]
WIDTHS = [(3, 4, 5, 6, 7), (16, 12, 20, 16, 24)]
SLIM = dict(zip(CONVOLUTIONS, (2, 2, 4, 4, 8, 8, 8, 12, 16, 10, 10, 12, 16), strict=True))
"""Layer -> number of channels, which differs within a level, as in the compact model."""
LEVELS = (5, 4, 3, 2)
SPAN_LAYERS = {
    5: ("conv3_2", "conv3_3", "conv3_4", "conv4_1", "conv4_2", "conv4_3", "conv4_4", "conv5_1"),
    4: ("conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4", "conv4_1"),
    3: ("conv1_2", "conv2_1", "conv2_2", "conv3_1"),
    2: ("conv1_1", "conv1_2", "conv2_1"),
}


def session(model: onnx.ModelProto, **options) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    for key, value in options.items():
        setattr(settings, key, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def case(network: Network, level: int, size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs `x` and `target` of an objective, for a picture of `size`.

    Some values of `x` are negative, as during the optimisation.
    """
    rng = np.random.default_rng([seed, level, *size])

    def sized(back: int) -> list[int]:
        return [-(-side // 2 ** (back - 1)) for side in size]

    x = picture(*size, seed) if level == 2 else rng.normal(0.5, 1, (network.widths[level - 3], *sized(level - 2)))
    target = rng.normal(0.5, 1, (network.widths[level - 1], *sized(level)))
    return np.float64(x)[None], np.maximum(target, 0)[None]


def plain_objective(network: Network, level: int, x: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the loss and relu(L-1)_1 of an objective, computed by the network in NumPy."""
    if level == 2:
        x = (x - np.reshape(network.mean, (1, 3, 1, 1))) / np.reshape(network.std, (1, 3, 1, 1))
        x = x[:, ::-1] if network.bgr else x
    relus = run_layers(network.weights, x[0], SPAN_LAYERS[level])
    return float(((relus[f"relu{level}_1"] - target[0]) ** 2).sum()), relus[f"relu{level - 1}_1"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("widths", [*WIDTHS, SLIM], ids=["narrow", "wide", "slim"])
@pytest.mark.parametrize("bgr", [False, True])
def test_features_equal_the_plain_network(size, widths, bgr):
    network = random_network(widths, bgr=bgr)
    image = picture(*size)
    names = [f"relu{level}_1" for level in range(1, 6)]
    maps = session(build_features(network)).run(names, {"image": image[None]})
    expected = plain_features(network, image)
    for level, (name, result) in enumerate(zip(names, maps, strict=True), 1):
        stride = 2 ** (level - 1)
        assert result.shape == (1, network.widths[level - 1], -(-size[0] // stride), -(-size[1] // stride))
        np.testing.assert_allclose(result[0], expected[name], rtol=1e-4, atol=1e-5)
        assert expected[name].max() > 0.1, "the test would compare zeros"


def test_bgr_weights_give_the_features_of_the_reversed_picture():
    weights = random_weights()
    mean, std = IMAGENET
    bgr = Network(weights, mean, std, bgr=True)
    rgb = Network(weights, mean[::-1], std[::-1])
    image = picture(20, 20)
    (a,) = session(build_features(bgr)).run(["relu1_1"], {"image": image[None]})
    (b,) = session(build_features(rgb)).run(["relu1_1"], {"image": image[None, ::-1].copy()})
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", [(16, 16), (17, 19), (33, 16)])
@pytest.mark.parametrize("widths", [WIDTHS[0], SLIM], ids=["narrow", "slim"])
def test_gradient_equals_central_differences(level, size, widths):
    network = random_network(widths, bgr=True)
    x, target = case(network, level, size)
    evaluator = ReferenceEvaluator(build_objective(network, level, dtype=np.float64))
    loss, gradient, between = evaluator.run(["loss", "gradient", "between"], {"x": x, "target": target})
    expected, expected_between = plain_objective(network, level, x, target)
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    np.testing.assert_allclose(between[0], expected_between, rtol=1e-10, atol=1e-12)
    assert gradient.shape == x.shape
    rng = np.random.default_rng(1)
    step = 1e-7  # so small that few ReLUs are switched and few maxima move
    for _ in range(6):
        direction = rng.standard_normal(x.shape)
        up, down = (plain_objective(network, level, x + sign * step * direction, target)[0] for sign in (1, -1))
        assert (gradient * direction).sum() == pytest.approx((up - down) / (2 * step), rel=1e-5)
    for index in zip(*(rng.integers(0, side, 12) for side in x.shape), strict=True):
        direction = np.zeros_like(x)
        direction[index] = step
        up, down = (plain_objective(network, level, x + sign * direction, target)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-4 * abs(gradient).max())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", SIZES)
def test_gradient_equals_autograd(level, size):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the test compares with its autograd")
    functional = torch.nn.functional
    network = random_network((16, 12, 20, 16, 24), seed=2, bgr=True)
    x, target = (np.float32(array) for array in case(network, level, size))
    loss, gradient = session(build_objective(network, level)).run(["loss", "gradient"], {"x": x, "target": target})
    leaf = torch.tensor(x, requires_grad=True)
    y = leaf
    if level == 2:
        mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (network.mean, network.std))
        y = ((y - mean) / std).flip(1)
    for layer in SPAN_LAYERS[level]:
        if layer.endswith("_1") and layer != "conv1_1":
            y = functional.max_pool2d(y, 2, ceil_mode=True)
        kernel, bias = (torch.tensor(network.weights[f"{layer}.{part}"]) for part in ("weight", "bias"))
        y = functional.relu(functional.conv2d(y, kernel, bias, padding=1))
    expected = (y - torch.tensor(target)).square().sum()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-4)
    difference = np.abs(gradient - leaf.grad.numpy()).max()
    assert difference <= 1e-4 * np.abs(leaf.grad.numpy()).max()


def test_ties_in_pooling_share_the_gradient_equally():
    """Use a constant map: all inputs of a pooling window are equal, and share the gradient."""
    weights = random_weights()
    for layer in SPAN_LAYERS[3]:  # each layer copies the first channel of its input
        weights[f"{layer}.weight"] = np.zeros_like(weights[f"{layer}.weight"])
        weights[f"{layer}.bias"] = np.zeros_like(weights[f"{layer}.bias"])
        weights[f"{layer}.weight"][0, 0, 1, 1] = 1
    network = Network(weights, *IMAGENET)
    x = np.full((1, network.widths[0], 7, 6), 0.75, np.float32)
    target = np.zeros((1, network.widths[2], 2, 2), np.float32)
    loss, gradient = session(build_objective(network, 3)).run(["loss", "gradient"], {"x": x, "target": target})
    assert loss == pytest.approx(4 * 0.75**2)
    assert np.isfinite(gradient).all()
    assert gradient[:, 0].sum() == pytest.approx(4 * 2 * 0.75)  # four outputs, with d loss / d output = 2 (0.75 - 0)
    np.testing.assert_allclose(gradient[0, 0, :4, :4], 2 * 0.75 / 16, rtol=1e-6)  # each output has 4 x 4 inputs
    assert not gradient[:, 1:].any()


def test_a_flat_picture_has_a_finite_gradient_that_is_not_zero():
    network = random_network()
    x = np.full((1, 3, 21, 18), 0.5, np.float32)
    target = np.ones((1, network.widths[1], 11, 9), np.float32)
    loss, gradient = session(build_objective(network, 2)).run(["loss", "gradient"], {"x": x, "target": target})
    assert np.isfinite(loss) and np.isfinite(gradient).all() and gradient.any()


@pytest.mark.parametrize("level", LEVELS)
def test_onnx_runtime_folds_the_turned_kernels_at_load(tmp_path, level):
    """Check that ONNX Runtime computes the kernels of the gradient once, when it loads a graph."""
    optimised = tmp_path / "optimised.onnx"
    basic = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session(
        build_objective(random_network(), level),
        optimized_model_filepath=str(optimised),
        graph_optimization_level=basic,
    )
    graph = onnx.load(optimised).graph
    constants = {tensor.name for tensor in graph.initializer}
    assert not [node.name for node in graph.node if node.op_type == "Transpose"]
    for node in graph.node:
        if node.op_type == "Conv":
            assert node.input[1] in constants


def test_vgg16_exports_to_the_features_and_objective_of_its_eleven_layers():
    layers = tuple(layer for layer in CONVOLUTIONS if layer not in ("conv3_4", "conv4_4"))
    network = Network(random_weights(layers=layers), *IMAGENET)
    assert network.layers == layers
    image = picture(33, 18)
    (deepest,) = session(build_features(network)).run(["relu5_1"], {"image": image[None]})
    np.testing.assert_allclose(deepest[0], plain_features(network, image)["relu5_1"], rtol=1e-4, atol=1e-5)
    x, target = case(network, 5, (33, 18))
    loss, between = ReferenceEvaluator(build_objective(network, 5, dtype=np.float64)).run(
        ["loss", "between"], {"x": x, "target": target}
    )
    relus = run_layers(network.weights, x[0], [layer for layer in SPAN_LAYERS[5] if layer in layers])
    np.testing.assert_allclose(loss, ((relus["relu5_1"] - target[0]) ** 2).sum(), rtol=1e-10)
    np.testing.assert_allclose(between[0], relus["relu4_1"], rtol=1e-10, atol=1e-12)


def step(network: Network, level: int, start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the output of the graph of a gradient step; inputs and output are (1, C, H, W)."""
    evaluator = ReferenceEvaluator(build_step(network, level, dtype=np.float64))
    last = {"start": start.transpose(0, 2, 3, 1), "target": target.transpose(0, 2, 3, 1)}
    return evaluator.run(["reconstruction"], last)[0].transpose(0, 3, 1, 2)


@pytest.mark.parametrize("level", [level for level in LEVELS if level not in NEAR])
@pytest.mark.parametrize("size", [(16, 16), (17, 19), (33, 16)])
def test_a_far_step_gives_the_features_behind_one_polyak_step_of_the_objective(level, size):
    network = random_network(bgr=True)
    x, target = case(network, level, size)
    objective = ReferenceEvaluator(build_objective(network, level, dtype=np.float64))
    loss, gradient = objective.run(["loss", "gradient"], {"x": x, "target": target})
    moved = x - loss / (gradient**2).sum() * gradient
    expected = objective.run(["between"], {"x": moved, "target": target})[0]
    np.testing.assert_allclose(step(network, level, x, target), expected, rtol=1e-8, atol=1e-10)
    unmoved = objective.run(["between"], {"x": x, "target": target})[0]
    assert np.abs(expected - unmoved).max() > 1e-3 * unmoved.max(), "the test would accept a step of length zero"


@pytest.mark.parametrize("level", NEAR)
@pytest.mark.parametrize("size", [(32, 32), (33, 19)])
@pytest.mark.parametrize("widths", [WIDTHS[0], SLIM], ids=["narrow", "slim"])
def test_a_near_step_moves_the_features_one_level_finer_down_the_objective_by_polyak_s_length(level, size, widths):
    network = random_network(widths)
    x, target = case(network, level, size)
    own = next(i for i, layer in enumerate(SPAN_LAYERS[level]) if layer.endswith("_1")) + 1
    before, behind = SPAN_LAYERS[level][:own], SPAN_LAYERS[level][own:]
    features = run_layers(network.weights, x[0], before)[f"relu{level - 1}_1"]

    def loss(at: np.ndarray) -> float:
        return float(((run_layers(network.weights, at, behind)[f"relu{level}_1"] - target[0]) ** 2).sum())

    moved = features - step(network, level, x, target)[0]
    # The step moves the features by f / |f'|^2 f' (`moved`), so f' = f / |moved|^2 moved.
    gradient = loss(features) / (moved**2).sum() * moved
    rng = np.random.default_rng(2)
    for _ in range(6):
        direction = 1e-7 * rng.standard_normal(features.shape)
        change = (loss(features + direction) - loss(features - direction)) / 2
        assert (gradient * direction).sum() == pytest.approx(change, rel=1e-5)


def test_a_step_from_features_that_fit_changes_nothing():
    network = random_network()
    for level in LEVELS:
        x, target = case(network, level, (32, 32))
        relus = run_layers(network.weights, x[0], SPAN_LAYERS[level]) if level > 2 else None
        target = relus[f"relu{level}_1"][None] if relus else plain_features(network, x[0])["relu2_1"][None]
        expected = relus[f"relu{level - 1}_1"] if relus else plain_features(network, x[0])["relu1_1"]
        np.testing.assert_allclose(step(network, level, x, target)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("conv4_2.weight", None, "no conv4_2.weight"),
        ("conv3_1.weight", np.zeros((5, 3, 3, 3), np.float32), "conv3_1: kernel (5, 3, 3, 3)"),
        ("conv3_1.weight", np.zeros((5, 4, 5, 5), np.float32), "conv3_1: kernel (5, 4, 5, 5)"),
        ("conv2_2.bias", np.zeros(9, np.float32), "conv2_2: kernel (4, 4, 3, 3) and bias (9,)"),
        ("conv5_1.weight", np.zeros((0, 6, 3, 3), np.float32), "conv5_1: kernel (0, 6, 3, 3)"),
        ("conv4_4.bias", np.array([0, 0, np.nan, 0, 0, 0], np.float32), "conv4_4.bias has values that are not finite"),
        ("conv1_2.weight", np.full((3, 3, 3, 3), np.inf, np.float32), "conv1_2.weight has values that are not finite"),
    ],
)
def test_weights_whose_layers_do_not_fit_together_are_refused(name, value, message):
    weights = random_weights()
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    with pytest.raises(ModelError) as caught:
        Network(weights, *IMAGENET)
    assert message in str(caught.value) and "\n" not in str(caught.value)
