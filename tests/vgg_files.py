"""Small VGG-19s with seeded weights, and the same network in plain NumPy for comparison."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from analogy.networks.description import CONVOLUTIONS, Network

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def level_of(layer: str) -> int:
    return int(layer[4])


def random_weights(widths=(3, 4, 5, 6, 7), seed: int = 0, layers=CONVOLUTIONS) -> dict[str, np.ndarray]:
    """Return float32 weights whose features neither vanish nor explode.

    The kernels have the variance of He's initialisation, and the biases have both signs. `widths`
    has the number of channels of the layers of each level, or maps each layer to its number.
    """
    rng = np.random.default_rng(seed)
    weights, channels = {}, 3
    for layer in layers:
        width = widths[layer] if isinstance(widths, dict) else widths[level_of(layer) - 1]
        scale = np.sqrt(2 / (9 * channels))
        weights[f"{layer}.weight"] = (rng.standard_normal((width, channels, 3, 3)) * scale).astype(np.float32)
        weights[f"{layer}.bias"] = rng.normal(0.05, 0.1, width).astype(np.float32)
        channels = width
    return weights


def random_network(widths=(3, 4, 5, 6, 7), seed: int = 0, bgr: bool = False) -> Network:
    return Network(random_weights(widths, seed), *IMAGENET, bgr)


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return the 3 x 3 convolution of `x` with zero padding: (C, H, W) -> (O, H, W)."""
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    result = np.zeros((len(kernel), height, width)) + bias[:, None, None]
    for row in range(3):
        for column in range(3):
            window = padded[:, row : row + height, column : column + width]
            result += np.tensordot(kernel[:, :, row, column], window, 1)
    return result


def pool(x: np.ndarray) -> np.ndarray:
    """Return the 2 x 2 max pooling of `x`: (C, H, W) -> (C, ceil(H / 2), ceil(W / 2)).

    An odd last row or column is kept.
    """
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (0, height % 2), (0, width % 2)), constant_values=-np.inf)
    return padded.reshape(len(x), -(-height // 2), 2, -(-width // 2), 2).max(axis=(2, 4))


def run_layers(weights, x: np.ndarray, layers) -> dict[str, np.ndarray]:
    """Return the output of each ReLU, float64, on the way from `x` (C, H, W) through `layers`."""
    found = {}
    for layer in layers:
        if layer.endswith("_1") and layer != "conv1_1":
            x = pool(x)
        x = np.maximum(convolve(x, *(np.float64(weights[f"{layer}.{part}"]) for part in ("weight", "bias"))), 0)
        found[f"relu{layer[4:]}"] = x
    return found


def plain_features(network: Network, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return relu1_1 .. relu5_1, (C, h, w) float64 each, of `image` (3, H, W) RGB in 0..1."""
    mean, std = np.reshape(network.mean, (3, 1, 1)), np.reshape(network.std, (3, 1, 1))
    x = (np.float64(image) - mean) / std
    layers = [layer for layer in CONVOLUTIONS if f"{layer}.weight" in network.weights]
    relus = run_layers(network.weights, x[::-1] if network.bgr else x, layers)
    return {f"relu{level}_1": relus[f"relu{level}_1"] for level in range(1, 6)}


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return random pixels, (3, H, W) float32 RGB in 0..1."""
    return np.random.default_rng([seed, height, width]).random((3, height, width), np.float32)


# Files of weights of each kind, written by the libraries that users write them with.


def torchvision_names(weights) -> dict[str, np.ndarray]:
    """Return the weights under torchvision's names, `features.0.weight` .., with a classifier."""
    named, number = {}, 0
    for layer in CONVOLUTIONS:
        number += (
            layer.endswith("_1") and layer != "conv1_1"
        )  # torchvision also numbers the pooling layer before this one
        for part in ("weight", "bias"):
            named[f"features.{number}.{part}"] = weights[f"{layer}.{part}"]
        number += 2
    named["classifier.0.weight"] = np.ones((5, 4), np.float32)
    named["classifier.0.bias"] = np.ones(5, np.float32)
    return named


def keras_arrays(weights):
    """Yield the name of each convolution in Keras, its kernel HWIO, and its bias."""
    for layer in CONVOLUTIONS:
        name = "block{}_conv{}".format(*layer[4:].split("_"))
        yield name, weights[f"{layer}.weight"].transpose(2, 3, 1, 0), weights[f"{layer}.bias"]


def write_keras(path, weights, layout: str = "published") -> None:
    """Write weights as a file of Keras.

    The layout is "published" (names of the file of 2016), "keras2" (names of save_weights in Keras
    2) or "model" (a whole model).
    """
    import h5py

    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if layout == "model" else file
        root.attrs["layer_names"] = [b"input_1", *(name.encode() for name, _, _ in keras_arrays(weights))]
        root.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, kernel, bias in keras_arrays(weights):
            names = [f"{name}_W_1:0", f"{name}_b_1:0"] if layout == "published" else [f"{name}/{part}:0" for part in
                                                                                    ("kernel", "bias")]  # fmt: skip
            group = root.create_group(name)
            group.attrs["weight_names"] = [item.encode() for item in names]
            group.create_dataset(names[0], data=kernel)
            group.create_dataset(names[1], data=bias)
        if layout == "model":
            file.create_dataset("optimizer_weights/adam/block1_conv1/kernel/m:0", data=np.zeros((3, 3, 3, 3), "f4"))


def caffe_message():
    """Return the class of caffe.proto's `NetParameter`, with the fields that weights need.

    The package protobuf builds it at run time.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = {"string": 9, "float": 2, "double": 1, "int32": 5, "int64": 3, "enum": 5, "bool": 8}
    messages = {
        "BlobShape": [("dim", 1, "int64", True)],
        "BlobProto": [("shape", 7, "BlobShape", False), ("data", 5, "float", True), ("diff", 6, "float", True),
                      ("double_data", 8, "double", True), ("num", 1, "int32", False), ("channels", 2, "int32", False),
                      ("height", 3, "int32", False), ("width", 4, "int32", False)],
        "V1LayerParameter": [("bottom", 2, "string", True), ("top", 3, "string", True), ("name", 4, "string", False),
                             ("type", 5, "enum", False), ("blobs", 6, "BlobProto", True),
                             ("blobs_lr", 7, "float", True)],
        "LayerParameter": [("name", 1, "string", False), ("type", 2, "string", False), ("bottom", 3, "string", True),
                           ("top", 4, "string", True), ("blobs", 7, "BlobProto", True)],
        "NetParameter": [("name", 1, "string", False), ("layers", 2, "V1LayerParameter", True),
                         ("input", 3, "string", True), ("input_dim", 4, "int32", True),
                         ("force_backward", 5, "bool", False), ("layer", 100, "LayerParameter", True)],
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, repeated in fields:
            field = message.field.add(name=field_name, number=number, label=3 if repeated else 1)
            if kind in kinds:
                field.type = kinds[kind]
                field.options.packed = repeated and kind in ("float", "double", "int64") and field_name != "blobs_lr"
            else:
                field.type, field.type_name = 11, f".caffe.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def write_caffe(path, weights, form: str = "layers") -> None:
    """Write weights as a file of Caffe.

    The form is "layers" (V1LayerParameter and num .. width, as in the published file) or "layer"
    (the newer form, with `shape`).
    """
    net = caffe_message()(name="VGG_ILSVRC_19_layers")
    getattr(net, form).add(name="data", top=["data"])
    for layer in (*CONVOLUTIONS, "fc6"):
        kernel = weights.get(f"{layer}.weight", np.ones((1, 1, 5, 4), np.float32))
        bias = weights.get(f"{layer}.bias", np.ones(5, np.float32))
        message = getattr(net, form).add(name=layer, type=4 if form == "layers" else "Convolution", bottom=["x"])
        for values in (kernel, bias):
            blob = message.blobs.add(data=values.ravel())
            if form == "layer":
                blob.shape.dim.extend(values.shape)
            else:
                blob.num, blob.channels, blob.height, blob.width = [1] * (4 - values.ndim) + list(values.shape)
        getattr(net, form).add(name=layer.replace("conv", "relu"), bottom=["x"])
    path.write_bytes(net.SerializeToString())


def write_onnx(path, weights) -> None:
    """Write the graph of VGG-19 that the package onnx ships for its tests, with these weights."""
    from importlib.resources import files

    import onnx

    model = onnx.load(str(files("onnx") / "backend/test/data/light/light_vgg19.onnx"))
    nodes = [node for node in model.graph.node if node.op_type != "ConstantOfShape"]
    tensors, convolutions = [], iter(CONVOLUTIONS)
    for node in nodes:
        if node.op_type == "Conv" and (layer := next(convolutions, None)):
            for name, part in zip(node.input[1:], ("weight", "bias"), strict=True):
                tensors.append(onnx.numpy_helper.from_array(weights[f"{layer}.{part}"], name))
    for field, items in (("node", nodes), ("initializer", tensors)):
        del getattr(model.graph, field)[:]
        getattr(model.graph, field).extend(items)
    onnx.save(model, str(path))


def torch_vgg19(weights):
    """Return torchvision's VGG-19 up to conv5_1 with these weights, and a small classifier."""
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


def zipped(pickled: bytes, storages: dict[str, bytes] | None = None, compression=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return stream.getvalue()
