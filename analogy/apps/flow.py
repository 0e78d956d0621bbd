"""The command `analogy flow`, which draws a nearest-neighbour field."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ImageError, printable


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Path of the picture to write.")
@click.option(
    "--width",
    type=click.IntRange(1, 99_999),
    help="Width of the field, in positions. Required for a .txt file, which does not contain the width.",
)
def flow(file: Path, output: Path, width: int | None) -> None:
    """Draw a nearest-neighbour field as a picture.

    FILE is a .npz, .flo or .txt file that `analogy transfer --flow` has written. The colour of
    each pixel shows the offset of a position, as is usual for optical flow: the hue shows the
    direction of the offset, and the saturation its length.
    """
    from ..files.atomic import as_path
    from ..files.places import Places
    from ..method.flow import colour
    from ..method.flow_files import read
    from ..pictures.writing import write_picture

    if width is not None and file.suffix.lower() in (".npz", ".flo"):
        raise ImageError(f"{file} contains the width of its field; leave out --width")
    with Places() as places:
        places.read(file, "the field")
        places.write(as_path(output), "the picture")
    write_picture(as_path(output), colour(read(file, width)))
    click.echo(printable(str(output)))
