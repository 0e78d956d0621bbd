"""The five kinds of files: what their real writers write gives PyTorch's features, and what is wrong is refused."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import save_file
from vgg_files import (
    caffe_message,
    picture,
    plain_features,
    random_weights,
    torchvision_names,
    write_caffe,
    write_keras,
    write_onnx,
)

from analogy.errors import ModelError
from analogy.export import CONVOLUTIONS, Network, build_features
from analogy.weights import PREPROCESSING, read, recognise

WIDTHS = (6, 8, 10, 12, 14)


def write_torch(path, weights) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    model = torch_vgg19(weights)
    torch.save(model.state_dict(), path)


def write_data_parallel(path, weights) -> None:
    """A training checkpoint of a wrapped model: names with `module.`, parameters, under `state_dict`."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    named = {f"module.{name}": torch.nn.Parameter(value) for name, value in torch_vgg19(weights).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": named, "best": 0.5}, path)


def torch_vgg19(weights):
    """torchvision's `vgg19().features` at these widths, with these weights, and a small classifier."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its VGG-19 is not compared with")
    nn = torch.nn
    layers: list = []
    for layer in CONVOLUTIONS:
        if layer.endswith("_1") and layers:
            layers.append(nn.MaxPool2d(2, 2))
        width, channels = weights[f"{layer}.weight"].shape[:2]
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
    model = nn.Module()
    model.features = nn.Sequential(*layers)
    model.classifier = nn.Sequential(nn.Linear(4, 5))
    named = {name: torch.tensor(value) for name, value in torchvision_names(weights).items()}
    model.load_state_dict(named)
    return model


WRITERS = {
    "keras published": ("keras", "caffe", write_keras),
    "keras 2": ("keras", "caffe", lambda path, weights: write_keras(path, weights, "keras2")),
    "keras model": ("keras", "caffe", lambda path, weights: write_keras(path, weights, "model")),
    "caffe layers": ("caffe", "caffe", write_caffe),
    "caffe layer": ("caffe", "caffe", lambda path, weights: write_caffe(path, weights, "layer")),
    "torch": ("torch", "imagenet", write_torch),
    "torch module.": ("torch", "imagenet", write_data_parallel),
    "timm": ("safetensors", "imagenet", lambda path, weights: save_file(torchvision_names(weights), path)),
    "compact": ("safetensors", "compact", lambda path, weights: save_file(weights, path)),
    "onnx": ("onnx", "imagenet", write_onnx),
}


@pytest.fixture
def weights():
    return random_weights(WIDTHS, seed=5)


def features(network: Network, image: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        build_features(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([f"relu{level}_1" for level in range(1, 6)], {"image": image[None]})


@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_gives_the_weights_and_the_preprocessing(tmp_path, weights, writer):
    kind, preprocessing, write = WRITERS[writer]
    path = tmp_path / "a file without a suffix"
    write(path, weights)
    network, found = read(path)
    assert found == kind == recognise(path)
    assert network.widths == WIDTHS
    for name in weights:
        np.testing.assert_array_equal(network.weights[name], weights[name])
        assert network.weights[name].dtype == np.float32
    assert {key: getattr(network, key) for key in PREPROCESSING[preprocessing]} == PREPROCESSING[preprocessing]
    image = picture(32, 37)
    for actual, expected in zip(features(network, image), plain_features(network, image).values(), strict=True):
        np.testing.assert_allclose(actual[0], expected, rtol=1e-4, atol=1e-4 * expected.max())


@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_gives_the_features_of_pytorch(tmp_path, weights, writer):
    """PyTorch's layers on the input that each source documents, prepared here by hand."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its VGG-19 is not compared with")
    _, preprocessing, write = WRITERS[writer]
    path = tmp_path / "weights"
    write(path, weights)
    image = picture(48, 64)
    if preprocessing == "caffe":
        x = image[::-1] * 255 - np.float32([103.939, 116.779, 123.68])[:, None, None]
    elif preprocessing == "imagenet":
        mean, std = np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
        x = (image - mean) / std
    else:
        x = (image - np.float32(0.45)) / np.float32(0.25)
    x, expected = torch.from_numpy(x.copy())[None], []
    with torch.no_grad():
        for number, layer in enumerate(torch_vgg19(weights).features):
            x = layer(x)
            if number in (1, 6, 11, 20, 29):  # relu1_1, relu2_1, .. in torchvision's vgg19().features
                expected.append(x.clone().numpy())
    for actual, wanted in zip(features(read(path)[0], image), expected, strict=True):
        assert actual.shape == wanted.shape
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4 * wanted.max())
        assert wanted.max() > 0.1


def test_preprocessing_can_be_chosen(tmp_path, weights):
    save_file(torchvision_names(weights), tmp_path / "f")
    network, _ = read(tmp_path / "f", "caffe")
    assert network.bgr and network.std == (1 / 255,) * 3
    with pytest.raises(ModelError, match=r"preprocessing 'bgr' is unknown; choose from caffe, imagenet, compact"):
        read(tmp_path / "f", "bgr")


def test_the_projects_start_weights_are_read():
    """If the maintainers' folder of shared files is beside the checkout."""
    from pathlib import Path

    path = Path(__file__).parents[2] / "shared" / "compact-start.safetensors"
    if not path.is_file():
        pytest.skip("no compact-start.safetensors beside the checkout")
    network, kind = read(path)
    assert kind == "safetensors" and network.widths == (16, 32, 64, 128, 128) and network.mean == (0.45,) * 3


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2), ("float64", 0)])
def test_other_precisions_of_pth(tmp_path, weights, dtype, tolerance):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    named = {name: torch.tensor(value).to(getattr(torch, dtype)) for name, value in torchvision_names(weights).items()}
    torch.save(named, tmp_path / "f")
    for name, value in read(tmp_path / "f")[0].weights.items():
        np.testing.assert_allclose(value, weights[name], rtol=tolerance, atol=1e-6)


def test_views_in_a_pth_are_read_by_offset_and_strides(tmp_path, weights):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    named = {name: torch.tensor(value) for name, value in torchvision_names(weights).items()}
    whole = torch.tensor(np.random.default_rng(0).random((50, 6, 3, 3), np.float32))
    named["features.2.weight"] = whole.to(memory_format=torch.channels_last)[7 : 7 + WIDTHS[0]]
    torch.save(named, tmp_path / "f")
    actual = read(tmp_path / "f")[0].weights["conv1_2.weight"]
    np.testing.assert_array_equal(actual, whole[7 : 7 + WIDTHS[0]].numpy())


# -- files that must not be read --------------------------------------------------------------------------------------


class Malice:
    """Pickles to a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def zipped(pickled: bytes, storages: dict[str, bytes] | None = None, compression=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return stream.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<i", len(value)) + value.encode()


def stack_global(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


@pytest.mark.parametrize("function", [os.system, eval, exec, os.mkdir])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    argument = {os.system: "mkdir it-ran", os.mkdir: "it-ran"}.get(function, "__import__('os').mkdir('it-ran')")
    pickled = pickle.dumps({"features.0.weight": Malice(function, argument)}, 2)
    path = tmp_path / "bad.pth"
    path.write_bytes(zipped(pickled))
    with pytest.raises(ModelError, match="for safety nothing but tensors is built") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "it-ran").exists()
    pickle.loads(pickled)  # the test is worth something: elsewhere it runs
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    "pickled",
    [
        # attributes of the functions that are looked up must not be settable, by either form of state
        stack_global("torch._utils", "_rebuild_tensor_v2") + b"}(X\x04\x00\x00\x00evilK\x01ub.",
        stack_global("torch._utils", "_rebuild_tensor_v2") + b"N}(X\x0c\x00\x00\x00__defaults__)u\x86b.",
        stack_global("collections", "OrderedDict") + b"N}(X\x04\x00\x00\x00keysK\x01u\x86b.",
        b"\x80\x04\x8c\x0banalogy.cli\x8c\x04main\x93.",  # a name by STACK_GLOBAL
        b"\x82\x01.",  # a name by number in the extension registry
        b"Plib\n.",  # values of an unknown kind
        b"(X\x07\x00\x00\x00storageX\x05\x00\x00\x00int99X\x01\x00\x00\x000tQ.",
        b"",
        b"garbage",
        b"]q\x00.",  # a list
    ],
)
def test_odd_pickles_are_refused(tmp_path, pickled):
    path = tmp_path / "bad.pth"
    path.write_bytes(zipped(pickled))
    with pytest.raises(ModelError) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def integers(*values: int) -> bytes:
    return b"".join(b"J" + struct.pack("<i", value) for value in values)


def tensor_pickle(shape, strides, offset=0, count=81) -> bytes:
    """A state dict of one tensor, `features.0.weight`, in the opcodes that torch.save writes."""
    storage = b"(" + text("storage") + stack_global("torch", "FloatStorage") + text("0") + text("cpu")
    storage += integers(count) + b"tQ"
    arguments = b"(" + storage + integers(offset) + b"(" + integers(*shape) + b"t(" + integers(*strides) + b"t\x89"
    arguments += stack_global("collections", "OrderedDict") + b")Rt"
    tensor = stack_global("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"
    return b"\x80\x02}(" + text("features.0.weight") + tensor + b"u."


STRIDES = (27, 9, 3, 1)


def test_the_handmade_pickle_is_what_torch_would_write(tmp_path):
    """Else the tests below could pass for the wrong reason: this one gets as far as the missing bias."""
    path = tmp_path / "f"
    path.write_bytes(zipped(tensor_pickle((3, 3, 3, 3), STRIDES), {"0": bytes(324)}))
    with pytest.raises(ModelError, match=r"no conv1_1.bias"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(tensor_pickle((3, 3, 3, 4), STRIDES), {"0": bytes(324)}), "reaches beyond its 81 stored values"),
        (zipped(tensor_pickle((3, 3, 3, 3), STRIDES, 1), {"0": bytes(324)}), "reaches beyond its 81 stored values"),
        (zipped(tensor_pickle((3, 3, 3, 3), STRIDES, -1), {"0": bytes(324)}), "the file is damaged"),
        (zipped(tensor_pickle((3, 3, 3, 3), (27, 9, 3, -1)), {"0": bytes(324)}), "the file is damaged"),
        (zipped(tensor_pickle((3, 3, 3, 3), (27, 9, 3)), {"0": bytes(324)}), "the file is damaged"),
        (zipped(tensor_pickle((1 << 20, 1 << 20, 3, 3), (0, 0, 0, 0)), {"0": bytes(324)}), "reaches beyond"),
        (zipped(tensor_pickle((3, 3, 3, 3), STRIDES), {"0": bytes(300)}), "reaches beyond its 75 stored values"),
        (zipped(tensor_pickle((3, 3, 3, 3), STRIDES)), "the zip has no archive/data/0"),
        (zipped(tensor_pickle((3, 3, 3, 3), STRIDES), {"0": bytes(324)}, zipfile.ZIP_DEFLATED), "is compressed"),
        (zipped(b"." * (17 << 20)), "far more than a state dict needs"),
    ],
)
def test_tensors_that_do_not_lie_in_the_file_are_refused(tmp_path, content, message):
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_pickle_of_a_whole_model_is_refused_with_advice(tmp_path, weights):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    torch.save(torch_vgg19(weights), tmp_path / "f")
    with pytest.raises(ModelError, match=r"asks for torch.nn.modules.module.Module; .*save model.state_dict\(\)"):
        read(tmp_path / "f")


def test_the_legacy_format_of_pytorch_is_refused_with_advice(tmp_path, weights):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    torch.save(torch_vgg19(weights).state_dict(), tmp_path / "f", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"before 1\.6, which is not read for safety; save it again"):
        read(tmp_path / "f")


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "torch module."])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_truncated_files_are_refused(tmp_path, weights, writer, kept):
    path = tmp_path / "weights"
    WRITERS[writer][2](path, weights)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ModelError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 400
    assert "truncated" in message or "download it again" in message or "by its content" in message


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "torch module."])
def test_a_missing_layer_and_wrong_shapes_and_nan_are_refused(tmp_path, weights, writer):
    write = WRITERS[writer][2]
    path = tmp_path / "weights"
    for name, value, message in [
        ("conv4_1.weight", np.full_like(weights["conv4_1.weight"], np.nan), "conv4_1.weight has values that are not"),
        ("conv2_2.weight", weights["conv2_1.weight"], "conv2_2: kernel"),
        ("conv3_2.weight", weights["conv3_2.weight"][:, :, :2, :2], "conv3_2: kernel"),
    ]:
        if name == "conv2_2.weight" and writer in ("torch",):
            continue  # PyTorch itself does not load it
        changed = dict(weights)
        changed[name] = value
        if writer == "torch" and value.shape != weights[name].shape:
            continue
        write(path, changed)
        with pytest.raises(ModelError, match=message):
            read(path)


def test_a_missing_layer_is_named(tmp_path, weights):
    h5py = pytest.importorskip("h5py")
    write_keras(tmp_path / "k", weights)
    with h5py.File(tmp_path / "k", "a") as file:
        del file["block4_conv3"]
    with pytest.raises(ModelError, match=r"k: the weights have no conv4_3.weight"):
        read(tmp_path / "k")

    named = torchvision_names(weights)
    save_file({name: value for name, value in named.items() if not name.startswith("features.14.")}, tmp_path / "s")
    with pytest.raises(
        ModelError, match=r"features.16 is no convolution of a plain VGG-19; a layer before it is missing"
    ):
        read(tmp_path / "s")
    save_file({name: value for name, value in named.items() if name != "features.28.bias"}, tmp_path / "s")
    with pytest.raises(ModelError, match=r"no conv5_1.bias"):
        read(tmp_path / "s")

    write_onnx(tmp_path / "o", weights)
    model = onnx.load(tmp_path / "o", format="protobuf")
    del model.graph.initializer[6]
    onnx.save(model, tmp_path / "o.onnx")
    with pytest.raises(ModelError, match="conv2_2_w_0 is not stored in the file"):
        read(tmp_path / "o.onnx")

    net = caffe_message()()
    write_caffe(tmp_path / "c", weights)
    net.ParseFromString((tmp_path / "c").read_bytes())
    del net.layers[3]  # data, conv1_1, relu1_1, conv1_2
    (tmp_path / "c").write_bytes(net.SerializeToString())
    with pytest.raises(ModelError, match=r"no conv1_2.weight"):
        read(tmp_path / "c")


def test_vgg19_with_batch_normalisation_is_refused(tmp_path):
    named = {"features.0.weight": np.zeros((4, 3, 3, 3), "f4"), "features.0.bias": np.zeros(4, "f4")}
    named |= {"features.1.weight": np.zeros(4, "f4"), "features.3.weight": np.zeros((4, 4, 3, 3), "f4")}
    save_file(named, tmp_path / "f")
    with pytest.raises(ModelError, match=r"features.1 is no convolution .* batch normalisation, which cannot be used"):
        read(tmp_path / "f")


def test_a_network_with_other_layers_is_refused(tmp_path):
    named = {f"features.{number}.{part}": np.zeros((3, 3, 3, 3)[: 4 if part == "weight" else 1], "f4")
             for number in (0, 2, 4, 7) for part in ("weight", "bias")}  # fmt: skip
    save_file(named, tmp_path / "f")
    with pytest.raises(ModelError, match="has a convolution conv1_3, which VGG-19 lacks"):
        read(tmp_path / "f")


def test_whole_numbers_are_refused(tmp_path, weights):
    save_file({name: np.int8(value) for name, value in weights.items()}, tmp_path / "f")
    with pytest.raises(ModelError, match="weights of type int8; only floating point"):
        read(tmp_path / "f")


def test_an_onnx_file_of_another_network_is_refused(tmp_path, weights):
    onnx.save(build_features(Network(weights, **PREPROCESSING["imagenet"])), tmp_path / "ours.onnx")
    with pytest.raises(ModelError, match=r"\(Sub\) comes before conv5_1; expected a plain VGG-19"):
        read(tmp_path / "ours.onnx")
    write_onnx(tmp_path / "strided.onnx", weights)
    model = onnx.load(tmp_path / "strided.onnx")
    attributes = {item.name: item for item in model.graph.node[0].attribute}
    attributes["strides"].ints[:] = [2, 2]
    onnx.save(model, tmp_path / "strided.onnx")
    with pytest.raises(ModelError, match=r"\(Conv\) has strides \[2, 2\]; a plain VGG-19 has \[1, 1\]"):
        read(tmp_path / "strided.onnx")


def test_names_in_a_file_cannot_write_to_the_terminal(tmp_path, weights):
    write_onnx(tmp_path / "f.onnx", weights)
    model = onnx.load(tmp_path / "f.onnx")
    model.graph.node[1].op_type = "\x1b[2J" + "x" * 10_000
    onnx.save(model, tmp_path / "f.onnx")
    with pytest.raises(ModelError, match=r"\?\[2Jxxx") as caught:
        read(tmp_path / "f.onnx")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_links_out_of_a_file_are_not_followed(tmp_path, weights):
    h5py = pytest.importorskip("h5py")
    write_keras(tmp_path / "other.h5", weights)
    with h5py.File(tmp_path / "links.h5", "w") as file:
        for layer in CONVOLUTIONS:
            name = "block{}_conv{}".format(*layer[4:].split("_"))
            file[name] = h5py.ExternalLink("other.h5", f"/{name}")
    with pytest.raises(ModelError, match="has no layers block1_conv1"):
        read(tmp_path / "links.h5")
    (tmp_path / "raw").write_bytes(bytes(3 * 3 * 3 * 6 * 4))
    with h5py.File(tmp_path / "external.h5", "w") as file:
        shape = (3, 3, 3, 6)
        file.create_dataset("block1_conv1/kernel:0", shape, "f4", external=[(str(tmp_path / "raw"), 0, 648)])
    with pytest.raises(ModelError, match="lies in another file, which is not followed"):
        read(tmp_path / "external.h5")
    write_onnx(tmp_path / "whole.onnx", weights)
    model = onnx.load(tmp_path / "whole.onnx")
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    with pytest.raises(ModelError, match="is not stored in the file; save the weights in one file"):
        read(tmp_path / "split.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; download it again"),
        (b"<!DOCTYPE html><html>404</html>", "a web page or a Git LFS pointer"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a web page or a Git LFS pointer"),
        (b"hello, these are no weights", "not .h5, .caffemodel, .pth, .safetensors or .onnx, by its content"),
        (bytes(range(200, 256)) * 50, "not .h5, .caffemodel, .pth, .safetensors or .onnx, by its content"),
        (pickle.dumps([1, 2, 3]), "a bare pickle"),
        (zipped(bytes(999))[:-500], "truncated or damaged"),
        (b"\x08\x07hello", "truncated or damaged"),
        (b"\x12\x00", "has no layers conv1_1"),
        (b"\x12\x05hello", "a field has the type 4, which nobody writes; the file is damaged, download it again"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_zip_that_is_no_pth_and_a_missing_file_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.zeros(3))
    with pytest.raises(ModelError, match=r"a zip file without data.pkl"):
        read(tmp_path / "f.npz")
    with pytest.raises(ModelError, match="there is no such file"):
        read(tmp_path / "none.h5")
    with pytest.raises(ModelError, match="there is no such file"):
        read(tmp_path)
