"""A second Ctrl-C during a transfer: arrays are not freed while a thread still writes to them."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from fixed_sessions import FixedSession

from analogy.backends import compiled
from analogy.backends.cpu import CpuBackend
from analogy.method.features import Features
from analogy.networks.models import DEFAULT, locate

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals to a thread")


class Slow:
    """Work in another thread that ends only when the test sets `may_end`."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> None:
        self.begun.set()
        self.may_end.wait(60)


def interrupt(work: Callable[[], object], slow: Slow) -> None:
    """Begin `work`, and send interrupts until the main thread no longer waits for `slow`.

    Two interrupts are enough, except on a busy machine.
    """
    main, ended = threading.main_thread().ident, threading.Event()

    def send() -> None:
        slow.begun.wait(60)
        while not ended.wait(0.2):
            signal.pthread_kill(main, signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        try:
            work()
        finally:
            ended.set()
    except KeyboardInterrupt:
        pass
    else:
        pytest.fail("was not interrupted")
    while sender.is_alive():
        with suppress(KeyboardInterrupt):  # the last interrupt may arrive after `work` has ended
            sender.join(0.1)
    gc.collect()


def until_freed(arrays: list[weakref.ref]) -> None:
    until = time.monotonic() + 30
    while any(array() is not None for array in arrays):
        assert time.monotonic() < until, "the arrays were not freed within 30 s"
        gc.collect()
        time.sleep(0.01)


class SlowSession:
    def __init__(self, slow: Slow):
        self.run_with_iobinding = slow

    def io_binding(self) -> SlowSession:
        return self

    def bind_input(self, *arguments: Any) -> None:
        pass

    bind_output = bind_input


def test_arrays_outlive_a_run_of_the_network_whose_waiting_is_interrupted_twice(monkeypatch) -> None:
    slow, arrays = Slow(), list[weakref.ref]()
    network = Features(locate(DEFAULT), CpuBackend(1), sessions=FixedSession(SlowSession(slow)))
    monkeypatch.setattr(CpuBackend, "pointer", lambda backend, array: arrays.append(weakref.ref(array)))
    interrupt(lambda: network.run("slow.onnx", {"x": np.zeros(1000, np.float32)}, {"y": (1000,)}), slow)
    assert len(arrays) == 2
    assert all(array() is not None for array in arrays)
    slow.may_end.set()
    until_freed(arrays)


def test_an_interrupted_run_of_the_network_is_ended_and_waited_for(monkeypatch) -> None:
    begun, ended = threading.Event(), threading.Event()

    class Obedient(SlowSession):
        """Session whose run ends 0.2 s after the run has been told to terminate."""

        def run_with_iobinding(self, binding: Any, options: Any) -> None:
            begun.set()
            while not options.terminate:
                time.sleep(0.01)
            time.sleep(0.2)
            ended.set()

    def interrupt_once() -> None:
        begun.wait(60)
        time.sleep(0.2)  # by then the main thread waits for the run
        signal.pthread_kill(main, signal.SIGINT)

    main, session = threading.main_thread().ident, object.__new__(Obedient)
    network = Features(locate(DEFAULT), CpuBackend(1), sessions=FixedSession(session))
    sender = threading.Thread(target=interrupt_once)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        network.run("slow.onnx", {"x": np.zeros(1000, np.float32)}, {"y": (1000,)})
    assert ended.is_set()
    sender.join()


def test_arrays_outlive_a_kernel_whose_waiting_is_interrupted_twice(monkeypatch) -> None:
    slow = Slow()
    monkeypatch.setattr(compiled, "load", lambda module: {"vote": slow})
    made = [np.zeros((40, 40, 2), np.int32), np.zeros((40, 40, 8), np.float32)]
    arrays = [weakref.ref(array) for array in made]
    interrupt(lambda: CpuBackend(2).vote(made.pop(0), made.pop(0), 3), slow)
    assert made == []
    assert all(array() is not None for array in arrays)
    slow.may_end.set()
    until_freed(arrays)
