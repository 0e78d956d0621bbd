"""The routes, and what they say in OpenAPI.

Annotations are not postponed here: FastAPI could not see names inside `build`.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, File, Form, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

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
TYPES: dict[Format, str] = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "tif": "image/tiff"}
"""Format of one picture -> its media type."""
_KEPT = {"cache-control": "private, max-age=3600, immutable"}


class Problem(BaseModel):
    """An error: what was wrong and what to do, in one line."""

    detail: str


class JobStatus(BaseModel):
    """A job, as it is now."""

    id: str
    state: State
    ahead: int = Field(description="How many jobs are before it in the queue.")
    stage: str = Field(description="What is being done: reading, features, level 5 to level 1, pictures, saving.")
    done: float = Field(description="The share of the work that is finished, 0 to 1.")
    settings: dict[str, Any] = Field(description="All settings, as in a settings.json.")
    levels: dict[str, str] = Field(
        description="Level (5 to 1, coarse to fine) -> address of its picture, as soon as it is there."
    )
    files: dict[str, str] = Field(description="Name -> address of each result, once it is done.")
    seconds: float | None = Field(description="How long the transfer took, once it is done.")
    error: str | None = Field(description="Why it failed, in one line.")


class SettingInfo(BaseModel):
    """A setting: what it does, and what it takes."""

    name: str
    help: str
    default: Any
    choices: list[Any] | None
    low: float | None
    high: float | None


class PresetInfo(BaseModel):
    """A set of settings for a use."""

    name: str
    title: str
    help: str
    settings: dict[str, Any] = Field(description="The settings in which it differs from the defaults.")


class Offer(BaseModel):
    """The choices and the bounds of the service."""

    version: str
    settings: list[SettingInfo]
    presets: list[PresetInfo]
    upload_bytes: int = Field(description="Most bytes of a request.")
    input_pixels: int = Field(description="Most pixels of A and of each B'.")
    examples: int = Field(description="Most pictures B' of a job.")


class Health(BaseModel):
    """The state of the service: how many of its workers are ready."""

    status: Literal["ok", "starting", "ending"]
    workers: int = Field(description="Workers that are ready or at work.")
    running: int
    waiting: int


_PROBLEMS: dict[int, str] = {
    400: "The form cannot be read.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another origin.",
    404: "There is no such job, or its results have been deleted.",
    408: "The pictures did not come in time.",
    413: "The request or a picture is too large.",
    422: "A picture cannot be read, or a setting is wrong; the message says which and why.",
    429: "The queue is full; come again after `Retry-After` seconds.",
    500: "The worker ended unexpectedly; this job is lost.",
    503: "The service starts, ends, or has no room; come again later.",
}
_ALWAYS = (401, 403, 422)
_ORDER = (400, 408, 413, 429, 503)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes refusals. Not by `model`: FastAPI would give them the media type of the route."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"content": content, "description": _PROBLEMS[status]} for status in statuses}


def build(pool: Pool, jobs: Jobs, limits: Limits, metrics: Metrics, token: str, root: str) -> FastAPI:
    """Return the application, without the guard around it. `root`: the path of a proxy below which it is, "" for none."""
    app = FastAPI(
        title="analogy",
        version=__version__,
        summary="Image analogies: A in the looks of B', and B' in the looks of A.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        form_limits={"max_files": MOST_FILES, "max_fields": MOST_FIELDS, "max_part_size": MOST_FIELD_BYTES},
        responses=_problems(*_ALWAYS),
    )
    openapi = app.openapi

    def with_problems() -> dict[str, Any]:
        document = openapi()
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return document

    app.openapi = with_problems  # type: ignore[method-assign]
    app.add_middleware(Intake, pool=pool, limits=limits)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    metrics.gauge("analogy_queue", "Jobs that wait.", lambda: pool.waiting)
    metrics.gauge("analogy_running", "Jobs that run.", lambda: pool.running)
    metrics.gauge("analogy_workers", "Workers that are ready or at work.", lambda: pool.ready)

    def find(id: Annotated[str, PathParameter(description="As `POST /v1/jobs` says it.")]) -> Job:
        job = jobs.get(id)
        if job is None:
            raise HTTPException(404, NO_JOB)
        return job

    Found = Annotated[Job, Depends(find)]

    watching = 0

    async def may_watch() -> None:
        if watching >= limits.connections // 2:  # the others are for requests that end soon
            raise HTTPException(503, "too many clients watch jobs; ask again later", {"retry-after": "5"})

    def address(job: Job) -> str:
        return f"{root}/v1/jobs/{job.id}"

    def status(job: Job) -> JobStatus:
        at = f"{address(job)}/files"
        return JobStatus(
            id=job.id,
            state=job.state,
            ahead=pool.place(job),
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

    @app.post(
        "/v1/transfer",
        summary="A' for A and B', at once",
        response_class=Response,
        responses=_problems(*_ORDER, 500)
        | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TYPES.values()}}},
        dependencies=[Depends(unambiguous)],
    )
    async def transfer(request: Request, form: Annotated[TransferForm, File()]) -> Response:
        """Answers A' (B for the direction "ba" with one B'). If the connection ends, so does the work."""
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
            return Response(status_code=499)  # nobody hears it
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
        responses=_problems(*_ORDER),
        dependencies=[Depends(unambiguous)],
    )
    async def begin(request: Request, response: Response, form: Annotated[JobForm, File()]) -> JobStatus:
        """Takes what `analogy transfer` takes, and makes the files that it makes. `Location` says where the job is."""
        job = await form.job(jobs, "both", flow=form.flow)
        request.state.place.give_back()
        pool.submit(job)
        if job.ended:
            raise HTTPException(503, ENDING, {"retry-after": "5"})
        jobs.add(job)
        response.headers["location"] = address(job)
        return status(job)

    @app.get("/v1/jobs/{id}", summary="How a job is", responses=_problems(404))
    async def look(job: Found) -> JobStatus:
        return status(job)

    @app.delete(
        "/v1/jobs/{id}", status_code=204, summary="Cancel a job, and delete what it made", responses=_problems(404)
    )
    async def cancel(job: Found) -> None:
        pool.cancel(job)
        jobs.remove(job)

    @app.get(
        "/v1/jobs/{id}/events",
        summary="How a job goes on",
        response_class=EventSourceResponse,
        responses=_problems(404, 503),
        dependencies=[Depends(may_watch)],
    )
    async def events(job: Found) -> AsyncIterator[ServerSentEvent]:
        """Server-sent events, each of the type `job` with a `JobStatus`: at once, at each change, and at the end."""
        nonlocal watching
        watching += 1
        try:
            while True:
                version = job.version
                yield ServerSentEvent(event="job", data=status(job))
                if job.state in ("done", "failed", "cancelled"):
                    return
                await job.news(version)
        finally:
            watching -= 1

    @app.get(
        "/v1/jobs/{id}/files/{name}",
        summary="A result",
        response_class=FileResponse,
        responses=_problems(404) | {200: {"content": {"application/octet-stream": {}}}},
    )
    async def result(job: Found, name: str) -> FileResponse:
        if name not in (*job.files, *map(level_name, job.levels)):
            raise HTTPException(404, "the job has no such result (yet)")
        return JobFile(jobs, job, name, headers=_KEPT)

    @app.get("/v1/settings", summary="What can be asked for")
    async def offer() -> Offer:
        fields = dataclasses.fields(Settings)
        return Offer(
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

    @app.get("/v1/example/{name}", summary="The example pair, and its label pictures", response_class=FileResponse)
    async def example(name: Literal["a", "b_prime", "mask_a", "mask_b"]) -> FileResponse:
        files = dict(zip(("a", "b_prime", "mask_a", "mask_b"), EXAMPLE_PAIR + EXAMPLE_LABELS, strict=True))
        return FileResponse(files[name], headers=_KEPT)

    @app.get("/health", summary="Whether it works", responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        state: Literal["ok", "starting", "ending"] = "ending" if pool.closing else "ok" if pool.ready else "starting"
        response.status_code = 200 if state == "ok" else 503
        return Health(status=state, workers=pool.ready, running=pool.running, waiting=pool.waiting)

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def figures() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def browsed() -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi()))

    @app.get("/sign-in", include_in_schema=False)
    async def sign_in() -> FileResponse:
        return FileResponse(STATIC / "sign-in.html")

    @app.post("/sign-in", include_in_schema=False)
    async def signed_in(given: Annotated[str, Form(alias="token")] = "") -> RedirectResponse:
        if not guard.same(given.strip(), token):
            return RedirectResponse(f"{root}/sign-in?wrong", 303)
        answer = RedirectResponse(f"{root}/", 303)
        answer.set_cookie(guard.COOKIE, guard.pass_for(token), path=f"{root}/", httponly=True, samesite="strict")
        return answer

    return app


async def _gone(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
