"""The work of a worker: it reads the inputs of a job, transfers, and writes. Its engine stays for the next job."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import logging
import posixpath
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from ..engine import Engine
from ..engine_arguments import EngineArguments
from ..errors import AnalogyError, MemoryLimitError, OutputError, reason
from ..method.pins import read_pins
from ..pictures.colour import to_8_bits
from ..pictures.images import fitted_size, resize
from ..pictures.reading import as_image_errors
from ..pictures.writing import check_size, write_stream
from ..request import Input, Request, listed, numbered
from ..result import Result
from ..settings import Settings
from ..version import __version__
from . import stores
from .jobs import Job

Notes: TypeAlias = list[tuple[int, str]]
"""Messages that the library logs: level and text."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS)
"""Errors that the next job would meet as well."""
_THUMBNAIL_PIXELS = 160 * 160


@dataclass(frozen=True)
class Task:
    """A job on its way to a worker.

    root          the folder for results: absolute, or an address
    engine        the engine of the worker
    known         the last line of the manifest about the job, if there is one
    retry_failed  whether to do the job again if it failed in an earlier run, even if nothing has changed
    thumbnails    whether the report shows the job
    """

    job: Job
    root: str
    engine: EngineArguments
    model_sha256: str
    known: dict[str, Any] | None
    retry_failed: bool
    thumbnails: bool


def describe(engine: EngineArguments) -> dict[str, Any]:
    """Make the engine of this worker ready, and return its version, model and device. Raises what `Engine` does."""
    notes: Notes = []
    with _logged_to(notes):
        made = _engine(engine)
    made.backend.prepare()
    card = made.network.card
    return {
        "analogy": __version__,
        "model": card.name,
        "model_sha256": card.fingerprint,
        "widths": card.widths,
        "device": made.backend.describe(),
        "kind": made.backend.name,
        "notes": notes,
    }


def do(task: Task) -> dict[str, Any]:
    """Do a job, unless it is done, or failed, and nothing has changed since.

    Returns a dict of

    line        the job's line for the manifest
    kept        whether the job was left as it was
    notes       the messages that the library logged: (level, message)
    memory      for a failed job: whether the memory did not suffice at this time
    full        for a failed job: whether the disk is full
    thumbnails  name -> a WebP picture in base64, if the task asks for thumbnails

    Raises nothing that a job can cause.
    """
    job, started = task.job, time.perf_counter()
    line: dict[str, Any] = {"job": job.name, **job.given, "settings": _changed(job.request.settings)}
    more: dict[str, Any] = {"kept": False}
    notes: Notes = []
    try:
        line["seen"] = now = seen(task)
        known = task.known
        if known and now and known.get("seen") == now and _stands(task, known):
            return {"line": known, "kept": True, "notes": []}
        with _logged_to(notes):
            loaded = job.request.with_inputs(_read)
        line["from"] = _made_from(task, loaded)
        if known and known.get("from") == line["from"] and _stands(task, known):
            return {"line": known | {"seen": now}, "kept": True, "notes": []}
        line["state"], line["files"] = "done", _transfer(task, loaded, more, notes)
    except AnalogyError as error:
        line |= {"state": "failed", "error": str(error)}
        more["memory"] = isinstance(error, MemoryLimitError)
        more["full"] = isinstance(error, OutputError) and getattr(error.__cause__, "errno", None) in _FULL
    except Exception as error:  # a mistake of ours must not end the others
        line |= {"state": "failed", "error": f"unexpected {type(error).__name__}: {reason(error)}"}
        line["traceback"] = traceback.format_exc()
    line["seconds"] = round(time.perf_counter() - started, 3)
    return {"line": line, "notes": notes, **more}


def _stands(task: Task, known: Mapping[str, Any]) -> bool:
    """Return whether the last line about a job still holds."""
    if known.get("state") == "failed":
        return not task.retry_failed
    files = known.get("files", {})
    return set(files) == set(task.job.outputs.values()) and all(
        stores.size(posixpath.join(task.root, name)) == file["bytes"] for name, file in files.items()
    )


def _transfer(task: Task, loaded: Request, more: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Make and write the pictures of a job, whose inputs have been read into `loaded`.

    Returns name -> bytes and checksum of each file; puts thumbnails into `more`, and what the
    library logs into `notes`.
    """
    job = task.job
    targets = {picture: posixpath.join(task.root, name) for picture, name in job.outputs.items()}
    engine = _engine(task.engine)
    with _logged_to(notes):
        result: Result = engine.transfer(**loaded.keywords())
    pictures_b, examples = listed(result.b), listed(result.b_prime)
    made: dict[str, Any] = {"a_prime": (result.a_prime, result.a)}
    made |= zip(numbered("b", len(examples)), zip(pictures_b, examples, strict=False), strict=False)
    encoded = {}
    for picture, target in targets.items():
        pixels, own = made[picture]
        suffix = PurePosixPath(target).suffix
        check_size(pixels.shape[:2], suffix, target)
        file = _Named(b"", target)
        write_stream(file, pixels, suffix, like=own)
        encoded[picture] = file.getvalue()
    for picture, target in targets.items():
        stores.write(target, encoded[picture])
    if task.thumbnails:
        given = [each.key for each in loaded.inputs() if each.name in ("a", "b_prime")]
        shown = {key: picture.rgb for key, picture in zip(given, [result.a, *examples], strict=True)}
        shown |= {name: made[name][0] for name in targets}
        more["thumbnails"] = {name: _thumbnail(pixels) for name, pixels in shown.items()}
    return {
        job.outputs[picture]: {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
        for picture, file in encoded.items()
    }


def seen(task: Task) -> str:
    """Return a checksum of the job, and of the size and time of its inputs; "" if a store does not know them."""
    stamps = []
    for path in task.job.inputs.values():
        try:
            stamps.append(stores.stamp(path))
        except FileNotFoundError:
            stamps.append("missing")
        except OSError:
            return ""
    if "" in stamps:
        return ""
    return _checksum([task.job.given, stamps, *_how(task)])


def _made_from(task: Task, loaded: Request) -> str:
    """Return a checksum of the job, and of the content of its inputs."""
    content = {each.key: hashlib.sha256(each.value.getbuffer()).hexdigest() for each in loaded.inputs()}
    return _checksum([content, loaded.pins, *_how(task)])


def _how(task: Task) -> list[Any]:
    """Return what decides the results beside the inputs: another version of analogy may make others."""
    return [asdict(task.job.request.settings), task.job.outputs, task.model_sha256, __version__]


def _checksum(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _read(each: Input) -> Any:
    """Return the content of a picture as an open file, or the rows of a file of pins. Raises `ImageError`, `SettingsError`."""
    if each.name == "pins":
        return read_pins(each.value, stores.read)
    with as_image_errors(f"{each.label} ({each.value})"):
        if stores.scheme(each.value) and (stamp := stores.stamp(each.value)):
            return _Named(_fetched(each.value, stamp), each.value)
        return _Named(stores.read(each.value), each.value)


@lru_cache(maxsize=16)
def _fetched(path: str, stamp: str) -> bytes:
    """Return the content of an address; the paintings of all jobs are fetched once."""
    return stores.read(path)


def _changed(settings: Settings) -> dict[str, Any]:
    """Return the settings that are not the defaults."""
    defaults = asdict(Settings())
    return {name: value for name, value in asdict(settings).items() if value != defaults[name]}


def _thumbnail(pixels: Any) -> str:
    small = resize(to_8_bits(np.asarray(pixels)), *fitted_size(pixels.shape[:2], _THUMBNAIL_PIXELS, 1.0))
    file = io.BytesIO()
    Image.fromarray(small).save(file, "WEBP", quality=70)
    return base64.b64encode(file.getvalue()).decode()


class _Named(io.BytesIO):
    """The content of a file in memory, with the name by which messages call it."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


_engines = threading.Lock()


def _engine(arguments: EngineArguments) -> Engine:
    with _engines:  # the threads of a worker share one
        return _make_engine(arguments)


@lru_cache(maxsize=1)
def _make_engine(arguments: EngineArguments) -> Engine:
    return arguments.make()


@contextmanager
def _logged_to(notes: Notes) -> Iterator[None]:
    """Add the messages that the library logs in this thread, in the block, to `notes`."""
    own = threading.get_ident()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note = record.levelno, record.getMessage()
            if record.thread == own and note not in notes:
                notes.append(note)

    logger, handler = logging.getLogger("analogy"), Collect()
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
