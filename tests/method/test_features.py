"""Feature pyramid and sessions of the shipped model."""

import shutil

import numpy as np
import onnxruntime
import pytest
from hostile import models

from analogy import Engine, Settings
from analogy.backends.cpu import CpuBackend
from analogy.backends.runtime import FATAL
from analogy.errors import DeviceError, MemoryLimitError, ModelError
from analogy.method import sessions
from analogy.method.features import LEVELS, Features, level_size
from analogy.networks.models import DEFAULT, locate


@pytest.fixture(scope="module")
def network() -> Features:
    return Features(locate(DEFAULT), CpuBackend(2))


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (45, 70), (64, 48)])
def test_each_level_has_the_picture_s_size_over_its_stride_rounded_up(network: Features, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    pyramid = network.pyramid(picture)
    for level in LEVELS:
        stride = 2 ** (level - 1)
        assert pyramid[level].shape[:2] == (int(np.ceil(size[0] / stride)), int(np.ceil(size[1] / stride)))
        assert pyramid[level].shape[:2] == level_size(size, level)
        assert pyramid[level].dtype == np.float32
        assert pyramid[level].flags.c_contiguous
        assert (pyramid[level] >= 0).all()


def test_each_level_has_as_many_channels_as_the_card_says(network: Features) -> None:
    pyramid = network.pyramid(np.zeros((16, 16, 3), np.uint8))
    assert tuple(pyramid[level].shape[2] for level in (1, 2, 3, 4, 5)) == network.card.widths


def test_translating_a_picture_by_whole_strides_translates_its_features(network: Features) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    moved = np.roll(picture, (16, 32), (0, 1))
    before, after = network.pyramid(picture), network.pyramid(moved)
    # Levels 4 and 5 are left out: in such a small picture, each of their receptive fields reaches
    # the border.
    for level in (1, 2, 3):
        stride = 2 ** (level - 1)
        middle = slice(32 // stride, 48 // stride)  # these positions are far from all borders
        inner = middle, middle
        back = np.roll(after[level], (-16 // stride, -32 // stride), (0, 1))
        assert np.allclose(before[level][inner], back[inner], atol=1e-3)
        assert np.abs(before[level][inner] - after[level][inner]).mean() > 0.1 * before[level][inner].mean() > 0


def test_a_damaged_graph_is_refused_in_one_line_that_names_the_file(tmp_path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(locate(DEFAULT), folder)
    data = (folder / "features.onnx").read_bytes()
    (folder / "features.onnx").write_bytes(data[:30] + b"?" + data[31:])
    models.sign(folder)
    with pytest.raises(ModelError, match=r"features\.onnx is not a model .* damaged") as caught:
        Features(folder, CpuBackend(1)).pyramid(np.zeros((16, 16, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_a_graph_that_could_not_be_loaded_is_loaded_again_by_the_next_run(monkeypatch) -> None:
    network = Features(locate(DEFAULT), CpuBackend(1))
    picture = np.zeros((16, 16, 3), np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", shortage)
        with pytest.raises(MemoryLimitError, match="the network needs more memory than there is"):
            network.pyramid(picture)
    assert network.pyramid(picture)[5].shape[:2] == (1, 1)


def test_graphs_that_could_not_be_loaded_ahead_are_loaded_again_by_the_next_transfer(monkeypatch) -> None:
    network = Features(locate(DEFAULT), CpuBackend(1))
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, "InferenceSession", shortage)
        for future in network.load_ahead(Settings()):
            with pytest.raises(MemoryLimitError):
                future.result()
    for future in network.load_ahead(Settings()):
        assert future.result().get_inputs()


def recorded(monkeypatch, used=lambda providers: providers[0]) -> list:
    """Return a list that will get the options and the keywords of each new session.

    `used` returns the provider that the session reports, given the list of providers.
    """
    made, real = [], onnxruntime.InferenceSession

    def make(path, options, **keywords):
        made.append((options, keywords))
        session = real(path, options, **keywords)
        monkeypatch.setattr(session, "get_providers", lambda: [used(keywords["providers"])])
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    return made


def test_sessions_are_silent_sleep_while_they_wait_share_one_memory_and_never_fall_back(monkeypatch) -> None:
    shared: list[bool] = []
    monkeypatch.setattr(sessions, "share_memory", lambda: shared.append(True))
    network = Features(locate(DEFAULT), CpuBackend(3))
    made = recorded(monkeypatch)
    ran: list[int] = []
    real = CpuBackend.run_network
    monkeypatch.setattr(CpuBackend, "run_network", lambda *args: ran.append(args[-1].log_severity_level) or real(*args))
    network.pyramid(np.zeros((16, 16, 3), np.uint8))
    assert ran == [FATAL]
    [(options, keywords)] = made
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert options.get_session_config_entry("session.use_env_allocators") == "1" and shared == [True]
    assert options.get_session_config_entry("session.use_device_allocator_for_initializers") == "1"
    assert not options.enable_mem_pattern
    assert options.log_severity_level == FATAL
    assert options.intra_op_num_threads == 3
    assert not keywords["enable_fallback"]


def test_a_session_with_another_provider_than_the_backend_s_is_refused(monkeypatch) -> None:
    network = Features(locate(DEFAULT), CpuBackend(1))
    recorded(monkeypatch, used=lambda providers: "OtherProvider")
    with pytest.raises(DeviceError, match="could not start CPUExecutionProvider and uses OtherProvider instead"):
        network.pyramid(np.zeros((16, 16, 3), np.uint8))


def test_a_graph_of_another_network_is_refused(tmp_path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(locate(DEFAULT), folder)
    shutil.copyfile(folder / "step_3.onnx", folder / "features.onnx")
    models.sign(folder)
    with pytest.raises(ModelError, match=r"features\.onnx has unexpected inputs: .*; expected only image"):
        Features(folder, CpuBackend(1)).pyramid(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_one_value_that_is_not_finite_is_an_error(network: Features, wrong: float) -> None:
    maps = np.zeros((2, 3)), np.zeros(4)
    network.require_finite("features.onnx", *maps)
    maps[1][2] = wrong
    with pytest.raises(ModelError, match=r"features\.onnx gives values that are not finite"):
        network.require_finite("features.onnx", *maps)


def test_load_ahead_loads_exactly_the_graphs_that_a_transfer_runs(monkeypatch) -> None:
    engine, loaded = Engine(device="cpu"), []
    load = sessions.load_session
    monkeypatch.setattr(sessions, "load_session", lambda path, backend: loaded.append(path.name) or load(path, backend))
    ahead = [session.result() for session in engine.network.load_ahead(Settings())]
    assert [session.get_outputs()[0].name for session in ahead] == ["relu1_1", *["reconstruction"] * 4]
    engine.transfer(np.zeros((20, 24, 3), np.uint8), np.zeros((24, 20, 3), np.uint8))
    assert loaded == ["features.onnx", *(f"step_{level}.onnx" for level in (5, 4, 3, 2))]


def shortage(*arguments, **options):
    raise RuntimeError("pthread_create failed, error code: 12 error msg: Cannot allocate memory")
