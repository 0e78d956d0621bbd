"""Tests of whole transfers on the CUDA backend, on the simulator and on a GPU.

The simulator runs the real kernels on the CPU, with a simulated CuPy. ONNX Runtime reads and writes
the arrays of the simulated CuPy by their addresses.
"""

from __future__ import annotations

import numpy as np
import pytest
from simulator import device
from simulator.counting import count_launches

from analogy.engine import Engine
from analogy.pictures import images, reading


def pictures(rng):
    """Yield two pictures of different sizes, smooth but for a little noise."""
    for height, width in ((45, 52), (49, 39)):
        coarse = rng.integers(0, 256, (7, 7, 3))
        smooth = images.resize(coarse.astype(np.uint8), height, width)
        yield np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def halves(size):
    """Return a label picture whose halves have different colours."""
    mask = np.zeros((*size, 3), np.uint8)
    mask[:, size[1] // 2 :] = 255
    return mask


@pytest.fixture(params=["simulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def gpu(request):
    """Return an engine with the arrays of CuPy, or with those of the simulated CuPy."""
    if request.param == "cuda":
        return Engine(device="cuda")
    return Engine(backend=request.getfixturevalue("simulated"))


@pytest.mark.parametrize("way", ["paper", "step", "photo", "masks", "pins", "projected"])
def test_a_simulated_transfer_agrees_with_the_cpu_in_97_percent_of_the_pixels(gpu, rng, way):
    a, b_prime = pictures(rng)
    options = {
        "paper": {"inversion": "deconvolution", "inversion_steps": 2},
        "step": {"inversion": "step"},
        "photo": {"inversion": "vote", "photo": True},
        "masks": {"inversion": "vote", "mask_a": halves(a.shape[:2]), "mask_b": halves(b_prime.shape[:2])},
        "pins": {"inversion": "vote", "pins": [(5, 9, 30, 20), (40, 40, 12, 45)], "ratio": 0.7},
        "projected": {"inversion": "vote"},
    }[way]
    projections = {4: rng.standard_normal((256, 32), np.float32)} if way == "projected" else {}
    results = []
    for engine in (Engine(device="cpu", threads=2), gpu):
        engine.network.projections = {level: engine.backend.asarray(p) for level, p in projections.items()}
        results.append(engine.transfer(a, b_prime, **options))
    cpu, cuda = results
    for name in ("a_prime", "b"):
        picture, same = getattr(cuda, name), getattr(cpu, name)
        assert type(picture) is np.ndarray
        assert (picture == same).all(axis=2).mean() >= 0.97, name
    for name in ("ab", "ba"):
        nnf, same = getattr(cuda, f"nnf_{name}"), getattr(cpu, f"nnf_{name}")
        assert type(nnf) is np.ndarray
        assert (nnf == same).all(axis=2).mean() >= 0.99, name
        error, expected = getattr(cuda, f"error_{name}"), getattr(cpu, f"error_{name}")
        assert abs(float(error.mean() - expected.mean())) < 1e-4


def test_cupy_arrays_give_cupy_results_equal_to_the_host_s_that_can_be_saved(gpu, rng, tmp_path):
    a, b_prime = pictures(rng)
    options = {"inversion": "vote", "search_iterations": 1}
    backend = gpu.backend
    host = gpu.transfer(a, b_prime, **options)
    device = gpu.transfer(backend.asarray(a), backend.asarray(b_prime), **options)
    for name in ("a_prime", "b", "nnf_ab", "nnf_ba", "error_ab", "error_ba"):
        array = getattr(device, name)
        assert isinstance(array, backend.xp.ndarray)
        assert np.array_equal(backend.to_host(array), getattr(host, name))
    device.save(tmp_path, flow=True)
    assert np.array_equal(reading.read_picture(tmp_path / "a_prime.png").rgb, host.a_prime)
    assert np.array_equal(device.consistency(), host.consistency())


@pytest.mark.parametrize("settings", [{"inversion": "deconvolution", "inversion_steps": 1}, {"photo": True}])
def test_after_prepare_a_transfer_uses_no_new_operation(simulated, rng, monkeypatch, settings):
    engine = Engine(backend=simulated)
    monkeypatch.setattr("analogy.engine._WARM_UP_SIZE", (40, 48))
    monkeypatch.setattr(device, "compiled", set())
    simulated._launcher._modules.clear()
    simulated._launcher._functions.clear()
    engine.prepare("fast", **settings)
    assert simulated._launcher._modules.keys() == {"float", "float4"}
    prepared = device.compiled.copy()
    assert len(prepared) > 20
    a, b_prime = pictures(rng)
    engine.transfer(a, b_prime, "fast", **settings)
    engine.transfer(a, b_prime, "fast", ratio=0.6, **settings)
    assert device.compiled == prepared


def test_a_transfer_starts_at_most_270_kernels_and_operations(simulated, rng, monkeypatch):
    engine = Engine(backend=simulated)
    counts = count_launches(monkeypatch)
    engine.transfer(*pictures(rng))
    # Each of the five levels has 17 passes; both directions of a pass are one launch.
    assert sum(count for name, count in counts.items() if name.endswith("_twice")) == 5 * 17
    assert counts.total() <= 270
    counts.clear()
    engine.transfer(*pictures(rng), direction="ab")
    assert counts["propagate_twice"] == 4 * 12  # down to level 2 both directions are searched
    assert counts["propagate"] == 12


def test_progress_on_a_gpu_shows_the_mean_of_both_directions(simulated, rng, monkeypatch):
    monkeypatch.setattr("analogy.progress.MIN_STEP", 0.0)
    engine = Engine(backend=simulated)
    reports = []
    engine.transfer(*pictures(rng), progress=reports.append)
    done = [report.done for report in reports if report.stage == "level 1"]
    assert done == sorted(done)
    assert max(np.diff(done)) < 0.1 * (
        done[-1] - done[0]
    )  # the two directions have 34 passes, each of which is reported


@pytest.mark.parametrize("options", [{"photo": True}, {"keep_colors": True}, {"photo": True, "max_pixels": 1500}])
def test_each_picture_is_uploaded_once(simulated, rng, monkeypatch, options):
    engine = Engine(backend=simulated)
    a, b_prime = pictures(rng)
    uploaded = []
    upload = simulated.xp.asarray

    def counting(array, *dtype):
        if isinstance(array, np.ndarray):
            uploaded.append(array.shape)
        return upload(array, *dtype)

    monkeypatch.setattr(simulated.xp, "asarray", counting)
    engine.transfer(a, b_prime, inversion="vote", **options)
    assert sorted(shape for shape in uploaded if len(shape) == 3) == sorted([a.shape, b_prime.shape])


@pytest.mark.parametrize("extra", [{}, {"photo": True}, {"keep_colors": True, "direction": "ba"}])
def test_cupy_pictures_never_leave_the_device(simulated, rng, monkeypatch, extra):
    a, b_prime = pictures(rng)
    engine = Engine(backend=simulated)
    options = {"inversion": "vote", "ratio": 0.6} | extra
    host = engine.transfer(a, b_prime, **options)
    there = simulated.asarray(a), simulated.asarray(b_prime)

    def to_host(array):
        assert array.size < 100, "more than a few numbers was copied to the host"
        return real(array)

    real = engine.backend.xp.asnumpy
    monkeypatch.setattr(engine.backend.xp, "asnumpy", to_host)
    monkeypatch.setattr(engine.backend.xp.ndarray, "get", to_host)
    result = engine.transfer(*there, **options)
    there[0][0, 0] = 0  # this must not change the result, which has its own copy of A
    monkeypatch.undo()
    assert np.array_equal(result.a.rgb, a)
    for name in ("a_prime", "b", "nnf_ab", "nnf_ba"):
        if (expected := getattr(host, name)) is not None:
            assert np.array_equal(simulated.to_host(getattr(result, name)), expected)
