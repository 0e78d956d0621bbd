"""Tests of the simulator of CUDA: correct kernels pass, and it finds each planted fault.

`test_backends.py` compares the project's kernels with the oracle. The tests here run them with
several orders of threads and blocks, and with the compiler's sanitisers.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import simulator
from simulator import SimulatorError, device, launch, schedule
from simulator import standin as cp

pytestmark = pytest.mark.skipif(bool(simulator.missing()), reason=simulator.missing() or "can be simulated")

SEEDS = [0, 1, 2, 3, 10, 77]


def planted(name: str):
    """Return a kernel of `planted.cu`."""
    return PLANTED.get_function(name)


PLANTED = simulator.planted()


def numbers(n: int):
    return cp.asarray(np.arange(n, dtype=np.float32))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "right"), [("reverse", True), ("reverse_without_barrier", False)])
def test_a_missing_barrier_gives_a_wrong_result_in_any_order(seed, name, right):
    out = cp.empty(192, np.float32)
    with schedule(seed):
        planted(name)((2,), (96,), (numbers(192), out))
    expected = np.arange(192, dtype=np.float32).reshape(2, 96)[:, ::-1].ravel()
    assert np.array_equal(cp.asnumpy(out), expected) == right


def test_one_block_of_a_large_grid_can_be_run_alone():
    out = cp.zeros(192, np.float32)
    with simulator.only_block(1, 0):
        planted("reverse")((2,), (96,), (numbers(192), out))
        with pytest.raises(SimulatorError, match=r"no block \(1, 0, 0\) in a grid of \(1, 1, 1\)"):
            planted("reverse")((1,), (96,), (numbers(192), out))
    assert np.array_equal(cp.asnumpy(out), [*[0] * 96, *range(191, 95, -1)])


def test_shared_memory_starts_as_nan_in_every_block():
    out = cp.zeros(64, np.float32)
    planted("shared_not_set")((2,), (32,), (out,))
    assert np.isnan(cp.asnumpy(out)).all()


def test_shuffles_and_ballots_give_what_cuda_gives():
    lane = np.arange(32)
    expected = np.stack([np.where(lane < 29, lane + 3, lane), lane ^ 5, np.full(32, 4), np.full(32, 0xAAAA)], axis=1)
    for seed in SEEDS:
        out = cp.empty(128, np.float32)
        with schedule(seed):
            planted("exchange")((1,), (32,), (numbers(32), out))
        np.testing.assert_array_equal(cp.asnumpy(out).reshape(32, 4), expected)


def test_disjoint_groups_of_lanes_may_run_different_collectives():
    for seed in SEEDS:
        out = cp.empty(32, np.float32)
        with schedule(seed):
            planted("disjoint_groups")((1,), (32,), (out,))
        lane = np.arange(8)
        pairs, fours = lane + (lane ^ 1), lane // 4 * 16 + 6
        np.testing.assert_array_equal(cp.asnumpy(out), [*lane, *pairs, *fours, *[28] * 8])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("barrier_for_some", "a barrier waits for threads that have ended"),
        ("two_barriers", "meet at different barriers"),
        ("shuffle_with_ended_lanes", "names lanes that have ended"),
        ("two_shuffles", "meet at different warp collectives"),
        ("shuffle_out_of_mask", "from a lane outside the mask"),
        ("mask_without_the_caller", "the calling lane is not in the mask"),
        ("barrier_against_collective", "waits for lanes that never come"),
    ],
)
def test_divergence_at_barriers_and_collectives_is_an_error(seed, name, message):
    with schedule(seed), pytest.raises(SimulatorError, match=message):
        planted(name)((1,), (64,), (cp.zeros(64, np.float32),))


def test_a_kernel_works_after_one_that_failed():
    with pytest.raises(SimulatorError):
        planted("barrier_for_some")((1,), (64,), (cp.zeros(64, np.float32),))
    test_shuffles_and_ballots_give_what_cuda_gives()


def test_a_source_that_does_not_compile_names_its_line():
    code = '#line 1 "k.cu"\nextern "C" __global__ void k(float* out) {\n  out[0] = nothing;\n}\n'
    with pytest.raises(SimulatorError, match=r"k\.cu:2"):
        cp.RawModule(code=code).get_function("k")


class TestArguments:
    """Tests of arguments that do not fit a kernel, most of which CuPy would accept."""

    def call(self, *args):
        out = cp.zeros(4, np.float32)
        good = [numbers(16), out, np.int32(3), np.float32(2)]
        for index, arg in enumerate(args):
            good[index] = good[index] if arg is None else arg
        planted("scaled")((1,), (4,), tuple(good))
        return cp.asnumpy(out)

    def test_fitting_arguments_are_passed_on(self):
        np.testing.assert_array_equal(self.call(), [9, 17, 25, 33])

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ([None, None, 3], "argument 2: a NumPy scalar is needed"),
            ([np.uintp(8)], "argument 0: an array of the device is needed"),
            ([None, np.uintp(0)], "argument 1: an array of the device is needed"),
            ([None, None, None, 2.0], "argument 3: a NumPy scalar is needed"),
            ([None, None, np.int64(3)], "argument 2: int64 for a parameter of type int32"),
            ([None, None, None, np.float64(2)], "argument 3: float64 for"),
            ([np.zeros(16, np.float32)], "argument 0: an array of the device is needed"),
            ([cp.zeros(16, np.float64)], "argument 0: float64 for a pointer to float32"),
            ([cp.zeros(32, np.float32)[::2]], "argument 0: the array is not contiguous"),
            ([cp.zeros(17, np.float32)[1:]], "argument 0: the array is not made of aligned elements of 16 bytes"),
            ([cp.zeros(18, np.float32)], "argument 0: the array is not made of aligned elements of 16 bytes"),
        ],
    )
    def test_arguments_that_do_not_fit_the_signature_are_refused(self, args, message):
        with pytest.raises(TypeError, match=message):
            self.call(*args)

    def test_a_wrong_number_of_arguments_is_refused(self):
        with pytest.raises(TypeError, match="1 arguments for 2 parameters"):
            planted("reverse")((1,), (1,), (cp.zeros(1, np.float32),))

    def test_an_array_that_is_read_and_written_is_refused(self):
        x = numbers(96)
        with pytest.raises(TypeError, match="also another argument"):
            planted("reverse")((1,), (96,), (x, x))

    @pytest.mark.parametrize(("grid", "block"), [((1,), (1025,)), ((1, 70000), (1,)), ((0,), (1,)), ((1,), (1, 1, 65))])
    def test_a_grid_that_no_device_takes_is_refused(self, grid, block):
        with pytest.raises(SimulatorError, match="no device takes"):
            planted("shared_not_set")(grid, block, (cp.zeros(1, np.float32),))


class TestStandin:
    """Tests of operations on the simulated CuPy, some of which it refuses."""

    @pytest.mark.parametrize(
        "mix",
        [
            lambda x, host: x + host,
            lambda x, host: host + x,
            lambda x, host: np.float32(2) * x + host,
            lambda x, host: cp.maximum(x, host),
            lambda x, host: cp.concatenate([x, host]),
            lambda x, host: np.sqrt(x),
            lambda x, host: np.asarray(x),
            lambda x, host: x.__setitem__(0, host[:1]),
        ],
    )
    def test_numpy_arrays_in_device_expressions_are_refused(self, mix):
        with pytest.raises(TypeError):
            mix(numbers(4), np.ones(4, np.float32))

    def test_numpy_scalars_work_in_device_expressions(self):
        np.testing.assert_array_equal(cp.asnumpy(np.float32(2) * numbers(3) + 1), [1, 3, 5])
        assert (numbers(3) / numbers(3).max()).dtype == np.float32
        assert float(cp.vdot(numbers(3), numbers(3))) == 5

    def test_empty_arrays_start_as_nan_or_negative(self):
        assert np.isnan(cp.asnumpy(cp.empty((2, 3), np.float32))).all()
        assert (cp.asnumpy(cp.empty(4, np.int32)) < 0).all()

    def test_asarray_copies_host_memory(self):
        host = np.zeros(3, np.float32)
        there = cp.asarray(host)
        there[0] = 1
        assert not host.any()

    def test_using_an_array_on_a_stream_that_has_not_waited_is_a_race(self):
        stream = cp.cuda.Stream(non_blocking=True)
        x = numbers(4)
        view = x[1:]
        started = cp.cuda.get_current_stream()
        try:
            stream.use()
            for use in (lambda: x + 1, lambda: view.data.ptr, lambda: cp.asnumpy(view)):
                with pytest.raises(device.RaceError):
                    use()
            stream.wait_event(started.record())
            y = x + 1
        finally:
            started.use()
        with pytest.raises(device.RaceError):
            y + 1
        stream.synchronize()
        np.testing.assert_array_equal(cp.asnumpy(y + 1), [2, 3, 4, 5])


def field_after_one_round(backend, rng):
    """Return a list of the results of the search, of votes and of resampling for small arrays."""
    f, g = rng.standard_normal((2, 9, 7, 20), np.float32)
    nnf = np.stack([rng.integers(0, 9, (9, 7)), rng.integers(0, 7, (9, 7))], axis=2).astype(np.int32)
    a, b = backend.join(*map(backend.asarray, (f, g))), backend.join(*map(backend.asarray, (g, f)))
    start = backend.asarray(nnf)
    d = backend.distance(a, b, start, 3)
    spread = backend.propagate(a, b, start, d, 3, 2, 2.02 * 4096**2)
    sought = backend.random_search(a, b, *spread, 3, 9, 1, 0, 2.02 * 4096**2)
    field, three = sought[0], backend.asarray(f[..., :3])
    votes = backend.vote(field, backend.asarray(f), 3), backend.vote(field, three, 3)
    finer = backend.resample(field, (18, 13), (17, 14), (2, 2), (2, 2))
    return [backend.to_host(x) for x in (a, b, d, *spread, *sought, *votes, finer)]


@pytest.mark.parametrize("seed", SEEDS[1:])
def test_kernels_give_the_same_bits_in_every_order_of_threads(simulated, seed):
    natural = field_after_one_round(simulated, np.random.default_rng(3))
    with schedule(seed):
        shuffled = field_after_one_round(simulated, np.random.default_rng(3))
    for one, other in zip(natural, shuffled, strict=True):
        np.testing.assert_array_equal(one, other)


def test_propagate_evaluates_each_candidate_once(simulated):
    # A thread reads four channels, so two threads work on a position of eight channels. Each of
    # them takes part in one shuffle for a candidate, because a patch is one position.
    a = simulated.asarray(np.zeros((9, 9, 8), np.int16))
    nnf = np.stack(np.mgrid[:9, :9], axis=2).astype(np.int32)
    d = simulated.distance(a, a, simulated.asarray(nnf), 1)
    assert launch.exchanges == 2 * 81
    simulated.propagate(a, a, simulated.asarray(nnf), d, 1, 1, 2.0)
    assert launch.exchanges == 0
    # One match differs from the rest of the field. Its four neighbours give it the same candidate,
    # and it gives one candidate to each of them.
    nnf[4, 4] = 6, 2
    simulated.propagate(a, a, simulated.asarray(nnf), d, 1, 1, 2.0)
    assert launch.exchanges == 2 * (1 + 4)


def sanitized(program: str) -> subprocess.CompletedProcess[str]:
    """Run tests/simulator/sanitized.py with the libraries of the sanitisers preloaded."""
    find = [["g++", f"-print-file-name={name}"] for name in ("libasan.so", "libubsan.so")]
    paths = [subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip() for command in find]
    if not all(Path(path).is_absolute() for path in paths):
        pytest.skip("this compiler has no address and undefined-behaviour sanitisers")
    environment = os.environ | {
        "LD_PRELOAD": " ".join(paths),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=0",
    }
    script = Path(launch.__file__).with_name("sanitized.py")
    command = [sys.executable, str(script), program]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("read_outside", "heap-buffer-overflow"),
        ("write_outside", "heap-buffer-overflow"),
        ("shared_outside", "out of bounds"),
        ("overflow", "signed integer overflow"),
    ],
)
def test_the_sanitisers_catch_accesses_out_of_bounds_and_overflow(program, complaint):
    done = sanitized(program)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_kernels_are_clean_under_the_sanitisers():
    done = sanitized("kernels")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "clean\n"
