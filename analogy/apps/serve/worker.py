"""The worker process, which decodes pictures and does transfers.

A malicious picture can crash only the worker that decodes it. Worker and service exchange JSON
through a pipe, so that even a worker that an attacker controls cannot make the service run code.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import AnalogyError, ImageError, MemoryLimitError, OutputError, PictureTooLargeError
from .jobs import level_name
from .orders import Order

if TYPE_CHECKING:
    from ...engine import Engine
    from ...engine_arguments import EngineArguments
    from ...progress import Progress
    from ...request import Request
    from ...result import Result

PREVIEW_SIDE = 1024
"""Maximum length of the sides of a level's picture, in pixels."""
MOST_MESSAGE = 1 << 20
"""Largest accepted message between the service and a worker, in bytes."""


class _CancelledError(Exception):
    """Error that ends a cancelled job."""


def send(connection: Connection, *message: Any) -> None:
    """Send a message. Raises `OSError` if the other process has ended."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection) -> list[Any]:
    """Return the kind and the values of the next message.

    Raises `EOFError` or `OSError` if the other process has ended, and `OSError` if the message has
    more than `MOST_MESSAGE` bytes.
    """
    message: list[Any] = json.loads(connection.recv_bytes(MOST_MESSAGE))
    return message


def run(connection: Connection, engine: EngineArguments, worker_bytes: int) -> None:
    """Load the model, and then do one order after another until the service ends.

    The worker sends "ready", or "refused" if the model cannot be loaded. For each order it sends
    "progress" and "level", and finally "done", "failed" or "cancelled".

    Parameters
    ----------
    connection : Connection
        The pipe to the service.
    engine : EngineArguments
        The arguments of the engine.
    worker_bytes : int
        Memory, in bytes, that the worker may use in addition to the loaded model.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the workers, but the service ends them
    with suppress(OSError):  # if memory is short, Linux must kill a worker, not the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(EOFError, OSError, KeyboardInterrupt):
        try:
            own = engine.make()
            own.backend.prepare()
        except AnalogyError as error:
            send(connection, "refused", str(error))
            return
        _limit_memory(own, worker_bytes)
        send(connection, "ready", own.network.card.name, own.backend.describe())
        while True:
            kind, *content = receive(connection)
            if kind == "order":  # else it is a "cancel" that came after the end of its job
                _work(own, connection, Order.from_message(*content))


def _limit_memory(engine: Engine, most: int) -> None:
    """Limit the memory of this process to `most` bytes more than it uses now.

    The engine reads this limit, and refuses transfers that need more memory. With a GPU there is no
    limit, since the driver reserves address space far beyond the memory.
    """
    with suppress(ImportError):  # Windows has no `resource`
        import resource

        import numpy as np
        import psutil

        if engine.backend.xp is np and hasattr(resource, "RLIMIT_AS"):
            taken = psutil.Process().memory_info().vms
            with suppress(OSError, ValueError):  # raised if the system sets a lower limit
                resource.setrlimit(resource.RLIMIT_AS, (taken + most, taken + most))


def _work(engine: Engine, connection: Connection, order: Order) -> None:
    """Do an order, and report its end: "done", "cancelled", or "failed" with an HTTP status."""
    report = partial(send, connection)
    try:
        seconds = _transfer(engine, connection, order)
    except _CancelledError:
        report("cancelled", order.id)
    except (PictureTooLargeError, MemoryLimitError) as error:
        report("failed", order.id, 413, str(error))
    except OutputError:
        report(
            "failed",
            order.id,
            503,
            "the service cannot write the results; its disk may be full, so try again later",
        )
    except AnalogyError as error:
        report("failed", order.id, 422, str(error))
    except MemoryError:
        report("failed", order.id, 413, "there is not enough memory for these pictures; make them smaller")
    else:
        report("done", order.id, seconds)


def _transfer(engine: Engine, connection: Connection, order: Order) -> float:
    """Do the transfer of an order, write its results, and return the seconds that it took.

    Raises `_CancelledError` and the errors of `_check_format`, `Engine.transfer` and `Result.save`.
    """
    from ...pictures.images import fitted_size, resize
    from ...pictures.writing import write_picture

    folder, out = Path(order.folder), Path(order.folder) / "out"
    loaded = order.request.with_inputs(lambda each: (folder / "in" / each.value).read_bytes())
    if order.format:
        _check_format(order.format, loaded)

    def on_progress(progress: Progress) -> None:
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

    result: Result = engine.transfer(**loaded.keywords(), progress=on_progress)
    seconds = sum(result.seconds.values())
    send(connection, "progress", order.id, "saving", 1.0)
    if order.format:
        result.save(out / f"picture.{order.format}")
    else:
        replace(result, levels={}).save(out, flow=order.flow)
    return round(seconds, 3)


def _check_format(format: str, request: Request) -> None:
    """Raise `ImageError` if one file of this format cannot contain the result of the request."""
    from ...pictures.reading import picture_size
    from ...pictures.writing import check_size

    picture, *others = (each for each in request.inputs() if each.name == request.content)
    if others:
        raise ImageError(
            f"the request makes {1 + len(others)} pictures B, but an answer contains only one; begin a job with "
            "POST /v1/jobs"
        )
    try:
        check_size(picture_size(picture.value, name=picture.label), f".{format}", "the result")
    except OutputError as error:
        raise ImageError(str(error)) from None


def end_at_once(process_id: int) -> None:
    """Kill the worker with this process id, at once."""
    with suppress(OSError):
        os.kill(process_id, getattr(signal, "SIGKILL", signal.SIGTERM))
