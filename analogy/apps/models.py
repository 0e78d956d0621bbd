"""The command `analogy models`, which lists, downloads, checks and deletes models."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import ModelError, printable
from ..networks.cards import read_card
from ..networks.models import DEFAULT, locate
from .process import BAD_INPUT
from .streams import bars


@click.group()
def models() -> None:
    """List, download, check and delete models (networks)."""


@models.command("list")
def models_list() -> None:
    """List the installed models, and those that `analogy models pull` can download.

    For an installed model the second column shows the number of channels at each level, from
    relu1_1 to relu5_1.
    """
    from ..networks.models import installed
    from ..networks.published import PUBLISHED

    here = installed()
    for name, folder in here.items():
        try:
            card = read_card(folder)
            widths, words = " ".join(map(str, card.widths)), card.description
        except ModelError as error:
            widths, words = "(damaged)", str(error)
        click.echo(f"{printable(name):22} {widths:20} {words}")
    for name, published in PUBLISHED.items():
        if name not in here:
            click.echo(f"{name:22} {'(not installed)':20} {published.description}")


@models.command("pull")
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Path of the published file, if you have downloaded it by hand. The command then downloads nothing.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of about 130 photographs of any kind. From their features the command computes a projection onto "
    "fewer channels. The search compares the projected features, and finds better matches with them.",
)
def models_pull(name: str, source: Path | None, photos: Path | None) -> None:
    """Download the weights of a published model and convert them.

    The command compares the file of weights with its published checksum, and prints the folder of
    the model. It needs the extra "export".

    With --photos, a folder of about 130 photographs of any kind, the command also computes a
    projection of the features onto fewer channels. The search compares the projected features, and
    finds better matches with them.
    """
    from ..method.projection import list_photos
    from ..networks.pull import pull

    paths = list_photos(photos) if photos else []
    with bars()(unit="B", unit_scale=True, leave=False, disable=None) as bar:
        folder = pull(name, source, progress=bar)
    if paths:
        project(folder, paths)
    click.echo(folder)


def project(folder: Path, photos: list[Path]) -> None:
    """Compute a projection from photographs, add it to the model in `folder`, and show a bar."""
    from ..backends import get_backend
    from ..method.features import Features
    from ..method.projection import add_projection

    with bars()(total=100, leave=False, disable=None, bar_format="{desc} {bar} {percentage:3.0f}%") as bar:
        bar.set_description_str("projection")
        add_projection(
            Features(folder, get_backend()), photos, lambda progress: bar.update(round(100 * progress.done) - bar.n)
        )


@models.command("path")
@click.argument("name", default=DEFAULT)
def models_path(name: str) -> None:
    """Print the folder of a model."""
    click.echo(locate(name))


@models.command("verify")
@click.argument("name", required=False)
def models_verify(name: str | None) -> None:
    """Compare the files of one model, or of all installed models, with their checksums."""
    from ..networks.models import installed, verify

    failed = False
    for each in [name] if name else installed():
        try:
            verify(locate(each))
        except ModelError as error:
            failed = True
            click.echo(f"analogy: {error}", err=True)
        else:
            click.echo(f"{printable(each)}: complete and undamaged")
    if failed:
        sys.exit(BAD_INPUT)


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Delete a pulled model."""
    from ..networks.models import remove

    click.echo(f"{remove(name)}: removed")
