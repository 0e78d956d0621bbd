"""HTTP answers that contain a file of a job. The file is read from the disk in small blocks."""

from __future__ import annotations

from fastapi.responses import FileResponse, JSONResponse
from starlette.types import Receive, Scope, Send

from .jobs import Job, Jobs

NO_JOB = "there is no such job, or its results have been deleted"
"""Error message for an id of no job, and for a file whose job has been removed."""


class JobFile(FileResponse):
    """HTTP answer that contains a file of a job, or the status 404 if the job has been removed.

    The file is in the folder `out` of the job. This folder is not deleted while the file is sent.

    Parameters
    ----------
    jobs : Jobs
        The jobs of the service.
    job : Job
        The job that has made the file.
    name : str
        Name of the file.
    media_type : str or None
        Media type of the answer. None means the media type that belongs to the suffix of `name`.
    last : bool
        True to remove the job after the answer.
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
        """Send the file, or the status 404 if the job has been removed."""
        if not self.jobs.keeps(self.job):
            await JSONResponse({"detail": NO_JOB}, 404)(scope, receive, send)
            return
        with self.jobs.reading(self.job):
            try:
                await super().__call__(scope, receive, send)
            finally:
                if self.last:
                    self.jobs.remove(self.job)
