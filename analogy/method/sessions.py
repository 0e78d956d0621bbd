"""Sessions of ONNX Runtime for the graphs of a model, loaded once and kept for further runs.

A graph is loaded when a run needs it, or earlier by `load_ahead`.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backends import Backend
from ..backends.runtime import FATAL, first_provider, import_runtime, share_memory
from ..errors import DeviceError, MemoryLimitError, ModelError, first_line, is_shortage
from ..networks.checks import ModelFiles, check_graph

Shapes = tuple[tuple[int, ...], ...]
"""Shapes of the inputs of a graph."""


@dataclass(eq=False)
class _Slot:
    """Future of a session, and the input shapes of its latest run (None before the first run)."""

    session: Future[Any]
    shapes: Shapes | None = None

    def has_failed(self) -> bool:
        """Return whether the session could not be loaded."""
        return self.session.done() and self.session.exception() is not None


class Sessions:
    """Cache of ONNX Runtime sessions for the graphs of one model on one backend.

    Several threads may use it. A graph has up to `backend.sessions_per_graph` sessions. A run gets
    a session that has not run yet, or whose latest run had the same input shapes. If there is no
    such session, the run gets a new session or, if the graph has the maximum number of sessions,
    the least recently used session.
    """

    def __init__(self, files: ModelFiles, backend: Backend):
        self._files, self._backend = files, backend
        self._slots: dict[str, list[_Slot]] = {}
        """Graph -> its sessions, the least recently used session first."""
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="analogy-loader")

    def load_ahead(self, graph: str) -> Future[Any]:
        """Return the future of a session of a graph, and begin to load one if there is none.

        A session that could not be loaded is loaded again.
        """
        with self._lock:
            slots = [slot for slot in self._slots.get(graph, []) if not slot.has_failed()] or [self._new(graph)]
            self._slots[graph] = slots
            return slots[-1].session

    def get(self, graph: str, shapes: Shapes) -> Any:
        """Return a session of a graph for inputs of these shapes.

        Several threads that ask for the same session load it once. Raises the errors of
        `load_session`, and `ModelError` if the graph's files or its inputs and outputs do not fit
        the card.
        """
        with self._lock:
            slots = self._slots.setdefault(graph, [])
            slot = next((slot for slot in slots if slot.shapes == shapes or slot.shapes is None), None)
            if slot is None:
                room = len(slots) < self._backend.sessions_per_graph
                slot = self._new(graph) if room else slots[0]
            slot.shapes = shapes
            if slot in slots:
                slots.remove(slot)
            slots.append(slot)
        try:
            return slot.session.result()
        except Exception:  # the next run loads the graph again, since memory may be free then
            with self._lock:
                if slot in slots and slot.session.done():
                    slots.remove(slot)
            raise

    def _new(self, graph: str) -> _Slot:
        return _Slot(self._loader.submit(self._load, graph))

    def _load(self, graph: str) -> Any:
        path = self._files.graph(graph)
        session = load_session(path, self._backend)
        check_graph(path, self._files.card, session)
        return session


def load_session(path: Path, backend: Backend) -> Any:
    """Load the graph of a file into a new session of ONNX Runtime for a backend.

    Raises `ModelError` for a damaged file, `DeviceError` if the backend's provider cannot start,
    and `MemoryLimitError` if there is too little memory.
    """
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    # Waiting threads sleep instead of spinning, which takes a third less processor time and is not
    # slower. All sessions share one pool of memory. Without a pool, a third of the time would go
    # into clearing pages that the system newly allocates. With a pool for each session, or with a
    # memory pattern for each size of picture, the sessions would hold 1.5 times as much memory.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    # The weights get memory outside the pool. On a GPU, a part of the pool may be free although
    # pending kernels of another session still use it. That is safe for work in the stream of this
    # device, but ONNX Runtime copies weights to the device in another stream.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    threads = getattr(backend, "threads", None)
    if threads:
        options.intra_op_num_threads = threads
    try:
        # Without `enable_fallback=0`, ONNX Runtime would print errors to standard output.
        session = onnxruntime.InferenceSession(str(path), options, providers=backend.providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        why = first_line(error)
        raise shortage(error) or ModelError(
            f"{path} is not a model that ONNX Runtime can load; it may be damaged: {why}"
        ) from error
    wanted = first_provider(backend.providers)
    if session.get_providers()[0] != wanted:
        raise DeviceError(
            f"ONNX Runtime could not start {wanted} and uses {session.get_providers()[0]} instead; run analogy info to "
            "see why"
        )
    return session


def shortage(error: BaseException) -> MemoryLimitError | None:
    """Return the error to raise if ONNX Runtime had too little memory, else None.

    ONNX Runtime has no exception of its own for this case.
    """
    if not is_shortage(error):
        return None
    return MemoryLimitError(
        f"the network needs more memory than there is ({first_line(error)}); lower max_pixels, or close other programs"
    )
