"""The sessions of ONNX Runtime, one or a few for each graph of a model: loaded when first needed, or ahead, and kept.

A graph that no run needs is never loaded.
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
    """A session (a future of it), and the shapes of its latest run; None before it runs."""

    session: Future[Any]
    shapes: Shapes | None = None


class Sessions:
    """Cache of ONNX Runtime sessions for the graphs of one model on one backend. Calls from several threads are safe.

    A graph has up to `backend.sessions_per_graph` sessions. A run gets the session that ran the
    same shapes last, or a new one, or the one that has been idle for longest.
    """

    def __init__(self, files: ModelFiles, backend: Backend):
        self._files, self._backend = files, backend
        self._slots: dict[str, list[_Slot]] = {}
        """The sessions of each graph, the one that was used last at the end."""
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="analogy-loader")

    def load_ahead(self, graph: str) -> Future[Any]:
        """Begin to load a graph, unless that has begun. Returns a future of its session."""
        with self._lock:
            if not self._slots.get(graph):
                self._slots[graph] = [self._new(graph)]
            return self._slots[graph][-1].session

    def get(self, graph: str, shapes: Shapes) -> Any:
        """Return a session for inputs of these shapes. Each is loaded once, however many threads ask for it.

        Raises `ModelError` for a damaged file, `DeviceError` if the backend's provider cannot
        start, `MemoryLimitError`.
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
        except Exception:  # for want of memory, perhaps: the next run tries again
            with self._lock:
                if slot in slots and slot.session.done():
                    slots.remove(slot)
            raise

    def _new(self, graph: str) -> _Slot:
        return _Slot(self._loader.submit(self._load, graph))

    def _load(self, graph: str) -> Any:
        path = self._files.graph(graph)
        session = _load(path, self._backend)
        check_graph(path, self._files.card, session)
        return session


def _load(path: Path, backend: Backend) -> Any:
    onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    # Waiting threads sleep instead of spinning: a third less processor time, and no slower. And all
    # sessions take what a run needs from one memory, which they keep: taken from the system anew, a
    # third of the time would go into clearing it; with a memory for each session, or with blocks
    # planned ahead for each size of picture, they would keep half as much again.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    share_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    threads = getattr(backend, "threads", None)
    if threads:
        options.intra_op_num_threads = threads
    try:
        # Without a fallback, of which it would tell on standard output.
        session = onnxruntime.InferenceSession(str(path), options, providers=backend.providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        why = first_line(error)
        raise shortage(error) or ModelError(
            f"{path} is not a model that ONNX Runtime can load; it may be damaged: {why}"
        ) from error
    wanted = first_provider(backend.providers)
    if session.get_providers()[0] != wanted:
        raise DeviceError(f"ONNX Runtime could not start {wanted} and offers {session.get_providers()[0]} instead")
    return session


def shortage(error: BaseException) -> MemoryLimitError | None:
    """Return the error to raise if ONNX Runtime had too little memory, for which it has no exception of its own; else None."""
    if not is_shortage(error):
        return None
    return MemoryLimitError(
        f"the network needs more memory than there is ({first_line(error)}); lower max_pixels, or close other programs"
    )
