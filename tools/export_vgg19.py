"""Convert VGG-19 weights to a model folder, for `analogy transfer --model FOLDER`.

    python tools/export_vgg19.py FILE -o FOLDER [--name NAME] [--preprocessing
    caffe|imagenet|compact] [--photos FOLDER]

FILE is a Keras .h5, Caffe .caffemodel, PyTorch .pth, .safetensors or .onnx file. It contains a
VGG-19 or a VGG-16 with any numbers of channels; see `analogy/networks/weights.py`. The tool needs
this package with its extra `export`, but neither PyTorch nor Keras.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from analogy.errors import AnalogyError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the model; it must be new or empty.",
)
@click.option(
    "--name", help="Name of the model.  [default: the name of the model if FILE is a published file, or of the folder]"
)
@click.option(
    "--preprocessing",
    type=click.Choice(["caffe", "imagenet", "compact"]),
    help="Preprocessing that the weights need.  [default: as in an ONNX graph, or the usual one for the kind of FILE]",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Folder of photographs, from which a projection for the search is computed.",
)
def main(file: Path, output: Path, name: str | None, preprocessing: str | None, photos: Path | None) -> None:
    """Convert FILE, the weights of a VGG-19 or VGG-16 with any numbers of channels, to a model."""
    try:
        from analogy.apps.models import project
        from analogy.method.projection import list_photos
        from analogy.networks.pull import convert

        paths = list_photos(photos) if photos else []
        card = convert(file, output, name, preprocessing)
        if paths:
            project(output, paths)
    except AnalogyError as error:
        click.echo(f"export_vgg19: {error}", err=True)
        sys.exit(2)
    click.echo(f"{output}: {card.name}, widths {' '.join(map(str, card.widths))}; {card.description}")


if __name__ == "__main__":
    main()
