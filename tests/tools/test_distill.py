"""Tests of `tools/distill.py` with a small teacher, on crops that are small enough for a test."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed; the extra distill has it")
pytest.importorskip("safetensors", reason="safetensors is not installed; the extra distill has it")
pytest.importorskip("onnx", reason="onnx is not installed; the extra distill has it")

import torch
from PIL import Image, ImageOps
from safetensors.numpy import load_file, save_file
from vgg_files import plain_features, random_weights

from analogy.networks.description import CONVOLUTIONS, FOURTH, Network
from analogy.networks.models import locate, verify
from analogy.networks.weights import PREPROCESSING

TOOL = Path(__file__).parents[2] / "tools" / "distill.py"


def _looks():
    spec = importlib.util.spec_from_file_location("distill_looks", TOOL.with_name("distill_looks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


looks = _looks()


@pytest.fixture
def distill(monkeypatch):
    """Import the tool as a module, with small crops and one thread."""
    monkeypatch.syspath_prepend(str(TOOL.parent))
    spec = importlib.util.spec_from_file_location("distill_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for part in (module, sys.modules["distill_batches"]):
        monkeypatch.setattr(part, "SIDES", {32: (4, 4), 48: (2, 8)})
    monkeypatch.setattr(module, "HELD_BACK_SIDE", 48)
    monkeypatch.setattr(module, "DIRECTION_CROPS", 4)
    monkeypatch.setattr(sys.modules["distill_errors"], "EVALUATION_BATCH", 2)
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


@pytest.fixture
def inputs(tmp_path):
    """Return arguments of the tool that name a teacher's weights and a folder of six pictures."""
    rng = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    for i in range(6):
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        small.resize((96, 72), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{i}.png")
    save_file(random_weights((3, 4, 5, 6, 7)), tmp_path / "teacher.safetensors")
    return [str(tmp_path / "teacher.safetensors"), str(tmp_path / "photos"), "--preprocessing", "caffe"]


@pytest.fixture
def no_folder(distill, monkeypatch):
    """Let the tool write no model folder, for tests that need only the weights."""
    monkeypatch.setattr(distill, "write_model", lambda *_: None)


def options(run, steps=4):
    return ["-o", str(run), "--steps", str(steps), "--crops", "8", "--threads", "1", "--checkpoint-every", "2"]


def same(one, other, names=None) -> bool:
    return all((one[name] == other[name]).all() for name in names or one)


@pytest.mark.parametrize("crops", ["8", "0"], ids=["stored crops", "new crops"])
def test_the_same_seed_gives_the_same_weights_killed_or_not(
    distill, no_folder, inputs, tmp_path, monkeypatch, capsys, crops
):
    """Run the tool with crops of a pool and with new crops, with and without worker processes."""
    monkeypatch.setitem(distill.GROUPS, "cpu", 2 if crops == "0" else 1)

    def run(name, *more):
        distill.main([*inputs, *options(tmp_path / name), "--crops", crops, *more])
        return load_file(tmp_path / name / distill.WEIGHTS_FILE)

    def killed(*_):
        raise KeyboardInterrupt

    whole = run("a")
    with monkeypatch.context() as patch:
        patch.setattr(distill, "compare", killed)  # called right after the checkpoint of step 2
        with pytest.raises(KeyboardInterrupt):
            run("b")
    halfway = load_file(tmp_path / "b" / distill.WEIGHTS_FILE)
    with pytest.raises(SystemExit, match="--resume"):
        run("b")
    with pytest.raises(SystemExit, match=r"was made with .*'rate': 1\.0.* not .*'rate': 0\.5"):
        run("b", "--resume", "--rate", "0.5")
    resumed = run("b", "--resume", "--workers", "1" if crops == "0" else "0")
    assert "resumed at step 2 of 4" in capsys.readouterr().out
    assert same(whole, resumed) and not same(whole, halfway)
    assert not same(whole, run("c", "--seed", "1"))


def test_weights_have_the_names_and_shapes_of_the_compact_model(distill, inputs, tmp_path, capsys):
    distill.main(inputs + options(tmp_path / "run", steps=1))
    weights = load_file(tmp_path / "run" / distill.WEIGHTS_FILE)
    expected, channels = {}, 3
    for level, widths in enumerate([(16, 16), (32, 32), (64, 96, 96), (256, 192, 192), (256,)], 1):
        for i, width in enumerate(widths, 1):
            expected |= {f"conv{level}_{i}.weight": (width, channels, 3, 3), f"conv{level}_{i}.bias": (width,)}
            channels = width
    assert {name: weight.shape for name, weight in weights.items()} == expected
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float32)}
    verify(locate(tmp_path / "run" / "vgg16-compact"))  # the model folder exists and is complete

    trained = capsys.readouterr().out
    distill.main([*inputs, *options(tmp_path / "run"), "--evaluate", str(tmp_path / "run" / distill.WEIGHTS_FILE)])
    evaluated = capsys.readouterr().out.strip()
    assert evaluated.startswith("held-back errors")
    assert evaluated in trained


def test_one_table_compares_weights_of_any_layers_and_widths(distill, inputs, tmp_path, capsys):
    """Check that the errors of the teacher are almost 0 in a table that includes it.

    They are almost 0 because the projection loses nothing of the teacher's few channels.
    """
    inputs[-1] = "compact"
    sixteen = [layer for layer in CONVOLUTIONS if layer not in FOURTH]
    files = {"teacher.safetensors": random_weights((3, 4, 5, 6, 7)),
             "vgg16.safetensors": random_weights((8, 7, 6, 5, 4), 1, sixteen)}  # fmt: skip
    for name, weights in files.items():
        save_file(weights, tmp_path / name)
    distill.main([*inputs, *options(tmp_path / "run"), "--evaluate", *(str(tmp_path / name) for name in files)])
    header, *lines = [line for line in capsys.readouterr().out.splitlines() if "px: " not in line]
    assert header.split() == ["held-back", "errors", *(f"relu{level}_1" for level in distill.LEVELS)]
    errors: dict = {name: {} for name in files}
    for line in lines:
        kind, path, *values = line.replace(" 1  ", "_1  ").replace(" 5  ", "_5  ").split()
        errors[Path(path).name][kind] = [float(value) for value in values]
    kinds = ["linear", "relational", "norm", "within_1", "within_5", "across_1", "across_5"]
    assert [list(own) for own in errors.values()] == [kinds, kinds]
    for kind in kinds[1:]:  # not exactly 0, since features are stored as float16
        assert max(errors["teacher.safetensors"][kind]) < (0.001 if kind in ("relational", "norm") else 0.1), kind
    assert min(errors["vgg16.safetensors"]["relational"]) > 0.01
    assert not (tmp_path / "run" / distill.WEIGHTS_FILE).exists()  # no weights were trained


def test_a_student_begun_from_narrower_weights_computes_the_same_features(distill, tmp_path):
    torch.manual_seed(0)
    narrower = distill.LAYER_WIDTHS | {"conv1_2": 8, "conv4_2": 128, "conv4_3": 100}
    start, student = distill.untrained(narrower), distill.untrained(distill.LAYER_WIDTHS)
    for bias in start.biases.values():
        torch.nn.init.normal_(bias, 0.05, 0.1)
    start.kernels["conv3_1"].data.mul_(7)  # so it does not have the standard deviation of an untrained layer
    distill.begin_from(student, start)
    image = torch.rand(1, 3, 48, 32)
    with torch.no_grad():
        before, after = (vgg.eval()(image) for vgg in (start, student))
    for level in distill.LEVELS:
        ratio = after[level].norm() / before[level].norm()
        torch.testing.assert_close(
            after[level], before[level] * ratio, rtol=1e-3, atol=1e-4 * after[level].max().item()
        )
    spreads = [kernel.std() / (2 / kernel.shape[1]) ** 0.5 for kernel in student.kernels.values()]
    assert all(0.5 < spread < 1.5 for spread in spreads)
    assert student.kernel("conv4_2")[128:].std() > 0 and not student.kernel("conv4_3")[:100, 128:].any()

    sixteen = [layer for layer in CONVOLUTIONS if layer not in FOURTH]
    save_file(random_weights((300, 4, 5, 6, 7), layers=sixteen), tmp_path / "wide.safetensors")
    with pytest.raises(SystemExit, match="conv1_1 has 300 channels in the weights of --init; the student has 16"):
        distill.begin_from(student, distill.load(tmp_path / "wide.safetensors"))
    save_file(random_weights((3, 4, 5, 6, 7)), tmp_path / "vgg19.safetensors")
    with pytest.raises(
        SystemExit, match=r"the weights of --init have the layers .*conv3_4.*; the student has .*conv5_1"
    ):
        distill.begin_from(student, distill.load(tmp_path / "vgg19.safetensors"))
    with pytest.raises(SystemExit, match="need another preprocessing"):
        distill.begin_from(student, distill.load(tmp_path / "wide.safetensors", "caffe"))


def test_a_run_begins_from_weights_and_keeps_the_frozen_layers(distill, no_folder, inputs, tmp_path):
    def run(name, *more):
        distill.main([*inputs, *options(tmp_path / name), *more])
        return load_file(tmp_path / name / distill.WEIGHTS_FILE)

    start = run("start")
    init = ["--init", str(tmp_path / "start" / distill.WEIGHTS_FILE)]
    trained = run("trained", *init, "--train-from", "conv3_1")
    for layer in distill.LAYERS:
        for part in ("weight", "bias"):
            before, after = start[f"{layer}.{part}"], trained[f"{layer}.{part}"]
            # Frozen layers are only nearly equal, since weights are rescaled when they are written.
            near = np.abs(after - before).max() < 1e-4 * np.abs(before).max()
            assert near == (layer < "conv3_1"), (layer, part)
    still = run("still", *init, "--rate", "0")
    for name, weight in start.items():
        np.testing.assert_allclose(still[name], weight, rtol=0, atol=1e-3 * np.abs(weight).max(), err_msg=name)


def test_the_student_has_the_published_order_of_layers(distill, tmp_path):
    """Compare with torch's own layers: zero padding, and pooling that keeps a last odd row."""
    torch.manual_seed(0)
    student = distill.untrained(distill.LAYER_WIDTHS).eval()
    weights, image = student.weights(), torch.rand(1, 3, 35, 50)
    x = (image - 0.45) / 0.25
    for level, convolutions in [(1, 2), (2, 2), (3, 3), (4, 3), (5, 1)]:
        if level > 1:
            x = torch.nn.functional.max_pool2d(x, 2, ceil_mode=True)
        for i in range(1, convolutions + 1):
            name = f"conv{level}_{i}"
            x = torch.nn.functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding="same").relu()
            if i == 1:
                ours = student(image)[level].permute(0, 3, 1, 2)
                torch.testing.assert_close(ours, x)
    save_file({name: weight.numpy() for name, weight in weights.items()}, tmp_path / "weights.safetensors")
    copy = distill.load(tmp_path / "weights.safetensors").weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in copy.items())


def test_written_weights_have_the_teachers_scale_and_order_patches_alike(distill):
    torch.manual_seed(0)
    student = distill.untrained(distill.LAYER_WIDTHS).eval()
    with torch.no_grad():
        for name in distill.LAYERS:
            student.kernels[name].mul_(5)  # makes the features after 11 layers 5e7 times too large
    images = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8)
    spread = {level: torch.tensor(0.3 * level) for level in distill.LEVELS}
    rescaled = distill.rescaled_weights(student, images, spread)
    with torch.no_grad():
        before = student(distill.as_input(images))
        for name in distill.LAYERS:
            student.kernel(name).copy_(rescaled[f"{name}.weight"])
            student.biases[name].copy_(rescaled[f"{name}.bias"])
        after = student(distill.as_input(images))
    for level in distill.LEVELS:
        torch.testing.assert_close(after[level].square().mean().sqrt(), spread[level])
        directions = [torch.nn.functional.normalize(f[level].flatten(0, 2), dim=1) for f in (before, after)]
        torch.testing.assert_close(*directions, rtol=1e-4, atol=1e-5)


def test_targets_have_the_mean_cosine_of_features_and_their_projection_and_the_norm_of_the_teacher(distill):
    rng = np.random.default_rng(0)
    pools = [{f"features{level}": rng.random((3, 40, 30)).astype(np.float16) for level in range(1, 6)} for _ in "ab"]
    features = {level: torch.rand(20, 30) for level in distill.LEVELS}
    target = distill.Targets(pools, dict.fromkeys(distill.LEVELS, 16))(features)[1]
    seen = np.concatenate([pool["features1"].reshape(120, 30) for pool in pools]).astype(np.float64)
    directions = np.linalg.svd(seen / np.linalg.norm(seen, axis=1, keepdims=True))[2][:16].T
    raw = torch.nn.functional.normalize(features[1], dim=1)
    projected = torch.nn.functional.normalize(raw @ torch.tensor(directions, dtype=torch.float32), dim=1)
    expected = (raw @ raw.T + projected @ projected.T) / 2
    direction = torch.nn.functional.normalize(target, dim=1)
    torch.testing.assert_close(direction @ direction.T, expected)
    torch.testing.assert_close(target.norm(dim=1), features[1].norm(dim=1))


def test_groups_are_compared_separately(distill):
    """Check that only positions of the same group are compared.

    So the errors of the 16 groups of a GPU are comparable to those of the one group of a CPU.
    """
    torch.manual_seed(0)
    student, target = torch.rand(3, 20, 5), torch.rand(3, 20, 9)
    alone = [distill.relational_error(*pair) for pair in zip(student, target, strict=True)]
    torch.testing.assert_close(distill.relational_error(student, target), torch.stack(alone).mean())
    alike = [part[:1].expand(3, -1, -1) for part in (student, target)]
    torch.testing.assert_close(distill.ranking_error(*alike), distill.ranking_error(student[0], target[0]))


def test_ranking_error_and_misses_of_a_small_case(distill):
    """Compare five directions in a plane; the student swaps the two nearest to the first."""
    from distill_errors import misses

    angle = {"teacher": [0, 0.3, 0.5, 1.2, 1.5], "student": [0, 0.5, 0.3, 1.2, 1.5]}
    teacher, student = (
        torch.tensor([[np.cos(a), np.sin(a)] for a in angle[k]]).float() for k in ("teacher", "student")
    )
    assert misses(7 * teacher, teacher) == [0, 0]
    assert misses(student, teacher, (1, 2, 3)) == pytest.approx([0.2, 0, 0])
    assert misses((student[:1], student[1:]), (teacher[:1], teacher[1:]), (1, 2)) == [1, 0]
    # In a pair of arrays, a row also matches the same row of the other array.
    assert misses((student[3:], student[3:]), (teacher[3:], teacher[3:])) == [0, 0]
    assert distill.ranking_error(7 * teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    # If all features are equal, the ranking is uniform.
    assert distill.ranking_error(torch.ones(5, 2), teacher).item() == pytest.approx(1, abs=1e-5)
    assert 0.01 < distill.ranking_error(student, teacher).item() < 1


def test_a_teacher_gets_the_input_that_its_weights_need(distill, inputs, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    for preprocessing in ("caffe", "imagenet"):
        network = Network(random_weights((3, 4, 5, 6, 7)), **PREPROCESSING[preprocessing])
        teacher = distill.load(Path(inputs[0]), preprocessing)
        with torch.no_grad():
            found = teacher(distill.as_input(torch.from_numpy(image[None])))
        for name, expected in plain_features(network, image.transpose(2, 0, 1) / 255).items():
            ours = found[int(name[4])][0].permute(2, 0, 1)
            np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_a_run_folder_is_for_one_teacher(distill, no_folder, inputs, tmp_path):
    run = options(tmp_path / "run", steps=1)
    distill.main([*inputs, *run])
    with pytest.raises(SystemExit, match=r"was made with .*'preprocessing': 'caffe'.*, not .*'imagenet'"):
        distill.main([*inputs[:-1], "imagenet", *run, "--resume"])


def test_twins_are_the_same_pixels_in_two_looks(distill, inputs, monkeypatch):
    crops = sys.modules["distill_crops"]
    photos = crops.list_photos(Path(inputs[1]))[0]
    monkeypatch.setattr(crops, "strong_look", lambda picture, rng: ImageOps.invert(picture))
    monkeypatch.setattr(crops, "colour_cast", lambda picture, rng: picture)
    monkeypatch.setattr(crops, "STRONG", 0)
    for twins in (0, 1):
        monkeypatch.setattr(crops, "TWINS", twins)
        first, second = (crops.training_crop(photos, 48, 0, k) for k in (4, 5))
        assert (255 - first.image == second.image).all() == (twins == 1)
        ours, theirs = (crop.positions(9) for crop in (first, second))
        assert all((ours[level] == theirs[level]).all() for level in range(1, 5)) == (twins == 1)


@pytest.mark.parametrize("look", sorted({look.__name__ for look in (*looks.DRAWN, *looks.COLOURED, looks.textured)}))
def test_a_look_keeps_the_size_and_follows_its_seed(look):
    size = (40, 32)
    channels = [Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), quality) for quality in (20, 50, 90)]
    picture = Image.merge("RGB", channels)
    one, same = (getattr(looks, look)(picture, np.random.default_rng(3)) for _ in range(2))
    assert one.size == size and one.mode == "RGB"
    assert one.tobytes() == same.tobytes() != picture.tobytes()


def test_muon_takes_the_steps_of_torch(distill):
    """Compare with torch to two or three digits, since torch iterates in bfloat16."""
    from muon import Muon

    torch.manual_seed(0)
    for shape in ((16, 40), (40, 16)):
        start, ours = torch.randn(shape), None
        theirs, ours = (torch.nn.Parameter(start.clone()) for _ in range(2))
        optimisers = [
            torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            Muon([ours], lr=0.1, weight_decay=0.1),
        ]
        for _ in range(3):
            theirs.grad = torch.randn(shape)
            ours.grad = theirs.grad.clone()
            for optimiser in optimisers:
                optimiser.step()
        assert (ours - theirs).norm() < 0.02 * (theirs - start).norm()


@pytest.mark.parametrize(("height", "width"), [(20, 12), (4, 8)])
def test_winograds_convolution_is_the_usual_one_with_its_gradients(distill, height, width):
    from winograd import convolve

    torch.manual_seed(0)
    found = []
    for layer in (convolve, lambda x, kernel, bias: torch.nn.functional.conv2d(x, kernel, bias, padding=1)):
        generator = torch.Generator().manual_seed(0)
        shapes = (2, 5, height, width), (7, 5, 3, 3), (7,)
        inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
        result = layer(*inputs)
        (result * torch.linspace(-1, 1, result.numel()).view_as(result)).sum().backward()
        found.append([result.detach(), *(tensor.grad for tensor in inputs)])
    for ours, usual in zip(*found, strict=True):
        torch.testing.assert_close(ours, usual, rtol=1e-4, atol=1e-5 * usual.abs().max().item())


def test_the_student_has_the_same_features_in_training(distill):
    torch.manual_seed(0)
    student, image = distill.untrained(distill.LAYER_WIDTHS), torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        training, evaluation = student.train()(image), student.eval()(image)
    for level in distill.LEVELS:
        torch.testing.assert_close(training[level], evaluation[level], rtol=1e-3, atol=1e-4)
    # The features are not equal to the bit, so training used Winograd's algorithm.
    assert any((training[level] != evaluation[level]).any() for level in distill.LEVELS)


def test_missing_inputs_end_the_tool_with_one_line(distill, inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    teacher, photos, *rest = inputs
    run = [*rest, *options(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"has fewer than two \.jpg"):
        distill.main([teacher, str(tmp_path / "empty"), *run])
    with pytest.raises(SystemExit, match=r"none\.safetensors: there is no such file"):
        distill.main([str(tmp_path / "none.safetensors"), photos, *run])
    with pytest.raises(SystemExit, match=r"lost\.safetensors: there is no such file"):
        distill.main([teacher, photos, *run, "--evaluate", str(tmp_path / "lost.safetensors")])
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="finds no GPU for --device cuda"):
            distill.main([teacher, photos, *run, "--device", "cuda"])
