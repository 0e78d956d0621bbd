"""Times whole transfers and single kernels, in one run, with their ratios: tools/bench.py [--size N] [--runs N] [--device D].

Absolute times depend on the machine and what else it does; the ratios within one run are what to compare. Each row is
the median of the runs after one warm-up, with the least and the most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

import analogy
from analogy.backends import DEVICES
from analogy.engine import Engine
from analogy.method import nnf
from analogy.networks.models import DEFAULT
from analogy.pictures import images, reading

EXAMPLES = Path(analogy.__file__).parent / "examples"


def timed(work: Callable[[], object], finish: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each run after a warm-up; `finish` waits for the device."""
    work()
    finish()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        finish()
        seconds.append(time.perf_counter() - start)
    return seconds


def show(name: str, seconds: list[float], reference: float) -> float:
    middle = statistics.median(seconds)
    click.echo(f"{name:34} {middle:8.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})  x {middle / reference:.2f}")
    return middle


@click.command(help=__doc__.split(":", maxsplit=1)[0] + ".")
@click.option("--size", default=448, show_default=True, help="Both pictures are SIZE x SIZE.")
@click.option("--runs", default=3, show_default=True)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--model", default=DEFAULT, show_default=True)
def main(size: int, runs: int, device: str, model: str) -> None:
    engine = Engine(model, device)
    backend = engine.backend
    finish = lambda: backend.to_host(backend.xp.zeros(1))  # noqa: E731 - a copy to the host waits for all before it
    click.echo(f"{backend.describe()}, model {model}, {size} x {size}, {runs} runs")
    a, b1 = (
        images.resize(reading.read_picture(EXAMPLES / f"{name}.jpg").rgb, size, size)
        for name in ("astronaut", "lovelace")
    )

    click.echo("\nwhole transfers, against the defaults")
    reference = show("defaults", timed(lambda: engine.transfer(a, b1), finish, runs), 1.0)
    for name, settings in {
        "one direction": {"direction": "ab"},
        "vote alone": {"inversion": "vote"},
        "deconvolution": {"inversion": "deconvolution"},
        "half ratio": {"ratio": 0.5},
        "photo refinement": {"photo": True},
    }.items():
        show(name, timed(lambda settings=settings: engine.transfer(a, b1, **settings), finish, runs), reference)
    if backend.name == "cpu":
        single = Engine(model, "cpu", threads=1)
        show("one thread", timed(lambda: single.transfer(a, b1), finish, runs), reference)

    click.echo("\nkernels at relu1_1, against one propagation pass")
    f, g = (engine.network.pyramid(picture)[1] for picture in (a, b1))
    joined_a, joined_b = backend.join(f, f), backend.join(g, g)
    field = nnf.identity(backend, (size, size), (size, size))
    field, distance = nnf.search(backend, joined_a, joined_b, field, patch=5, search_radius=4, iterations=2, seed=0)
    arguments = joined_a, joined_b, field, distance, 5
    reference = show("propagate", timed(lambda: backend.propagate(*arguments, 1, nnf.MAX_PRODUCT), finish, runs), 1.0)
    for name, work in {
        "random_search": lambda: backend.random_search(*arguments, 4, 0, 0, nnf.MAX_PRODUCT),
        "distance": lambda: backend.distance(joined_a, joined_b, field, 5),
        "vote": lambda: backend.vote(field, g, 5),
        "join": lambda: backend.join(f, f),
        "resample": lambda: nnf.upsample(backend, field, (2 * size, 2 * size), (2 * size, 2 * size)),
    }.items():
        show(name, timed(work, finish, runs), reference)
    if device != "cuda" and backend.name == "cuda":
        cpu = Engine(model, "cpu")
        show("the defaults on the CPU", timed(lambda: cpu.transfer(a, b1), lambda: np.zeros(1), runs), reference)


if __name__ == "__main__":
    main()
