"""The command `analogy`. Its options for a transfer are made from the fields of `Settings`."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..backends import DEVICES
from ..errors import AnalogyError, ModelError
from ..networks.models import DEFAULT, locate, read_card
from ..settings import PRESETS, Settings

BAD_INPUT = 2
"""Exit code for what the user can mend; the same as for a wrong option."""
INTERRUPTED = 130
_EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE_PAIR = _EXAMPLES / "astronaut.jpg", _EXAMPLES / "lovelace.jpg"


class _EchoHandler(logging.Handler):
    """What the library logs, as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"analogy: {record.getMessage()}", err=True)


class _Group(click.Group):
    """Turns the package's own errors into one line and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except AnalogyError as error:
            click.echo(f"analogy: {error}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="analogy")
def cli() -> None:
    """Image analogies: the photo in the looks of the painting, the painting in the looks of the photo.

    Given two pictures A and B', finds A' (A in the looks of B') and B (B' in the looks of A).
    """
    logger = logging.getLogger("analogy")
    if not logger.handlers:
        logger.addHandler(_EchoHandler())
        logger.setLevel(logging.INFO)


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each field of `Settings`; unset options stay None, so that a preset can show through."""
    for field in reversed(dataclasses.fields(Settings)):
        name, meta = "--" + field.name.replace("_", "-"), field.metadata
        if isinstance(field.default, bool):
            command = click.option(name, field.name, is_flag=True, default=None, help=meta["help"])(command)
            continue
        kind = click.Choice([str(c) for c in meta["choices"]]) if meta["choices"] else type(field.default)
        command = click.option(name, field.name, type=kind, help=f"{meta['help']}  [default: {field.default}]")(command)
    presets = click.option(
        "--preset", type=click.Choice(list(PRESETS)), help="A set of settings; single options go before it."
    )
    return presets(command)


def _engine_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--threads", type=click.IntRange(1), help="CPU threads.  [default: one per core]"),
        click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True,
                     help="Where to compute; auto takes CUDA where it works."),
        click.option("--model", help=f"A model's name, or the folder of one.  [default: {DEFAULT}]"),
    ):  # fmt: skip
        command = option(command)
    return command


def _settings(base: Settings, preset: str | None, options: dict[str, Any]) -> Settings:
    """`base`, changed by a preset, changed by single options."""
    chosen = (PRESETS[preset] if preset else {}) | {name: value for name, value in options.items() if value is not None}
    for field in dataclasses.fields(Settings):
        if field.name in chosen and type(field.default) is int:  # a choice among numbers comes as text
            chosen[field.name] = int(chosen[field.name])
    return dataclasses.replace(base, **chosen)


def _run(
    a: Path, b_prime: Path, output: Path, settings: Settings, engine: tuple[Any, ...], flow: bool = False, **inputs: Any
) -> None:
    """Transfer with a progress bar (quiet where standard error is no terminal), save, and say where the results are."""
    from tqdm import tqdm

    from ..engine import Engine
    from ..pictures.files import make_folder
    from ..pictures.writing import is_picture_path, write_picture

    one = is_picture_path(output)
    make_folder(output.parent if one else output)
    ready = Engine(*engine)
    with tqdm(
        total=100, leave=False, disable=None, bar_format="{desc:12} {bar} {percentage:3.0f}%  {remaining} left"
    ) as bar:

        def show(progress: Any) -> None:
            bar.set_description_str(progress.stage)
            bar.update(round(100 * progress.done) - bar.n)

        result = ready.transfer(a, b_prime, settings, progress=show, **inputs)
    if not one:
        result.save(output, flow=flow)
    elif result.a_prime is not None:
        write_picture(output, result.a_prime, like=result.a)
    elif result.b is not None:
        write_picture(output, result.b, like=result.b_prime)
    click.echo(f"{output}: {sum(result.seconds.values()):.1f} s ({result.model}, {result.device})")


@cli.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b_prime", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True,
              help="Folder for the results; or a picture (.png .jpg .webp .tif) for A' alone.")  # fmt: skip
@_setting_options
@click.option("--settings", "record", type=click.Path(path_type=Path), help="Repeat what a settings.json says.")
@click.option("--mask-a", type=click.Path(path_type=Path), help="Label picture of A: one colour, one region.")
@click.option(
    "--mask-b", type=click.Path(path_type=Path), help="Label picture of B'; regions match only their own colour."
)
@click.option("--flow", is_flag=True, help="Also write both fields, as .npz, .flo and .txt.")
@click.option("--levels", is_flag=True, help="Also write the picture of each level: how the analogy forms.")
@_engine_options
def transfer(a: Path, b_prime: Path, output: Path, preset: str | None, record: Path | None, mask_a: Path | None,
             mask_b: Path | None, flow: bool, levels: bool, model: str | None, device: str, threads: int | None,
             **options: Any) -> None:  # fmt: skip
    """Turn pictures A and B_PRIME into an analogy.

    Writes a_prime.png (A in the looks of B'), b.png (B' in the looks of A), montage.png and settings.json.
    """
    base, sha256 = Settings(), None
    if record:
        from ..result import read_record

        base, recorded, sha256 = read_record(record)
        model = model or recorded
    model = model or DEFAULT
    if sha256 and read_card(locate(model)).fingerprint != sha256:
        raise ModelError(
            f"the model {model!r} is not the one of {record}: its checksum differs; name that one with --model"
        )
    settings = _settings(base, preset, options)
    _run(a, b_prime, output, settings, (model, device, threads), flow, mask_a=mask_a, mask_b=mask_b, levels=levels)


@cli.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("analogy-demo"), show_default=True,
              help="Folder for the results.")  # fmt: skip
@_engine_options
def demo(output: Path, model: str | None, device: str, threads: int | None) -> None:
    """Run the example pair that comes with the package, end to end."""
    _run(*EXAMPLE_PAIR, output, Settings.preset("photo-to-style"), (model or DEFAULT, device, threads))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The picture to write.")
@click.option("--width", type=click.IntRange(1), help="Width of the field, which a .txt does not hold.")
def flow(file: Path, output: Path, width: int | None) -> None:
    """Draw a field (.npz, .flo or .txt) in the usual colour wheel: hue is direction, strength is distance."""
    from ..method import flow as fields
    from ..pictures.writing import write_picture

    write_picture(output, fields.colour(fields.read(file, width)))
    click.echo(str(output))


@cli.group()
def models() -> None:
    """The networks that can be used."""


@models.command("list")
def models_list() -> None:
    """Name each model that is here, with its widths, and those that can be pulled."""
    from ..networks.models import installed
    from ..networks.published import PUBLISHED

    here = installed()
    for name, folder in here.items():
        card = read_card(folder)
        click.echo(f"{name:22} {' '.join(map(str, card.widths)):20} {card.description}")
    for name, published in PUBLISHED.items():
        if name not in here:
            click.echo(f"{name:22} {'(to pull)':20} {published.description}")


@models.command("pull")
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), help="A published file that you downloaded by hand.")
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Folder of photographs: also find a projection for the search."
)
def models_pull(name: str, source: Path | None, photos: Path | None) -> None:
    """Download a published model's weights, check and convert them; needs the extra "export".

    With --photos, about 130 photographs of any kind, the model also gets a projection of its features for the search,
    which finds better matches.
    """
    from tqdm import tqdm

    from ..method.projection import list_photos
    from ..networks.pull import pull

    paths = list_photos(photos) if photos else []
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:
        folder = pull(name, source, progress=bar)
    if paths:
        project(folder, paths)
    click.echo(folder)


def project(folder: Path, photos: list[Path]) -> None:
    """Find a projection for the model in `folder`, with a progress bar."""
    from tqdm import tqdm

    from ..backends import get_backend
    from ..method.features import Features
    from ..method.projection import add_projection

    with tqdm(total=100, leave=False, disable=None, bar_format="{desc} {bar} {percentage:3.0f}%") as bar:
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
    """Compare the files of one model, or of all, with their checksums."""
    from ..networks.models import installed, verify

    for each in [name] if name else installed():
        verify(locate(each))
        click.echo(f"{each}: whole")


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Delete a pulled model."""
    from ..networks.models import remove

    click.echo(f"{remove(name)}: removed")


@cli.command()
@click.option("--selftest", is_flag=True, help="Try the GPU step by step; exit code 0 only if everything holds.")
def info(selftest: bool) -> None:
    """Versions, devices, and what `--device auto` would choose and why."""
    from importlib.metadata import PackageNotFoundError, version

    from ..backends import get_backend

    click.echo(f"analogy {__version__}, Python {sys.version.split()[0]}")
    for package in ("numpy", "numba", "pillow", "onnxruntime", "onnxruntime-gpu", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            click.echo(f"  {package} {version(package)}")
        except PackageNotFoundError:
            click.echo(f"  {package} -")
    click.echo(f"auto chooses: {get_backend('auto').describe()}")
    if selftest:
        from ..backends.selftest import selftest as run

        checks = run(_small_transfer)
        for check in checks:
            click.echo(f"  {'ok    ' if check.ok else 'FAILED'} {check.name:22} {check.detail}")
        sys.exit(0 if all(check.ok for check in checks) else 1)


def _small_transfer(device: str) -> Any:
    """A' of the example pair, small, on a device: what the selftest compares."""
    from ..engine import Engine

    return Engine(device=device).transfer(*EXAMPLE_PAIR, max_pixels=10_000).a_prime


def main() -> None:
    """Entry point; Ctrl-C leaves no half file and exits with 130."""
    try:
        cli.main(prog_name="analogy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("analogy: interrupted", err=True)
        sys.exit(INTERRUPTED)
