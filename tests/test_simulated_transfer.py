"""The whole transfer on the simulated CUDA backend: stand-in for CuPy, real kernels, ONNX Runtime by address."""

from __future__ import annotations

import numpy as np
import pytest

from analogy import images
from analogy.engine import Engine
from analogy.features import Features


def pictures(rng):
    """Two smooth pictures of different, odd sizes."""
    for height, width in ((45, 52), (49, 39)):
        coarse = rng.integers(0, 256, (7, 7, 3))
        smooth = images.resize(coarse.astype(np.uint8), height, width)
        yield np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("inversion", ["deconvolution", "vote"])
def test_the_whole_transfer_equals_the_cpus(simulated, rng, inversion):
    a, b_prime = pictures(rng)
    results = []
    for backend in (None, simulated):
        engine = Engine(device="cpu", threads=2)
        if backend:
            engine.backend, engine.network = backend, Features(engine.network.folder, backend)
        results.append(engine.transfer(a, b_prime, inversion=inversion, inversion_steps=2))
    cpu, cuda = results
    assert type(cuda.a_prime) is type(cuda.nnf_ab) is np.ndarray
    assert (cuda.a_prime == cpu.a_prime).all(axis=2).mean() >= 0.97
    assert (cuda.b == cpu.b).all(axis=2).mean() >= 0.97
    for name in ("ab", "ba"):
        nnf, same = getattr(cuda, f"nnf_{name}"), getattr(cpu, f"nnf_{name}")
        assert (nnf == same).all(axis=2).mean() >= 0.99, name
        error, expected = getattr(cuda, f"error_{name}"), getattr(cpu, f"error_{name}")
        assert abs(float(error.mean() - expected.mean())) < 1e-4
