"""A worker: a process that decodes pictures and computes, so that whatever comes in can end it alone.

It talks with the service through a pipe, in JSON, so that not even a worker that somebody has taken over can make the
service run anything.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import AnalogyError, ImageError, MemoryLimitError, OutputError
from ...settings import Settings
from .jobs import level_name

if TYPE_CHECKING:
    from ...engine import Engine
    from ...progress import Progress
    from ...result import Result

INPUTS = {"a": "A", "b_prime": "B'", "b": "B", "mask_a": "the mask of A", "mask_b": "the mask of B'"}
"""Keyword of `Engine.transfer`, and name of the file in a job's folder `in` -> what messages call it."""
PREVIEW_SIDE = 1024
"""Most pixels on a side of a level's picture, which is for looking at."""
MOST_MESSAGE = 1 << 20
"""Most bytes of a message."""


@dataclass(frozen=True)
class Order:
    """A job as a worker gets it. Its pictures are in `folder`/in, its results come to `folder`/out.

    format  of the one picture to make ("png"); empty for all files
    """

    id: str
    folder: str
    settings: dict[str, Any]
    pins: list[list[float]] = field(default_factory=list)
    levels: bool = False
    flow: bool = False
    format: str = ""


class _CancelledError(Exception):
    """The job is not wanted any more."""


def send(connection: Connection, *message: Any) -> None:
    """Send a message. Raises OSError if nobody is there."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection) -> list[Any]:
    """The next message: its kind, and what belongs to it. Raises EOFError or OSError if there will be none."""
    message: list[Any] = json.loads(connection.recv_bytes(MOST_MESSAGE))
    return message


def run(connection: Connection, engine: tuple[Any, ...], worker_bytes: int) -> None:
    """What the process does: load the model, say "ready", and then work on one order after the other.

    engine  the arguments of `Engine`

    It says "refused" if the model cannot be loaded; of an order "progress", "level" and at last "done", "failed" or
    "cancelled". It ends when the service does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the service ends its workers
    with suppress(OSError):  # where memory is short, the system shall end a worker, not the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(EOFError, OSError, KeyboardInterrupt):
        try:
            from ...engine import Engine

            own = Engine(*engine)
            own.backend.prepare()
        except AnalogyError as error:
            send(connection, "refused", str(error))
            return
        _bound_memory(own, worker_bytes)
        send(connection, "ready", own.network.card.name, own.backend.describe())
        while True:
            kind, *content = receive(connection)
            if kind == "order":  # a "cancel" comes too late
                _work(own, connection, Order(*content))


def _bound_memory(engine: Engine, most: int) -> None:
    """Let this process take `most` bytes more than it has now. The engine knows that bound, and refuses what exceeds it.

    Not with a GPU, whose driver reserves addresses without end.
    """
    with suppress(ImportError):  # not on Windows
        import resource

        import numpy as np
        import psutil

        if engine.backend.xp is np and hasattr(resource, "RLIMIT_AS"):
            taken = psutil.Process().memory_info().vms
            with suppress(OSError, ValueError):  # a lower bound is there already
                resource.setrlimit(resource.RLIMIT_AS, (taken + most, taken + most))


def _work(engine: Engine, connection: Connection, order: Order) -> None:
    tell = partial(send, connection)
    try:
        seconds = _transfer(engine, connection, order)
    except _CancelledError:
        tell("cancelled", order.id)
    except ImageError as error:
        tell("failed", order.id, 413 if isinstance(error, _TooLargeError) else 422, str(error))
    except MemoryLimitError as error:
        tell("failed", order.id, 413, str(error))
    except OutputError:
        tell("failed", order.id, 503, "the results cannot be written: the disk of the service is full")
    except AnalogyError as error:
        tell("failed", order.id, 422, str(error))
    except MemoryError:
        tell("failed", order.id, 413, "there is not enough memory for these pictures; make them smaller")
    else:
        tell("done", order.id, seconds)


class _TooLargeError(ImageError):
    """A picture has more pixels than the service takes."""


def _transfer(engine: Engine, connection: Connection, order: Order) -> float:
    """Make the results of an order. Returns the seconds it took."""
    from ...method import admission
    from ...pictures.images import fitted_size, resize
    from ...pictures.reading import picture_size
    from ...pictures.writing import check_size, write_picture

    folder, out = Path(order.folder), Path(order.folder) / "out"
    given: dict[str, Any] = {path.name: path.read_bytes() for path in (folder / "in").iterdir()}
    sizes = {name: picture_size(given[name], name=INPUTS[name]) for name in ("a", "b_prime")}
    for name, size in sizes.items():
        try:
            admission.within(engine.max_input_pixels)(size, INPUTS[name])
        except ImageError as error:
            raise _TooLargeError(str(error)) from None
    if order.format:
        made_of = "b_prime" if order.settings["direction"] == "ba" else "a"
        try:
            check_size(sizes[made_of], f".{order.format}", "the result")
        except OutputError as error:
            raise ImageError(str(error)) from None

    def heed(progress: Progress) -> None:
        while connection.poll():
            if receive(connection) == ["cancel", order.id]:
                raise _CancelledError
        if progress.picture is not None:
            size = progress.picture.shape[:2]
            scale = min(1.0, PREVIEW_SIDE / max(size))
            shown = resize(progress.picture, *fitted_size(size, size[0] * size[1], scale))
            level = int(progress.stage.removeprefix("level "))
            write_picture(out / level_name(level), shown)
            send(connection, "level", order.id, level)
        send(connection, "progress", order.id, progress.stage, progress.done)

    given |= {"settings": Settings.from_dict(order.settings), "levels": order.levels, "progress": heed}
    given["pins"] = order.pins or None
    result: Result = engine.transfer(**given)
    seconds = sum(result.seconds.values())
    send(connection, "progress", order.id, "saving", 1.0)
    if order.format:
        result.save(out / f"picture.{order.format}")
    else:
        replace(result, levels={}).save(out, flow=order.flow)
    return round(seconds, 3)


def end_at_once(process_id: int) -> None:
    """Kill a worker."""
    with suppress(OSError):
        os.kill(process_id, getattr(signal, "SIGKILL", signal.SIGTERM))
