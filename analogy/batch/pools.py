"""Pools of the workers that do the jobs: processes of this machine, or workers of a Dask cluster.

Each pool is used through a `concurrent.futures.Executor`, so that the same loop can use processes
and a cluster. The service has its own pool (`apps.serve.pool`), for two reasons. An executor cannot
report the progress of a task or cancel a running task. An executor also receives pickled objects,
which are not safe to accept from a worker that decodes untrusted pictures.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import DeviceError, SettingsError, reason

GONE = "the workers or their scheduler have gone; start them, and run the same command again to continue"
"""Error for a cluster that no longer answers."""
_CLOSING_SECONDS = 10.0
"""Longest time that workers may take to delete their unfinished files at the end, in seconds."""
_CONNECTING_SECONDS = 10.0
"""Longest time to wait for a scheduler, in seconds."""
_MOST_AWAITED = 60
"""Number of processes whose ends are awaited together; Windows allows 63."""
_POLL_SECONDS = 2.0
"""Shortest time between two counts of the workers of a cluster, in seconds."""


@dataclass
class Pool:
    """Executor with the properties that the loop over all jobs needs.

    Attributes
    ----------
    executor : Executor
        The executor.
    slots : Callable
        Function that returns how many jobs may be under way at once, including submitted jobs that
        wait for a worker.
    died : type
        The exception that the future of a job raises if its worker has died.
    deaths : int
        The number of times that `died` is raised for a job before the job fails.
    local : bool
        True for processes of this machine without Dask, which share its memory.
    close : Callable
        Function that ends the workers that the pool has started: at once if its argument is true,
        and otherwise after their jobs. These workers delete their unfinished files first.
    dashboard : str
        The address of the dashboard of a Dask cluster; "" for none.
    """

    executor: Executor
    slots: Callable[[], int]
    died: type[BaseException]
    deaths: int
    local: bool
    close: Callable[[bool], None]
    dashboard: str = ""


def processes(workers: int) -> Pool:
    """Return a pool of `workers` processes on this machine.

    Each process starts when it gets its first task.
    """
    executor = _Processes(workers)
    return Pool(executor, lambda: executor.workers, BrokenProcessPool, 2, True, executor.close)


def cluster(address: str, workers: int) -> Pool:
    """Return a pool of the workers of a Dask scheduler.

    Parameters
    ----------
    address : str
        The address of the scheduler, or "local" to start one on this machine.
    workers : int
        The number of worker processes to start if `address` is "local".

    Raises
    ------
    SettingsError
        If the extra `cluster` is not installed.
    DeviceError
        If no scheduler answers.
    """
    try:
        import dask
        from distributed import Client, KilledWorker, LocalCluster
    except ImportError as error:
        raise SettingsError(
            '--scheduler needs Dask; install the extra "cluster": pip install "deep-image-analogy[cluster]"'
        ) from error
    # Dask would log many lines about a worker that has died. The loop logs one line about the job.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    local: Any = None
    try:
        if address == "local":
            with dask.config.set({"distributed.scheduler.allowed-failures": 1}), _no_interrupts():
                local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0",
                                     silence_logs=logging.CRITICAL)  # fmt: skip
        client = Client(local or address, timeout=_CONNECTING_SECONDS, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        local_failed = "the local Dask scheduler did not start"
        failed = local_failed if address == "local" else f"no Dask scheduler answers at {address}"
        raise DeviceError(
            f"{failed} ({reason(error)}); start one with `dask scheduler`, and give its address"
        ) from error

    asked, cores = 0.0, 0

    def slots() -> int:
        nonlocal asked, cores
        if time.monotonic() >= asked + _POLL_SECONDS:
            try:
                cores = sum(client.nthreads().values())
            except Exception as error:  # Dask raises errors of many types
                raise DeviceError(GONE) from error
            asked = time.monotonic()
        return 2 * cores  # a worker gets its next job before it has finished the present one

    def close(now: bool) -> None:
        with suppress(Exception):  # the scheduler may have gone
            executor.shutdown(wait=not now)
        with suppress(Exception):
            client.close(timeout=_CLOSING_SECONDS)
        if local is not None:
            with suppress(Exception):
                local.close(timeout=_CLOSING_SECONDS)

    executor = client.get_executor(pure=False)
    dashboard = client.dashboard_link if importlib.util.find_spec("bokeh") else ""
    return Pool(executor, slots, KilledWorker, 1, False, close, dashboard or "")


class _Processes(Executor):
    """Executor of processes, each in a pool of its own.

    If a process dies, only its own task fails, and the next task starts a new process.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._children: list[Any] = []
        self._pools: list[ProcessPoolExecutor] = []
        self._free: queue.SimpleQueue[ProcessPoolExecutor | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._free.put(None)  # None stands for a process that has not started

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call like any executor, but wait while all processes are busy."""
        pool = self._free.get()
        try:
            pool, future = self._submit(pool or self._start(), fn, args, kwargs)
        except BrokenProcessPool:  # the process of the pool died during or after its previous task
            pool, future = self._submit(self._start(), fn, args, kwargs)
        # A pool becomes free even if its process has died; the next task then starts a new process.
        future.add_done_callback(lambda future: self._free.put(pool))
        return future

    def close(self, now: bool) -> None:
        """End the processes, at once if `now` is True, otherwise after their tasks."""
        ends = time.monotonic() + _CLOSING_SECONDS
        while now and time.monotonic() < ends and any(child.is_alive() for child in self._children):
            for child in self._children:
                child.terminate()  # repeatedly, since Python can lose the exception that a signal raises
            alive = [child.sentinel for child in self._children if child.is_alive()]
            multiprocessing.connection.wait(alive[:_MOST_AWAITED], 0.2)
        for child in self._children if now else ():
            child.kill()
        # A signal can interrupt this process while it holds the lock of a future. The thread of the
        # future's pool then waits for ever, so that this process must not wait for the thread.
        shut = [partial(pool.shutdown, wait=True, cancel_futures=True) for pool in self._pools]
        closing = [threading.Thread(target=each, daemon=True) for each in shut]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(0.5, ends - time.monotonic()) if now else None)

    def _start(self) -> ProcessPoolExecutor:
        """Return a new pool of one process, which starts with its first task."""
        pool = ProcessPoolExecutor(1, self._context, _begin)
        self._pools.append(pool)
        return pool

    def _submit(
        self, pool: ProcessPoolExecutor, fn: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[ProcessPoolExecutor, Future[Any]]:
        """Submit a call to a pool, and record the process that it starts."""
        before = set(multiprocessing.active_children())
        try:
            with _no_interrupts():
                future = pool.submit(_call, fn, args, kwargs)  # the first submission starts the process
        except OSError as error:
            raise DeviceError(f"a worker process cannot be started ({reason(error)}); use fewer --workers") from error
        self._children += [child for child in multiprocessing.active_children() if child not in before]
        return pool, future


def _begin() -> None:
    """Make this worker process ignore Ctrl-C, and end at SIGTERM or when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end(number: int, frame: object) -> None:
    """End this worker process, as the handler of SIGTERM.

    A running task deletes its unfinished files first.
    """
    global _ending
    if not _busy:
        os._exit(128 + number)
    if not _ending:
        _ending = True
        raise SystemExit


_busy = False
"""True while this worker process has a task."""
_ending = False
"""True while this worker process deletes the unfinished files of its task."""


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Make processes that start within the context ignore Ctrl-C, which this process handles.

    On Windows the context has no effect.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function in a worker process, and end the process if SIGTERM arrives."""
    global _busy
    try:
        _busy = True
        return fn(*args, **kwargs)
    except SystemExit:
        os._exit(128 + signal.SIGTERM)
    finally:
        _busy = False
