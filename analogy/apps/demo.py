"""The command `analogy demo`, which does a transfer with the example pair of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..engine_arguments import EngineArguments
from ..networks.models import DEFAULT
from ..request import Request
from .display import Display
from .options import RESULTS, GroupedCommand, engine_options, message_options, option
from .run import EXAMPLE_LABELS, EXAMPLE_PAIR, run_transfer

if TYPE_CHECKING:
    from ..backends import Device


@click.command(cls=GroupedCommand)
@option("-o", "--output", type=click.Path(), default="analogy-demo", show_default=True,
        help="Folder for the results.", group=RESULTS)  # fmt: skip
@engine_options
@message_options
def demo(output: str, model: str | None, device: Device, threads: int | None, max_input_pixels: int | None,
         quiet: bool, verbose: bool) -> None:  # fmt: skip
    """Do a transfer with the example pair that comes with the package.

    The pair is a photo and a painting. Their label pictures have regions for the hair, the skin,
    each eye, the lips, the clothes and the background. The command does the same as `analogy
    transfer A B_PRIME --mask-a LABELS_A --mask-b LABELS_B`.
    """
    a, b_prime, mask_a, mask_b = map(str, EXAMPLE_PAIR + EXAMPLE_LABELS)
    engine = EngineArguments(model or DEFAULT, device, threads, max_input_pixels)
    run_transfer(Request(a, b_prime, mask_a=mask_a, mask_b=mask_b), output, engine, Display(quiet, verbose))
