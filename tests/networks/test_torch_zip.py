"""Tests of the reader of .pth files: it reads tensors with any strides, and never runs code."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from vgg_files import random_weights, torch_vgg19, torchvision_names, zipped

from analogy.errors import ModelError
from analogy.networks.weights import read

WIDTHS = (6, 8, 10, 12, 14)


@pytest.fixture
def weights():
    return random_weights(WIDTHS, seed=5)


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


class Malice:
    """Object whose pickle calls `function` with `arguments` when it is loaded."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


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
    with pytest.raises(ModelError, match="for safety only tensors are loaded") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "it-ran").exists()
    pickle.loads(pickled)  # Python's reader runs the call in the pickle
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        # A pickle cannot set attributes of the objects that it looks up, neither by a dict of state
        # nor by a pair of dicts.
        (
            stack_global("torch._utils", "_rebuild_tensor_v2") + b"}(X\x04\x00\x00\x00evilK\x01ub.",
            "its pickle is damaged .AttributeError",
        ),
        (
            stack_global("torch._utils", "_rebuild_tensor_v2") + b"N}(X\x0c\x00\x00\x00__defaults__)u\x86b.",
            "its pickle is damaged .AttributeError",
        ),
        (
            stack_global("collections", "OrderedDict") + b"N}(X\x04\x00\x00\x00keysK\x01u\x86b.",
            "its pickle is damaged .AttributeError",
        ),
        # The first pickle looks up a name by the opcode STACK_GLOBAL, and the second pickle by a
        # number in the extension registry.
        (
            b"\x80\x04\x8c\x10analogy.apps.cli\x8c\x04main\x93.",
            "refers to analogy.apps.cli.main; for safety only",
        ),
        (b"\x82\x01.", "unregistered extension code 1"),
        # These pickles refer to stored values of an unknown kind.
        (b"Plib\n.", "values of an unknown kind, lib"),
        (
            b"(X\x07\x00\x00\x00storageX\x05\x00\x00\x00int99X\x01\x00\x00\x000tQ.",
            "of an unknown kind, .'storage', 'int99'",
        ),
        # These are not pickles, or not pickles of a state dict.
        (b"", "its pickle is damaged .ValueError"),
        (b"garbage", "its pickle is damaged .ValueError"),
        (b"]q\x00.", "holds a list, not a state dict"),
        # These short pickles request much memory.
        (b"\x80\x04Nr\xff\xff\xff\x0f.", "requests 268435455 places in a memo"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "its pickle is damaged .ValueError"),
        # This pickle calls OrderedDict with an argument.
        (stack_global("collections", "OrderedDict") + b"(]tR.", "its pickle is damaged .TypeError"),
    ],
)
def test_pickles_that_do_not_build_a_state_dict_are_refused_with_the_reason(tmp_path, pickled, message):
    path = tmp_path / "bad.pth"
    path.write_bytes(zipped(pickled))
    with pytest.raises(ModelError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def integers(*values: int) -> bytes:
    return b"".join(b"J" + struct.pack("<i", value) for value in values)


def tensor_pickle(shape, strides, offset=0, count=81) -> bytes:
    """Return the pickle of a state dict with one tensor, in the opcodes that torch.save writes."""
    storage = b"(" + text("storage") + stack_global("torch", "FloatStorage") + text("0") + text("cpu")
    storage += integers(count) + b"tQ"
    arguments = b"(" + storage + integers(offset) + b"(" + integers(*shape) + b"t(" + integers(*strides) + b"t\x89"
    arguments += stack_global("collections", "OrderedDict") + b")Rt"
    tensor = stack_global("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"
    return b"\x80\x02}(" + text("features.0.weight") + tensor + b"u."


STRIDES = (27, 9, 3, 1)


def test_the_handmade_pickle_is_read_as_a_tensor(tmp_path):
    """Read the pickle that the next tests change; unchanged, it is refused for its missing bias."""
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
        (zipped(tensor_pickle((3,) * 99, (0,) * 99), {"0": bytes(324)}), "a tensor with 99 dimensions"),
        (zipped(b"." * (2 << 20)), "far more than a state dict needs"),
    ],
)
def test_tensors_that_reach_beyond_the_file_are_refused(tmp_path, content, message):
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_pickle_of_a_whole_model_is_refused_with_advice(tmp_path, weights):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    torch.save(torch_vgg19(weights), tmp_path / "f")
    with pytest.raises(ModelError, match=r"refers to torch.nn.modules.module.Module; .*save model.state_dict\(\)"):
        read(tmp_path / "f")


def test_the_legacy_format_of_pytorch_is_refused_with_advice(tmp_path, weights):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no .pth file can be made")
    torch.save(torch_vgg19(weights).state_dict(), tmp_path / "f", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"before 1\.6, which for safety is not read; save it again"):
        read(tmp_path / "f")
