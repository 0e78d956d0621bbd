"""Counters of kernel launches and network runs on the simulated device."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest

from analogy.method import sessions

from . import device, launch


def count_launches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return a counter of the kernels and CuPy operations, by name, that start after the call.

    An operation whose result shares memory with an argument only makes a view, so it is not
    counted. The kernels of ONNX Runtime are not counted either.
    """
    counts: Counter[str] = Counter()
    call, run, assign = launch.Kernel.__call__, device.run, device.ndarray.__setitem__

    def counting_call(kernel: launch.Kernel, *arguments: Any) -> None:
        counts[kernel.name] += 1
        call(kernel, *arguments)

    def counting_run(function: Any, *arguments: Any, **options: Any) -> device.ndarray:
        result = run(function, *arguments, **options)
        given = [device.unwrap(value) for value in (*arguments, *options.values()) if isinstance(value, device.ndarray)]
        written = "out" in options or function.__name__.startswith("__i")
        if written or not any(np.may_share_memory(device.unwrap(result), array) for array in given):
            counts[function.__name__] += 1
        return result

    def counting_assign(array: device.ndarray, key: object, value: object) -> None:
        counts["assignment"] += 1
        assign(array, key, value)

    monkeypatch.setattr(launch.Kernel, "__call__", counting_call)
    monkeypatch.setattr(device, "run", counting_run)
    monkeypatch.setattr(device.ndarray, "__setitem__", counting_assign)
    return counts


class Counts:
    """Counts of the runs of all ONNX Runtime sessions that are loaded after this object is made.

    Attributes
    ----------
    runs : int
        Number of runs of any network.
    waits : int
        Number of runs at whose end ONNX Runtime would wait for a GPU.
    plans : int
        Number of runs of a session with other shapes than in its previous run. On a GPU, such a run
        plans every convolution again.
    most : int
        Largest number of runs at the same time.
    bindings : list
        (name, device, number of the device) of each array that was bound.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.bindings: list[tuple[str, str, int]] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.overlap: threading.Event | None = None
        self.forget()
        load = sessions.load_session
        monkeypatch.setattr(sessions, "load_session", lambda path, backend: _Session(load(path, backend), self))

    def forget(self) -> None:
        self.runs = self.waits = self.plans = 0


class _Session:
    def __init__(self, session: Any, counts: Counts):
        self._session, self._counts = session, counts
        self._shapes: object = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def io_binding(self) -> _Binding:
        return _Binding(self._session.io_binding(), self._counts)

    def run_with_iobinding(self, binding: _Binding, options: Any) -> None:
        counts = self._counts
        with counts.lock:
            counts.now += 1
            counts.most = max(counts.most, counts.now)
            counts.runs += 1
            counts.waits += not _unsynchronised(options)
            counts.plans += binding.shapes != self._shapes
            self._shapes = binding.shapes
            if counts.overlap and counts.now > 1:
                counts.overlap.set()
        if counts.overlap:
            counts.overlap.wait(0.05)  # gives another run time to begin, unless something prevents it
        try:
            self._session.run_with_iobinding(binding.binding, options)
        finally:
            with counts.lock:
                counts.now -= 1


class _Binding:
    def __init__(self, binding: Any, counts: Counts):
        self.binding, self._counts = binding, counts
        self.shapes: list[tuple[int, ...]] = []

    def bind_input(self, name: str, device: str, index: int, kind: Any, shape: tuple[int, ...], pointer: int) -> None:
        self.shapes.append(shape)
        self._counts.bindings.append((name, device, index))
        self.binding.bind_input(name, device, index, kind, shape, pointer)

    def bind_output(self, name: str, device: str, index: int, *rest: Any) -> None:
        self._counts.bindings.append((name, device, index))
        self.binding.bind_output(name, device, index, *rest)


def _unsynchronised(options: Any) -> bool:
    try:
        return bool(options.get_run_config_entry("disable_synchronize_execution_providers") == "1")
    except RuntimeError:  # the option is not set
        return False
