"""Tests of reading the five kinds of weight files.

An intact file gives the features of PyTorch's layers, and a damaged file is refused.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

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
    torch_vgg19,
    torchvision_names,
    write_caffe,
    write_keras,
    write_onnx,
    zipped,
)

from analogy.errors import ModelError
from analogy.networks.description import CONVOLUTIONS, Network
from analogy.networks.export import build_features
from analogy.networks.weights import PREPROCESSING, read, recognise

WIDTHS = (6, 8, 10, 12, 14)


def write_torch(path, weights) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    model = torch_vgg19(weights)
    torch.save(model.state_dict(), path)


def write_data_parallel(path, weights) -> None:
    """Write a DataParallel checkpoint: the names in its `state_dict` begin with `module.`."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    named = {f"module.{name}": torch.nn.Parameter(value) for name, value in torch_vgg19(weights).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": named, "best": 0.5}, path)


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
def test_every_kind_of_file_gives_the_weights_and_the_preprocessing(tmp_path, weights, writer):
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


def test_reading_a_safetensors_file_loads_neither_onnx_nor_another_kind_s_package(tmp_path, weights):
    save_file(weights, tmp_path / "weights.safetensors")
    code = "import sys; from analogy.networks.weights import read; read(sys.argv[1]); print(*sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "weights.safetensors")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "safetensors" in loaded
    assert not {"onnx", "onnxruntime", "h5py", "torch"} & set(loaded)


@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_of_file_gives_the_features_of_pytorch(tmp_path, weights, writer):
    """Compare with PyTorch's layers, whose input gets the preprocessing that the weights need."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the test compares with its VGG-19")
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


# Files that must be refused


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
def test_nan_and_kernels_of_wrong_shape_are_refused(tmp_path, weights, writer):
    write = WRITERS[writer][2]
    path = tmp_path / "weights"
    for name, value, message in [
        ("conv4_1.weight", np.full_like(weights["conv4_1.weight"], np.nan), "conv4_1.weight has values that are not"),
        ("conv2_2.weight", weights["conv2_1.weight"], "conv2_2: kernel"),
        ("conv3_2.weight", weights["conv3_2.weight"][:, :, :2, :2], "conv3_2: kernel"),
    ]:
        if writer == "torch" and value.shape != weights[name].shape:
            continue  # VGG-19 in PyTorch refuses to load such a kernel
        changed = dict(weights)
        changed[name] = value
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
        ModelError, match=r"features.16 is not a convolution of a plain VGG-19; a layer before it is missing"
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
    del net.layers[3]  # the layers are data, conv1_1, relu1_1, conv1_2 ..
    (tmp_path / "c").write_bytes(net.SerializeToString())
    with pytest.raises(ModelError, match=r"no conv1_2.weight"):
        read(tmp_path / "c")


def test_vgg19_with_batch_normalisation_is_refused(tmp_path):
    named = {"features.0.weight": np.zeros((4, 3, 3, 3), "f4"), "features.0.bias": np.zeros(4, "f4")}
    named |= {"features.1.weight": np.zeros(4, "f4"), "features.3.weight": np.zeros((4, 4, 3, 3), "f4")}
    save_file(named, tmp_path / "f")
    with pytest.raises(
        ModelError, match=r"features.1 is not a convolution .* batch normalisation, which cannot be used"
    ):
        read(tmp_path / "f")


def test_a_network_with_other_layers_is_refused(tmp_path):
    named = {f"features.{number}.{part}": np.zeros((3, 3, 3, 3)[: 4 if part == "weight" else 1], "f4")
             for number in (0, 2, 4, 7) for part in ("weight", "bias")}  # fmt: skip
    save_file(named, tmp_path / "f")
    with pytest.raises(ModelError, match="has a convolution conv1_3, which VGG-19 lacks"):
        read(tmp_path / "f")


def test_integer_weights_are_refused(tmp_path, weights):
    save_file({name: np.int8(value) for name, value in weights.items()}, tmp_path / "f")
    with pytest.raises(ModelError, match="weights of type int8; save the weights as float32"):
        read(tmp_path / "f")


def test_an_onnx_file_of_another_network_is_refused(tmp_path, weights):
    write_onnx(tmp_path / "strided.onnx", weights)
    model = onnx.load(tmp_path / "strided.onnx")
    attributes = {item.name: item for item in model.graph.node[0].attribute}
    attributes["strides"].ints[:] = [2, 2]
    onnx.save(model, tmp_path / "strided.onnx")
    with pytest.raises(ModelError, match=r"\(Conv\) has strides \[2, 2\]; a plain VGG-19 has \[1, 1\]"):
        read(tmp_path / "strided.onnx")


# Graphs like those that tf2onnx and torch.onnx write


class Graph:
    """Graph of a VGG up to conv5_1, made node by node, so that a test can insert other nodes."""

    def __init__(self, weights, shape=(1, 3, "h", "w"), constant_nodes: bool = False):
        self.weights, self.shape, self.constant_nodes = weights, shape, constant_nodes
        self.nodes, self.tensors, self.x = [], [], "picture"

    def constant(self, value) -> str:
        name = f"constant_{len(self.nodes)}_{len(self.tensors)}"
        tensor = onnx.numpy_helper.from_array(np.asarray(value), name)
        if self.constant_nodes:
            self.nodes.append(onnx.helper.make_node("Constant", [], [f"{name}_value"], value=tensor))
            self.nodes.append(onnx.helper.make_node("Identity", [f"{name}_value"], [name]))
        else:
            self.tensors.append(tensor)
        return name

    def op(self, kind, *constants, first=False, **attributes):
        given = [self.constant(value) for value in constants]
        inputs = [*given, self.x] if first else [self.x, *given]
        self.x = f"{kind}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [self.x], name=self.x, **attributes))
        return self

    def vgg(self, pad_nodes=False, bias_nodes=False, auto_pad=False, transposed_outputs=False):
        pads = {} if pad_nodes else {"auto_pad": "SAME_UPPER"} if auto_pad else {"pads": [1, 1, 1, 1]}
        for layer in (layer for layer in CONVOLUTIONS if f"{layer}.weight" in self.weights):
            kernel, bias = (self.weights[f"{layer}.{part}"] for part in ("weight", "bias"))
            if layer.endswith("_1") and layer != "conv1_1":
                self.op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            if pad_nodes:
                self.op("Pad", np.int64([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(0))
            self.op("Conv", kernel, *(() if bias_nodes else (bias,)), **pads)
            if bias_nodes:
                self.op("Add", bias[:, None, None])
            self.op("Relu")
            if transposed_outputs and layer.endswith("_1"):  # as tf2onnx does if outputs have channels last
                name = f"{layer}_nhwc"
                self.nodes.append(onnx.helper.make_node("Transpose", [self.x], [name], perm=[0, 2, 3, 1]))
        return self

    def save(self, path):
        info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        free = [None] * 4
        graph = onnx.helper.make_graph(
            self.nodes, "vgg", [info("picture", kind, self.shape)], [info(self.x, kind, free)], self.tensors
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return path


NHWC = (1, "h", "w", 3)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
CAFFE_MEAN = np.float32([103.939, 116.779, 123.68])


def column(values):
    return np.float32(values).reshape(1, 3, 1, 1)


def to_nchw(graph):
    return graph.op("Transpose", perm=[0, 3, 1, 2])


def reverse(graph, axis):
    return graph.op("Slice", *(np.int64([value]) for value in (-1, np.iinfo(np.int64).min, axis, -1)))


# Name -> a function of the weights that returns a graph, the largest value of its input, and True
# if its input is BGR.
WRITTEN = {
    "torch.onnx": lambda w: (Graph(w).op("Sub", column(MEAN)).op("Div", column(STD)).vgg(), 1, False),
    "mean and factor": lambda w: (
        Graph(w).op("Mul", np.float32(1 / 255)).op("Add", column(-MEAN)).op("Mul", column(1 / STD)).vgg(), 255, False),
    "divided first": lambda w: (
        Graph(w).op("Div", np.float32(255)).op("Sub", column(MEAN)).op("Div", column(STD)).vgg(), 255, False),
    "-1 .. 1": lambda w: (Graph(w).op("Div", np.float32(127.5)).op("Sub", np.float32(1)).vgg(), 255, False),
    "only / 255": lambda w: (Graph(w).op("Div", np.float32(255)).vgg(), 255, False),
    "only * 255": lambda w: (Graph(w).op("Mul", np.float32(255)).vgg(), 1, False),
    "tf2onnx caffe": lambda w: (
        to_nchw(reverse(Graph(w, NHWC), 3).op("Sub", CAFFE_MEAN)).vgg(transposed_outputs=True), 255, False),
    "tf2onnx, transposed first": lambda w: (to_nchw(Graph(w, NHWC)).op("Sub", column(CAFFE_MEAN)).vgg(), 255, True),
    "gathered": lambda w: (
        Graph(w).op("Mul", np.float32(255)).op("Gather", np.int64([2, 1, 0]), axis=1).op("Sub", column(CAFFE_MEAN))
        .vgg(), 1, False),
    "BGR for RGB weights": lambda w: (
        reverse(Graph(w), 1).op("Sub", column(MEAN)).op("Div", column(STD)).vgg(), 1, True),
    "pads and biases as nodes": lambda w: (
        Graph(w).op("Sub", column(MEAN)).vgg(pad_nodes=True, bias_nodes=True), 1, False),
    "auto_pad": lambda w: (Graph(w).op("Sub", column(MEAN)).vgg(auto_pad=True), 1, False),
    "constant nodes": lambda w: (Graph(w, constant_nodes=True).op("Sub", column(MEAN)).vgg(), 1, False),
}  # fmt: skip


@pytest.mark.parametrize("writer", WRITTEN)
@pytest.mark.parametrize("layers", [CONVOLUTIONS, tuple(layer for layer in CONVOLUTIONS if layer[5:] != "_4")])
def test_preprocessing_in_a_graph_becomes_the_networks(tmp_path, writer, layers):
    weights = random_weights(WIDTHS, seed=5, layers=layers)
    graph, largest, takes_bgr = WRITTEN[writer](weights)
    network, kind = read(graph.save(tmp_path / "f.onnx"))
    assert kind == "onnx" and network.layers == layers
    image = picture(32, 48)
    x = (image[::-1] if takes_bgr else image)[None] * np.float32(largest)
    x = x.transpose(0, 2, 3, 1) if graph.shape == NHWC else x
    expected = onnxruntime.InferenceSession(tmp_path / "f.onnx", providers=["CPUExecutionProvider"]).run(
        None, {"picture": np.ascontiguousarray(x)}
    )[0]
    actual = features(network, image)[-1]
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * expected.max())
    plain = plain_features(network, image)["relu5_1"]
    np.testing.assert_allclose(actual[0], plain, rtol=1e-3, atol=1e-4 * plain.max())


def test_a_graph_without_preprocessing_gets_the_usual_one_of_its_kind(tmp_path, weights):
    keras = to_nchw(Graph(weights, NHWC)).vgg().save(tmp_path / "keras.onnx")
    assert read(keras)[0].std == PREPROCESSING["caffe"]["std"] and read(keras)[0].bgr
    torch = Graph(weights).vgg().save(tmp_path / "torch.onnx")
    assert read(torch)[0].mean == PREPROCESSING["imagenet"]["mean"]
    own = Graph(weights).op("Sub", column(MEAN)).vgg().save(tmp_path / "own.onnx")
    assert read(own, "compact")[0].mean == PREPROCESSING["compact"]["mean"]


def test_the_projects_own_graph_is_read(tmp_path, weights):
    for name, settings in PREPROCESSING.items():
        onnx.save(build_features(Network(weights, **settings)), tmp_path / name)
        network = read(tmp_path / name)[0]
        ours = features(network, picture(32, 48))[-1], features(Network(weights, **settings), picture(32, 48))[-1]
        np.testing.assert_allclose(*ours, rtol=1e-3, atol=1e-5 * ours[0].max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.op("Sigmoid").vgg(), r"node Sigmoid_0 \(Sigmoid\) has no place before"),
        (lambda g: g.op("Sub", np.float32([1, 2, 3, 4])).vgg(), r"node Sub_0 \(Sub\) has no place before"),
        (lambda g: g.op("Div", np.float32(1), first=True).vgg(), r"node Div_0 \(Div\) has no place before"),
        (lambda g: g.op("Transpose", perm=[0, 1, 3, 2]).vgg(), r"node Transpose_0 \(Transpose\) has no place before"),
        (lambda g: g.op("Gather", np.int64([1, 0, 2]), axis=1).vgg(), r"node Gather_0 \(Gather\) has no place before"),
        (lambda g: reverse(g, 2).vgg(), r"node Slice_0 \(Slice\) has no place before"),
        (lambda g: g.op("Relu").vgg(), r"node Relu_0 \(Relu\) has no place before"),
        (lambda g: g.op("Pad", np.int64([0, 0, 2, 2, 0, 0, 2, 2])).vgg(), r"node Pad_0 \(Pad\) has no place before"),
        (lambda g: g.op("Pad", np.int64([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(1)).vgg(), r"Pad_0 \(Pad\) has no place"),
        (lambda g: g.op("Pad", np.int64([0, 0, 1, 1, 0, 0, 1, 1])).vgg(), r"Conv_1 \(Conv\) has pads \[1, 1, 1, 1\]"),
        (lambda g: g.op("Pad", np.int64([0, 0, 1, 1, 0, 0, 1, 1])).op("Sub", np.float32(1)).vgg(),
         r"Sub_1 \(Sub\) follows a Pad"),
        (lambda g: g.op("Conv", g.weights["conv1_1.weight"]).op("Relu").vgg(),
         r"Conv_0 \(Conv\) has pads \[0, 0, 0, 0\]"),
        (lambda g: g.op("Conv", g.weights["conv1_1.weight"], pads=[1] * 4).op("Conv", g.weights["conv1_2.weight"]),
         r"Conv_1 \(Conv\) follows a convolution without a Relu between"),
        (lambda g: g.op("Conv", g.weights["conv1_1.weight"], pads=[1] * 4).op("Add", np.float32(1)).op("Relu")
         .op("Conv", g.weights["conv1_2.weight"], pads=[1] * 4), r"Add_1 \(Add\) adds an array of shape \(\)"),
        (lambda g: g.op("Mul", np.float32(2)).vgg(), r"does not show whether pictures are in 0\.\.1 or 0\.\.255"),
    ],
)  # fmt: skip
def test_other_nodes_are_refused_by_name(tmp_path, weights, change, message):
    change(Graph(weights)).save(tmp_path / "f.onnx")
    with pytest.raises(ModelError, match=message):
        read(tmp_path / "f.onnx")


def test_control_characters_in_a_file_s_names_are_replaced_in_the_message(tmp_path, weights):
    write_onnx(tmp_path / "f.onnx", weights)
    model = onnx.load(tmp_path / "f.onnx")
    model.graph.node[1].op_type = "\x1b[2J" + "x" * 10_000
    onnx.save(model, tmp_path / "f.onnx")
    with pytest.raises(ModelError, match=r"\\x1b\[2Jxxx") as caught:
        read(tmp_path / "f.onnx")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


def test_links_to_other_files_are_not_read(tmp_path, weights):
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
    with pytest.raises(ModelError, match="is stored in an external file, which is not read"):
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
        (b"hello, these are not weights", "by its content, it is not .h5, .caffemodel, .pth, .safetensors or .onnx"),
        (bytes(range(200, 256)) * 50, "by its content, it is not .h5, .caffemodel, .pth, .safetensors or .onnx"),
        (pickle.dumps([1, 2, 3]), "is a bare pickle"),
        (zipped(bytes(999))[:-500], "truncated or damaged"),
        (b"\x08\x07hello", "truncated or damaged"),
        (b"\x12\x00", "has no layers conv1_1"),
        (b"\x12\x05hello", "a field has the wire type 4, which no ONNX or Caffe file has, so the file is damaged"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_safetensors_file_with_a_data_type_that_numpy_lacks_is_refused_with_the_cure(tmp_path):
    header = json.dumps({"conv1_1.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    # The message names bfloat16, whether NumPy lacks it or another package has registered it.
    with pytest.raises(ModelError, match=r"bfloat16.*; save the weights as float32"):
        read(tmp_path / "w.safetensors")


def test_a_zip_that_is_not_a_pth_and_a_missing_file_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.zeros(3))
    with pytest.raises(ModelError, match=r"is a zip file with 0 files data\.pkl, but"):
        read(tmp_path / "f.npz")
    with pytest.raises(ModelError, match="there is no such file"):
        read(tmp_path / "none.h5")
    with pytest.raises(ModelError, match="there is no such file"):
        read(tmp_path)
