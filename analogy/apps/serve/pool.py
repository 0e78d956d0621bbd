"""The workers of the service, and the queue before them.

All of this runs in the service's event loop, but for a thread for each worker, which waits for its
messages. It is not the pool of a batch (`batch.pools`), an executor in whose place a Dask cluster
can be: the service follows and cancels jobs that run, and takes nothing but JSON from its workers,
since they decode the pictures of strangers.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from ...engine_arguments import EngineArguments
from ...errors import ModelError
from . import worker
from .jobs import Job, Jobs, State
from .limits import Limits
from .metrics import Metrics

_log = logging.getLogger("analogy.serve")
_spawn = multiprocessing.get_context("spawn")

ENDING = "the service is being shut down; ask again later"
"""The answer to clients whose job will not be done."""
CANCEL_GRACE_SECONDS = 5.0
"""Seconds that a worker has to give up a cancelled job; after that its process is killed."""
_READING = "reading"
"""The stage in which a job's pictures are decoded."""
_SLOWEST_START = 30.0
"""Most seconds between two attempts to start a worker that ends while it starts."""


class _Worker:
    """A process, the pipe to it, and the job that it works on."""

    def __init__(self, pool: Pool):
        ours, theirs = _spawn.Pipe()
        self.connection, self.ready = ours, False
        self.job: Job | None = None
        self.timer: asyncio.TimerHandle | None = None
        """Kills the worker if its job takes too long."""
        self.why, self.status = "", 500
        """The problem of the job of a worker that is being killed: its text, and its status of HTTP."""
        arguments = (theirs, pool.engine, pool.limits.worker_bytes)
        self.process = _spawn.Process(target=worker.run, args=arguments, daemon=True, name="analogy-worker")
        self.process.start()
        theirs.close()
        loop = asyncio.get_running_loop()

        def listen() -> None:
            with suppress(RuntimeError):  # the loop is closed
                with suppress(EOFError, OSError, ValueError):
                    while True:
                        loop.call_soon_threadsafe(pool.on_message, self, worker.receive(ours))
                self.process.join()
                loop.call_soon_threadsafe(pool.on_end, self)

        threading.Thread(target=listen, daemon=True, name="analogy-worker").start()

    def send(self, *message: Any) -> None:
        with suppress(OSError):  # its process has ended; `on_end` follows
            worker.send(self.connection, *message)

    def end(self, why: str, status: int = 500) -> None:
        self.why, self.status = why, status
        worker.end_at_once(self.process.pid or 0)


class Pool:
    """The queue of jobs, and the workers that take them in their order; a worker that ends is replaced.

    engine  the engine of each worker
    """

    def __init__(self, jobs: Jobs, limits: Limits, engine: EngineArguments, metrics: Metrics):
        self.jobs, self.limits, self.engine, self.metrics = jobs, limits, engine, metrics
        self.receiving = 0
        """Requests whose pictures are being received."""
        self.closing = False
        self.dropped = 0
        self._queue: deque[Job] = deque()
        self._workers: list[_Worker] = []
        self._failures = 0
        self._first_ready: asyncio.Future[None] | None = None
        """Done as soon as a worker is ready, or, with its error, cannot be."""
        self._seconds = 1.0
        """Seconds that a job takes, a moving mean."""

    async def start(self) -> None:
        """Start the workers, and wait until one is ready. Raises `ModelError` if none can be."""
        self._first_ready = asyncio.get_running_loop().create_future()
        for _ in range(self.limits.workers):
            self._workers.append(_Worker(self))
        await self._first_ready

    @property
    def ready(self) -> int:
        """The number of workers that are ready or at work."""
        return sum(each.ready for each in self._workers)

    @property
    def running(self) -> int:
        return sum(each.job is not None for each in self._workers)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        return self.receiving + self.waiting >= self.limits.queue

    def retry_after(self) -> int:
        """Return the seconds after which the queue will have a place again, roughly."""
        return max(1, round(self._seconds * (1 + self.waiting / max(1, self.limits.workers))))

    def place(self, job: Job) -> int:
        """Return how many jobs are before this one."""
        return self._queue.index(job) if job in self._queue else 0

    def submit(self, job: Job) -> None:
        """Add a job to the queue, or fail it at once if the service ends."""
        if self.closing:
            job.problem = 503, ENDING
            self._close(job, "failed")
            return
        self._queue.append(job)
        self._dispatch()

    def cancel(self, job: Job) -> None:
        """End a job. For clients that wait for it, it has ended at once."""
        if job.ended:
            return
        if job in self._queue:
            self._queue.remove(job)
            self._close(job, "cancelled")
            return
        for each in self._workers:
            if each.job is job:
                job.state = "cancelled"
                job.tell()
                each.send("cancel", job.id)
                asyncio.get_running_loop().call_later(CANCEL_GRACE_SECONDS, self._end_if_still_at, each, job, "")

    async def drain(self, seconds: float) -> None:
        """Take no more jobs, drop those that wait, and give those that run so many seconds to finish."""
        self.closing = True
        waiting, self._queue = self._queue, deque()
        for job in waiting:
            self._drop(job)
        until = time.monotonic() + seconds
        while self.running and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for each in self._workers:
            if each.job:
                job, each.job = each.job, None
                self._drop(job)

    def stop(self) -> None:
        """End all workers."""
        self.closing = True
        for each in self._workers:
            each.end("")
        for each in self._workers:
            each.process.join(5)

    def _drop(self, job: Job) -> None:
        self.dropped += 1
        job.problem = 503, ENDING
        self._close(job, "failed")

    def on_message(self, own: _Worker, message: list[Any]) -> None:
        """Take in a message of a worker."""
        kind, *content = message
        if kind == "ready":
            own.ready, self._failures = True, 0
            if self._first_ready and not self._first_ready.done():
                _log.info("model %s on %s", *content)
                self._first_ready.set_result(None)
            self._dispatch()
            return
        if kind == "refused":
            own.why = content[0]
            return
        job, (id, *more) = own.job, content
        if job is None or job.id != id:
            return  # of a job that was dropped
        if kind == "progress":
            if job.stage in ("", _READING) and more[0] != _READING:
                self._bound_time(own, job)
            job.stage, job.done = more
            job.tell()
        elif kind == "level":
            job.levels.append(more[0])
            job.tell()
        else:
            own.job = None
            if own.timer:
                own.timer.cancel()
            if kind == "done":
                job.seconds = more[0]
                self._seconds += 0.2 * (more[0] - self._seconds)
            elif kind == "failed":
                job.problem = more[0], more[1]
            self._close(job, "cancelled" if job.state == "cancelled" else kind)
            self._dispatch()

    def on_end(self, own: _Worker) -> None:
        """Fail the job of a worker whose process has ended, by itself or by force, and start another in its place."""
        own.connection.close()
        job, own.job = own.job, None
        if job:
            code = own.process.exitcode
            job.problem = own.status, own.why or f"the worker ended unexpectedly (code {code}); the other jobs go on"
            if job.state != "cancelled":
                _log.warning("a job is lost: %s", job.problem[1])
            self._close(job, "cancelled" if job.state == "cancelled" else "failed")
        if self.closing or own not in self._workers:
            return
        self._workers.remove(own)
        if self._first_ready and not self._first_ready.done():
            self._first_ready.set_exception(ModelError(own.why or "the worker ended while it was starting"))
            return
        self.metrics.restarts.inc()
        if own.ready:
            self._replace()
        else:
            self._failures += 1
            _log.warning("a worker did not start: %s", own.why or f"code {own.process.exitcode}")
            asyncio.get_running_loop().call_later(min(_SLOWEST_START, 2.0**self._failures), self._replace)

    def _replace(self) -> None:
        if not self.closing:
            self._workers.append(_Worker(self))

    def _dispatch(self) -> None:
        for each in self._workers:
            if self._queue and each.ready and each.job is None and each.process.is_alive():
                job = each.job = self._queue.popleft()
                job.state = "running"
                each.send("order", job.order.to_message())
                self._bound_time(each, job, reading=True)
                job.tell()
        for job in self._queue:
            job.tell()  # its place has changed

    def _bound_time(self, own: _Worker, job: Job, reading: bool = False) -> None:
        """End a worker if it is still at this job after the time that a job may take, or after that for its pictures."""
        seconds, why, status = self.limits.job_seconds, "the job took more than {:g} seconds; ask for less", 500
        if reading and self.limits.reading_seconds < seconds:
            seconds, status = self.limits.reading_seconds, 422
            why = "the pictures took more than {:g} seconds to decode; save them anew"
        if own.timer:
            own.timer.cancel()
        later = asyncio.get_running_loop().call_later
        own.timer = later(seconds, self._end_if_still_at, own, job, why.format(seconds), status)

    def _end_if_still_at(self, own: _Worker, job: Job, why: str, status: int = 500) -> None:
        if own.job is job:
            own.end(why, status)

    def _close(self, job: Job, state: State) -> None:
        self.metrics.jobs.labels(state).inc()
        if state == "done":
            self.metrics.seconds.observe(job.seconds or 0.0)
        self.jobs.end(job, state)
