"""Loop over all jobs of a batch, which gives jobs to the workers and writes the manifest."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ..backends import Size
from ..engine_arguments import EngineArguments
from ..errors import AnalogyError, DeviceError, OutputError, printable
from ..method import memory
from ..method.admission import working_size
from ..pictures.reading import picture_size
from ..progress import Progress
from . import stores
from .jobs import Job
from .manifest import Manifest
from .pools import GONE, Pool
from .report import Report
from .work import Task, do, input_stamp

_log = logging.getLogger("analogy")

_WAITING = 0.5
"""Longest time that the loop waits for a job or a worker between two reports, in seconds."""
_WORKER_DIED = (
    "its worker process died at each attempt, perhaps for lack of memory or because of this picture; leave the picture "
    "out, or make it smaller"
)
"""Error for a job whose worker has died several times."""
_MOST_PUT_ASIDE = 1000
"""Maximum number of jobs that wait until no other job runs, so that they can use all the memory.

A further job that would have to wait fails instead.
"""


@dataclass
class Tally:
    """Counts of the jobs of a batch that have ended so far.

    Attributes
    ----------
    total : int
        Number of jobs of the batch.
    done : int
        Number of jobs that have results.
    kept : int
        Number of jobs of `done` whose results an earlier run has made.
    left : int
        Number of jobs that this run has skipped so far: the kept jobs, and the jobs that failed in
        an earlier run and are not repeated.
    failed : int
        Number of jobs that failed in this run, or that failed in an earlier run and are not
        repeated.
    since : float
        The time at which this run began its first job, by `time.monotonic`.
    until : float
        The time at which the last job was done, by `time.monotonic`.
    """

    total: int
    done: int = 0
    kept: int = 0
    left: int = 0
    failed: int = 0
    since: float = field(default_factory=time.monotonic)
    until: float = 0.0

    @property
    def ended(self) -> int:
        """Number of jobs that are done or have failed."""
        return self.done + self.failed

    @property
    def made(self) -> int:
        """Number of jobs that this run has done."""
        return self.done - self.kept

    @property
    def share(self) -> float:
        """Share (0 to 1) of the jobs that have ended, among those that this run does not skip."""
        return (self.ended - self.left) / (self.total - self.left) if self.total > self.left else 1.0

    def __str__(self) -> str:
        words = [f"{self.ended} of {self.total}"]
        if self.made:
            words.append(f"{60 * self.made / max(self.until - self.since, 1e-3):.3g} a minute")
        if self.failed:
            words.append(f"{self.failed} failed")
        return ", ".join(words)


@dataclass
class _Flight:
    """Job that a worker is doing, or that waits for a worker.

    Attributes
    ----------
    job : Job
        The job.
    need : float
        The memory that the job needs, in bytes. It is 0 if unknown.
    task : Task or None
        The task that the worker received. It is None until the job is submitted.
    deaths : int
        The number of workers that have died during this job.
    alone : bool
        True if the job runs while no other job does.
    """

    job: Job
    need: float
    task: Task | None = None
    deaths: int = 0
    alone: bool = False


class Loop:
    """Loop over the jobs of a batch.

    Parameters
    ----------
    pool : Pool
        The workers.
    manifest : Manifest
        The record of the finished jobs.
    report : Report
        The page about the batch.
    root : str
        The folder for results, as an absolute path or an address.
    engine : EngineArguments
        The arguments of the engine of each worker.
    described : dict
        The answer of `work.describe` from one of the workers.
    budget : float
        Largest amount of memory that all running jobs together may need, in bytes. It is infinite
        for the workers of a cluster.
    retry_failed : bool
        True to repeat jobs that failed in an earlier run, even if nothing has changed.
    """

    def __init__(
        self,
        pool: Pool,
        manifest: Manifest,
        report: Report,
        root: str,
        engine: EngineArguments,
        described: dict[str, Any],
        budget: float,
        retry_failed: bool,
    ):
        self._pool, self._manifest, self._report = pool, manifest, report
        self._root, self._engine, self._described = root, engine, described
        self._budget, self._retry_failed = budget, retry_failed
        self._size = lru_cache(maxsize=64)(_size)
        self._foreign: set[str] | None = None
        if stores.scheme(root):  # one listing, because a request to the store for each file would take too long
            self._foreign = {name for name in stores.names(root) if not manifest.owns(name)}

    def run(self, jobs: Iterator[Job], total: int, progress: Callable[[Progress], None]) -> Tally:
        """Do the jobs, and return their counts.

        If the run ends with an error, the finished jobs stay done.

        Parameters
        ----------
        jobs : Iterator of Job
            The jobs.
        total : int
            The number of jobs.
        progress : Callable
            Function that receives the progress after each wait for jobs, which lasts at most half a
            second. An exception in it ends the run.

        Raises
        ------
        OutputError
            If the disk is full, or the manifest or the page cannot be written.
        DeviceError
            If a worker cannot be started, or if the workers have gone.
        """
        self._tally = tally = Tally(total)
        self._coming: Iterator[Job] | None = jobs
        self._next_up: deque[_Flight] = deque()
        self._aside: deque[_Flight] = deque()
        in_flight: dict[Future[Any], _Flight] = {}
        stopped: AnalogyError | None = None
        while True:
            while stopped is None and len(in_flight) < self._pool.slots() and (flight := self._take(in_flight)):
                in_flight[self._submit(flight)] = flight
            if not in_flight:
                if stopped:
                    raise stopped
                if not (self._coming or self._next_up or self._aside):
                    return tally
                time.sleep(_WAITING)  # there are no workers at the moment
            finished, _ = wait(in_flight, _WAITING, FIRST_COMPLETED)
            for future in finished:
                try:
                    self._record(in_flight.pop(future), future)
                except (OutputError, DeviceError) as error:
                    stopped = stopped or error
            progress(Progress(str(tally), tally.share))
            self._report.write()

    def _take(self, in_flight: dict[Future[Any], _Flight]) -> _Flight | None:
        """Return the job to submit next, or None if there is none or it has to wait."""
        if not self._next_up and self._coming:
            job = next(self._coming, None)
            if job is None:
                self._coming = None
            else:
                self._next_up.append(_Flight(job, self._need(job)))
        if not self._next_up and self._aside and not in_flight:
            self._next_up.append(replace(self._aside.popleft(), alone=True))
        if not self._next_up:
            return None
        taken = self._next_up[0].need + sum(flight.need for flight in in_flight.values())
        if in_flight and (
            taken > self._budget or any(flight.alone for flight in (*in_flight.values(), self._next_up[0]))
        ):
            return None
        return self._next_up.popleft()

    def _submit(self, flight: _Flight) -> Future[Any]:
        """Give a job to a worker, unless the job would overwrite a file of somebody else.

        Such a job fails at once (see `_is_foreign`).
        """
        job, files = flight.job, list(flight.job.outputs.values())
        flight.task = task = Task(
            job=job,
            root=self._root,
            engine=self._engine,
            model_sha256=self._described["model_sha256"],
            known=self._manifest.known(job.name),
            retry_failed=self._retry_failed,
            thumbnails=self._report.shows(job.number),
        )
        if new := [file for file in files if not self._manifest.owns(file)]:
            if foreign := next(filter(self._is_foreign, new), None):
                error = (
                    f"{foreign} exists already, and this batch has not made it; move it away, or name another folder"
                )
                return _ended({"line": _failed(job, error), "kept": False, "notes": []})
            self._manifest.append({"job": job.name, "state": "begun", "files": files})
        return self._pool.executor.submit(do, task)

    def _record(self, flight: _Flight, future: Future[Any]) -> None:
        """Record the end of a job, or put the job aside for another attempt.

        Raises `OutputError` if the disk is full or the manifest cannot be written, and
        `DeviceError` if the workers have gone.
        """
        job, tally = flight.job, self._tally
        try:
            answer = future.result()
        except CancelledError as error:
            raise DeviceError(GONE) from error
        except self._pool.died:
            flight.deaths += 1
            if flight.deaths < self._pool.deaths and self._put_aside(flight):
                return
            assert flight.task is not None
            answer = {"line": _failed(job, _WORKER_DIED, input_stamp(flight.task)), "notes": []}
        line = answer["line"]
        if answer.get("full"):
            raise OutputError(f"{line['error']}; free some disk space, and run the same command again to continue")
        if answer.get("memory") and not flight.alone and self._put_aside(flight):
            return
        if not tally.made and not answer.get("kept"):
            tally.since = time.monotonic() - line.get("seconds", 0.0)
        tally.left += bool(answer.get("kept"))
        if line["state"] == "done":
            tally.done += 1
            tally.kept += bool(answer.get("kept"))
            tally.until = time.monotonic()
        else:
            tally.failed += 1
            before = " (in an earlier run; add --retry-failed to try again)" if answer.get("kept") else ""
            _log.error("%s: %s%s", job.name, line["error"], before)
        for level, note in answer["notes"]:
            _log.log(level, "%s: %s", job.name, note)
        if thumbnails := answer.get("thumbnails"):
            line["thumbnails"] = thumbnails
        if not (answer.get("kept") and line == self._manifest.known(job.name)):
            self._manifest.append(line)
        self._report.add(job, line, bool(answer.get("kept")))

    def _put_aside(self, flight: _Flight) -> bool:
        """Let a job wait until no other job runs. Return False if too many jobs wait already."""
        if len(self._aside) >= _MOST_PUT_ASIDE:
            return False
        self._aside.append(flight)
        return True

    def _is_foreign(self, file: str) -> bool:
        """Return whether a file that the manifest does not name exists already."""
        if self._foreign is None:
            return os.path.lexists(os.path.join(self._root, file))  # noqa: PTH118
        return file in self._foreign

    def _need(self, job: Job) -> float:
        """Return the memory that a job needs, in bytes, or 0 if this process cannot estimate it.

        It cannot if a picture is at an address or damaged. It does not try if the budget is
        infinite.
        """
        if math.isinf(self._budget):
            return 0.0
        request = job.request
        sizes = [self._size(each.value) for each in request.inputs() if each.name in ("a", "b_prime")]
        if None in sizes:
            return 0.0
        full = [size for size in sizes if size]
        working = [working_size(size, request.settings) for size in full]
        besides = memory.besides(request.mask_a is not None, request.levels)
        return memory.estimate(self._described["widths"], working, full, request.settings, besides=besides)


def _size(path: str) -> Size | None:
    """Return the rows and columns of a picture, or None if it is at an address or unreadable."""
    if stores.scheme(path):
        return None
    try:
        return picture_size(path)
    except AnalogyError:
        return None


def _failed(job: Job, error: str, seen: str = "") -> dict[str, Any]:
    """Return the line of the manifest for a job that failed without an answer from a worker."""
    return {"job": job.name, **job.given, "state": "failed", "seen": seen, "error": printable(error)}


def _ended(answer: dict[str, Any]) -> Future[Any]:
    """Return a finished future whose result is `answer`."""
    future: Future[Any] = Future()
    future.set_result(answer)
    return future
