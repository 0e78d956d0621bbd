"""Tests of damaged and malicious models and weights: each is refused with a message of one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hostile import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analogy import AnalogyError, Engine, MemoryLimitError, ModelError
from analogy.apps.cli import cli
from analogy.networks.cards import CARD, read_card
from analogy.networks.checks import external_files
from analogy.networks.models import DEFAULT, WEIGHTS, locate, verify
from analogy.networks.pull import pull
from analogy.networks.weights import read

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
FOLDERS = {
    "another graph as features.onnx": "features.onnx is damaged: its SHA-256 .*; export the model again",
    "weights with a byte more": "weights.bin is damaged: its SHA-256 .*; export the model again",
    "weights that are not numbers": "features.onnx gives values that are not finite",
    "weights that the card does not name": "weights.bin is not named by the model's card",
    "weights in the folder above": "elsewhere.bin is not named by the model's card",
    "weights in the same folder, written as ./weights.bin": "is not named by the model's card",
    "weights in a device": "/dev/zero is not named by the model's card",
    "maps of another size": "features.onnx failed while it ran",
    "features that need more memory than there is": "the network needs more memory than there is",
    "an empty graph": "features.onnx cannot be read",
    "a graph of random bytes": "features.onnx: a field has the wire type 7",
    "graphs within graphs": "features.onnx: graphs are nested more than",
    "a projection of a sixth level": "has an array 'level6'; its arrays must be named level1 to level5",
    "a projection to 0 channels": r"level1 is float32 \(16, 0\)",
    "a projection of objects": "projection.npz cannot be read; it may be damaged: Object arrays",
    "a projection that unpacks to 128 MB": "its arrays have 128000128 bytes",
    "a projection that claims 64 TB": "projection.npz cannot be read; it may be damaged",
    "a pickled number as projection": "projection.npz cannot be read; it may be damaged",
}

needs_special_files = pytest.mark.skipif(os.name != "posix", reason="this system has no named pipes")


def one_line(error: AnalogyError) -> None:
    assert str(error).isprintable() and len(str(error)) < 1000


@pytest.mark.parametrize("kind", models.FOLDERS)
def test_a_folder_with_hostile_files_is_refused(kind: str, tmp_path: Path, capfd) -> None:
    folder = models.copy(tmp_path / "model")
    models.FOLDERS[kind](folder)
    expected = MemoryLimitError if "memory" in kind else ModelError
    with pytest.raises(expected, match=FOLDERS[kind]) as caught:
        Engine(folder, "cpu").transfer(PICTURE, PICTURE, "fast")
    one_line(caught.value)
    assert capfd.readouterr() == ("", "")  # not even ONNX Runtime prints anything


def test_an_inversion_whose_values_are_not_finite_is_refused(tmp_path: Path) -> None:
    import onnx

    folder = models.copy(tmp_path / "model")
    graph = onnx.load(folder / "step_4.onnx", load_external_data=False)
    graph.graph.node[-1].output[0] = "with zeros"
    graph.graph.node.append(onnx.helper.make_node("Log", ["with zeros"], ["reconstruction"]))
    onnx.save(graph, folder / "step_4.onnx")
    models.sign(folder)
    with pytest.raises(ModelError, match=r"step_4.onnx gives values that are not finite"):
        Engine(folder, "cpu").transfer(PICTURE, PICTURE)


def test_a_file_that_is_replaced_later_is_noticed_when_it_is_loaded(tmp_path: Path) -> None:
    folder = models.copy(tmp_path / "model")
    engine = Engine(folder, "cpu")
    engine.transfer(PICTURE, PICTURE, "fast")
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[100] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    engine.transfer(PICTURE, PICTURE, "fast")  # the engine has loaded the graphs of "fast" already
    with pytest.raises(ModelError, match=r"weights.bin is damaged"):
        engine.transfer(PICTURE, PICTURE)  # this needs graphs of the inversion, which are not loaded yet


@pytest.mark.parametrize("kind", models.cards())
def test_a_hostile_card_is_refused(kind: str, tmp_path: Path) -> None:
    folder = models.copy(tmp_path / "model")
    (folder / CARD).write_bytes(models.cards()[kind])
    with pytest.raises(ModelError) as caught:
        Engine(folder, "cpu").transfer(PICTURE, PICTURE, "fast")
    one_line(caught.value)


def test_damaged_models_are_one_line_each_of_models_list_and_verify(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANALOGY_HOME", str(tmp_path))
    for kind, content in models.cards().items():
        folder = models.copy(tmp_path / "models" / f"{kind} card")
        (folder / CARD).write_bytes(content)
    models.copy(tmp_path / "models" / "whole")
    listed = CliRunner().invoke(cli, ["models", "list"])
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    damaged = [line for line in lines if "(damaged)" in line]
    readable = {"no checksums", "other widths"}
    assert len(damaged) == len(models.cards()) - len(readable)
    assert len(lines) == len(models.cards()) + 5  # 5: the shipped model, `whole`, and three published models
    assert listed.stdout.replace("\n", "").isprintable()
    verified = CliRunner().invoke(cli, ["models", "verify"])
    assert verified.exit_code == 2
    assert verified.stdout.splitlines() == [
        f"{name}: complete and undamaged" for name in ("vgg16-compact", "other widths card", "whole")
    ]
    assert len(verified.stderr.splitlines()) == len(models.cards()) - 1  # -1: `verify` accepts "other widths"


@pytest.mark.parametrize("kind", models.weights())
def test_hostile_weights_are_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(models.weights()[kind])
    with pytest.raises(ModelError) as caught:
        read(tmp_path / "file")
    one_line(caught.value)


def test_the_weights_that_are_damaged_below_are_sound(tmp_path: Path) -> None:
    for content in models.sound_weights().values():
        (tmp_path / "file").write_bytes(content)
        read(tmp_path / "file")


def check(work: Callable[[], object]) -> None:
    """Check that `work` on a damaged file succeeds, or raises a `ModelError` of one line."""
    try:
        work()
    except ModelError as error:
        one_line(error)


SEARCH = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", ["keras", "caffe", "onnx", "safetensors", "torch"])
@given(seed=seeds)
@SEARCH
def test_damaged_weights_are_read_or_refused(kind: str, seed: int, tmp_path: Path) -> None:
    if kind not in models.sound_weights():
        pytest.skip(f"no file of the kind {kind} can be made here")
    (tmp_path / "file").write_bytes(models.mutate(models.sound_weights()[kind], np.random.default_rng(seed)))
    check(lambda: read(tmp_path / "file"))


@given(seed=seeds)
@SEARCH
def test_damaged_cards_are_read_or_refused(seed: int, tmp_path: Path) -> None:
    sound = (locate(DEFAULT) / CARD).read_bytes()
    (tmp_path / CARD).write_bytes(models.mutate(sound, np.random.default_rng(seed)))
    check(lambda: read_card(tmp_path))


@given(seed=seeds)
@SEARCH
def test_external_files_of_damaged_graphs_are_listed_or_refused(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    graphs = sorted(locate(DEFAULT).glob("*.onnx"))
    (tmp_path / "graph.onnx").write_bytes(models.mutate(graphs[rng.integers(len(graphs))].read_bytes(), rng))
    check(lambda: external_files(tmp_path / "graph.onnx"))


@needs_special_files
@pytest.mark.parametrize("kind", models.LONG_LASTING)
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_without_waiting(kind: str, tmp_path: Path) -> None:
    for name in ("features.onnx", WEIGHTS, CARD):
        folder = models.copy(tmp_path / f"with {name}")
        (folder / name).unlink()
        models.LONG_LASTING[kind](folder / name)
        with pytest.raises(ModelError, match=f"lacks {name}"):
            locate(folder)
        with pytest.raises(ModelError, match=f"{name} cannot be read: it is {kind}, not a file"):
            verify(folder)
    models.LONG_LASTING[kind](tmp_path / "weights.h5")
    for function in (read, lambda path: pull("vgg19", path)):
        with pytest.raises(ModelError, match=f"cannot be read: it is {kind}, not a file"):
            function(tmp_path / "weights.h5")
    with pytest.raises(ModelError, match=f"the card .* cannot be read: it is {kind}"):
        read_card(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("~nouser/x", "the model '~nouser/x' is not a folder that can be read: Could not determine home directory"),
        ("x" * 5000, "the model 'xxx.* is not a folder that can be read: File name too long"),
        ("a\0b", "embedded null"),
        ("", "lacks"),
    ],
)
def test_a_name_that_no_folder_can_have_is_refused(name: str, words: str, monkeypatch) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        Engine(name)
    one_line(caught.value)
    if words.startswith("the model"):
        monkeypatch.setenv("ANALOGY_HOME", name)
        done = CliRunner().invoke(cli, ["models", "list"])
        assert done.exit_code == 2
        assert done.stderr.startswith("analogy: ANALOGY_HOME ") and done.stderr.count("\n") == 1
