"""Queue of a device: the CUDA stream that all work of this package on the device goes through.

In a process, kernels, CuPy operations and ONNX Runtime share one non-blocking stream per device.
The stream runs this work in the order in which it was started. So the input of each kernel is
complete when the kernel runs, and the host need not wait. CuPy has a current device and a current
stream for each thread. Within `active` these are the device and the stream of the queue. The work
within `active` runs after the work that the calling thread had started before, and later work of
this thread runs after it.

Checks of values on the device do not make the host wait at once. A thread requests a check with
`flag`. The results of a thread's checks are read when the thread's outermost `active` ends, or
earlier if 64 of the results are unread.

Several threads may put work into the stream. Only the runs of ONNX Runtime exclude each other
(`network_lock`): two simultaneous runs of one session would share handles of cuDNN and cuBLAS,
which cuDNN forbids.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FLAGS = 64
"""Number of checks of one thread whose flags are allocated and read together."""


class _Required(threading.local):
    """Checks that a thread has requested and whose results it has not read yet.

    Attributes
    ----------
    flags
        Array (64,) int32 on the device with one number for each check: 0, or another number if the
        check has failed. None before the first check.
    failures
        The errors to raise if the checks fail, one for each check, in the order of the flags.
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
        """Lock that a thread holds while it runs a network, so that networks run one by one."""
        with self._device:
            self.stream = xp.cuda.Stream(non_blocking=True)

    def is_active(self) -> bool:
        """Return True if the device and the stream are current in the calling thread."""
        cuda = self.xp.cuda
        return cuda.Device() == self._device and cuda.get_current_stream() == self.stream

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the device and the stream current in the calling thread until the context ends.

        The stream first waits for the work that the thread has started on two streams: the current
        stream of the current device, and the current stream of this device. At the end of the
        context, these two streams wait for the work in the context, and the device and the stream
        that were current before are current again. If a check (`flag`) has failed, the outermost
        `active` raises the error of this check.
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
        """Return a flag for a check: an int32 array on the device with the single number 0.

        If a kernel writes another number to the flag, `failure` is raised when the thread's
        outermost `active` ends, or when the thread requests a check while 64 results are unread.
        The method must be called within `active`.
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


def queue(xp: Any, index: int) -> Queue:
    """Return the queue of a device, which all backends of this process on the device share.

    These backends also share the memory pool of ONNX Runtime. That is safe only because all work
    that uses the pool is in one stream.
    """
    with _making:  # `functools.cache` alone would let two threads make two queues
        return _queue(xp, index)


_making = threading.Lock()
"""Lock that a thread holds while it gets or makes a queue."""


@functools.cache
def _queue(xp: Any, index: int) -> Queue:
    return Queue(xp, index)
