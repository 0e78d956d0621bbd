"""The command `analogy batch`, which does many transfers."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import click

from ..backends import MOST_THREADS, Device
from ..engine_arguments import EngineArguments
from ..errors import printable
from ..networks.models import DEFAULT
from ..settings import Direction, Settings
from .display import Display
from .options import (
    LOOK,
    MACHINE,
    RESULTS,
    GroupedCommand,
    engine_options,
    message_options,
    option,
    picture_path,
    setting_options,
    settings_of,
)

SOME_FAILED = 3
"""Exit code of a batch in which some jobs failed."""

_EXAMPLES = """\
analogy batch photos/*.jpg --style painting.jpg -o out
analogy batch photos/*.jpg --style one.jpg --style two.jpg -o out
analogy batch jobs.csv -o out --preset face --name "{name}.jpg"
analogy batch jobs.parquet -o s3://bucket/out --manifest out.jsonl --allow-remote s3 --scheduler tcp://10.0.0.1:8786"""


@click.command(cls=GroupedCommand, examples=_EXAMPLES)
@click.argument("sources", nargs=-1, required=True)
@option(
    "-o", "--output", required=True, group=RESULTS, help="Folder for the results, or the address of one (s3://...)."
)
@option("--name", "template", default="{name}.png", show_default=True, group=RESULTS,
        help="Template of the names of results; its suffix sets the format. In braces it can contain: name (the name "
             "of the job, or of the file A if the job has none), a and b_prime (the names of these files), number (of "
             "the job), and picture (a_prime or b; b_1, b_2 and so on for several B').")  # fmt: skip
@option("--direction", type=click.Choice(["ab", "ba", "both"]), default="ab", show_default=True, group=RESULTS,
        help="Which pictures a job makes: A' (ab), B (ba) or both.")  # fmt: skip
@option("--retry-failed", is_flag=True, group=RESULTS,
        help="Repeat the jobs that failed in an earlier run, even if nothing has changed since.")  # fmt: skip
@option("--manifest", type=click.Path(path_type=Path), group=RESULTS,
        help="File on this machine that records which jobs are done. Required if --output is an address such as "
             "s3://bucket/out. If --output is a folder, the option is refused, and the file is batch.jsonl in that "
             "folder.")  # fmt: skip
@picture_path("--style", "styles", multiple=True, group=LOOK,
              help="B' for jobs that do not name one. If you repeat the option, each of these jobs uses all these "
                   "pictures together, as examples.")  # fmt: skip
@partial(setting_options, but="direction")
@partial(
    engine_options,
    threads="Number of CPU threads of each worker.  [default: its share of the cores; 1 if --scheduler is an address]",
)
@option("--workers", type=click.IntRange(1, MOST_THREADS), group=MACHINE,
        help="Number of worker processes on this machine.  [default: as many as the cores and the memory allow, and at "
             "most two on a GPU]")  # fmt: skip
@option(
    "--scheduler",
    metavar="ADDRESS",
    group=MACHINE,
    help='Use a Dask cluster: the address of its scheduler (tcp://...), or "local" to start one on this machine.',
)
@option(
    "--allow-remote",
    "allowed",
    multiple=True,
    metavar="SCHEME",
    group=MACHINE,
    help="Allow rows of a table to name addresses of this scheme (s3, gs, https ...). Repeat the option for more "
    "schemes.",
)
@message_options
def batch(sources: tuple[str, ...], output: str, template: str, direction: str, retry_failed: bool,
          manifest: Path | None, styles: tuple[str, ...], preset: str | None, model: str | None, device: Device,
          threads: int | None, max_input_pixels: int | None, workers: int | None, scheduler: str | None,
          allowed: tuple[str, ...], quiet: bool, verbose: bool, **options: Any) -> None:  # fmt: skip
    """Do many transfers.

    SOURCES are pictures, folders of pictures, or patterns such as "photos/*.jpg". Each picture gets
    the looks of --style. Or SOURCES is one table of jobs.

    A table (.csv, .tsv, .jsonl, .parquet) has one row for each job. It must have the column a, and
    can have the other columns of this list.

    \b
      a, b_prime            the pictures; a relative path starts at the folder of the table
      b_prime_2, b_prime_3  further examples, and so on; in a .jsonl b_prime can be a list
      name                  the name of the result, without suffix
      b, mask_a, mask_b     pictures, as in `analogy transfer`
      b_2, mask_b_2         the pictures of further examples, and so on
      pins                  the path of a CSV file; in a .jsonl also rows [xa, ya, xb, yb]
      preset                a preset, which replaces the preset of the command
      ratio, weight, seed   values of these settings; each other setting can also be a column

    A setting of a row overrides an option of the command, and both override a preset.

    The results of finished jobs are kept: if you run the same command again, it does only the jobs
    that have no results yet or have changed. It repeats a failed job only if the job has changed,
    or with --retry-failed. If a job fails, the command prints a line and continues. The exit code
    is 0 if all jobs are done, 3 if some failed, and 2 if the batch could not start or could not
    continue.
    """  # noqa: D301 (click needs the control character \b, so the string is not raw)
    from ..batch.run import run_batch
    from ..files.atomic import as_path

    settings = settings_of(Settings(direction=cast(Direction, direction)), preset, options)
    engine, display = EngineArguments(model or DEFAULT, device, threads, max_input_pixels), Display(quiet, verbose)
    started = time.monotonic()
    with display:
        tally, report = run_batch(
            sources,
            output,
            settings,
            engine,
            styles=styles,
            template=template,
            manifest=None if manifest is None else as_path(manifest),
            allowed=allowed,
            workers=workers,
            scheduler=scheduler,
            retry_failed=retry_failed,
            single=[name for name, value in options.items() if value is not None],
            progress=display.part(0, 1),
        )
    if not quiet:
        counts = [f"{tally.made} done in {time.monotonic() - started:.1f} s"] if tally.made else []
        counts += [f"{tally.kept} kept"] if tally.kept else []
        counts += [f"{tally.failed} failed"] if tally.failed else []
        click.echo(printable(f"{output}: {', '.join(counts)}; see {report}"))
    if tally.failed:
        sys.exit(SOME_FAILED)
