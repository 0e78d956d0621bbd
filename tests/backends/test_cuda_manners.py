"""Tests of the CUDA backend on the simulator: other users of CuPy, threads, waits and memory.

"Other users" means that the caller's program uses CuPy for its own work, on its own streams.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import simulator
from fixed_sessions import FixedSession
from simulator import device
from simulator import standin as cp
from simulator.counting import Counts

from analogy.backends import Pass, cuda, cuda_queue, get_backend, probes
from analogy.backends.cpu import CpuBackend
from analogy.engine import Engine
from analogy.errors import DeviceError, MemoryLimitError, ModelError
from analogy.method import memory
from analogy.method.features import Features
from analogy.networks.models import DEFAULT, locate
from analogy.settings import Settings

pytestmark = pytest.mark.skipif(bool(simulator.missing()), reason=simulator.missing() or "can be simulated")


@contextmanager
def on(number: int):
    """Make a device and a new stream current, as a caller that uses CuPy may do."""
    before = cp.cuda.Device()
    cp.cuda.Device(number).use()
    default, stream = cp.cuda.get_current_stream(), cp.cuda.Stream(non_blocking=True)
    stream.use()
    try:
        yield stream
    finally:
        default.use()
        before.use()


def current():
    return cp.cuda.Device().id, cp.cuda.get_current_stream()


def pictures(rng):
    """Return two pictures of different sizes."""
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((45, 52), (49, 39))]


class Trouble(Exception):
    pass


# Tests of the current device and stream of the caller's thread


def every_call(backend):
    f, pixels = (backend.asarray(np.ones((3, 4, channels), np.float32)) for channels in (8, 3))
    rows, columns, vector = (backend.asarray(np.ones(size, np.float32)) for size in ((3, 8), (8, 3), 8))
    a, nnf = backend.join(f, f), backend.asarray(np.zeros((3, 4, 2), np.int32))
    d = backend.distance(a, a, nnf, 3)
    yield from (
        backend.prepare,
        backend.free_memory,
        backend.reclaim,
        lambda: backend.asarray(np.ones(3)),
        lambda: backend.to_host(f),
        lambda: backend.join(f, f),
        lambda: backend.pixel_vectors(pixels, True),
        lambda: backend.project(f, backend.asarray(np.ones((8, 2), np.float32))),
        lambda: backend.products(rows, vector),
        lambda: backend.mixture(vector, columns),
        lambda: backend.resample(nnf, (6, 8), (6, 8), (2, 2), (2, 2)),
        lambda: backend.distance(a, a, nnf, 3),
        lambda: backend.propagate(a, a, nnf, d, 3, 1, 1e9),
        lambda: backend.random_search(a, a, nnf, d, 3, 2, 0, 0, 1e9),
        lambda: backend.vote(nnf, f, 3),
        lambda: backend.blend(f, f, f, 0.5, 1.0, 0.5),
        lambda: backend.require_finite([f], Trouble()),
        lambda: backend.run_together([(Pass("distance", {"a": a, "b": a, "nnf": nnf, "patch": 3}) for _ in range(1))]),
        type(backend),
        lambda: type(backend)(1),
    )


@pytest.mark.parametrize("number", [0, 1])
def test_every_call_leaves_the_caller_s_device_and_stream_current(simulated, number):
    other = 1 - number
    with on(number):
        before = current()
        for call in every_call(simulated):
            call()
            assert current() == before
            with cp.cuda.Device(other):
                assert cp.cuda.get_current_stream() == device.Stream.defaults[other]


def test_a_cancelled_transfer_leaves_the_caller_s_device_and_stream_current(simulated, rng):
    def cancel(progress):
        if progress.stage == "level 3":
            raise Trouble

    engine = Engine(backend=simulated)
    with on(0):
        before = current()
        with pytest.raises(Trouble):
            engine.transfer(*pictures(rng), inversion="vote", progress=cancel)
        assert current() == before


@pytest.mark.parametrize("number", [0, 1])
def test_work_on_the_caller_s_stream_is_in_order_before_and_after(number):
    backend = simulator.SimulatedCudaBackend(1)
    with on(number), cp.cuda.Device(1), on(1):
        f = (
            cp.asarray(np.ones((2, 2, 4), np.float32)) * 2
        )  # `join` raises RaceError if the backend does not wait for the stream
        joined = backend.join(f, f)
        np.testing.assert_array_equal(
            cp.asnumpy(joined + 0), np.full((2, 2, 8), 2048)
        )  # the sum raises RaceError if the stream does not wait for the backend


def test_threads_that_ask_at_once_for_the_queue_of_a_device_get_the_same_one():
    def slow(non_blocking: bool) -> object:
        time.sleep(0.2)  # the other threads ask for the queue in this time
        return object()

    class Module:  # in place of CuPy
        cuda = SimpleNamespace(Device=lambda index: nullcontext(), Stream=slow)

    with ThreadPoolExecutor(4) as pool:
        queues = list(pool.map(lambda _: cuda_queue.queue(Module, 0), range(4)))
    assert all(each is queues[0] for each in queues)


def test_a_backend_of_another_device_waits_for_the_streams_of_both(simulated):
    with on(0) as earlier, on(1) as theirs:
        with cp.cuda.Device(0):
            cp.asarray(np.ones(3))
        cp.asarray(np.ones(3))
        with simulated.active():
            assert current() == (0, simulated._queue.stream)
            for stream in (earlier, theirs):
                assert simulated._queue.stream.clock[stream.id] == stream.clock[stream.id] > 0
            cp.asarray(np.ones(3))
        stream = simulated._queue.stream
        assert theirs.clock[stream.id] == stream.clock[stream.id] > 0


@pytest.mark.parametrize("use", ["to_host", "asarray"])
def test_an_array_of_one_thread_can_be_used_by_another_through_the_backend(simulated, use):
    with simulated.active():
        # The array is not contiguous, so `asarray` has to copy it.
        made = simulated.join(*[simulated.asarray(np.ones((4, 4, 4), np.float32))] * 2)[::2]

    def elsewhere():
        with on(0):
            with pytest.raises(device.RaceError):
                made + 0  # the stream of this thread has not waited for the backend
            return simulated.to_host(simulated.asarray(made)) if use == "asarray" else simulated.to_host(made)

    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_array_equal(pool.submit(elsewhere).result(), simulated.to_host(made))


def test_a_network_runs_in_the_backend_s_stream(simulated, rng):
    network = Features(locate(DEFAULT), simulated)
    with on(0):
        picture = cp.asarray(pictures(rng)[0]) + 0
        assert cp.asnumpy(network.pyramid(picture)[5]).any()  # a missing wait would raise RaceError


# Tests of the choice of the device


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)])
def test_a_device_is_chosen_by_its_number(monkeypatch, device, index):
    monkeypatch.setattr(cuda, "CudaBackend", lambda index: f"backend {index}")
    assert get_backend(device) == f"backend {index}"


@pytest.mark.parametrize("name", ["cuda:", "cuda:-1", "cuda:x", "cuda: 1", "cuda1", "cpu:0"])
def test_a_misspelt_device_is_refused(name):
    with pytest.raises(DeviceError, match="choose one of auto, cpu, cuda, or cuda:N for CUDA's device number N"):
        get_backend(name)


def test_networks_read_and_write_arrays_of_the_backend_s_device(simulated, monkeypatch, rng):
    counts = Counts(monkeypatch)
    network = Features(locate(DEFAULT), simulated)
    network.pyramid(pictures(rng)[0])  # arrays are bound with ONNX Runtime's name and number of the device
    assert {binding[1:] for binding in counts.bindings} == {("cpu", 0)}

    bound: list[tuple[str, str, int]] = []
    session = SimpleNamespace(
        io_binding=lambda: session,
        bind_input=lambda *binding: bound.append(binding[:3]),
        bind_output=lambda *binding: bound.append(binding[:3]),
        run_with_iobinding=lambda binding, options: None,
    )
    backend = simulator.SimulatedCudaBackend()
    network = Features(locate(DEFAULT), backend, FixedSession(session))
    monkeypatch.setattr(type(backend), "name", "cuda")
    monkeypatch.setattr(type(backend), "index", 3)
    network.run("some.onnx", {"x": backend.asarray(np.ones(3, np.float32))}, {"y": (3,)})
    assert bound == [("x", "cuda", 3), ("y", "cuda", 3)]


@pytest.mark.parametrize("probe", ["check_driver", "check_compiler", "check_provider"])
def test_a_backend_is_not_made_unless_each_probe_passes(monkeypatch, probe):
    def fail(*args):
        raise DeviceError("missing")

    monkeypatch.setattr(probes, probe, fail)
    with pytest.raises(DeviceError, match="missing"):
        simulator.SimulatedCudaBackend()


def test_backends_of_one_device_share_its_stream_and_those_of_two_do_not(simulated):
    assert simulator.SimulatedCudaBackend()._queue is simulated._queue
    assert simulator.SimulatedCudaBackend(1)._queue.stream != simulated._queue.stream


# Tests with several threads


def test_networks_of_one_device_run_one_at_a_time(simulated, monkeypatch, rng):
    counts, a = Counts(monkeypatch), pictures(rng)[0]
    counts.overlap = threading.Event()
    networks = [Features(locate(DEFAULT), backend) for backend in (simulated, simulator.SimulatedCudaBackend())]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: networks[i % 2].pyramid(a), range(8)))
    assert (counts.runs, counts.most) == (8, 1)


def test_simulated_transfers_in_several_threads_equal_those_in_turn(simulated, rng):
    engine, pairs = Engine(backend=simulated), [pictures(rng) for _ in range(3)]

    def transfer(pair):
        with on(0):
            return engine.transfer(*pair, search_iterations=1)

    in_turn = [transfer(pair) for pair in pairs]
    with ThreadPoolExecutor(3) as pool:
        for one, other in zip(pool.map(transfer, pairs), in_turn, strict=True):
            np.testing.assert_array_equal(one.nnf_ab, other.nnf_ab)
            np.testing.assert_array_equal(one.a_prime, other.a_prime)


# Tests of slow operations: plans of convolutions, and waits of the host


def test_a_second_transfer_plans_no_convolution_again(simulated, monkeypatch, rng):
    counts = Counts(monkeypatch)
    engine, (a, b_prime) = Engine(backend=simulated), pictures(rng)
    engine.transfer(a, b_prime, search_iterations=1)
    assert counts.runs == counts.plans == 10  # one pyramid and four inversions are planned for each of the two sizes
    for first, second in ((a, b_prime), (b_prime, a)):
        counts.forget()
        engine.transfer(first, second, search_iterations=1)
        assert (counts.runs, counts.plans) == (10, 0)
    counts.forget()
    engine.transfer(a, a[1:], search_iterations=1)  # the new size replaces one of the two sizes
    assert counts.plans == 5
    counts.forget()
    engine.transfer(a, a[1:], search_iterations=1)
    assert counts.plans == 0
    assert all(len(slots) == 2 for slots in engine.network._sessions._slots.values())


def test_the_host_waits_7_times_in_a_transfer(simulated, monkeypatch, rng):
    counts = Counts(monkeypatch)
    engine, (a, b_prime) = Engine(backend=simulated), pictures(rng)
    before = device.waits
    engine.transfer(a, b_prime)
    # The host waits for six results and once for the checks of features. It does not wait for the
    # runs of ONNX Runtime.
    assert (device.waits - before, counts.waits) == (7, 0)


def test_the_host_waits_once_for_each_run_of_a_network_that_l_bfgs_makes(simulated, monkeypatch, rng):
    counts = Counts(monkeypatch)
    engine, (a, b_prime) = Engine(backend=simulated), pictures(rng)
    before = device.waits
    engine.transfer(a, b_prime, inversion="deconvolution", inversion_steps=3, search_iterations=1)
    assert counts.runs >= 2 + 8 * 4
    assert device.waits - before == 7 + counts.runs - 2  # the runs for the two pyramids do not make the host wait


def test_checks_are_read_once_at_the_end_and_the_first_failure_is_raised(simulated):
    finite, infinite = (simulated.asarray(np.array([value], np.float32)) for value in (1, np.inf))
    before = device.waits
    with pytest.raises(Trouble, match="second"), simulated.active():
        for values, name in ((finite, "first"), (infinite, "second"), (infinite, "third")):
            simulated.require_finite([values], Trouble(name))
        assert device.waits == before
    assert device.waits == before + 1
    simulated.require_finite([finite], Trouble("none is left"))
    with pytest.raises(Trouble, match="outside"):
        simulated.require_finite([infinite], Trouble("outside"))


def test_more_checks_than_are_read_at_once_are_all_read(simulated):
    finite, infinite = (simulated.asarray(np.array([value], np.float32)) for value in (1, np.inf))
    for wrong in (0, 63, 64, 199):
        with pytest.raises(Trouble, match=f"^{wrong}$"), simulated.active():
            for number in range(200):
                simulated.require_finite([infinite if number == wrong else finite], Trouble(str(number)))


def test_checks_of_a_transfer_within_another_one_are_read_where_they_were_made(simulated):
    finite, infinite = (simulated.asarray(np.array([value], np.float32)) for value in (1, np.inf))
    with pytest.raises(Trouble, match="outer"), simulated.active():
        simulated.require_finite([infinite], Trouble("outer"))
        with on(0):  # as in a callback that uses another stream
            simulated.require_finite([finite], Trouble("inner"))
            with pytest.raises(Trouble, match="inner"):
                simulated.require_finite([infinite], Trouble("inner"))


def test_no_maps_are_finite_and_nothing_waits_for_them(simulated):
    before = device.waits
    simulated.require_finite([], Trouble())
    assert device.waits == before


def test_an_exception_within_active_leaves_no_check_behind(simulated):
    with pytest.raises(KeyError), simulated.active():
        simulated.require_finite([simulated.asarray(np.array([np.nan], np.float32))], Trouble())
        raise KeyError
    simulated.to_host(simulated.asarray(np.ones(1)))


# Tests of kernels, descriptions and memory


def test_prepared_kernels_are_not_compiled_again(monkeypatch):
    backend = simulator.SimulatedCudaBackend()
    backend.prepare()
    monkeypatch.setattr(cp, "RawModule", None)
    for channels in (3, 4):
        f = backend.asarray(np.ones((2, 2, channels), np.float32))
        backend.join(f, f)


def test_a_device_is_described_by_its_name_its_memory_and_its_cuda_version(simulated):
    assert simulated.describe() == "simulator, 1 GiB, CUDA 12.9"


def test_free_memory_counts_the_unused_memory_of_cupy(simulated, monkeypatch):
    monkeypatch.setattr(cp.cuda.runtime, "memGetInfo", lambda: (1000, 9000))
    monkeypatch.setattr(cp.get_default_memory_pool(), "free", 300)
    assert simulated.free_memory() == 1300


def test_reclaim_makes_cupy_free_unused_memory(simulated, monkeypatch):
    monkeypatch.setattr(cp.get_default_memory_pool(), "free", 300)
    simulated.reclaim()
    assert cp.get_default_memory_pool().free == 0


def test_libraries_free_unused_memory_before_a_pair_is_refused(simulated, monkeypatch):
    runs: list[str] = []
    real = type(simulated).run_network

    def run(self, session, binding, options):
        runs.append(options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
        real(self, session, binding, options)

    monkeypatch.setattr(type(simulated), "run_network", run)
    sizes = [(448, 448)] * 2
    widths = (16, 32, 64, 128, 128)
    need = round(memory.estimate(widths, sizes, sizes, Settings()))
    monkeypatch.setattr(cp.cuda.runtime, "memGetInfo", lambda: (need if runs else need - 1, 2 * need))
    memory.check(simulated, widths, sizes, sizes, Settings())
    assert runs == ["cpu:0"]  # on a real GPU, ONNX Runtime calls the device "gpu:0"
    monkeypatch.setattr(cp.cuda.runtime, "memGetInfo", lambda: (need - 1, 2 * need))
    with pytest.raises(MemoryLimitError):
        memory.check(simulated, widths, sizes, sizes, Settings())


SHORTAGES = [
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc Failed to allocate memory for requested buffer of "
    "size 9",
    "bfc_arena.cc:368 AllocateRawInternal Available memory of 0 is smaller than requested bytes of 701267968",
    "CUDA failure 2: out of memory ; GPU=0",
    "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN failure 2003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
]


class Short:
    """Session whose first `times` runs fail with `message`, and which counts its runs."""

    def __init__(self, message: str, times: int):
        self.message, self.times, self.ran = message, times, 0

    def io_binding(self):
        return SimpleNamespace(bind_input=lambda *binding: None, bind_output=lambda *binding: None)

    def run_with_iobinding(self, binding, options):
        self.ran += 1
        if self.ran <= self.times:
            raise RuntimeError(self.message)


@pytest.mark.parametrize("message", SHORTAGES)
def test_a_network_short_of_memory_gets_the_unused_memory_of_cupy_and_then_fails_in_one_line(
    simulated, monkeypatch, message
):
    pool = cp.get_default_memory_pool()
    for times in (1, 2):
        session = Short(message, times)
        network = Features(locate(DEFAULT), simulated, FixedSession(session))
        monkeypatch.setattr(pool, "free", 300)
        if times == 1:
            network.run("some.onnx", {}, {"y": (3,)})
        else:
            with pytest.raises(MemoryLimitError, match=r"more memory than there is .* lower max_pixels"):
                network.run("some.onnx", {}, {"y": (3,)})
        assert (session.ran, pool.free) == (2, 0)


def test_a_network_that_fails_for_another_reason_is_not_run_again(simulated):
    session = Short("no such operator", 9)
    network = Features(locate(DEFAULT), simulated, FixedSession(session))
    with pytest.raises(ModelError, match="no such operator"):
        network.run("some.onnx", {}, {"y": (3,)})
    assert session.ran == 1


class OutOfMemoryError(MemoryError):
    """Error like that of CuPy's memory pool."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("Out of memory allocating 1,024 bytes (allocated so far: 0 bytes)."),
        cp.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    ],
)
def test_a_kernel_short_of_memory_fails_in_one_line_too(simulated, monkeypatch, rng, error):
    def fail(*arguments):
        raise error

    engine = Engine(backend=simulated)
    monkeypatch.setattr(type(simulated), "resample", fail)
    with pytest.raises(MemoryLimitError, match=r"not enough memory to match .* lower max_pixels"):
        engine.transfer(*pictures(rng), inversion="vote")


def test_a_full_device_is_refused_and_auto_takes_the_cpu(monkeypatch, caplog):
    def fail(index):
        raise MemoryLimitError("the device has no memory left; close other programs")

    monkeypatch.setattr(cuda, "CudaBackend", fail)
    with caplog.at_level("DEBUG", "analogy"):
        assert isinstance(get_backend("auto"), CpuBackend)
    assert caplog.messages == ["using the CPU: the device has no memory left"]
    with pytest.raises(MemoryLimitError):
        get_backend("cuda")
