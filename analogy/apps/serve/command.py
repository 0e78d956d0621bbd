"""The command `analogy serve`, which runs the service."""

from __future__ import annotations

import logging
import re
import sys
from functools import partial

import click

from ...backends import Device, threads_of_each
from ...backends.host import available_cores
from ...engine_arguments import EngineArguments
from ...errors import AnalogyError, shown
from ...networks.models import DEFAULT, locate
from ..options import GroupedCommand, engine_options, option
from .limits import Limits

_LISTEN, _LIMITS = "Address", "Limits"
_EXAMPLES = """\
analogy serve
analogy serve --port 9000 --workers 2
ANALOGY_TOKEN=secret analogy serve --host 0.0.0.0
curl -F a=@photo.jpg -F b_prime=@painting.jpg localhost:8000/v1/transfer -o a_prime.png"""


@click.command(cls=GroupedCommand, examples=_EXAMPLES)
@option("--host", default="127.0.0.1", show_default=True, group=_LISTEN,
        help="Address to listen on. 0.0.0.0 accepts requests from other machines.")  # fmt: skip
@option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, group=_LISTEN,
        help="Port to listen on. 0 chooses a free port.")  # fmt: skip
@option("--token", envvar="ANALOGY_TOKEN", default="", group=_LISTEN,
        help="Secret that clients must send. By default they need none. It is safer to set the environment variable "
             "ANALOGY_TOKEN, since other users can see command lines.")  # fmt: skip
@option("--root-path", default="", metavar="PATH", group=_LISTEN,
        help="Path under which a proxy serves the page, for instance /analogy.")  # fmt: skip
@option("--workers", type=click.IntRange(1, 64), default=Limits.workers, show_default=True, group=_LIMITS,
        help="Number of worker processes. Each has a model of its own, and does one job at a time.")  # fmt: skip
@option("--queue", type=click.IntRange(1, 10_000), default=Limits.queue, show_default=True, group=_LIMITS,
        help="Maximum number of jobs that wait or whose pictures are arriving. While there are so many, the service "
             "refuses further jobs.")  # fmt: skip
@option("--upload-mb", type=click.IntRange(1, 100_000), default=Limits.upload_bytes >> 20, show_default=True,
        group=_LIMITS, help="Largest accepted request, in MB.")  # fmt: skip
@option("--worker-gb", type=click.FloatRange(1, 10_000), default=Limits.worker_bytes / (1 << 30), show_default=True,
        group=_LIMITS,
        help="Memory, in GB, that a worker may use besides the loaded model. The limit applies only on Linux and "
             "without a GPU.")  # fmt: skip
@option("--job-seconds", type=click.FloatRange(1, 1e6), default=Limits.job_seconds, show_default=True, group=_LIMITS,
        help="Longest time, in seconds, that a job may take after its pictures are decoded.")  # fmt: skip
@option("--keep-minutes", type=click.FloatRange(0, 1e6), default=Limits.keep_seconds / 60, show_default=True,
        group=_LIMITS, help="Time, in minutes, after which the results of a job are deleted.")  # fmt: skip
@option("--keep-mb", type=click.IntRange(1, 10_000_000), default=Limits.keep_bytes >> 20, show_default=True,
        group=_LIMITS,
        help="Maximum total size of all results, in MB. If the results exceed it, the oldest are deleted.")  # fmt: skip
@option("--grace", type=click.FloatRange(0, 1e5), default=10.0, show_default=True, group=_LIMITS,
        help="Longest time, in seconds, that the service waits for running jobs before it ends.")  # fmt: skip
@partial(engine_options, threads="CPU threads of each worker.  [default: its share of the cores]",
         most_pixels=f"{Limits.input_pixels}")  # fmt: skip
def serve(host: str, port: int, token: str, root_path: str, workers: int, queue: int, upload_mb: int, worker_gb: float,
          job_seconds: float, keep_minutes: float, keep_mb: int, grace: float, model: str | None, device: Device,
          threads: int | None, max_input_pixels: int | None) -> None:  # fmt: skip
    """Serve a web page for people, and an HTTP API for programs.

    Open the page at http://127.0.0.1:8000; /docs describes the API. Ctrl-C or SIGTERM ends the
    service. The service stores pictures and results only on this machine, and deletes them when it
    ends.
    """
    import asyncio  # at the top of the module, this import would delay the start of all commands

    try:
        from .service import Service
    except ImportError as error:
        raise AnalogyError(f'the service needs {error.name}: pip install "deep-image-analogy[cpu,web]"') from error
    limits = Limits(
        workers=workers,
        queue=queue,
        upload_bytes=upload_mb << 20,
        input_pixels=Limits.input_pixels if max_input_pixels is None else max_input_pixels,
        worker_bytes=int(worker_gb * (1 << 30)),
        job_seconds=job_seconds,
        keep_seconds=60 * keep_minutes,
        keep_bytes=keep_mb << 20,
    )
    threads = threads or threads_of_each(workers, available_cores())
    # A worker would take a relative path such as "vgg19" for the name of a model.
    folder = str(locate(model or DEFAULT).absolute())
    engine = EngineArguments(folder, device, threads, limits.input_pixels)
    service = Service(limits, engine, _checked_token(token), grace, _checked_path(root_path))
    _log_with_times()
    asyncio.run(service.run(host, port))


def _checked_token(token: str) -> str:
    """Return a token without the spaces around it.

    Raises `AnalogyError` for a token of spaces only, and for characters other than printable ASCII.
    """
    bare = token.strip()
    if token and not bare:
        raise AnalogyError("the token consists only of spaces; give another token, or none")
    if not (bare.isascii() and bare.isprintable()):  # "" is ASCII and printable
        raise AnalogyError("the token has characters other than printable ASCII; use letters, digits and punctuation")
    return bare


def _checked_path(path: str) -> str:
    """Return a path with a slash at its beginning and none at its end, or "" for the root.

    Raises `AnalogyError` if a part of the path is empty, "." or "..", or has characters other than
    letters, digits and - . _ ~.
    """
    bare = path.strip("/")
    if not re.fullmatch(r"([\w.~-]+(/[\w.~-]+)*)?", bare, re.ASCII) or {".", ".."} & set(bare.split("/")):
        raise AnalogyError(
            f"--root-path is {shown(path)}; give a path of letters, digits and - . _ ~, such as /analogy"
        )
    return f"/{bare}" if bare else ""


def _log_with_times() -> None:
    """Make the package log to standard error, with the time before each message."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("analogy")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
