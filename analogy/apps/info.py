"""The command `analogy info`, which shows versions and the chosen device, and tests the GPU."""

from __future__ import annotations

import sys

import click

from ..errors import DeviceError, MemoryLimitError, printable
from ..version import __version__


@click.command()
@click.option(
    "--selftest", is_flag=True, help="Also test the GPU step by step. The exit code is 0 only if all checks pass."
)
def info(selftest: bool) -> None:
    """Show versions, and the device that `--device auto` chooses."""
    from ..backends import get_backend, runtime
    from ..networks.models import find_cache
    from .gpu import installed, report

    click.echo(f"analogy {__version__}, Python {sys.version.split()[0]}")
    for package, found in installed():
        click.echo(f"  {package} {found}")
    if problem := runtime.problem():
        click.echo(f"  {problem}")
    try:
        backend, why = get_backend("cuda"), "the GPU works"
    except (DeviceError, MemoryLimitError) as error:
        backend, why = get_backend("cpu"), f"the GPU is not used: {error}"
    click.echo(f"auto chooses: {backend.describe()}")
    click.echo(f"  because {why}")
    pulled = find_cache() or "none, since this user has no home folder; set ANALOGY_HOME to a folder for models"
    click.echo(printable(f"pulled models: {pulled}"))
    if selftest:
        lines, well = report()
        for line in lines:
            click.echo(printable(line))
        sys.exit(0 if well else 1)
