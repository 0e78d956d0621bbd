"""The queue of a device: the stream in which all that this package does on it stands in line.

The stream. Kernels, CuPy operations and ONNX Runtime share one non-blocking stream for each device of a process, so that
each waits only for its input. CuPy keeps a current device and a current stream for each thread. In `active` they are the
queue's, ordered after what the calling thread had started before; afterwards they are as they were found, and what that
thread starts next is ordered after the work in the queue.

The host. It does not wait for the device to learn whether values are as they must be: what a thread has required (`require`)
is read together when its outermost `active` ends.

Several threads. They may all put work into the stream. Only ONNX Runtime's runs take turns (`turn`): two of one session would
use the same handles of cuDNN and cuBLAS at once, which cuDNN forbids.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Required(threading.local):
    """What a thread has required and not yet read: whether it holds, on the device, and the error to raise if not."""

    def __init__(self) -> None:
        self.checks: list[tuple[Any, Exception]] = []


class Queue:
    """That of one device. Calls from several threads are safe."""

    def __init__(self, xp: Any, index: int) -> None:
        self.xp = xp
        self._device = xp.cuda.Device(index)
        self._required = _Required()
        self.turn = threading.Lock()
        """Of those who run networks."""
        with self._device:
            self.stream = xp.cuda.Stream(non_blocking=True)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the device and the stream the calling thread's own; leave both as they were found.

        The stream waits for what the thread had started on its streams, and they wait for what is started in here. At the
        end the outermost one raises what `require` found.
        """
        cuda, stream = self.xp.cuda, self.stream
        device, before = cuda.Device(), cuda.get_current_stream()
        elsewhere = device != self._device
        if not elsewhere and before == stream:
            yield
            return
        arrived = done = before.record()
        self._device.use()
        try:
            own = cuda.get_current_stream()  # each device has one
            stream.wait_event(arrived)
            if elsewhere:
                stream.wait_event(own.record())
            stream.use()
            try:
                yield
                self._settle()
            finally:
                self._required.checks = []
                own.use()
                done = stream.record()
                own.wait_event(done)
        finally:
            device.use()
            if elsewhere:
                before.wait_event(done)

    def require(self, holds: Any, failure: Exception) -> None:
        """Within `active`: raise `failure`, when the outermost ends, unless `holds` (one bool on the device) is true."""
        self._required.checks.append((holds, failure))

    def _settle(self) -> None:
        """Read what this thread has required, all at once."""
        if checks := self._required.checks:
            held = self.xp.asnumpy(self.xp.stack([holds for holds, _ in checks]))
            if not held.all():
                raise checks[int(held.argmin())][1]


@functools.cache
def queue(xp: Any, index: int) -> Queue:
    """That of a device, for all backends of the process: they share ONNX Runtime's memory, which is reused in its order."""
    return Queue(xp, index)
