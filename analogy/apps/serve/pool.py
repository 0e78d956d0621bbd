"""The workers of the service, and their queue of jobs.

The code runs in the event loop of the service. In addition, there is a thread for each worker,
which receives the messages of the worker. The module does not use the pool of a batch
(`batch.pools`) for two reasons: the service has to follow and cancel running jobs, and it must
accept only JSON from its workers, since these decode untrusted pictures.
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
from ...errors import ModelError, counted, reason
from . import worker
from .jobs import Job, Jobs, State
from .limits import Limits
from .metrics import Metrics

_log = logging.getLogger("analogy.serve")
_spawn = multiprocessing.get_context("spawn")

ENDING = "the service is being shut down; try again later"
"""Error for a job that the service drops or refuses because it is ending."""
_CURE = "close other programs, or use fewer --workers, and start the service again"
"""End of the error if no worker can start."""
CANCEL_GRACE_SECONDS = 5.0
"""Seconds that a worker is given to stop a cancelled job before its process is killed."""
_READING = "reading"
"""Stage in which the pictures of a job are decoded."""
_SHORTEST_WAIT, _LONGEST_WAIT = 2.0, 30.0
"""Shortest and longest time between two attempts to start a worker, in seconds."""


class _Worker:
    """Worker process with the pipe to it and its current job.

    Raises `OSError` or `RuntimeError` if the system permits no further file, process or thread.
    """

    def __init__(self, pool: Pool):
        ours, theirs = _spawn.Pipe()
        self.connection, self.ready = ours, False
        self.job: Job | None = None
        self.timer: asyncio.TimerHandle | None = None
        """Timer that kills the worker if its job takes too long."""
        self.why = ""
        """Reason why the worker is killed, which becomes the error of its job."""
        self.status = 500
        """HTTP status of the error `why`."""
        arguments = (theirs, pool.engine, pool.limits.worker_bytes)
        self.process = _spawn.Process(target=worker.run, args=arguments, daemon=True, name="analogy-worker")
        loop = asyncio.get_running_loop()

        def listen() -> None:
            with suppress(RuntimeError):  # raised if the event loop is closed
                with suppress(EOFError, OSError, ValueError):
                    while True:
                        loop.call_soon_threadsafe(pool.on_message, self, worker.receive(ours))
                self.process.join()
                loop.call_soon_threadsafe(pool.on_end, self)

        try:
            self.process.start()
            threading.Thread(target=listen, daemon=True, name="analogy-worker").start()
        except (OSError, RuntimeError):
            self.end("")
            ours.close()
            raise
        finally:
            theirs.close()

    def send(self, *message: Any) -> None:
        """Send a message to the process, unless it has ended."""
        with suppress(OSError):  # raised if the process has ended; `on_end` will be called
            worker.send(self.connection, *message)

    def end(self, why: str, status: int = 500) -> None:
        """Kill the process, and let its job fail with the error `why` and this HTTP status."""
        self.why, self.status = why, status
        if self.process.pid is not None:
            worker.end_at_once(self.process.pid)


class Pool:
    """Queue of jobs, and the workers that do them in order.

    The pool replaces a worker that ends.

    Parameters
    ----------
    jobs : Jobs
        The jobs of the service.
    limits : Limits
        The limits of the service.
    engine : EngineArguments
        The arguments of the engine of each worker.
    metrics : Metrics
        The metrics of the service.
    """

    def __init__(self, jobs: Jobs, limits: Limits, engine: EngineArguments, metrics: Metrics):
        self.jobs, self.limits, self.engine, self.metrics = jobs, limits, engine, metrics
        self.receiving = 0
        """Number of requests whose pictures are arriving."""
        self.closing = False
        """True once the service is ending."""
        self.dropped = 0
        """Number of jobs that were dropped because the service ended."""
        self._queue: deque[Job] = deque()
        self._workers: list[_Worker] = []
        self._wait = _SHORTEST_WAIT
        """Seconds until the next attempt to start a worker, if it does not start."""
        self._first_ready: asyncio.Future[None] | None = None
        """Future that succeeds when a worker is ready, and fails if a worker ends before that."""
        self._seconds = 1.0
        """Moving mean of the time of a job, in seconds."""

    async def start(self) -> None:
        """Start the workers, and wait until one is ready.

        Raises `ModelError` if a worker fails to start before any worker is ready.
        """
        self._first_ready = asyncio.get_running_loop().create_future()
        try:
            for _ in range(self.limits.workers):
                self._workers.append(_Worker(self))
        except (OSError, RuntimeError) as error:
            raise ModelError(f"a worker cannot be started ({reason(error)}); {_CURE}") from error
        await self._first_ready

    @property
    def ready(self) -> int:
        """Number of workers that are ready or busy."""
        return sum(each.ready for each in self._workers)

    @property
    def running(self) -> int:
        """Number of running jobs."""
        return sum(each.job is not None for each in self._workers)

    @property
    def waiting(self) -> int:
        """Number of waiting jobs."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """True if the queue has no place for another job."""
        return self.receiving + self.waiting >= self.limits.queue

    def retry_after(self) -> int:
        """Return an estimate of the seconds until the queue has a place again."""
        return max(1, round(self._seconds * (1 + self.waiting / max(1, self.limits.workers))))

    def ahead(self, job: Job) -> int:
        """Return the number of jobs ahead of this one in the queue."""
        return self._queue.index(job) if job in self._queue else 0

    def submit(self, job: Job) -> None:
        """Add a job to the queue. If the service is ending, the job fails at once."""
        if self.closing:
            job.problem = 503, ENDING
            self._close(job, "failed")
            return
        self._queue.append(job)
        self._dispatch()

    def cancel(self, job: Job) -> None:
        """Cancel a job. Its state changes at once, even if its worker needs some time to stop."""
        if job.ended:
            return
        if job in self._queue:
            self._queue.remove(job)
            self._close(job, "cancelled")
            return
        for each in self._workers:
            if each.job is job:
                job.state = "cancelled"
                job.notify()
                each.send("cancel", job.id)
                asyncio.get_running_loop().call_later(CANCEL_GRACE_SECONDS, self._end_if_still_at, each, job, "")

    async def drain(self, seconds: float) -> None:
        """Refuse new jobs, drop waiting jobs, and give running jobs `seconds` to finish."""
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
        """Kill all workers."""
        self.closing = True
        for each in self._workers:
            each.end("")
        for each in self._workers:
            each.process.join(5)

    def _drop(self, job: Job) -> None:
        """Fail a job because the service is ending."""
        self.dropped += 1
        job.problem = 503, ENDING
        self._close(job, "failed")

    def on_message(self, own: _Worker, message: list[Any]) -> None:
        """Handle a message of a worker."""
        kind, *content = message
        if kind == "ready":
            own.ready, self._wait = True, _SHORTEST_WAIT
            if self._first_ready and not self._first_ready.done():
                _log.info("the model %s is loaded and computes on %s", *content)
                self._first_ready.set_result(None)
            self._dispatch()
            return
        if kind == "refused":
            own.why = content[0]
            return
        job, (id, *more) = own.job, content
        if job is None or job.id != id:
            return  # the job was dropped
        if kind == "progress":
            if job.stage in ("", _READING) and more[0] != _READING:
                self._limit_time(own, job)
            job.stage, job.done = more
            job.notify()
        elif kind == "level":
            job.levels.append(more[0])
            job.notify()
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
        """Fail the job of a worker whose process has ended, and start another worker."""
        own.connection.close()
        job, own.job, code = own.job, None, own.process.exitcode
        if job:
            job.problem = own.status, own.why or f"the worker ended unexpectedly (exit code {code}); send the job again"
            if job.state != "cancelled":
                _log.warning("a job failed: %s", job.problem[1])
            self._close(job, "cancelled" if job.state == "cancelled" else "failed")
        if self.closing or own not in self._workers:
            return
        self._workers.remove(own)
        if self._first_ready and not self._first_ready.done():
            ended = f"the worker ended while it was starting (exit code {code}); {_CURE}"
            self._first_ready.set_exception(ModelError(own.why or ended))
            return
        self.metrics.restarts.inc()
        if own.ready:
            self._replace()
        else:
            self._replace_later(own.why or f"exit code {code}")

    def _replace(self) -> None:
        """Start a worker, unless the service is ending. If that fails, try again later."""
        if self.closing:
            return
        try:
            self._workers.append(_Worker(self))
        except (OSError, RuntimeError) as error:
            self._replace_later(reason(error))

    def _replace_later(self, why: str) -> None:
        """Log why a worker did not start, and start another one after a while."""
        wait, self._wait = self._wait, min(_LONGEST_WAIT, 2 * self._wait)
        _log.warning("a worker did not start (%s); the service tries again in %s", why, counted(wait, "second"))
        asyncio.get_running_loop().call_later(wait, self._replace)

    def _dispatch(self) -> None:
        """Give waiting jobs to idle workers."""
        for each in self._workers:
            if self._queue and each.ready and each.job is None and each.process.is_alive():
                job = each.job = self._queue.popleft()
                job.state = "running"
                each.send("order", job.order.to_message())
                self._limit_time(each, job, reading=True)
                job.notify()
        for job in self._queue:
            job.notify()  # clients see that fewer jobs are ahead of it now

    def _limit_time(self, own: _Worker, job: Job, reading: bool = False) -> None:
        """Set a timer that kills a worker if it is still doing this job when its time is up.

        The time is `Limits.job_seconds`, or `Limits.reading_seconds` if that is less and `reading`
        is True.
        """
        seconds, why, status = (
            self.limits.job_seconds,
            "the job took more than {}; use smaller pictures or faster settings",
            500,
        )
        if reading and self.limits.reading_seconds < seconds:
            seconds, status = self.limits.reading_seconds, 422
            why = "the pictures took more than {} to decode; save them in another format"
        if own.timer:
            own.timer.cancel()
        later = asyncio.get_running_loop().call_later
        own.timer = later(seconds, self._end_if_still_at, own, job, why.format(counted(seconds, "second")), status)

    def _end_if_still_at(self, own: _Worker, job: Job, why: str, status: int = 500) -> None:
        """Kill a worker if it is still doing this job."""
        if own.job is job:
            own.end(why, status)

    def _close(self, job: Job, state: State) -> None:
        """End a job in this state, and count it."""
        self.metrics.jobs.labels(state).inc()
        if state == "done":
            self.metrics.seconds.observe(job.seconds or 0.0)
        self.jobs.end(job, state)
