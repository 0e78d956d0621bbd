"""A whole batch: its jobs, the place of its results, its workers, and the loop over all jobs."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError, wait
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..backends.host import available_cores, free_memory
from ..engine_arguments import EngineArguments
from ..errors import DeviceError, ImageError, OutputError, SettingsError, reason
from ..files.atomic import as_path
from ..files.folders import folder_for, refuse_a_film, refuse_foreign
from ..pictures.listing import SUFFIXES, is_pattern
from ..pictures.reading import picture_size
from ..pictures.writing import is_picture_path
from ..progress import Progress
from ..settings import Settings
from ..version import __version__
from . import jobs as tables
from . import manifest as manifests
from . import pools, report, stores
from .loop import Loop, Tally
from .work import describe

_log = logging.getLogger("analogy")

_WORKER = 0.6e9
"""Least bytes of memory that a worker takes, for pictures of the size that the network sees."""
_BUDGET = 0.9
"""Share of the memory that is free when a batch begins that its jobs may take together."""
_ON_A_GPU = 2
"""Workers on a GPU, which a transfer of small pictures keeps busy for less than half of its time."""
_WAITING = 0.5


def run_batch(
    sources: Sequence[str],
    output: str,
    settings: Settings,
    engine: EngineArguments,
    *,
    styles: Sequence[str] = (),
    template: str = tables.TEMPLATE,
    manifest: Path | None = None,
    allowed: Sequence[str] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    single: Collection[str] = (),
    progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Tally, Path]:
    """Do the jobs of `sources` that are not done.

    sources       pictures, folders of them, patterns; or one table (see `jobs`)
    output        folder for the results, or an address
    settings      the settings of jobs that name no others
    engine        the engine of each worker; without a number of threads the workers share out the cores
    styles        each B' of jobs that name none; with several, every job is painted with all of them
    template      the template of the names of results
    manifest      its path, if `output` is an address; else it lies in the folder
    allowed       schemes of addresses that a table may name
    workers       processes on this machine; None for what its cores and its memory allow
    scheduler     in place of processes: the address of a Dask scheduler, or "local"
    retry_failed  whether to do jobs again that failed in an earlier run, even if nothing has changed
    single        names of settings that a row's preset leaves as they are
    progress      as for `Engine.transfer`

    Returns the counts of jobs, and the path of the report, which lies beside the manifest.

    Raises `SettingsError`, `ImageError`, `OutputError`, `ModelError` and `DeviceError`, before any
    work if possible. What is done stays done: the same call goes on.
    """
    root, manifest = _places(output, manifest)
    page_path = manifest.parent / manifests.REPORT
    jobs, table = _jobs(sources, root, settings, styles, template, allowed, single)
    progress(Progress("reading", 0))
    total = tables.check(jobs, root, table, (manifest, page_path))
    refuse_foreign(page_path, report.is_report(page_path))
    with folder_for(manifest.parent), manifests.Manifest(manifest) as done:
        progress(Progress("starting", 0))
        pool, engine = _pool(scheduler, workers, engine)
        try:
            described = _described(pool, engine, progress)
            if described["kind"] == "cuda" and pool.local and workers is None:
                started = pool.slots()
                pool.slots = lambda: min(_ON_A_GPU, started)  # the others have not begun yet
            for level, note in described["notes"]:
                _log.log(level, note)
            if pool.dashboard:
                _log.info("Dask's dashboard: %s", pool.dashboard)
            made_with = {key: described[key] for key in ("model", "model_sha256", "device")}
            now = datetime.now(UTC).isoformat(timespec="seconds")
            done.append({"analogy": __version__, "run": now, **made_with, "settings": asdict(settings)})
            page = report.Report(
                page_path,
                root,
                total,
                f"{output}: {total} {'job' if total == 1 else 'jobs'}",
                f"{described['model']}, {described['device']}",
            )
            budget = _BUDGET * free_memory() if pool.local else math.inf
            loop = Loop(pool, done, page, root, engine, described, budget, retry_failed)
            with closing(iter(jobs)) as each:
                tally = loop.run(each, total, progress)
            page.write(ends=True)
        except BaseException:
            pool.close(True)
            raise
        pool.close(False)
    return tally, page_path


def _places(output: str, manifest: Path | None) -> tuple[str, Path]:
    """Return the folder for results, as an absolute path or an address, and the path of the manifest."""
    if stores.scheme(output) == "file":
        output = stores.absolute(output, "")
    if stores.scheme(output):
        if manifest is None:
            raise OutputError(f"{output}: an address; say with --manifest where on this machine to keep what is done")
        stores.check(output)
        return output.rstrip("/"), manifest.absolute()
    if manifest is not None:
        raise OutputError("--manifest is for results that go to an address; elsewhere it lies with them")
    folder = as_path(output).absolute()
    if is_picture_path(folder):
        raise OutputError(f"{output}: a batch writes into a folder; use --name to set file names")
    refuse_a_film(folder)
    return stores.absolute(output, os.getcwd()), folder / manifests.NAME  # noqa: PTH109


def _jobs(
    sources: Sequence[str],
    root: str,
    settings: Settings,
    styles: Sequence[str],
    template: str,
    allowed: Sequence[str],
    single: Collection[str],
) -> tuple[tables.Jobs, str | None]:
    """Return the jobs, and the path or the address of their table; None if there is no table."""
    here = os.getcwd()  # noqa: PTH109
    paths = [stores.absolute(source, here) for source in sources]
    for path in paths:
        stores.check(path)
    styles = [stores.absolute(style, here) for style in styles]
    for style in styles:
        stores.check(style)
        if not stores.scheme(style):
            picture_size(style, name="--style")
    table = next((path for path in paths if Path(path).suffix.lower() in tables.TABLES), None)
    if table is not None:
        if len(paths) > 1:
            raise SettingsError(
                f"{table}: one table is a batch, with nothing beside it; there are {len(paths)} sources"
            )
        folder = stores.parent(table)
        return tables.Jobs(tables.of_table(table), folder, settings, styles, template, allowed, single), table
    for source in sources:
        if source.lower().endswith(tables.NO_TABLES):
            raise SettingsError(f"{source}: neither a picture nor a table; a table is one of {' '.join(tables.TABLES)}")
    if not styles:
        raise SettingsError("no style: pass --style PICTURE, or a table of jobs (.csv, .jsonl, .parquet)")
    pictures: list[str] = []
    for source, path in zip(sources, paths, strict=True):
        if path == root or (not stores.scheme(path) and os.path.realpath(path) == os.path.realpath(root)):
            raise OutputError(f"{source}: the results would lie among the pictures; name another folder with -o")
        # A picture that is missing is a job that fails, beside which the others are done; a folder
        # would be all of them.
        is_there = stores.scheme(path) or os.path.lexists(path) or is_pattern(path)
        if not is_there and Path(path).suffix.lower() not in SUFFIXES:
            raise ImageError(f"{source}: there is no such folder or picture; correct its name")
        try:
            found = stores.pictures(path)
        except OSError as error:
            raise ImageError(f"{source}: cannot be read ({reason(error)})") from error
        if not found:
            raise ImageError(f"{source}: there are no pictures")
        pictures += found
    return tables.Jobs(tables.of_pictures(pictures), here, settings, styles, template, allowed=None), None


def _pool(scheduler: str | None, workers: int | None, engine: EngineArguments) -> tuple[pools.Pool, EngineArguments]:
    """Return the workers, and the arguments of each one's engine: without a number of threads it gets a share of the cores."""
    if os.path.isdir(engine.model):  # noqa: PTH112 (a `Path` raises for a name that is too long)
        engine = replace(engine, model=os.path.abspath(engine.model))  # noqa: PTH100
    if scheduler not in (None, "local"):
        if workers is not None:
            raise SettingsError("--workers is for this machine; a cluster has as many as were started")
        return pools.cluster(scheduler, 0), replace(engine, threads=engine.threads or 1)
    cores = available_cores()
    if workers is None:
        in_memory = int(_BUDGET * free_memory() / _WORKER)
        workers = max(1, min(cores // (engine.threads or 1), in_memory))
    pool = pools.cluster("local", workers) if scheduler else pools.processes(workers)
    return pool, replace(engine, threads=engine.threads or max(1, cores // workers))


def _described(pool: pools.Pool, engine: EngineArguments, progress: Callable[[Progress], None]) -> dict[str, Any]:
    """Return what `work.describe` returns in the first worker. Raises `DeviceError` if it cannot run, and what it raises."""
    future = pool.executor.submit(describe, engine)
    while not future.done():
        wait([future], _WAITING)
        progress(Progress("starting" if pool.slots() else "waiting for workers", 0))
    try:
        described: dict[str, Any] = future.result()
    except (pool.died, CancelledError) as error:
        raise DeviceError(
            f"the first worker died while it began ({reason(error)}); `analogy info` may say why"
        ) from error
    except ImportError as error:
        raise DeviceError(
            f"the workers have no package analogy ({reason(error)}); install it where they run"
        ) from error
    if described["analogy"] != __version__:
        raise DeviceError(
            f"the workers have analogy {described['analogy']}, and this is {__version__}; install the same there"
        )
    return described
