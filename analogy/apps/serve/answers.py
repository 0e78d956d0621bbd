"""An answer that is a file of a job: sent piece by piece, so that who reads slowly holds no memory."""

from __future__ import annotations

from fastapi.responses import FileResponse, JSONResponse
from starlette.types import Receive, Scope, Send

from .jobs import Job, Jobs

NO_JOB = "there is no such job, or its results have been deleted"


class JobFile(FileResponse):
    """A file of a job's folder `out`, which stays there until it is sent; 404 if it has been deleted before that.

    last  whether the job is forgotten afterwards
    """

    def __init__(
        self, jobs: Jobs, job: Job, name: str, *, media_type: str | None = None, last: bool = False,
        headers: dict[str, str] | None = None,
    ):  # fmt: skip
        super().__init__(job.folder / "out" / name, headers=headers, media_type=media_type)
        self.jobs, self.job, self.last = jobs, job, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        if not self.jobs.keeps(self.job):
            await JSONResponse({"detail": NO_JOB}, 404)(scope, receive, send)
            return
        with self.jobs.reading(self.job):
            try:
                await super().__call__(scope, receive, send)
            finally:
                if self.last:
                    self.jobs.remove(self.job)
