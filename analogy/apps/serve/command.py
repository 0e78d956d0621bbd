"""The command `analogy serve`."""

from __future__ import annotations

import logging
import re
import sys

import click

from ...backends import Device
from ...backends.host import available_cores
from ...engine_arguments import EngineArguments
from ...errors import AnalogyError, shown
from ...networks.models import DEFAULT, locate
from ..options import GroupedCommand, engine_options, option
from .limits import Limits

_LISTEN, _BOUNDS = "Where it listens", "Bounds"
_EXAMPLES = """\
analogy serve
analogy serve --port 9000 --workers 2
ANALOGY_TOKEN=secret analogy serve --host 0.0.0.0
curl -F a=@photo.jpg -F b_prime=@painting.jpg localhost:8000/v1/transfer -o a_prime.png"""


@click.command(cls=GroupedCommand, examples=_EXAMPLES)
@option("--host", default="127.0.0.1", show_default=True, group=_LISTEN,
        help="Address to listen at; 0.0.0.0 lets other machines in.")  # fmt: skip
@option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, group=_LISTEN,
        help="Port to listen at; 0 takes a free one.")  # fmt: skip
@option("--token", envvar="ANALOGY_TOKEN", default="", group=_LISTEN,
        help="Shared secret that clients must send; prefer the variable ANALOGY_TOKEN.")  # fmt: skip
@option("--root-path", default="", metavar="PATH", group=_LISTEN,
        help="Path of a proxy below which the service is, /analogy for instance.")  # fmt: skip
@option("--workers", type=click.IntRange(1, 64), default=Limits.workers, show_default=True, group=_BOUNDS,
        help="Jobs that run at a time, each in a process with the model.")  # fmt: skip
@option("--queue", type=click.IntRange(1, 10_000), default=Limits.queue, show_default=True, group=_BOUNDS,
        help="Most jobs that wait; further requests are refused for the time being.")  # fmt: skip
@option("--upload-mb", type=click.IntRange(1, 100_000), default=Limits.upload_bytes >> 20, show_default=True, group=_BOUNDS,
        help="Largest request.")  # fmt: skip
@option("--worker-gb", type=click.FloatRange(1, 10_000), default=Limits.worker_bytes / (1 << 30), show_default=True,
        group=_BOUNDS, help="Memory that a worker may take on top of the loaded model (on Linux, without a GPU).")  # fmt: skip
@option("--job-seconds", type=click.FloatRange(1, 1e6), default=Limits.job_seconds, show_default=True, group=_BOUNDS,
        help="How long a job may run.")  # fmt: skip
@option("--keep-minutes", type=click.FloatRange(0, 1e6), default=Limits.keep_seconds / 60, show_default=True, group=_BOUNDS,
        help="How long results are kept.")  # fmt: skip
@option("--keep-mb", type=click.IntRange(1, 10_000_000), default=Limits.keep_bytes >> 20, show_default=True, group=_BOUNDS,
        help="How much of results is kept; the oldest go first.")  # fmt: skip
@option("--grace", type=click.FloatRange(0, 1e5), default=10.0, show_default=True, group=_BOUNDS,
        help="Seconds that running jobs get to finish when the service ends.")  # fmt: skip
@engine_options
def serve(host: str, port: int, token: str, root_path: str, workers: int, queue: int, upload_mb: int, worker_gb: float,
          job_seconds: float, keep_minutes: float, keep_mb: int, grace: float, model: str | None, device: Device,
          threads: int | None, max_input_pixels: int | None) -> None:  # fmt: skip
    """A page to play with, and a service for programs, at http://127.0.0.1:8000.

    Ends at Ctrl-C or SIGTERM. Pictures and results stay on this machine, and are deleted when it
    ends.
    """
    import asyncio  # here, as it would make every other command begin later

    try:
        from .service import Service
    except ImportError as error:
        raise AnalogyError(f'the service needs {error.name}: pip install "deep-image-analogy[cpu,web]"') from error
    limits = Limits(
        workers=workers,
        queue=queue,
        upload_bytes=upload_mb << 20,
        input_pixels=max_input_pixels or Limits.input_pixels,
        worker_bytes=int(worker_gb * (1 << 30)),
        job_seconds=job_seconds,
        keep_seconds=60 * keep_minutes,
        keep_bytes=keep_mb << 20,
    )
    threads = threads or max(1, available_cores() // workers)
    engine = EngineArguments(str(locate(model or DEFAULT)), device, threads, limits.input_pixels)
    service = Service(limits, engine, _checked_token(token), grace, _checked_path(root_path))
    _log_with_times()
    asyncio.run(service.run(host, port))


def _checked_token(token: str) -> str:
    """Return a token without blanks around it. Raises `AnalogyError` for one that a request cannot bring."""
    bare = token.strip()
    if token and not bare:
        raise AnalogyError("the token has blanks alone; give another, or none")
    if not (bare.isascii() and bare.isprintable()):  # the empty text is both
        raise AnalogyError("the token has characters that are no printable ASCII; use letters, digits and signs")
    return bare


def _checked_path(path: str) -> str:
    """Return a path with a slash before it and none behind it, "" for the root. Raises `AnalogyError` for what is no path."""
    bare = path.strip("/")
    if not re.fullmatch(r"([\w.~-]+(/[\w.~-]+)*)?", bare, re.ASCII) or {".", ".."} & set(bare.split("/")):
        raise AnalogyError(f"--root-path is {shown(path)}; it takes a path of letters, digits and - . _ ~, as /analogy")
    return f"/{bare}" if bare else ""


def _log_with_times() -> None:
    """Log to standard error, each message on a line with the time."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("analogy")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
