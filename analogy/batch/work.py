"""Work of a worker, which reads the inputs of a job, does the transfer and writes the results."""

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
"""List of the messages that the library has logged: the logging level and the text of each."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS)
"""Error numbers of a full or read-only disk, on which the next job would fail, too."""
_THUMBNAIL_PIXELS = 160 * 160
"""Maximum number of pixels of a thumbnail on the page about the batch."""


@dataclass(frozen=True)
class Task:
    """Task of a worker: a job, with everything that the worker needs to do it.

    Attributes
    ----------
    job : Job
        The job.
    root : str
        The folder for results, as an absolute path or an address.
    engine : EngineArguments
        The arguments of the engine of the worker.
    model_sha256 : str
        The checksum of the model.
    known : dict or None
        The last line of the manifest that says that the job is done or has failed; None if there
        is no such line.
    retry_failed : bool
        True to repeat the job if it failed in an earlier run, even if nothing has changed.
    thumbnails : bool
        True if the page about the batch shows the pictures of the job.
    """

    job: Job
    root: str
    engine: EngineArguments
    model_sha256: str
    known: dict[str, Any] | None
    retry_failed: bool
    thumbnails: bool


def describe(engine: EngineArguments) -> dict[str, Any]:
    """Prepare the engine of this worker, and return a dict that describes the worker.

    The dict has the version of analogy, the name of the model, its checksum and the number of
    channels of each level ("widths"), the device, the kind of the backend, and the messages that
    the library has logged. Raises the errors of `Engine`.
    """
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
    """Do a job, unless it has ended in an earlier run and nothing has changed since.

    The function raises no exception, since the errors of a job are part of the answer.

    Returns
    -------
    dict
        "line" is the line of the job for the manifest. "kept" is true if the job was not done
        again. "notes" has the logged messages as (logging level, text). After an `AnalogyError`
        there is also "memory", which is true if there was too little memory at the moment, and
        "full", which is true if the disk is full or read-only. If the task asks for thumbnails and
        the job succeeds, "thumbnails" is a dict: name -> WebP picture in base64.
    """
    job, started = task.job, time.perf_counter()
    line: dict[str, Any] = {"job": job.name, **job.given, "settings": _changed(job.request.settings)}
    more: dict[str, Any] = {"kept": False}
    notes: Notes = []
    try:
        line["seen"] = now = input_stamp(task)
        known = task.known
        if known and now and known.get("seen") == now and _is_valid(task, known):
            return {"line": known, "kept": True, "notes": []}
        with _logged_to(notes):
            loaded = job.request.with_inputs(_read)
        line["from"] = _made_from(task, loaded)
        if known and known.get("from") == line["from"] and _is_valid(task, known):
            return {"line": known | {"seen": now}, "kept": True, "notes": []}
        line["state"], line["files"] = "done", _transfer(task, loaded, more, notes)
    except AnalogyError as error:
        line |= {"state": "failed", "error": str(error)}
        more["memory"] = isinstance(error, MemoryLimitError)
        more["full"] = isinstance(error, OutputError) and getattr(error.__cause__, "errno", None) in _FULL
    except Exception as error:  # a bug must not stop the other jobs
        line |= {"state": "failed", "error": f"unexpected {type(error).__name__}: {reason(error)}"}
        line["traceback"] = traceback.format_exc()
    line["seconds"] = round(time.perf_counter() - started, 3)
    return {"line": line, "notes": notes, **more}


def _is_valid(task: Task, known: Mapping[str, Any]) -> bool:
    """Return whether the outcome of a job that the line `known` records is still valid.

    A failure is valid unless the user wants to retry failed jobs. Results are valid if their files
    exist with the recorded sizes.
    """
    if known.get("state") == "failed":
        return not task.retry_failed
    files = known.get("files", {})
    return set(files) == set(task.job.outputs.values()) and all(
        stores.size(posixpath.join(task.root, name)) == file["bytes"] for name, file in files.items()
    )


def _transfer(task: Task, loaded: Request, more: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """Make and write the pictures of a job whose inputs have been read into `loaded`.

    The function adds the thumbnails to `more`, and the logged messages to `notes`. It returns a
    dict: name of each written file -> its size and checksum.
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


def input_stamp(task: Task) -> str:
    """Return a checksum that changes when the job or one of its input files changes.

    The content of the files is not read (see `stores.stamp`). The checksum is "" if a store cannot
    be reached, or does not report changes of files.
    """
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
    return _checksum([task.job.given, stamps, *_conditions(task)])


def _made_from(task: Task, loaded: Request) -> str:
    """Return a checksum of the job and of the content of its inputs."""
    content = {each.key: hashlib.sha256(each.value.getbuffer()).hexdigest() for each in loaded.inputs()}
    return _checksum([content, loaded.pins, *_conditions(task)])


def _conditions(task: Task) -> list[Any]:
    """Return all that the results depend on besides the inputs, such as the version of analogy."""
    return [asdict(task.job.request.settings), task.job.outputs, task.model_sha256, __version__]


def _checksum(values: list[Any]) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _read(each: Input) -> Any:
    """Return a picture as an open file, or the rows of a file of pins.

    Raises `ImageError` if the picture cannot be read, and `SettingsError` if the pins cannot.
    """
    if each.name == "pins":
        return read_pins(each.value, stores.read)
    with as_image_errors(f"{each.label} ({each.value})"):
        if stores.scheme(each.value) and (stamp := stores.stamp(each.value)):
            return _Named(_fetched(each.value, stamp), each.value)
        return _Named(stores.read(each.value), each.value)


@lru_cache(maxsize=16)
def _fetched(path: str, stamp: str) -> bytes:
    """Return the content of a file at an address, from memory if it is one of the 16 used last.

    So a picture that many jobs share is fetched once. `stamp` changes when the file changes.
    """
    return stores.read(path)


def _changed(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from the defaults."""
    defaults = asdict(Settings())
    return {name: value for name, value in asdict(settings).items() if value != defaults[name]}


def _thumbnail(pixels: Any) -> str:
    """Return a small copy of a picture as WebP in base64."""
    small = resize(to_8_bits(np.asarray(pixels)), *fitted_size(pixels.shape[:2], _THUMBNAIL_PIXELS, 1.0))
    file = io.BytesIO()
    Image.fromarray(small).save(file, "WEBP", quality=70)
    return base64.b64encode(file.getvalue()).decode()


class _Named(io.BytesIO):
    """Content of a file in memory, with the name of the file for messages."""

    def __init__(self, content: bytes, name: str):
        super().__init__(content)
        self.name = name


_engine_lock = threading.Lock()


def _engine(arguments: EngineArguments) -> Engine:
    """Return the engine of this worker, which its threads and jobs share."""
    with _engine_lock:
        return _make_engine(arguments)


@lru_cache(maxsize=1)
def _make_engine(arguments: EngineArguments) -> Engine:
    return arguments.make()


@contextmanager
def _logged_to(notes: Notes) -> Iterator[None]:
    """Add to `notes` the messages that the library logs in the block, in this thread."""
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
