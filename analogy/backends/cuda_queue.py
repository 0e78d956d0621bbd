"""The queue of a device: the one CUDA stream that all work of this package on the device goes through.

Kernels, CuPy operations and ONNX Runtime share one non-blocking stream for each device of a
process, so that each waits only for its input. CuPy keeps a current device and a current stream for
each thread. Within `active` they are the queue's, and its work is ordered after what the calling
thread had started before. At the end of `active` they are what they were, and what that thread
starts next is ordered after the work in the queue.

The host does not wait for the device to learn whether values are valid: the checks that a thread
has asked for (`flag`) are read together when its outermost `active` ends.

Several threads may put work into the stream. Only the runs of ONNX Runtime exclude each other
(`network_lock`): two runs of one session would use the same handles of cuDNN and cuBLAS at once,
which cuDNN forbids.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FLAGS = 64
"""Number of checks that are read at once, and for which the device has numbers at a time."""


class _Required(threading.local):
    """The checks that a thread has asked for and not yet read.

    flags     numbers on the device, 0 until a check fails; a check has one of them
    failures  the errors to raise, in the order of their flags
    """

    def __init__(self) -> None:
        self.flags: Any = None
        self.failures: list[Exception] = []


class Queue:
    """The CUDA stream that all work on one device goes through. Calls from several threads are safe."""

    def __init__(self, xp: Any, index: int) -> None:
        self.xp = xp
        self._device = xp.cuda.Device(index)
        self._required = _Required()
        self.network_lock = threading.Lock()
        """Held while a network runs; cuDNN forbids sharing a handle."""
        with self._device:
            self.stream = xp.cuda.Stream(non_blocking=True)

    def is_active(self) -> bool:
        """Return whether the device and the stream are current in the calling thread."""
        cuda = self.xp.cuda
        return cuda.Device() == self._device and cuda.get_current_stream() == self.stream

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the device and the stream current in the calling thread, and at the end make current what was so before.

        The stream waits for what the thread had started on its own streams, and they wait for what
        is started in here. At the end, the outermost `active` raises the error of a check
        (`flag`) that failed.
        """
        if self.is_active():
            yield
            return
        cuda, stream = self.xp.cuda, self.stream
        device, before = cuda.Device(), cuda.get_current_stream()
        elsewhere = device != self._device
        arrived = done = before.record()
        self._device.use()
        try:
            own = cuda.get_current_stream()  # each device has a current stream
            stream.wait_event(arrived)
            if elsewhere:
                stream.wait_event(own.record())
            stream.use()
            try:
                yield
                self._settle()
            finally:
                self._required.failures = []
                own.use()
                done = stream.record()
                own.wait_event(done)
        finally:
            device.use()
            if elsewhere:
                before.wait_event(done)

    def flag(self, failure: Exception) -> Any:
        """Return an int32 array of one number, 0. If a kernel sets it, the outermost `active` raises `failure` at its end.

        This is called within `active`.
        """
        required = self._required
        if len(required.failures) == _FLAGS:
            self._settle()
        if not required.failures:
            required.flags = self.xp.zeros(_FLAGS, self.xp.int32)
        index = len(required.failures)
        required.failures.append(failure)
        return required.flags[index : index + 1]

    def _settle(self) -> None:
        """Read all flags of this thread at once, and raise the error of the first that is set."""
        required = self._required
        if failures := required.failures:
            required.failures = []
            failed = self.xp.asnumpy(required.flags)
            if failed.any():
                raise failures[int(failed.argmax())]


@functools.cache
def queue(xp: Any, index: int) -> Queue:
    """Return the process-wide queue of a device.

    All backends of the process share it, since they share ONNX Runtime's memory, which is reused in
    the order of the stream.
    """
    return Queue(xp, index)
