"""Tests of models on disk: finding, refusing, verifying and removing them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
from vgg_files import IMAGENET, random_network, random_weights

from analogy.errors import ModelError, OutputError
from analogy.files.temporary import is_temporary
from analogy.networks.cards import CARD, Card, read_card
from analogy.networks.checks import check_graph
from analogy.networks.description import CONVOLUTIONS, FOURTH, Network
from analogy.networks.export import build_features, build_objective, build_step, export
from analogy.networks.models import (
    DEFAULT,
    GRAPHS,
    WEIGHTS,
    add_file,
    cache,
    installed,
    locate,
    remove,
    shipped,
    verify,
    write_model,
)

WIDTHS = (3, 4, 5, 6, 7)
CARD_OF = Card("tiny", "a test", WIDTHS, "random", "none")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ANALOGY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def graphs():
    network = random_network(WIDTHS)
    models = {"features.onnx": build_features(network)}
    models |= {f"invert_{level}.onnx": build_objective(network, level) for level in (5, 4, 3, 2)}
    models |= {f"step_{level}.onnx": build_step(network, level) for level in (5, 4, 3, 2)}
    return {name: model.SerializeToString() for name, model in models.items()}


@pytest.fixture
def tiny(graphs):
    write_model(cache() / "tiny", CARD_OF, graphs)
    return cache() / "tiny"


def test_the_cache_is_in_analogy_home_or_the_user_s_cache_folder(home, monkeypatch):
    assert cache() == home / "models"
    monkeypatch.delenv("ANALOGY_HOME")
    from platformdirs import user_cache_path

    assert cache() == user_cache_path("analogy", appauthor=False) / "models"


def test_models_are_found_by_name_and_by_folder(tiny, tmp_path, graphs):
    assert list(installed()) == [DEFAULT, "tiny"]
    assert locate("tiny") == tiny
    assert locate(DEFAULT) == shipped() / DEFAULT
    write_model(tmp_path / "elsewhere", CARD_OF, graphs)
    assert locate(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    assert locate(str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"


def test_a_folder_with_a_leading_dot_is_not_an_installed_model(tiny):
    tiny.rename(tiny.with_name(".tiny-x7h3"))
    assert list(installed()) == [DEFAULT]


def test_unknown_models_are_refused_with_the_names_of_known_ones(tiny):
    with pytest.raises(
        ModelError, match=r"^there is no model 'vgg99'; choose from vgg16-compact, tiny, or name a model's folder$"
    ):
        locate("vgg99")
    with pytest.raises(ModelError, match=r"'vgg19' is not installed; get it with: analogy models pull vgg19$"):
        locate("vgg19")


@pytest.mark.parametrize("missing", [*GRAPHS, CARD])
def test_a_folder_that_lacks_a_file_is_refused(tiny, tmp_path, missing):
    folder = tiny.rename(tmp_path / "mine")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=f"mine lacks {missing}; export or pull the model again"):
        locate(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": [1, 2, 3]}, r"widths is \[1, 2, 3\]; expected five numbers from 1 to 65536"),
        ({"widths": [1, 2, 3, 4, 0]}, "expected five numbers from 1"),
        ({"widths": [1, 2, 3, 4, "5"]}, "expected five numbers from 1"),
        ({"widths": [1, 2, 3, 4, 10**30]}, "expected five numbers from 1"),
        ({"widths": 5}, "widths is 5"),
        ({"name": {"a": 1}}, "name is {'a': 1}; expected one line of text"),
        ({"description": "two\nlines"}, "expected one line of text"),
        ({"licence": "\x1b[2J"}, "expected one line of text"),
        ({"sha256": [1]}, "expected file names with checksums"),
        ({"sha256": {"../../features.onnx": "0" * 64}}, "names '../../features.onnx', which is not a model file"),
        ({"sha256": {"features.onnx": "0"}}, "the checksum of features.onnx is '0'; expected 64 hexadecimal digits"),
        ({"colour": "blue"}, "has unknown fields: colour"),
        (b"{", "cannot be read: Expecting property name"),
        (b"[" * 100_000, "cannot be read: maximum recursion depth"),
        (b'{"widths": 1' + b"0" * 5000 + b"}", "cannot be read: Exceeds the limit"),
        (b"\xff\xfe", "cannot be read: 'utf-8' codec"),
        (b"7", "is a int, not a JSON object"),
        (b"{}", "has no 'name'"),
        (bytes(2 << 20), "cannot be read: it has more than 1048576 bytes"),
    ],
)
def test_an_invalid_card_is_refused_in_one_line(tiny, change, message):
    path = tiny / CARD
    content = change if isinstance(change, bytes) else json.dumps(json.loads(path.read_text()) | change).encode()
    path.write_bytes(content)
    for function in (read_card, locate, verify):
        with pytest.raises(ModelError, match=message) as caught:
            function(tiny)
        assert "\n" not in str(caught.value)


def test_verify_names_the_damaged_file_and_the_cure(tiny, tmp_path):
    verify(tiny)
    graph = tiny / "invert_4.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        ModelError, match=r"invert_4.onnx is damaged: its SHA-256 .*; replace it with: .* models pull tiny"
    ):
        verify(tiny)
    moved = tiny.rename(tmp_path / "mine")
    with pytest.raises(ModelError, match=r"is damaged.*; export the model again"):
        verify(moved)
    (moved / "features.onnx").unlink()
    with pytest.raises(ModelError, match=r"features.onnx cannot be read: No such file"):
        verify(moved)


def test_damaged_and_missing_shared_weights_are_named(tmp_path):
    folder = tmp_path / "mine"
    export(random_network((16, 16, 16, 16, 16)), folder, CARD_OF)
    verify(folder)
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match=r"weights.bin is damaged: its SHA-256 .*; export the model again"):
        verify(folder)
    weights.unlink()
    with pytest.raises(ModelError, match=r"mine lacks weights.bin; export or pull the model again"):
        locate(folder)


def test_the_shipped_model_matches_its_checksums_and_its_card():
    folder = locate(DEFAULT)
    verify(folder)
    for name in GRAPHS:
        session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        check_graph(folder / name, read_card(folder), session)


def opened(data: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_fit_the_card_pass(tiny, name, graphs):
    check_graph(tiny / name, CARD_OF, opened(graphs[name]))


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_another_width_or_level_are_refused(tiny, name, graphs):
    session = opened(graphs[name])
    for level in range(1, 6):
        widths = tuple(width + (n == level) for n, width in enumerate(WIDTHS, 1))
        own = int(name.removesuffix(".onnx")[-1]) if name != "features.onnx" else 0
        involved = not own or own - 2 <= level <= own
        if involved:
            with pytest.raises(ModelError, match="the folder's files are not of one model") as caught:
                check_graph(tiny / name, replace(CARD_OF, widths=widths), session)
            assert str(tiny / name) in str(caught.value) and "\n" not in str(caught.value)
        else:
            check_graph(tiny / name, replace(CARD_OF, widths=widths), session)
    with pytest.raises(ModelError, match=r"has unexpected inputs: .*; expected only|are not of one model|has no input"):
        check_graph(tiny / ("invert_5.onnx" if name != "invert_5.onnx" else "invert_2.onnx"), CARD_OF, session)


@dataclass
class Item:
    name: str
    shape: list
    type: str = "tensor(float)"


@dataclass
class Session:
    inputs: list
    outputs: list

    def get_inputs(self):
        return self.inputs

    def get_outputs(self):
        return self.outputs


def objective_session() -> Session:
    """Return a session of an `invert_2` that another exporter wrote, with unnamed sizes."""
    return Session(
        [Item("x", ["N", 3, None, None]), Item("target", [1, 4, "a", "b"])],
        [Item("loss", []), Item("gradient", [1, 3, "h", "w"]), Item("between", [1, 3, "h", "w"]), Item("more", [7])],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: None, None),
        (lambda s: s.outputs.pop(2), "has no output between; it has loss, gradient, more"),
        (lambda s: s.inputs.pop(0), "has no input x; it has target"),
        (lambda s: s.inputs.append(Item("scale", [])), "has unexpected inputs: scale; expected only x, target"),
        (lambda s: setattr(s.inputs[0], "type", "tensor(float16)"), r"input x is tensor\(float16\)"),
        (lambda s: setattr(s.inputs[0], "shape", [1, 3, 224, 224]), r"\[1, 3, 224, 224\], but its card says"),
        (lambda s: setattr(s.inputs[0], "shape", [2, 3, "h", "w"]), r"input x is tensor\(float\) \[2, 3"),
        (
            lambda s: setattr(s.outputs[0], "shape", [1]),
            r"output loss is tensor\(float\) \[1\], but its card says .* \[\]",
        ),
        (lambda s: setattr(s.outputs[1], "shape", [1, 3]), r"output gradient is tensor\(float\) \[1, 3\]"),
    ],
)
def test_graphs_with_other_inputs_or_outputs_are_refused(tiny, change, message):
    session = objective_session()
    change(session)
    if message is None:
        check_graph(tiny / "invert_2.onnx", CARD_OF, session)
        return
    with pytest.raises(ModelError, match=message) as caught:
        check_graph(tiny / "invert_2.onnx", CARD_OF, session)
    assert "\n" not in str(caught.value)


def test_a_pulled_model_can_be_removed(tiny):
    assert remove("tiny") == tiny
    assert not tiny.exists() and list(cache().iterdir()) == []
    with pytest.raises(ModelError, match="no pulled model 'tiny' to remove; no model has been pulled"):
        remove("tiny")


@pytest.mark.parametrize("name", ["..", "../models/tiny", "", ".", "nothing"])
def test_only_names_of_models_can_be_removed(tiny, name):
    with pytest.raises(ModelError, match="to remove; choose from tiny"):
        remove(name)
    verify(tiny)


def test_the_shipped_model_is_not_removed(graphs):
    with pytest.raises(ModelError, match="vgg16-compact is part of the package and cannot be removed"):
        remove(DEFAULT)
    verify(locate(DEFAULT))
    write_model(cache() / DEFAULT, CARD_OF, graphs)  # a pulled model with the name of the shipped model
    with pytest.raises(ModelError, match="is part of the package and cannot be removed"):
        remove(DEFAULT)


def test_a_folder_without_permission_is_named_in_one_line(tiny, tmp_path, graphs, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", closed)
    with pytest.raises(ModelError, match=f"{tiny.name}: there is no permission to read it; change its permissions"):
        locate(tiny)
    monkeypatch.setattr(Path, "exists", closed)
    with pytest.raises(OutputError, match="new: there is no permission to read it"):
        write_model(tmp_path / "new", CARD_OF, graphs)


def test_an_interrupted_write_leaves_no_model(tmp_path, graphs):
    class Broken(dict):
        calls = 0

        def items(self):  # `write_model` calls this for the checksums, and again to write
            self.calls += 1
            yield from list(super().items())[: 2 if self.calls == 2 else None]
            if self.calls == 2:
                assert [is_temporary(path.name) for path in (tmp_path / "m").iterdir()] == [True]
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path / "m" / "new", CARD_OF, Broken(graphs))
    assert list((tmp_path / "m").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make the folder .*file: (File exists|Not a directory)"):
        write_model(tmp_path / "file" / "new", CARD_OF, graphs)
    with pytest.raises(ModelError, match="exists already"):
        write_model(tmp_path / "file", CARD_OF, graphs)
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "empty", CARD_OF, graphs)
    verify(tmp_path / "empty")


def test_an_added_file_belongs_to_the_model_and_temporary_files_are_deleted(tiny):
    (tiny / f".analogy-{'0' * 32}.tmp").write_bytes(b"half")
    before = {path.name for path in tiny.iterdir() if not is_temporary(path.name)}
    for content in (b"one", b"other"):
        add_file(tiny, "more.npz", content)
        verify(tiny)
        assert (tiny / "more.npz").read_bytes() == content
    assert {path.name for path in tiny.iterdir()} == before | {"more.npz"}


def test_importing_the_modules_of_models_loads_no_heavy_library():
    code = "import sys, analogy.networks.models, analogy.networks.published, analogy.networks.pull; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "onnx", "onnxruntime", "pooch", "requests", "h5py", "platformdirs"} & set(loaded)


COMPACT = dict(zip(CONVOLUTIONS, (16, 16, 32, 32, 64, 64, 64, 96, 256, 160, 160, 192, 256), strict=True))
VGG16_LAYERS = [layer for layer in CONVOLUTIONS if layer not in FOURTH]


@pytest.mark.parametrize(
    ("widths", "layers"), [(WIDTHS, VGG16_LAYERS), (COMPACT, list(CONVOLUTIONS))], ids=["VGG-16", "the compact VGG-19"]
)
def test_an_exported_model_passes_the_graph_check_with_the_convolutions_of_its_network(tmp_path, widths, layers):
    network = Network(random_weights(widths, layers=layers), *IMAGENET)
    export(network, tmp_path / "model", replace(CARD_OF, name="model", widths=network.widths))
    folder = locate(tmp_path / "model")
    for name in GRAPHS:
        session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        check_graph(folder / name, read_card(folder), session)
    graph = onnx.load(folder / "features.onnx").graph
    kernels = {item.name: tuple(item.dims) for item in graph.initializer if item.name.endswith(".weight")}
    assert kernels == {name: network.weights[name].shape for name in (f"{layer}.weight" for layer in layers)}
    assert [node.op_type for node in graph.node].count("Conv") == len(layers)
