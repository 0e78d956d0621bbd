"""The workers that do the jobs: processes of this machine, or the workers of a Dask cluster.

Either is a `concurrent.futures.Executor`, so that one loop serves both. The service has a pool of
its own (`apps.serve.pool`), since an executor can neither report the progress of a task nor cancel
one that runs, and sends Python objects, which nobody may accept from a worker that decodes the
pictures of strangers.
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
from typing import Any

from ..errors import DeviceError, SettingsError, reason

GONE = "the workers or their scheduler are gone; start them, then run the same command: it goes on"
_LAST_MOMENTS = 10.0
"""Seconds that a worker has to delete the files that it is writing, before it is killed."""
_CONNECTING = 10.0
"""Seconds to wait for a scheduler."""
_POLL = 2.0
"""Seconds after which a cluster is asked again how many workers it has."""


@dataclass
class Pool:
    """An executor, and what the loop over all jobs has to know about it.

    slots      returns how many jobs to have in flight at this moment
    died       the error of a future whose worker died
    deaths     after how many such errors a job is given up
    local      whether its workers share the memory of this machine
    close      ends the workers, at once if the argument is true; the files that they are writing are deleted
    dashboard  the address of the page about a Dask cluster; empty if there is none
    """

    executor: Executor
    slots: Callable[[], int]
    died: type[BaseException]
    deaths: int
    local: bool
    close: Callable[[bool], None]
    dashboard: str = ""


def processes(workers: int) -> Pool:
    """Return a pool of `workers` processes on this machine, each of which starts when it is first needed."""
    executor = _Processes(workers)
    return Pool(executor, lambda: executor.workers, BrokenProcessPool, 2, True, executor.close)


def cluster(address: str, workers: int) -> Pool:
    """Return a pool of the workers of the Dask scheduler at `address`.

    For "local" it starts a scheduler on this machine, with `workers` processes.

    Raises `SettingsError` without the extra, `DeviceError` if there is no scheduler.
    """
    try:
        import dask
        from distributed import Client, KilledWorker, LocalCluster
    except ImportError as error:
        raise SettingsError(
            '--scheduler needs Dask, the extra "cluster": pip install "deep-image-analogy[cluster]"'
        ) from error
    for name in ("distributed", "distributed.client"):  # what they log of workers that die; the loop logs one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    local: Any = None
    try:
        if address == "local":
            with dask.config.set({"distributed.scheduler.allowed-failures": 1}), _no_interrupts():
                local = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0",
                                     silence_logs=logging.CRITICAL)  # fmt: skip
        client = Client(local or address, timeout=_CONNECTING, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"no Dask scheduler answers at {address} ({reason(error)}); start one with `dask scheduler`"
        ) from error

    asked, cores = 0.0, 0

    def slots() -> int:
        nonlocal asked, cores
        if time.monotonic() >= asked + _POLL:
            try:
                cores = sum(client.nthreads().values())
            except Exception as error:  # of many kinds
                raise DeviceError(GONE) from error
            asked = time.monotonic()
        return 2 * cores  # so that none waits for its next job

    def close(now: bool) -> None:
        with suppress(Exception):  # a scheduler that is gone
            executor.shutdown(wait=not now)
        with suppress(Exception):
            client.close(timeout=_LAST_MOMENTS)
        if local is not None:
            with suppress(Exception):
                local.close(timeout=_LAST_MOMENTS)

    executor = client.get_executor(pure=False)
    dashboard = client.dashboard_link if importlib.util.find_spec("bokeh") else ""
    return Pool(executor, slots, KilledWorker, 1, False, close, dashboard or "")


class _Processes(Executor):
    """An executor of processes, each in a pool of its own.

    Where a process dies, its own task fails and the others go on; the next task gets a new process.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._context = multiprocessing.get_context("spawn")
        self._children: list[Any] = []
        self._pools: list[ProcessPoolExecutor] = []
        self._free: queue.SimpleQueue[ProcessPoolExecutor | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._free.put(None)  # a place for a process that is not yet there

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call as any executor does, but wait while all processes are busy."""
        pool = self._free.get()
        try:
            pool, future = self._submit(pool or self._start(), fn, args, kwargs)
        except BrokenProcessPool:  # its process has died, with the task before or without one
            pool, future = self._submit(self._start(), fn, args, kwargs)
        future.add_done_callback(lambda future: self._free.put(pool))  # if it is broken, the next task finds that out
        return future

    def close(self, now: bool) -> None:
        """End the processes: now, or when they have finished their tasks."""
        ends = time.monotonic() + _LAST_MOMENTS
        while now and time.monotonic() < ends and any(child.is_alive() for child in self._children):
            for child in self._children:
                child.terminate()  # again and again: Python loses an exception in the middle of its own work
            alive = [child.sentinel for child in self._children if child.is_alive()]
            multiprocessing.connection.wait(alive, 0.2)
        for child in self._children if now else ():
            child.kill()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, self._context, _begin)
        self._pools.append(pool)
        return pool

    def _submit(
        self, pool: ProcessPoolExecutor, fn: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[ProcessPoolExecutor, Future[Any]]:
        before = set(multiprocessing.active_children())
        try:
            with _no_interrupts():
                future = pool.submit(_call, fn, args, kwargs)  # the first one starts the process
        except OSError as error:
            raise DeviceError(
                f"a worker process cannot be started ({reason(error)}); say a smaller --workers"
            ) from error
        self._children += [child for child in multiprocessing.active_children() if child not in before]
        return pool, future


def _begin() -> None:
    """Prepare a worker process: it handles SIGTERM, ignores Ctrl-C, and ends with the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end(number: int, frame: object) -> None:
    global _ending
    if not _busy:
        os._exit(128 + number)
    if not _ending:
        _ending = True
        raise SystemExit


_busy = _ending = False
"""Whether this worker process has a task; and whether it is ending, and deletes the files of that task."""


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Start processes in the block so that Ctrl-C never reaches them, not even while they begin; this process handles it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function in a worker process; at SIGTERM, delete the files that it is writing, and end the process."""
    global _busy
    try:
        _busy = True
        return fn(*args, **kwargs)
    except SystemExit:
        os._exit(128 + signal.SIGTERM)
    finally:
        _busy = False
