"""HTTP answers with a file of a job, which is read from the disk in small blocks."""

from __future__ import annotations

from fastapi.responses import FileResponse, JSONResponse
from starlette.types import Receive, Scope, Send

from .jobs import Job, Jobs

NO_JOB = "there is no such job, or its results have been deleted"
"""Error message for an id that belongs to no job of the service."""


class JobFile(FileResponse):
    """Answer with a file of the folder `out` of a job, or 404 if the file has been deleted.

    The folder is not deleted while the file is being sent.

    Parameters
    ----------
    jobs : Jobs
        The jobs of the service.
    job : Job
        The job that has made the file.
    name : str
        Name of the file.
    media_type : str or None
        Media type of the answer. None means the media type of the suffix of `name`.
    last : bool
        True to delete the job after the answer.
    headers : dict or None
        Further headers of the answer.
    """

    def __init__(
        self, jobs: Jobs, job: Job, name: str, *, media_type: str | None = None, last: bool = False,
        headers: dict[str, str] | None = None,
    ):  # fmt: skip
        super().__init__(job.folder / "out" / name, headers=headers, media_type=media_type)
        self.jobs, self.job, self.last = jobs, job, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or the status 404 if it has been deleted."""
        if not self.jobs.keeps(self.job):
            await JSONResponse({"detail": NO_JOB}, 404)(scope, receive, send)
            return
        with self.jobs.reading(self.job):
            try:
                await super().__call__(scope, receive, send)
            finally:
                if self.last:
                    self.jobs.remove(self.job)
