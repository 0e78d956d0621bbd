"""Script that runs kernels with the address and undefined-behaviour sanitisers preloaded.

`test_simulator.py` runs `python sanitized.py NAME`. NAME is one of the faults in `planted.cu`, or
"kernels" for all kernels of the package on small and odd shapes. NumPy allocates arrays with
malloc, so the sanitisers report an access outside an array.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import oracle

from analogy.backends import Pass, cuda_launch
from simulator import SimulatedCudaBackend, launch, planted
from simulator import standin as cp


def plant(name: str) -> None:
    """Run a kernel of `planted.cu` with one thread for each of 300 numbers."""
    x, out = cp.zeros(300, np.float32), cp.zeros(300, np.float32)
    planted().get_function(name)((1,), (300,), (x, out))


def kernels() -> None:
    """Run every kernel of the package."""
    backend, rng = SimulatedCudaBackend(), np.random.default_rng(0)
    for size_a, size_b, channels in (
        ((1, 1), (1, 1), 1),
        ((5, 7), (7, 4), 6),
        ((9, 6), (4, 11), 40),
        ((3, 5), (2, 3), 132),
    ):
        f_a, f_b = (rng.standard_normal((*size, channels), np.float32) for size in (size_a, size_b))
        f_a[0, 0] = 0  # a zero vector cannot be normalised
        a, b = (backend.join(backend.asarray(f), backend.asarray(f)) for f in (f_a, f_b))
        nnf = backend.asarray(np.stack([rng.integers(0, n, size_a) for n in size_b], axis=2).astype(np.int32))
        labels = tuple(backend.asarray(rng.integers(-1, 2, size).astype(np.int32)) for size in (size_a, size_b))
        for patch in (1, 3, 5):
            d = backend.distance(a, b, nnf, patch)
            for jump in (1, 3, 20):
                nnf, d = backend.propagate(a, b, nnf, d, patch, jump, 2.02 * 4096**2)
            nnf, d = backend.random_search(a, b, nnf, d, patch, 30, 1, 2, 2.02 * 4096**2)
            backend.propagate(a, b, nnf, d, patch, 2, 2.02 * 4096**2, labels, None, nnf)
            backend.random_search(a, b, nnf, d, patch, 3, 1, 2, 2.02 * 4096**2, labels)
            backend.vote(nnf, backend.asarray(f_b), patch)
            frames = backend.asarray(np.array([[0, size_b[0], size_b[1]]], np.int32))
            backend.propagate(a, b, nnf, d, patch, 2, 2.02 * 4096**2, labels, frames)
            backend.random_search(a, b, nnf, d, patch, 30, 1, 2, 2.02 * 4096**2, labels, frames)
            backend.vote(nnf, backend.asarray(f_b), patch, frames)
            expected = oracle.distance(backend.to_host(a), backend.to_host(b), backend.to_host(nnf), patch)
            np.testing.assert_array_equal(backend.to_host(d), expected)
        back = backend.asarray(np.stack([rng.integers(0, n, size_b) for n in size_a], axis=2).astype(np.int32))
        backend.run_together([passes(a, b, nnf, labels, frames), passes(b, a, back, labels[::-1], None)])
        f = backend.asarray(f_a)
        backend.blend(f, f, f, 0.7, 300.0, 0.05)
        backend.require_finite([f, a.astype(np.float32)], ValueError())
        large = backend.resample(nnf, (2 * size_a[0] + 1, size_a[1]), (3, 50), (2, 1.5), (0.3, 20))
        pixels = backend.asarray(rng.random((*size_b, 3), np.float32))
        for key in (False, True):
            backend.pixel_vectors(pixels, key)
        multigrid(backend, rng, (size_a[0] | 1, size_b[1] | 1))
        seams(backend, rng, nnf, size_b, labels[0], frames)
        backend.vote(large, backend.asarray(rng.standard_normal((3, 50, 3), np.float32)), 3)


def passes(a, b, nnf, labels, frames):
    """Yield a pass that computes distances, a propagation pass, and a random search."""
    maps = {"a": a, "b": b, "patch": 3, "frames": frames}
    distance = yield Pass("distance", maps | {"nnf": nnf})
    maps |= {"labels": labels, "max_product": 2.02 * 4096**2}
    field = {"nnf": nnf, "distance": distance, "jump": 2, "previous_field": nnf}
    nnf, distance = yield Pass("propagate", maps | field)
    field = {"nnf": nnf, "distance": distance, "search_radius": 30, "seed": 1, "iteration": 2}
    return (yield Pass("random_search", maps | field))


def multigrid(backend: SimulatedCudaBackend, rng: np.random.Generator, size: tuple[int, int]) -> None:
    h, w = max(size[0], 3), max(size[1], 3)
    form = backend.asarray(rng.random((3, h, w), np.float32))
    finest(backend, rng, form)
    while max(form.shape[1:]) > 3:
        f, u, r = (backend.asarray(rng.random((3, *form.shape[1:]), np.float32)) for _ in range(3))
        lines = backend.factor(form)
        backend.relax(form, lines, f, u, after=False)
        backend.residual(form, f, u, r)
        weights, form = backend.coarsen(form)
        below = backend.asarray(np.zeros((3, *form.shape[1:]), np.float32))
        backend.restriction(weights, r, below)
        backend.prolongation(weights, below, u)
        backend.combine(1.0, r, 0.5, u)


def seams(
    backend: SimulatedCudaBackend, rng: np.random.Generator, nnf, size_b: tuple[int, int], labels, frames
) -> None:
    """Run the kernels of painting in the gradient domain on a field."""
    h, w = nnf.shape[:2]
    picture, source = (backend.asarray(rng.random((*size, 3), np.float32)) for size in ((h, w), size_b))
    steepness = backend.steepness(source)  # its size differs from the field's
    for patch in (1, 5):
        differences = backend.seams(nnf, source, picture, patch, frames)
        backend.keep_edges(steepness, differences, 0.1, 0.5, labels)
        divergence = backend.divergence(differences)
    columns = backend.asarray(rng.integers(0, w, w).astype(np.int32))
    backend.correct(picture, divergence, columns)
    transformed = backend.asarray(rng.random((max(h, 2), w), np.float32))
    backend.solve_columns(backend.asarray(rng.random(w, np.float32) + np.float32(0.1)), transformed)


def finest(backend: SimulatedCudaBackend, rng: np.random.Generator, form) -> None:
    """Run the steps of a multigrid cycle between a grid and the next coarser one, in one launch."""
    weights, coarse = backend.coarsen(form)
    inverses = backend.factor(form)
    f, u, r = (backend.asarray(rng.random((3, *form.shape[1:]), np.float32)) for _ in range(3))
    below = backend.asarray(np.zeros((3, *coarse.shape[1:]), np.float32))
    with backend.steps() as steps:
        steps.relax(form, inverses, f, u, after=False)
        steps.residual(form, None, u, r)
        steps.restriction(weights, r, below)
        steps.prolongation(weights, below, u)


if __name__ == "__main__":
    launch.sanitize = True
    if sys.argv[1] == "kernels":
        kernels()
        forgotten = set(launch.KERNEL.findall(cuda_launch.source())) - launch.launched
        print("clean" if not forgotten else f"these kernels did not run: {', '.join(sorted(forgotten))}")
    else:
        plant(sys.argv[1])
