"""`tools/distill.py` on a toy teacher: the same seed gives the same weights, whole or killed and resumed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="distillation needs torch: the extra `distill`")
pytest.importorskip("safetensors", reason="distillation needs safetensors: the extra `distill`")
onnx = pytest.importorskip("onnx", reason="the toy teacher is built with onnx")

import torch  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from vgg_files import plain_features, random_weights  # noqa: E402

from analogy.networks.cards import Card  # noqa: E402
from analogy.networks.export import Network, export  # noqa: E402
from analogy.networks.models import locate, verify  # noqa: E402
from analogy.networks.weights import PREPROCESSING  # noqa: E402

TOOL = Path(__file__).parents[2] / "tools" / "distill.py"


def _looks():
    spec = importlib.util.spec_from_file_location("distill_looks", TOOL.with_name("distill_looks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


looks = _looks()


def toy_teacher(path: Path) -> None:
    """Writes a model with VGG-19's outputs: mean colours of 1, 2 .. 16 px squares through a random 1x1 layer."""
    helper, rng = onnx.helper, np.random.default_rng(0)
    nodes, initializers, outputs = [], [], []
    for level in range(1, 6):
        k = 2 ** (level - 1)
        weight = rng.standard_normal((8, 3, 1, 1)).astype(np.float32)
        initializers.append(onnx.numpy_helper.from_array(weight, f"w{level}"))
        nodes += [
            helper.make_node("AveragePool", ["image"], [f"p{level}"], kernel_shape=[k, k], strides=[k, k]),
            helper.make_node("Conv", [f"p{level}", f"w{level}"], [f"c{level}"]),
            helper.make_node("Relu", [f"c{level}"], [f"relu{level}_1"]),
        ]
        outputs.append(helper.make_tensor_value_info(f"relu{level}_1", onnx.TensorProto.FLOAT, [1, 8, None, None]))
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(nodes, "toy", [image], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.fixture
def distill(monkeypatch):
    """The tool as a module, on crops small enough for a test and one thread."""
    monkeypatch.syspath_prepend(str(TOOL.parent))
    spec = importlib.util.spec_from_file_location("distill_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for part in (module, sys.modules["distill_pool"]):
        monkeypatch.setattr(part, "SIDES", {32: (4, 4), 48: (2, 8)})
        monkeypatch.setattr(part, "EVALUATION", (48, 2))
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


@pytest.fixture
def inputs(tmp_path):
    """A teacher and a folder of six pictures."""
    rng = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    for i in range(6):
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        small.resize((96, 72), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{i}.png")
    toy_teacher(tmp_path / "teacher.onnx")
    return [str(tmp_path / "teacher.onnx"), str(tmp_path / "photos")]


def options(run, steps=4):
    return ["-o", str(run), "--steps", str(steps), "--crops", "8", "--threads", "1", "--checkpoint-every", "2"]


def test_same_seed_same_weights_killed_or_not(distill, inputs, tmp_path, monkeypatch, capsys):
    distill.main(inputs + options(tmp_path / "a"))
    distill.main(inputs + options(tmp_path / "b"))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distill, "evaluate", killed)  # right after the checkpoint of step 2
        with pytest.raises(KeyboardInterrupt):
            distill.main(inputs + options(tmp_path / "c"))
    halfway = load_file(tmp_path / "c" / distill.WEIGHTS_FILE)
    with pytest.raises(SystemExit, match="--resume"):
        distill.main(inputs + options(tmp_path / "c"))
    distill.main([*inputs, *options(tmp_path / "c"), "--resume"])
    assert "resumed at step 2 of 4" in capsys.readouterr().out

    whole, again, resumed = (load_file(tmp_path / run / distill.WEIGHTS_FILE) for run in "abc")
    for name, weight in whole.items():
        np.testing.assert_array_equal(weight, again[name], err_msg=name)
        np.testing.assert_array_equal(weight, resumed[name], err_msg=name)
    assert any((weight != halfway[name]).any() for name, weight in whole.items())

    distill.main([*inputs, *options(tmp_path / "d"), "--seed", "1"])
    other = load_file(tmp_path / "d" / distill.WEIGHTS_FILE)
    assert (other["conv5_1.weight"] != whole["conv5_1.weight"]).any()


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
    verify(locate(tmp_path / "run" / "vgg19-compact"))  # the model folder is there, and whole

    trained = capsys.readouterr().out
    evaluate = ["--evaluate", str(tmp_path / "run" / distill.WEIGHTS_FILE)]
    distill.main([*inputs, *options(tmp_path / "run"), *evaluate])
    evaluated = capsys.readouterr().out.strip()
    assert evaluated.startswith("held-back errors")
    assert evaluated in trained


def test_the_student_is_the_published_layer_order(distill, tmp_path):
    """Against a plain VGG-16 stack with the exported weights: zero padding, and a last odd row is kept."""
    torch.manual_seed(0)
    student = distill.Student()
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
    copy = distill.load_student(tmp_path / "weights.safetensors").weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in copy.items())


def test_written_weights_have_the_teachers_scale_and_order_patches_alike(distill, tmp_path):
    torch.manual_seed(0)
    student = distill.Student()
    with torch.no_grad():
        for name in distill.LAYERS:
            student.kernels[name].mul_(5)  # after 13 layers the features are 1e9 times too large
    rng, level_side = np.random.default_rng(0), {level: 48 >> (level - 1) for level in distill.LEVELS}
    pool: dict = {"images": rng.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)}
    for level, side in level_side.items():
        pool[f"index{level}"] = np.tile(np.arange(side * side, dtype=np.int32), (2, 1))
        pool[f"teacher0_{level}"] = rng.random((2, side * side, 8)).astype(np.float16) * level
    images, _, teacher = distill.batch_of(pool, np.arange(2))
    rescaled = {name: weight.numpy() for name, weight in distill.rescaled_weights(student, pool).items()}
    save_file(rescaled, tmp_path / "rescaled.safetensors")
    rescaled = distill.load_student(tmp_path / "rescaled.safetensors")
    with torch.no_grad():
        before, after = student(images), rescaled(images)
    for level in distill.LEVELS:
        torch.testing.assert_close(after[level].square().mean(), teacher[level][0].square().mean())
        directions = [torch.nn.functional.normalize(f[level].flatten(0, 2), dim=1) for f in (before, after)]
        torch.testing.assert_close(*directions, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["raw", "projected", "both"])
def test_targets_have_the_mean_cosine_of_their_parts_and_the_norm_of_the_first_teacher(distill, kind):
    rng = np.random.default_rng(0)
    pool = {"plain": np.array([True, False, True])}
    for n, level in np.ndindex(2, 5):
        pool[f"teacher{n}_{level + 1}"] = rng.random((3, 40, 30)).astype(np.float16)
    for n in range(2):
        pool[f"teacher{n}_1"][1] = 0  # of no plain photo: the directions must not see it
    teachers = [distill.Teacher(None, None, weight) for weight in (3, 1)]
    rows = {level: [torch.rand(20, 30), torch.rand(20, 30)] for level in distill.LEVELS}
    target = distill.Targets(kind, teachers, [pool])(rows)[1]
    expected = torch.zeros(20, 20)
    for n, (own, weight) in enumerate(zip(rows[1], (0.75, 0.25), strict=True)):
        seen = pool[f"teacher{n}_1"][[0, 2]].reshape(80, 30).astype(np.float64)
        directions = np.linalg.svd(seen / np.linalg.norm(seen, axis=1, keepdims=True))[2][:16].T
        raw = torch.nn.functional.normalize(own, dim=1)
        projected = torch.nn.functional.normalize(raw @ torch.tensor(directions, dtype=torch.float32), dim=1)
        parts = {"raw": [raw], "projected": [projected], "both": [raw, projected]}[kind]
        expected += weight * sum(part @ part.T for part in parts) / len(parts)
    direction = torch.nn.functional.normalize(target, dim=1)
    torch.testing.assert_close(direction @ direction.T, expected)
    torch.testing.assert_close(target.norm(dim=1), rows[1][0].norm(dim=1))


def test_ranking_error_and_misses_of_a_small_case(distill):
    """Five directions in the plane: the student exchanges the two nearest of the first."""
    angle = {"teacher": [0, 0.3, 0.5, 1.2, 1.5], "student": [0, 0.5, 0.3, 1.2, 1.5]}
    teacher, student = (
        torch.tensor([[np.cos(a), np.sin(a)] for a in angle[k]]).float() for k in ("teacher", "student")
    )
    assert distill.misses(7 * teacher, teacher) == [0, 0]
    assert distill.misses(student, teacher, (1, 2, 3)) == pytest.approx([0.2, 0, 0])
    assert distill.misses((student[:1], student[1:]), (teacher[:1], teacher[1:]), (1, 2)) == [1, 0]
    assert distill.misses((student[3:], student[3:]), (teacher[3:], teacher[3:])) == [0, 0]  # a pair is not oneself
    assert distill.ranking_error(7 * teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    assert distill.ranking_error(torch.ones(5, 2), teacher).item() == pytest.approx(1, abs=1e-5)  # all alike: even
    assert 0.01 < distill.ranking_error(student, teacher).item() < 1


def test_a_teacher_may_be_weights_or_a_model_folder_or_several(distill, inputs, tmp_path):
    weights = random_weights((3, 4, 5, 6, 7))
    save_file(weights, tmp_path / "vgg.safetensors")
    as_weights = f"{tmp_path / 'vgg.safetensors'},preprocessing=caffe"
    export(Network(weights, **PREPROCESSING["caffe"]), tmp_path / "vgg", Card("vgg", "a test", (3, 4, 5, 6, 7), "", ""))
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    expected = plain_features(Network(weights, **PREPROCESSING["caffe"]), image.transpose(2, 0, 1) / 255)
    for words in (as_weights, f"{tmp_path / 'vgg'},weight=0.5"):
        teacher = distill.load_teacher(words)
        assert teacher.weight == (0.5 if "weight" in words.split(",")[1] else 1)
        for level, rows in teacher.features(image).items():
            wanted = expected[f"relu{level}_1"].reshape(rows.shape[1], -1).T
            np.testing.assert_allclose(rows, wanted, rtol=1e-3, atol=1e-3 * wanted.max())
    run = options(tmp_path / "run", steps=1)
    distill.main([*inputs, *run, "--also", as_weights])
    pool = distill.read_pool(next((tmp_path / "run" / "pool").glob("48px-*")))
    assert pool["teacher0_3"].shape[2] == 8 and pool["teacher1_3"].shape[2] == 5
    assert "toy" not in (tmp_path / "run" / "vgg19-compact" / "model.json").read_text()
    with pytest.raises(SystemExit, match=r"was made with .*'also': \['.*vgg.safetensors"):
        distill.main([*inputs, *run, "--resume"])
    with pytest.raises(SystemExit, match=r"expected PATH\[,weight=W\]\[,preprocessing=NAME\]"):
        distill.load_teacher(as_weights + ",scale=2")
    with pytest.raises(SystemExit, match="preprocessing 'bgr' is unknown"):
        distill.load_teacher(f"{tmp_path / 'vgg.safetensors'},preprocessing=bgr")


def test_twins_are_the_same_pixels_in_two_looks(distill, inputs, monkeypatch):
    pool = sys.modules["distill_pool"]
    photos = pool.list_photos(Path(inputs[1]))[0]
    monkeypatch.setattr(pool, "strong_look", lambda picture, rng: ImageOps.invert(picture))
    monkeypatch.setattr(pool, "colour_cast", lambda picture, rng: picture)
    monkeypatch.setattr(pool, "STRONG", 0)
    for twins in (0, 1):
        monkeypatch.setattr(pool, "TWINS", twins)
        first, second = (pool.training_crop(photos, 48, 0, k) for k in (4, 5))
        assert (255 - first.image == second.image).all() == (twins == 1)
        assert (first.rng.permutation(99) == second.rng.permutation(99)).all() == (twins == 1)
        assert second.plain <= (twins == 0)


@pytest.mark.parametrize("look", sorted({look.__name__ for look in (*looks.DRAWN, *looks.COLOURED, looks.textured)}))
def test_a_look_keeps_the_size_and_follows_its_seed(look):
    size = (40, 32)
    channels = [Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), quality) for quality in (20, 50, 90)]
    picture = Image.merge("RGB", channels)
    one, same = (getattr(looks, look)(picture, np.random.default_rng(3)) for _ in range(2))
    assert one.size == size and one.mode == "RGB"
    assert one.tobytes() == same.tobytes() != picture.tobytes()


def test_muon_takes_the_steps_of_torch(distill):
    """Whose Newton-Schulz iteration runs in bfloat16: two to three digits."""
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
    student, image = distill.Student(), torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        training, evaluation = student.train()(image), student.eval()(image)
    for level in distill.LEVELS:
        torch.testing.assert_close(training[level], evaluation[level], rtol=1e-3, atol=1e-4)
    assert any((training[level] != evaluation[level]).any() for level in distill.LEVELS)  # it was another algorithm


def test_a_missing_teacher_and_an_empty_folder_are_one_clear_line(distill, inputs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="no photos in"):
        distill.main([inputs[0], str(tmp_path / "empty"), *options(tmp_path / "run")])
    with pytest.raises(SystemExit, match="no teacher at"):
        distill.main([str(tmp_path / "none.onnx"), inputs[1], *options(tmp_path / "run")])
