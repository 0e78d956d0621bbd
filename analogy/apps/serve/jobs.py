"""The jobs of the service, with their results: kept in a bounded folder, for a bounded time."""

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


@dataclass(eq=False)
class Job:
    """One job, from its arrival to its end.

    order        what a worker has to make
    done         the share that is finished, 0 to 1
    levels       those whose picture is there
    files        the names of its results, once it is done
    problem      why it failed: a status of HTTP, and one line
    ended_at     by `time.monotonic`
    bytes        that its results take
    wanted       whether anybody may still ask for its results
    readers      answers that are being sent of its results
    version      grows with each change
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
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        """The name of the job in addresses, which nobody can guess."""
        return self.order.id

    @property
    def folder(self) -> Path:
        """The folder of the job, with the folders `in` and `out`."""
        return Path(self.order.folder)

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def tell(self) -> None:
        """Count a change of the job, and wake all who wait for news of it."""
        self.version += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def news(self, version: int) -> None:
        """Wait until the job is no longer as it was at this version."""
        if self.version == version:
            await self._news.wait()

    async def end(self) -> None:
        """Wait until the job has ended."""
        while not self.ended:
            await self.news(self.version)


class Jobs:
    """The jobs that clients can ask about. Each has a folder of its own in `folder`."""

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self.limits = folder, limits
        self._jobs: dict[str, Job] = {}

    def new(self, request: Request, *, flow: bool = False, format: str = "") -> Job:
        """Return a new job, with empty folders `in` and `out`; nobody can ask about it until it is added.

        request, flow, format  see `Order`
        """
        id = secrets.token_urlsafe(16)
        job = Job(Order(id, str(self.folder / id), request, flow, format))
        for name in ("in", "out"):
            (job.folder / name).mkdir(parents=True)
        return job

    def add(self, job: Job) -> None:
        self._jobs[job.id] = job

    def get(self, id: str) -> Job | None:
        return self._jobs.get(id)

    def remove(self, job: Job) -> None:
        """Forget a job. Its folder goes too, as soon as no worker writes to it and no answer is being sent of it."""
        self._jobs.pop(job.id, None)
        job.wanted = False
        self._clear(job)

    @contextmanager
    def reading(self, job: Job) -> Iterator[None]:
        """Keep the folder of a job in the block, also if the job is forgotten meanwhile."""
        job.readers += 1
        try:
            yield
        finally:
            job.readers -= 1
            self._clear(job)

    def keeps(self, job: Job) -> bool:
        """Return whether the files that a job has made so far are there, and may be asked for."""
        return job.wanted and (not job.ended or job.state == "done")

    def _clear(self, job: Job) -> None:
        """Delete the folder of a job that has ended and is not kept, if no answer is being sent of it."""
        if job.ended and not job.readers and not self.keeps(job):
            shutil.rmtree(job.folder, ignore_errors=True)

    def end(self, job: Job, state: State) -> None:
        """End a job: delete its inputs, count the bytes of its results, and forget the jobs that are too many."""
        shutil.rmtree(job.folder / "in", ignore_errors=True)
        job.state, job.ended_at = state, time.monotonic()
        if state == "done":
            sizes = {path.name: path.stat().st_size for path in (job.folder / "out").iterdir()}
            job.files = sorted(sizes.keys() - {level_name(level) for level in job.levels})
            job.bytes = sum(sizes.values())
        self._clear(job)
        self.sweep()
        job.tell()

    def sweep(self) -> None:
        """Forget the jobs that ended too long ago, and the oldest of those that are too many or too large."""
        ended = sorted((job for job in self._jobs.values() if job.ended), key=lambda job: job.ended_at or 0.0)
        total = sum(job.bytes for job in ended)
        for index, job in enumerate(ended):
            old = time.monotonic() - (job.ended_at or 0.0) > self.limits.keep_seconds
            if old or total > self.limits.keep_bytes or len(ended) - index > self.limits.keep_jobs:
                total -= job.bytes
                self.remove(job)
