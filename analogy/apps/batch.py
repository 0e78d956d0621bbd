"""The command that does many transfers."""

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
"""Exit code where some jobs failed and the others are done."""

_EXAMPLES = """\
analogy batch photos/*.jpg --style painting.jpg -o out
analogy batch photos/*.jpg --style one.jpg --style two.jpg -o out
analogy batch jobs.csv -o out --preset face --name "{name}.jpg"
analogy batch jobs.parquet -o s3://bucket/out --manifest out.jsonl --allow-remote s3 --scheduler tcp://10.0.0.1:8786"""


@click.command(cls=GroupedCommand, examples=_EXAMPLES)
@click.argument("sources", nargs=-1, required=True)
@option("-o", "--output", required=True, group=RESULTS, help="Folder for the results, or an address.")
@option("--name", "template", default="{name}.png", show_default=True, group=RESULTS,
        help="How results are called; the suffix is the format. In braces: name (the job's; else that of A), a, b_prime, "
             "number, picture (a_prime or b; b_1, b_2 and so on for several B').")  # fmt: skip
@option("--direction", type=click.Choice(["ab", "ba", "both"]), default="ab", show_default=True, group=RESULTS,
        help="Which pictures a job makes: A' (ab), B (ba) or both.")  # fmt: skip
@option("--retry-failed", is_flag=True, group=RESULTS,
        help="Try jobs again that failed in an earlier run, also where nothing has changed.")  # fmt: skip
@option("--manifest", type=click.Path(path_type=Path), group=RESULTS,
        help="Where to keep what is done, on this machine, if the results go to an address.  [default: batch.jsonl in "
             "the folder]")  # fmt: skip
@picture_path("--style", "styles", multiple=True, group=LOOK,
              help="B' of all jobs that name none. Given several times, each job is painted with all of them.")  # fmt: skip
@partial(setting_options, but="direction")
@partial(engine_options, threads="CPU threads of each worker.  [default: its share of the cores]")
@option("--workers", type=click.IntRange(1, MOST_THREADS), group=MACHINE,
        help="Processes on this machine; they share out its cores.  [default: one per core, as the memory allows; two on "
             "a GPU]")  # fmt: skip
@option(
    "--scheduler",
    metavar="ADDRESS",
    group=MACHINE,
    help='In place of processes, a Dask cluster: its scheduler\'s address (tcp://...), or "local" to start one here.',
)
@option(
    "--allow-remote",
    "allowed",
    multiple=True,
    metavar="SCHEME",
    group=MACHINE,
    help="Let the rows of a table name addresses of this scheme (s3, gs, https ...); any number of times.",
)
@message_options
def batch(sources: tuple[str, ...], output: str, template: str, direction: str, retry_failed: bool,
          manifest: Path | None, styles: tuple[str, ...], preset: str | None, model: str | None, device: Device,
          threads: int | None, max_input_pixels: int | None, workers: int | None, scheduler: str | None,
          allowed: tuple[str, ...], quiet: bool, verbose: bool, **options: Any) -> None:  # fmt: skip
    """Do many transfers: SOURCES are pictures, folders of them or patterns, which all take the same --style; or one table.

    \b
    A table (.csv, .tsv, .jsonl, .parquet) has a row for each job, and columns
      a, b_prime            the pictures; relative paths are seen from the table's folder
      b_prime_2, b_prime_3  and so on: further examples; in a .jsonl b_prime may be a list in their place
      name                  of the result, without suffix
      b, mask_a, mask_b     as the options of `analogy transfer`; b_2, mask_b_2 and so on for further examples
      pins                  likewise the path of a CSV file; in a .jsonl also a list of rows [xa, ya, xb, yb]
      preset                in place of this command's; single options go before it
      ratio, weight, seed   and any other setting; they go before this command's

    What is done is kept: the same command does what is missing or has changed. A job that fails is
    one line, and the others go on. Exit code 0: all are done; 3: some failed; 2: nothing could be
    done, or no more.
    """
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
