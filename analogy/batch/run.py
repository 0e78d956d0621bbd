"""Run of a whole batch, which reads the sources, does the jobs and writes the results."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..backends import threads_of_each
from ..backends.host import available_cores, free_memory
from ..engine_arguments import EngineArguments
from ..errors import DeviceError, ImageError, OutputError, SettingsError, counted, reason
from ..files.atomic import as_path
from ..files.folders import folder_for, refuse_a_film, refuse_foreign
from ..networks.models import installed
from ..pictures.listing import SUFFIXES, is_pattern
from ..pictures.reading import picture_size
from ..pictures.writing import is_picture_path
from ..progress import Progress
from ..settings import Settings
from ..version import __version__
from . import manifest as manifests
from . import pools, report, stores
from .jobs import Jobs, check
from .loop import Loop, Tally
from .names import TEMPLATE
from .tables import NO_TABLES, TABLES, of_pictures, of_table
from .work import describe

_log = logging.getLogger("analogy")

_WORKER_BYTES = 0.6e9
"""Minimum memory that a worker needs, in bytes, for pictures of the default working size."""
_BUDGET = 0.9
"""Share (0 to 1) that the running jobs may use of the memory that is free as the run starts."""
_GPU_WORKERS = 2
"""Maximum number of workers that share a GPU, unless the user sets the number.

One transfer of small pictures uses less than half of a GPU.
"""
_POLL = 0.5
"""Time between two reports of progress while the first worker starts, in seconds."""


@contextmanager
def _index_as_output_error() -> Iterator[None]:
    """Raise `OutputError` if an index of the jobs, which SQLite stores on disk, has no room."""
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"the temporary index of the jobs cannot be stored ({reason(error)}); free some disk space, or set TMPDIR "
            "to a folder on another disk"
        ) from error


@_index_as_output_error()
def run_batch(
    sources: Sequence[str],
    output: str,
    settings: Settings,
    engine: EngineArguments,
    *,
    styles: Sequence[str] = (),
    template: str = TEMPLATE,
    manifest: Path | None = None,
    allowed: Sequence[str] = (),
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    single: Collection[str] = (),
    progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Tally, Path]:
    """Do the jobs of a batch, except those that ended in an earlier run and have not changed.

    If the run ends with an error, the finished jobs stay done, and another call with the same
    arguments does the remaining jobs.

    Parameters
    ----------
    sources : Sequence of str
        Pictures, folders of pictures and patterns; or one table (see `jobs`).
    output : str
        The folder for results, or its address.
    settings : Settings
        The settings of the jobs. A row of a table can set other values for its job.
    engine : EngineArguments
        The arguments of the engine of each worker. If `threads` is None, each worker on this
        machine uses an equal share of the cores, and each worker on a cluster uses one thread.
    styles : Sequence of str
        The pictures B' for jobs that name no B'. Each of these jobs uses all these pictures as its
        examples.
    template : str
        The template of the names of results.
    manifest : Path or None
        The path of the manifest if `output` is an address. Otherwise it must be None, because the
        manifest is in the folder for results.
    allowed : Sequence of str
        The schemes of addresses, such as "s3", that the rows of a table may name.
    workers : int or None
        The number of processes on this machine. None means as many as cores and memory allow, but
        at most two on a GPU.
    scheduler : str or None
        The address of a Dask scheduler, to use its cluster, or "local", to start a cluster on this
        machine. None means processes without Dask.
    retry_failed : bool
        True to repeat jobs that failed in an earlier run, even if nothing has changed.
    single : Collection of str
        The names of the settings that the user has set individually, not through a preset. The
        preset of a row does not change these settings.
    progress : Callable
        Function that receives the progress, as in `Engine.transfer`.

    Returns
    -------
    tally : Tally
        The numbers of jobs that are done, that were kept, and that failed.
    page : Path
        The path of the page about the batch, which is in the folder of the manifest.

    Raises
    ------
    SettingsError
        If a setting, a row of the table or an option is wrong.
    ImageError
        If a source or a style cannot be read.
    OutputError
        If the results cannot be written, or would overwrite another file.
    ModelError
        If the model cannot be loaded.
    DeviceError
        If the workers cannot start, have another version of analogy, or no longer answer.
    """
    root, manifest = _places(output, manifest)
    page_path = manifest.parent / manifests.REPORT
    jobs, table = _jobs(sources, root, settings, styles, template, allowed, single)
    progress(Progress("reading", 0))
    total = check(jobs, root, table, (manifest, page_path))
    refuse_foreign(page_path, report.is_report(page_path))
    with folder_for(manifest.parent), manifests.Manifest(manifest) as done:
        progress(Progress("starting", 0))
        pool, engine = _pool(scheduler, workers, engine)
        try:
            described = _described(pool, engine, progress)
            if described["kind"] == "cuda" and pool.local and workers is None:
                started = pool.slots()
                # The pool starts a process only when a task needs one, so it starts no more
                # processes than this number.
                pool.slots = lambda: min(_GPU_WORKERS, started)
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
                f"{output}: {counted(total, 'job')}",
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
    """Return the folder for results, as an absolute path or an address, and the manifest's path."""
    if stores.scheme(output) == "file":
        output = stores.absolute(output, "")
    if stores.scheme(output):
        if manifest is None:
            raise OutputError(
                f"{output} is an address; also give --manifest PATH, a file on this machine that records the jobs"
            )
        stores.check(output)
        return output.rstrip("/"), Path(_absolute(os.fspath(manifest)))
    if manifest is not None:
        raise OutputError(
            "--manifest is only for results at an address; leave it out, and the manifest is in the folder for results"
        )
    root = _absolute(os.fspath(as_path(output)))
    folder = Path(root)
    if is_picture_path(folder):
        raise OutputError(f"{output} is a picture, but a batch writes into a folder; use --name to set file names")
    refuse_a_film(folder)
    return root, folder / manifests.NAME


def _absolute(path: str) -> str:
    """Return a path of the command as an absolute path or an address.

    Raises `SettingsError` if the current folder has been deleted.
    """
    try:
        return stores.absolute(path, os.getcwd())  # noqa: PTH109
    except FileNotFoundError as error:
        raise SettingsError(
            f"the current folder cannot be found ({reason(error)}); change to another folder, and run the command again"
        ) from error


def _jobs(
    sources: Sequence[str],
    root: str,
    settings: Settings,
    styles: Sequence[str],
    template: str,
    allowed: Sequence[str],
    single: Collection[str],
) -> tuple[Jobs, str | None]:
    """Return the jobs, and the path or the address of their table (None if there is no table)."""
    paths = [_absolute(source) for source in sources]
    for path in paths:
        stores.check(path)
    styles = [_absolute(style) for style in styles]
    for style in styles:
        stores.check(style)
        if not stores.scheme(style):
            picture_size(style, name="--style")
    table = next((path for path in paths if Path(path).suffix.lower() in TABLES), None)
    if table is not None:
        if len(paths) > 1:
            raise SettingsError(f"{table} is one of {len(paths)} sources; a table must be the only source")
        folder = stores.parent(table)
        return Jobs(of_table(table), folder, settings, styles, template, allowed, single), table
    for source in sources:
        if source.lower().endswith(NO_TABLES):
            raise SettingsError(
                f"{source} is neither a picture nor a table that a batch can read; save a table as one of "
                f"{' '.join(TABLES)}"
            )
    if not styles:
        raise SettingsError("there is no style; pass --style PICTURE, or a table of jobs (.csv, .jsonl, .parquet)")
    pictures: list[str] = []
    for source, path in zip(sources, paths, strict=True):
        if path.rstrip("/") == root or (not stores.scheme(path) and os.path.realpath(path) == os.path.realpath(root)):
            raise OutputError(f"{source} is also the folder for results; name another folder with -o")
        # A missing picture only makes its job fail, but a missing folder would mean no jobs at all.
        is_there = stores.scheme(path) or os.path.lexists(path) or is_pattern(path)
        if not is_there and Path(path).suffix.lower() not in SUFFIXES:
            raise ImageError(f"{source}: there is no such folder or picture; correct its name")
        try:
            found = stores.pictures(path)
        except OSError as error:
            raise ImageError(f"{source} cannot be read ({reason(error)})") from error
        if not found:
            raise ImageError(f"{source}: there are no pictures; name a folder that contains pictures")
        pictures += found
    return Jobs(of_pictures(pictures), "", settings, styles, template, allowed=None), None


def _pool(scheduler: str | None, workers: int | None, engine: EngineArguments) -> tuple[pools.Pool, EngineArguments]:
    """Return the pool of workers, and the arguments of their engines, in which `threads` is set."""
    if engine.model not in installed() and os.path.isdir(engine.model):  # noqa: PTH112 (a `Path` raises for a name that is too long)
        engine = replace(engine, model=_absolute(engine.model))
    if scheduler not in (None, "local"):
        if workers is not None:
            raise SettingsError(
                "--workers is only for this machine; leave it out, since a cluster has workers of its own"
            )
        return pools.cluster(scheduler, 0), replace(engine, threads=engine.threads or 1)
    cores = available_cores()
    if workers is None:
        in_memory = int(_BUDGET * free_memory() / _WORKER_BYTES)
        workers = max(1, min(cores // (engine.threads or 1), in_memory))
    pool = pools.cluster("local", workers) if scheduler else pools.processes(workers)
    return pool, replace(engine, threads=engine.threads or threads_of_each(workers, cores))


def _described(pool: pools.Pool, engine: EngineArguments, progress: Callable[[Progress], None]) -> dict[str, Any]:
    """Return what `work.describe` returns in the first worker.

    Raises `DeviceError` if the worker cannot start or has another version of analogy, and the
    errors of `work.describe`.
    """
    future = pool.executor.submit(describe, engine)
    while not future.done():
        wait([future], _POLL)
        progress(Progress("starting" if pool.slots() else "waiting for workers", 0))
    try:
        described: dict[str, Any] = future.result()
    except (pool.died, CancelledError) as error:
        raise DeviceError(
            f"the first worker died at its start ({reason(error)}); run `analogy info` to find the reason"
        ) from error
    except ImportError as error:
        raise DeviceError(f"the workers cannot import analogy ({reason(error)}); install it where they run") from error
    if described["analogy"] != __version__:
        raise DeviceError(
            f"the workers have analogy {described['analogy']}, but this machine has {__version__}; install "
            f"{__version__} where the workers run"
        )
    return described
