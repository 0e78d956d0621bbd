"""Predict where the time of a transfer goes on a GPU.

Run `python tools/roofline.py [--model M] ..`.

The prediction divides the counted work by the speed of a GPU. This speed is the limit of the GPU,
times the share of the limit that an H100 reached in a measurement. `python tools/bench.py --device
cuda` measures the real times. For A and B' of 448 x 448 pixels with the default settings, the
prediction in milliseconds is:

\b
                                 networks  search    rest  device    host  expected
    vgg16-compact, RTX 4090           7.5     7.3     3.5    18.3    35.5      35.5
    vgg16-compact, H100 SXM           7.6     7.1     1.7    16.4    35.5      35.5
    vgg16 (full width), RTX 4090     53.0    53.1    10.7   116.8    33.3     116.8
    vgg16 (full width), H100 SXM     59.7    52.4     3.7   115.9    33.3     115.9
    --photo adds, RTX 4090                                   20.4    39.6      39.6
    --photo adds, H100 SXM                                   19.7    39.6      39.6

The measurement: A transfer with the compact model takes 37 to 41 ms on an H100 80GB with CUDA 13,
CuPy 14.2, ONNX Runtime 1.31 and cuDNN 9.19. The device is busy for 17 ms (networks 7.6 ms, search
7.1 ms, the rest 1.6 ms). `--photo` adds 34 ms, and the device is busy for 20 ms of them. The
measured version of the package did not remove seams yet. This tool predicts that removing them
takes 0.2 ms on the device and 1.9 ms on the host. Earlier predictions, made only from data sheets,
were wrong by factors of 2.5 for the device and 5 for the host.

What is counted: For the networks, the tool counts the operations of the convolutions and the bytes
that each node of the graphs reads and writes, as if there were no cache. Each node is one launch; a
ReLU and its convolution are one node. For the search, the simulator counts the rows of patches that
the kernels compare in pictures of 56 x 56 pixels, and the tool multiplies their number by the ratio
of the areas. (The kernels skip candidates whose distance is known or that cannot be better. In a
larger picture the field is more coherent, so that the kernels skip more than the tool assumes.) For
each product of two int16 numbers, a kernel reads 4 bytes from the first-level cache and does two
integer operations. Half of the bytes belong to patches of the source. The tool assumes that the
first-level cache has to read a third of this half, a sixth of all bytes, from the second-level
cache. For the rest, the simulator counts the bytes that the other kernels and CuPy's operations
read and write, each byte once. For photo refinement, it counts the same bytes at full size, and the
positions of the lines that `relax` and `factor` solve one after the other.

What is taken from the measurement: Convolutions reach a tenth of the speed in the data sheet. The
search reaches a twelfth of the limits of the caches and of integer operations, since the positions
that a warp computes wait for each other. Solving a position of a line takes 0.15 us. The host takes
40 us to launch a kernel or an operation of CuPy from Python, and 20 us for a node of ONNX Runtime.
(CuPy's reductions take twice as long as its other operations; the tool neglects this.) The host
runs ahead of the device, so that the slower of the two decides the time of a transfer.

What is assumed: The other kernels reach half the speed of the memory, and the smallest launch takes
3 us. Compiling, loading and planning are not counted, since they happen only once.

What follows: With the compact model the device waits for the host more than half of the time. Fewer
launches would save time. Float16 or TensorFloat-32 would not save time, since the device waits
anyway (and an RTX 4090 computes TensorFloat-32 no faster than float32). Wide convolutions should
reach a larger share of an H100's speed than the compact model's narrow ones, so a transfer at full
width should take less time than predicted.
"""  # noqa: D301  # click reads the backslash

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SIZE = 448
"""Side of the pictures whose time is predicted, in pixels."""
COUNTED = 56
"""Side of the pictures whose work is counted, in pixels."""
_SIDES = {-(-COUNTED // stride): -(-SIZE // stride) for stride in (1, 2, 4, 8, 16)}
"""Rows of a level's feature map for pictures of side COUNTED -> its rows for side SIZE."""
CONVOLVED = 0.1
"""Share (0 to 1) of the GPU's float32 operations per second that convolutions reach."""
COPIED = 0.5
"""Share (0 to 1) of the memory's bytes per second that reading and writing reach."""
SEARCHED = 0.08
"""Share (0 to 1) of the limits of caches and integer operations that the search reaches."""
LEAST = 3e-6
"""Time of the device for the smallest launch, in seconds."""
LAUNCH = 4e-5
"""Time of the host for a launch from Python, in seconds."""
NODE = 2e-5
"""Time of the host for a node of ONNX Runtime, in seconds."""
STEP = 1.5e-7
"""Time that the solver of a line needs for one position, in seconds."""
RADIUS = {"distance": -1, "propagate": -3, "random_search": -4}
"""Kernel of the search -> index, from the end, of the argument that is the patch radius."""


@dataclass(frozen=True)
class Gpu:
    """Limits of a GPU, per second, as stated in its data sheet."""

    name: str
    operations: float
    """Float32 operations per second."""
    memory: float
    """Bytes per second that the memory can transfer."""
    second: float
    """Bytes per second that the second-level cache can transfer."""
    first: float
    """Bytes per second from the first-level caches: multiprocessors x 128 bytes x clock."""
    whole: float
    """Integer operations per second: multiprocessors x 64 x clock."""


GPUS = (
    Gpu("RTX 4090", 82.6e12, 1.01e12, 5.0e12, 128 * 128 * 2.52e9, 128 * 64 * 2.52e9),
    Gpu("H100 SXM", 66.9e12, 3.35e12, 5.5e12, 132 * 128 * 1.755e9, 132 * 64 * 1.755e9),
)


class Launch(NamedTuple):
    """The work of one launch."""

    operations: float = 0
    """Float32 operations of convolutions."""
    memory: float = 0
    """Bytes that the launch reads from the memory and writes to it."""
    compared: float = 0
    """Bytes of the patches that the launch compares, read from the first-level cache."""
    steps: float = 0
    """Number of positions of a line that are solved one after the other."""

    def seconds(self, gpu: Gpu) -> float:
        convolved, copied = self.operations / gpu.operations / CONVOLVED, self.memory / gpu.memory / COPIED
        searched = max(self.compared / gpu.first, self.compared / 6 / gpu.second, self.compared / 4 * 2 / gpu.whole)
        return max(convolved, copied, searched / SEARCHED, self.steps * STEP, LEAST)


def count(model: str) -> dict[str, list[Launch]]:
    """Return part -> launches of a transfer of SIZE x SIZE pixels: "networks", "search", "rest"."""
    from simulator import SimulatedCudaBackend, device, launch

    from analogy.engine import Engine

    engine = Engine(model, backend=SimulatedCudaBackend())
    work: dict[str, list[Launch]] = {"networks": [], "search": [], "rest": []}

    def larger(shape: tuple[int, ...]) -> float:
        return float(np.prod([_SIDES.get(n, n) / n for n in shape[:2]]))

    network = engine.network.run

    def called(self: Any, grid: Any, block: Any, args: Any) -> None:
        arrays = [arg for arg in args if isinstance(arg, device.ndarray)]
        memory = sum(array.nbytes * larger(array.shape) for array in arrays)
        kind = self.name.removesuffix("_twice")
        if kind not in RADIUS:
            work["rest"].append(Launch(memory=memory))
            return
        # The sum of a row of a patch takes log2(lanes) steps. At each step, each lane exchanges one
        # value.
        rows = launch.exchanges / (block[0] * np.log2(block[0]))
        products = rows * (2 * int(args[RADIUS[kind]]) + 1) * arrays[0].shape[2]
        work["search"].append(Launch(memory=memory, compared=4 * products * larger(arrays[0].shape)))

    def operated(arrays: list[Any]) -> None:
        work["rest"].append(Launch(memory=sum(array.nbytes * larger(array.shape) for array in arrays)))

    def ran(graph: str, inputs: dict[str, Any], outputs: Any) -> Any:
        shapes = {name: [_SIDES.get(n, n) for n in array.shape] for name, array in inputs.items()}
        work["networks"] += count_graph(engine.network.folder / graph, shapes)
        return network(graph, inputs, outputs)

    engine.network.run = ran  # type: ignore[method-assign]
    with watched(called, operated):
        engine.transfer(*example(COUNTED))
    return work


def count_photo() -> list[Launch]:
    """Return the launches of photo refinement for both pictures, of SIZE x SIZE pixels."""
    from simulator import SimulatedCudaBackend, device

    from analogy.backends.cuda_steps import RELAX, STEP
    from analogy.method import photo

    work: list[Launch] = []

    def called(self: Any, grid: Any, block: Any, args: Any) -> None:
        memory = sum(array.nbytes for array in args if isinstance(array, device.ndarray))
        steps = 0.0
        if self.name == "small_steps":
            table = device.to_host(args[0]).view(STEP)["numbers"]
            # A relaxation has two half-sweeps along rows and two along columns. Each half-sweep
            # passes every second line twice, forwards and backwards.
            steps = sum(4.0 * (h + w) for kind, h, w, *_ in table.tolist() if kind == RELAX)
            memory = sum(40.0 * h * w for _, h, w, *_ in table.tolist())
            work.append(Launch(memory=memory, steps=steps))
            return
        h, w = args[0].shape[1:]
        if self.name == "relax":
            # A turn is a half-sweep, which passes its lines forwards and then backwards. The lines
            # are rows in turns 0 and 1 and columns in turns 2 and 3; with `after`, the reverse.
            after, first, turns = map(int, args[-3:])
            steps = sum(2 * (h if (turn < 2) == bool(after) else w) for turn in range(first, first + turns))
        elif self.name == "factor":
            steps = max(h, w)
        work.append(Launch(memory=memory, steps=steps))

    def operated(arrays: list[Any]) -> None:
        work.append(Launch(memory=sum(array.nbytes for array in arrays)))

    backend, pictures = SimulatedCudaBackend(), example(SIZE)
    with watched(called, operated):
        for own, other in (pictures, pictures[::-1]):
            photo.refine(backend, own, other)
    return work


@contextmanager
def watched(called: Callable[..., None], operated: Callable[[list[Any]], None]) -> Iterator[None]:
    """Call `called` at each kernel launch of the simulator, `operated` at each CuPy operation."""
    from simulator import device, launch

    call, run = launch.Kernel.__call__, device.run

    def call_and_report(self: Any, grid: Any, block: Any, args: Any) -> None:
        call(self, grid, block, args)
        called(self, grid, block, args)

    def run_and_report(function: Any, *args: Any, **kwargs: Any) -> Any:
        result = run(function, *args, **kwargs)
        operated([arg for arg in (*args, result) if isinstance(arg, device.ndarray) and arg.ndim > 1])
        return result

    launch.Kernel.__call__, device.run = call_and_report, run_and_report  # type: ignore[method-assign]
    try:
        yield
    finally:
        launch.Kernel.__call__, device.run = call, run  # type: ignore[method-assign]


def example(side: int) -> list[np.ndarray]:
    """Return the example pair, resized to `side` x `side`."""
    from analogy.apps.run import EXAMPLE_PAIR
    from analogy.pictures.images import resize
    from analogy.pictures.reading import read_picture

    return [resize(read_picture(path).rgb, side, side) for path in EXAMPLE_PAIR]


def count_graph(path: Path, inputs: dict[str, list[int]]) -> list[Launch]:
    """Return the work of each node of a graph for inputs of these shapes."""
    import onnx

    model = onnx.load(str(path))
    for value in model.graph.input:
        for dimension, n in zip(value.type.tensor_type.shape.dim, inputs[value.name], strict=True):
            dimension.Clear()
            dimension.dim_value = n
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    shapes = {value.name: [n.dim_value for n in value.type.tensor_type.shape.dim] for value in values}
    shapes |= {weights.name: list(weights.dims) for weights in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Relu":  # ONNX Runtime joins a ReLU with the convolution before it
            continue
        of_conv = (
            2.0 * np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:]) if node.op_type == "Conv" else 0
        )
        memory = sum(4.0 * np.prod(shapes[name]) for name in (*node.input, *node.output) if name)
        nodes.append(Launch(of_conv, memory))
    return nodes


def table(models: tuple[str, ...]) -> str:
    """Return the predicted milliseconds of each part on each GPU, as a table."""
    lines = [f"{'milliseconds':30}networks  search    rest  device    host  expected"]
    for model in models:
        work = count(model)
        host = NODE * len(work["networks"]) + LAUNCH * (len(work["search"]) + len(work["rest"]))
        for gpu in GPUS:
            each = [sum(launch.seconds(gpu) for launch in launches) for launches in work.values()]
            figures = (*each, sum(each), host, max(sum(each), host))
            name = f"{Path(model).name}, {gpu.name}"
            lines.append(f"{name:30}" + "".join(f"{1000 * figure:8.1f}" for figure in figures))
        total = [sum(amounts) / 1e9 for amounts in zip(*chain(*work.values()), strict=True)]
        lines.append(
            f"{', '.join(f'{len(launches)} launches for {part}' for part, launches in work.items())}; "
            f"{total[0]:.0f} G operations of convolutions, {total[1]:.1f} GB from memory, {total[2]:.0f} GB of patches"
        )
    work = count_photo()
    for gpu in GPUS:
        device, host = sum(launch.seconds(gpu) for launch in work), LAUNCH * len(work)
        figures = "".join(f"{1000 * figure:8.1f}" for figure in (device, host, max(device, host)))
        lines.append(f"{f'--photo adds, {gpu.name}':54}{figures}")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["vgg16-compact"],
    show_default=True,
    help="Name or folder of a model. The option may be given several times.",
)
def main(models: tuple[str, ...]) -> None:
    click.echo(table(models))


if __name__ == "__main__":
    main()
