"""Tests of the CUDA backend's constructor: its error names what is missing, and what to do."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from analogy.backends import cuda, cuda_launch, get_backend, probes, runtime
from analogy.errors import DeviceError, MemoryLimitError


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int):
        super().__init__(f"cudaErrorSomething: number {status}")
        self.status = status


def fake_cupy(devices=1, version=12090, driver=12020):
    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = SimpleNamespace(
        getDeviceCount=count,
        runtimeGetVersion=lambda: version,
        driverGetVersion=lambda: driver,
        CUDARuntimeError=CUDARuntimeError,
        memGetInfo=lambda: (5000, 8000),
    )
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, Device=lambda number: f"device {number}"))


CUDA = "CUDAExecutionProvider"


def fake_runtime(monkeypatch, providers=(CUDA,), cuda_version="12.8", installed=("onnxruntime-gpu",)):
    module = SimpleNamespace(
        __version__="1.25.0",
        cuda_version=cuda_version,
        get_available_providers=lambda: list(providers),
        preload_dlls=lambda: loaded.append("libraries"),
        set_default_logger_severity=lambda level: loaded.append(level),
        disable_telemetry_events=lambda: None,
    )
    loaded: list[str | int] = []
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.setattr(runtime, "installed", lambda: dict.fromkeys(installed, "1.25.0"))
    return loaded


def test_missing_cupy_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"CuPy cannot be imported \(.*\bcupy\b.*pip install .*\[cuda12\]"):
        get_backend("cuda")


def test_auto_falls_back_to_the_cpu_and_logs_one_line(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with caplog.at_level(logging.DEBUG, "analogy"):
        assert get_backend("auto").name == "cpu"
    assert len(caplog.records) == 1
    assert "CuPy cannot be imported" in caplog.text


def test_the_option_require_gpu_fails_tests_that_would_be_skipped():
    test = f"{Path(__file__).parents[1] / 'apps' / 'test_gpu.py'}::test_every_step_passes_on_the_gpu"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--require-gpu", test]
    nothing_visible = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=nothing_visible, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--require-gpu: " in done.stdout


def test_a_driver_that_is_too_old_is_refused_with_advice():
    with pytest.raises(DeviceError, match=r"driver .* too old for CUDA 13\.1 .*number 35.*nvidia-smi works"):
        probes.check_driver(fake_cupy(CUDARuntimeError(35), version=13010))


def test_a_missing_driver_and_an_old_driver_give_different_errors(monkeypatch, caplog):
    without = fake_cupy(CUDARuntimeError(35), driver=0)
    with pytest.raises(DeviceError, match=r"^there is no NVIDIA driver; install one, .*nvidia-smi works$"):
        probes.check_driver(without)
    monkeypatch.setattr(probes, "import_cupy", lambda: without)
    monkeypatch.setattr("analogy.backends.choice.find_spec", lambda name: name)
    with caplog.at_level("INFO", logger="analogy"):
        assert get_backend("auto").name == "cpu"
    # The log names only the cause; `analogy info` and `--device cuda` also say what to do.
    assert caplog.messages == ["using the CPU: there is no NVIDIA driver"]


@pytest.mark.parametrize("devices", [0, CUDARuntimeError(100)])
def test_a_missing_device_is_refused_with_advice(devices):
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU is visible.*CUDA_VISIBLE_DEVICES"):
        probes.check_driver(fake_cupy(devices))


def test_the_first_device_is_used_unless_another_is_chosen():
    assert probes.check_driver(fake_cupy(2)) == "device 0"
    assert probes.check_driver(fake_cupy(2), 1) == "device 1"


@pytest.mark.parametrize(("count", "there"), [(1, "cuda:0"), (4, "cuda:0 to cuda:3")])
def test_a_device_that_does_not_exist_is_refused_with_a_list_of_devices(count, there):
    with pytest.raises(DeviceError, match=rf"^there is no device cuda:4; CUDA lists only {there}; check nvidia-smi"):
        probes.check_driver(fake_cupy(count), 4)


@pytest.mark.parametrize("error", [ImportError("libnvrtc.so.12 not found"), OSError("no headers\nsecond line")])
def test_a_missing_compiler_is_named_with_its_first_line(error):
    def fail(**kwargs):
        raise error

    cp = SimpleNamespace(zeros=lambda *args: None, RawModule=fail)
    with pytest.raises(DeviceError, match=r"cannot compile and run a kernel \((libnvrtc.*found|no headers)\).*pip"):
        probes.check_compiler(cp)


def test_a_kernel_that_leaves_no_result_is_an_error():
    def module(**kwargs):
        return SimpleNamespace(get_function=lambda name: lambda grid, block, args: None)

    with pytest.raises(DeviceError, match="wrote 0, not 42"):
        probes.check_compiler(SimpleNamespace(zeros=lambda *args: [0], RawModule=module))


def test_the_compiler_is_tried_with_the_language_of_the_kernels_in_one_thread():
    seen, out = [], [0]

    def module(code, options):
        return SimpleNamespace(get_function=lambda name: launch if (seen.append(options), name)[1] in code else None)

    def launch(grid, block, args):
        seen.extend([grid, block])
        args[0][0] = 42

    probes.check_compiler(SimpleNamespace(zeros=lambda *args: out, RawModule=module))
    (option,), *shape = seen
    assert option in cuda_launch.options("float")
    assert shape == [(1,), (1,)]


def test_two_installed_runtimes_are_refused_by_their_names(monkeypatch):
    fake_runtime(monkeypatch, installed=("onnxruntime", "onnxruntime-gpu"))
    with pytest.raises(DeviceError, match="onnxruntime and onnxruntime-gpu overwrite each other; pip uninstall"):
        probes.check_runtime(fake_cupy())


def test_a_missing_runtime_is_refused_with_advice(monkeypatch):
    monkeypatch.setattr(runtime, "installed", dict)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"ONNX Runtime is not installed; pip install"):
        probes.check_runtime(fake_cupy())


def test_a_runtime_built_without_cuda_is_refused_with_advice(monkeypatch):
    fake_runtime(monkeypatch, providers=("CPUExecutionProvider",))
    with pytest.raises(DeviceError, match=r"ONNX Runtime 1.25.0 is built without CUDA; uninstall it"):
        probes.check_runtime(fake_cupy())


def test_a_runtime_for_another_cuda_version_is_refused_with_advice(monkeypatch):
    fake_runtime(monkeypatch, cuda_version="13.0")
    with pytest.raises(DeviceError, match=r"built for CUDA 12, but ONNX Runtime 1.25.0 for CUDA 13; .* one extra"):
        probes.check_runtime(fake_cupy())


@pytest.mark.parametrize(("cuda_version", "ours"), [("12.8", 12090), ("13.0", 13000), ("", 12090), (None, 12090)])
def test_a_runtime_for_the_same_cuda_version_loads_its_libraries(monkeypatch, cuda_version, ours):
    loaded = fake_runtime(monkeypatch, cuda_version=cuda_version)
    assert probes.check_runtime(fake_cupy(version=ours)) == "1.25.0"
    assert loaded == ["libraries", runtime.ERROR]


def test_a_runtime_without_a_cuda_version_is_accepted(monkeypatch):
    fake_runtime(monkeypatch)
    del sys.modules["onnxruntime"].cuda_version
    assert probes.check_runtime(fake_cupy()) == "1.25.0"


def test_the_cuda_provider_gets_the_backend_s_stream_and_device(monkeypatch):
    loaded = fake_runtime(monkeypatch)
    backend = object.__new__(cuda.CudaBackend)
    assert backend.name == "cuda"  # ONNX Runtime needs this name of the device for bound arrays
    backend.xp, backend.index = fake_cupy(), 1
    backend._queue = SimpleNamespace(stream=SimpleNamespace(ptr=4096))
    shared: list[tuple[int, int]] = []
    monkeypatch.setattr(cuda, "share_device_memory", lambda index, most: shared.append((index, most)))
    (name, options), fallback = backend._find_providers()
    assert (name, fallback) == (CUDA, "CPUExecutionProvider")
    assert loaded == ["libraries", runtime.ERROR]
    assert shared == [(1, 6000)]  # three quarters of the memory of device 1
    assert options == {
        "device_id": "1",
        "user_compute_stream": "4096",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def a_backend(cpu):
    """Return an object like a backend, with the provider of CUDA but with arrays on the CPU."""
    return SimpleNamespace(
        providers=[(CUDA, {})], xp=SimpleNamespace(empty=np.zeros), name="cpu", index=0,
        asarray=cpu.asarray, pointer=cpu.pointer, to_host=cpu.to_host, run_network=cpu.run_network,
    )  # fmt: skip


class FakeSession:
    """Session with the provider `used` whose run does nothing, or raises `error`."""

    def __init__(self, used: str, error: Exception | None = None):
        self.used, self.error = used, error

    def __call__(self, model, options, providers, enable_fallback):
        assert not enable_fallback  # it would print, and use the CPU
        return self

    def get_providers(self):
        return [self.used]

    def io_binding(self):
        return SimpleNamespace(bind_input=lambda *args: None, bind_output=lambda *args: None)

    def run_with_iobinding(self, binding, options):
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (
            FakeSession("CPUExecutionProvider"),
            r"could not start CUDA\w+ and uses CPU\w+; cuDNN .* may be missing: pip",
        ),
        (
            FakeSession(CUDA, RuntimeError("CUDNN failure\nmore")),
            r"failed on a convolution with CUDA\w+ \(CUDNN failure\); update the NVIDIA driver and ONNX Runtime$",
        ),
        (
            FakeSession(CUDA),
            r"result of a convolution with CUDA\w+ has a relative error of 1.0e\+00, which is too large for float32",
        ),
    ],
)
def test_a_provider_that_does_not_work_is_an_error(monkeypatch, cpu, session, message):
    import onnxruntime

    backend = a_backend(cpu)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(DeviceError, match=message):
        probes.check_provider(backend)


def cut_off(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers with the last 13 of the 23 bits of their fraction set to zero."""
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def rounded(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers with their fraction rounded to 10 bits, as in TensorFloat-32."""
    return cut_off((x.view(np.uint32) + np.uint32(0x1000)).view(np.float32))


class ConvolvingSession(FakeSession):
    """Session that convolves `held` of both bound inputs, and scales the result by 1 + `off`."""

    def __init__(self, held, off=0.0):
        super().__init__(CUDA)
        self.held, self.off, self.bound = held, off, {}

    def io_binding(self):
        def bind(name, device, index, dtype, shape, address):
            whole = (ctypes.c_float * math.prod(shape)).from_address(address)
            self.bound[name] = np.frombuffer(whole, dtype).reshape(shape)

        return SimpleNamespace(bind_input=bind, bind_output=bind)

    def run_with_iobinding(self, binding, options):
        x, w = (self.held(self.bound[name]) for name in "xw")
        self.bound["y"][:] = probes.convolution(x, w) * (1 + self.off)


@pytest.mark.parametrize(
    "held", [cut_off, rounded, lambda x: x.astype(np.float16).astype(np.float32)], ids=["cut", "rounded", "float16"]
)
def test_a_convolution_with_fewer_bits_than_float32_is_refused(monkeypatch, cpu, held):
    import onnxruntime

    backend = a_backend(cpu)
    # A small difference is accepted, because sums in another order round differently.
    monkeypatch.setattr(onnxruntime, "InferenceSession", ConvolvingSession(lambda x: x, off=5e-5))
    assert probes.check_provider(backend) == CUDA
    monkeypatch.setattr(onnxruntime, "InferenceSession", ConvolvingSession(held))
    with pytest.raises(DeviceError, match=r"has a relative error of 5\.\de-04, which is too large for float32"):
        probes.check_provider(backend)


def test_a_convolution_that_is_wrong_in_one_place_is_refused(monkeypatch, cpu):
    import onnxruntime

    class Wrong(ConvolvingSession):
        def run_with_iobinding(self, binding, options):
            super().run_with_iobinding(binding, options)
            self.bound["y"][0, 0, 0, 0] *= 1.5

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong(lambda x: x))
    with pytest.raises(DeviceError, match=r"has a relative error of 5\.0e-01"):
        probes.check_provider(a_backend(cpu))


def test_a_device_without_free_memory_raises_memory_limit_error(monkeypatch, cpu):
    import onnxruntime

    session = FakeSession(CUDA, RuntimeError("CUBLAS_STATUS_ALLOC_FAILED\nmore"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(MemoryLimitError, match=r"no memory left \(CUBLAS_STATUS_ALLOC_FAILED\); close"):
        probes.check_provider(a_backend(cpu))


@pytest.mark.parametrize(("name", "kind"), [("cuda", "gpu:3"), ("cpu", "cpu:3")])
def test_an_arena_is_shrunk_by_a_run_that_shares_it_and_asks_for_that(monkeypatch, cpu, name, kind):
    import onnxruntime

    made, ran = [], []

    class Session(FakeSession):
        def __call__(self, model, options, providers, enable_fallback):
            made.append(options.get_session_config_entry("session.use_env_allocators"))
            return self

        def run_with_iobinding(self, binding, options):
            ran.append(options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session(CUDA))
    backend = a_backend(cpu)
    backend.name, backend.index = name, 3
    probes.shrink_arena(backend)
    assert (made, ran) == (["1"], [kind])


def test_check_provider_returns_the_provider_that_ran(cpu):
    assert probes.check_provider(cpu) == "CPUExecutionProvider"


def test_the_probe_binds_arrays_of_the_backend_s_device(monkeypatch, cpu):
    import onnxruntime

    bound: list[tuple[str, str, int]] = []
    session = FakeSession(CUDA)
    session.io_binding = lambda: SimpleNamespace(
        bind_input=lambda *binding: bound.append(binding[:3]), bind_output=lambda *binding: bound.append(binding[:3])
    )
    backend = SimpleNamespace(
        providers=[(CUDA, {})], xp=SimpleNamespace(empty=np.zeros), name="cuda", index=2,
        asarray=cpu.asarray, pointer=cpu.pointer, to_host=cpu.to_host, run_network=cpu.run_network,
    )  # fmt: skip
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(DeviceError):  # this session computes nothing, so its result is refused
        probes.check_provider(backend)
    assert bound == [(name, "cuda", 2) for name in "xwy"]
