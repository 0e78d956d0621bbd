"""The jobs of the service, whose results are kept for a limited time in limited space."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ...request import Request
from .limits import Limits
from .orders import Order


def level_name(level: int) -> str:
    """Return the name of the file of a level's picture."""
    return f"level_{level}.jpg"


State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
"""State of a job: it waits, it runs, or it has ended in one of three ways."""


@dataclass(eq=False)
class Job:
    """Job of the service, with its state and a list of its results.

    Attributes
    ----------
    order : Order
        The transfer that a worker has to do.
    state : str
        The state of the job.
    stage : str
        The current stage of the transfer; "" before it begins.
    done : float
        The finished share of the work, 0 to 1.
    levels : list of int
        The levels whose picture has been written.
    files : list of str
        The names of the results, once the job is done.
    problem : tuple or None
        The HTTP status and the message of the failure; None if there is none.
    seconds : float or None
        The seconds that the transfer took; None unless the job is done.
    ended_at : float or None
        The time at which the job ended, by `time.monotonic`; None before.
    bytes : int
        The size of the results and of the pictures of the levels, in bytes; 0 unless the job is
        done.
    wanted : bool
        False once the job has been removed, so that clients can no longer ask about it.
    readers : int
        The number of answers that are sending a result at the moment.
    version : int
        The number of changes of the job so far.
    """

    order: Order
    state: State = "queued"
    stage: str = ""
    done: float = 0.0
    levels: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    problem: tuple[int, str] | None = None
    seconds: float | None = None
    ended_at: float | None = None
    bytes: int = 0
    wanted: bool = True
    readers: int = 0
    version: int = 0
    _change: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        """Identifier of the job in addresses. A client cannot guess it."""
        return self.order.id

    @property
    def folder(self) -> Path:
        """Folder of the job, with the folders `in` and `out`."""
        return Path(self.order.folder)

    @property
    def ended(self) -> bool:
        """True if the job is done or has failed, or if it is cancelled and no worker does it."""
        return self.ended_at is not None

    def notify(self) -> None:
        """Count a change of the job, and wake the tasks that wait for one."""
        self.version += 1
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def wait_for_change(self, version: int) -> None:
        """Wait until the version of the job is no longer `version`."""
        if self.version == version:
            await self._change.wait()

    async def end(self) -> None:
        """Wait until the job has ended."""
        while not self.ended:
            await self.wait_for_change(self.version)


class Jobs:
    """Jobs that clients can ask about. Each job has its own folder inside `folder`."""

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self.limits = folder, limits
        self._jobs: dict[str, Job] = {}

    def new(self, request: Request, *, flow: bool = False, format: str = "") -> Job:
        """Return a new job with empty folders `in` and `out`.

        Clients cannot ask about it before it is passed to `add`. See `Order` for the parameters.
        Raises `OSError`, and leaves no folder, if a folder cannot be made.
        """
        id = secrets.token_urlsafe(16)
        job = Job(Order(id, str(self.folder / id), request, flow, format))
        try:
            job.folder.mkdir(mode=0o700)  # without its parents, which only this user may read
            for name in ("in", "out"):
                (job.folder / name).mkdir()
        except OSError:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        return job

    def add(self, job: Job) -> None:
        """Let clients ask about a job."""
        self._jobs[job.id] = job

    def get(self, id: str) -> Job | None:
        """Return the job with this identifier, or None."""
        return self._jobs.get(id)

    def remove(self, job: Job) -> None:
        """Remove a job, and delete its folder once no worker and no answer uses it."""
        self._jobs.pop(job.id, None)
        job.wanted = False
        self._clear(job)

    @contextmanager
    def reading(self, job: Job) -> Iterator[None]:
        """Keep the folder of a job during the block, even if the job is removed."""
        job.readers += 1
        try:
            yield
        finally:
            job.readers -= 1
            self._clear(job)

    def keeps(self, job: Job) -> bool:
        """Return whether clients can still download the files of a job."""
        return job.wanted and (not job.ended or job.state == "done")

    def _clear(self, job: Job) -> None:
        """Delete an ended job's folder, unless clients can download its files or are doing so."""
        if job.ended and not job.readers and not self.keeps(job):
            shutil.rmtree(job.folder, ignore_errors=True)

    def end(self, job: Job, state: State) -> None:
        """End a job: delete its inputs, list its results, and remove jobs beyond the limits."""
        shutil.rmtree(job.folder / "in", ignore_errors=True)
        job.state, job.ended_at = state, time.monotonic()
        if state == "done":
            sizes = {path.name: path.stat().st_size for path in (job.folder / "out").iterdir()}
            job.files = sorted(sizes.keys() - {level_name(level) for level in job.levels})
            job.bytes = sum(sizes.values())
        self._clear(job)
        self.sweep()
        job.notify()

    def sweep(self) -> None:
        """Remove ended jobs that are too old, and the oldest jobs beyond the other limits.

        The other limits are the number of jobs and the total size of their results.
        """
        ended = sorted((job for job in self._jobs.values() if job.ended), key=lambda job: job.ended_at or 0.0)
        total = sum(job.bytes for job in ended)
        for index, job in enumerate(ended):
            old = time.monotonic() - (job.ended_at or 0.0) > self.limits.keep_seconds
            if old or total > self.limits.keep_bytes or len(ended) - index > self.limits.keep_jobs:
                total -= job.bytes
                self.remove(job)
