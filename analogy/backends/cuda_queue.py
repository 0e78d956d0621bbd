"""Queue of a device: the CUDA stream that all work of this package on the device goes through.

Kernels, CuPy operations and ONNX Runtime share one non-blocking stream for each device of a
process. So each of them waits only for its input. CuPy has a current device and a current stream
for each thread. Within `active` these are the queue's. The work within `active` waits for the work
that the calling thread had started before, and later work of that thread waits for it.

The host does not wait for the device to learn whether values are valid. A thread asks for checks
with `flag`, and all of them are read when its outermost `active` ends.

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
"""Number of checks whose flags are allocated, and read, at once."""


class _Required(threading.local):
    """Checks of a thread that have not been read yet.

    Attributes
    ----------
    flags
        (64,) int32 on the device, one number for each check: 0, or another number if it failed.
    failures
        The errors to raise, in the order of the flags.
    """

    def __init__(self) -> None:
        self.flags: Any = None
        self.failures: list[Exception] = []


class Queue:
    """CUDA stream that all work on one device goes through; several threads may use it."""

    def __init__(self, xp: Any, index: int) -> None:
        self.xp = xp
        self._device = xp.cuda.Device(index)
        self._required = _Required()
        self.network_lock = threading.Lock()
        """Lock that is held while a network runs, because cuDNN forbids sharing a handle."""
        with self._device:
            self.stream = xp.cuda.Stream(non_blocking=True)

    def is_active(self) -> bool:
        """Return True if the device and the stream are current in the calling thread."""
        cuda = self.xp.cuda
        return cuda.Device() == self._device and cuda.get_current_stream() == self.stream

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the device and the stream current in the calling thread for the run of the context.

        The stream waits for the work that the thread had started on its own streams before. These
        streams wait for the work of the context. At the end the former device and stream are
        current again. If a check (`flag`) has failed, the outermost `active` raises its error.
        """
        if self.is_active():
            yield
            return
        cuda, stream = self.xp.cuda, self.stream
        device, before = cuda.Device(), cuda.get_current_stream()
        elsewhere = device != self._device
        required = self._required
        outer = required.flags, required.failures
        arrived = done = before.record()
        self._device.use()
        try:
            own = cuda.get_current_stream()  # each device has a current stream
            stream.wait_event(arrived)
            if elsewhere:
                stream.wait_event(own.record())
            stream.use()
            required.failures = []
            try:
                yield
                self._settle()
            finally:
                required.flags, required.failures = outer
                own.use()
                done = stream.record()
                own.wait_event(done)
        finally:
            device.use()
            if elsewhere:
                before.wait_event(done)

    def flag(self, failure: Exception) -> Any:
        """Return a flag for a check, an int32 array of one number, 0.

        If a kernel changes the number, the outermost `active` raises `failure` at its end. The
        method must be called within `active`.
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
        """Read all flags of this thread, and raise the error of the first failed check."""
        required = self._required
        if failures := required.failures:
            required.failures = []
            failed = self.xp.asnumpy(required.flags)
            if failed.any():
                raise failures[int((failed != 0).argmax())]


@functools.cache
def queue(xp: Any, index: int) -> Queue:
    """Return the process-wide queue of a device.

    All backends of the process share the queue. They also share the memory pool of ONNX Runtime,
    which is only safe if all its users are in one stream.
    """
    return Queue(xp, index)
