"""Tests of the CUDA backend's self-test, on the simulator: it passes, and finds planted faults."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from analogy.backends import cuda, probes, selftest
from analogy.errors import DeviceError

STEPS = ["CuPy", "driver", "compiler", "ONNX Runtime", "backend"]
NAMES = [
    "project", "products", "mixture", "channels_last", "join", "blend", "pixel_vectors", "resample", "distance",
    "propagate", "random_search", "vote", "steepness", "seams", "keep_edges", "divergence", "solve_columns", "correct",
    "coarsen", "factor", "relax", "residual", "restriction", "prolongation", "combine",
]  # fmt: skip
KERNELS = [*(f"kernel {name}" for name in NAMES), "both directions", "other devices", "memory"]
TRANSFERS = ["transfer", "two at once", "caller's stream"]


@pytest.fixture
def on_simulator(simulated, monkeypatch):
    import simulator

    monkeypatch.setattr(probes, "import_cupy", lambda: simulator.standin)
    monkeypatch.setattr(probes, "check_runtime", lambda cp: "simulated")
    other = simulator.SimulatedCudaBackend(1)
    monkeypatch.setattr(cuda, "CudaBackend", lambda index=0: other if index else simulated)
    return simulated


def transfer(device: str) -> np.ndarray:
    return np.zeros((8, 8, 3), np.uint8)


def test_every_step_passes_on_a_working_backend(on_simulator):
    checks = selftest.selftest(transfer)
    assert [check.name for check in checks] == [*STEPS, *KERNELS, *TRANSFERS]
    assert [check for check in checks if not check.ok] == []
    assert "100.0% of the matches" in next(check.detail for check in checks if check.name == "kernel resample")


def test_the_transfer_step_is_left_out_without_a_transfer(on_simulator):
    assert [check.name for check in selftest.selftest()] == [*STEPS, *KERNELS]


def test_steps_after_the_first_failure_are_not_tried(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    first, *rest = selftest.selftest(transfer)
    assert not first.ok
    assert first.detail.startswith("CuPy cannot be imported")
    assert {(check.ok, check.detail) for check in rest} == {(False, "not tried, since this step failed: CuPy")}


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_kernel_is_named_and_the_other_kernels_pass(on_simulator, monkeypatch, name):
    right = getattr(on_simulator, name)

    def wrong(*args):
        result = right(*args)
        if result is None:  # this kernel writes its result to its last array
            [*_, last] = [arg for arg in args if isinstance(arg, on_simulator.xp.ndarray)]
            last += 2
            return None
        return tuple(array + 2 for array in result) if isinstance(result, tuple) else result + 2

    monkeypatch.setattr(on_simulator, name, wrong)
    checks = {check.name: check.ok for check in selftest.selftest()}
    assert [name for name, ok in checks.items() if not ok] == [f"kernel {name}"]


@pytest.mark.parametrize("name", ["distance", "propagate", "random_search", "vote", "seams"])
def test_a_kernel_that_ignores_frames_is_named(on_simulator, monkeypatch, name):
    right = getattr(on_simulator, name)
    monkeypatch.setattr(on_simulator, name, lambda *args: right(*args[:-1]))  # without its last argument, the frames
    assert [check.name for check in selftest.selftest() if not check.ok] == [f"kernel {name}"]


def test_searches_that_are_wrong_only_where_they_share_launches_fail(on_simulator, monkeypatch):
    right = on_simulator.run_together

    def wrong(searches):
        return [(field + 2, distance) for field, distance in right(searches)]

    monkeypatch.setattr(on_simulator, "run_together", wrong)
    failed = {check.name: check.detail for check in selftest.selftest() if not check.ok}
    assert failed == {"both directions": "only 0.0% of the matches are the same as on the CPU"}


def test_a_kernel_that_is_wrong_on_another_device_alone_fails(on_simulator, monkeypatch):
    class Wrong:
        xp, asarray, to_host = on_simulator.xp, on_simulator.asarray, on_simulator.to_host

        def propagate(self, *args):
            return tuple(array + 2 for array in on_simulator.propagate(*args))

    monkeypatch.setattr(cuda, "CudaBackend", lambda index=0: Wrong() if index else on_simulator)
    failed = {check.name: check.detail for check in selftest.selftest() if not check.ok}
    assert failed == {"other devices": "only 0.0% of the matches are the same as on the CPU"}


def test_memory_beyond_the_free_memory_and_lost_memory_fail(on_simulator, monkeypatch):
    def found():
        return {check.name: check.detail for check in selftest.selftest() if not check.ok}

    free = iter([1 << 30, 1 << 20])
    monkeypatch.setattr(on_simulator, "free_memory", lambda: next(free))
    assert found() == {"memory": "1.0 GiB were free before a refused request, and 0.0 after it"}
    monkeypatch.setattr(on_simulator, "free_memory", lambda: 1000)
    assert found() == {"memory": "0.0 GiB are free, but a request for four times as much succeeds"}


def transfers_of(checks):
    return {check.name: check.detail for check in checks if check.name in TRANSFERS and not check.ok}


def test_a_transfer_that_differs_from_the_cpu_fails(on_simulator):
    checks = selftest.selftest(lambda device: transfer(device) + np.uint8(device == "cuda"))
    assert transfers_of(checks) == {"transfer": "only 0.0% of the pixels are the same as on the CPU"}


def test_a_transfer_that_differs_in_two_threads_fails(on_simulator):
    def disturbed(device):
        return transfer(device) + np.uint8(threading.current_thread() is not threading.main_thread())

    expected = {"two at once": "6 of 6 results of two threads differ from the result of one thread"}
    assert transfers_of(selftest.selftest(disturbed)) == expected


def test_a_transfer_that_leaves_its_own_stream_current_fails(on_simulator):
    def selfish(device):
        if device == "cuda":
            on_simulator.xp.cuda.Stream(non_blocking=True).use()
        return transfer(device)

    before = on_simulator.xp.cuda.get_current_stream()
    try:
        found = transfers_of(selftest.selftest(selfish))
    finally:
        before.use()
    words = "a transfer changes the current device or the current stream of the caller's thread"
    assert found == {"caller's stream": words}


def test_a_backend_that_cannot_be_made_fails_with_its_reason(on_simulator, monkeypatch):
    def fail(*index):
        raise DeviceError("no cuDNN")

    monkeypatch.setattr(cuda, "CudaBackend", fail)
    checks = selftest.selftest()
    assert [check.ok for check in checks] == [True] * 4 + [False] * (1 + len(KERNELS))
    assert (checks[4].name, checks[4].detail) == ("backend", "no cuDNN")
