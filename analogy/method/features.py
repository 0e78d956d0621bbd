"""Networks in ONNX Runtime: the feature pyramid, and the step and the objective of the inversion.

ONNX Runtime reads and writes the backend's arrays by address (IOBinding), without a copy, on the
CPU and on the GPU. The module `sessions` loads the graphs.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import Array, Backend, Size
from ..backends.runtime import FATAL, import_runtime
from ..errors import ModelError, first_line
from ..networks.checks import ModelFiles
from ..networks.models import PROJECTION, open_model
from ..settings import Settings
from .sessions import Sessions, shortage

LEVELS = (5, 4, 3, 2, 1)
"""Levels from coarse to fine. Level L is the feature map relu(L)_1, with stride 2 ** (L - 1)."""

_MOST_RUNS = 64
"""Maximum number of simultaneous runs of one network; further callers wait."""
_LARGEST_PROJECTION = 1 << 26
"""Largest accepted size of all projections of a model together, in bytes."""


def level_size(size: Size, level: int) -> Size:
    """Return the rows and columns of a level's feature map for a picture of `size`.

    Pooling rounds sizes up: if the number of rows or columns is odd, the last of them is pooled
    alone.
    """
    stride = 2 ** (level - 1)
    return -(-size[0] // stride), -(-size[1] // stride)


class Features:
    """Network of a model folder, run on a backend; several threads may use it at the same time.

    Parameters
    ----------
    folder
        The model folder.
    backend
        The backend that runs the network.
    sessions
        Object with the methods of `Sessions`, from which the network gets the ONNX Runtime session
        of each graph; None for a new `Sessions` of the folder.

    Raises
    ------
    ModelError
        If a file of the folder cannot be loaded, or if its checksum is not that in the card.
    DeviceError
        If ONNX Runtime cannot start the backend's provider.
    """

    def __init__(self, folder: Path, backend: Backend, sessions: Sessions | None = None):
        self.folder = folder
        self.backend = backend
        self._runtime = import_runtime()
        self._files = open_model(folder)
        self.card = self._files.card
        self.projections = _read_projections(self._files, backend)
        self.search_widths = {level: self._search_width(level) for level in LEVELS}
        self._sessions = sessions or Sessions(self._files, backend)
        # A pool reuses the threads that run the network, because the C library allocates memory for
        # each new thread, and does not free it when the thread ends.
        self._runners = ThreadPoolExecutor(_MOST_RUNS, thread_name_prefix="analogy-network")

    def pyramid(self, pixels: Array) -> dict[int, Array]:
        """Return the features of a picture at all levels.

        Parameters
        ----------
        pixels
            (H, W, 3) RGB, uint8, or float32 in 0..1.

        Returns
        -------
        pyramid
            Level -> (ceil(H / s), ceil(W / s), C) float32, where s = 2 ** (level - 1).
        """
        xp = self.backend.xp
        shapes: dict[str, tuple[int, ...]] = {
            f"relu{level}_1": (1, width, *level_size(pixels.shape[:2], level))
            for level, width in zip(reversed(LEVELS), self.card.widths, strict=True)
        }
        with self.backend.active():
            x = nchw(xp, as_floats(self.backend, pixels))
            maps = self.run("features.onnx", {"image": x}, shapes)
            self.require_finite("features.onnx", *maps.values())
            return {level: self.backend.channels_last(maps[f"relu{level}_1"]) for level in LEVELS}

    def load_ahead(self, settings: Settings) -> list[Future[Any]]:
        """Begin to load the graphs of a transfer in another thread, and return futures of sessions.

        The graphs are loaded in the order in which a transfer runs them.
        """
        kind = {"step": "step", "deconvolution": "invert"}.get(settings.inversion)
        graphs = ("features.onnx", *(f"{kind}_{level}.onnx" for level in LEVELS[:-1] if kind))
        return [self._sessions.load_ahead(graph) for graph in graphs]

    def _search_width(self, level: int) -> int:
        """Return the number of channels that the search compares at a level."""
        projection = self.projections.get(level)
        return self.card.widths[level - 1] if projection is None else projection.shape[1]

    def for_search(self, level: int, features: Array) -> Array:
        """Return features (H, W, C) of a level in the form that the search compares.

        If the model has a projection (C, k) for the level, the features are multiplied by it, and
        the result is (H, W, k). If not, the features are returned unchanged.
        """
        projection = self.projections.get(level)
        return features if projection is None else self.backend.project(features, projection)

    def step(self, level: int, start: Array, target: Array, size: Size) -> Array:
        """Return features relu(L-1)_1 that one gradient step on the objective of level L gives.

        `networks.export.build_step` defines the step. All arrays are float32, channels last.

        Parameters
        ----------
        level
            L, from 5 to 2.
        start
            Features relu(L-2)_1, or the picture if L = 2.
        target
            Features relu(L)_1 that the network should compute from the result of the step.
        size
            Rows and columns of level L - 1.
        """
        graph = f"step_{level}.onnx"
        outputs: dict[str, tuple[int, ...]] = {"reconstruction": (1, *size, self.card.widths[level - 2])}
        with self.backend.active():
            found: Array = self.run(graph, {"start": start[None], "target": target[None]}, outputs)["reconstruction"][0]
            self.require_finite(graph, found)
            return found

    def objective(self, level: int, target: Array, size: Size) -> Objective:
        """Return the objective of level L for a target (1, C, H, W) float32.

        L is `level`, and `size` has the rows and columns of level L - 1.
        """
        return Objective(self, level, target, (1, self.card.widths[level - 2], *size))

    def run(self, graph: str, inputs: dict[str, Array], outputs: dict[str, tuple[int, ...]]) -> dict[str, Array]:
        """Run a graph, and return its outputs.

        `inputs` are the arrays of the inputs by name, `outputs` the shapes of the outputs by name.
        All arrays are float32 and belong to the backend.
        """
        backend, xp = self.backend, self.backend.xp
        session = self._sessions.get(graph, tuple(array.shape for array in inputs.values()))
        with backend.active():
            inputs = {name: backend.asarray(array) for name, array in inputs.items()}
            results = {name: xp.empty(shape, xp.float32) for name, shape in outputs.items()}
            binding = session.io_binding()
            for arrays, bind in ((inputs, binding.bind_input), (results, binding.bind_output)):
                for name, array in arrays.items():
                    bind(name, backend.name, backend.index, np.float32, array.shape, backend.pointer(array))
            self._run_interruptibly(graph, session, binding, (inputs, results))
            return results

    def require_finite(self, graph: str, *maps: Array) -> None:
        """Raise `ModelError` if an output of a graph has a value that is not finite.

        `Backend.require_finite` says when the error is raised.
        """
        failure = ModelError(f"{self.folder / graph} gives values that are not finite; {self._files.cure}")
        self.backend.require_finite(maps, failure)

    def _run_interruptibly(self, graph: str, session: Any, binding: Any, arrays: Any) -> None:
        """Run a session in another thread, so that Ctrl-C can end the run.

        A single call of a large network takes seconds, and Python cannot handle Ctrl-C while
        the main thread is in such a call. The other thread also has a reference to the arrays. So
        their memory is not freed before the run has ended, even if a second Ctrl-C makes the main
        thread stop waiting for the run.
        """
        options = self._runtime.RunOptions()
        options.log_severity_level = FATAL
        run: Future[None] | None = None
        try:
            run = self._runners.submit(_run, self.backend, session, binding, options, arrays)
            run.result()
        except BaseException as error:
            options.terminate = True
            if run and not run.cancel() and run.exception() is error:  # `exception` waits until the run has ended
                raise self._failure(graph, error) from error
            raise

    def _failure(self, graph: str, error: BaseException) -> Exception:
        """Return the error to raise for a graph that failed."""
        return shortage(error) or ModelError(
            f"{self.folder / graph} failed while it ran ({first_line(error):.300}); {self._files.cure}"
        )


def _run(backend: Backend, session: Any, binding: Any, options: Any, arrays: Any) -> None:
    backend.run_network(session, binding, options)


class Objective:
    """Objective ||relu(L)_1(x) - target||^2, where x is relu(L-2)_1, or a picture (section 4.3).

    x is a picture if L is 2. Arrays are (1, C, H, W) float32. A call with x returns (loss,
    gradient) for L-BFGS, where the loss is an array of one number. The caller reads this number,
    and calls `on_loss` with it before the next call.

    Attributes
    ----------
    least
        The smallest loss so far.
    between
        The features relu(L-1)_1 of the x with the smallest loss. Every call computes them, since
        every x may be the best.
    """

    def __init__(self, network: Features, level: int, target: Array, shape: tuple[int, ...]):
        self.network, self.level, self.target, self.shape = network, level, target, shape
        self.graph = f"invert_{level}.onnx"
        self.least = np.inf
        self.between: Array = None
        self._latest: Array = None

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Return the loss and the gradient at x."""
        outputs = {"loss": (), "gradient": x.shape, "between": self.shape}
        result = self.network.run(self.graph, {"x": x, "target": self.target}, outputs)
        self._latest = result["between"]
        return result["loss"], result["gradient"]

    def on_loss(self, loss: float) -> None:
        """Keep the features `between` of the latest x if its loss is the smallest so far."""
        if loss < self.least or self.between is None:
            self.least, self.between = loss, self._latest


def _read_projections(files: ModelFiles, backend: Backend) -> dict[int, Array]:
    """Return level -> projection (C, k) float32; an empty dict if the card lists none."""
    if PROJECTION not in files.card.sha256:
        return {}
    path = files.path(PROJECTION)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            size = sum(entry.file_size for entry in arrays.zip.infolist())
            if size > _LARGEST_PROJECTION:
                raise ValueError(f"its arrays have {size} bytes; at most {_LARGEST_PROJECTION} are allowed")
            found = {int(name.removeprefix("level")): np.asarray(arrays[name]) for name in arrays.files}
    except Exception as error:  # damaged files make NumPy raise exceptions of many classes
        raise ModelError(f"{path} cannot be read; it may be damaged: {first_line(error)}") from error
    for level, matrix in found.items():
        if level not in LEVELS:
            raise ModelError(f"{path} has an array 'level{level}'; its arrays must be named level1 to level5")
        width = files.card.widths[level - 1]
        fits = matrix.ndim == 2 and matrix.shape[0] == width and 1 <= matrix.shape[1] <= width
        if not fits or matrix.dtype != np.float32 or not np.isfinite(matrix).all():
            raise ModelError(
                f"{path}: level{level} is {matrix.dtype} {matrix.shape}; it must be a finite float32 array "
                f"with {width} rows and 1 to {width} columns"
            )
    return {level: backend.asarray(matrix) for level, matrix in found.items()}


def as_floats(backend: Backend, picture: Array) -> Array:
    """Return a picture (H, W, 3) uint8 or uint16 as float32 in 0..1, an array of the backend.

    The values of a float32 picture are returned unchanged.
    """
    if picture.dtype == np.float32:
        return backend.asarray(picture)
    white = np.float32(np.iinfo(picture.dtype).max)
    return backend.xp.divide(backend.asarray(picture), white, dtype=np.float32)  # without a temporary array


def nchw(xp: Any, features: Array) -> Array:
    """Return features (H, W, C) as a C-contiguous array (1, C, H, W)."""
    return xp.ascontiguousarray(features.transpose(2, 0, 1)[None])
