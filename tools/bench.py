"""Measure the time of each stage of a transfer, and compare it with the limits of this machine.

    tools/bench.py [--size N] [--model M] [--threads N] [--json FILE] ..

Each combination of model, size and number of threads is measured in several processes, one after
the other. The first process is not counted, since the system still has to read files from the disk.
Every row has the median over the other processes. `of limit` is the speed of a stage as a share of
a limit that the program has measured just before. For networks the limit is the speed of a large
float32 matrix product (operations per second). For the other stages it is the speed of a copy in
memory (bytes per second; each byte that a stage must read or write is counted once). The speed of a
machine changes from minute to minute, so that the seconds of two calls of the program cannot be
compared. `--compare` therefore compares shares of the limit.

With `--clients 1 --clients 2 --clients 8` the program also measures a service that is used by 1, 2
and 8 clients at the same time (`bench_service.py`). With `--film` it also measures how long each
stage of painting a frame of a film takes (`bench_film.py`).

With `--device cuda` the limits are those of the GPU. Each process first makes two transfers that
are not counted. The host waits for the end of each stage, although stages overlap in other
transfers. Then `bench_gpu.py` measures whole transfers without these waits, for several uses, and
with two callers at the same time. `--json` writes all figures into a file. `roofline.py` predicts
how long a transfer should take.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from analogy.backends import DEVICES, Passes
from analogy.errors import counted
from analogy.networks.models import DEFAULT
from analogy.settings import PRESETS, Settings

import bench_gpu

EXAMPLES = Path(__file__).parents[1] / "analogy" / "examples"
NETWORKS = ("features", *(f"step {level}" for level in (5, 4, 3, 2)))
"""Stages whose speed is compared with the speed of a large matrix product.

The speed of the other stages is compared with the speed of a copy in memory.
"""
SIDE, COPIED = {"cpu": 1536, "cuda": 8192}, 1 << 26
"""Kind of device -> rows of the square matrices of the product; number of floats in the copy."""
COPIES = {"cpu": 1, "cuda": 20}
"""Kind of device -> number of copies that are timed together.

A GPU copies so fast that waiting for its end would take a large part of the time of one copy.
"""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


# One run, in a process of its own


def run_once(a: str, b_prime: str, out: str, model: str, device: str, threads: int, settings: dict[str, Any]) -> dict:
    """Do one transfer, measure its stages, and return the figures.

    Returns
    -------
    dict
        `stages`: name -> [seconds, work], where work is a number of operations or bytes. `peak`:
        largest memory of the process, in bytes. `device`: the device in words.
    """
    stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    stages["start"][0] = time.time() - float(os.environ["BENCH_BEGAN"])

    def timed(name: Callable[..., str], work: Callable[..., float], function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            wait_for(backend)
            began = time.perf_counter()
            result = function(*arguments, **keywords)
            wait_for(backend)
            stage = stages[name(*arguments)]
            stage[0] += time.perf_counter() - began
            stage[1] += work(arguments, result)
            return result

        return call

    began = time.perf_counter()
    from analogy.engine import Engine

    engine = Engine(model, device, threads)
    stages["imports"][0] = time.perf_counter() - began
    began = time.perf_counter()
    chosen = Settings.from_dict(settings)
    engine.backend.prepare()
    stages["kernels"][0] = time.perf_counter() - began
    began = time.perf_counter()
    for loading in engine.network.load_ahead(chosen):
        loading.result()
    stages["sessions"][0] = time.perf_counter() - began

    backend, network = engine.backend, engine.network
    if device != "cpu":
        for _ in range(2):
            engine.transfer(a, b_prime, chosen)

    def moved(arguments: Any, result: Any) -> float:
        arrays = [*arguments, *(result if isinstance(result, tuple) else (result,))]
        return float(sum(array.nbytes for array in arrays if hasattr(array, "nbytes")))

    passes: list[tuple[str, float]] = []
    """Name of the stage and number of bytes of each pass of the searches that run now."""

    def counted(work: Passes[Any]) -> Passes[Any]:
        found = None
        while True:
            try:
                asked = work.send(found)
            except StopIteration as end:
                return end.value
            found = yield asked
            rows, columns = asked.arguments["a"].shape[:2]
            passes.append((f"search {rows} x {columns}", moved(tuple(asked.arguments.values()), found)))

    def searched(works: Sequence[Passes[Any]]) -> list[Any]:
        passes.clear()
        return run_together([counted(work) for work in works])

    run_together = backend.run_together
    backend.run_together = timed(lambda *_: passes[0][0], lambda *_: sum(size for _, size in passes), searched)
    for name in ("join", "vote", "resample", "pixel_vectors"):
        setattr(backend, name, timed(lambda *_, name=name: name, moved, getattr(backend, name)))
    widths = network.card.widths
    network.pyramid = timed(
        lambda *_: "features", lambda args, _: _products(widths, args[0].shape[:2]), network.pyramid
    )
    network.step = timed(
        lambda level, *_: f"step {level}", lambda args, _: _step(widths, args[0], args[3]), network.step
    )

    began = time.perf_counter()
    result = engine.transfer(a, b_prime, chosen)
    waited = time.perf_counter() - began
    began = time.perf_counter()
    result.save(out)
    stages["saving"][0] = time.perf_counter() - began
    inside = ("features", "step", "search", "join", "vote", "resample", "pixel_vectors")
    stages["other"][0] = waited - sum(seconds for name, (seconds, _) in stages.items() if name.split()[0] in inside)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    return {"stages": stages, "peak": peak, "device": backend.describe()}


def wait_for(backend: Any) -> None:
    """Wait until a GPU has finished all work launched so far."""
    if backend.name != "cpu":
        backend.to_host(backend.asarray(np.zeros(1, np.float32)))


def _layers(widths: tuple[int, ...], level: int) -> list[tuple[int, float]]:
    """Return the layers of VGG-16 that lead from the previous level to `level`.

    Each layer is a tuple (multiplications at a position, positions for each pixel of the picture).
    The layers between two levels are counted as if they had as many channels as the previous level.
    In the compact model they have other numbers of channels, so the operations of the stage
    `features` are 5 % too many.
    """
    before, width = (3, *widths)[level - 1 : level + 1]
    inner = 0 if level == 1 else 1 if level <= 3 else 2
    finer, here = 4.0 ** -max(level - 2, 0), 4.0 ** -(level - 1)
    return [(9 * before * before, finer)] * inner + [(9 * before * width, here)]


def _products(widths: tuple[int, ...], size: tuple[int, int], levels: tuple[int, ...] = (1, 2, 3, 4, 5)) -> float:
    """Return the operations of the layers between each of `levels` and the level before it.

    A multiplication with its addition counts as two operations. Before level 1 is the picture.
    """
    return 2.0 * size[0] * size[1] * sum(n * area for level in levels for n, area in _layers(widths, level))


def _step(widths: tuple[int, ...], level: int, finer: tuple[int, int]) -> float:
    """Return the operations of a gradient step: passes forward and back through layers of VGG-16.

    At levels 5 and 4, the pass back ends at the next finer level, so one pass forward is enough.
    """
    picture = finer[0] << level - 2, finer[1] << level - 2
    through = 2 * _products(widths, picture, (level,) if level >= 4 else (level - 1, level))
    return through + _products(widths, picture, (level - 1,))


# What the machine can do


def limits(device: str) -> dict[str, float]:
    """Measure the speed of a large matrix product and of a copy in memory.

    Returns dict `operations`, the operations of the product per second, and `bytes`, the bytes that
    the copy reads and writes per second.
    """
    from analogy.backends import get_backend

    backend = get_backend(device)
    side = SIDE[backend.name]
    x = backend.asarray(np.random.default_rng(0).random((side, side), np.float32))
    source = backend.asarray(np.ones(COPIED, np.float32))
    target = backend.xp.empty_like(source)

    def fastest(work: Callable[[], object], times: int = 1) -> float:
        seconds = []
        for _ in range(4):
            wait_for(backend)
            began = time.perf_counter()
            for _ in range(times):
                work()
            wait_for(backend)
            seconds.append((time.perf_counter() - began) / times)
        return min(seconds)

    return {
        "operations": 2 * side**3 / fastest(lambda: x @ x),
        "bytes": 2 * source.nbytes / fastest(lambda: backend.xp.copyto(target, source), COPIES[backend.name]),
    }


# The report


def in_own_process(one: str) -> Any:
    environment = os.environ | {"BENCH_BEGAN": repr(time.time())}
    command = [sys.executable, __file__, "--one", one]
    # The process writes its errors to standard error, where the user sees them.
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(arguments: list[Any], runs: int) -> dict[str, Any]:
    """Measure in `runs` processes, and return the medians of their figures.

    Another process runs first and is not counted.
    """
    found: list[dict[str, Any]] = []
    for _ in range(runs + 1):
        found.append(in_own_process(json.dumps(arguments)))
    names = found[1]["stages"]
    stages = {
        name: [statistics.median(run["stages"][name][0] for run in found[1:]), found[1]["stages"][name][1]]
        for name in names
    }
    peak = statistics.median(run["peak"] for run in found[1:])
    return {"stages": stages, "device": found[1]["device"], "peak": peak}


def rate(name: str, seconds: float, work: float, limit: dict[str, float]) -> float:
    """Return the share of the machine's limit that a stage reaches; 0 if no work was counted."""
    return work / seconds / limit["operations" if name in NETWORKS else "bytes"] if work and seconds else 0.0


def show(title: str, found: dict[str, Any], limit: dict[str, float], before: dict[str, Any] | None) -> None:
    total = sum(seconds for seconds, _ in found["stages"].values())
    click.echo(f"\n{title}: {total:.2f} s, {found['peak'] / 1e6:.0f} MB")
    if "gpu" in found:
        click.echo("\n".join(bench_gpu.lines(found["gpu"], bench_gpu.CASES)))
        click.echo("  the stages of one transfer, with a wait after each stage:")
    for name, (seconds, work) in found["stages"].items():
        share = rate(name, seconds, work, limit)
        line = f"  {name:18} {seconds:7.3f} s {seconds / total:5.0%}"
        line += f"   {share:6.1%} of limit" if share else ""
        if before and name in before["stages"] and share:
            was = rate(name, *before["stages"][name], before["limits"])
            line += f"   (before {was:6.1%})" if was else ""
        click.echo(line)


def whole_commands(commands: dict[str, list[str]], runs: int) -> None:
    """Run whole commands in turn, and show their times, also relative to the last command's."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for run in range(runs + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if run:
                seconds[name].append(time.perf_counter() - began)
    *_, last = commands
    click.echo("\nwhole commands, in turn")
    for name, each in seconds.items():
        ratios = [one / other for one, other in zip(each, seconds[last], strict=True)]
        low, middle, high = min(each), statistics.median(each), max(each)
        click.echo(
            f"  {name:18} {middle:7.2f} s ({low:.2f} to {high:.2f})   x {statistics.median(ratios):.2f} of {last}"
        )


def show_service(found: dict[int, dict[str, float]]) -> None:
    for count, figures in found.items():
        click.echo(
            f"  a service, {counted(count, 'client')}: p50 {figures['p50']:.2f} s, "
            f"p95 {figures['p95']:.2f} s, {figures['per_minute']:.0f} pictures a minute"
        )


def pair(folder: Path, size: int) -> list[str]:
    """Write the example pair as files of `size` x `size` pixels, and return their paths."""
    paths = []
    for name in ("collins", "mona_lisa"):
        path = folder / f"{name}-{size}.png"
        with Image.open(EXAMPLES / f"{name}.jpg") as image:
            image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS).save(path)
        paths.append(str(path))
    return paths


@click.command(help=__doc__)
@click.option(
    "--size",
    "sizes",
    type=int,
    multiple=True,
    default=[448],
    show_default=True,
    help="Side of the pictures, in pixels.",
)
@click.option(
    "--model", "models", multiple=True, default=[DEFAULT], show_default=True, help="Name or folder of a model."
)
@click.option("--threads", type=int, multiple=True, default=[1, 2], show_default=True)
@click.option("--preset", type=click.Choice(list(PRESETS)), default="photo-to-style", show_default=True)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
@click.option("--runs", default=3, show_default=True)
@click.option("--json", "output", type=click.Path(path_type=Path), help="Also write all figures to this file.")
@click.option(
    "--compare",
    type=click.Path(path_type=Path, exists=True),
    help="Also show the shares of the limit from an earlier --json file.",
)
@click.option(
    "--peer",
    help="Command of another program, which is timed in turn with `analogy transfer`. In it, {a}, {b} and {out} stand "
    "for the paths of A, of B' and of the result.",
)
@click.option(
    "--clients",
    type=click.IntRange(1, 100),
    multiple=True,
    help="Also measure a service that this many clients use at the same time.",
)
@click.option("--film", is_flag=True, help="Also measure a frame of a film, by stages (needs the extra video).")
@click.option("--one", hidden=True, help="Arguments of a measurement in a process of its own.")
def main(sizes: list[int], models: list[str], threads: list[int], preset: Any, device: str, runs: int,
         output: Path | None, compare: Path | None, peer: str | None, clients: list[int],
         film: bool, one: str | None) -> None:  # fmt: skip
    if one:
        task = json.loads(one)
        if isinstance(task, dict):
            done = bench_gpu.measure(*task["gpu"], bench_gpu.CASES, bench_gpu.SECONDS)
        else:
            done = limits(task) if isinstance(task, str) else run_once(*task)
        click.echo(json.dumps(done))
        return
    # If this process measured the limits, its largest memory would also be counted for each child.
    limit = in_own_process(json.dumps(device))
    click.echo(
        f"a large product: {limit['operations'] / 1e9:.0f} G operations/s; a copy: {limit['bytes'] / 1e9:.1f} GB/s"
    )
    settings = {**PRESETS[preset], "max_pixels": max(350_000, max(sizes) ** 2)}
    earlier = json.loads(compare.read_text()) if compare else {"runs": {}}
    report: dict[str, Any] = {"limits": limit, "runs": {}}

    def store() -> None:  # after each measurement, so that an error in a later one loses none of them
        if output:
            output.write_text(json.dumps(report, indent=1))

    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for size in sizes:
                a, b_prime = pair(Path(folder), size)
                out = str(Path(folder) / "out")
                for count in threads if device == "cpu" else [None]:
                    where = counted(count, "thread") if count else device
                    title = f"{Path(model).name}, {size} x {size}, {where}, {preset}"
                    report["runs"][title] = found = measure([a, b_prime, out, model, device, count, settings], runs)
                    store()
                    if device != "cpu":
                        found["gpu"] = in_own_process(json.dumps({"gpu": [a, b_prime, model, device]}))
                    before = earlier["runs"].get(title)
                    show(title, found, limit, before and before | {"limits": earlier["limits"]})
                    store()
                    if film:
                        import bench_film

                        found["film"] = bench_film.measure(EXAMPLES / "mona_lisa.jpg", device, count)
                        store()
                        click.echo("\n".join(bench_film.lines(found["film"])))
                    if clients:
                        import bench_service

                        served = bench_service.measure(a, b_prime, model, device, count, settings, clients, runs)
                        found["service"] = served
                        store()
                        show_service(served)
                if peer:
                    ours = [sys.executable, "-m", "analogy", "transfer", a, b_prime, "-o", out, "--model", model]
                    theirs = shlex.split(peer.format(a=a, b=b_prime, out=str(Path(folder) / "peer.png")))
                    commands = {"defaults": ours, "--preset fast": [*ours, "--preset", "fast"], theirs[0]: theirs}
                    whole_commands(commands, runs)


if __name__ == "__main__":
    main()
