"""The routes of the service, with their descriptions for OpenAPI.

This module does not begin with `from __future__ import annotations`, because FastAPI could then not
resolve the names of types that are defined inside `build`.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from ...settings import PRESET_HELP, PRESET_TITLES, PRESETS, Settings
from ...version import __version__
from ..run import EXAMPLE_LABELS, EXAMPLE_PAIR
from . import documentation, guard
from .answers import NO_JOB, JobFile
from .forms import (
    MOST_EXAMPLES,
    MOST_FIELD_BYTES,
    MOST_FIELDS,
    MOST_FILES,
    NO_ROOM,
    Format,
    JobForm,
    TransferForm,
    in_one_line,
    unambiguous,
)
from .intake import Intake
from .jobs import Job, Jobs, State, level_name
from .limits import Limits
from .metrics import CONTENT_TYPE, Metrics
from .pool import ENDING, Pool

STATIC = Path(__file__).parent / "static"
"""Folder with the files of the page."""
TYPES: dict[Format, str] = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "tif": "image/tiff"}
"""Format of the picture that `/v1/transfer` returns -> media type of the answer."""
_CACHED = {"cache-control": "private, max-age=3600, immutable"}


class Problem(BaseModel):
    """An error, in one line that says what was wrong and what to do."""

    detail: str


class JobStatus(BaseModel):
    """The current state of a job."""

    id: str
    state: State
    ahead: int = Field(description="Number of waiting jobs ahead of this job; 0 once the job has left the queue.")
    stage: str = Field(
        description="Current stage: reading, features, level 5 to level 1, pictures or saving; empty before the first."
    )
    done: float = Field(description="Finished share of the work, 0 to 1.")
    settings: dict[str, Any] = Field(description="All settings of the job: name -> value.")
    levels: dict[str, str] = Field(
        description="Level (5 to 1, from coarse to fine) -> address of its picture, for levels that have one."
    )
    files: dict[str, str] = Field(description="Name of each result -> its address; empty until the job is done.")
    seconds: float | None = Field(description="Seconds that the transfer took; null until the job is done.")
    error: str | None = Field(description="Reason why the job failed, in one line; null if it has not failed.")


class SettingInfo(BaseModel):
    """A setting, with its help, its default, and its range or its choices."""

    name: str
    help: str
    default: Any
    choices: list[Any] | None
    low: float | None
    high: float | None


class PresetInfo(BaseModel):
    """A preset, which is a set of settings for one purpose."""

    name: str
    title: str
    help: str
    settings: dict[str, Any] = Field(
        description="Setting of the preset -> its value. Some of these values equal the setting's default."
    )


class ServiceInfo(BaseModel):
    """The settings, the presets and the limits of the service."""

    version: str
    settings: list[SettingInfo]
    presets: list[PresetInfo]
    upload_bytes: int = Field(description="Largest accepted request with pictures, in bytes.")
    input_pixels: int = Field(description="Maximum number of pixels of an accepted picture.")
    examples: int = Field(description="Maximum number of pictures B' that a job can have.")


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ok", "starting", "ending"]
    workers: int = Field(description="Number of workers that are ready or busy.")
    running: int
    waiting: int


_PROBLEMS: dict[int, str] = {
    400: "The form is damaged or cut off.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another origin, or, without a token, its `Host` is not local.",
    404: "There is no such job or result, or the job's results have been deleted.",
    408: "The request did not arrive in time.",
    413: "The request or a picture is too large.",
    422: "A picture cannot be used, or a field is wrong; the message says which one, and why.",
    429: "The queue is full; try again after `Retry-After` seconds.",
    500: "The job failed, because its worker ended unexpectedly or the job took too long.",
    503: "The service is starting, ending or overloaded, or its disk may be full; try again later.",
}
_EVERY_ROUTE = (401, 403, 422)
"""HTTP statuses of the errors that the description of every route lists."""
_UPLOADS = (400, 408, 413, 429, 503)
"""HTTP statuses of the further errors of the routes to which clients send pictures."""


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of errors for OpenAPI.

    The descriptions do not have FastAPI's key `model`. With this key FastAPI would state the media
    type of the normal answer for the errors as well.
    """
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"content": content, "description": _PROBLEMS[status]} for status in statuses}


def build(pool: Pool, jobs: Jobs, limits: Limits, metrics: Metrics, token: str, root: str) -> FastAPI:
    """Return the application, without the guard around it.

    Parameters
    ----------
    pool, jobs, limits, metrics
        The workers with their queue, the jobs, the limits and the metrics of the service.
    token : str
        The token that clients must send. "" means that they need none.
    root : str
        The path under which a proxy serves the application, without a final slash. "" means the
        root of the host.
    """
    app = FastAPI(
        title="analogy",
        version=__version__,
        summary="Image analogies: A in the looks of B', and B' in the looks of A.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        form_limits={"max_files": MOST_FILES, "max_fields": MOST_FIELDS, "max_part_size": MOST_FIELD_BYTES},
        responses=_problems(*_EVERY_ROUTE),
    )
    openapi = app.openapi

    def with_problems() -> dict[str, Any]:
        document = openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return document

    app.openapi = with_problems  # type: ignore[method-assign]
    app.add_middleware(Intake, pool=pool, limits=limits)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    metrics.gauge("analogy_queue", "Number of waiting jobs.", lambda: pool.waiting)
    metrics.gauge("analogy_running", "Number of running jobs.", lambda: pool.running)
    metrics.gauge("analogy_workers", "Number of workers that are ready or busy.", lambda: pool.ready)

    def find(id: Annotated[str, PathParameter(description="The `id` in the answer of `POST /v1/jobs`.")]) -> Job:
        job = jobs.get(id)
        if job is None:
            raise HTTPException(404, NO_JOB)
        return job

    Found = Annotated[Job, Depends(find)]

    watching = 0

    async def may_watch() -> None:
        if watching >= limits.connections // 2:  # the other half of the connections is left for short requests
            raise HTTPException(503, "too many clients are following jobs; try again later", {"retry-after": "5"})

    def address(job: Job) -> str:
        return f"{root}/v1/jobs/{job.id}"

    def status(job: Job) -> JobStatus:
        at = f"{address(job)}/files"
        return JobStatus(
            id=job.id,
            state=job.state,
            ahead=pool.ahead(job),
            stage=job.stage,
            done=job.done,
            settings=dataclasses.asdict(job.order.request.settings),
            levels={str(level): f"{at}/{level_name(level)}" for level in job.levels},
            files={name: f"{at}/{name}" for name in job.files},
            seconds=job.seconds,
            error=job.problem[1] if job.problem else None,
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        form = TransferForm if str(request.scope["path"]).endswith("/v1/transfer") else JobForm
        return JSONResponse({"detail": in_one_line(error.errors()[0], list(form.model_fields))}, 422)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> Response:
        if isinstance(error.__cause__, OSError):  # FastAPI, which could not store a picture, blames the form
            error = HTTPException(503, NO_ROOM)
        return await http_exception_handler(request, error)

    @app.post(
        "/v1/transfer",
        summary="Make one picture, A' or B, and return it in the answer",
        response_class=Response,
        responses=_problems(*_UPLOADS, 500)
        | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TYPES.values()}}},
        dependencies=[Depends(unambiguous)],
    )
    async def transfer(request: Request, form: Annotated[TransferForm, File()]) -> Response:
        """Make A', or B if the direction is "ba", and answer with the picture.

        A request with the direction "ba" must have a single B', since an answer contains only one
        picture. If the client closes the connection, the job is cancelled.
        """
        job = await form.job(jobs, "ab", format=form.format)
        request.state.place.give_back()
        pool.submit(job)
        ending, leaving = asyncio.ensure_future(job.end()), asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait([ending, leaving], return_when=asyncio.FIRST_COMPLETED)
            if job.problem:
                code, words = job.problem
                raise HTTPException(code, words, {"retry-after": "5"} if code == 503 else None)
            if job.state == "done":
                return JobFile(jobs, job, job.files[0], media_type=TYPES[form.format], last=True)
            return Response(status_code=499)  # the client has closed the connection
        finally:
            ending.cancel()
            leaving.cancel()
            if job.state != "done":
                pool.cancel(job)
                jobs.remove(job)

    @app.post(
        "/v1/jobs",
        status_code=202,
        summary="Begin a job",
        responses=_problems(*_UPLOADS),
        dependencies=[Depends(unambiguous)],
    )
    async def begin(request: Request, response: Response, form: Annotated[JobForm, File()]) -> JobStatus:
        """Begin a job that makes the files that `analogy transfer` writes into a folder.

        The header `Location` of the answer contains the address of the job.
        """
        job = await form.job(jobs, "both", flow=form.flow)
        request.state.place.give_back()
        pool.submit(job)
        if job.ended:
            raise HTTPException(503, ENDING, {"retry-after": "5"})
        jobs.add(job)
        response.headers["location"] = address(job)
        return status(job)

    @app.get("/v1/jobs/{id}", summary="Show the state of a job", responses=_problems(404))
    async def show(job: Found) -> JobStatus:
        return status(job)

    @app.delete(
        "/v1/jobs/{id}", status_code=204, summary="Cancel a job and delete its results", responses=_problems(404)
    )
    async def cancel(job: Found) -> None:
        pool.cancel(job)
        jobs.remove(job)

    @app.get(
        "/v1/jobs/{id}/events",
        summary="Follow the progress of a job",
        response_class=EventSourceResponse,
        responses=_problems(404, 503),
        dependencies=[Depends(may_watch)],
    )
    async def events(job: Found) -> AsyncIterator[ServerSentEvent]:
        """Send a server-sent event of the type `job`, with a `JobStatus`, now and at its changes.

        The stream ends when the job has ended.
        """
        nonlocal watching
        watching += 1
        try:
            while True:
                version = job.version
                yield ServerSentEvent(event="job", data=status(job))
                if job.state in ("done", "failed", "cancelled"):
                    return
                await job.wait_for_change(version)
        finally:
            watching -= 1

    @app.get(
        "/v1/jobs/{id}/files/{name}",
        summary="Download a result",
        response_class=FileResponse,
        responses=_problems(404) | {200: {"content": {"application/octet-stream": {}}}},
    )
    async def result(job: Found, name: str) -> FileResponse:
        if name not in (*job.files, *map(level_name, job.levels)):
            raise HTTPException(404, "the job has no such result, or has not made it yet")
        return JobFile(jobs, job, name, headers=_CACHED)

    @app.get("/v1/settings", summary="List the settings, the presets and the limits")
    async def service_info() -> ServiceInfo:
        fields = dataclasses.fields(Settings)
        return ServiceInfo(
            version=__version__,
            settings=[SettingInfo(name=each.name, default=each.default, **each.metadata) for each in fields],
            presets=[
                PresetInfo(name=name, title=PRESET_TITLES[name], help=PRESET_HELP[name], settings=dict(own))
                for name, own in PRESETS.items()
            ],
            upload_bytes=limits.upload_bytes,
            input_pixels=limits.input_pixels,
            examples=MOST_EXAMPLES,
        )

    @app.get(
        "/v1/example/{name}",
        summary="Download a picture of the example pair, or its label picture",
        response_class=FileResponse,
    )
    async def example(name: Literal["a", "b_prime", "mask_a", "mask_b"]) -> FileResponse:
        files = dict(zip(("a", "b_prime", "mask_a", "mask_b"), EXAMPLE_PAIR + EXAMPLE_LABELS, strict=True))
        return FileResponse(files[name], headers=_CACHED)

    @app.get("/health", summary="Show whether the service is ready", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        state: Literal["ok", "starting", "ending"] = "ending" if pool.closing else "ok" if pool.ready else "starting"
        response.status_code = 200 if state == "ok" else 503
        return Health(status=state, workers=pool.ready, running=pool.running, waiting=pool.waiting)

    @app.get(
        "/metrics",
        summary="Show the metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def figures() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi()))

    @app.get("/sign-in", include_in_schema=False)
    async def sign_in(wrong: str | None = None) -> HTMLResponse:
        page = (STATIC / "sign-in.html").read_text(encoding="utf-8")
        return HTMLResponse(page if wrong is None else page.replace(" hidden>", ">"))

    @app.post("/sign-in", include_in_schema=False)
    async def signed_in(given: Annotated[str, Form(alias="token")] = "") -> RedirectResponse:
        if not guard.same(given.strip(), token):
            return RedirectResponse(f"{root}/sign-in?wrong", 303)
        answer = RedirectResponse(f"{root}/", 303)
        answer.set_cookie(guard.COOKIE, guard.pass_for(token), path=f"{root}/", httponly=True, samesite="strict")
        return answer

    return app


async def _gone(request: Request) -> None:
    """Wait until the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
